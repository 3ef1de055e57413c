"""Public names are real to type checkers, and cost nothing until they are used."""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

import promptlab

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "tests" / "typing" / "script.py"


def imported_by_the_stub():
    """Public name → the module that ``__init__.pyi`` has it from."""
    tree = ast.parse((ROOT / "promptlab" / "__init__.pyi").read_text(encoding="utf-8"))
    imports = [node for node in tree.body if isinstance(node, ast.ImportFrom)]
    return {alias.asname: node.module for node in imports for alias in node.names}


def test_type_checkers_see_the_public_names_where_they_are_loaded_from():
    loaded_from = {name: getattr(promptlab, name).__module__ for name in promptlab.__all__}

    assert imported_by_the_stub() == loaded_from  # a name that is missing: add its line to promptlab/__init__.pyi


@pytest.mark.parametrize("role", ["Template", "Verbalizer", "Head", "Tuning", "Backbone"])
def test_a_role_is_the_class_that_its_players_inherit(role):
    assert getattr(promptlab, role) is getattr(importlib.import_module("promptlab.core.interfaces"), role)


def test_roles_and_errors_import_no_torch():
    code = "import sys, promptlab; from promptlab import Head, Backbone, DataError; print('torch' in sys.modules)"

    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "False"


def comments(pattern):
    """Line → what its comment says, where it says such a thing."""
    lines = enumerate(SCRIPT.read_text(encoding="utf-8").splitlines(), start=1)
    return {number: found[1] for number, line in lines if (found := re.search(pattern, line))}


@pytest.fixture(scope="module")
def said():
    """What mypy says of the script, with the cache that ``make lint`` leaves."""
    api = pytest.importorskip("mypy.api")
    return api.run([str(SCRIPT), "--config-file", str(ROOT / "pyproject.toml")])[0]


def test_a_type_checker_finds_wrong_arguments_in_a_script_and_nothing_else(said):
    errors = re.findall(r":(\d+): error: .*\[([\w-]+)\]$", said, flags=re.M)

    assert {int(line): code for line, code in errors} == comments(r"# error: ([\w-]+)$")


def test_a_type_checker_knows_the_types_of_what_a_script_gets(said):
    revealed = re.findall(r':(\d+): note: Revealed type is "(.*)"$', said, flags=re.M)

    assert {int(line): kind for line, kind in revealed} == comments(r"reveal_type\(.*\)  # (.*)$")
