"""The README and docs/measured.md show what was measured and name only what is there."""

from __future__ import annotations

import importlib.util
import re
import shlex
import zipfile
from pathlib import Path

import pytest
from click.testing import CliRunner

import promptlab
from promptlab.backbones.download import downloaded
from promptlab.cli.main import main
from promptlab.core.registry import TUNINGS
from promptlab.data.samples import DEMO_DATA

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


def test_rows_of_the_method_table_have_a_cell_for_each_column():
    table = README.split("## Methods")[1].split("\n\n")[1]

    assert {line.count("|") for line in table.splitlines()} == {5}


def test_every_tuning_method_is_mentioned():
    assert [name for name in TUNINGS.names if name not in README.lower()] == []


def test_the_ten_line_script_is_the_shipped_examples_kind():
    script = README.split("```python")[1].split("```")[0]

    compile(script, "README", "exec")
    assert len([line for line in script.splitlines() if line.strip()]) <= 12


# Every command and every Python block, in order, in an empty folder


BLOCKS = re.findall(r"^```(sh|python)\n(.*?)^```$", README[README.index("## Ten lines") :], flags=re.M | re.S)
SHORT = {  # what makes a command quick
    "fit": ("--max-steps", "1"),
    "ensemble": ("--max-steps", "1"),
    "distill": ("--max-steps", "1", "--student-steps", "1"),
    "pretrain-prompt": ("--max-steps", "1", "--examples", "60"),
    "search-template": ("--zero-shot", "--engine-arg", "candidates=4", "--top", "2"),
}


def commands_of(block):
    """The arguments of each command, as a shell would take them apart."""
    for line in block.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        if words:
            assert words[0] == "promptlab"
            yield words[1:]


@pytest.mark.minilm
def test_commands_and_python_blocks_run_as_printed_in_an_empty_folder(tmp_path, monkeypatch):
    pytest.importorskip("promptlab_minilm")
    monkeypatch.chdir(tmp_path)
    names = {}
    for language, block in BLOCKS:
        if language == "python":
            exec(compile(block.replace('model="minilm",', 'model="minilm", max_steps=1,'), "README", "exec"), names)
            continue
        for arguments in commands_of(block):
            if "smollm2" in arguments and downloaded("smollm2") is None:
                continue  # needs the network
            short = () if "none" in arguments else SHORT.get(arguments[0], ())
            result = CliRunner().invoke(main, [*arguments, *short])
            assert result.exit_code == 0, (arguments, result.output)
            if arguments[0] == "sample" and "shots" in arguments:  # what is left to do is quick with few rows
                for name in ("pool.tsv", "test.tsv"):
                    cut(tmp_path / "data" / "sst2" / name, 40)

    made = {path.name for path in tmp_path.iterdir()}
    assert {"model", "lora", "soft", "student", "together", "tuned", "plain"} <= made
    assert len((tmp_path / "answers.csv").read_text(encoding="utf-8").splitlines()) == 40


def cut(path, lines):
    path.write_text("".join(path.read_text(encoding="utf-8").splitlines(keepends=True)[:lines]), encoding="utf-8")


def test_the_wheel_holds_what_the_commands_read(tmp_path):
    builders = pytest.importorskip("hatchling.builders.wheel")

    (wheel,) = builders.WheelBuilder(str(ROOT)).build(directory=str(tmp_path), versions=["standard"])

    names = zipfile.ZipFile(wheel).namelist()
    files = {name.removeprefix("promptlab/library_files/") for name in names}
    assert {"promptlab/py.typed", "promptlab/__init__.pyi"} <= set(names)
    assert {f"data/{source}" for source in DEMO_DATA.values()} <= files
    assert {"data/sst2/fewshot/k16-seed13.json", "templates/sst2.yaml", "verbalizers/sst2.yaml"} <= files
