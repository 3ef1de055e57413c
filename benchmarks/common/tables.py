"""Markdown tables of results: their rows, cells with mean and spread, and the note of a page with its date."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.common.setup import SEEDS

Runs = Mapping[str, Any]  # key of a run → its result, as JSON gives it
NONE = "–"  # a cell of which nothing is known


@dataclass(frozen=True)
class Page:
    """What is written of a benchmark's runs.

    Args:
        parts: tables, and paragraphs between them.
        note: on model, data and seeds; date and versions are added to it.
    """

    parts: Sequence[str]
    note: str

    def text(self, title: str, about: Mapping[str, Any]) -> str:
        """Return the page in Markdown.

        Args:
            about: holds the ``date`` and, where they are known, the ``versions`` of packages.
        """
        versions = [f"{package} {number}" for package, number in about.get("versions", {}).items()]
        return "\n\n".join([f"# {title}", *self.parts, f"{self.note} {', '.join([about['date'], *versions])}."]) + "\n"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table."""
    return "\n".join([_line(head), "|---" * len(head) + "|", *map(_line, rows)])


def _line(cells: Sequence[str]) -> str:
    return "|" + "|".join(f" {cell} " if cell else " " for cell in cells) + "|"


def known_rows(rows: Iterable[Sequence[str]]) -> list[Sequence[str]]:
    """Return the rows that have a cell with a figure, below the first, which names the row."""
    return [row for row in rows if any(cell != NONE for cell in row[1:])]


def mean(values: Sequence[float], *, digits: int = 1) -> str:
    """Return the mean and, of several values, their standard deviation, as a cell."""
    if not values:
        return NONE
    spread = f" ({statistics.stdev(values):.{digits}f})" if len(values) > 1 else ""
    return f"{statistics.mean(values):.{digits}f}{spread}"


def percent(runs: Iterable[Mapping[str, Any]], what: str = "accuracy") -> str:
    """Return mean and spread of a figure of some runs, in %, as a cell."""
    return mean([100 * run[what] for run in runs])


def counted(values: Sequence[float], expected: int) -> str:
    """Return mean and spread as a cell that says of how many values they are, if of fewer than expected."""
    return mean(values) + (f" [{len(values)}]" if 0 < len(values) < expected else "")


def over_seeds(runs: Runs, place: str, seeds: Sequence[int] = SEEDS) -> list[Any]:
    """Return the results of ``place/seed``, of the seeds that have run."""
    return [runs[key] for seed in seeds if (key := f"{place}/{seed}") in runs]


def under(runs: Runs, place: str) -> dict[str, Any]:
    """Return the runs whose keys begin with ``place/``, by what follows."""
    return {key.removeprefix(f"{place}/"): run for key, run in runs.items() if key.startswith(f"{place}/")}


def listed(values: Iterable[Any]) -> str:
    """Return values with commas between them."""
    return ", ".join(map(str, values))
