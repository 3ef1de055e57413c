"""Verbalizers: zero-shot (manual, KPT step by step, calibrated) and few-shot (manual, KPT, ProtoVerb, soft, searched).

    python benchmarks/accuracy/verbalizers.py FOLDER zero-shot [--tasks …]
    python benchmarks/accuracy/verbalizers.py FOLDER few-shot [--tasks …] [--shots 1 4 16] [--seeds …] [--methods …]
    python benchmarks/accuracy/verbalizers.py FOLDER time

FOLDER holds ``ag_news``, ``dbpedia``, ``imdb`` and ``trec`` (train and test, .tsv or .tsv.gz) and ``kpt`` (word lists).
Scored on the same 1,000 test rows (TREC: all 500); texts are cut to 128 tokens. The support set is 200 texts of the
training pool without their labels. KPT's lists of label words are its authors'; TREC, which has none, takes the words
whose vectors are nearest to the library's. ProtoVerb, soft and weighted verbalizers are trained on a frozen model.
Finished runs are kept in results/verbalizers.json; the tables go to results/verbalizers.md.
"""

from __future__ import annotations

import argparse
import functools
import json
import random
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks.common.runs import GPU, MODEL, SEEDS, Job, accuracy, keep, mean, parser, placed, sweep
from promptlab import (
    ManualVerbalizer,
    PromptClassifier,
    PrototypicalVerbalizer,
    SoftVerbalizer,
    SupportCalibration,
    WeightedVerbalizer,
    k_shot,
    load_backbone,
    nearest_words,
    read_examples,
    read_word_lists,
    refine_words,
    search_words,
)
from promptlab.core.types import Example
from promptlab.library.tasks import verbalizer_entry

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
    return load_backbone(MODEL)


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
def refined(folder: Path, task: str, device: str, frequency: bool, relevance: bool) -> dict[str, tuple[str, ...]]:
    template, _, rare, _ = TASKS[task]
    result = refine_words(
        many_words(folder, task),
        template,
        support(folder, task),
        backbone(),
        frequency=rare if frequency else 0.0,
        relevance=relevance,
        max_length=MAX_LENGTH,
        device=device,
    )
    return dict(result.label_words)


ZERO_SHOT: Mapping[str, tuple[bool, bool] | None] = {  # which refinements KPT's words go through; None: manual words
    "manual": None,
    "KPT's words": (False, False),
    "+ frequency": (True, False),
    "+ relevance": (False, True),
    "+ frequency + relevance": (True, True),
}


def zero_shot(options: argparse.Namespace) -> Iterator[Job]:
    for task in options.tasks:
        for name in ZERO_SHOT:
            for calibrated in (False, True):
                key = f"zero-shot/{task}/{name}/{'calibrated' if calibrated else 'plain'}"
                yield key, functools.partial(zero_shot_run, options.folder, task, options.device, name, calibrated)


def zero_shot_run(folder: Path, task: str, device: str, name: str, calibrated: bool) -> dict[str, float]:
    steps = ZERO_SHOT[name]
    words = manual_words(task) if steps is None else refined(folder, task, device, *steps)
    verbalizer: Any = ManualVerbalizer(words)
    if calibrated:
        verbalizer = SupportCalibration(verbalizer, support(folder, task))
    settings: dict[str, Any] = {"max_length": MAX_LENGTH, **placed(device)}
    classifier = PromptClassifier(TASKS[task][0], verbalizer, backbone(), "none", **settings)
    return {"accuracy": accuracy(classifier, test_rows(folder, task))}


def searched(folder: Path, task: str, device: str, train: list[Example]) -> dict[str, tuple[str, ...]]:
    settings: dict[str, Any] = {"engine": "petal", "max_length": MAX_LENGTH, "device": device}
    return dict(search_words(TASKS[task][0], train, model=backbone(), **settings)[0].label_words)


def manual(folder: Path, task: str, device: str, train: list[Example]) -> dict[str, tuple[str, ...]]:
    return manual_words(task)


def weighted(folder: Path, task: str, device: str, train: list[Example]) -> WeightedVerbalizer:
    return WeightedVerbalizer(refined(folder, task, device, True, True))


def prototypes(folder: Path, task: str, device: str, train: list[Example]) -> PrototypicalVerbalizer:
    return PrototypicalVerbalizer(names=sorted(manual_words(task)))


def prototypes_and_manual(folder: Path, task: str, device: str, train: list[Example]) -> PrototypicalVerbalizer:
    return PrototypicalVerbalizer(ManualVerbalizer(manual_words(task)))


def prototypes_and_kpt(folder: Path, task: str, device: str, train: list[Example]) -> PrototypicalVerbalizer:
    words = ManualVerbalizer(refined(folder, task, device, True, True))
    return PrototypicalVerbalizer(SupportCalibration(words, support(folder, task)))


def soft(folder: Path, task: str, device: str, train: list[Example]) -> SoftVerbalizer:
    return SoftVerbalizer(manual_words(task))


FEW_SHOT: Mapping[str, tuple[str, Callable[[Path, str, str, list[Example]], Any]]] = {
    "manual": ("full", manual),
    "KPT": ("full", weighted),
    "soft": ("full", soft),
    "ProtoVerb + manual": ("full", prototypes_and_manual),
    "searched (PETAL)": ("full", searched),
    "KPT, model frozen": ("frozen", weighted),
    "ProtoVerb, model frozen": ("frozen", prototypes),
    "ProtoVerb + manual, model frozen": ("frozen", prototypes_and_manual),
    "ProtoVerb + KPT calibrated, model frozen": ("frozen", prototypes_and_kpt),
    "soft, model frozen": ("frozen", soft),
    "searched (PETAL), model frozen": ("none", searched),
    "manual, model frozen": ("none", manual),
}

# Of promptlab 0.1, kept to compare: word weights had the usual rate of heads, by which they moved by 0.011 at most, and
# KPT's cut kept a word more; ProtoVerb's two scores were z-scores of each text over its classes.
EARLIER = (
    "KPT's words, nearly alike",
    "ProtoVerb + manual, by z-scores",
    "ProtoVerb + manual, by z-scores, model frozen",
)


def few_shot(options: argparse.Namespace) -> Iterator[Job]:
    for seed in options.seeds:
        for task in options.tasks:
            for k in options.shots:
                for name in options.methods:
                    if name.startswith("searched") and k < 2:  # a search needs two examples of a class
                        continue
                    key = f"few-shot/{task}/{k}/{name}/{seed}"
                    yield key, functools.partial(few_shot_run, options.folder, task, options.device, k, name, seed)


def few_shot_run(folder: Path, task: str, device: str, k: int, name: str, seed: int) -> dict[str, Any]:
    pool = read(folder, task, "train")
    rows = k_shot([example.label for example in pool], k=k, seed=seed)
    train, dev = ([pool[row] for row in part] for part in rows)
    tuning, verbalizer = FEW_SHOT[name]
    words = verbalizer(folder, task, device, train)
    settings: dict[str, Any] = {"seed": seed, "max_length": MAX_LENGTH, **placed(device)}
    start = time.perf_counter()
    classifier = PromptClassifier(TASKS[task][0], words, backbone(), tuning, **settings).fit(
        train, eval_set=(dev, None)
    )
    seconds = time.perf_counter() - start
    result = {"accuracy": accuracy(classifier, test_rows(folder, task)), "train_seconds": seconds, "device": device}
    if isinstance(words, WeightedVerbalizer):
        result["largest_weight"] = classifier.model_.head.weight.abs().max().item()
    return result


def timing(options: argparse.Namespace) -> Iterator[Job]:
    yield "time/cached", functools.partial(timed_fit, cached=True)
    yield "time/uncached", functools.partial(timed_fit, cached=False)


def timed_fit(*, cached: bool) -> dict[str, float]:
    """Seconds of ProtoVerb's fit on SST-2, 32 sentences: from states that are kept, or reading the model every time."""
    from promptlab import load_sample
    from promptlab.data.labeled import Labeled
    from promptlab.library.resolve import resolve_template
    from promptlab.models.prompt_model import PromptModel
    from promptlab.training.fitting import EncodedSet, HeadModel
    from promptlab.tuning.frozen import Frozen

    train, _ = load_sample("sst2").few_shot(13)
    verbalizer = PrototypicalVerbalizer(names=("negative", "positive"))
    start = time.perf_counter()
    if cached:
        PromptClassifier("sst2", verbalizer, backbone(), "frozen", device="cpu").fit(train)
        return {"seconds": time.perf_counter() - start}
    import torch

    model = PromptModel.build(resolve_template("sst2"), verbalizer, backbone().copy(), Frozen()).eval()
    data = EncodedSet.of(Labeled.of(train, None), model, None)
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
        for name in (*FEW_SHOT, *EARLIER):
            cells = []
            for task, k in order:
                keys = [f"few-shot/{task}/{k}/{name}/{seed}" for seed in SEEDS]
                values = [100 * results[key]["accuracy"] for key in keys if key in results]
                cells.append(mean(values) + f" [{len(values)}]" * (0 < len(values) < len(SEEDS)))
            if any(cell != mean([]) for cell in cells):
                lines.append(f"| {name} | " + " | ".join(cells) + " |")
        parts.append("\n".join(lines))
    if "time/cached" in results and "time/uncached" in results:
        ratio = results["time/uncached"]["seconds"] / results["time/cached"]["seconds"]
        parts.append(
            f"ProtoVerb's fit on kept mask states is {ratio:.1f} times as fast as with a pass for each update."
        )
    return parts


def write(results: Mapping[str, Any]) -> None:
    note = (
        f"Test accuracy in %, on {N_TEST:,} test rows drawn once (TREC: all 500); few-shot: mean (standard deviation) "
        f"over the seeds {', '.join(map(str, SEEDS))}, or the first n of them [n], k training and k dev examples a "
        f"class. Model {MODEL}, float32, texts cut to {MAX_LENGTH} tokens. Calibrated: by the mean of {N_SUPPORT} "
        f"unlabeled texts. On {GPU}; on one core of a CPU: zero-shot with KPT's words, and of few-shot “KPT”, "
        "“KPT, model frozen” and “ProtoVerb + manual, model frozen”."
    )
    keep("verbalizers", "Verbalizers", results, tables(results), note)


def main() -> None:
    options_of = parser(__doc__, folder=True)
    options_of.add_argument("what", choices=["zero-shot", "few-shot", "time"])
    options_of.add_argument("--device", default="cpu")
    options_of.add_argument("--tasks", nargs="+", default=list(TASKS), choices=list(TASKS))
    options_of.add_argument("--shots", nargs="+", type=int, default=[1, 4, 16])
    options_of.add_argument("--seeds", nargs="+", type=int, default=list(SEEDS), choices=SEEDS)
    options_of.add_argument("--methods", nargs="+", default=list(FEW_SHOT), choices=list(FEW_SHOT))
    options = options_of.parse_args()
    backbone()  # once, before the processes part
    jobs = {"zero-shot": zero_shot, "few-shot": few_shot, "time": timing}[options.what](options)
    sweep("verbalizers", jobs, write, processes=options.processes)


if __name__ == "__main__":
    main()
