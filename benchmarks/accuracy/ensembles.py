"""Ensembles, PET and iPET against single prompts and a head: few labeled and 5,000 unlabeled texts, minilm.

    python benchmarks/accuracy/ensembles.py FOLDER [--tasks ag_news sst-2] [--sizes 10 50 100] [--seeds 13 …]
        [--groups …] [--device cuda]

FOLDER holds ``ag_news`` (train.tsv.gz, test.tsv.gz) and ``sst-2`` (train.tsv, dev.tsv). Labeled texts are drawn from
the training pool, as many of each class as can be, and so are the unlabeled ones, whose labels are dropped. There is
no dev set to select on, but for stacking, which learns on as many other labeled texts. Members, PET and iPET share
what is equal among them. Finished runs are kept in results/ensembles.json; the table goes to results/ensembles.md.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.common.data import NAMES, path_of, test_path
from benchmarks.common.models import MODEL, loaded
from benchmarks.common.options import DEVICE, FOLDER, SOME_SEEDS, some_of
from benchmarks.common.runs import Benchmark, Job
from benchmarks.common.setup import SEEDS, Setup
from benchmarks.common.tables import Page, Runs, counted, known_rows, listed, table, under
from benchmarks.common.timing import timed
from promptlab import IPET, PET, PVP, HeadClassifier, PVPEnsemble, read_examples
from promptlab.core.types import Example
from promptlab.data.labeled import Labeled
from promptlab.ensembles.merging import Stacking, accuracies, merged, votes

SIZES = (10, 50, 100)
UNLABELED = 5000
TEST = 1000  # rows at most
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
    """Return labeled examples, as many others, and unlabeled ones: all different, the labeled ones balanced."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(pool)).tolist()
    names = sorted({str(example.label) for example in pool})
    waiting = {name: [row for row in order if pool[row].label == name] for name in names}
    turns = [names[turn % len(names)] for turn in range(size)]
    train, dev = ([waiting[name].pop() for name in turns] for _ in range(2))
    taken = {*train, *dev}
    rest = [row for row in order if row not in taken][:UNLABELED]
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
    setup: Setup
    common: Mapping[str, Any]

    @classmethod
    def of(cls, setup: Setup, task: str, size: int, seed: int) -> Draw:
        folder = setup.data(task)
        train, dev, unlabeled = draw(read_examples(path_of(folder, "train")), size, seed)
        test = setup.some(read_examples(test_path(folder))[:TEST])
        verbalizer, templates = PAIRS[task]
        pairs = [PVP(template, verbalizer, template.split("/")[1]) for template in templates]
        cache = setup.results / "ensembles" / f"{task}-{size}-{seed}"  # members that several groups of methods share
        common = {"repetitions": 1, **MEMBER, "seed": seed, "max_length": MAX_LENGTH, "resume_dir": cache}
        return cls(pairs, train, dev, setup.some(unlabeled), test, setup, common)

    def head(self, **settings: Any) -> HeadClassifier:
        own = {name: self.common[name] for name in ("seed", "max_length")}
        return HeadClassifier(loaded(MODEL), **self.setup.settings(**own, **settings))

    def members(self, method: Callable[..., Any], **more: Any) -> Any:
        """Return an ensemble of the pairs, or a method that trains one."""
        return method(self.pairs, loaded(MODEL), **self.setup.settings(**self.common), **more)


def jobs(options: argparse.Namespace) -> Iterator[Job]:
    for seed in options.seeds:
        for task in options.tasks:
            for size in options.sizes:
                for group in options.groups:
                    key = f"{task}/{size}/{seed}/{group}"
                    yield key, functools.partial(run, options.setup, task, size, seed, group)


def run(setup: Setup, task: str, size: int, seed: int, group: str) -> dict[str, Any]:
    """Return the test accuracies of the methods of a group on one draw, and the group's seconds."""
    drawn = Draw.of(setup, task, size, seed)
    found, seconds = timed(lambda: GROUPS[group](drawn))
    return {"accuracies": found, "seconds": seconds, "device": setup.device}


def ensembles(drawn: Draw) -> dict[str, float]:
    """Return the accuracies of members and of ensembles of them, all from the same scores, and of a head alone."""
    ensemble = drawn.members(PVPEnsemble, weighting="untrained-accuracy").fit(drawn.train)
    (scores, right), dev = (scores_and_targets(ensemble, rows) for rows in (drawn.test, drawn.dev))
    members = accuracies(scores, right)
    alike, weights = np.ones(len(members)), np.array(list(ensemble.weights_.values()))
    stacking = Stacking.fitted(*dev, seed=drawn.common["seed"])
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


def scores_and_targets(ensemble: PVPEnsemble, rows: Sequence[Example]) -> tuple[np.ndarray, np.ndarray]:
    """Return each member's log-probabilities of the rows, and their classes."""
    scores = np.log(np.maximum(ensemble.member_proba(rows), 1e-30))
    return scores, Labeled.of(rows, None).targets(list(ensemble.classes_)).numpy()


def distilled(method: Callable[..., Any], name: str, drawn: Draw) -> dict[str, float]:
    """Return the accuracy of a student that learns from members' labels of unlabeled texts."""
    taught = drawn.members(method, student=drawn.head(**STUDENT))
    return {name: taught.fit(drawn.train, unlabeled=drawn.unlabeled).score(drawn.test)}


def alone(drawn: Draw) -> dict[str, float]:
    """Return that of a student that learns from what the first prompt alone says of unlabeled texts."""
    return distilled(PLAIN, "one prompt's labels", dataclasses.replace(drawn, pairs=drawn.pairs[:1]))


PLAIN = functools.partial(PET, mlm_weight=0.0)
GROUPS: Mapping[str, Callable[[Draw], dict[str, float]]] = {
    "ensembles": ensembles,
    "PET": functools.partial(distilled, PLAIN, "PET"),
    "iPET": functools.partial(distilled, functools.partial(IPET, mlm_weight=0.0, generations=GENERATIONS), "iPET"),
    "alone": alone,
    "PET, masked words": functools.partial(distilled, PET, "PET, masked words"),
}


def page(runs: Runs, about: Mapping[str, Any]) -> Page:
    columns = {(task, size): own for task in PAIRS for size in SIZES if (own := under(runs, f"{task}/{size}"))}
    heads = [f"{NAMES[task]}, {size} (draws: {n_draws(own)})" for (task, size), own in columns.items()]
    rows = known_rows([name, *(cell(own, name) for own in columns.values())] for name in ROWS)
    note = (
        f"Test accuracy in %, mean (standard deviation) over those of the draws {listed(SEEDS)} that have "
        "run, in this order (of one draw there is no deviation; [n]: n draws only); columns "
        f"say how many labeled texts there are in all; up to {UNLABELED:,} unlabeled ones; model {MODEL}; three "
        f"patterns, one verbalizer and one seed each, {MEMBER['max_steps']} updates of {MEMBER['batch_size']}; "
        f"students {STUDENT['max_steps']} of {STUDENT['batch_size']}; heads alone as many as HeadClassifier takes; "
        f"iPET {GENERATIONS} generation after the first; at most {TEST:,} test rows. Nothing is selected on dev, but "
        "stacking learns on as many further labeled texts. Best and worst members are so by their test accuracy. "
        "“One prompt's labels”: the student learns from the first pattern alone. “Masked words” adds PET's auxiliary "
        "loss."
    )
    return Page([table(["method", *heads], rows)], note)


def n_draws(runs: Runs) -> int:
    return len({key.split("/")[0] for key in runs})


def cell(runs: Runs, name: str) -> str:
    """Return the accuracy of a method, and on how many draws it ran if not on all."""
    found = [100 * run["accuracies"][name] for run in runs.values() if name in run["accuracies"]]
    return counted(found, n_draws(runs))


BENCHMARK = Benchmark(
    name="ensembles",
    title="Ensembles, PET and iPET",
    doc=__doc__,
    stages=[jobs],
    page=page,
    options=[FOLDER, DEVICE, some_of("tasks", PAIRS), some_of("sizes", SIZES), some_of("groups", GROUPS), SOME_SEEDS],
    packages=["scikit-learn"],
)

if __name__ == "__main__":
    BENCHMARK.main()
