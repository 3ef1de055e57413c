from __future__ import annotations

import pytest
from click.testing import CliRunner

from promptlab.cli.main import main


@pytest.fixture
def run():
    """Calls promptlab with arguments, whatever they are."""
    return lambda *arguments: CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture
def table(tmp_path):
    """Writes rows as a file of tab-separated values and returns its path."""

    def write(name, rows, columns=("text_a", "label")):
        path = tmp_path / name
        path.write_text("".join("\t".join(row) + "\n" for row in [columns, *rows]), encoding="utf-8")
        return path

    return write
