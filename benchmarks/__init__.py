"""What promptlab reaches, and how fast: every table of the docs is made by a script here from runs that are kept.

``accuracy/`` and ``speed/`` hold the scripts, ``common/`` what they share, ``results/`` the runs (JSON) and their
tables (Markdown). A script runs from the root of a checkout that is installed with ``pip install -e .``, as a file or
as a module::

    python benchmarks/accuracy/fewshot.py --seeds 13
    python -m benchmarks.accuracy.fewshot --seeds 13

``--quick`` takes few rows and updates and writes to ``results/quick/``, to see that a script runs before hours are
spent; ``--results FOLDER`` writes elsewhere. A script says what it measures by a ``BENCHMARK``.

A command may be started several times at once: they share the runs. What has ended is in ``results/.unfinished/``
until the last of them ends, which puts it into the file of results; after a kill the next one does.
"""

from __future__ import annotations

from pathlib import Path

SCRIPTS = sorted(
    f"benchmarks.{kind}.{path.stem}"
    for kind in ("accuracy", "speed")
    for path in Path(__file__).parent.glob(f"{kind}/*.py")
)
