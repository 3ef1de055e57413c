"""How promptlab's defaults were chosen: on rows of the training pools, never on a test row.

    python benchmarks/accuracy/defaults.py words [--tasks …]
    python benchmarks/accuracy/defaults.py rates [--tasks …] [--splits 13 21] [--rates 4e-5 …] [--steps 100 250]
    python benchmarks/accuracy/defaults.py tunings [--tasks …] [--splits 13 21] [--methods …]

``words`` scores every template and verbalizer of a task's library zero-shot on all rows of its pool. ``rates`` trains
with each learning rate and number of updates on a split and scores the weights selected on its dev half on the pool's
rows outside the split; ``tunings`` does so for the methods that train a part, each over rates around its own. Every
finished run is kept in results/defaults.json, so that an interrupted run goes on; the tables are written to
results/defaults.md.
"""

from __future__ import annotations

import argparse
import functools
import statistics
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from benchmarks.common.data import SHIPPED, SOFT_TEMPLATES, accuracy, sample
from benchmarks.common.models import MODEL, loaded
from benchmarks.common.options import one_of, some_of, values_of
from benchmarks.common.runs import Benchmark, Job
from benchmarks.common.setup import SEEDS, Setup
from benchmarks.common.tables import Page, Runs, listed, mean, table, under
from promptlab import Adapter, HeadClassifier, LoRA, PromptClassifier, PTuning
from promptlab.library.tasks import template_names, verbalizer_names

ESTIMATORS: Mapping[str, Callable[..., Any]] = {
    "prompt": lambda task, **settings: PromptClassifier(task, task, loaded(MODEL), **settings),
    "head": lambda task, **settings: HeadClassifier(loaded(MODEL), **settings),
}
TUNINGS: Mapping[str, tuple[Any, tuple[float, ...]]] = {  # method and rates, at the width of the model
    "top-layers": ("top-layers", (4e-5, 1.2e-4, 4e-4)),
    "bitfit": ("bitfit", (7e-4, 2e-3, 6e-3)),
    "layer-norm": ("layer-norm", (1.3e-3, 4e-3, 1.2e-2)),
    "adapter": (Adapter(), (4e-4, 1.2e-3, 4e-3)),
    "lora": (LoRA(), (4e-4, 8e-4, 2e-3, 6e-3)),
    "lora-all-linear": (LoRA(targets="all-linear"), (2e-4, 7e-4, 2e-3)),
    "ia3": ("ia3", (4e-3, 1.2e-2, 4e-2)),
    "prefix": ("prefix", (3e-4, 1e-3, 3e-3)),
    "p-tuning-v2": ("p-tuning-v2", (2e-3, 7e-3, 2e-2)),
    "prompt-tuning": ("prompt-tuning", (1e-3, 3e-3, 1e-2)),
    "p-tuning-frozen": (PTuning(train_model=False), (3e-4, 1e-3, 3e-3)),
}


def jobs(options: argparse.Namespace) -> Iterator[Job]:
    return {"words": words, "rates": rates, "tunings": tunings}[options.what](options)


def words(options: argparse.Namespace) -> Iterator[Job]:
    for task in options.tasks:
        for template in template_names(task):
            for verbalizer in verbalizer_names(task):
                key = f"words/{template}/{verbalizer}"
                yield key, functools.partial(score, options.setup, task, template, verbalizer)


def rates(options: argparse.Namespace) -> Iterator[Job]:
    for split in options.splits:
        for task in options.tasks:
            for kind in options.estimators:
                for steps in options.steps:
                    for rate in options.rates:
                        key = f"rates/{task}/{kind}/{rate:g}/{steps}/{split}"
                        yield key, functools.partial(train, options.setup, task, kind, rate, steps, split)


def tunings(options: argparse.Namespace) -> Iterator[Job]:
    for split in options.splits:
        for task in options.tasks:
            for method in options.methods:
                for rate in TUNINGS[method][1]:
                    key = f"rates/{task}/{method}/{rate:g}/default/{split}"
                    yield key, functools.partial(tune, options.setup, task, method, rate, split)


def score(setup: Setup, task: str, template: str, verbalizer: str) -> float:
    """Return the zero-shot accuracy on all rows of the pool."""
    classifier = PromptClassifier(template, verbalizer, loaded(MODEL), **setup.settings(tuning="none"))
    return accuracy(classifier, setup.some(sample(task).pool))


def train(setup: Setup, task: str, kind: str, rate: float, steps: int, split: int) -> float:
    settings = setup.settings(tuning="full", learning_rate=rate, head_learning_rate=1e-3, max_steps=steps)
    return held_out_accuracy(setup, ESTIMATORS[kind](task, **settings), task, split)


def tune(setup: Setup, task: str, method: str, rate: float, split: int) -> float:
    template = SOFT_TEMPLATES[task] if method.startswith("p-tuning-f") else task
    settings = setup.settings(tuning=TUNINGS[method][0], learning_rate=rate, head_learning_rate=rate)
    return held_out_accuracy(setup, PromptClassifier(template, task, loaded(MODEL), **settings), task, split)


def held_out_accuracy(setup: Setup, classifier: Any, task: str, split: int) -> float:
    """Train on a split; return the accuracy on the rows of the pool that aren't in it."""
    own = sample(task)
    fit, dev = own.few_shot(split)
    used = {*own.splits[split].train, *own.splits[split].dev}
    rest = [example for row, example in enumerate(own.pool) if row not in used]
    return accuracy(classifier.fit(fit, eval_set=(dev, None)), setup.some(rest))


def page(runs: Runs, about: Mapping[str, Any]) -> Page:
    parts = [
        "Zero-shot accuracy in % on all rows of the training pool:",
        words_table(under(runs, "words")),
        "After training, on the pool's rows outside the split (weights selected on its dev half):",
        rates_table(under(runs, "rates")),
    ]
    return Page(parts, f"Model {MODEL}, 16 training and 16 dev examples a class.")


def words_table(runs: Runs) -> str:
    names = {key: key.split("/") for key in runs}
    rows = [["/".join(names[key][:2]), "/".join(names[key][2:]), mean([100 * run])] for key, run in runs.items()]
    return table(["template", "verbalizer", "accuracy"], rows)


def rates_table(runs: Runs) -> str:
    rows = []
    for setting in dict.fromkeys(key.rsplit("/", 1)[0] for key in runs):
        values = [100 * run for run in under(runs, setting).values()]
        each = listed(f"{value:.1f}" for value in values)
        rows.append([*setting.split("/"), f"{statistics.mean(values):.1f}", each])
    return table(["task", "classifier", "learning rate", "updates", "mean", "splits"], rows)


BENCHMARK = Benchmark(
    name="defaults",
    title="How the defaults were chosen",
    doc=__doc__,
    stages=[jobs],
    page=page,
    options=[
        one_of("what", ("words", "rates", "tunings")), some_of("tasks", SHIPPED), some_of("splits", SEEDS, [13, 21]),
        some_of("estimators", ESTIMATORS), some_of("methods", TUNINGS),
        values_of("rates", 4e-5, 1e-4, 2.5e-4), values_of("steps", 100, 250),
    ],
)  # fmt: skip

if __name__ == "__main__":
    BENCHMARK.main()
