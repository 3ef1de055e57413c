"""A benchmark: do the runs that are missing, several at once if asked, keep each as it ends, and write their tables."""

from __future__ import annotations

import argparse
import datetime
import json
import multiprocessing
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from benchmarks.common.models import MODEL
from benchmarks.common.options import Option, parse
from benchmarks.common.tables import Page, Runs
from promptlab.core.files import atomic_file

Job = tuple[str, Callable[[], Any]]  # key of a run and what to call; picklable if several processes work


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """Runs of which each is done once and kept, so that a benchmark goes on where it stopped.

    Args:
        name: of the files of its results.
        title: of its page.
        doc: what the script says of itself.
        stages: each gives jobs for the options; it begins when the jobs of the one before it have ended.
        page: what is written of the runs, from them and from what is recorded about them.
        options: besides those that every benchmark has.
        recorded: options that stand beside the runs.
        about: what else stands there.
        packages: whose versions do so, besides the usual ones.
        own_process: whether every run has a process to itself.
    """

    name: str
    title: str
    doc: str | None
    stages: Sequence[Callable[[argparse.Namespace], Iterable[Job]]]
    page: Callable[[Runs, Mapping[str, Any]], Page]
    options: Sequence[Option] = ()
    recorded: Sequence[str] = ()
    about: Mapping[str, Any] = field(default_factory=dict)
    packages: Sequence[str] = ()
    own_process: bool = False

    def main(self, arguments: Sequence[str] | None = None) -> None:
        """Do what a command line asks for; write and print the page.

        Args:
            arguments: None: those of the process.
        """
        options = parse(self.doc, self.options, arguments)
        folder = options.setup.results
        for jobs in self.stages:
            for key, run in _done(self.missing(jobs(options), folder), options.processes, self.own_process):
                print(key, _brief(run), flush=True)
                self.keep(folder, {**self.stored(folder), key: run}, self.about_now(options))
        print(self.write(folder) if self.stored(folder) else "nothing has run yet")

    def missing(self, jobs: Iterable[Job], folder: Path) -> list[Job]:
        """Return the jobs that have no result yet."""
        runs = self.stored(folder)
        return [(key, call) for key, call in jobs if key not in runs]

    def stored(self, folder: Path) -> Runs:
        """Return the finished runs."""
        return self.document(folder)["runs"]

    def document(self, folder: Path) -> dict[str, Any]:
        """Return the finished runs, and what is recorded about them."""
        path = folder / f"{self.name}.json"
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"about": {}, "runs": {}}

    def about_now(self, options: argparse.Namespace) -> dict[str, Any]:
        """Return what is recorded about runs that end now: settings, date, versions."""
        given = {name: getattr(options, name) for name in self.recorded}
        versions = {package: version(package) for package in ("promptlab", "torch", "transformers", *self.packages)}
        return {
            "model": MODEL, **self.about, **given, "date": str(datetime.date.today()), "versions": versions,
        }  # fmt: skip

    def keep(self, folder: Path, runs: Runs, about: Mapping[str, Any]) -> None:
        """Write the runs, of which one has ended."""
        folder.mkdir(parents=True, exist_ok=True)
        with atomic_file(folder / f"{self.name}.json") as path:
            path.write_text(json.dumps({"about": about, "runs": runs}, indent=1) + "\n", encoding="utf-8")

    def write(self, folder: Path) -> str:
        """Write the page of the finished runs, and return it."""
        text = self.text(self.document(folder))
        with atomic_file(folder / f"{self.name}.md") as path:
            path.write_text(text, encoding="utf-8")
        return text

    def text(self, document: Mapping[str, Any]) -> str:
        """Return the page of runs and what is recorded about them."""
        runs, about = document["runs"], document["about"]
        return self.page(runs, about).text(self.title, about)


@dataclass(frozen=True, kw_only=True)
class Measurement(Benchmark):
    """Figures of one machine, which are measured anew whenever they are asked for."""

    def missing(self, jobs: Iterable[Job], folder: Path) -> list[Job]:
        return list(jobs)

    def about_now(self, options: argparse.Namespace) -> dict[str, Any]:
        about = super().about_now(options)
        return {"model": about.pop("model"), "threads": 1 if self.own_process else torch.get_num_threads(), **about}


def _done(todo: Sequence[Job], processes: int, own: bool) -> Iterator[tuple[str, Any]]:
    if processes == 1 and not own:
        yield from map(_call, todo)
        return
    context = multiprocessing.get_context("fork")  # what the parent has loaded on a CPU, all share
    with context.Pool(processes, torch.set_num_threads, (1,), maxtasksperchild=1 if own else None) as pool:
        yield from pool.imap_unordered(_call, todo)


def _call(job: Job) -> tuple[str, Any]:
    key, call = job
    return key, call()


def _brief(run: Any) -> Any:
    return {name: value for name, value in run.items() if name != "history"} if isinstance(run, dict) else run
