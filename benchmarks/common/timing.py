"""Clocks: what a call takes, and contestants that take turns in one process."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

Result = TypeVar("Result")
Seconds = Mapping[str, Sequence[float]]  # of every contestant in every round


def timed(call: Callable[[], Result], clock: Callable[[], float] = time.perf_counter) -> tuple[Result, float]:
    """Return what a call returns, and its seconds.

    Args:
        clock: ``time.process_time`` counts the processor's, which other processes don't lengthen.
    """
    start = clock()
    return call(), clock() - start


def in_turn(
    contestants: Mapping[str, Callable[[], Any]],
    rounds: int,
    *,
    warm_up: int = 0,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, list[float]]:
    """Return the seconds of every contestant in every round.

    Args:
        warm_up: so many rounds before them don't count.
        clock: as for ``timed``.
    """
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(warm_up + rounds):
        for name, run in contestants.items():
            seconds[name].append(timed(run, clock)[1])
    return {name: values[warm_up:] for name, values in seconds.items()}


def medians(seconds: Seconds) -> dict[str, float]:
    """Return the median over the rounds of each contestant."""
    return {name: statistics.median(values) for name, values in seconds.items()}


def ratio(seconds: Seconds, of: str, to: str) -> float:
    """Return the median of one contestant over that of another."""
    return statistics.median(seconds[of]) / statistics.median(seconds[to])
