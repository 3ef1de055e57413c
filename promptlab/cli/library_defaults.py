"""Defaults of the library, read from its source: to import what loads torch would take ``--help`` seconds."""

from __future__ import annotations

import ast
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any


def default_of(where: str, setting: str) -> Any:
    """Return the default of a setting, as the class or function declares it.

    Args:
        where: such as ``"promptlab.distillation.pet:PET"``; a class that declares the setting itself.

    Raises:
        LookupError: if there is no such class, function, setting or default.
    """
    module, name = where.split(":")
    declared = {getattr(node, "name", None): node for node in _statements(module)}[name]
    if not isinstance(declared, (ast.ClassDef, ast.FunctionDef)):
        raise LookupError(where)
    return ast.literal_eval(_defaults(declared)[setting])


@cache
def _statements(module: str) -> list[ast.stmt]:
    spec = find_spec(module)
    if spec is None or spec.origin is None:
        raise LookupError(module)
    return ast.parse(Path(spec.origin).read_text(encoding="utf-8")).body


def _defaults(declared: ast.ClassDef | ast.FunctionDef) -> dict[str, ast.expr]:
    """Setting → expression of its default."""
    if isinstance(declared, ast.ClassDef):
        fields = (node for node in declared.body if isinstance(node, ast.AnnAssign) and node.value)
        return {node.target.id: node.value for node in fields if isinstance(node.target, ast.Name) and node.value}
    taken = declared.args
    usual = [*taken.posonlyargs, *taken.args][-len(taken.defaults) :] if taken.defaults else []
    given = zip([*usual, *taken.kwonlyargs], [*taken.defaults, *taken.kw_defaults])
    return {argument.arg: value for argument, value in given if value is not None}
