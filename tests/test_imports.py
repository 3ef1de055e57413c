"""Imports run downwards, floor by floor; the main flow can be read in one sitting; the docs name what is there."""

from __future__ import annotations

import ast
import re
from graphlib import TopologicalSorter

import pytest

import promptlab
from benchmarks.house import PACKAGE, ROOT, imported, modules_of

FLOORS = (  # a room imports from floors below its own, never from a neighbor or from above
    ("core",),
    ("templates", "verbalizers", "backbones", "tuning", "data"),
    ("library", "jobs", "models"),
    ("training",),
    ("estimators",),
    ("ensembles", "evaluation"),
    ("distillation", "search/words"),
    ("search/templates",),
    ("search/rule_based", "search/gradient_based", "search/generation_based"),
    ("cli",),
)
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
MODULES = modules_of(PACKAGE)
MAIN_FLOW = (
    "core.types",
    "core.interfaces",
    "templates.manual",
    "verbalizers.manual",
    "models.prompt_model",
    "training.loop",
    "estimators.class_scorer",
    "estimators.text_estimator",
    "estimators.classifiers",
)


def room_of(module):
    parts = module.split(".")
    return "/".join(parts[:2]) if parts[0] == "search" else parts[0]


def test_every_module_stands_in_a_room_that_has_a_floor():
    assert {room_of(module) for module in MODULES} == set(FLOOR)


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_from_its_own_room_and_from_floors_below(module):
    own = room_of(module)
    names = [name for name in imported(MODULES[module], MODULES) if name]

    assert [name for name in names if room_of(name) != own and FLOOR[room_of(name)] >= FLOOR[own]] == []


def test_no_import_comes_back_to_where_it_began():
    graph = {module: set(imported(path, MODULES)) & set(MODULES) for module, path in MODULES.items()}

    TopologicalSorter(graph).prepare()  # raises CycleError


def test_type_checkers_are_shown_every_public_name():
    tree = ast.parse((PACKAGE / "__init__.pyi").read_text(encoding="utf-8"))
    imports = [alias for node in tree.body if isinstance(node, ast.ImportFrom) for alias in node.names]

    assert sorted(alias.asname for alias in imports) == promptlab.__all__  # else: a line of promptlab/__init__.pyi


def test_the_main_flow_is_under_670_lines_of_code():
    assert sum(lines_of_code(MODULES[module].read_text(encoding="utf-8")) for module in MAIN_FLOW) < 670
    assert "under 670 lines of code" in " ".join(PAGE.split())


def lines_of_code(source):
    """Lines without those that are blank, a comment or part of a docstring."""
    docstrings = [
        node.body[0]
        for node in ast.walk(ast.parse(source))
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) and ast.get_docstring(node, clean=False)
    ]
    said = {line for text in docstrings for line in range(text.lineno, text.end_lineno + 1)}
    lines = enumerate(source.splitlines(), start=1)
    return sum(bool(line.strip()) and not line.strip().startswith("#") and n not in said for n, line in lines)


# docs/architecture.md draws these rooms, and names modules by where they stand


PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
ROOM = "|".join(sorted(FLOOR, key=len, reverse=True))
NAMED = sorted(set(re.findall(rf"`((?:{ROOM})/[\w/.]*\w)`", PAGE)))  # such as `training/loop.train`


def test_the_architecture_draws_the_floors_from_the_top_down():
    drawing = PAGE.split("```text\n")[1].split("```")[0]

    assert [tuple(line[:68].split()) for line in drawing.splitlines()] == list(reversed(FLOORS))


@pytest.mark.parametrize("name", NAMED)
def test_what_the_architecture_names_by_its_room_stands_there(name):
    path, *inside = name.removesuffix(".py").split(".")
    module = path.replace("/", ".")

    assert module in MODULES
    assert set(inside[:1]) <= names_defined_in(MODULES[module])


def names_defined_in(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, (ast.ClassDef, ast.FunctionDef))}


def test_files_that_the_architecture_names_alone_stand_in_some_room():
    assert set(re.findall(r"`(\w+\.py)`", PAGE)) <= {path.name for path in MODULES.values()}
