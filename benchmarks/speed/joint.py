"""Eight classifiers on one backbone: memory, and the time of one batch for all of them.

    python benchmarks/speed/joint.py [--rounds 5]

Memory is what the process grows by when eight saved LoRA classifiers are loaded on one backbone, and each with its
own. Time is for 256 sentences of SST-2, with minilm: all through one classifier, shared out among eight in mixed
batches, and among eight that run one after the other; and for training eight soft prompts together and one by one.
Interleaved in one process, medians. The table is written to results/joint.md.
"""

from __future__ import annotations

import argparse
import datetime
import gc
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import psutil

from benchmarks.common import runs as sweep
from promptlab import JointClassifier, LoRA, PromptClassifier, PromptTuning, PTuningV2, load_backbone, load_sample
from promptlab.core.files import atomic_file

N = 8
ROWS = 256
METHODS: Mapping[str, Any] = {"prompt tuning": PromptTuning(), "P-Tuning v2": PTuningV2(), "LoRA": LoRA()}


def medians(runs: Mapping[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """Median seconds of each, taken in turns."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            times[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in times.items()}


def prediction(tuning: Any, rounds: int) -> dict[str, float]:
    sample = load_sample("sst2")
    train, _ = sample.few_shot(13)
    texts = sample.test[:ROWS]
    backbone = load_backbone(sweep.MODEL)
    fitted = {
        str(seed): PromptClassifier("sst2", "sst2", backbone, tuning, max_steps=1, seed=seed).fit(train)
        for seed in range(N)
    }
    names = [str(i % N) for i in range(ROWS)]
    joint = JointClassifier(fitted, backbone)
    seconds = medians(
        {
            "one": lambda: fitted["0"].predict(texts),
            "mixed": lambda: joint.predict(texts, names),
            "in turn": lambda: [fitted[str(i)].predict(texts[i::N]) for i in range(N)],
        },
        rounds,
    )
    return {name: value / seconds["one"] for name, value in seconds.items()}


def training(rounds: int) -> float:
    """Time of eight soft prompts trained one by one, over that of training them together."""
    train, _ = load_sample("sst2").few_shot(13)
    backbone = load_backbone(sweep.MODEL)

    def prompts(model: Any = None) -> dict[str, PromptClassifier]:
        settings: dict[str, Any] = {"tuning": PromptTuning(), "max_steps": 5, "learning_rate": 3e-3}
        return {str(seed): PromptClassifier("sst2", "sst2", model, seed=seed, **settings) for seed in range(N)}

    data = {str(seed): train for seed in range(N)}
    seconds = medians(
        {
            "together": lambda: JointClassifier(prompts(), backbone).fit(data),
            "one by one": lambda: [classifier.fit(train) for classifier in prompts(backbone).values()],
        },
        rounds,
    )
    return seconds["one by one"] / seconds["together"]


def memory() -> dict[str, float]:
    """MiB that eight LoRA classifiers take."""
    train, _ = load_sample("sst2").few_shot(13)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "saved"
        PromptClassifier("sst2", "sst2", sweep.MODEL, LoRA(), max_steps=1).fit(train).save_pretrained(place)
        grown, process = {}, psutil.Process()
        for name in ("shared", "own"):
            gc.collect()
            before = process.memory_info().rss
            backbone = load_backbone(sweep.MODEL) if name == "shared" else None
            kept = [PromptClassifier.from_pretrained(place, model=backbone) for _ in range(N)]
            grown[name] = (process.memory_info().rss - before) / 2**20
            del kept, backbone
    return grown


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    grown = memory()
    times = {name: prediction(tuning, options.rounds) for name, tuning in METHODS.items()}
    ratio = training(options.rounds)
    results = {"memory_mib": grown, "prediction_over_one_classifier": times, "training_one_by_one_over_together": ratio}
    with atomic_file(sweep.RESULTS / "joint.json") as path:
        path.write_text(json.dumps({"model": sweep.MODEL, "n": N, **results}, indent=1) + "\n")
    lines = [
        "| eight classifiers | mixed batches / one classifier, time | in turn / one classifier, time |",
        "|---|---|---|",
    ]
    lines += [f"| {name} | {row['mixed']:.2f} | {row['in turn']:.2f} |" for name, row in times.items()]
    note = (
        f"{ROWS} sentences of SST-2 through one classifier, or shared out among {N}; medians of {options.rounds} "
        f"interleaved rounds, one process, CPU, model {sweep.MODEL}. {N} soft prompts trained one by one take "
        f"{ratio:.2f} times as long as together. {N} LoRA classifiers loaded on one backbone take "
        f"{grown['shared']:.0f} MiB, each with its own {grown['own']:.0f} MiB. {datetime.date.today()}."
    )
    with atomic_file(sweep.RESULTS / "joint.md") as path:
        path.write_text("\n\n".join(["# Several classifiers on one backbone", "\n".join(lines), note]) + "\n")
    print("\n".join(lines), note, sep="\n")


if __name__ == "__main__":
    main()
