"""In-context learning with the shared prompt prefix against without it: one process, interleaved, equal scores.

    promptlab download smollm2
    python benchmarks/speed/prefix_cache.py [--queries 32] [--repeats 3]

The figures are kept in results/prefix_cache.json, the table in results/prefix_cache.md.
"""

from __future__ import annotations

import argparse
import functools
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import numpy as np

from benchmarks.accuracy.icl import PROMPTS, shown
from benchmarks.common.data import SHIPPED, sample
from benchmarks.common.models import GENERATOR, loaded
from benchmarks.common.options import some_of, value_of
from benchmarks.common.runs import Job, Measurement
from benchmarks.common.setup import Setup
from benchmarks.common.tables import Page, Runs, table
from benchmarks.common.timing import in_turn, ratio
from promptlab import PromptClassifier
from promptlab.core.types import Example

SHOTS = 16


def jobs(options: argparse.Namespace) -> Iterator[Job]:
    for task in options.tasks:
        yield task, functools.partial(run, options.setup, task, options.queries, options.repeats)


def run(setup: Setup, task: str, queries: int, repeats: int) -> dict[str, float]:
    train, _ = sample(task).few_shot(13)
    settings = setup.settings(tuning="none")
    template, words = shown(task, SHOTS, seed=0), PROMPTS[task][1]
    classifier = PromptClassifier(template, words, loaded(GENERATOR), **settings).fit(train)
    test = setup.some(sample(task).test[:queries])
    scores: dict[str, np.ndarray] = {}
    contexts = {"shared": classifier.model_.backbone.sharing, "whole": lambda encoded: nullcontext()}
    contestants = {
        name: functools.partial(predict, classifier, test, scores, name, contexts[name]) for name in contexts
    }
    seconds = in_turn(contestants, repeats)
    return {
        "ratio": ratio(seconds, "whole", "shared"),
        "largest_difference": float(np.abs(scores["shared"] - scores["whole"]).max()),
        "mean_prompt_tokens": statistics.mean(len(row.input_ids) for row in classifier.model_.encode(test)),
    }


def predict(
    classifier: PromptClassifier,
    test: Sequence[Example],
    scores: dict[str, np.ndarray],
    name: str,
    context: Callable[[Any], Any],
) -> None:
    """Put probabilities among the scores; the context says what the prompts share."""
    classifier.model_.backbone.sharing = context
    scores[name] = classifier.predict_proba(test)


def page(runs: Runs, about: Mapping[str, Any]) -> Page:
    heads = [
        "task", "tokens of a prompt", "whole prompts / shared prefix, time", "largest difference of a probability",
    ]  # fmt: skip
    rows = [
        [task, f"{run['mean_prompt_tokens']:.0f}", f"{run['ratio']:.1f}", f"{run['largest_difference']:.1e}"]
        for task, run in runs.items()
    ]
    note = (
        f"Model {GENERATOR}, {SHOTS} demonstrations, {about['queries']} queries, medians of {about['repeats']} "
        "interleaved runs in one process on a CPU."
    )
    return Page([table(heads, rows)], note)


BENCHMARK = Measurement(
    name="prefix_cache",
    title="Shared prompt prefix",
    doc=__doc__,
    stages=[jobs],
    page=page,
    options=[some_of("tasks", SHIPPED), value_of("queries", 32), value_of("repeats", 3)],
    recorded=["queries", "repeats"],
    about={"model": GENERATOR, "demonstrations": SHOTS},
)

if __name__ == "__main__":
    BENCHMARK.main()
