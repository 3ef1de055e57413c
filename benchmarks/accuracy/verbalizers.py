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
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch

from benchmarks.common.data import accuracy, rows_of, sample
from benchmarks.common.models import MODEL, loaded
from benchmarks.common.options import DEVICE, FOLDER, SOME_SEEDS, one_of, some_of, values_of
from benchmarks.common.runs import Benchmark, Job
from benchmarks.common.setup import GPU, SEEDS, Setup
from benchmarks.common.tables import NONE, Page, Runs, counted, known_rows, listed, over_seeds, table, under
from benchmarks.common.timing import timed
from promptlab import (
    ManualVerbalizer,
    PromptClassifier,
    PrototypicalVerbalizer,
    SoftVerbalizer,
    SupportCalibration,
    WeightedVerbalizer,
    k_shot,
    nearest_words,
    read_word_lists,
    refine_words,
    search_words,
)
from promptlab.core.types import Example
from promptlab.data.labeled import Labeled
from promptlab.library.resolve import resolve_template
from promptlab.library.tasks import verbalizer_entry
from promptlab.models.prompt_model import PromptModel
from promptlab.training.fitting import EncodedSet, HeadModel
from promptlab.tuning.frozen import Frozen

MAX_LENGTH = 128
N_TEST, N_SUPPORT = 1000, 200
# template, manual label words, whether rare words are dropped (not for sentiment, as in KPT), word lists
TASKS: Mapping[str, tuple[str, str, float, str | None]] = {
    "ag_news": ("ag_news/news", "ag_news/pet", 0.5, "agnews"),
    "dbpedia": ("dbpedia/about", "dbpedia/one-word", 0.5, "dbpedia"),
    "imdb": ("imdb/it-was", "imdb/bad-good", 0.0, "imdb"),
    "trec": ("trec/about", "trec/wide", 0.5, None),
}


Words = dict[str, tuple[str, ...]]


def test_rows(setup: Setup, task: str) -> Sequence[Example]:
    rows = rows_of(setup.data(task), "test")
    return setup.some(rows if len(rows) <= N_TEST else random.Random(0).sample(rows, N_TEST))


def support(setup: Setup, task: str) -> list[Mapping[str, Any]]:
    """Return texts of the training pool without their labels."""
    rows = random.Random(1).sample(rows_of(setup.data(task), "train"), N_SUPPORT)
    return [example.fields for example in setup.some(rows)]


def manual_words(task: str) -> Words:
    return dict(verbalizer_entry(TASKS[task][1]).label_words)


@functools.cache
def many_words(setup: Setup, task: str) -> Words:
    """Return KPT's lists, a class's first manual word as its name; or words near the manual ones."""
    lists, manual = TASKS[task][3], manual_words(task)
    if lists is None:
        return nearest_words(manual, loaded(MODEL), n=50)
    order = json.loads(setup.data("kpt", "label_order.json").read_text(encoding="utf-8"))[lists]
    words = read_word_lists(setup.data("kpt", lists, "knowledgeable_verbalizer.txt"), order)
    return {name: tuple(dict.fromkeys([manual[name][0], *words[name]])) for name in manual}


@functools.cache
def refined(setup: Setup, task: str, frequency: bool = True, relevance: bool = True) -> Words:
    template, _, rare, _ = TASKS[task]
    result = refine_words(
        many_words(setup, task),
        template,
        support(setup, task),
        loaded(MODEL),
        frequency=rare if frequency else 0.0,
        relevance=relevance,
        max_length=MAX_LENGTH,
        device=setup.device,
    )
    return dict(result.label_words)


ZERO_SHOT: Mapping[str, tuple[bool, bool] | None] = {  # which refinements KPT's words go through; None: manual words
    "manual": None,
    "KPT's words": (False, False),
    "+ frequency": (True, False),
    "+ relevance": (False, True),
    "+ frequency + relevance": (True, True),
}


KINDS = ("plain", "calibrated")


def jobs(options: argparse.Namespace) -> Iterator[Job]:
    loaded(MODEL)  # once, before the processes part
    return {"zero-shot": zero_shot, "few-shot": few_shot, "time": timing}[options.what](options)


def zero_shot(options: argparse.Namespace) -> Iterator[Job]:
    for task in options.tasks:
        for name in ZERO_SHOT:
            for kind in KINDS:
                key = f"zero-shot/{task}/{name}/{kind}"
                yield key, functools.partial(zero_shot_run, options.setup, task, name, kind)


def zero_shot_run(setup: Setup, task: str, name: str, kind: str) -> dict[str, float]:
    steps = ZERO_SHOT[name]
    words = manual_words(task) if steps is None else refined(setup, task, *steps)
    verbalizer: Any = ManualVerbalizer(words)
    if kind == "calibrated":
        verbalizer = SupportCalibration(verbalizer, support(setup, task))
    settings = setup.settings(tuning="none", max_length=MAX_LENGTH)
    classifier = PromptClassifier(TASKS[task][0], verbalizer, loaded(MODEL), **settings)
    return {"accuracy": accuracy(classifier, test_rows(setup, task))}


def searched(setup: Setup, task: str, train: Sequence[Example]) -> Words:
    settings: dict[str, Any] = {"engine": "petal", "max_length": MAX_LENGTH, "device": setup.device}
    return dict(search_words(TASKS[task][0], train, model=loaded(MODEL), **settings)[0].label_words)


def manual(setup: Setup, task: str, train: Sequence[Example]) -> Words:
    return manual_words(task)


def weighted(setup: Setup, task: str, train: Sequence[Example]) -> WeightedVerbalizer:
    return WeightedVerbalizer(refined(setup, task))


def prototypes(setup: Setup, task: str, train: Sequence[Example]) -> PrototypicalVerbalizer:
    return PrototypicalVerbalizer(names=sorted(manual_words(task)))


def prototypes_and_manual(setup: Setup, task: str, train: Sequence[Example]) -> PrototypicalVerbalizer:
    return PrototypicalVerbalizer(ManualVerbalizer(manual_words(task)))


def prototypes_and_kpt(setup: Setup, task: str, train: Sequence[Example]) -> PrototypicalVerbalizer:
    words = ManualVerbalizer(refined(setup, task))
    return PrototypicalVerbalizer(SupportCalibration(words, support(setup, task)))


def soft(setup: Setup, task: str, train: Sequence[Example]) -> SoftVerbalizer:
    return SoftVerbalizer(manual_words(task))


FEW_SHOT: Mapping[str, tuple[str, Callable[[Setup, str, Sequence[Example]], Any]]] = {
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
                    if not name.startswith("searched") or k >= 2:  # a search needs two examples of a class
                        key = f"few-shot/{task}/{k}/{name}/{seed}"
                        yield key, functools.partial(few_shot_run, options.setup, task, k, name, seed)


def few_shot_run(setup: Setup, task: str, k: int, name: str, seed: int) -> dict[str, Any]:
    pool = rows_of(setup.data(task), "train")
    rows = k_shot([example.label for example in pool], k=k, seed=seed)
    train, dev = ([pool[row] for row in part] for part in rows)
    tuning, verbalizer = FEW_SHOT[name]
    words = verbalizer(setup, task, train)
    settings = setup.settings(tuning=tuning, seed=seed, max_length=MAX_LENGTH)
    classifier = PromptClassifier(TASKS[task][0], words, loaded(MODEL), **settings)
    _, seconds = timed(lambda: classifier.fit(train, eval_set=(dev, None)))
    result = {
        "accuracy": accuracy(classifier, test_rows(setup, task)),
        "train_seconds": seconds,
        "device": setup.device,
    }
    if isinstance(words, WeightedVerbalizer):
        result["largest_weight"] = classifier.model_.head.weight.abs().max().item()
    return result


def timing(options: argparse.Namespace) -> Iterator[Job]:
    """Yield ProtoVerb's fit on SST-2, 32 sentences: from states that are kept, or reading the model every time."""
    yield "time/cached", functools.partial(timed_fit, fit_cached, options.setup)
    yield "time/uncached", functools.partial(timed_fit, fit_uncached, options.setup)


def timed_fit(fit: Callable[..., None], setup: Setup) -> dict[str, float]:
    train, _ = sample("sst2").few_shot(13)
    verbalizer = PrototypicalVerbalizer(names=("negative", "positive"))
    return {"seconds": timed(lambda: fit(setup, verbalizer, train))[1]}


def fit_cached(setup: Setup, verbalizer: PrototypicalVerbalizer, train: Sequence[Example]) -> None:
    settings = setup.settings(tuning="frozen")
    PromptClassifier("sst2", verbalizer, loaded(MODEL), **settings).fit(train)


def fit_uncached(setup: Setup, verbalizer: PrototypicalVerbalizer, train: Sequence[Example]) -> None:
    model = PromptModel.build(resolve_template("sst2"), verbalizer, loaded(MODEL).copy(), Frozen()).eval()
    data = EncodedSet.of(Labeled.of(train, None), model, None)
    optimizer = torch.optim.AdamW(model.head.parameters(), lr=verbalizer.learning_rate, weight_decay=0.0)
    for _ in range(setup.settings(max_steps=verbalizer.max_steps)["max_steps"]):
        answers = model.read(model.backbone.collate(data.rows))
        HeadModel(model.head, answers, data.targets, None)(torch.arange(len(train))).backward()
        optimizer.step()
        optimizer.zero_grad()


def page(runs: Runs, about: Mapping[str, Any]) -> Page:
    note = (
        f"Test accuracy in %, on {N_TEST:,} test rows drawn once (TREC: all 500); few-shot: mean (standard deviation) "
        f"over the seeds {listed(SEEDS)}, or the first n of them [n], k training and k dev examples a "
        f"class. Model {MODEL}, float32, texts cut to {MAX_LENGTH} tokens. Calibrated: by the mean of {N_SUPPORT} "
        f"unlabeled texts. On {GPU}; on one core of a CPU: zero-shot with KPT's words, and of few-shot “KPT”, "
        "“ProtoVerb + manual”, “KPT, model frozen” and “ProtoVerb + manual, model frozen”."
    )
    return Page([*zero_shot_tables(runs), *few_shot_tables(runs), *gain_of_cache(runs)], note)


def zero_shot_tables(runs: Runs) -> list[str]:
    columns = {
        f"{task}{', calibrated' * (kind == 'calibrated')}": (task, kind)
        for task in TASKS
        for kind in KINDS
        if under(runs, f"zero-shot/{task}")
    }
    rows = [
        [name, *(cell_of(runs.get(f"zero-shot/{task}/{name}/{kind}")) for task, kind in columns.values())]
        for name in ZERO_SHOT
    ]
    return [table(["zero-shot", *columns], rows)] if columns else []


def cell_of(run: Mapping[str, float] | None) -> str:
    return NONE if run is None else f"{100 * run['accuracy']:.1f}"


def few_shot_tables(runs: Runs) -> list[str]:
    columns = [
        (task, k) for task in TASKS for k in sorted({int(key.split("/")[0]) for key in under(runs, f"few-shot/{task}")})
    ]
    rows = [[name, *(few_shot_cell(runs, task, k, name) for task, k in columns)] for name in (*FEW_SHOT, *EARLIER)]
    heads = [f"{task}, k = {k}" for task, k in columns]
    return [table(["few-shot", *heads], known_rows(rows))] if columns else []


def few_shot_cell(runs: Runs, task: str, k: int, name: str) -> str:
    own = over_seeds(runs, f"few-shot/{task}/{k}/{name}")
    return counted([100 * run["accuracy"] for run in own], len(SEEDS))


def gain_of_cache(runs: Runs) -> list[str]:
    if not {"time/cached", "time/uncached"} <= set(runs):
        return []
    gain = runs["time/uncached"]["seconds"] / runs["time/cached"]["seconds"]
    return [f"ProtoVerb's fit on kept mask states is {gain:.1f} times as fast as with a pass for each update."]


BENCHMARK = Benchmark(
    name="verbalizers",
    title="Verbalizers",
    doc=__doc__,
    stages=[jobs],
    page=page,
    options=[
        FOLDER, one_of("what", ("zero-shot", "few-shot", "time")), DEVICE, some_of("tasks", TASKS),
        values_of("shots", 1, 4, 16), SOME_SEEDS, some_of("methods", FEW_SHOT),
    ],
)  # fmt: skip

if __name__ == "__main__":
    BENCHMARK.main()
