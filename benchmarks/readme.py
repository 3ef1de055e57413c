"""Write results/*.md from the runs, and their tables into the README and docs: ``python benchmarks/readme.py``.

A block of a page between ``<!-- results: tuning 1 note -->`` and ``<!-- end -->`` holds the named parts of a file:
its first table, its second …, and the note on model, data, seeds, date and versions that ends it.
"""

from __future__ import annotations

import importlib
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
PAGES = (ROOT / "README.md", ROOT / "docs" / "measured.md")
BLOCK = re.compile(r"(<!-- results: (\S+)((?: \S+)+) -->\n).*?(<!-- end -->)", flags=re.DOTALL)


def parts(name: str, wanted: list[str]) -> str:
    """Tables, by number from 1, and the ``note`` of a file of results."""
    text = (RESULTS / f"{name}.md").read_text(encoding="utf-8").strip()
    tables = re.findall(r"(?:^\|.*\n?)+", text, flags=re.MULTILINE)
    found = {str(number): table.strip() for number, table in enumerate(tables, start=1)}
    found["note"] = text.split("\n\n")[-1]
    return "\n\n".join(found[part] for part in wanted)


def filled(page: str) -> str:
    """A page with every block as the results have it now."""
    return BLOCK.sub(lambda m: f"{m[1]}\n{parts(m[2], m[3].split())}\n\n{m[4]}", page)


def write_results() -> None:
    """Write the page of every benchmark from its runs as they are kept."""
    from benchmarks import SCRIPTS

    for script in SCRIPTS:
        importlib.import_module(script).BENCHMARK.write(RESULTS)


if __name__ == "__main__":
    write_results()
    for path in PAGES:
        path.write_text(filled(path.read_text(encoding="utf-8")), encoding="utf-8")
