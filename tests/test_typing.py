"""``Any`` is counted: a value whose type nobody knows is one that nobody checks."""

from __future__ import annotations

import ast
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "promptlab"
MOST = 52  # names ``Any`` in the code, without its imports; lower it when there are fewer


def n_open_types(source):
    """How often code, or an alias that is written as a text, says ``Any``."""
    nodes = list(ast.walk(ast.parse(source)))
    aliases = [
        node for node in nodes if isinstance(node, ast.AnnAssign) and ast.unparse(node.annotation) == "TypeAlias"
    ]
    texts = [alias.value.value for alias in aliases if isinstance(alias.value, ast.Constant)]
    return sum(isinstance(node, ast.Name) and node.id == "Any" for node in nodes) + sum(map(n_open_types, texts))


def test_any_is_counted_in_code_and_aliases_but_not_in_imports_comments_and_texts():
    source = 'from typing import Any\n\ndef f(x: Any) -> list[Any]:  # Any\n    """Any."""\n    return "Any"\n'
    alias = 'Words: TypeAlias = "Mapping[Any, Any]"\n'

    assert n_open_types(source) == 2
    assert n_open_types(alias) == 2


def test_few_types_are_left_open():
    found = {str(path): n_open_types(path.read_text(encoding="utf-8")) for path in PACKAGE.rglob("*.py")}

    assert sum(found.values()) <= MOST, {name: count for name, count in found.items() if count}
