"""Eight soft prompts on one model: peak memory against one, and time in one batch against the same rows with one.

    python benchmarks/speed/soft_ensemble.py [--rounds 5]

Memory is a process's peak over its life, from loading the model to training and predicting. Time is the processor's,
for eight prompts on 128 sentences of SST-2, and for one on the same 1,024 rows; medians of rounds that take turns.
Results go to benchmarks/results/soft_ensemble.json and .md.
"""

from __future__ import annotations

import argparse
import functools
import resource
import time
from collections.abc import Iterator, Mapping
from typing import Any

from benchmarks.common.data import sample
from benchmarks.common.models import MODEL, fresh
from benchmarks.common.options import value_of
from benchmarks.common.runs import Job, Measurement
from benchmarks.common.setup import Setup
from benchmarks.common.tables import NONE, Page, Runs, table
from benchmarks.common.timing import in_turn, medians
from promptlab import PromptTuning, PVPEnsemble

N = 8
TEXTS = 128


def jobs(options: argparse.Namespace) -> Iterator[Job]:
    for n in (1, N):
        yield f"peak_mib/{n}", functools.partial(peak, options.setup, n)
    yield "seconds", functools.partial(times, options.setup, options.rounds)


def ensemble(setup: Setup, n: int) -> PVPEnsemble:
    train, _ = sample("sst2").few_shot(13)
    settings = setup.settings(tuning=PromptTuning(), repetitions=n, weighting="uniform", max_steps=10)
    return PVPEnsemble([("sst2", "sst2")], fresh(MODEL), **settings).fit(train)


def peak(setup: Setup, n: int) -> float:
    """Return the MiB at most in use while ``n`` soft prompts are trained and predict, as many rows whatever ``n``."""
    ensemble(setup, n).predict([*setup.some(sample("sst2").test[:TEXTS])] * (N // n))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def times(setup: Setup, rounds: int) -> dict[str, float]:
    """Return median processor seconds of eight prompts in one batch, of one for as many rows, of eight in turn."""
    test = list(setup.some(sample("sst2").test[:TEXTS]))
    together = ensemble(setup, N)
    members: list[Any] = list(together.members_.values())
    contestants = {
        "one batch": lambda: together.predict(test),
        "one prompt": lambda: members[0].predict(test * N),
        "in turn": lambda: [member.predict(test) for member in members],
    }
    return medians(in_turn(contestants, rounds, warm_up=1, clock=time.process_time))


def page(runs: Runs, about: Mapping[str, Any]) -> Page:
    one, eight, seconds = runs["peak_mib/1"], runs[f"peak_mib/{N}"], runs["seconds"]
    batch, turn = (f"{seconds[name] / seconds['one prompt']:.2f}" for name in ("one batch", "in turn"))
    rows = [
        [f"peak memory of {N} soft prompts over that of one", f"{eight / one:.3f}", "at most 1.15"],
        [f"time of {N} in one batch over one prompt's, same rows", batch, "at most 1.2"],
        [f"time of {N} in turn over one prompt's, same rows", turn, NONE],
    ]
    note = (
        f"Model {MODEL}, CPU; peaks {one:.0f} and {eight:.0f} MiB; {TEXTS} sentences of SST-2, processor "
        f"time, medians of {about['rounds']} interleaved rounds."
    )
    return Page([table(["what", "figure", "target"], rows)], note)


BENCHMARK = Measurement(
    name="soft_ensemble",
    title="Eight soft prompts on one model",
    doc=__doc__,
    stages=[jobs],
    page=page,
    options=[value_of("rounds", 5)],
    recorded=["rounds"],
    about={"n": N},
    own_process=True,
)

if __name__ == "__main__":
    BENCHMARK.main()
