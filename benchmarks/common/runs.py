"""A benchmark: do the runs that are missing, several at once if asked, keep each as it ends, and write their tables."""

from __future__ import annotations

import argparse
import datetime
import functools
import multiprocessing
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from benchmarks.common.kept_runs import KeptRuns
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
        kept = self.kept(options.setup.results)
        with kept.adding():
            for jobs in self.stages:
                self._do(list(jobs(options)), kept, options)
        print(self.write(kept.folder) if kept.published()["runs"] else "nothing has run yet")
        if kept.unfinished.exists():
            print("other processes are at work on it; the last of them writes the page of all runs")

    def kept(self, folder: Path) -> KeptRuns:
        """Return the finished runs in a folder of results."""
        return KeptRuns(folder, self.name)

    def missing(self, jobs: Iterable[Job], kept: KeptRuns) -> list[Job]:
        """Return the jobs that have no result yet."""
        runs = kept.runs()
        return [(key, call) for key, call in jobs if key not in runs]

    def about_now(self, options: argparse.Namespace) -> dict[str, Any]:
        """Return what is recorded about runs that end now: settings, date, versions."""
        given = {name: getattr(options, name) for name in self.recorded}
        versions = {package: version(package) for package in ("promptlab", "torch", "transformers", *self.packages)}
        return {
            "model": MODEL, **self.about, **given, "date": str(datetime.date.today()), "versions": versions,
        }  # fmt: skip

    def write(self, folder: Path) -> str:
        """Write the page of the published runs, and return it."""
        text = self.text(self.kept(folder).published())
        with atomic_file(folder / f"{self.name}.md") as path:
            path.write_text(text, encoding="utf-8")
        return text

    def text(self, document: Mapping[str, Any]) -> str:
        """Return the page of runs and what is recorded about them."""
        runs, about = document["runs"], document["about"]
        return self.page(runs, about).text(self.title, about)

    def _do(self, jobs: Sequence[Job], kept: KeptRuns, options: argparse.Namespace) -> None:
        """Do the jobs that are missing, at last those that other processes had begun and may have failed in."""
        about = self.about_now(options)
        for wait in (False, True):
            work = functools.partial(self._work, kept, about, wait)
            done = _each(work, self.missing(jobs, kept), options.processes, self.own_process)
            jobs = [job for job in done if job is not None]

    def _work(self, kept: KeptRuns, about: Mapping[str, Any], wait: bool, job: Job) -> Job | None:
        """Do a job, unless another process has done it since; return it if one is at it."""
        key, call = job
        with kept.claim(key, wait=wait) as ours:
            if not ours:
                return job
            if self.missing([job], kept):
                run = call()
                kept.add(key, run, about)
                print(key, _brief(run), flush=True)
        return None


@dataclass(frozen=True, kw_only=True)
class Measurement(Benchmark):
    """Figures of one machine, which are measured anew whenever they are asked for."""

    def missing(self, jobs: Iterable[Job], kept: KeptRuns) -> list[Job]:
        return list(jobs)

    def about_now(self, options: argparse.Namespace) -> dict[str, Any]:
        about = super().about_now(options)
        return {"model": about.pop("model"), "threads": 1 if self.own_process else torch.get_num_threads(), **about}


def _each(work: Callable[[Job], Any], jobs: Sequence[Job], processes: int, own: bool) -> Iterator[Any]:
    if not jobs or (processes == 1 and not own):
        yield from map(work, jobs)
        return
    context = multiprocessing.get_context("fork")  # what the parent has loaded on a CPU, all share
    with context.Pool(processes, torch.set_num_threads, (1,), maxtasksperchild=1 if own else None) as pool:
        yield from pool.imap_unordered(work, jobs)


def _brief(run: Any) -> Any:
    return {name: value for name, value in run.items() if name != "history"} if isinstance(run, dict) else run
