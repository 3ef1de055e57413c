"""The README shows what was measured and names only what is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import promptlab
from promptlab.registry import TUNINGS

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
RESULTS = [p for p in sorted((ROOT / "benchmarks" / "results").glob("*.md")) if p.stem != "defaults"]


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.stem)
def test_tables_of_results_are_those_that_were_measured(path):
    tables = re.findall(r"(?:^\|.*\n)+", path.read_text(encoding="utf-8"), flags=re.MULTILINE)

    assert tables
    assert [table for table in tables if table not in README] == []


def test_classes_of_the_method_table_are_public():
    table = README.split("## Methods")[1].split("\n## ")[0]
    cells = [row.split("|")[3] for row in table.splitlines() if row.startswith("|") and "`" in row]

    named = {name for cell in cells for name in re.findall(r"`(\w+)`", cell)}

    assert named and named <= set(promptlab.__all__)


def test_every_tuning_method_is_mentioned():
    assert [name for name in TUNINGS.names if name not in README.lower()] == []


def test_the_ten_line_script_is_the_shipped_examples_kind():
    script = README.split("```python")[1].split("```")[0]

    compile(script, "README", "exec")
    assert len([line for line in script.splitlines() if line.strip()]) <= 12
