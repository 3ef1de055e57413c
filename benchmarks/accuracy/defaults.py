"""How promptlab's defaults were chosen: on rows of the training pools, never on a test row.

    python benchmarks/accuracy/defaults.py words [--tasks …]
    python benchmarks/accuracy/defaults.py rates [--tasks …] [--splits 13 21] [--rates 4e-5 …] [--steps 100 250]
    python benchmarks/accuracy/defaults.py tunings [--tasks …] [--splits 13 21] [--methods …]

``words`` scores every template and verbalizer of a task's library zero-shot on all rows of its pool. ``rates`` trains
with each learning rate and number of updates on a split and scores the weights selected on its dev half on the pool's
rows outside the split; ``tunings`` does so for the methods that train a part, each over rates around its own. Every
finished run is kept in results/defaults.json, so that an interrupted run goes on; the tables are written to
results/defaults.md.
"""

from __future__ import annotations

import argparse
import datetime
import json
import statistics
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks.accuracy.fewshot import TASKS
from benchmarks.common.runs import MODEL, RESULTS, SEEDS, accuracy
from promptlab import Adapter, HeadClassifier, LoRA, PromptClassifier, PTuning, load_sample
from promptlab.core.files import atomic_file
from promptlab.library.tasks import template_names, verbalizer_names

PATH = RESULTS / "defaults.json"
ESTIMATORS: Mapping[str, Callable[..., Any]] = {
    "prompt": lambda task, **settings: PromptClassifier(task, task, MODEL, **settings),
    "head": lambda task, **settings: HeadClassifier(MODEL, **settings),
}
SOFT = {  # P-Tuning needs soft tokens in the template
    "sst2": "{{ soft(3) }} {{ text_a }} {{ soft(2) }} All in all, it was {{ mask }}.",
    "trec": "{{ soft(3) }} {{ mask }}: {{ soft(2) }} {{ text_a }}",
    "ag_news": "{{ soft(3) }} {{ mask }}: {{ soft(2) }} {{ text_a }}",
}
TUNINGS: Mapping[str, tuple[Any, tuple[float, ...]]] = {  # method and rates, at the width of the model
    "top-layers": ("top-layers", (4e-5, 1.2e-4, 4e-4)),
    "bitfit": ("bitfit", (7e-4, 2e-3, 6e-3)),
    "layer-norm": ("layer-norm", (1.3e-3, 4e-3, 1.2e-2)),
    "adapter": (Adapter(), (4e-4, 1.2e-3, 4e-3)),
    "lora": (LoRA(), (4e-4, 8e-4, 2e-3, 6e-3)),
    "lora-all-linear": (LoRA(targets="all-linear"), (2e-4, 7e-4, 2e-3)),
    "ia3": ("ia3", (4e-3, 1.2e-2, 4e-2)),
    "prefix": ("prefix", (3e-4, 1e-3, 3e-3)),
    "p-tuning-v2": ("p-tuning-v2", (2e-3, 7e-3, 2e-2)),
    "prompt-tuning": ("prompt-tuning", (1e-3, 3e-3, 1e-2)),
    "p-tuning-frozen": (PTuning(train_model=False), (3e-4, 1e-3, 3e-3)),
}


def words(options: argparse.Namespace) -> Iterator[tuple[str, Callable[[], float]]]:
    for task in options.tasks:
        for template in template_names(task):
            for verbalizer in verbalizer_names(task):
                classifier = PromptClassifier(template, verbalizer, MODEL, tuning="none")
                yield (
                    f"words/{template}/{verbalizer}",
                    lambda c=classifier, t=task: accuracy(c, load_sample(t).pool),
                )


def rates(options: argparse.Namespace) -> Iterator[tuple[str, Callable[[], float]]]:
    for split in options.splits:
        for task in options.tasks:
            for kind in options.estimators:
                for steps in options.steps:
                    for rate in options.rates:
                        key = f"rates/{task}/{kind}/{rate:g}/{steps}/{split}"
                        yield key, lambda a=(task, kind, rate, steps, split): train(*a)


def tunings(options: argparse.Namespace) -> Iterator[tuple[str, Callable[[], float]]]:
    for split in options.splits:
        for task in options.tasks:
            for method in options.methods:
                for rate in TUNINGS[method][1]:
                    key = f"rates/{task}/{method}/{rate:g}/default/{split}"
                    yield key, lambda a=(task, method, rate, split): tune(*a)


def train(task: str, kind: str, rate: float, steps: int, split: int) -> float:
    classifier = ESTIMATORS[kind](task, learning_rate=rate, head_learning_rate=1e-3, max_steps=steps)
    return held_out_accuracy(classifier, task, split)


def tune(task: str, method: str, rate: float, split: int) -> float:
    template = SOFT[task] if method.startswith("p-tuning-f") else task
    rates = {"learning_rate": rate, "head_learning_rate": rate}
    classifier = PromptClassifier(template, task, MODEL, TUNINGS[method][0], **rates)
    return held_out_accuracy(classifier, task, split)


def held_out_accuracy(classifier: Any, task: str, split: int) -> float:
    """Train on a split; accuracy on the rows of the pool that aren't in it."""
    sample = load_sample(task)
    fit, dev = sample.few_shot(split)
    used = {*sample.splits[split].train, *sample.splits[split].dev}
    rest = [example for row, example in enumerate(sample.pool) if row not in used]
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
    parser.add_argument("what", choices=["words", "rates", "tunings"])
    parser.add_argument("--tasks", nargs="+", default=list(TASKS), choices=list(TASKS))
    parser.add_argument("--splits", nargs="+", type=int, default=[13, 21], choices=SEEDS)
    parser.add_argument("--estimators", nargs="+", default=list(ESTIMATORS), choices=list(ESTIMATORS))
    parser.add_argument("--methods", nargs="+", default=list(TUNINGS), choices=list(TUNINGS))
    parser.add_argument("--rates", nargs="+", type=float, default=[4e-5, 1e-4, 2.5e-4])
    parser.add_argument("--steps", nargs="+", type=int, default=[100, 250])
    parser.add_argument("--output", type=Path, default=PATH)
    options = parser.parse_args()
    results = json.loads(options.output.read_text())["accuracy"] if options.output.exists() else {}
    for key, run in {"words": words, "rates": rates, "tunings": tunings}[options.what](options):
        if key not in results:
            results[key] = run()
            print(key, round(100 * results[key], 1), flush=True)
            with atomic_file(options.output) as path:
                about = {"model": MODEL, "date": str(datetime.date.today())}
                path.write_text(json.dumps({"about": about, "accuracy": results}, indent=1) + "\n")
            with atomic_file(options.output.with_suffix(".md")) as path:
                path.write_text(tables(results))


if __name__ == "__main__":
    main()
