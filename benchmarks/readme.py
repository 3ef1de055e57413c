"""Put the tables of results/*.md into the README: ``python benchmarks/readme.py``.

A block of the README between ``<!-- results: tuning 1 note -->`` and ``<!-- end -->`` holds the named parts of a file:
its first table, its second …, and the note on model, data, seeds, date and versions that ends it.
"""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
BLOCK = re.compile(r"(<!-- results: (\S+)((?: \S+)+) -->\n).*?(<!-- end -->)", flags=re.DOTALL)


def parts(name: str, wanted: list[str]) -> str:
    """Tables, by number from 1, and the ``note`` of a file of results."""
    text = (RESULTS / f"{name}.md").read_text(encoding="utf-8").strip()
    tables = re.findall(r"(?:^\|.*\n?)+", text, flags=re.MULTILINE)
    found = {str(number): table.strip() for number, table in enumerate(tables, start=1)}
    found["note"] = text.split("\n\n")[-1]
    return "\n\n".join(found[part] for part in wanted)


def filled(readme: str) -> str:
    """The README with every block as the results have it now."""
    return BLOCK.sub(lambda m: f"{m[1]}\n{parts(m[2], m[3].split())}\n\n{m[4]}", readme)


if __name__ == "__main__":
    path = ROOT / "README.md"
    path.write_text(filled(path.read_text(encoding="utf-8")), encoding="utf-8")
