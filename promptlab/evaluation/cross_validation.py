"""How good a choice by dev rows is on other rows: the highest of many scores on few rows is mostly luck."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from typing import NamedTuple

FEWEST = 4  # rows: with fewer, one part of them could neither choose nor be scored on


class Estimate(NamedTuple):
    """Accuracy on rows that had no part in the choice, and on how many different ones."""

    accuracy: float
    rows: int

    @property
    def standard_error(self) -> float:
        """Of the accuracy, as a share, from the number of rows alone."""
        return math.sqrt(self.accuracy * (1 - self.accuracy) / self.rows)


def cross_validated(
    labels: Sequence[str],
    choose: Callable[[Sequence[int]], Sequence[Sequence[bool]]],
    *,
    folds: int,
    repeats: int = 1,
    seed: int = 0,
) -> list[Estimate]:
    """The accuracy of what is chosen, at each place of the choice: chosen by all folds but one, scored on that one.

    Every row is scored on once in each repetition.

    Source: nested cross-validation, Varma and Simon 2006, doi:10.1186/1471-2105-7-91.

    Args:
        labels: of the rows.
        choose: numbers of rows to choose by → for what stands first, second, …, whether it is right on each of all
            rows.
        folds: at most; two rows at least are in each.
        repeats: times that the rows are parted anew.

    Returns:
        One estimate for each place that every choice had; none for fewer than 4 rows or 2 folds.
    """
    folds = min(folds, len(labels) // 2)
    if len(labels) < FEWEST or folds < 2:
        return []
    hits: list[list[bool]] = []  # of each scored row, those at each place
    for repeat in range(repeats):
        for fold in parted(labels, folds, seed=seed + repeat):
            held_out = set(fold)
            chosen = choose([row for row in range(len(labels)) if row not in held_out])
            hits += [[right[row] for right in chosen] for row in fold]
    return [Estimate(sum(place) / len(hits), len(labels)) for place in zip(*_shortest(hits))]


def parted(labels: Sequence[str], folds: int, *, seed: int) -> list[list[int]]:
    """Rows dealt out at random, those of one class after those of another, so that all folds have their share of each.

    Without that, the rest of a fold that has many rows of a class would prefer the other classes.
    """
    order = random.Random(seed).sample(range(len(labels)), len(labels))
    dealt = sorted(order, key=lambda row: labels[row])  # stable
    return [sorted(dealt[start::folds]) for start in range(folds)]


def _shortest(rows: Sequence[Sequence[bool]]) -> list[Sequence[bool]]:
    """All rows as long as the shortest."""
    length = min(map(len, rows))
    return [row[:length] for row in rows]
