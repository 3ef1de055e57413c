"""Which rows make a batch."""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection, Iterator, Sequence
from typing import TypeVar

import numpy as np

Batch = TypeVar("Batch")


class LengthBatches:
    """Batches of row numbers: shuffled anew each epoch, rows of like length together where there are many.

    Args:
        lengths: tokens of each row.
        batch_size: rows of a batch; the last one may be smaller.
        seed: of the shuffles.
    """

    drop_last = False

    def __init__(self, lengths: Sequence[int], batch_size: int, seed: int) -> None:
        self.lengths, self.batch_size, self.seed, self.epoch = np.asarray(lengths), batch_size, seed, 0

    def __len__(self) -> int:
        return math.ceil(len(self.lengths) / self.batch_size)

    def __iter__(self) -> Iterator[list[int]]:
        rng = np.random.default_rng([self.seed, self.epoch])
        rows = rng.permutation(len(self.lengths))
        window = self.batch_size * max(1, min(50, len(rows) // (4 * self.batch_size)))
        for start in range(0, len(rows), window):
            part = rows[start : start + window]
            if window > self.batch_size:
                part = part[np.argsort(-self.lengths[part], kind="stable")]
            batches = [part[i : i + self.batch_size].tolist() for i in range(0, len(part), self.batch_size)]
            rng.shuffle(batches)
            yield from batches


def endless(loader: Collection[Batch], batches: LengthBatches, *, size: int, start: int) -> Iterator[tuple[Batch, ...]]:
    """The batches of each update, epoch after epoch: ``size`` of them, or what is left of an epoch at its end.

    Args:
        start: updates to leave out.
    """
    per_epoch = math.ceil(len(loader) / size)
    for epoch in itertools.count(start // per_epoch):
        batches.epoch = epoch
        skip = max(0, start - epoch * per_epoch)
        rest = itertools.islice(loader, skip * size, None)
        while some := tuple(itertools.islice(rest, size)):
            yield some
