"""Ensembles, PET and iPET against single prompts and a head: few labelled and 5,000 unlabelled texts, minilm.

    python benchmarks/ensembles.py FOLDER [--tasks ag_news sst-2] [--sizes 10 50 100] [--seeds 13 …] [--device cuda]

FOLDER holds ``ag_news`` (train.tsv.gz, test.tsv.gz) and ``sst-2`` (train.tsv, dev.tsv). Labelled texts are drawn from
the training pool, as many of each class as can be, and so are the unlabelled ones, whose labels are dropped. There is
no dev set to select on, but for stacking, which learns on as many other labelled texts. Members, PET and iPET share
what is equal among them. Finished runs are kept in results/ensembles.json; the table goes to results/ensembles.md.
"""

from __future__ import annotations

import functools
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from sweep import MODEL, SEEDS, keep, mean, parser, placed, sweep

from promptlab import IPET, PET, PVP, HeadClassifier, PVPEnsemble, read_examples
from promptlab.fitting import Labelled
from promptlab.merging import Stacking
from promptlab.types import Example

SIZES = (10, 50, 100)
UNLABELLED = 5000
TEST = 2000  # rows at most
FILES = {"ag_news": ("train.tsv.gz", "test.tsv.gz"), "sst-2": ("train.tsv", "dev.tsv")}
NAMES = {"ag_news": "AG News", "sst-2": "SST-2"}
PAIRS = {
    "ag_news": ("ag_news/pet", [f"ag_news/{name}" for name in ("colon", "category", "news", "dash", "brackets")]),
    "sst-2": (
        "sst2/lm-bff",
        [f"sst2/{name}" for name in ("it-was", "all-in-all", "it-was-first", "just", "in-summary")],
    ),
}
STUDENT = {"max_steps": 400, "batch_size": 32}
ROWS = (
    "head fine-tuning", "worst member", "mean member", "best member", "ensemble, uniform", "ensemble, weighted",
    "ensemble, hard vote", "ensemble, stacked", "PET", "PET, masked words", "iPET",
)  # fmt: skip


def draw(pool: Sequence[Example], size: int, seed: int) -> tuple[list[Example], list[Example], list[Example]]:
    """Labelled examples, as many others, and unlabelled ones: all different, the labelled ones balanced."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(pool)).tolist()
    names = sorted({str(example.label) for example in pool})
    waiting = {name: [row for row in order if pool[row].label == name] for name in names}
    turns = [names[turn % len(names)] for turn in range(size)]
    train, dev = ([waiting[name].pop() for name in turns] for _ in range(2))
    taken = {*train, *dev}
    rest = [row for row in order if row not in taken][:UNLABELLED]
    labelled = ([pool[row] for row in rows] for rows in (train, dev))
    return *labelled, [Example(pool[row].fields) for row in rest]


def run(task: str, size: int, seed: int, folder: Path | str, device: str) -> dict[str, Any]:
    """All methods on one draw; accuracies on the test rows, and seconds."""
    pool, test = (read_examples(Path(folder) / task / name) for name in FILES[task])
    train, dev, unlabelled = draw(pool, size, seed)
    test = test[:TEST]
    verbalizer, templates = PAIRS[task]
    pairs = [PVP(template, verbalizer, template.split("/")[1]) for template in templates]
    accuracies: dict[str, float] = {}
    seconds: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as cache:
        common = {"repetitions": 1, "seed": seed, **placed(device), "cache_dir": cache}
        start = time.perf_counter()

        def note(name: str, value: float) -> None:
            nonlocal start
            accuracies[name], seconds[name] = value, time.perf_counter() - start
            start = time.perf_counter()

        note("head fine-tuning", HeadClassifier(MODEL, seed=seed, **placed(device)).fit(train).score(test))
        ensemble = PVPEnsemble(pairs, MODEL, weighting="uniform", **common).fit(train)
        scores = np.log(np.maximum(ensemble.member_proba(test), 1e-30))
        targets = Labelled.of(test, None).targets(list(ensemble.classes_)).numpy()
        members = dict(zip(ensemble.members_, (scores.argmax(axis=2) == targets).mean(axis=1).tolist()))
        note("ensemble, uniform", ensemble.score(test))
        for name, settings in (("weighted", {}), ("hard vote", {"weighting": "uniform", "voting": "hard"})):
            note(f"ensemble, {name}", PVPEnsemble(pairs, MODEL, **settings, **common).fit(train).score(test))
        on_dev = np.log(np.maximum(ensemble.member_proba(dev), 1e-30))
        own = Labelled.of(dev, None).targets(list(ensemble.classes_)).numpy()
        stacked = Stacking.fitted(on_dev, own, seed=seed)(scores)
        note("ensemble, stacked", float((stacked.argmax(axis=1) == targets).mean()))
        student = HeadClassifier(MODEL, seed=seed, **placed(device), **STUDENT)
        plain = {"student": student, "mlm_weight": 0.0, **common}
        note("PET", PET(pairs, MODEL, **plain).fit(train, unlabeled=unlabelled).score(test))
        note("iPET", IPET(pairs, MODEL, **plain).fit(train, unlabeled=unlabelled).score(test))
        whole = PET(pairs, MODEL, student=student, **common).fit(train, unlabeled=unlabelled)
        note("PET, masked words", whole.score(test))
    accuracies |= {
        "worst member": min(members.values()),
        "mean member": statistics.mean(members.values()),
        "best member": max(members.values()),
    }
    return {"accuracies": accuracies, "members": members, "seconds": seconds, "unlabelled": len(unlabelled)}


def table(results: Mapping[str, Any]) -> str:
    """Mean and standard deviation over the seeds, a row for each method."""
    columns = [(task, size) for task in FILES for size in SIZES if any(_of(key, task, size) for key in results)]
    lines = ["| method | " + " | ".join(f"{NAMES[task]}, {size}" for task, size in columns) + " |"]
    lines.append("|---" * (len(columns) + 1) + "|")
    for name in ROWS:
        cells = []
        for task, size in columns:
            rows = [row["accuracies"] for key, row in results.items() if _of(key, task, size)]
            cells.append(mean([100 * row[name] for row in rows if name in row]))
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _of(key: str, task: str, size: int) -> bool:
    return key.startswith(f"{task}/{size}/")


def write(results: Mapping[str, Any]) -> None:
    seeds = sorted({int(key.rsplit("/", 1)[1]) for key in results})
    note = (
        f"Test accuracy in %, mean (standard deviation) over the draws {', '.join(map(str, seeds))}; columns say how "
        f"many labelled texts there are in all; up to {UNLABELLED:,} unlabelled ones; model {MODEL}; five "
        f"patterns, one verbalizer and one seed each; at most {TEST:,} test rows. Nothing is selected on dev, but "
        "stacking learns on as many further labelled texts. Best and worst members are so by their test accuracy. "
        "“Masked words” adds PET's auxiliary loss."
    )
    keep("ensembles", "Ensembles, PET and iPET", results, [table(results)], note, packages=["scikit-learn"])


def main() -> None:
    options_of = parser(__doc__, folder=True)
    options_of.add_argument("--device", default="cpu")
    options_of.add_argument("--tasks", nargs="+", default=list(FILES), choices=list(FILES))
    options_of.add_argument("--sizes", nargs="+", type=int, default=list(SIZES), choices=SIZES)
    options_of.add_argument("--seeds", nargs="+", type=int, default=list(SEEDS), choices=SEEDS)
    options = options_of.parse_args()
    jobs = [
        (f"{task}/{size}/{seed}", functools.partial(run, task, size, seed, options.folder, options.device))
        for seed in options.seeds
        for task in options.tasks
        for size in options.sizes
    ]
    print(table(sweep("ensembles", jobs, write, processes=options.processes)))


if __name__ == "__main__":
    main()
