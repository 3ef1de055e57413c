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
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.common.data import json_lines
from benchmarks.common.models import GENERATOR, loaded
from benchmarks.common.options import FOLDER, some_of, value_of
from benchmarks.common.runs import Benchmark, Job
from benchmarks.common.setup import Setup
from benchmarks.common.tables import NONE, Page, Runs, table
from benchmarks.common.timing import timed
from promptlab import LoRA, PrefixTuning, PromptGenerator, PromptTuning
from promptlab.estimators.generator import bleu

TEMPLATE = "{{ text_a }}\nDescription: {{ mask }}"
UNTRAINED = "untrained"
METHODS: Mapping[str, dict[str, Any]] = {
    UNTRAINED: {"tuning": LoRA(rank=1), "max_steps": 1, "learning_rate": 0.0},  # an update that stays zero
    "prefix-tuning": {"tuning": PrefixTuning(length=5)},
    "LoRA": {"tuning": LoRA()},
    "prompt tuning": {"tuning": PromptTuning(length=20)},
}
N_TEST = 100
N_DEV = 60
SAMPLES = 4


def jobs(options: argparse.Namespace) -> Iterator[Job]:
    loaded(GENERATOR)  # once, before the processes part
    for method in options.methods:
        yield method, functools.partial(run, options.setup, method, options.pairs, options.epochs, options.seed)


def run(setup: Setup, method: str, pairs: int, epochs: int, seed: int) -> dict[str, Any]:
    training = {"epochs": epochs, **METHODS[method]}
    if "max_steps" in training:
        training["epochs"] = None
    settings = setup.settings(max_new_tokens=80, num_beams=5, seed=seed, **training)
    generator = PromptGenerator(TEMPLATE, loaded(GENERATOR), **settings)
    train, dev = first_of_each(setup, "train.jsonl.gz", pairs), first_of_each(setup, "dev.jsonl", N_DEV)
    _, seconds = timed(lambda: generator.fit(*train, eval_set=dev))
    test = dict(setup.some(list(read(setup.data("test.jsonl.gz")).items())[:N_TEST]))
    written = generator.generate(list(test))
    return {
        "bleu": bleu(written, list(test.values())),
        "trained_weights": generator.trainable_parameters(),
        "train_seconds": seconds,
        "history": generator.history_,
        "samples": [[properties, text] for properties, text in zip(test, written)][:SAMPLES],
    }


@functools.cache
def read(path: Path) -> dict[str, list[str]]:
    """Return the texts of each property list."""
    found: dict[str, list[str]] = {}
    for row in json_lines(path):
        found.setdefault(row["text_a"], []).append(row["target"])
    return found


def first_of_each(setup: Setup, name: str, n: int) -> tuple[list[str], list[str]]:
    """Return the first property lists of a file, and a text of each."""
    some = setup.some(list(read(setup.data(name)).items())[:n])
    return [properties for properties, _ in some], [own[0] for _, own in some]


def page(runs: Runs, about: Mapping[str, Any]) -> Page:
    heads = ["method", "trained weights", "loss, first to last tenth", "BLEU"]
    note = (
        f"E2E, {about['pairs']} training pairs, {about['epochs']} epochs of batches of 8, one seed; BLEU (sacrebleu) "
        f"on {N_TEST} property lists of the test set against all their texts, 5 beams; weights selected on {N_DEV} dev "
        f"pairs; model {about['model']} (SmolLM2-135M-Instruct, 4 bits, read as float32)."
    )
    return Page([table(heads, [row(method, run) for method, run in runs.items()]), samples(runs)], note)


def row(method: str, run: Mapping[str, Any]) -> Sequence[str]:
    losses = [entry["loss"] for entry in run["history"]]
    learnt = (f"{run['trained_weights']:,}", f"{losses[0]:.2f} → {losses[-1]:.2f}")
    return [method, *(("0", NONE) if method == UNTRAINED else learnt), f"{run['bleu']:.1f}"]


def samples(runs: Runs) -> str:
    """Return what each method writes for the first property lists."""
    lists = [properties for properties, _ in next(iter(runs.values()))["samples"]]
    written = [[f"  - {method}: {run['samples'][i][1]}" for method, run in runs.items()] for i in range(len(lists))]
    return "\n".join("\n".join([f"- `{properties}`", *texts]) for properties, texts in zip(lists, written))


BENCHMARK = Benchmark(
    name="e2e",
    title="Data to text",
    doc=__doc__,
    stages=[jobs],
    page=page,
    options=[
        FOLDER, some_of("methods", METHODS), value_of("pairs", 300), value_of("epochs", 5), value_of("seed", 0),
    ],
    recorded=["pairs", "epochs", "seed"],
    about={"model": GENERATOR},
    packages=["sacrebleu"],
)  # fmt: skip

if __name__ == "__main__":
    BENCHMARK.main()
