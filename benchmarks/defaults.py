"""How promptlab's defaults were chosen: on rows of the training pools, never on a test row.

    python benchmarks/defaults.py words [--tasks …]
    python benchmarks/defaults.py rates [--tasks …] [--splits 13 21] [--rates 4e-5 1e-4 2.5e-4] [--steps 100 250]

``words`` scores every template and verbalizer of a task's library zero-shot on all rows of its pool. ``rates`` trains
with each learning rate and number of updates on a split and scores the weights selected on its dev half on the pool's
rows outside the split. Every finished run is kept in results/defaults.json, so that an interrupted run goes on; the
tables are written to results/defaults.md.
"""

from __future__ import annotations

import argparse
import datetime
import json
import statistics
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import fewshot

from promptlab import HeadClassifier, PromptClassifier, load_sample
from promptlab.files import atomic_file
from promptlab.library import template_names, verbalizer_names
from promptlab.types import Example

PATH = fewshot.RESULTS / "defaults.json"
ESTIMATORS: Mapping[str, Callable[..., Any]] = {
    "prompt": lambda task, **settings: PromptClassifier(task, task, fewshot.MODEL, **settings),
    "head": lambda task, **settings: HeadClassifier(fewshot.MODEL, **settings),
}


def accuracy(classifier: Any, examples: list[Example]) -> float:
    predicted = classifier.predict(examples)
    return sum(p == e.label for p, e in zip(predicted, examples, strict=True)) / len(examples)


def words(options: argparse.Namespace) -> Iterator[tuple[str, Callable[[], float]]]:
    for task in options.tasks:
        for template in template_names(task):
            for verbalizer in verbalizer_names(task):
                classifier = PromptClassifier(template, verbalizer, fewshot.MODEL, tuning="none")
                yield f"words/{template}/{verbalizer}", lambda c=classifier, t=task: accuracy(c, load_sample(t).pool)


def rates(options: argparse.Namespace) -> Iterator[tuple[str, Callable[[], float]]]:
    for split in options.splits:
        for task in options.tasks:
            for kind in options.estimators:
                for steps in options.steps:
                    for rate in options.rates:
                        key = f"rates/{task}/{kind}/{rate:g}/{steps}/{split}"
                        yield key, lambda a=(task, kind, rate, steps, split): train(*a)


def train(task: str, kind: str, rate: float, steps: int, split: int) -> float:
    sample = load_sample(task)
    fit, dev = sample.few_shot(split)
    used = {*sample.splits[split].train, *sample.splits[split].dev}
    rest = [example for row, example in enumerate(sample.pool) if row not in used]
    classifier = ESTIMATORS[kind](task, learning_rate=rate, head_learning_rate=1e-3, max_steps=steps)
    return accuracy(classifier.fit(fit, eval_set=(dev, None)), rest)


def tables(results: Mapping[str, float]) -> str:
    words = {key.removeprefix("words/"): value for key, value in results.items() if key.startswith("words/")}
    lines = ["# How the defaults were chosen", "", "Zero-shot accuracy in % on all rows of the training pool:", ""]
    lines += ["| template | verbalizer | accuracy |", "|---|---|---|"]
    for key, value in words.items():
        parts = key.split("/")
        lines.append(f"| {'/'.join(parts[:2])} | {'/'.join(parts[2:])} | {100 * value:.1f} |")
    lines += ["", "After training, on the pool's rows outside the split (weights selected on its dev half):", ""]
    lines += ["| task | classifier | learning rate | updates | mean | splits |", "|---|---|---|---|---|---|"]
    settings = dict.fromkeys(key.rsplit("/", 1)[0] for key in results if key.startswith("rates/"))
    for setting in settings:
        _, task, kind, rate, steps = setting.split("/")
        values = [100 * value for key, value in results.items() if key.rsplit("/", 1)[0] == setting]
        each = ", ".join(f"{value:.1f}" for value in values)
        lines.append(f"| {task} | {kind} | {rate} | {steps} | {statistics.mean(values):.1f} | {each} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["words", "rates"])
    parser.add_argument("--tasks", nargs="+", default=list(fewshot.TASKS), choices=list(fewshot.TASKS))
    parser.add_argument("--splits", nargs="+", type=int, default=[13, 21], choices=fewshot.SEEDS)
    parser.add_argument("--estimators", nargs="+", default=list(ESTIMATORS), choices=list(ESTIMATORS))
    parser.add_argument("--rates", nargs="+", type=float, default=[4e-5, 1e-4, 2.5e-4])
    parser.add_argument("--steps", nargs="+", type=int, default=[100, 250])
    parser.add_argument("--output", type=Path, default=PATH)
    options = parser.parse_args()
    results = json.loads(options.output.read_text())["accuracy"] if options.output.exists() else {}
    for key, run in {"words": words, "rates": rates}[options.what](options):
        if key not in results:
            results[key] = run()
            print(key, round(100 * results[key], 1), flush=True)
            with atomic_file(options.output) as path:
                about = {"model": fewshot.MODEL, "date": str(datetime.date.today())}
                path.write_text(json.dumps({"about": about, "accuracy": results}, indent=1) + "\n")
            with atomic_file(options.output.with_suffix(".md")) as path:
                path.write_text(tables(results))


if __name__ == "__main__":
    main()
