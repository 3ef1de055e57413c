"""CPU seconds of ``promptlab search-template --budget small``: the limit is two minutes on two cores, 240 of them.

    python benchmarks/speed/small_budget.py FOLDER [--tasks sst-2 ag_news rte] [--engines heuristic …]

FOLDER holds ``sst-2``, ``ag_news`` and ``rte``. Each search is a command of its own on one thread with all training
rows and all dev rows (AG News: test rows), of which the budget takes what it can; starting, reading and ranking count.
Finished runs are kept in results/small_budget.json; the table goes to results/small_budget.md.
"""

from __future__ import annotations

import argparse
import functools
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks.common.data import NAMES, path_of, test_path
from benchmarks.common.models import GENERATOR, MODEL
from benchmarks.common.options import FOLDER, some_of
from benchmarks.common.runs import Benchmark, Job
from benchmarks.common.setup import Setup
from benchmarks.common.tables import NONE, Page, Runs, table

VERBALIZERS = {"sst-2": "sst2/great-terrible", "ag_news": "ag_news", "rte": "rte"}
ENGINES = {"heuristic": (), "autoprompt": (), "masked-lm": (), "lm": ("--generator", GENERATOR)}
LIMIT = 240


def jobs(options: argparse.Namespace) -> Iterator[Job]:
    for engine in options.engines:
        for task in options.tasks:
            yield f"{task}/{engine}", functools.partial(run, options.setup, task, engine)


def run(setup: Setup, task: str, engine: str) -> dict[str, float]:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with tempfile.TemporaryDirectory() as place:
        subprocess.run(
            [str(Path(sys.executable).with_name("promptlab")), *command(setup.data(task), engine, Path(place))],
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            check=True,
            capture_output=True,
        )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return {"cpu_seconds": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime}


def command(folder: Path, engine: str, place: Path) -> list[str]:
    """Return what promptlab is given."""
    return [
        *("search-template", str(path_of(folder, "train")), "--dev", str(test_path(folder))),
        *("--verbalizer", VERBALIZERS[folder.name], "--engine", engine, *ENGINES[engine]),
        *("--model", MODEL, "--budget", "small", "--seed", "13", "--device", "cpu"),
        *("--output", str(place / "best.yaml")),
    ]


def page(runs: Runs, about: Mapping[str, Any]) -> Page:
    rows = [[engine, *(cell(runs.get(f"{task}/{engine}")) for task in VERBALIZERS)] for engine in ENGINES]
    note = (
        f"CPU seconds of one search by `--budget small`, model {MODEL} (lm writes with {GENERATOR}), seed 13, one "
        f"thread, on a machine with other work; the limit is {LIMIT}, two minutes of two cores. Of 872, 7,600 and 277 "
        "dev rows 64 are taken, of more training rows 1,024, and of a prompt 64 tokens."
    )
    return Page([table(["engine", *(NAMES[task] for task in VERBALIZERS)], rows)], note)


def cell(run: Mapping[str, float] | None) -> str:
    return f"{run['cpu_seconds']:.0f}" if run else NONE


BENCHMARK = Benchmark(
    name="small_budget",
    title="Template search by the small budget",
    doc=__doc__,
    stages=[jobs],
    page=page,
    options=[FOLDER, some_of("tasks", VERBALIZERS), some_of("engines", ENGINES)],
)

if __name__ == "__main__":
    BENCHMARK.main()
