"""In-context learning with a causal model: zero-shot and 16-shot, with and without calibration, five seeds.

    promptlab download smollm2
    python benchmarks/accuracy/icl.py [--tasks …] [--seeds …]

The demonstrations are 16 of the split's training examples, classes taking turns. Accuracy is that of the first 300 test
rows in an order shuffled once. Every finished run is kept in results/icl.json; the table is written to results/icl.md.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from benchmarks.accuracy.tuning import loaded
from benchmarks.common.runs import SEEDS, keep, mean, parser, sweep
from promptlab import ContextualCalibration, InContextTemplate, PMICalibration, PromptClassifier
from promptlab.data.samples import load_sample
from promptlab.library.resolve import resolve_template, resolve_verbalizer

MODEL = "smollm2"
ROWS = 300
TASKS = {  # template, verbalizer and instruction of Zhao et al., arXiv:2102.09690, table 5
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


def run(task: str, shots: int, seed: int) -> dict[str, Any]:
    """Accuracy by calibration. The model reads the test rows once: calibrations differ by a constant per class."""
    template, words, instruction = TASKS[task]
    sample = load_sample(task)
    train, _ = sample.few_shot(seed)
    rows = np.random.default_rng(0).permutation(len(sample.test))[:ROWS]
    test = [sample.test[row] for row in rows]
    shown = InContextTemplate(resolve_template(template), k=shots, instruction=instruction, seed=seed)
    start = time.perf_counter()
    accuracy, plain = {}, None
    for name, wrap in CALIBRATIONS.items():
        verbalizer = resolve_verbalizer(words)
        classifier = PromptClassifier(shown, wrap(verbalizer) if wrap else verbalizer, loaded(MODEL), tuning="none")
        classifier.fit(train)
        plain = np.log(classifier.predict_proba(test)) if plain is None else plain
        prior = 0.0
        if wrap is not None:
            order = [list(verbalizer.classes).index(str(c)) for c in classifier.classes_]
            prior = classifier.model_.head.prior.cpu().numpy()[order]
        predicted = classifier.classes_[(plain - prior).argmax(axis=1)]
        accuracy[name] = float(np.mean([p == e.label for p, e in zip(predicted, test, strict=True)]))
    return {"accuracy": accuracy, "seconds": time.perf_counter() - start}


def table(results: Mapping[str, Any]) -> str:
    lines = ["| demonstrations | calibration | " + " | ".join(TASKS) + " |", "|---|---|" + "---|" * len(TASKS)]
    for shots in (0, 16):
        for name in CALIBRATIONS:
            cells = []
            for task in TASKS:
                keys = [f"{task}/{shots}/{seed}" for seed in SEEDS]
                values = [100 * results[key]["accuracy"][name] for key in keys if key in results]
                cells.append(mean(values))
            lines.append(f"| {shots} | {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def write(results: Mapping[str, Any]) -> None:
    note = (
        f"Accuracy in % on {ROWS} test rows, the same in every run; mean (standard deviation) over the splits "
        f"{', '.join(map(str, SEEDS))}, which give the demonstrations. Model {MODEL} (SmolLM2-135M-Instruct, "
        f"4 bits, read as float32); templates, label words and instructions of Zhao et al., arXiv:2102.09690. "
        "Zero-shot has no seeds."
    )
    keep("icl", "In-context learning", results, [table(results)], note, model=MODEL, rows=ROWS, seeds=SEEDS)


def main() -> None:
    options_of = parser(__doc__)
    options_of.add_argument("--tasks", nargs="+", default=list(TASKS), choices=list(TASKS))
    options_of.add_argument("--seeds", nargs="+", type=int, default=list(SEEDS), choices=SEEDS)
    options = options_of.parse_args()
    loaded(MODEL)  # once, before the processes part
    todo = [(task, 0, options.seeds[0]) for task in options.tasks]  # without demonstrations every seed is the same
    todo += [(task, 16, seed) for seed in options.seeds for task in options.tasks]
    jobs = [(f"{task}/{shots}/{seed}", functools.partial(run, task, shots, seed)) for task, shots, seed in todo]
    print(table(sweep("icl", jobs, write, processes=options.processes)))


if __name__ == "__main__":
    main()
