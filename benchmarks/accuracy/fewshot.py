"""Few-shot accuracy: k = 16, five seeds, minilm, on the sample data shipped with promptlab.

    python benchmarks/accuracy/fewshot.py [--tasks sst2 trec ag_news] [--methods …] [--seeds 13 21 42 87 100]

Every finished run is kept in results/fewshot.json, so that an interrupted benchmark goes on where it stopped; the table
is written to results/fewshot.md.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Mapping
from typing import Any

from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from benchmarks.common.runs import MODEL, SEEDS, keep, mean, parser, sweep
from promptlab import load_sample
from promptlab.core.types import Example
from promptlab.evaluation import baselines as demo

TASKS = {"sst2": "SST-2 (872 dev rows)", "trec": "TREC (500 test rows)", "ag_news": "AG News (1,000 test rows)"}


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


def write(results: Mapping[str, Any]) -> None:
    note = (
        f"Test accuracy in %, mean (standard deviation) over the splits {', '.join(map(str, SEEDS))}; 16 training and "
        f"16 dev examples a class; model {MODEL} (23 M parameters); weights selected on dev. Zero-shot and TF-IDF have "
        "no dev selection."
    )
    keep("fewshot", "Few-shot accuracy", results, [table(results)], note, packages=["scikit-learn"], k=16, seeds=SEEDS)


def main() -> None:
    options_of = parser(__doc__)
    options_of.add_argument("--tasks", nargs="+", default=list(TASKS), choices=list(TASKS))
    options_of.add_argument("--methods", nargs="+", default=list(methods("sst2", 0)), choices=list(methods("sst2", 0)))
    options_of.add_argument("--seeds", nargs="+", type=int, default=list(SEEDS), choices=SEEDS)
    options = options_of.parse_args()
    jobs = [
        (f"{task}/{method}/{seed}", functools.partial(run, task, method, seed))
        for seed in options.seeds
        for task in options.tasks
        for method in options.methods
    ]
    print(table(sweep("fewshot", jobs, write, processes=options.processes)))


if __name__ == "__main__":
    main()
