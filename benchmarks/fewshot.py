"""Few-shot accuracy: k = 16, five seeds, minilm, on the sample data shipped with promptlab.

    python benchmarks/fewshot.py [--tasks sst2 trec ag_news] [--methods …] [--seeds 13 21 42 87 100]

Every finished run is kept in results/fewshot.json, so that an interrupted benchmark goes on where it stopped; the table
is written to results/fewshot.md.
"""

from __future__ import annotations

import argparse
import datetime
import json
import statistics
import time
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from promptlab import demo, load_sample
from promptlab.files import atomic_file
from promptlab.types import Example

RESULTS = Path(__file__).parent / "results"
SEEDS = (13, 21, 42, 87, 100)
TASKS = {"sst2": "SST-2 (872 dev rows)", "trec": "TREC (500 test rows)", "ag_news": "AG News (1,000 test rows)"}
MODEL = "minilm"


class TfidfBaseline:
    """Words and pairs of words, weighted by TF-IDF, into a logistic regression."""

    def __init__(self) -> None:
        self.pipeline = make_pipeline(TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True), LogisticRegression(C=10))

    def fit(self, train: list[Example], eval_set: Any = None) -> TfidfBaseline:
        self.pipeline.fit([e.fields["text_a"] for e in train], [e.label for e in train])
        return self

    def predict(self, test: list[Example]) -> Any:
        return self.pipeline.predict([e.fields["text_a"] for e in test])


def methods(task: str, seed: int) -> Mapping[str, Callable[[], Any]]:
    """Name → a new classifier."""
    return {"TF-IDF + logistic regression": TfidfBaseline, **demo.methods(task, MODEL, seed)}


def run(task: str, method: str, seed: int) -> dict[str, Any]:
    """Train on one split, keep the weights that are best on its dev half, score on the test rows."""
    sample = load_sample(task)
    train, dev = sample.few_shot(seed)
    start = time.perf_counter()
    classifier = methods(task, seed)[method]().fit(train, eval_set=(dev, None))
    trained = time.perf_counter()
    predicted = classifier.predict(sample.test)
    right = sum(p == example.label for p, example in zip(predicted, sample.test, strict=True))
    return {
        "accuracy": right / len(sample.test),
        "train_seconds": trained - start,
        "predict_seconds": time.perf_counter() - trained,
        "history": getattr(classifier, "history_", []),
    }


def mean(values: list[float], *, digits: int = 1) -> str:
    """Mean and, of several values, the standard deviation, as the tables print them."""
    if not values:
        return "–"
    spread = f" ({statistics.stdev(values):.{digits}f})" if len(values) > 1 else ""
    return f"{statistics.mean(values):.{digits}f}{spread}"


def accuracy(classifier: Any, examples: list[Example]) -> float:
    """Share of examples classified right."""
    predicted = classifier.predict(examples)
    return sum(p == e.label for p, e in zip(predicted, examples, strict=True)) / len(examples)


def table(results: Mapping[str, Mapping[str, Any]]) -> str:
    """Mean and standard deviation of test accuracy over the seeds, a row for each method."""
    lines = ["| method | " + " | ".join(TASKS.values()) + " |", "|---|" + "---|" * len(TASKS)]
    for method in methods("sst2", 0):
        cells = []
        for task in TASKS:
            values = [100 * results[key]["accuracy"] for seed in SEEDS if (key := f"{task}/{method}/{seed}") in results]
            cells.append(mean(values))
        lines.append(f"| {method} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def write(results: Mapping[str, Mapping[str, Any]]) -> None:
    versions = {name: version(name) for name in ("promptlab", "torch", "transformers", "scikit-learn")}
    about = {"model": MODEL, "k": 16, "seeds": SEEDS, "date": str(datetime.date.today()), "versions": versions}
    RESULTS.mkdir(exist_ok=True)
    with atomic_file(RESULTS / "fewshot.json") as path:
        path.write_text(json.dumps({"about": about, "runs": results}, indent=1) + "\n")
    note = (
        f"Test accuracy in %, mean (standard deviation) over the splits {', '.join(map(str, SEEDS))}; 16 training and "
        f"16 dev examples a class; model {MODEL} (23 M parameters); weights selected on dev. Zero-shot and TF-IDF have "
        f"no dev selection. {about['date']}, " + ", ".join(f"{k} {v}" for k, v in versions.items()) + "."
    )
    with atomic_file(RESULTS / "fewshot.md") as path:
        path.write_text(f"# Few-shot accuracy\n\n{table(results)}\n\n{note}\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", nargs="+", default=list(TASKS), choices=list(TASKS))
    parser.add_argument("--methods", nargs="+", default=list(methods("sst2", 0)), choices=list(methods("sst2", 0)))
    parser.add_argument("--seeds", nargs="+", type=int, default=list(SEEDS), choices=SEEDS)
    options = parser.parse_args()
    path = RESULTS / "fewshot.json"
    results = json.loads(path.read_text())["runs"] if path.exists() else {}
    for seed in options.seeds:
        for task in options.tasks:
            for method in options.methods:
                key = f"{task}/{method}/{seed}"
                if key not in results:
                    results[key] = run(task, method, seed)
                    print(key, {k: round(v, 3) for k, v in results[key].items() if k != "history"}, flush=True)
                    write(results)
    write(results)
    print(table(results))


if __name__ == "__main__":
    main()
