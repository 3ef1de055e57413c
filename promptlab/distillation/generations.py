"""Which unlabeled examples a generation of iPET learns from.

Source: iPET, arXiv:2001.07676, section 3.4.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from promptlab.core.errors import TuningError

ENOUGH = 1000  # examples that the last generation learns from
FIRST = 10  # examples that the first generation learns from if there are no labeled ones
MOST = 1_000_000  # examples that the last generation may learn from


def n_generations(n_labeled: int, growth: float) -> int:
    """Generations after which a set that grows so has about 1,000 examples, at least 1."""
    start, before = _start(n_labeled)
    return max(1, before + math.ceil(math.log(ENOUGH / start, growth) - 1e-9))


def check_growth(n_labeled: int, growth: float, generations: int) -> None:
    """Refuse a training set that grows beyond all measure.

    Raises:
        TuningError: if the last generation's has more than a million examples.
    """
    start, before = _start(n_labeled)
    times = generations - before
    if math.log(start) + times * math.log(growth) > math.log(MOST):
        raise TuningError(
            f"{start} examples that grow {times} times by growth_factor={growth!r} are more than {MOST:,}; set fewer "
            "generations, or a smaller growth_factor (usually about 1,000 examples are enough)."
        )


def _start(n_labeled: int) -> tuple[int, int]:
    """Examples that growth starts from, and the generations before it."""
    return (n_labeled, 0) if n_labeled else (FIRST, 1)


def class_counts(labeled: Mapping[str, int], classes: Sequence[str], generation: int, growth: float) -> dict[str, int]:
    """Examples of each class in the training set of a generation (from 1), so that the set keeps its proportions.

    Without labeled examples there are 10 in the first generation, which grow as a whole and are shared out evenly, the
    first classes getting what is left over; a class has at least 1.

    Source: iPET's code (``generate_ipet_train_sets``), which rounds the whole number down, and then each class's share.
    """
    known = sum(labeled.get(name, 0) for name in classes)
    if known:
        new = _whole(known * growth**generation) - known
        return {name: labeled.get(name, 0) + labeled.get(name, 0) * new // known for name in classes}
    each, rest = divmod(_whole(FIRST * growth ** (generation - 1)), len(classes))
    return {name: max(1, each + (place < rest)) for place, name in enumerate(classes)}


def _whole(number: float) -> int:
    """Rounded down, but for what floating point takes from a whole number."""
    return math.floor(number + 1e-6)


def draw_teachers(n_members: int, learner: int, share: float, rng: np.random.Generator) -> list[int]:
    """Members that label for one of them: a share of the others, at least one."""
    others = [number for number in range(n_members) if number != learner]
    return sorted(rng.choice(others, max(1, round(share * len(others))), replace=False).tolist())


def draw_rows(
    log_probs: np.ndarray, column: int, count: int, rng: np.random.Generator, *, most_likely: int, whoever: bool
) -> list[int]:
    """Rows to learn as examples of a class, drawn in proportion to its probability.

    They come from the rows for which it is the likeliest class; if there are none, or for ``whoever``, from those with
    the highest scores. No row comes twice before all have come.

    Args:
        log_probs: (rows, classes).
        column: of the class.
        most_likely: how many count as those with the highest scores.
        whoever: whether rows may be likelier to be of another class, as where nothing was trained yet.
    """
    if count < 1:
        return []
    own = log_probs[:, column]
    pool = np.flatnonzero(log_probs.argmax(axis=1) == column)
    if whoever or not len(pool):
        pool = np.argsort(-own, kind="stable")[:most_likely]
    turns, rest = divmod(count, len(pool))  # whole turns of the pool, and a draw
    weights = np.exp(own[pool] - own[pool].max()) + 1e-12  # so that a probability of 0 can be drawn where it must be
    rows: list[int] = rng.choice(pool, rest, replace=False, p=weights / weights.sum()).tolist()
    return pool.tolist() * turns + rows
