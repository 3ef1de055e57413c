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
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks.accuracy.tuning import data, loaded
from benchmarks.common.runs import GPU, MODEL, SEEDS, Job, accuracy, keep, mean, parser, placed, sweep
from promptlab import HeadClassifier, PromptClassifier

TASKS = {
    "sst2": "SST-2 (872 dev rows)",
    "trec": "TREC (500 test rows)",
    "ag_news": "AG News (1,000 test rows)",
    "rte": "RTE (277 dev rows)",
}
RATES = (1e-5, 3e-5, 1e-4, 3e-4, 1e-3)
UPDATES = (100, 300)
FIELDS = {"rte": ("text_a", "text_b")}
Maker = Callable[..., Any]


def head(task: str, **settings: Any) -> HeadClassifier:
    return HeadClassifier(loaded(MODEL), fields=FIELDS.get(task, ("text_a",)), **settings)


def prompt(task: str, **settings: Any) -> PromptClassifier:
    return PromptClassifier(task, task, loaded(MODEL), **settings)


ESTIMATORS: Mapping[str, Maker] = {"head fine-tuning": head, "prompt fine-tuning": prompt}
FIXED: Mapping[str, Maker] = {
    "zero-shot": functools.partial(prompt, tuning="none"),
    "linear probe": functools.partial(head, tuning="frozen"),
}


def jobs(options: argparse.Namespace) -> Iterator[Job]:
    """Every run, the same seed's together."""
    for seed in options.seeds:
        for task in options.tasks:
            place = {"task": task, "seed": seed, "folder": options.data, "device": options.device}
            for name, make in FIXED.items():
                yield f"{task}/{name}/{seed}", functools.partial(run, make, **place)
            for updates in options.updates:
                for rate in options.rates:
                    for name, make in ESTIMATORS.items():
                        settings = {"learning_rate": rate, "head_learning_rate": 1e-3, "max_steps": updates}
                        key = f"{task}/{name}/{rate:g}/{updates}/{seed}"
                        yield key, functools.partial(run, make, **place, **settings)


def run(make: Maker, *, task: str, seed: int, folder: Path | None, device: str, **settings: Any) -> dict[str, Any]:
    train, dev, test = data(task, seed, folder)
    start = time.perf_counter()
    classifier = make(task, seed=seed, **placed(device), **settings).fit(train, eval_set=(dev, None))
    seconds = time.perf_counter() - start
    probabilities = classifier.predict_proba(dev)
    own = [list(classifier.classes_).index(example.label) for example in dev]
    losses = [-math.log(max(float(row[i]), 1e-12)) for row, i in zip(probabilities, own, strict=True)]
    return {
        "dev_accuracy": float((probabilities.argmax(axis=1) == own).mean()),
        "dev_loss": statistics.mean(losses),
        "accuracy": accuracy(classifier, test),
        "train_seconds": seconds,
        "device": device,
    }


def chosen(results: Mapping[str, Any], task: str, name: str, seed: int) -> Any:
    """The run of a split that dev prefers, or None if there is none yet."""
    runs = [row for key, row in results.items() if _of(key, task, name) and key.endswith(f"/{seed}")]
    return max(runs, key=lambda row: (row["dev_accuracy"], -row["dev_loss"]), default=None)


def _unfinished(results: Mapping[str, Any], task: str) -> str:
    """How many runs of each split are missing of a task that has some."""
    expected = len(FIXED) + len(ESTIMATORS) * len(RATES) * len(UPDATES)
    counts = {seed: sum(key.startswith(f"{task}/") and key.endswith(f"/{seed}") for key in results) for seed in SEEDS}
    lacking = {seed: expected - count for seed, count in counts.items() if count < expected}
    return ", ".join(f"{n} runs of split {seed}" for seed, n in lacking.items()) if any(counts.values()) else ""


def _of(key: str, task: str, name: str) -> bool:
    return key.startswith(f"{task}/{name}/")


def tables(results: Mapping[str, Any]) -> tuple[str, str]:
    """Test accuracy of what dev chose, and of every setting."""
    tasks = [task for task in TASKS if any(key.startswith(f"{task}/") for key in results)]
    first = ["| method | " + " | ".join(TASKS[task] for task in tasks) + " |", "|---" * (len(tasks) + 1) + "|"]
    for name in (*FIXED, *ESTIMATORS):
        best = {task: [chosen(results, task, name, seed) for seed in SEEDS] for task in tasks}
        cells = [mean([100 * row["accuracy"] for row in best[task] if row]) for task in tasks]
        first.append(f"| {name} | " + " | ".join(cells) + " |")
    second = ["| method | rate | updates | " + " | ".join(tasks) + " |", "|---" * (len(tasks) + 3) + "|"]
    settings = dict.fromkeys(tuple(key.split("/")[1:-1]) for key in results if key.count("/") == 4)
    for name, rate, updates in sorted(settings, key=lambda row: (row[0], int(row[2]), float(row[1]))):
        cells = []
        for task in tasks:
            keys = [f"{task}/{name}/{rate}/{updates}/{seed}" for seed in SEEDS]
            cells.append(mean([100 * results[key]["accuracy"] for key in keys if key in results]))
        second.append(f"| {name} | {rate} | {updates} | " + " | ".join(cells) + " |")
    return "\n".join(first), "\n".join(second)


def write(results: Mapping[str, Any]) -> None:
    seeds = [seed for seed in SEEDS if any(key.endswith(f"/{seed}") for key in results)]
    devices = sorted({GPU if row["device"] == "cuda" else "CPU" for row in results.values()})
    note = (
        f"Test accuracy in %, mean (standard deviation) over the splits {', '.join(map(str, seeds))}; 16 training and "
        f"16 dev examples a class, batches of 8; model {MODEL}, float32, {' and '.join(devices)}; weights selected on "
        "dev."
    )
    short = [f"{TASKS[task].split(' (')[0]}: {part}" for task in TASKS if (part := _unfinished(results, task))]
    note += f" Not all settings have run: {'; '.join(short)}." if short else ""
    best, every = tables(results)
    parts = ["The rate and number of updates of each split chosen on its dev half:", best, "Every setting:", every]
    keep("grid", "Prompt and head over a grid", results, parts, note, k=16)


def main() -> None:
    options_of = parser(__doc__)
    options_of.add_argument("--data", type=Path)
    options_of.add_argument("--device", default="cpu")
    options_of.add_argument("--tasks", nargs="+", default=["sst2", "trec", "ag_news"], choices=list(TASKS))
    options_of.add_argument("--seeds", nargs="+", type=int, default=list(SEEDS), choices=SEEDS)
    options_of.add_argument("--rates", nargs="+", type=float, default=list(RATES))
    options_of.add_argument("--updates", nargs="+", type=int, default=list(UPDATES))
    options = options_of.parse_args()
    loaded(MODEL)  # once, for all processes
    sweep("grid", jobs(options), write, processes=options.processes)


if __name__ == "__main__":
    main()
