"""Named entities: P-Tuning v2 against full fine-tuning and a linear probe on WNUT-17, entity F1.

    python benchmarks/ner.py FOLDER [--methods …] [--seeds 13 21] [--epochs 3]

FOLDER holds train.jsonl, dev.jsonl and test.jsonl with "tokens" and "tags" (Derczynski et al. 2017,
github.com/leondz/emerging_entities_17). Every finished run is kept in results/ner.json; the table is written to
results/ner.md.
"""

from __future__ import annotations

import argparse
import datetime
import json
import statistics
import time
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import fewshot

from promptlab import LoRA, PTuningV2, TokenClassifier
from promptlab.files import atomic_file

METHODS: Mapping[str, Any] = {
    "linear probe": ("frozen", {}),
    "full fine-tuning": ("full", {}),
    "P-Tuning v2": (PTuningV2(length=16), {"learning_rate": 1e-2}),
    "LoRA, all linear": (LoRA(rank=8, targets="all-linear"), {}),
}


def read(path: Path) -> tuple[list[list[str]], list[list[str]]]:
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [row["tokens"] for row in rows], [row["tags"] for row in rows]


def run(folder: Path, method: str, seed: int, epochs: int) -> dict[str, Any]:
    tuning, settings = METHODS[method]
    words, tags = read(folder / "train.jsonl")
    start = time.perf_counter()
    tagger = TokenClassifier(fewshot.MODEL, tuning, epochs=epochs, batch_size=16, max_length=128, seed=seed, **settings)
    tagger.fit(words, tags, eval_set=read(folder / "dev.jsonl"))
    seconds = time.perf_counter() - start
    return {
        "f1": tagger.score(*read(folder / "test.jsonl")),
        "trained_weights": tagger.trainable_parameters(),
        "train_seconds": seconds,
        "history": tagger.history_,
    }


def write(results: Mapping[str, Any], epochs: int) -> None:
    versions = {name: version(name) for name in ("promptlab", "torch", "transformers", "nervaluate")}
    about = {"model": fewshot.MODEL, "epochs": epochs, "date": str(datetime.date.today()), "versions": versions}
    with atomic_file(fewshot.RESULTS / "ner.json") as path:
        path.write_text(json.dumps({"about": about, "runs": results}, indent=1) + "\n")
    lines = ["| method | trained weights | entity F1 |", "|---|---|---|"]
    for method in METHODS:
        rows = [row for key, row in results.items() if key.startswith(f"{method}/")]
        if rows:
            each = ", ".join(f"{100 * row['f1']:.1f}" for row in rows)
            mean = statistics.mean(100 * row["f1"] for row in rows)
            lines.append(f"| {method} | {rows[0]['trained_weights']:,} | {mean:.1f} ({each}) |")
    note = (
        f"WNUT-17, 3,394 training sentences, {epochs} epochs of batches of 16; test F1 in % of whole entities, mean "
        f"(each seed); weights selected on dev; model {fewshot.MODEL}. {about['date']}, "
        + ", ".join(f"{k} {v}" for k, v in versions.items())
        + "."
    )
    table = "\n".join(lines)
    with atomic_file(fewshot.RESULTS / "ner.md") as path:
        path.write_text(f"# Named entities\n\n{table}\n\n{note}\n")
    print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=list(METHODS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[13, 21])
    parser.add_argument("--epochs", type=int, default=3)
    options = parser.parse_args()
    path = fewshot.RESULTS / "ner.json"
    results = json.loads(path.read_text())["runs"] if path.exists() else {}
    for seed in options.seeds:
        for method in options.methods:
            key = f"{method}/{seed}"
            if key not in results:
                results[key] = run(options.folder, method, seed, options.epochs)
                write(results, options.epochs)
    write(results, options.epochs)


if __name__ == "__main__":
    main()
