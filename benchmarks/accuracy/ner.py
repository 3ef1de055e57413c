"""Named entities: P-Tuning v2 against full fine-tuning and a linear probe on WNUT-17, entity F1.

    python benchmarks/accuracy/ner.py FOLDER [--methods …] [--seeds 13 21] [--epochs 3 15]

FOLDER holds train.jsonl, dev.jsonl and test.jsonl with "tokens" and "tags" (Derczynski et al. 2017,
github.com/leondz/emerging_entities_17). Every finished run is kept in results/ner.json; the table is written to
results/ner.md.
"""

from __future__ import annotations

import functools
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.accuracy.tuning import loaded
from benchmarks.common.runs import GPU, MODEL, SEEDS, keep, mean, parser, placed, sweep
from promptlab import LoRA, PTuningV2, TokenClassifier

METHODS: Mapping[str, Any] = {
    "linear probe": ("frozen", {}),
    "full fine-tuning": ("full", {}),
    "P-Tuning v2": (PTuningV2(length=16), {"learning_rate": 1e-2}),
    "LoRA, all linear": (LoRA(rank=8, targets="all-linear"), {}),
}


def read(path: Path) -> tuple[list[list[str]], list[list[str]]]:
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [row["tokens"] for row in rows], [row["tags"] for row in rows]


def run(folder: Path, method: str, seed: int, epochs: int, device: str) -> dict[str, Any]:
    tuning, settings = METHODS[method]
    words, tags = read(folder / "train.jsonl")
    settings = {"epochs": epochs, "batch_size": 16, "max_length": 128, "seed": seed, **placed(device), **settings}
    start = time.perf_counter()
    tagger = TokenClassifier(loaded(MODEL), tuning, **settings)
    tagger.fit(words, tags, eval_set=read(folder / "dev.jsonl"))
    seconds = time.perf_counter() - start
    return {
        "f1": tagger.score(*read(folder / "test.jsonl")),
        "trained_weights": tagger.trainable_parameters(),
        "train_seconds": seconds,
        "history": tagger.history_,
    }


def write(results: Mapping[str, Any]) -> None:
    every = sorted({int(key.split("/")[1]) for key in results})
    heads = [f"entity F1, {epochs} epochs" for epochs in every]
    lines = ["| method | trained weights | " + " | ".join(heads) + " |", "|---" * (len(every) + 2) + "|"]
    for method in METHODS:
        rows = {epochs: _scores(results, f"{method}/{epochs}/") for epochs in every}
        weights = [row["trained_weights"] for key, row in results.items() if key.startswith(f"{method}/")]
        if weights:
            lines.append(f"| {method} | {weights[0]:,} | " + " | ".join(map(mean, rows.values())) + " |")
    seeds = [str(seed) for seed in SEEDS if any(key.endswith(f"/{seed}") for key in results)]
    note = (
        f"WNUT-17, 3,394 training sentences, batches of 16; test F1 in % of whole entities, mean (standard deviation) "
        f"over the seeds {', '.join(seeds)}, or the first of them alone where there is none; weights selected on dev; "
        f"model {MODEL}, float32; 15 epochs on {GPU}."
    )
    keep("ner", "Named entities", results, ["\n".join(lines)], note)


def _scores(results: Mapping[str, Any], place: str) -> list[float]:
    return [100 * row["f1"] for key, row in results.items() if key.startswith(place)]


def main() -> None:
    options_of = parser(__doc__, folder=True)
    options_of.add_argument("--device", default="cpu")
    options_of.add_argument("--methods", nargs="+", default=list(METHODS), choices=list(METHODS))
    options_of.add_argument("--seeds", nargs="+", type=int, default=[13, 21], choices=SEEDS)
    options_of.add_argument("--epochs", nargs="+", type=int, default=[3])
    options = options_of.parse_args()
    loaded(MODEL)  # once, before the processes part
    jobs = [
        (f"{method}/{epochs}/{seed}", functools.partial(run, options.folder, method, seed, epochs, options.device))
        for seed in options.seeds
        for epochs in options.epochs
        for method in options.methods
    ]
    sweep("ner", jobs, write, processes=options.processes)


if __name__ == "__main__":
    main()
