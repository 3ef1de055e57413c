"""Few-shot splits."""

from __future__ import annotations

from collections.abc import Sequence

from promptlab.core.checks import check_seed
from promptlab.core.errors import DataError


def k_shot(labels: Sequence[str | None], *, k: int, seed: int, dev: bool = True) -> tuple[list[int], list[int]]:
    """Draw k rows of each class to train on, and k others to select on.

    Classes are taken in sorted order, each class's rows permuted by one ``numpy.random.RandomState(seed)``; the first
    k go to train, the next k to dev. The train rows are the same with and without ``dev``.

    Source: LM-BFF, arXiv:2012.15723, section 3.

    Args:
        labels: the label of each row.
        k: rows per class and split, at least 1.
        seed: 0 to 2³² - 1; the paper uses 13, 21, 42, 87 and 100.
        dev: whether to draw a dev split; if not it is empty, and k rows per class are enough.

    Returns:
        Indices of the train and of the dev rows, both sorted.

    Raises:
        DataError: if k is below 1, the seed out of range, a label is missing, or a class has too few rows.

    Example:
        >>> from promptlab import k_shot
        >>> labels = ["yes", "no", "yes", "no", "yes", "no"]
        >>> k_shot(labels, k=1, seed=13)
        ([2, 3], [0, 1])
    """
    import numpy as np

    if k < 1:
        raise DataError(f"k is {k}; draw at least 1 row per class.")
    check_seed(seed, DataError)
    rng = np.random.RandomState(seed)
    train: list[int] = []
    held_out: list[int] = []
    for name, rows in sorted(_rows_by_class(labels).items()):
        _check_count(name, len(rows), k, dev)
        drawn = rng.permutation(rows).tolist()
        train += drawn[:k]
        held_out += drawn[k : 2 * k] if dev else []
    return sorted(train), sorted(held_out)


def halves(labels: Sequence[str | None], *, seed: int) -> tuple[list[int], list[int]]:
    """Split the rows of each class in two by seed, the odd one going to the first half; both index lists are sorted.

    Args:
        labels: the label of each row.
        seed: 0 to 2³² - 1; rows are permuted as ``k_shot`` does.

    Raises:
        DataError: if a label is missing, the seed is out of range, or a class has fewer than 2 rows.
    """
    import numpy as np

    check_seed(seed, DataError)
    rng = np.random.RandomState(seed)
    first: list[int] = []
    second: list[int] = []
    for name, rows in sorted(_rows_by_class(labels).items()):
        if len(rows) < 2:
            raise DataError(f"class {name!r} has 1 row, which can't be split in halves; add rows.")
        drawn = rng.permutation(rows).tolist()
        middle = (len(rows) + 1) // 2
        first += drawn[:middle]
        second += drawn[middle:]
    return sorted(first), sorted(second)


def _rows_by_class(labels: Sequence[str | None]) -> dict[str, list[int]]:
    rows: dict[str, list[int]] = {}
    for row, name in enumerate(labels):
        if name is None:
            raise DataError(f"row {row + 1} has no label; leave unlabeled rows out before sampling.")
        rows.setdefault(name, []).append(row)
    if not rows:
        raise DataError("there are no labels to sample from; give at least one row per class.")
    return rows


def _check_count(name: str, count: int, k: int, dev: bool) -> None:
    need = 2 * k if dev else k
    if count < need:
        remedy = "lower k, add rows, or pass dev=False" if dev else "lower k or add rows"
        splits = "train and dev" if dev else "train"
        raise DataError(f"class {name!r} has {count} rows, but k={k} needs {need} for {splits}; {remedy}.")
