"""Docstrings of public names teach: an example that runs, every setting with its default, a verb and its object."""

from __future__ import annotations

import doctest
import functools
import inspect
import re
import sys
from dataclasses import MISSING, fields, is_dataclass

import pytest
import torch

import promptlab
from promptlab.backbones import catalog
from promptlab.core.docstrings import items

NAMES = promptlab.__all__
CLASSES = [name for name in NAMES if isinstance(getattr(promptlab, name), type)]
FUNCTIONS = sorted(set(NAMES) - set(CLASSES))
STAND_INS = {  # for models that the examples load by name → the family of a tiny one
    "facebook/bart-base": "bart",
    "google-t5/t5-base": "t5",
    "prajjwal1/bert-tiny": "bert",
    "smollm2": "llama",
}
NEEDS = {"wordnet_words": "wn"}  # packages without which an example can't run
VERBS = (
    "Add|Apply|Average|Become|Build|Change|Choose|Classify|Compute|Count|Divide|Draw|Explain|Fetch|Fill|Give|Hold|Keep|"
    "Label|Learn|Let|List|Load|Look|Make|Measure|Pad|Pair|Predict|Prepare|Put|Rank|Read|Refine|Refuse|Replace|Report|"
    "Return|Run|Save|Say|Score|Search|Set|Show|Take|Train|Tune|Turn|Warn|Write|Yield"
)
HOUSE_WORDS = r"\b(likewise|as for|as in `|foretell|foretold|mend|learnt|maximise|normalise)\b"  # or no text


@functools.cache
def minilm():
    return catalog.load_backbone("minilm")


def ends_texts(backbone):
    """A random model that ends its texts, as one that was trained does."""
    name = backbone.tokenizer.convert_tokens_to_ids
    words = [backbone.token_ids(word)[0] for word in ("great", "terrible")]
    if backbone.model.config.model_type == "t5":
        head = backbone.model.lm_head
        head.bias = torch.nn.Parameter(torch.zeros(head.out_features))
        head.bias.data[[name("<extra_id_1>"), name("<extra_id_2>"), name("</s>")]] = 8.0
    if backbone.model.config.model_type == "bart":
        backbone.model.final_logits_bias[0, [*words, backbone.tokenizer.sep_token_id]] = 8.0
    return backbone


@pytest.fixture
def models(tiny_backbone, tmp_path, monkeypatch):
    """Examples load models by name: the shipped one, of which each gets a copy, and tiny ones instead of large ones."""
    shipped, load = minilm(), catalog.load_backbone

    def known(model=None, **options):
        if isinstance(model, str) and model in STAND_INS:
            return ends_texts(tiny_backbone(STAND_INS[model]))
        return shipped.copy() if model in (None, "minilm") else load(model, **options)

    for module in [module for name, module in sys.modules.items() if name.startswith("promptlab")]:
        if vars(module).get("load_backbone") is load:
            monkeypatch.setattr(module, "load_backbone", known)
    monkeypatch.setenv("PROMPTLAB_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "cache" / "smollm2"
    folder.mkdir(parents=True)
    (folder / "config.json").touch()


def docstring(name):
    return getattr(promptlab, name).__doc__ or ""


def example_of(name):
    return doctest.DocTestParser().get_doctest(docstring(name), {"__name__": "__main__"}, name, None, None)


@pytest.mark.minilm
@pytest.mark.parametrize("name", NAMES)
def test_an_example_prints_what_it_says_and_all_that_fit_leaves_is_listed(name, request, tmp_path, monkeypatch):
    pytest.importorskip("promptlab_minilm")
    pytest.importorskip(NEEDS.get(name, "promptlab"))
    request.getfixturevalue("models")
    monkeypatch.chdir(tmp_path)
    example, failures = example_of(name), []

    doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(example, out=failures.append, clear_globs=False)
    made = [value for value in example.globs.values() if type(value).__name__ == name and hasattr(value, "fit")]
    left = {key for value in made for key in vars(value) if re.search(r"[a-z]_$", key)}

    assert not failures, "".join(failures)
    assert left == set(dict(items(docstring(name), "Attributes")))


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


def methods():
    """Public methods of the public classes, by their names, where they have a docstring of their own."""
    bases = {base for name in CLASSES for base in getattr(promptlab, name).__mro__}
    for base in sorted(bases, key=lambda base: base.__qualname__):
        for name, value in vars(base).items():
            function = getattr(value, "__func__", value)
            if inspect.isfunction(function) and function.__module__.startswith("promptlab") and name[0] != "_":
                yield f"{base.__name__}.{name}", function.__doc__


SAID = {name: docstring(name) for name in NAMES} | {name: text for name, text in methods() if text}


@pytest.mark.parametrize("name", SAID)
def test_a_docstring_begins_with_a_verb_and_says_everything_itself(name):
    assert re.match(rf"({VERBS})\b", SAID[name])
    assert re.findall(HOUSE_WORDS, SAID[name], flags=re.IGNORECASE) == []
