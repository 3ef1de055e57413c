"""The examples of CONTRIBUTING.md work as they stand, each with the registry line that stands there."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from promptlab import PromptClassifier, search_templates
from promptlab.cli.arguments import make_tuning
from promptlab.cli.main import COMMANDS, main
from promptlab.core import registry
from promptlab.core.entries import Entry
from promptlab.core.types import Example, Segment
from promptlab.library.resolve import resolve_template
from promptlab.search.templates.ranking import Ranking
from promptlab.templates.rendering import render_segments

CONTRIBUTING = (Path(__file__).parents[1] / "CONTRIBUTING.md").read_text(encoding="utf-8")
TEXTS = ["the film was great", "a good story", "a dull mess", "bad"]
LABELS = ["positive", "positive", "negative", "negative"]
WORDS = {"negative": ["bad", "dull"], "positive": ["great"]}
OPTIONS = {"kind": "options", "source": "{{ text_a }} {{ mask }}", "options": ["good", "bad"]}
RATED = {"kind": "rated", "label_words": WORDS, "weights": {"negative": [3, 1], "positive": [1]}}


@pytest.fixture(autouse=True)
def extended(tmp_path, monkeypatch):
    """The package with the examples' files and registry lines."""
    for path, source in re.findall(r"```python\n# (promptlab/\S+)\.py\n(.*?)```", CONTRIBUTING, flags=re.DOTALL):
        name = path.replace("/", ".")
        file = tmp_path / f"{name}.py"
        file.write_text(source, encoding="utf-8")
        spec = importlib.util.spec_from_file_location(name, file)
        monkeypatch.setitem(sys.modules, name, module := importlib.util.module_from_spec(spec))
        spec.loader.exec_module(module)
        if name.startswith("promptlab.cli.commands."):
            command = re.search(r'^"(\w+)": "(Count .*)",$', CONTRIBUTING, flags=re.MULTILINE)
            monkeypatch.setitem(COMMANDS, command[1], command[2])
            continue
        table, key, entry = entry_of(name)
        monkeypatch.setitem(table.entries, key, entry)


def entry_of(module):
    """The registry line of an example, and the registry that the text before it names."""
    row = re.search(rf'^"(\S+)": Entry\(\s*("{re.escape(module)}:\w+",[^)]*)\),$', CONTRIBUTING, flags=re.MULTILINE)
    table = re.findall(r"^In `(\w+)`", CONTRIBUTING[: row.start()], flags=re.MULTILINE)[-1]
    return getattr(registry, table), row[1], Entry(*re.findall(r'"([^"]*)"', row[2]))


@pytest.mark.parametrize(
    "parts",
    [
        {"verbalizer": RATED},
        {"verbalizer": WORDS, "template": OPTIONS},
        {"verbalizer": WORDS, "tuning": "attention-bias"},
        {"verbalizer": WORDS, "tuning": lambda: make_tuning("attention-bias", {"last": "1"})},
    ],
)
def test_a_classifier_of_the_examples_comes_back_from_disk(base, tmp_path, parts):
    parts = {name: part() if callable(part) else part for name, part in parts.items()}
    parts = {"template": "{{ text_a }} {{ mask }}"} | parts
    classifier = PromptClassifier(**parts, model=base, max_steps=3, device="cpu")
    expected = classifier.fit(TEXTS, LABELS).predict_proba(TEXTS)

    classifier.save_pretrained(tmp_path / "saved")

    back = PromptClassifier.from_pretrained(tmp_path / "saved", device="cpu")
    assert (back.predict_proba(TEXTS) == expected).all()


def test_the_examples_template_names_the_options_before_the_text():
    prompt = resolve_template(OPTIONS).render(Example({"text_a": "It rains."}))

    assert str(prompt) == "Say good or bad. It rains. {{ mask }}"


def test_the_examples_filter_changes_a_field_and_keeps_it_kept():
    segments = render_segments("{{ text_a | keep | first_sentence }}", {"text_a": "It is 3.50. Yes."})

    assert segments == (Segment("field", "It is 3.50.", shortenable=False),)


def test_the_examples_search_finds_templates_that_fit_the_model(tiny_backbone):
    options = {"verbalizer": WORDS, "model": tiny_backbone("bert"), "device": "cpu"}
    options |= {"eval_set": (["great"], ["positive"])}

    board = search_templates("questions", TEXTS, LABELS, **options, ranking=Ranking(rounds=()), top=2)

    assert len(board.ranked) == 3 and not board.unusable
    assert {one.found.engine for one in board.best} == {"questions"}
    assert board.about["settings"]["examples"] == 2


def test_the_examples_command_takes_the_options_of_its_groups(tmp_path):
    file = tmp_path / "rows.csv"
    file.write_text("text_a,class\n" + "".join(f"{i},{name}\n" for i, name in enumerate("abcaba")), encoding="utf-8")

    def run(*options):
        return CliRunner().invoke(main, ["count", str(file), "--label", "class", *options])

    assert json.loads(run("--top", "2", "--json").stdout) == {"a": 3, "b": 2}
    assert "leave --names-only out" in run("--top", "2", "--names-only").stderr
    assert "Count the rows of each class." in CliRunner().invoke(main, ["--help"]).stdout


@pytest.mark.parametrize(("language", "file"), [("toml", "pyproject.toml"), ("python", "my_prompts.py")])
def test_the_example_of_a_package_is_the_one_that_is_tested(language, file):
    section = CONTRIBUTING.split("## A package of your own")[1].split("\n## ")[0]
    (block,) = re.findall(rf"```{language}\n(.*?)```", section, flags=re.DOTALL)

    assert block in (Path(__file__).parent / "plugin_package" / file).read_text(encoding="utf-8")


def test_the_groups_of_a_package_are_those_of_the_registries():
    said = CONTRIBUTING.split("## A package of your own")[1].split("```")[0]

    assert {f"promptlab.{name}" for name in re.findall(r"`(?:promptlab)?\.(\w+)`", said)} == {
        table.group for table in registry.TABLES
    }


def test_the_lines_of_the_examples_family_are_those_of_the_package():
    files = ("promptlab/backbones/families.py", "promptlab/core/shipped_parts.py", "tests/conftest.py")
    lines = re.findall(r'^("phi": .*?,) +# in', CONTRIBUTING, flags=re.MULTILINE)

    assert len(lines) == len(files)
    for line, file in zip(lines, files, strict=True):
        assert line in (Path(__file__).parents[1] / file).read_text(encoding="utf-8")
