"""Named entities: P-Tuning v2 against full fine-tuning and a linear probe on WNUT-17, entity F1.

    python benchmarks/accuracy/ner.py FOLDER [--methods …] [--seeds 13 21] [--epochs 3 15]

FOLDER holds train.jsonl, dev.jsonl and test.jsonl with "tokens" and "tags" (Derczynski et al. 2017,
github.com/leondz/emerging_entities_17). Every finished run is kept in results/ner.json; the table is written to
results/ner.md.
"""

from __future__ import annotations

import argparse
import functools
from collections.abc import Iterator, Mapping
from typing import Any

from benchmarks.common.data import json_lines
from benchmarks.common.models import MODEL, loaded
from benchmarks.common.options import DEVICE, FOLDER, some_of, values_of
from benchmarks.common.runs import Benchmark, Job
from benchmarks.common.setup import GPU, SEEDS, Setup
from benchmarks.common.tables import Page, Runs, listed, percent, table, under
from benchmarks.common.timing import timed
from promptlab import LoRA, PTuningV2, TokenClassifier

METHODS: Mapping[str, dict[str, Any]] = {
    "linear probe": {"tuning": "frozen"},
    "full fine-tuning": {"tuning": "full"},
    "P-Tuning v2": {"tuning": PTuningV2(length=16), "learning_rate": 1e-2},
    "LoRA, all linear": {"tuning": LoRA(rank=8, targets="all-linear")},
}


def jobs(options: argparse.Namespace) -> Iterator[Job]:
    loaded(MODEL)  # once, before the processes part
    for seed in options.seeds:
        for epochs in options.epochs:
            for method in options.methods:
                yield f"{method}/{epochs}/{seed}", functools.partial(run, options.setup, method, epochs, seed)


def run(setup: Setup, method: str, epochs: int, seed: int) -> dict[str, Any]:
    settings = {"epochs": epochs, "batch_size": 16, "max_length": 128, "seed": seed, **METHODS[method]}
    tagger = TokenClassifier(loaded(MODEL), **setup.settings(**settings))
    _, seconds = timed(lambda: tagger.fit(*sentences(setup, "train"), eval_set=sentences(setup, "dev")))
    return {
        "f1": tagger.score(*sentences(setup, "test")),
        "trained_weights": tagger.trainable_parameters(),
        "train_seconds": seconds,
        "history": tagger.history_,
    }


def sentences(setup: Setup, part: str) -> tuple[list[list[str]], list[list[str]]]:
    """Return the words of each sentence, and their tags."""
    rows = setup.some(list(json_lines(setup.data(f"{part}.jsonl"))))
    return [row["tokens"] for row in rows], [row["tags"] for row in rows]


def page(runs: Runs, about: Mapping[str, Any]) -> Page:
    every = sorted({int(key.split("/")[1]) for key in runs})
    rows = []
    for method in METHODS:
        if own := under(runs, method):
            weights = next(iter(own.values()))["trained_weights"]
            scores = [percent(under(runs, f"{method}/{epochs}").values(), "f1") for epochs in every]
            rows.append([method, f"{weights:,}", *scores])
    seeds = [seed for seed in SEEDS if any(key.endswith(f"/{seed}") for key in runs)]
    note = (
        f"WNUT-17, 3,394 training sentences, batches of 16; test F1 in % of whole entities, mean (standard deviation) "
        f"over the seeds {listed(seeds)}, or the first of them alone where there is none; weights selected on dev; "
        f"model {MODEL}, float32; 15 epochs on {GPU}."
    )
    heads = ["method", "trained weights", *(f"entity F1, {epochs} epochs" for epochs in every)]
    return Page([table(heads, rows)], note)


BENCHMARK = Benchmark(
    name="ner",
    title="Named entities",
    doc=__doc__,
    stages=[jobs],
    page=page,
    options=[FOLDER, DEVICE, some_of("methods", METHODS), some_of("seeds", SEEDS, [13, 21]), values_of("epochs", 3)],
)

if __name__ == "__main__":
    BENCHMARK.main()
