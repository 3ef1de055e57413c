"""In-context learning with a causal model: zero-shot and 16-shot, with and without calibration, five seeds.

    promptlab download smollm2
    python benchmarks/accuracy/icl.py [--tasks …] [--seeds …]

The demonstrations are 16 of the split's training examples, classes taking turns. Accuracy is that of the first 300 test
rows in an order shuffled once. Every finished run is kept in results/icl.json; the table is written to results/icl.md.
"""

from __future__ import annotations

import argparse
import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks.common.data import SHIPPED, sample, share_right
from benchmarks.common.models import GENERATOR, loaded
from benchmarks.common.options import SOME_SEEDS, some_of
from benchmarks.common.runs import Benchmark, Job
from benchmarks.common.setup import SEEDS, Setup
from benchmarks.common.tables import Page, Runs, listed, mean, over_seeds, table
from benchmarks.common.timing import timed
from promptlab import ContextualCalibration, InContextTemplate, PMICalibration, PromptClassifier
from promptlab.core.types import Example
from promptlab.library.resolve import resolve_template, resolve_verbalizer

ROWS = 300
SHOTS = (0, 16)
PROMPTS = {  # template, verbalizer and instruction of Zhao et al., arXiv:2102.09690, table 5
    "sst2": ("sst2/review-sentiment", "sst2/sentiment", ""),
    "trec": (
        "trec/question-type",
        "trec/type",
        "Classify the questions based on whether their answer type is a Number, Location, Person, Description, Entity, "
        "or Abbreviation.",
    ),
    "ag_news": (
        "ag_news/article-answer",
        "ag_news/section",
        "Classify the news articles into the categories of World, Sports, Business, and Technology.",
    ),
}
CALIBRATIONS = {"none": None, "contextual": ContextualCalibration, "domain PMI": PMICalibration}


def jobs(options: argparse.Namespace) -> Iterator[Job]:
    loaded(GENERATOR)  # once, before the processes part
    todo = [(task, 0, options.seeds[0]) for task in options.tasks]  # without demonstrations every seed is the same
    todo += [(task, 16, seed) for seed in options.seeds for task in options.tasks]
    for task, shots, seed in todo:
        yield f"{task}/{shots}/{seed}", functools.partial(run, options.setup, task, shots, seed)


def run(setup: Setup, task: str, shots: int, seed: int) -> dict[str, Any]:
    """Return the accuracy with each calibration."""
    own = sample(task)
    order = np.random.default_rng(0).permutation(len(own.test))[:ROWS]
    test = setup.some([own.test[row] for row in order])
    train, _ = own.few_shot(seed)
    found, seconds = timed(lambda: calibrated(shown(task, shots, seed), PROMPTS[task][1], train, test))
    return {"accuracy": found, "seconds": seconds}


def shown(task: str, shots: int, seed: int) -> InContextTemplate:
    template, _, instruction = PROMPTS[task]
    return InContextTemplate(resolve_template(template), k=shots, instruction=instruction, seed=seed)


def calibrated(
    template: InContextTemplate, words: str, train: Sequence[Example], test: Sequence[Example]
) -> dict[str, float]:
    """Return accuracies. The model reads the test rows once: calibrations differ by a constant per class."""
    found, plain = {}, None
    for name, wrap in CALIBRATIONS.items():
        verbalizer = resolve_verbalizer(words)
        wrapped = wrap(verbalizer) if wrap else verbalizer
        classifier = PromptClassifier(template, wrapped, loaded(GENERATOR), tuning="none").fit(train)
        plain = np.log(classifier.predict_proba(test)) if plain is None else plain
        best = (plain - (prior(classifier, verbalizer.classes) if wrap else 0.0)).argmax(axis=1)
        found[name] = share_right(list(classifier.classes_[best]), test)
    return found


def prior(classifier: PromptClassifier, names: Sequence[str]) -> np.ndarray:
    """Return the log-probabilities that a calibration takes off, in the order of the columns."""
    return classifier.model_.head.prior.cpu().numpy()[[list(names).index(str(name)) for name in classifier.classes_]]


def page(runs: Runs, about: Mapping[str, Any]) -> Page:
    rows = [
        [str(shots), name, *(cell(runs, f"{task}/{shots}", name) for task in PROMPTS)]
        for shots in SHOTS
        for name in CALIBRATIONS
    ]
    note = (
        f"Accuracy in % on {ROWS} test rows, the same in every run; mean (standard deviation) over the splits "
        f"{listed(SEEDS)}, which give the demonstrations. Model {GENERATOR} (SmolLM2-135M-Instruct, "
        f"4 bits, read as float32); templates, label words and instructions of Zhao et al., arXiv:2102.09690. "
        "Zero-shot has no seeds."
    )
    return Page([table(["demonstrations", "calibration", *PROMPTS], rows)], note)


def cell(runs: Runs, place: str, calibration: str) -> str:
    return mean([100 * run["accuracy"][calibration] for run in over_seeds(runs, place)])


BENCHMARK = Benchmark(
    name="icl",
    title="In-context learning",
    doc=__doc__,
    stages=[jobs],
    page=page,
    options=[some_of("tasks", SHIPPED), SOME_SEEDS],
    about={"model": GENERATOR, "rows": ROWS, "seeds": SEEDS},
)

if __name__ == "__main__":
    BENCHMARK.main()
