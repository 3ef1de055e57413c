"""The README and docs/measured.md show what was measured and name only what is there."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

import promptlab
from promptlab.registry import TUNINGS

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
RESULTS = sorted((ROOT / "benchmarks" / "results").glob("*.md"))
SPEC = importlib.util.spec_from_file_location("readme", ROOT / "benchmarks" / "readme.py")
assert SPEC and SPEC.loader
readme = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(readme)


MEASURED = (ROOT / "docs" / "measured.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("path", readme.PAGES, ids=lambda path: path.name)
def test_tables_of_results_are_those_that_were_measured(path):
    page = path.read_text(encoding="utf-8")

    assert readme.BLOCK.search(page)
    assert readme.filled(page) == page


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.stem)
def test_every_file_of_results_is_shown_or_linked(path):
    assert f"<!-- results: {path.stem} " in MEASURED or f"(../benchmarks/results/{path.name})" in MEASURED


@pytest.mark.parametrize(
    "section", [README.split("## Measured")[1].split("\n## ")[0], MEASURED], ids=["README", "docs"]
)
def test_what_was_measured_holds_no_table_of_its_own(section):
    assert re.findall(r"^\|", readme.BLOCK.sub("", section), flags=re.MULTILINE) == []


def test_the_readme_links_sections_that_are_there():
    headings = re.findall(r"^## (.+)$", MEASURED, flags=re.MULTILINE)

    linked = re.findall(r"\(docs/measured\.md#([^)]+)\)", README)

    assert linked and set(linked) <= {heading.lower().replace(" ", "-") for heading in headings}


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
