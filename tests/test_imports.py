"""The package's imports go one way."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "promptlab"
PARTS = ("templates", "verbalizers", "backbones", "tuning", "data")
MODULES = sorted(PACKAGE.rglob("*.py"))


def imported(path):
    """Names of promptlab's modules that a file imports, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("promptlab"):
            yield node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.startswith("promptlab"))


@pytest.mark.parametrize("part", PARTS)
def test_a_part_imports_no_other_part(part):
    others = tuple(f"promptlab.{other}" for other in PARTS if other != part)
    wrong = [
        (path.name, name)
        for path in (PACKAGE / part).glob("*.py")
        for name in imported(path)
        if name.startswith(others)
    ]

    assert wrong == []


def test_what_flows_and_the_errors_import_nothing_above_them():
    for name, allowed in {
        "errors.py": set(),
        "types.py": set(),
        "interfaces.py": {"promptlab.types", "promptlab.errors"},
    }.items():
        assert set(imported(PACKAGE / name)) <= allowed


def test_only_the_commands_import_commands():
    wrong = [
        path for path in MODULES if path.parent.name != "cli" and any("promptlab.cli" in n for n in imported(path))
    ]

    assert wrong == []


def test_nothing_below_the_estimators_imports_them():
    above = {
        f"promptlab.{name}"
        for name in (
            "classifier",
            "demo",
            "estimator",
            "inspection",
            "tagger",
            "text_classifier",
            "evaluation.metrics",
            "saving",
        )
    }
    below = [PACKAGE / name for name in ("model.py", "training.py", "soft_tokens.py", "registry.py", "files.py")]
    below += [path for part in PARTS for path in (PACKAGE / part).glob("*.py")]

    assert [(path.name, name) for path in below for name in imported(path) if name in above] == []
