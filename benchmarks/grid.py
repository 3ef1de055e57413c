"""Prompt against head over a grid of learning rates and updates, chosen on dev alone: k = 16, five seeds, minilm.

    python benchmarks/grid.py [--data FOLDER] [--tasks sst2 trec ag_news rte] [--seeds 13 …] [--rates …] [--updates …]

FOLDER holds ``rte`` (train.tsv, dev.tsv, fewshot/k16-seedS.json). Every run keeps the weights that dev selects and is
scored on dev and on test; for each split, the setting with the highest dev accuracy (of equal ones, the lowest dev
loss) is taken, and its test accuracy counts. Zero-shot and the linear probe, which have no such grid, stand beside it.
Finished runs are kept in results/grid.json; the tables go to results/grid.md.
"""

from __future__ import annotations

import argparse
import datetime
import json
import math
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import fewshot
from tuning import data

from promptlab import HeadClassifier, PromptClassifier
from promptlab.files import atomic_file

TASKS = {
    "sst2": "SST-2 (872 dev rows)",
    "trec": "TREC (500 test rows)",
    "ag_news": "AG News (1,000 test rows)",
    "rte": "RTE (277 dev rows)",
}
RATES = (1e-5, 3e-5, 1e-4, 3e-4, 1e-3)
UPDATES = (100, 300)
FIELDS = {"rte": ("text_a", "text_b")}
ESTIMATORS: Mapping[str, Callable[..., Any]] = {
    "head fine-tuning": lambda task, **settings: HeadClassifier(
        fewshot.MODEL, fields=FIELDS.get(task, ("text_a",)), **settings
    ),
    "prompt fine-tuning": lambda task, **settings: PromptClassifier(task, task, fewshot.MODEL, **settings),
}
FIXED: Mapping[str, Callable[..., Any]] = {
    "zero-shot": lambda task, **settings: PromptClassifier(task, task, fewshot.MODEL, "none", **settings),
    "linear probe": lambda task, **settings: HeadClassifier(
        fewshot.MODEL, "frozen", fields=FIELDS.get(task, ("text_a",)), **settings
    ),
}


def jobs(options: argparse.Namespace) -> Iterator[tuple[str, Callable[[], Any], str, int]]:
    """Key, maker of the classifier, task and seed of every run, the same seed's together."""
    for seed in options.seeds:
        for task in options.tasks:
            for name, make in FIXED.items():
                yield f"{task}/{name}/{seed}", lambda m=make, t=task, s=seed: m(t, seed=s), task, seed
            for updates in options.updates:
                for rate in options.rates:
                    for name, make in ESTIMATORS.items():
                        settings = {"learning_rate": rate, "head_learning_rate": 1e-3, "max_steps": updates}
                        key = f"{task}/{name}/{rate:g}/{updates}/{seed}"
                        yield key, lambda m=make, t=task, k=settings, s=seed: m(t, seed=s, **k), task, seed


def run(make: Callable[[], Any], task: str, seed: int, folder: Path | None) -> dict[str, Any]:
    train, dev, test = data(task, seed, folder)
    start = time.perf_counter()
    classifier = make().fit(train, eval_set=(dev, None))
    seconds = time.perf_counter() - start
    probabilities = classifier.predict_proba(dev)
    own = [list(classifier.classes_).index(example.label) for example in dev]
    losses = [-math.log(max(float(row[i]), 1e-12)) for row, i in zip(probabilities, own, strict=True)]
    return {
        "dev_accuracy": float((probabilities.argmax(axis=1) == own).mean()),
        "dev_loss": statistics.mean(losses),
        "accuracy": fewshot.accuracy(classifier, test),
        "train_seconds": seconds,
    }


def chosen(results: Mapping[str, Any], task: str, name: str, seed: int) -> Any:
    """The run of a split that dev prefers, or None if there is none yet."""
    runs = [row for key, row in results.items() if _of(key, task, name) and key.endswith(f"/{seed}")]
    return max(runs, key=lambda row: (row["dev_accuracy"], -row["dev_loss"]), default=None)


def _of(key: str, task: str, name: str) -> bool:
    return key.startswith(f"{task}/{name}/")


def tables(results: Mapping[str, Any]) -> tuple[str, str]:
    """Test accuracy of what dev chose, and of every setting."""
    tasks = [task for task in TASKS if any(key.startswith(f"{task}/") for key in results)]
    first = ["| method | " + " | ".join(TASKS[task] for task in tasks) + " |", "|---" * (len(tasks) + 1) + "|"]
    for name in (*FIXED, *ESTIMATORS):
        best = {task: [chosen(results, task, name, seed) for seed in fewshot.SEEDS] for task in tasks}
        cells = [fewshot.mean([100 * row["accuracy"] for row in best[task] if row]) for task in tasks]
        first.append(f"| {name} | " + " | ".join(cells) + " |")
    second = ["| method | rate | updates | " + " | ".join(tasks) + " |", "|---" * (len(tasks) + 3) + "|"]
    settings = dict.fromkeys(tuple(key.split("/")[1:-1]) for key in results if key.count("/") == 4)
    for name, rate, updates in sorted(settings, key=lambda row: (row[0], int(row[2]), float(row[1]))):
        cells = []
        for task in tasks:
            keys = [f"{task}/{name}/{rate}/{updates}/{seed}" for seed in fewshot.SEEDS]
            cells.append(fewshot.mean([100 * results[key]["accuracy"] for key in keys if key in results]))
        second.append(f"| {name} | {rate} | {updates} | " + " | ".join(cells) + " |")
    return "\n".join(first), "\n".join(second)


def write(results: Mapping[str, Any]) -> None:
    versions = {name: version(name) for name in ("promptlab", "torch", "transformers")}
    about = {"model": fewshot.MODEL, "k": 16, "date": str(datetime.date.today()), "versions": versions}
    with atomic_file(fewshot.RESULTS / "grid.json") as path:
        path.write_text(json.dumps({"about": about, "runs": results}, indent=1) + "\n")
    seeds = [seed for seed in fewshot.SEEDS if any(key.endswith(f"/{seed}") for key in results)]
    note = (
        f"Test accuracy in %, mean (standard deviation) over the splits {', '.join(map(str, seeds))}; 16 training and "
        f"16 dev examples a class, batches of 8; model {fewshot.MODEL}; weights selected on dev. {about['date']}, "
        + ", ".join(f"{k} {v}" for k, v in versions.items())
        + "."
    )
    best, every = tables(results)
    parts = ["# Prompt and head over a grid", "The rate and number of updates of each split chosen on its dev half:"]
    with atomic_file(fewshot.RESULTS / "grid.md") as path:
        path.write_text("\n\n".join([*parts, best, "Every setting:", every, note]) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--tasks", nargs="+", default=["sst2", "trec", "ag_news"], choices=list(TASKS))
    parser.add_argument("--seeds", nargs="+", type=int, default=list(fewshot.SEEDS), choices=fewshot.SEEDS)
    parser.add_argument("--rates", nargs="+", type=float, default=list(RATES))
    parser.add_argument("--updates", nargs="+", type=int, default=list(UPDATES))
    options = parser.parse_args()
    path = fewshot.RESULTS / "grid.json"
    results = json.loads(path.read_text())["runs"] if path.exists() else {}
    for key, make, task, seed in jobs(options):
        if key not in results:
            results[key] = run(make, task, seed, options.data)
            print(key, {k: round(v, 3) for k, v in results[key].items()}, flush=True)
            write(results)
    write(results)


if __name__ == "__main__":
    main()
