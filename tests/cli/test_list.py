from __future__ import annotations

import json
import subprocess
import sys

import pytest

from promptlab.cli.commands.list import KINDS, REGISTRIES
from promptlab.core.registry import TUNINGS

HEAVY = {"torch", "transformers", "sklearn", "pandas", "numpy", "rich"}


@pytest.mark.parametrize("kind", KINDS)
def test_list_prints_names(run, kind):
    names = json.loads(run("list", kind, "--json").stdout)

    assert names
    assert run("list", kind).stdout.splitlines()[0].startswith(next(iter(names)))


def test_list_prints_one_line_for_each_template_whatever_it_holds(run):
    names = json.loads(run("list", "templates", "--json").stdout)
    lines = run("list", "templates").stdout.splitlines()

    assert any("\n" in template for template in names.values())
    assert [line.count("\t") for line in lines] == [1] * len(names)
    for name, line in zip(names, lines, strict=True):
        assert line == f"{name}\t" + names[name].replace("\n", "\\n")  # the library has no tab or backslash


def test_list_says_what_each_name_stands_for(run):
    lines = run("list", "tunings").stdout.splitlines()

    assert [line.split("\t")[0] for line in lines] == TUNINGS.names
    assert "bitfit\tbiases and the head (BitFit, arXiv:2106.10199, section 3)" in lines


def test_list_loads_nothing_that_takes_long():
    code = (
        "import sys; from promptlab.cli.main import main\n"
        f"for kind in {[*REGISTRIES, 'tasks', 'samples']!r}: main(['list', kind], standalone_mode=False)\n"
        "print(*sys.modules)"
    )
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout

    assert "lora" in output
    assert HEAVY & set(output.splitlines()[-1].split()) == set()
