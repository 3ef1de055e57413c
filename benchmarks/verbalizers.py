"""Verbalizers: zero-shot (manual, KPT step by step, calibrated) and few-shot (manual, KPT, ProtoVerb, soft, searched).

    python benchmarks/verbalizers.py FOLDER zero-shot [--tasks …]
    python benchmarks/verbalizers.py FOLDER few-shot [--tasks …] [--shots 1 4 16] [--seeds …] [--methods …]
    python benchmarks/verbalizers.py FOLDER time

FOLDER holds ``ag_news``, ``dbpedia``, ``imdb`` and ``trec`` (train and test, .tsv or .tsv.gz) and ``kpt`` (word lists).
Scored on the same 1,000 test rows (TREC: all 500); texts are cut to 128 tokens. The support set is 200 texts of the
training pool without their labels. KPT's lists of label words are its authors'; TREC, which has none, takes the words
whose vectors are nearest to the library's. ProtoVerb, soft and weighted verbalizers are trained on a frozen model.
Finished runs are kept in results/verbalizers.json; the tables go to results/verbalizers.md.
"""

from __future__ import annotations

import argparse
import datetime
import functools
import json
import random
import time
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import fewshot

from promptlab import (
    ManualVerbalizer,
    PromptClassifier,
    PrototypicalVerbalizer,
    SoftVerbalizer,
    SupportVerbalizer,
    WeightedVerbalizer,
    k_shot,
    load_backbone,
    nearest_words,
    read_examples,
    read_word_lists,
    refine_words,
    search_words,
)
from promptlab.files import atomic_file
from promptlab.library import verbalizer_entry
from promptlab.types import Example

MAX_LENGTH = 128
N_TEST, N_SUPPORT = 1000, 200
# template, manual label words, whether rare words are dropped (not for sentiment, as in KPT), word lists
TASKS: Mapping[str, tuple[str, str, float, str | None]] = {
    "ag_news": ("ag_news/news", "ag_news/pet", 0.5, "agnews"),
    "dbpedia": ("dbpedia/about", "dbpedia/one-word", 0.5, "dbpedia"),
    "imdb": ("imdb/it-was", "imdb/bad-good", 0.0, "imdb"),
    "trec": ("trec/about", "trec/wide", 0.5, None),
}


@functools.cache
def backbone() -> Any:
    return load_backbone(fewshot.MODEL)


@functools.cache
def read(folder: Path, task: str, part: str) -> list[Example]:
    path = next(p for p in (folder / task / f"{part}.tsv", folder / task / f"{part}.tsv.gz") if p.exists())
    return read_examples(path)


def test_rows(folder: Path, task: str) -> list[Example]:
    rows = read(folder, task, "test")
    return rows if len(rows) <= N_TEST else random.Random(0).sample(rows, N_TEST)


def support(folder: Path, task: str) -> list[Mapping[str, Any]]:
    return [example.fields for example in random.Random(1).sample(read(folder, task, "train"), N_SUPPORT)]


def manual_words(task: str) -> dict[str, tuple[str, ...]]:
    return dict(verbalizer_entry(TASKS[task][1]).label_words)


@functools.cache
def many_words(folder: Path, task: str) -> dict[str, tuple[str, ...]]:
    """KPT's lists, a class's first manual word as its name; or words near the manual ones."""
    lists, manual = TASKS[task][3], manual_words(task)
    if lists is None:
        return nearest_words(manual, backbone(), n=50)
    order = json.loads((folder / "kpt" / "label_order.json").read_text())[lists]
    words = read_word_lists(folder / "kpt" / lists / "knowledgeable_verbalizer.txt", order)
    return {name: tuple(dict.fromkeys([manual[name][0], *words[name]])) for name in manual}


@functools.cache
def refined(folder: Path, task: str, frequency: bool, relevance: bool) -> dict[str, tuple[str, ...]]:
    template, _, rare, _ = TASKS[task]
    result = refine_words(
        many_words(folder, task),
        template,
        support(folder, task),
        backbone(),
        frequency=rare if frequency else 0.0,
        relevance=relevance,
        max_length=MAX_LENGTH,
        device="cpu",
    )
    return dict(result.label_words)


ZERO_SHOT: Mapping[str, Callable[[Path, str], Any]] = {
    "manual": lambda folder, task: manual_words(task),
    "KPT's words": lambda folder, task: refined(folder, task, False, False),
    "+ frequency": lambda folder, task: refined(folder, task, True, False),
    "+ relevance": lambda folder, task: refined(folder, task, False, True),
    "+ frequency + relevance": lambda folder, task: refined(folder, task, True, True),
}


def zero_shot(options: argparse.Namespace) -> Iterator[tuple[str, Callable[[], Any]]]:
    for task in options.tasks:
        for name, words in ZERO_SHOT.items():
            for calibrated in (False, True):
                key = f"zero-shot/{task}/{name}/{'calibrated' if calibrated else 'plain'}"
                yield key, functools.partial(zero_shot_run, options.folder, task, words, calibrated)


def zero_shot_run(folder: Path, task: str, words: Callable[[Path, str], Any], calibrated: bool) -> dict[str, float]:
    verbalizer: Any = ManualVerbalizer(words(folder, task))
    if calibrated:
        verbalizer = SupportVerbalizer(verbalizer, support(folder, task))
    classifier = PromptClassifier(TASKS[task][0], verbalizer, backbone(), "none", device="cpu", max_length=MAX_LENGTH)
    return {"accuracy": fewshot.accuracy(classifier, test_rows(folder, task))}


def searched(task: str, train: list[Example]) -> dict[str, tuple[str, ...]]:
    settings: dict[str, Any] = {"engine": "petal", "max_length": MAX_LENGTH, "device": "cpu"}
    return dict(search_words(TASKS[task][0], train, model=backbone(), **settings)[0].label_words)


FEW_SHOT: Mapping[str, tuple[str, Callable[[Path, str, list[Example]], Any]]] = {
    "manual": ("full", lambda folder, task, train: manual_words(task)),
    "KPT": ("full", lambda folder, task, train: WeightedVerbalizer(refined(folder, task, True, True))),
    "KPT, model frozen": ("frozen", lambda folder, task, train: WeightedVerbalizer(refined(folder, task, True, True))),
    "ProtoVerb, model frozen": (
        "frozen",
        lambda folder, task, train: PrototypicalVerbalizer(names=sorted(manual_words(task))),
    ),
    "ProtoVerb + manual, model frozen": (
        "frozen",
        lambda folder, task, train: PrototypicalVerbalizer(ManualVerbalizer(manual_words(task))),
    ),
    "soft, model frozen": ("frozen", lambda folder, task, train: SoftVerbalizer(manual_words(task))),
    "searched (PETAL)": ("full", lambda folder, task, train: searched(task, train)),
}


def few_shot(options: argparse.Namespace) -> Iterator[tuple[str, Callable[[], Any]]]:
    for seed in options.seeds:
        for task in options.tasks:
            for k in options.shots:
                for name in options.methods:
                    if name.startswith("searched") and k < 2:  # a search needs two examples of a class
                        continue
                    key = f"few-shot/{task}/{k}/{name}/{seed}"
                    yield key, functools.partial(few_shot_run, options.folder, task, k, name, seed)


def few_shot_run(folder: Path, task: str, k: int, name: str, seed: int) -> dict[str, Any]:
    pool = read(folder, task, "train")
    rows = k_shot([example.label for example in pool], k=k, seed=seed)
    train, dev = ([pool[row] for row in part] for part in rows)
    tuning, verbalizer = FEW_SHOT[name]
    start = time.perf_counter()
    classifier = PromptClassifier(
        TASKS[task][0],
        verbalizer(folder, task, train),
        backbone(),
        tuning,
        device="cpu",
        seed=seed,
        max_length=MAX_LENGTH,
    ).fit(train, eval_set=(dev, None))
    seconds = time.perf_counter() - start
    return {"accuracy": fewshot.accuracy(classifier, test_rows(folder, task)), "train_seconds": seconds}


def timing(options: argparse.Namespace) -> Iterator[tuple[str, Callable[[], Any]]]:
    yield "time/cached", functools.partial(timed_fit, cached=True)
    yield "time/uncached", functools.partial(timed_fit, cached=False)


def timed_fit(*, cached: bool) -> dict[str, float]:
    """Seconds of ProtoVerb's fit on SST-2, 32 sentences: from states that are kept, or reading the model every time."""
    from promptlab import load_sample
    from promptlab.fitting import EncodedSet, HeadModel, Labelled
    from promptlab.model import PromptModel
    from promptlab.parts import resolve_template
    from promptlab.tuning.frozen import Frozen

    train, _ = load_sample("sst2").few_shot(13)
    verbalizer = PrototypicalVerbalizer(names=("negative", "positive"))
    start = time.perf_counter()
    if cached:
        PromptClassifier("sst2", verbalizer, backbone(), "frozen", device="cpu").fit(train)
        return {"seconds": time.perf_counter() - start}
    import torch

    model = PromptModel.build(resolve_template("sst2"), verbalizer, backbone().copy(), Frozen()).eval()
    data = EncodedSet.of(Labelled.of(train, None), model, None)
    optimizer = torch.optim.AdamW(model.head.parameters(), lr=verbalizer.learning_rate, weight_decay=0.0)
    for _ in range(verbalizer.max_steps):
        answers = model.read(model.backbone.collate(data.rows))
        HeadModel(model.head, answers, data.targets)(torch.arange(len(train))).backward()
        optimizer.step()
        optimizer.zero_grad()
    return {"seconds": time.perf_counter() - start}


def tables(results: Mapping[str, Any]) -> list[str]:
    parts = []
    zero = [task for task in TASKS if any(key.startswith(f"zero-shot/{task}/") for key in results)]
    if zero:
        columns = [f"{task}{', calibrated' * calibrated}" for task in zero for calibrated in (False, True)]
        lines = ["| zero-shot | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
        for name in ZERO_SHOT:
            keys = [f"zero-shot/{task}/{name}/{kind}" for task in zero for kind in ("plain", "calibrated")]
            cells = [f"{100 * results[key]['accuracy']:.1f}" if key in results else "–" for key in keys]
            lines.append(f"| {name} | " + " | ".join(cells) + " |")
        parts.append("\n".join(lines))
    few = dict.fromkeys(tuple(key.split("/")[1:3]) for key in results if key.startswith("few-shot/"))
    if few:
        order = sorted(few, key=lambda pair: (list(TASKS).index(pair[0]), int(pair[1])))
        lines = ["| few-shot | " + " | ".join(f"{task}, k = {k}" for task, k in order) + " |"]
        lines.append("|---" * (len(order) + 1) + "|")
        for name in FEW_SHOT:
            cells = []
            for task, k in order:
                keys = [f"few-shot/{task}/{k}/{name}/{seed}" for seed in fewshot.SEEDS]
                cells.append(fewshot.mean([100 * results[key]["accuracy"] for key in keys if key in results]))
            lines.append(f"| {name} | " + " | ".join(cells) + " |")
        parts.append("\n".join(lines))
    if "time/cached" in results and "time/uncached" in results:
        ratio = results["time/uncached"]["seconds"] / results["time/cached"]["seconds"]
        parts.append(
            f"ProtoVerb's fit on kept mask states is {ratio:.1f} times as fast as with a pass for each update."
        )
    return parts


def write(results: Mapping[str, Any]) -> None:
    versions = {name: version(name) for name in ("promptlab", "torch", "transformers")}
    about = {"model": fewshot.MODEL, "date": str(datetime.date.today()), "versions": versions}
    with atomic_file(fewshot.RESULTS / "verbalizers.json") as path:
        path.write_text(json.dumps({"about": about, "runs": results}, indent=1) + "\n")
    note = (
        f"Test accuracy in %, on {N_TEST:,} test rows drawn once (TREC: all 500); few-shot: mean (standard deviation) "
        f"over the seeds {', '.join(map(str, fewshot.SEEDS))}, k training and k dev examples a class. Model "
        f"{fewshot.MODEL}, texts cut to {MAX_LENGTH} tokens. Calibrated: by the mean of {N_SUPPORT} unlabelled texts. "
        f"{about['date']}, " + ", ".join(f"{k} {v}" for k, v in versions.items()) + "."
    )
    with atomic_file(fewshot.RESULTS / "verbalizers.md") as path:
        path.write_text("\n\n".join(["# Verbalizers", *tables(results), note]) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("what", choices=["zero-shot", "few-shot", "time"])
    parser.add_argument("--tasks", nargs="+", default=list(TASKS), choices=list(TASKS))
    parser.add_argument("--shots", nargs="+", type=int, default=[1, 4, 16])
    parser.add_argument("--seeds", nargs="+", type=int, default=list(fewshot.SEEDS), choices=fewshot.SEEDS)
    parser.add_argument("--methods", nargs="+", default=list(FEW_SHOT), choices=list(FEW_SHOT))
    options = parser.parse_args()
    path = fewshot.RESULTS / "verbalizers.json"
    results = json.loads(path.read_text())["runs"] if path.exists() else {}
    for key, run in {"zero-shot": zero_shot, "few-shot": few_shot, "time": timing}[options.what](options):
        if key not in results:
            results[key] = run()
            print(key, results[key], flush=True)
            write(results)
    write(results)


if __name__ == "__main__":
    main()
