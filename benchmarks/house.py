"""How well the package is kept in order, in numbers: the table of docs/architecture.md, for any version of the code.

``python benchmarks/house.py`` prints those of this checkout, ``python benchmarks/house.py FOLDER`` those of another
``promptlab`` folder. ``tests/test_architecture.py`` compares them with the table.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "promptlab"
Arrows = set[tuple[str, str]]


def modules_of(package: Path = PACKAGE) -> dict[str, Path]:
    """Return the modules of a package, such as ``training.loop``, and their files."""
    paths = (path for path in sorted(package.rglob("*.py")) if path.name != "__init__.py")
    return {".".join(path.relative_to(package).with_suffix("").parts): path for path in paths}


def imported(path: Path, modules: Mapping[str, Path]) -> Iterator[str]:
    """Yield names of promptlab's modules that a file imports, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "promptlab":
            inside = (node.module or "").removeprefix("promptlab").lstrip(".")
            for alias in node.names:
                below = f"{inside}.{alias.name}".lstrip(".")
                yield below if below in modules else inside
        elif isinstance(node, ast.Import):
            yield from (a.name.removeprefix("promptlab.") for a in node.names if a.name.startswith("promptlab."))


def room_of(module: str) -> str:
    """Return what stands directly in the package: the folder that a module is in, or the module itself."""
    return module.split(".")[0]


def arrows_of(modules: Mapping[str, Path]) -> Arrows:
    """Return the pairs of rooms of which the first imports from the second."""
    pairs = {(room_of(name), room_of(one)) for name, path in modules.items() for one in imported(path, modules) if one}
    return {(above, below) for above, below in pairs if above != below}


def floors_of(arrows: Arrows) -> int:
    """Return how many rooms the longest chain of imports goes through."""

    @cache
    def height(room: str) -> int:
        return 1 + max((height(below) for above, below in arrows if above == room), default=0)

    return max(height(above) for above, _ in arrows)


def lines_with_any(package: Path) -> int:
    """Return how many lines say ``Any``, in code or elsewhere."""
    lines = (line for path in package.rglob("*.py") for line in path.read_text(encoding="utf-8").splitlines())
    return sum(bool(re.search(r"\bAny\b", line)) for line in lines)


def files_naming(pattern: str, folder: Path = PACKAGE) -> list[Path]:
    """Return the files, also those for type checkers, in which a pattern is found."""
    paths = (*folder.rglob("*.py"), *folder.rglob("*.pyi"))
    return [path for path in paths if re.search(pattern, path.read_text(encoding="utf-8"))]


def counted(package: Path = PACKAGE) -> dict[str, int]:
    """Count what the imports and annotations of a package say of it."""
    modules = modules_of(package)
    arrows = arrows_of(modules)
    return {
        "rooms": len({room_of(name) for name in modules}),
        "arrows": len(arrows),
        "floors": floors_of(arrows),
        "lines with Any": lines_with_any(package),
    }


if __name__ == "__main__":
    for name, number in counted(Path(sys.argv[1]) if sys.argv[1:] else PACKAGE).items():
        print(f"{name:15}{number:5}")
