"""The options of benchmarks, written down as rows, and the one parser that reads them."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.common.setup import QUICK, RESULTS, SEEDS, Setup, Size

Option = tuple[str, dict[str, Any]]  # flag (or name) and further arguments of ``add_argument``


def some_of(name: str, known: Iterable[Any], default: Iterable[Any] | None = None) -> Option:
    """Return an option that takes some of the known values; all unless said otherwise."""
    values = list(known)
    chosen = values if default is None else list(default)
    return f"--{name}", {"nargs": "+", "type": type(values[0]), "default": chosen, "choices": values}


def values_of(name: str, *default: Any) -> Option:
    """Return an option that takes values of one type."""
    return f"--{name}", {"nargs": "+", "type": type(default[0]), "default": list(default)}


def value_of(name: str, default: Any) -> Option:
    """Return an option that takes a value of the default's type."""
    return f"--{name}", {"type": type(default), "default": default}


def one_of(name: str, known: Iterable[str]) -> Option:
    """Return an argument without a flag that is one of the known words."""
    return name, {"choices": list(known)}


FOLDER: Option = ("folder", {"type": Path, "help": "of the data"})
DATA: Option = ("--data", {"type": Path, "dest": "folder", "help": "folder of what isn't shipped"})
DEVICE = value_of("device", "cpu")
SOME_SEEDS = some_of("seeds", SEEDS)


def parse(doc: str | None, options: Sequence[Option], arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read a command line into its options and, as ``setup``, what all runs are given.

    Args:
        doc: the script's docstring.
        arguments: None: those of the process.
    """
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    for flag, settings in options:
        parser.add_argument(flag, **settings)
    parser.add_argument("--processes", type=int, default=1, help="runs at once, each on one thread")
    parser.add_argument("--results", type=Path, help="folder of the results")
    parser.add_argument("--quick", action="store_true", help="few rows and updates: does the benchmark run at all?")
    parsed = parser.parse_args(arguments)
    parsed.setup = _setup(parsed)
    return parsed


def _setup(options: argparse.Namespace) -> Setup:
    given = {name: value for name in ("folder", "device") if (value := getattr(options, name, None)) is not None}
    results = options.results or (RESULTS / "quick" if options.quick else RESULTS)
    return Setup(**given, results=results, size=QUICK if options.quick else Size())
