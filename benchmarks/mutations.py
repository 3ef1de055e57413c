"""Break lines of the package, one at a time, and tell which test notices.

    python benchmarks/mutations.py [--only WORD] [--new] [--check]

The rows of ``benchmarks/mutations.toml`` are lines that would give wrong results without an error. The tests of each
run on a copy of the tree in which that line alone is broken. Results are kept in ``benchmarks/results/mutations.json``
(and ``.md``) as they come; a row is run again when its file or its tests have changed.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import multiprocessing
import os
import re
import shutil
import sys
import tempfile
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import pytest

ROOT = Path(__file__).parents[1]
COPIED = ("promptlab", "tests")  # what else there is of the tree is linked
LIST = Path(__file__).with_suffix(".toml")
STATE = ROOT / "benchmarks" / "results" / "mutations.json"
LIMIT = 600  # seconds; a broken line may make an endless loop
FAILED = re.compile(r"^(?:FAILED|ERROR) (\S+?)(?:\[.*)?(?: - .*)?$", re.MULTILINE)


@dataclass(frozen=True)
class Mutation:
    """A line to break.

    Args:
        file: inside ``promptlab/``.
        line: text that stands in it exactly once.
        broken: what is put in its place.
        tests: arguments of pytest.
        reason: why no test can notice, where none does.
    """

    file: str
    line: str
    broken: str
    tests: str
    reason: str = ""


def read_list() -> list[Mutation]:
    """The lines to break."""
    return [Mutation(**row) for row in tomllib.loads(LIST.read_text(encoding="utf-8"))["mutation"]]


def check(mutations: Sequence[Mutation]) -> None:
    """Refuse rows whose line doesn't stand in its file exactly once any more, or stands twice in the list."""
    problems = []
    for one in mutations:
        file = ROOT / "promptlab" / one.file
        count = file.read_text(encoding="utf-8").count(one.line) if file.is_file() else 0
        if count != 1 or one.line == one.broken:
            problems.append(f"{one.file}: {one.line!r} stands there {count} times, not once")
        for test in one.tests.split():
            if test.startswith("tests/") and not (ROOT / test.split("::")[0]).exists():
                problems.append(f"{one.file}: there is no {test}")
    keys = [key_of(one) for one in mutations]
    problems += [f"{key} stands twice in the list" for key in sorted(set(keys)) if keys.count(key) > 1]
    if problems:
        raise click.ClickException("mend benchmarks/mutations.toml first:\n  " + "\n  ".join(problems))


def key_of(one: Mutation) -> str:
    """What tells a row from the others."""
    return f"{one.file}: {one.line} -> {one.broken}"


def seen(one: Mutation, tree: Path) -> str:
    """A hash of what a row's result depends on: its file and its tests."""
    tests = [tree / test.split("::")[0] for test in one.tests.split() if test.startswith("tests/")]
    texts = [path.read_text(encoding="utf-8") for path in (tree / "promptlab" / one.file, *tests)]
    return hashlib.sha256("\0".join([one.tests, *texts]).encode()).hexdigest()[:16]


@contextmanager
def copied_tree() -> Iterator[Path]:
    """A copy of the tree that may be broken."""
    with tempfile.TemporaryDirectory(prefix="promptlab-mutations-") as name:
        folder = Path(name)
        for path in ROOT.iterdir():
            if path.name in COPIED:
                shutil.copytree(path, folder / path.name, ignore=shutil.ignore_patterns("__pycache__"))
            elif not path.name.startswith("."):
                (folder / path.name).symlink_to(path)
        yield folder


def tested(folder: Path, arguments: Sequence[str]) -> tuple[int | None, str]:
    """Exit code of the tests (None: they didn't end) and what they say; this process has imported what is slow."""
    said = folder / ".said"
    process = multiprocessing.get_context("fork").Process(target=_test, args=(folder, arguments, said))
    process.start()
    process.join(LIMIT)
    if process.is_alive():
        process.kill()
    process.join()
    code = process.exitcode
    return (None if code is None or code < 0 else code), said.read_text(encoding="utf-8", errors="replace")


def _test(folder: Path, arguments: Sequence[str], said: Path) -> None:
    """Run tests on the copy, in a process of their own."""
    with open(said, "w", encoding="utf-8") as file:
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)
    os.chdir(folder)
    sys.path[:] = [str(folder), *(path for path in sys.path if Path(path).resolve() not in (ROOT, ROOT / "benchmarks"))]
    os.environ["PYTHONPATH"] = str(folder)
    sys.dont_write_bytecode = True
    options = ["-x", "-q", "-p", "no:cacheprovider", "-rfE", "--tb=no", "--override-ini=addopts="]
    os._exit(pytest.main([*options, "--import-mode=importlib", *arguments]))


def import_what_is_slow() -> None:
    """What every test would import anew; nothing of the package, which is broken later."""
    for name in (
        "accelerate",
        "pandas",
        "peft",
        "sklearn.linear_model",
        "torch",
        "transformers.models.bert.modeling_bert",
    ):
        importlib.import_module(name)


def caught_by(one: Mutation, folder: Path) -> str:
    """The test that notices a broken line; empty if none does."""
    file = folder / "promptlab" / one.file
    whole = file.read_text(encoding="utf-8")
    file.write_text(whole.replace(one.line, one.broken), encoding="utf-8")
    try:
        code, said = tested(folder, one.tests.split())
    finally:
        file.write_text(whole, encoding="utf-8")
    if code == 0:
        return ""
    names = FAILED.findall(said)
    if code is not None and (code > 2 or not names):
        raise click.ClickException(f"{key_of(one)}: the tests can't run:\n{said[-2000:]}")
    return names[0] if names else f"no end within {LIMIT} s"


def table(mutations: Sequence[Mutation], runs: Mapping[str, Any]) -> str:
    rows = ["| file | line | broken | noticed by |", "|---|---|---|---|"]
    for one in mutations:
        found = runs.get(key_of(one), {"caught_by": "not run yet"})["caught_by"]
        said = f"`{found.removeprefix('tests/')}`" if found else f"nothing: {one.reason or 'A TEST IS MISSING'}"
        rows.append(f"| {one.file} | {_code(one.line)} | {_code(one.broken)} | {said} |")
    return "\n".join(rows)


def _code(line: str) -> str:
    return "`` " + " ".join(line.split()).replace("|", "\\|") + " ``"


def write(mutations: Sequence[Mutation], runs: Mapping[str, Any]) -> None:
    """Keep the results, without those of rows that left the list."""
    kept = {key_of(one): runs[key_of(one)] for one in mutations if key_of(one) in runs}
    n_caught = sum(bool(run["caught_by"]) for run in kept.values())
    summary = f"{len(kept)} lines were broken, one at a time; the tests noticed {n_caught}."
    texts = {
        STATE: json.dumps({"runs": kept}, indent=1, ensure_ascii=False) + "\n",
        STATE.with_suffix(".md"): "\n\n".join(["# Broken lines", table(mutations, kept), summary]) + "\n",
    }
    for path, text in texts.items():
        fresh = path.with_name(f".{path.name}")
        fresh.write_text(text, encoding="utf-8")
        fresh.replace(path)


def check_whole(names: Sequence[str], folder: Path) -> None:
    """Refuse tests that fail on the whole tree, too, so that they have noticed nothing."""
    named = sorted({name for name in names if name.startswith("tests/")})
    code, said = tested(folder, named) if named else (0, "")
    if code != 0:
        raise click.ClickException(f"a test fails without any broken line:\n{said[-2000:]}")


@click.command()
@click.option("--only", default="", help="Run rows whose file holds this.")
@click.option("--new", "only_new", is_flag=True, help="Run rows that were never run, whatever has changed since.")
@click.option("--check", "only_check", is_flag=True, help="Only look whether all lines still stand where they should.")
def main(only: str, only_new: bool, only_check: bool) -> None:
    """Break lines of the package and tell which test notices."""
    mutations = read_list()
    check(mutations)
    if only_check:
        return
    runs = json.loads(STATE.read_text(encoding="utf-8"))["runs"] if STATE.exists() else {}
    todo = [one for one in mutations if only in one.file and runs.get(key_of(one), {}).get("seen") != seen(one, ROOT)]
    todo = [one for one in todo if not only_new or key_of(one) not in runs]
    import_what_is_slow()
    with copied_tree() as folder:
        for number, one in enumerate(todo, start=1):
            found = caught_by(one, folder)
            runs[key_of(one)] = {"caught_by": found, "seen": seen(one, folder)}
            click.echo(
                f"{number}/{len(todo)} {key_of(one)}\n    {found or 'SURVIVED: ' + (one.reason or 'write a test')}"
            )
            write(mutations, runs)
        check_whole([runs[key_of(one)]["caught_by"] for one in todo], folder)
    write(mutations, runs)


if __name__ == "__main__":
    main()
