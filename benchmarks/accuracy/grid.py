"""Prompt against head over a grid of learning rates and updates, chosen on dev alone: k = 16, five seeds, minilm.

    python benchmarks/accuracy/grid.py [--data FOLDER] [--tasks sst2 trec ag_news rte] [--seeds 13 …] [--rates …]
        [--updates …]

FOLDER holds ``rte`` (train.tsv, dev.tsv, fewshot/k16-seedS.json). Every run keeps the weights that dev selects and is
scored on dev and on test; for each split, the setting with the highest dev accuracy (of equal ones, the lowest dev
loss) is taken, and its test accuracy counts. Zero-shot and the linear probe, which have no such grid, stand beside it.
Finished runs are kept in results/grid.json; the tables go to results/grid.md.
"""

from __future__ import annotations

import argparse
import functools
import math
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from benchmarks.common.data import NAMES, SHIPPED, SIZED, accuracy, fields_of, split_of
from benchmarks.common.models import MODEL, loaded
from benchmarks.common.options import DATA, DEVICE, SOME_SEEDS, some_of, values_of
from benchmarks.common.runs import Benchmark, Job
from benchmarks.common.setup import GPU, SEEDS, Setup
from benchmarks.common.tables import Page, Runs, listed, over_seeds, percent, table, under
from benchmarks.common.timing import timed
from promptlab import HeadClassifier, PromptClassifier
from promptlab.core.types import Example

RATES = (1e-5, 3e-5, 1e-4, 3e-4, 1e-3)
UPDATES = (100, 300)
Maker = Callable[..., Any]


def head(task: str, **settings: Any) -> HeadClassifier:
    return HeadClassifier(loaded(MODEL), fields=fields_of(task), **settings)


def prompt(task: str, **settings: Any) -> PromptClassifier:
    return PromptClassifier(task, task, loaded(MODEL), **settings)


ESTIMATORS: Mapping[str, Maker] = {"head fine-tuning": head, "prompt fine-tuning": prompt}
FIXED: Mapping[str, tuple[Maker, str]] = {"zero-shot": (prompt, "none"), "linear probe": (head, "frozen")}


def jobs(options: argparse.Namespace) -> Iterator[Job]:
    """Yield every run, the same seed's together."""
    loaded(MODEL)  # once, for all processes
    for seed in options.seeds:
        for task in options.tasks:
            place = (options.setup, task, seed)
            for name, (make, tuning) in FIXED.items():
                yield f"{task}/{name}/{seed}", functools.partial(run, *place, make, tuning=tuning)
            for updates in options.updates:
                for rate in options.rates:
                    for name, make in ESTIMATORS.items():
                        settings = {"learning_rate": rate, "head_learning_rate": 1e-3, "max_steps": updates}
                        key = f"{task}/{name}/{rate:g}/{updates}/{seed}"
                        yield key, functools.partial(run, *place, make, tuning="full", **settings)


def run(setup: Setup, task: str, seed: int, make: Maker, **settings: Any) -> dict[str, Any]:
    train, dev, test = split_of(task, seed, setup)
    classifier = make(task, **setup.settings(seed=seed, **settings))
    _, seconds = timed(lambda: classifier.fit(train, eval_set=(dev, None)))
    return {
        **on_dev(classifier, dev),
        "accuracy": accuracy(classifier, test),
        "train_seconds": seconds,
        "device": setup.device,
    }


def on_dev(classifier: Any, dev: Sequence[Example]) -> dict[str, float]:
    """Return accuracy and mean loss in nats."""
    probabilities = classifier.predict_proba(dev)
    own = [list(classifier.classes_).index(example.label) for example in dev]
    losses = [-math.log(max(float(row[i]), 1e-12)) for row, i in zip(probabilities, own, strict=True)]
    right = float((probabilities.argmax(axis=1) == own).mean())
    return {"dev_accuracy": right, "dev_loss": statistics.mean(losses)}


def page(runs: Runs, about: Mapping[str, Any]) -> Page:
    tasks = [task for task in SIZED if under(runs, task)]
    best = ["The rate and number of updates of each split chosen on its dev half:", best_table(runs, tasks)]
    return Page([*best, "Every setting:", every_table(runs, tasks)], note(runs))


def best_table(runs: Runs, tasks: Sequence[str]) -> str:
    """Return the test accuracies of what dev chose."""
    rows = []
    for name in (*FIXED, *ESTIMATORS):
        best = [[run for seed in SEEDS if (run := chosen(under(runs, f"{task}/{name}"), seed))] for task in tasks]
        rows.append([name, *map(percent, best)])
    return table(["method", *(SIZED[task] for task in tasks)], rows)


def chosen(runs: Runs, seed: int) -> Any:
    """Return the run of a split that dev prefers, or None if there is none yet."""
    of_split = [run for key, run in runs.items() if key.split("/")[-1] == str(seed)]
    return max(of_split, key=lambda run: (run["dev_accuracy"], -run["dev_loss"]), default=None)


def every_table(runs: Runs, tasks: Sequence[str]) -> str:
    """Return the test accuracies of every setting."""
    settings = dict.fromkeys(tuple(key.split("/")[1:-1]) for key in runs if key.count("/") == 4)
    ordered = sorted(settings, key=lambda row: (row[0], int(row[2]), float(row[1])))
    rows = [
        [*setting, *(percent(over_seeds(runs, "/".join([task, *setting]))) for task in tasks)] for setting in ordered
    ]
    return table(["method", "rate", "updates", *tasks], rows)


def note(runs: Runs) -> str:
    seeds = [seed for seed in SEEDS if any(key.endswith(f"/{seed}") for key in runs)]
    devices = sorted({GPU if run["device"] == "cuda" else "CPU" for run in runs.values()})
    short = [f"{NAMES[task]}: {part}" for task in SIZED if (part := unfinished(under(runs, task)))]
    return (
        f"Test accuracy in %, mean (standard deviation) over the splits {listed(seeds)}; 16 training and "
        f"16 dev examples a class, batches of 8; model {MODEL}, float32, {' and '.join(devices)}; weights selected on "
        "dev."
    ) + (f" Not all settings have run: {'; '.join(short)}." if short else "")


def unfinished(runs: Runs) -> str:
    """Say how many runs of each split are missing of a task that has some."""
    expected = len(FIXED) + len(ESTIMATORS) * len(RATES) * len(UPDATES)
    counts = {seed: sum(key.endswith(f"/{seed}") for key in runs) for seed in SEEDS}
    return listed(f"{expected - n} runs of split {seed}" for seed, n in counts.items() if n < expected and runs)


BENCHMARK = Benchmark(
    name="grid",
    title="Prompt and head over a grid",
    doc=__doc__,
    stages=[jobs],
    page=page,
    options=[
        DATA, DEVICE, some_of("tasks", SIZED, SHIPPED), SOME_SEEDS,
        values_of("rates", *RATES), values_of("updates", *UPDATES),
    ],
    about={"k": 16},
)  # fmt: skip

if __name__ == "__main__":
    BENCHMARK.main()
