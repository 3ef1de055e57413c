"""Ensembles, PET and iPET against single prompts and a head: few labeled and 5,000 unlabeled texts, minilm.

    python benchmarks/accuracy/ensembles.py FOLDER [--tasks ag_news sst-2] [--sizes 10 50 100] [--seeds 13 …]
        [--groups …] [--device cuda]

FOLDER holds ``ag_news`` (train.tsv.gz, test.tsv.gz) and ``sst-2`` (train.tsv, dev.tsv). Labeled texts are drawn from
the training pool, as many of each class as can be, and so are the unlabeled ones, whose labels are dropped. There is
no dev set to select on, but for stacking, which learns on as many other labeled texts. Members, PET and iPET share
what is equal among them. Finished runs are kept in results/ensembles.json; the table goes to results/ensembles.md.
"""

from __future__ import annotations

import dataclasses
import functools
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common.runs import MODEL, RESULTS, SEEDS, keep, mean, parser, placed, sweep
from promptlab import IPET, PET, PVP, HeadClassifier, PVPEnsemble, read_examples
from promptlab.core.types import Example
from promptlab.data.labeled import Labeled
from promptlab.ensembles.merging import Stacking, accuracies, merged, votes

CACHE = RESULTS / "ensembles"  # members that several groups of methods share
SIZES = (10, 50, 100)
UNLABELLED = 5000
TEST = 1000  # rows at most
FILES = {"ag_news": ("train.tsv.gz", "test.tsv.gz"), "sst-2": ("train.tsv", "dev.tsv")}
NAMES = {"ag_news": "AG News", "sst-2": "SST-2"}
PAIRS = {
    "ag_news": ("ag_news/pet", [f"ag_news/{name}" for name in ("colon", "category", "news")]),
    "sst-2": ("sst2/great-terrible", [f"sst2/{name}" for name in ("it-was", "all-in-all", "just")]),
}
MAX_LENGTH = 128
MEMBER = {"max_steps": 100, "batch_size": 8}
STUDENT = {"max_steps": 300, "batch_size": 16}  # nearly one pass over the unlabeled texts
GENERATIONS = 1  # of iPET, after the first
ROWS = (
    "head fine-tuning", "worst member", "mean member", "best member", "ensemble, uniform", "ensemble, weighted",
    "ensemble, hard vote", "ensemble, stacked", "one prompt's labels", "PET", "PET, masked words", "iPET",
)  # fmt: skip


def draw(pool: Sequence[Example], size: int, seed: int) -> tuple[list[Example], list[Example], list[Example]]:
    """Labeled examples, as many others, and unlabeled ones: all different, the labeled ones balanced."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(pool)).tolist()
    names = sorted({str(example.label) for example in pool})
    waiting = {name: [row for row in order if pool[row].label == name] for name in names}
    turns = [names[turn % len(names)] for turn in range(size)]
    train, dev = ([waiting[name].pop() for name in turns] for _ in range(2))
    taken = {*train, *dev}
    rest = [row for row in order if row not in taken][:UNLABELLED]
    labeled = ([pool[row] for row in rows] for rows in (train, dev))
    return *labeled, [Example(pool[row].fields) for row in rest]


@dataclass(frozen=True)
class Draw:
    """What the methods are given.

    Args:
        common: settings of members and ensembles.
    """

    pairs: Sequence[PVP]
    train: Sequence[Example]
    dev: Sequence[Example]
    unlabeled: Sequence[Example]
    test: Sequence[Example]
    common: Mapping[str, Any]

    @classmethod
    def of(cls, task: str, size: int, seed: int, folder: Path, device: str) -> Draw:
        pool, test = (read_examples(folder / task / name) for name in FILES[task])
        verbalizer, templates = PAIRS[task]
        pairs = [PVP(template, verbalizer, template.split("/")[1]) for template in templates]
        place = {"seed": seed, "max_length": MAX_LENGTH, **placed(device)}
        common = {"repetitions": 1, **MEMBER, **place, "resume_dir": CACHE / f"{task}-{size}-{seed}"}
        return cls(pairs, *draw(pool, size, seed), test[:TEST], common)

    def head(self, **settings: Any) -> HeadClassifier:
        names = ("seed", "max_length", "device", "precision")
        return HeadClassifier(MODEL, **{name: self.common[name] for name in names}, **settings)


def run(task: str, size: int, seed: int, what: str, folder: Path, device: str) -> dict[str, Any]:
    """Test accuracies of the methods of a group on one draw, and the group's seconds."""
    drawn = Draw.of(task, size, seed, folder, device)
    start = time.perf_counter()
    found = GROUPS[what](drawn)
    return {"accuracies": found, "seconds": time.perf_counter() - start, "device": device}


def ensembles(drawn: Draw) -> dict[str, float]:
    """Members and ensembles of them, all from the same scores, and a head alone."""
    ensemble = PVPEnsemble(drawn.pairs, MODEL, weighting="untrained-accuracy", **drawn.common).fit(drawn.train)
    scores, on_dev = (np.log(np.maximum(ensemble.member_proba(rows), 1e-30)) for rows in (drawn.test, drawn.dev))
    right, on_dev_right = (
        Labeled.of(rows, None).targets(list(ensemble.classes_)).numpy() for rows in (drawn.test, drawn.dev)
    )
    members = accuracies(scores, right)
    alike, weights = np.ones(len(members)), np.array(list(ensemble.weights_.values()))
    stacking = Stacking.fitted(on_dev, on_dev_right, seed=drawn.common["seed"])
    ways = {
        "ensemble, uniform": merged(scores, alike),
        "ensemble, weighted": merged(scores, weights),
        "ensemble, hard vote": votes(scores, alike),
        "ensemble, stacked": stacking(scores),
    }
    return {
        "head fine-tuning": drawn.head().fit(drawn.train).score(drawn.test),
        "worst member": min(members),
        "mean member": statistics.mean(members),
        "best member": max(members),
        **{name: accuracies(found[None], right)[0] for name, found in ways.items()},
    }


def distilled(method: Callable[..., Any], name: str, drawn: Draw) -> dict[str, float]:
    """A student that learns from members' labels of unlabeled texts."""
    taught = method(drawn.pairs, MODEL, student=drawn.head(**STUDENT), **drawn.common)
    return {name: taught.fit(drawn.train, unlabeled=drawn.unlabeled).score(drawn.test)}


def alone(drawn: Draw) -> dict[str, float]:
    """A student that learns from what the first prompt alone says of unlabeled texts."""
    return distilled(PLAIN, "one prompt's labels", dataclasses.replace(drawn, pairs=drawn.pairs[:1]))


PLAIN = functools.partial(PET, mlm_weight=0.0)
GROUPS: Mapping[str, Callable[[Draw], dict[str, float]]] = {
    "ensembles": ensembles,
    "PET": functools.partial(distilled, PLAIN, "PET"),
    "iPET": functools.partial(distilled, functools.partial(IPET, mlm_weight=0.0, generations=GENERATIONS), "iPET"),
    "alone": alone,
    "PET, masked words": functools.partial(distilled, PET, "PET, masked words"),
}


def table(results: Mapping[str, Any]) -> str:
    """Mean and standard deviation over the seeds, a row for each method."""
    columns = [(task, size) for task in FILES for size in SIZES if any(_of(key, task, size) for key in results)]
    draws = [{key.split("/")[2] for key in results if _of(key, *column)} for column in columns]
    heads = [f"{NAMES[task]}, {size} (draws: {len(some)})" for (task, size), some in zip(columns, draws)]
    lines = ["| method | " + " | ".join(heads) + " |"]
    lines.append("|---" * (len(columns) + 1) + "|")
    for name in ROWS:
        cells = []
        for (task, size), some in zip(columns, draws):
            rows = [row["accuracies"] for key, row in results.items() if _of(key, task, size)]
            found = [100 * row[name] for row in rows if name in row]
            cells.append(mean(found) + (f" [{len(found)}]" if 0 < len(found) < len(some) else ""))
        if any(cell != mean([]) for cell in cells):
            lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _of(key: str, task: str, size: int) -> bool:
    return key.startswith(f"{task}/{size}/")


def write(results: Mapping[str, Any]) -> None:
    note = (
        f"Test accuracy in %, mean (standard deviation) over those of the draws {', '.join(map(str, SEEDS))} that have "
        "run, in this order (of one draw there is no deviation; [n]: n draws only); columns "
        f"say how many labeled texts there are in all; up to {UNLABELLED:,} unlabeled ones; model {MODEL}; three "
        f"patterns, one verbalizer and one seed each, {MEMBER['max_steps']} updates of {MEMBER['batch_size']}; "
        f"students {STUDENT['max_steps']} of {STUDENT['batch_size']}; heads alone as many as HeadClassifier takes; "
        f"iPET {GENERATIONS} generation after the first; at most {TEST:,} test rows. Nothing is selected on dev, but "
        "stacking learns on as many further labeled texts. Best and worst members are so by their test accuracy. "
        "“One prompt's labels”: the student learns from the first pattern alone. “Masked words” adds PET's auxiliary "
        "loss."
    )
    keep("ensembles", "Ensembles, PET and iPET", results, [table(results)], note, packages=["scikit-learn"])


def main() -> None:
    options_of = parser(__doc__, folder=True)
    options_of.add_argument("--device", default="cpu")
    options_of.add_argument("--tasks", nargs="+", default=list(FILES), choices=list(FILES))
    options_of.add_argument("--sizes", nargs="+", type=int, default=list(SIZES), choices=SIZES)
    options_of.add_argument("--groups", nargs="+", default=list(GROUPS), choices=list(GROUPS))
    options_of.add_argument("--seeds", nargs="+", type=int, default=list(SEEDS), choices=SEEDS)
    options = options_of.parse_args()
    jobs = [
        (
            f"{task}/{size}/{seed}/{group}",
            functools.partial(run, task, size, seed, group, options.folder, options.device),
        )
        for seed in options.seeds
        for task in options.tasks
        for size in options.sizes
        for group in options.groups
    ]
    print(table(sweep("ensembles", jobs, write, processes=options.processes)))


if __name__ == "__main__":
    main()
