"""What begins with an underscore is used in its own module alone."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "promptlab"
MODULES = sorted(path for path in PACKAGE.rglob("*.py"))
NAMED_TUPLES = {"_replace", "_asdict"}  # public, as Python's documentation says; the underscore keeps fields apart
OF_LIBRARIES = {  # file, member → why there is no public way
    ("backbones/base.py", "_gradient_checkpointing_func"): "transformers' layers call what stands there, here ours",
    ("backbones/mixing.py", "_forward_hooks"): "torch lists hooks nowhere else",
    ("data/encodings.py", "_is_text_encoding"): "codecs doesn't say otherwise which encodings are of text",
    ("training/accelerator.py", "_reset_state"): "accelerate keeps precision and device for the whole process",
}


def is_private(name):
    return name.startswith("_") and not name.startswith("__") and name not in NAMED_TUPLES


def is_own(value):
    """Whether an expression is the object, its class or what it inherits."""
    if isinstance(value, ast.Call) and isinstance(value.func, ast.Name):
        return value.func.id == "super"
    return isinstance(value, ast.Name) and value.id in ("self", "cls")


def defined(tree):
    """Names of functions, methods and classes in a module, and of what it sets, on ``self`` or as a variable."""
    found = {node.name for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.ClassDef))}
    for node in ast.walk(tree):
        if isinstance(getattr(node, "ctx", None), ast.Store):
            if isinstance(node, ast.Name):
                found.add(node.id)
            elif isinstance(node, ast.Attribute) and is_own(node.value):
                found.add(node.attr)
    return found


def used_from_elsewhere(source):
    """Private names that a module imports, or takes of another's object."""
    tree = ast.parse(source)
    own = defined(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            yield from (alias.name for alias in node.names if is_private(alias.name))
        elif isinstance(node, ast.Attribute) and is_private(node.attr) and node.attr not in own:
            yield from [] if is_own(node.value) else [node.attr]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_no_module_uses_a_private_member_of_another(path):
    file = path.relative_to(PACKAGE).as_posix()
    used = set(used_from_elsewhere(path.read_text(encoding="utf-8")))

    assert used - {name for where, name in OF_LIBRARIES if where == file} == set()


def test_members_of_libraries_that_are_listed_are_used():
    used = {(p.relative_to(PACKAGE).as_posix(), n) for p in MODULES for n in used_from_elsewhere(p.read_text("utf-8"))}

    assert set(OF_LIBRARIES) <= used


@pytest.mark.parametrize(
    "source",
    [
        "classifier._template()",
        "from promptlab.core.part import _by_owner",
        "super_()._fit()",
        "self.model._train()",
    ],
)
def test_a_private_member_of_another_is_found(source):
    assert list(used_from_elsewhere(source)) != []


@pytest.mark.parametrize(
    "source",
    ["self._fit()", "super()._fit()", "pair._replace(name='a')", "def _fit(): ...\nother._fit()", "x.__class__"],
)
def test_what_is_ones_own_is_no_private_member_of_another(source):
    assert list(used_from_elsewhere(source)) == []
