"""In-context learning with a causal model: zero-shot and 16-shot, with and without calibration, five seeds.

    promptlab download smollm2
    python benchmarks/icl.py [--tasks …] [--seeds …]

The demonstrations are 16 of the split's training examples, classes taking turns. Accuracy is that of the first 300 test
rows in an order shuffled once. Every finished run is kept in results/icl.json; the table is written to results/icl.md.
"""

from __future__ import annotations

import argparse
import datetime
import json
import time
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

import fewshot
import numpy as np

from promptlab import ContextualVerbalizer, DomainVerbalizer, InContextTemplate, PromptClassifier, load_backbone
from promptlab.data.samples import load_sample
from promptlab.files import atomic_file
from promptlab.parts import resolve_template, resolve_verbalizer

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
CALIBRATIONS = {"none": None, "contextual": ContextualVerbalizer, "domain PMI": DomainVerbalizer}


def run(task: str, shots: int, seed: int, backbone: Any) -> dict[str, Any]:
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
        classifier = PromptClassifier(shown, wrap(verbalizer) if wrap else verbalizer, backbone, tuning="none")
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
                keys = [f"{task}/{shots}/{seed}" for seed in fewshot.SEEDS]
                values = [100 * results[key]["accuracy"][name] for key in keys if key in results]
                cells.append(fewshot.mean(values))
            lines.append(f"| {shots} | {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def write(results: Mapping[str, Any]) -> None:
    versions = {name: version(name) for name in ("promptlab", "torch", "transformers")}
    about = {"model": MODEL, "rows": ROWS, "seeds": fewshot.SEEDS, "date": str(datetime.date.today())}
    with atomic_file(fewshot.RESULTS / "icl.json") as path:
        path.write_text(json.dumps({"about": {**about, "versions": versions}, "runs": results}, indent=1) + "\n")
    note = (
        f"Accuracy in % on {ROWS} test rows, the same in every run; mean (standard deviation) over the splits "
        f"{', '.join(map(str, fewshot.SEEDS))}, which give the demonstrations. Model {MODEL} (SmolLM2-135M-Instruct, "
        f"4 bits, read as float32); templates, label words and instructions of Zhao et al., arXiv:2102.09690. "
        f"Zero-shot has no seeds. {about['date']}, " + ", ".join(f"{k} {v}" for k, v in versions.items()) + "."
    )
    with atomic_file(fewshot.RESULTS / "icl.md") as path:
        path.write_text(f"# In-context learning\n\n{table(results)}\n\n{note}\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", nargs="+", default=list(TASKS), choices=list(TASKS))
    parser.add_argument("--seeds", nargs="+", type=int, default=list(fewshot.SEEDS), choices=fewshot.SEEDS)
    options = parser.parse_args()
    path = fewshot.RESULTS / "icl.json"
    results = json.loads(path.read_text())["runs"] if path.exists() else {}
    backbone = load_backbone(MODEL)
    todo = [(task, 0, options.seeds[0]) for task in options.tasks]  # without demonstrations every seed is the same
    todo += [(task, 16, seed) for seed in options.seeds for task in options.tasks]
    for task, shots, seed in todo:
        key = f"{task}/{shots}/{seed}"
        if key not in results:
            results[key] = run(task, shots, seed, backbone)
            print(key, results[key], flush=True)
            write(results)
    write(results)
    print(table(results))


if __name__ == "__main__":
    main()
