"""``Any`` is counted: a value whose type nobody knows is one that nobody checks."""

from __future__ import annotations

import io
import tokenize
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "promptlab"
MOST = 60  # words ``Any`` outside imports, comments and texts; lower it when there are fewer


def code_words(source):
    """The names in a module's code, without those in import statements."""
    is_import, begins = False, True
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.NEWLINE:
            begins = True
        elif token.type not in (tokenize.NL, tokenize.COMMENT, tokenize.INDENT, tokenize.DEDENT):
            is_import = token.string in ("from", "import") if begins else is_import
            begins = False
            if token.type == tokenize.NAME and not is_import:
                yield token.string


def test_words_are_counted_outside_imports_comments_and_texts():
    source = 'from typing import Any\n\ndef f(x: Any) -> list[Any]:  # Any\n    """Any."""\n    return "Any"\n'

    assert list(code_words(source)).count("Any") == 2


def test_few_types_are_left_open():
    found = {
        str(path.relative_to(PACKAGE)): list(code_words(path.read_text(encoding="utf-8"))).count("Any")
        for path in sorted(PACKAGE.rglob("*.py"))
    }

    assert sum(found.values()) <= MOST, {name: count for name, count in found.items() if count}
