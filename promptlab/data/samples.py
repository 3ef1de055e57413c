"""Real data that comes with the package, small enough to try things on: SST-2, TREC and AG News."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from promptlab.data.readers import read_examples
from promptlab.errors import DataError, UnknownNameError
from promptlab.files import library_folder
from promptlab.types import Example


class Split(NamedTuple):
    """Row indices into a pool."""

    train: list[int]
    dev: list[int]


@dataclass(frozen=True)
class Sample:
    """A data set's few-shot splits and test rows. ``pool`` holds the rows of all splits, ``splits`` is by seed."""

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
    """Read one of ``sample_names()``; where it is from and under which licence is in ``data/<name>/README.md``.

    Raises:
        UnknownNameError: if there is no such data.
    """
    if name not in sample_names():
        raise UnknownNameError("data sample", name, sample_names())
    folder = library_folder("data") / name
    pool, test = (
        read_examples(folder / file, encoding="utf-8", delimiter="tab", quoting="csv")
        for file in ("pool.tsv", "test.tsv")
    )
    return Sample(name, pool, test, _splits(folder / "fewshot"))


def _splits(folder: Path) -> dict[int, Split]:
    read = [json.loads(path.read_text(encoding="utf-8")) for path in folder.glob("*.json")]
    splits = {split["seed"]: Split(split["train"], split["dev"]) for split in read}
    return dict(sorted(splits.items()))
