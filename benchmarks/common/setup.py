"""What the runs of a benchmark are given: folder of data, device, how much of everything, and where results go."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

RESULTS = Path(__file__).parents[1] / "results"
SEEDS = (13, 21, 42, 87, 100)
GPU = "one NVIDIA H100, torch 2.11.0+cu130"  # on which runs whose device is "cuda" were done
Row = TypeVar("Row")


@dataclass(frozen=True)
class Size:
    """How much a run takes of what it is given.

    Args:
        rows: so many rows at most, drawn once; None: all.
        updates: so many in place of a method's own; None: its own.
    """

    rows: int | None = None
    updates: int | None = None


QUICK = Size(rows=16, updates=2)


@dataclass(frozen=True)
class Setup:
    """What all runs of a benchmark have in common.

    Args:
        folder: of the data that isn't shipped.
        device: of the models.
        results: the folder of the results.
        size: less than all only to see that a benchmark runs.
    """

    folder: Path | None = None
    device: str = "cpu"
    results: Path = RESULTS
    size: Size = Size()

    def data(self, *names: str) -> Path:
        """Return a place in the folder of the data."""
        if self.folder is None:
            raise SystemExit(f"{'/'.join(names)} is not among the shipped data; name the folder that holds it.")
        return self.folder.joinpath(*names)

    def some(self, rows: Sequence[Row]) -> Sequence[Row]:
        """Return the rows, or as many of them as are taken."""
        if self.size.rows is None or len(rows) <= self.size.rows:
            return rows
        return [rows[row] for row in sorted(random.Random(0).sample(range(len(rows)), self.size.rows))]

    def settings(self, **own: Any) -> dict[str, Any]:
        """Return an estimator's settings, with those that make runs on every device comparable.

        Args:
            own: ``tuning="none"`` among them says that nothing is trained, so that there are no updates to be few.
        """
        trains = self.size.updates is not None and own.get("tuning") != "none"
        few = {"max_steps": self.size.updates, "epochs": None} if trains else {}
        return {**own, **few, "device": self.device, "precision": "no"}
