"""In-context learning with the shared prompt prefix against without it: one process, interleaved, equal scores.

promptlab download smollm2
python benchmarks/speed/prefix_cache.py [--queries 32] [--repeats 3]
"""

from __future__ import annotations

import argparse
import datetime
import json
import statistics
import time
from contextlib import nullcontext
from importlib.metadata import version

import numpy as np

from benchmarks.accuracy import icl
from benchmarks.common import runs as sweep
from promptlab import InContextTemplate, PromptClassifier, load_backbone
from promptlab.core.files import atomic_file
from promptlab.data.samples import load_sample
from promptlab.library.resolve import resolve_template


def measure(task: str, backbone, queries: int, repeats: int) -> dict[str, float]:
    template, words, instruction = icl.TASKS[task]
    sample = load_sample(task)
    train, _ = sample.few_shot(13)
    shown = InContextTemplate(resolve_template(template), k=16, instruction=instruction)
    classifier = PromptClassifier(shown, words, backbone, tuning="none").fit(train)
    test = sample.test[:queries]
    sharing = classifier.model_.backbone.sharing
    seconds: dict[str, list[float]] = {"shared": [], "whole": []}
    scores = {}
    for _ in range(repeats):
        for name, context in (("shared", sharing), ("whole", lambda encoded: nullcontext())):
            classifier.model_.backbone.sharing = context
            start = time.perf_counter()
            scores[name] = classifier.predict_proba(test)
            seconds[name].append(time.perf_counter() - start)
    ratio = statistics.median(seconds["whole"]) / statistics.median(seconds["shared"])
    tokens = [len(row.input_ids) for row in classifier.model_.encode(test)]
    return {
        "ratio": ratio,
        "largest_difference": float(np.abs(scores["shared"] - scores["whole"]).max()),
        "mean_prompt_tokens": statistics.mean(tokens),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--queries", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    backbone = load_backbone(icl.MODEL)
    rows = {task: measure(task, backbone, options.queries, options.repeats) for task in ("sst2", "trec", "ag_news")}
    about = {"model": icl.MODEL, "demonstrations": 16, "date": str(datetime.date.today()), **vars(options)}
    about["versions"] = {name: version(name) for name in ("promptlab", "torch", "transformers")}
    with atomic_file(sweep.RESULTS / "prefix_cache.json") as path:
        path.write_text(json.dumps({"about": about, "tasks": rows}, indent=1) + "\n")
    lines = [
        "| task | tokens of a prompt | whole prompts / shared prefix, time | largest difference of a probability |"
    ]
    lines += ["|---|---|---|---|"]
    for task, row in rows.items():
        lines.append(
            f"| {task} | {row['mean_prompt_tokens']:.0f} | {row['ratio']:.1f} | {row['largest_difference']:.1e} |"
        )
    note = (
        f"Model {icl.MODEL}, 16 demonstrations, {options.queries} queries, medians of {options.repeats} interleaved "
        f"runs in one process on a CPU. {about['date']}."
    )
    table = "\n".join(lines)
    with atomic_file(sweep.RESULTS / "prefix_cache.md") as path:
        path.write_text(f"# Shared prompt prefix\n\n{table}\n\n{note}\n")
    print(table)


if __name__ == "__main__":
    main()
