"""Finished work in a folder, from which an interrupted run goes on: training runs, jobs, searches.

A folder holds its marker and, for each kind of work, a folder of entries, which are named by all that they depend on:

    finished-work.json
    runs/3f….safetensors    searches/91…/…json    jobs/c0…/    data/7a….jsonl
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError

from promptlab import __version__
from promptlab.core.errors import DataError, SavedModelError
from promptlab.core.files import atomic_file, atomic_folder, check_folder, leftovers, remove_leftovers
from promptlab.core.identity import digest
from promptlab.core.json_loader import Json

MARKER = "finished-work.json"
FORMAT = 1  # of the folder; one in another format is refused
FORMER = ("state.safetensors", "results/*/job.json")  # of 0.1: a training run, jobs; journals of searches start anew
ABOUT = "Finished work of promptlab, from which the same call or command goes on. The folder may be deleted."
DAMAGED = (OSError, EOFError, ValueError, KeyError, TypeError, SafetensorError, SavedModelError)


def work_key(*depends_on: object) -> str:
    """Return the name of work that depends on these values, as ``digest`` reads them, and on promptlab's version."""
    return digest(__version__, *depends_on)


class FinishedWork:
    """A folder of finished work, each entry whole or not there. Several processes may use it at once.

    Args:
        folder: made if there is none; what else it holds is left alone.

    Raises:
        DataError: if it is a file, can't be written, or holds work that another version of promptlab wrote.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = check_folder(folder)
        marker = self.folder / MARKER
        if not marker.exists():
            self._claim(marker)
        with reading(marker):
            found = json.loads(marker.read_text(encoding="utf-8"))["format"]
        if found != FORMAT:
            raise DataError(
                f"folder {str(self.folder)!r} holds work of another version of promptlab (format {found!r}, not "
                f"{FORMAT}); delete it, or choose another folder."
            )

    def entry(self, kind: str, name: str) -> Entry:
        """Return the place of a piece of work.

        Args:
            kind: of work, a folder.
            name: of a file or folder in it, by ``work_key`` or by what it holds.
        """
        return Entry(self.folder / kind / name)

    def results(self, kind: str, name: str) -> Results:
        """Return the results of a piece of work that has several, by key; arguments as for ``entry``."""
        return Results(self.entry(kind, name).path)

    def _claim(self, marker: Path) -> None:
        former = next((path for pattern in FORMER for path in self.folder.glob(pattern)), None)
        if former is not None:
            raise DataError(
                f"folder {str(self.folder)!r} holds work of promptlab 0.1 ({former.relative_to(self.folder)}), from "
                "which this version can't go on; delete it, or choose another folder."
            )
        with atomic_file(marker) as file:
            file.write_text(json.dumps({"format": FORMAT, "about": ABOUT}), encoding="utf-8")


@dataclass(frozen=True)
class Entry:
    """The place of a piece of work, a file or a folder."""

    path: Path

    @property
    def exists(self) -> bool:
        return self.path.exists()

    @property
    def is_begun(self) -> bool:
        """Whether somebody is at work on it, or died at it."""
        return not self.exists and bool(leftovers(self.path))

    @contextmanager
    def writing(self) -> Iterator[Path]:
        """Yield a temporary path, which becomes the entry, a file, if the block ends without an error.

        What a process of this machine that is no more has left of it is removed.

        Raises:
            DataError: if it can't be written.
        """
        remove_leftovers(self.path)
        with atomic_file(self.path) as file:
            yield file

    @contextmanager
    def filling(self, marker_file: str) -> Iterator[Path]:
        """Yield an empty temporary folder, which becomes the entry; else as ``writing``.

        Args:
            marker_file: name of a file in it, as for ``atomic_folder``.
        """
        remove_leftovers(self.path)
        with atomic_folder(self.path, marker_file=marker_file) as folder:
            yield folder


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Read finished work; whatever is wrong with it, the remedy is the same.

    Raises:
        DataError: if it is damaged.
    """
    try:
        yield
    except DAMAGED as error:
        reason = str(error).rstrip(".") or type(error).__name__
        raise DataError(f"finished work {str(path)!r} can't be read ({reason}); delete it and run again.") from None


class Results:
    """Results of one piece of work, plain JSON by key, each on disk as soon as it is there.

    Args:
        folder: where they are; None keeps them in memory only.

    Raises:
        DataError: if one on disk is damaged.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder
        self.by_key: dict[str, Json] = {}
        for path in sorted(folder.glob("*.json")) if folder else ():
            with reading(path):
                row = json.loads(path.read_text(encoding="utf-8"))
                self.by_key[row["key"]] = row["result"]

    def once(self, key: str, compute: Callable[..., object], *arguments: object) -> Json:
        """Return the result of ``compute(*arguments)`` (plain JSON), which runs unless it is known by this key."""
        if key not in self.by_key:
            self.store(key, compute(*arguments))
        return self.by_key[key]

    def store(self, key: str, result: object) -> None:
        """Keep a result (plain JSON) in the place of the one that was known by this key."""
        text = json.dumps({"key": key, "result": result})
        if self.folder is not None:
            with Entry(self.folder / f"{digest(json.dumps(key))}.json").writing() as file:
                file.write_text(text, encoding="utf-8")
        self.by_key[key] = json.loads(text)["result"]  # fresh as read
