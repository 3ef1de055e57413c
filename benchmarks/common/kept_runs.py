"""Runs of a benchmark on disk: each in a file of its own when it ends, all in one when nobody is at work any more."""

from __future__ import annotations

import fcntl
import json
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.common.tables import Runs
from promptlab.core.files import atomic_file
from promptlab.core.finished_work import Results
from promptlab.core.identity import digest


@dataclass(frozen=True)
class KeptRuns:
    """The finished runs of a benchmark, to which several processes may add at once.

    Args:
        folder: of the results.
        name: of the benchmark.
    """

    folder: Path
    name: str

    @property
    def unfinished(self) -> Path:
        """The folder of runs that aren't published yet; there while somebody adds to them, or was killed at it."""
        return self.folder / ".unfinished" / self.name

    def published(self) -> dict[str, Any]:
        """Return the runs that are published, and what is recorded about them."""
        path = self.folder / f"{self.name}.json"
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"about": {}, "runs": {}}

    def runs(self) -> Runs:
        """Return all finished runs."""
        return self.published()["runs"] | {key: kept["run"] for key, kept in Results(self.unfinished).by_key.items()}

    @contextmanager
    def adding(self) -> Iterator[None]:
        """Let runs be added; the last of all processes to leave publishes them, and what killed ones have left."""
        self.unfinished.parent.mkdir(parents=True, exist_ok=True)
        with open(self.unfinished.with_name(f"{self.name}.lock"), "a") as lock:  # the system unlocks what is killed
            fcntl.flock(lock, fcntl.LOCK_SH)
            self.unfinished.mkdir(exist_ok=True)
            try:
                yield
            finally:
                fcntl.flock(lock, fcntl.LOCK_UN)  # so that of two who leave at once the second is alone
                if _locked(lock, wait=False):
                    self._publish()

    @contextmanager
    def claim(self, key: str, *, wait: bool) -> Iterator[bool]:
        """Keep other processes from a run; yield whether none of them is at it.

        Args:
            wait: until it has ended there, whether with a result or not.
        """
        with open(self.unfinished / f"{digest(key)}.lock", "a") as lock:
            yield _locked(lock, wait=wait)

    def add(self, key: str, run: Any, about: Mapping[str, Any]) -> None:
        """Keep a run (plain JSON) and what is recorded about it."""
        Results(self.unfinished).store(key, {"run": run, "about": about, "ended": time.time()})

    def _publish(self) -> None:
        ended = sorted(Results(self.unfinished).by_key.items(), key=lambda item: item[1]["ended"])
        if ended:
            runs = self.published()["runs"] | {key: kept["run"] for key, kept in ended}
            text = json.dumps({"about": ended[-1][1]["about"], "runs": runs}, indent=1) + "\n"
            with atomic_file(self.folder / f"{self.name}.json") as path:
                path.write_text(text, encoding="utf-8")
        shutil.rmtree(self.unfinished)


def _locked(lock: Any, *, wait: bool) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
