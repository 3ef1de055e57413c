"""Few-shot accuracy: k = 16, five seeds, minilm, on the sample data shipped with promptlab.

    python benchmarks/accuracy/fewshot.py [--tasks sst2 trec ag_news] [--methods …] [--seeds 13 21 42 87 100]

Every finished run is kept in results/fewshot.json, so that an interrupted benchmark goes on where it stopped; the table
is written to results/fewshot.md.
"""

from __future__ import annotations

import argparse
import functools
from collections.abc import Iterator, Mapping
from typing import Any

from sklearn.linear_model import LogisticRegression

from benchmarks.common.data import SHIPPED, SIZED, share_right, split_of
from benchmarks.common.models import MODEL, TfidfBaseline, loaded
from benchmarks.common.options import SOME_SEEDS, some_of
from benchmarks.common.runs import Benchmark, Job
from benchmarks.common.setup import SEEDS, Setup
from benchmarks.common.tables import Page, Runs, listed, over_seeds, percent, table
from benchmarks.common.timing import timed
from promptlab.evaluation import baselines as demo

TFIDF = "TF-IDF + logistic regression"
METHODS = (TFIDF, *demo.methods("sst2", MODEL, 0))


def jobs(options: argparse.Namespace) -> Iterator[Job]:
    for seed in options.seeds:
        for task in options.tasks:
            for method in options.methods:
                yield f"{task}/{method}/{seed}", functools.partial(run, options.setup, task, method, seed)


def run(setup: Setup, task: str, method: str, seed: int) -> dict[str, Any]:
    """Train on one split, keep the weights that are best on its dev half, score on the test rows."""
    train, dev, test = split_of(task, seed, setup)
    classifier, train_seconds = timed(lambda: made(setup, task, method, seed).fit(train, eval_set=(dev, None)))
    predicted, predict_seconds = timed(lambda: classifier.predict(test))
    return {
        "accuracy": share_right(predicted, test),
        "train_seconds": train_seconds,
        "predict_seconds": predict_seconds,
        "history": getattr(classifier, "history_", []),
    }


def made(setup: Setup, task: str, method: str, seed: int) -> Any:
    """Return a new classifier."""
    if method == TFIDF:
        return TfidfBaseline(LogisticRegression(C=10), lambda train: [example.label for example in train])
    classifier = demo.methods(task, loaded(MODEL), seed)[method]()
    return classifier.set_params(**setup.settings(tuning=classifier.tuning))


def page(runs: Runs, about: Mapping[str, Any]) -> Page:
    rows = [[method, *(percent(over_seeds(runs, f"{task}/{method}")) for task in SHIPPED)] for method in METHODS]
    note = (
        f"Test accuracy in %, mean (standard deviation) over the splits {listed(SEEDS)}; 16 training and "
        f"16 dev examples a class; model {MODEL} (23 M parameters); weights selected on dev. Zero-shot and TF-IDF have "
        "no dev selection."
    )
    return Page([table(["method", *(SIZED[task] for task in SHIPPED)], rows)], note)


BENCHMARK = Benchmark(
    name="fewshot",
    title="Few-shot accuracy",
    doc=__doc__,
    stages=[jobs],
    page=page,
    options=[some_of("tasks", SHIPPED), some_of("methods", METHODS), SOME_SEEDS],
    about={"k": 16, "seeds": SEEDS},
    packages=["scikit-learn"],
)

if __name__ == "__main__":
    BENCHMARK.main()
