"""Data to text: prefix-tuning and others on E2E with smollm2, BLEU.

    python benchmarks/accuracy/e2e.py FOLDER [--methods …] [--pairs 300] [--epochs 5] [--seed 0]

FOLDER holds train.jsonl.gz, dev.jsonl and test.jsonl.gz with "text_a" (a restaurant's properties) and "target"
(Novikova et al. 2017, github.com/tuetschek/e2e-dataset). Trained on so many pairs, no property list twice; scored on
the first 100 different property lists of the test set against all their texts, beam search with 5 beams. Every finished
run is kept in results/e2e.json; table and sample texts are written to results/e2e.md.
"""

from __future__ import annotations

import argparse
import functools
import gzip
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.common.runs import keep, parser, sweep
from promptlab import LoRA, PrefixTuning, PromptGenerator, PromptTuning
from promptlab.estimators.generator import bleu

MODEL = "smollm2"
TEMPLATE = "{{ text_a }}\nDescription: {{ mask }}"
UNTRAINED = "untrained"
METHODS: Mapping[str, tuple[Any, dict[str, Any]]] = {
    UNTRAINED: (LoRA(rank=1), {"max_steps": 1, "learning_rate": 0.0}),  # an update that stays zero
    "prefix-tuning": (PrefixTuning(length=5), {}),
    "LoRA": (LoRA(), {}),
    "prompt tuning": (PromptTuning(length=20), {}),
}
N_TEST = 100
N_DEV = 60
SAMPLES = 4


def read(path: Path) -> dict[str, list[str]]:
    """Property list → its texts."""
    opener: Any = gzip.open if path.suffix == ".gz" else open
    found: dict[str, list[str]] = {}
    with opener(path, "rt", encoding="utf-8") as file:
        for line in file:
            row = json.loads(line)
            found.setdefault(row["text_a"], []).append(row["target"])
    return found


def first_of_each(texts: Mapping[str, list[str]], n: int) -> tuple[list[str], list[str]]:
    some = list(texts.items())[:n]
    return [properties for properties, _ in some], [own[0] for _, own in some]


def run(folder: Path, method: str, options: argparse.Namespace) -> dict[str, Any]:
    tuning, settings = METHODS[method]
    chosen = {"epochs": options.epochs, **settings}
    if "max_steps" in chosen:
        chosen["epochs"] = None
    generator = PromptGenerator(TEMPLATE, MODEL, tuning, max_new_tokens=80, num_beams=5, seed=options.seed, **chosen)
    start = time.perf_counter()
    generator.fit(
        *first_of_each(read(folder / "train.jsonl.gz"), options.pairs),
        eval_set=first_of_each(read(folder / "dev.jsonl"), N_DEV),
    )
    seconds = time.perf_counter() - start
    test = dict(list(read(folder / "test.jsonl.gz").items())[:N_TEST])
    written = generator.generate(list(test))
    return {
        "bleu": bleu(written, list(test.values())),
        "trained_weights": generator.trainable_parameters(),
        "train_seconds": seconds,
        "history": generator.history_,
        "samples": [[properties, text] for properties, text in zip(test, written)][:SAMPLES],
    }


def write(results: Mapping[str, Any], options: argparse.Namespace) -> None:
    lines = ["| method | trained weights | loss, first to last tenth | BLEU |", "|---|---|---|---|"]
    for method, row in results.items():
        losses = [entry["loss"] for entry in row["history"]]
        change = "–" if method == UNTRAINED else f"{losses[0]:.2f} → {losses[-1]:.2f}"
        weights = 0 if method == UNTRAINED else row["trained_weights"]
        lines.append(f"| {method} | {weights:,} | {change} | {row['bleu']:.1f} |")
    samples = [
        f"- `{properties}`\n" + "\n".join(f"  - {method}: {row['samples'][i][1]}" for method, row in results.items())
        for i, (properties, _) in enumerate(next(iter(results.values()))["samples"])
    ]
    note = (
        f"E2E, {options.pairs} training pairs, {options.epochs} epochs of batches of 8, one seed; BLEU (sacrebleu) on "
        f"{N_TEST} property lists of the test set against all their texts, 5 beams; weights selected on {N_DEV} dev "
        f"pairs; model {MODEL} (SmolLM2-135M-Instruct, 4 bits, read as float32)."
    )
    settings = {"pairs": options.pairs, "epochs": options.epochs, "seed": options.seed}
    parts = ["\n".join(lines), "\n".join(samples)]
    keep("e2e", "Data to text", results, parts, note, packages=["sacrebleu"], model=MODEL, **settings)


def main() -> None:
    options_of = parser(__doc__, folder=True)
    options_of.add_argument("--methods", nargs="+", default=list(METHODS), choices=list(METHODS))
    options_of.add_argument("--pairs", type=int, default=300)
    options_of.add_argument("--epochs", type=int, default=5)
    options_of.add_argument("--seed", type=int, default=0)
    options = options_of.parse_args()
    jobs = [(method, functools.partial(run, options.folder, method, options)) for method in options.methods]
    sweep("e2e", jobs, functools.partial(write, options=options), processes=options.processes)


if __name__ == "__main__":
    main()
