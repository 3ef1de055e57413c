"""CPU seconds of ``promptlab search-template --budget small``: the limit is two minutes on two cores, 240 of them.

    python benchmarks/speed/small_budget.py FOLDER [--tasks sst-2 ag_news rte] [--engines heuristic …]

FOLDER holds ``sst-2``, ``ag_news`` and ``rte``. Each search is a command of its own on one thread with all training
rows and all dev rows (AG News: test rows), of which the budget takes what it can; starting, reading and ranking count.
Finished runs are kept in results/small_budget.json; the table goes to results/small_budget.md.
"""

from __future__ import annotations

import functools
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.common.runs import MODEL, keep, parser, sweep

FILES = {
    "sst-2": ("sst2/great-terrible", "train.tsv", "dev.tsv"),
    "ag_news": ("ag_news", "train.tsv.gz", "test.tsv.gz"),
    "rte": ("rte", "train.tsv", "dev.tsv"),
}
NAMES = {"sst-2": "SST-2", "ag_news": "AG News", "rte": "RTE"}
ENGINES = {"heuristic": (), "autoprompt": (), "masked-lm": (), "lm": ("--generator", "smollm2")}
LIMIT = 240


def run(task: str, engine: str, folder: Path) -> dict[str, Any]:
    verbalizer, train, dev = FILES[task]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with tempfile.TemporaryDirectory() as place:
        subprocess.run(
            [
                *(str(Path(sys.executable).with_name("promptlab")), "search-template", str(folder / task / train)),
                *("--dev", str(folder / task / dev), "--verbalizer", verbalizer, "--engine", engine),
                *ENGINES[engine],
                *("--model", MODEL, "--budget", "small", "--seed", "13", "--device", "cpu"),
                *("--output", f"{place}/best.yaml"),
            ],
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            check=True,
            capture_output=True,
        )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return {"cpu_seconds": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime}


def write(results: Mapping[str, Any]) -> None:
    lines = ["| engine | " + " | ".join(NAMES.values()) + " |", "|---" * (len(NAMES) + 1) + "|"]
    for engine in ENGINES:
        cells = [results.get(f"{task}/{engine}") for task in FILES]
        lines.append(
            f"| {engine} | " + " | ".join(f"{cell['cpu_seconds']:.0f}" if cell else "–" for cell in cells) + " |"
        )
    note = (
        f"CPU seconds of one search by `--budget small`, model {MODEL} (lm writes with smollm2), seed 13, one thread, "
        f"on a machine with other work; the limit is {LIMIT}, two minutes of two cores. Of 872, 7,600 and 277 dev rows "
        "64 are taken, of more training rows 1,024, and of a prompt 64 tokens."
    )
    keep("small_budget", "Template search by the small budget", results, ["\n".join(lines)], note)


def main() -> None:
    options_of = parser(__doc__, folder=True)
    options_of.add_argument("--tasks", nargs="+", default=list(FILES), choices=list(FILES))
    options_of.add_argument("--engines", nargs="+", default=list(ENGINES), choices=list(ENGINES))
    options = options_of.parse_args()
    jobs = [
        (f"{task}/{engine}", functools.partial(run, task, engine, options.folder))
        for engine in options.engines
        for task in options.tasks
    ]
    sweep("small_budget", jobs, write, processes=options.processes)


if __name__ == "__main__":
    main()
