"""Real data that comes with the package, small enough to try things on: SST-2, TREC and AG News."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from promptlab.core.errors import DataError, UnknownNameError
from promptlab.core.files import atomic_file, library_folder
from promptlab.core.types import Example
from promptlab.data.readers import read_examples

DEMO_DATA = {  # what they are called for users → in the folder of data
    "data/sst2/pool.tsv": "sst2/pool.tsv",
    "data/sst2/test.tsv": "sst2/test.tsv",
    "reviews.txt": "demo/reviews.txt",
    "words.txt": "demo/words.txt",
}


class Split(NamedTuple):
    """Row indices into a pool."""

    train: list[int]
    dev: list[int]


@dataclass(frozen=True)
class Sample:
    """Hold a data set: few-shot splits and test rows.

    Args:
        name: what it is called.
        pool: rows of all splits.
        test: rows to measure on.
        splits: seed → indices of its train and dev rows in the pool.
    """

    name: str
    pool: list[Example]
    test: list[Example]
    splits: Mapping[int, Split]

    def few_shot(self, seed: int) -> tuple[list[Example], list[Example]]:
        """The train and dev examples of one seed, 16 per class each.

        Raises:
            DataError: if there is no split of that seed.
        """
        if seed not in list(self.splits):
            raise DataError(f"{self.name} has no split of seed {seed}; choose from {', '.join(map(str, self.splits))}.")
        split = self.splits[seed]
        return [self.pool[row] for row in split.train], [self.pool[row] for row in split.dev]


def sample_names() -> list[str]:
    """Names of the data that comes with the package."""
    return sorted(path.parent.name for path in library_folder("data").glob("*/pool.tsv"))


def load_sample(name: str) -> Sample:
    """Read a data set that comes with the package: real texts, small enough to try things on.

    Args:
        name: ``"sst2"``, ``"trec"`` or ``"ag_news"``; where each is from and under which license is in
            ``data/<name>/README.md``.

    Returns:
        Rows to draw from, test rows, and few-shot splits by seed.

    Raises:
        UnknownNameError: if there is no such data.

    Example:
        >>> from promptlab import load_sample
        >>> sample = load_sample("sst2")
        >>> train, dev = sample.few_shot(seed=13)  # 16 examples of each class
        >>> len(train), len(dev), len(sample.test), train[0].label
        (32, 32, 872, 'negative')
    """
    if name not in sample_names():
        raise UnknownNameError("data sample", name, sample_names())
    folder = library_folder("data") / name
    pool, test = (
        read_examples(folder / file, encoding="utf-8", delimiter="tab", quoting="csv")
        for file in ("pool.tsv", "test.tsv")
    )
    return Sample(name, pool, test, _splits(folder / "fewshot"))


def write_demo_data(folder: str | Path) -> list[Path]:
    """Write the files that the commands in README.md read; those that are there already stay.

    Args:
        folder: gets ``data/sst2/pool.tsv``, ``data/sst2/test.tsv``, ``reviews.txt`` and ``words.txt``.

    Raises:
        DataError: if a file of such a name holds something else.
    """
    files = {Path(folder) / place: library_folder("data") / source for place, source in DEMO_DATA.items()}
    for target, source in files.items():
        if target.exists() and not (target.is_file() and target.read_bytes() == source.read_bytes()):
            raise DataError(f"{str(target)!r} holds something else; choose another folder.")
    for target, source in files.items():
        with atomic_file(target) as file:
            shutil.copyfile(source, file)
    return list(files)


def _splits(folder: Path) -> dict[int, Split]:
    read = [json.loads(path.read_text(encoding="utf-8")) for path in folder.glob("*.json")]
    splits = {split["seed"]: Split(split["train"], split["dev"]) for split in read}
    return dict(sorted(splits.items()))
