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
        f"for kind in {list(KINDS)!r}: main(['list', kind], standalone_mode=False)\n"
        "print(*sys.modules)"
    )
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout

    assert "lora" in output
    assert HEAVY & set(output.splitlines()[-1].split()) == set()


def test_a_name_is_listed_with_its_source_and_settings(run):
    result = run("list", "tunings", "lora")

    assert result.stdout.splitlines()[:3] == [
        "lora: low-rank updates of query and value projections, or of every linear layer",
        "promptlab.tuning.lora:LoRA",
        "source: LoRA, arXiv:2106.09685, section 4",
    ]
    row = next(line for line in result.stdout.splitlines() if " rank " in line)
    assert [cell.strip() for cell in row.strip("│").split("│")] == ["rank", "8", "rank of each update."]


@pytest.mark.parametrize(
    ("kind", "name", "setting"),
    [
        ("engines", "t5", {"name": "beam", "type": "int", "default": 100}),
        ("word-engines", "petal", {"name": "words", "type": "int", "default": 10}),
        ("verbalizer-kinds", "manual", {"name": "aggregate", "type": "str", "default": "mean-logit"}),
        ("verbalizer-kinds", "manual", {"name": "label_words", "type": "Mapping[str, Sequence[str]]"}),
        ("template-kinds", "in-context", {"name": "k", "type": "int", "default": 16}),
        ("estimators", "HeadClassifier", {"name": "model", "type": "ModelLike | None", "default": None}),
    ],
)
def test_settings_are_listed_as_json(run, kind, name, setting):
    found = json.loads(run("list", kind, name, "--json").stdout)

    rows = [{key: value for key, value in row.items() if key != "meaning"} for row in found.pop("settings")]
    assert setting in rows
    assert found == {
        "name": name, "package": "", "location": REGISTRIES[kind].entries[name].location,
        "description": REGISTRIES[kind].entries[name].description, "source": REGISTRIES[kind].entries[name].source,
    }  # fmt: skip


def test_what_has_no_settings_is_told_so(run):
    assert run("list", "tunings", "full").stdout.splitlines()[-1] == "no settings"
    refused = run("list", "families", "bert")
    assert refused.exit_code == 2 and "families have no settings to show; a NAME goes with tunings" in refused.stderr


def test_an_unknown_name_is_one_line_with_the_nearest(run):
    result = run("list", "engines", "heuristics")

    assert result.exit_code == 1
    assert result.stderr.startswith(
        "UnknownNameError: unknown template search 'heuristics'; did you mean 'heuristic'? Known: "
    )
    assert result.stderr.count("\n") == 1
