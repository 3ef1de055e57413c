"""What the benchmarks share: do the runs that are missing, several at once if asked, and keep each as it ends."""

from __future__ import annotations

import argparse
import datetime
import json
import multiprocessing
import statistics
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from promptlab.core.files import atomic_file
from promptlab.core.types import Example

RESULTS = Path(__file__).parents[1] / "results"
SEEDS = (13, 21, 42, 87, 100)
MODEL = "minilm"
GPU = "one NVIDIA H100, torch 2.11.0+cu130"  # on which runs whose device is "cuda" were done
Job = tuple[str, Callable[[], Any]]  # key and what to call; picklable if several processes work


def parser(doc: str | None, *, folder: bool = False) -> argparse.ArgumentParser:
    """With the options that every sweep has."""
    made = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    if folder:
        made.add_argument("folder", type=Path)
    made.add_argument("--processes", type=int, default=1, help="runs at once, each on one thread")
    return made


def placed(device: str) -> dict[str, Any]:
    """Settings that make runs on every device comparable."""
    return {"device": device, "precision": "no"}


def stored(name: str) -> dict[str, Any]:
    """The finished runs."""
    path = RESULTS / f"{name}.json"
    return json.loads(path.read_text())["runs"] if path.exists() else {}


def sweep(
    name: str,
    jobs: Iterable[Job],
    write: Callable[[dict[str, Any]], None],
    *,
    processes: int = 1,
    fresh: bool = False,
) -> dict[str, Any]:
    """Do the jobs that have no result yet, writing after each.

    Args:
        processes: how many at once; what the parent has loaded on a CPU, they share.
        fresh: give every job a process of its own.
    """
    results = stored(name)
    todo = [(key, call) for key, call in jobs if key not in results]
    for key, result in _done(todo, processes, fresh):
        results[key] = result
        print(key, {k: v for k, v in result.items() if k != "history"}, flush=True)
        write(results)
    write(results)
    return results


def _done(todo: Sequence[Job], processes: int, fresh: bool) -> Iterator[tuple[str, Any]]:
    if processes == 1 and not fresh:
        yield from ((key, call()) for key, call in todo)
        return
    context = multiprocessing.get_context("fork")
    with context.Pool(processes, torch.set_num_threads, (1,), maxtasksperchild=1 if fresh else None) as pool:
        yield from pool.imap_unordered(_call, todo)


def _call(job: Job) -> tuple[str, Any]:
    key, call = job
    return key, call()


def keep(
    name: str,
    title: str,
    runs: Mapping[str, Any],
    parts: Sequence[str],
    note: str,
    *,
    packages: Sequence[str] = (),
    **about: Any,
) -> None:
    """Write the runs as JSON and their tables as Markdown, with the date and the versions of what they ran on."""
    date = str(datetime.date.today())
    versions = {package: version(package) for package in ("promptlab", "torch", "transformers", *packages)}
    about = {"model": MODEL, **about, "date": date, "versions": versions}
    RESULTS.mkdir(exist_ok=True)
    with atomic_file(RESULTS / f"{name}.json") as path:
        path.write_text(json.dumps({"about": about, "runs": runs}, indent=1) + "\n")
    note = f"{note} {date}, " + ", ".join(f"{package} {number}" for package, number in versions.items()) + "."
    with atomic_file(RESULTS / f"{name}.md") as path:
        path.write_text("\n\n".join([f"# {title}", *parts, note]) + "\n")


def mean(values: list[float], *, digits: int = 1) -> str:
    """Mean and, of several values, the standard deviation, as the tables print them."""
    if not values:
        return "–"
    spread = f" ({statistics.stdev(values):.{digits}f})" if len(values) > 1 else ""
    return f"{statistics.mean(values):.{digits}f}{spread}"


def accuracy(classifier: Any, examples: Sequence[Example]) -> float:
    """Share of examples classified right."""
    predicted = classifier.predict(examples)
    return sum(p == e.label for p, e in zip(predicted, examples, strict=True)) / len(examples)
