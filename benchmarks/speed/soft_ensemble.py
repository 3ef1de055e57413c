"""Eight soft prompts on one model: peak memory against one, and time in one batch against the same rows with one.

    python benchmarks/speed/soft_ensemble.py [--rounds 5]

Memory is a process's peak over its life, from loading the model to training and predicting. Time is the processor's,
for eight prompts on 128 sentences of SST-2, and for one on the same 1,024 rows; medians of rounds that take turns.
Results go to benchmarks/results/soft_ensemble.json and .md.
"""

from __future__ import annotations

import argparse
import datetime
import json
import multiprocessing
import resource
import statistics
import time
from typing import Any

from benchmarks.common import runs as sweep
from promptlab import PromptClassifier, PromptTuning, PVPEnsemble, load_backbone, load_sample
from promptlab.core.files import atomic_file

N = 8
TEXTS = 128


def ensemble(n: int, model: Any) -> PVPEnsemble:
    train, _ = load_sample("sst2").few_shot(13)
    settings: dict[str, Any] = {"repetitions": n, "weighting": "uniform", "max_steps": 10, "device": "cpu"}
    return PVPEnsemble([("sst2", "sst2")], model, PromptTuning(), **settings).fit(train)


def peak(n: int) -> float:
    """MiB at most in use while ``n`` soft prompts are trained and predict, as many rows whatever ``n``."""
    ensemble(n, sweep.MODEL).predict(load_sample("sst2").test[:TEXTS] * (N // n))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def times(rounds: int) -> dict[str, float]:
    """Median processor seconds of eight prompts in one batch, of one for as many rows, of eight in turn."""
    test = load_sample("sst2").test[:TEXTS]
    together = ensemble(N, load_backbone(sweep.MODEL))
    members: list[PromptClassifier] = list(together.members_.values())
    runs = {
        "one batch": lambda: together.predict(test),
        "one prompt": lambda: members[0].predict(test * N),
        "in turn": lambda: [member.predict(test) for member in members],
    }
    taken: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds + 1):
        for name, run in runs.items():
            start = time.process_time()
            run()
            taken[name].append(time.process_time() - start)
    return {name: statistics.median(values[1:]) for name, values in taken.items()}


def peaks_of_each() -> dict[int, float]:
    """MiB of one prompt and of eight, each in a process of its own."""
    found = {}
    for n in (1, N):
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            found[n] = pool.apply(peak, (n,))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    write(peaks_of_each(), times(options.rounds), options.rounds)


def write(peaks: dict[int, float], seconds: dict[str, float], rounds: int) -> None:
    lines = [
        "| what | figure | target |",
        "|---|---|---|",
        f"| peak memory of {N} soft prompts over that of one | {peaks[N] / peaks[1]:.3f} | at most 1.15 |",
        f"| time of {N} in one batch over one prompt's, same rows | "
        f"{seconds['one batch'] / seconds['one prompt']:.2f} | at most 1.2 |",
        f"| time of {N} in turn over one prompt's, same rows | {seconds['in turn'] / seconds['one prompt']:.2f} | – |",
    ]
    note = (
        f"Model {sweep.MODEL}, CPU; peaks {peaks[1]:.0f} and {peaks[N]:.0f} MiB; {TEXTS} sentences of SST-2, processor "
        f"time, medians of {rounds} interleaved rounds. {datetime.date.today()}."
    )
    with atomic_file(sweep.RESULTS / "soft_ensemble.json") as path:
        path.write_text(
            json.dumps({"model": sweep.MODEL, "n": N, "peak_mib": peaks, "seconds": seconds}, indent=1) + "\n"
        )
    with atomic_file(sweep.RESULTS / "soft_ensemble.md") as path:
        path.write_text("\n\n".join(["# Eight soft prompts on one model", "\n".join(lines), note]) + "\n")
    print("\n".join(lines), note, sep="\n")


if __name__ == "__main__":
    main()
