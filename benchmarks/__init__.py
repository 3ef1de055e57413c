"""What promptlab reaches, and how fast: every table of the docs is made by a script here from runs that are kept.

``accuracy/`` and ``speed/`` hold the scripts, ``common/`` what they share, ``results/`` the runs (JSON) and their
tables (Markdown). A script runs from the root of a checkout that is installed with ``pip install -e .``, as a file or
as a module::

    python benchmarks/accuracy/fewshot.py --seeds 13
    python -m benchmarks.accuracy.fewshot --seeds 13
"""
