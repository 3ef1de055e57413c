"""The package of tests/plugin_package, installed: its parts work by name wherever promptlab's own do."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from promptlab import ManualTemplate, PromptClassifier, PVPEnsemble, search_templates, search_words
from promptlab.core import plugins
from promptlab.core.errors import SavedModelError, TemplateError
from promptlab.core.registry import TEMPLATES, TUNINGS, VERBALIZERS
from promptlab.estimators.saving import load_any
from promptlab.search.templates.ranking import Ranking

PACKAGE = Path(__file__).parents[1] / "plugin_package"
TEXTS = ["the film was great", "a good story", "a dull mess", "so bad"]
LABELS = ["positive", "positive", "negative", "negative"]
TEMPLATE = "{{ text_a | quoted }} It was {{ mask }}"
PLAIN = '"{{ text_a }}" It was {{ mask }}'
WORDS = {"negative": ["bad", "dull"], "positive": ["great", "good"]}
FIRST = {"negative": ["bad"], "positive": ["great"]}
OURS = {"kind": "first-word", "label_words": WORDS, "boost": 2.0}
FROM = {"promptlab.verbalizers:first-word": "my-prompts==1.2"}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """The folder in which the package is installed."""
    folder = tmp_path_factory.mktemp("packages")
    options = ("-q", "--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check")
    subprocess.run([sys.executable, "-m", "pip", "install", *options, "--target", folder, PACKAGE], check=True)
    return folder


@contextmanager
def installed_in(place):
    """Have the package, in this process and in those that it starts."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(place)
        patch.setenv("PYTHONPATH", os.pathsep.join([str(place), *filter(None, sys.path)]))
        forget()
        yield
    sys.modules.pop("my_prompts", None)
    forget()


def forget():
    importlib.invalidate_caches()
    for cached in (plugins.plugins, plugins.package_of, plugins._packages):
        cached.cache_clear()


@pytest.fixture
def installed(place):
    with installed_in(place):
        yield


def in_another_process(*commands):
    """What the commands print, one after the other in a process of their own, each as lines of JSON."""
    code = (
        "import json, sys; from promptlab.cli.main import main\n"
        "for one in json.loads(sys.argv[1]): main(one, standalone_mode=False); print('---', flush=True)"
    )
    given = json.dumps([list(map(str, one)) for one in commands])
    done = subprocess.run([sys.executable, "-c", code, given], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return [[json.loads(line) for line in part.splitlines()] for part in done.stdout.split("---\n")[:-1]]


@pytest.fixture
def train(tmp_path):
    path = tmp_path / "train.tsv"
    rows = ["text_a\tlabel", *map("\t".join, zip(TEXTS, LABELS, strict=True))]
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return path


def classifier(base, template=PLAIN, verbalizer=FIRST, tuning="none"):
    return PromptClassifier(template, verbalizer, base, tuning, max_steps=4, device="cpu", seed=1)


def test_a_verbalizer_and_a_filter_score_as_their_plain_words_do(installed, base):
    ours = classifier(base, TEMPLATE, OURS | {"boost": 1.0}).predict_proba(TEXTS)

    assert ours == pytest.approx(classifier(base).predict_proba(TEXTS), abs=1e-6)


def test_a_setting_reaches_the_verbalizer(installed, base):
    plain = np.log(classifier(base).predict_proba(TEXTS))

    doubled = np.log(classifier(base, PLAIN, OURS).predict_proba(TEXTS))

    assert np.diff(doubled) == pytest.approx(2 * np.diff(plain), abs=1e-4)


def test_a_tuning_trains_what_it_says(installed, base):
    fitted = classifier(base, tuning="last-norm").fit(TEXTS, LABELS)

    assert fitted.trainable_parameters() == fitted.model_.backbone.hidden_size
    assert fitted.set_params(tuning__rate=0.5).tuning == TUNINGS.get("last-norm")(rate=0.5)


def test_a_template_is_made_by_its_kind(installed, base):
    source = "{{ text_a }} Was it good? {{ mask }}"

    ours = classifier(base, {"kind": "question", "source": source}).predict_proba(TEXTS)

    assert ours == pytest.approx(classifier(base, source).predict_proba(TEXTS), abs=1e-6)
    with pytest.raises(TemplateError, match="don't fit a template of kind 'question'"):
        classifier(base, {"kind": "question", "sauce": source}).predict(TEXTS)


def test_the_command_line_takes_them_and_another_process_loads_the_model(installed, base, train, tmp_path):
    fit = ("fit", train, "-o", tmp_path / "out", "--template", TEMPLATE, "--verbalizer", json.dumps(OURS))
    tuned = ("--tuning", "last-norm", "--tuning-arg", "rate=0.01", "--max-steps", 3, "--model", base, "--json")
    words = ("search-verbalizer", train, "--template", PLAIN, "--model", base, "--engine", "alphabet", "--json")
    settings = ("--engine-arg", "words=2", "--engine-arg", "last=true")

    _, ((found,),), (listed,) = in_another_process(
        [*fit, *tuned], [*words, *settings], ["list", "word-engines", "alphabet", "--json"]
    )
    (answers,) = in_another_process(["predict", tmp_path / "out", train, "--json"])

    saved = json.loads((tmp_path / "out" / "promptlab.json").read_text(encoding="utf-8"))
    assert saved["verbalizer"] == {"from": FROM, **OURS}
    assert saved["tuning"]["from"] == {"promptlab.tunings:last-norm": "my-prompts==1.2"}
    assert saved["template"]["from"] == {"promptlab.filters:quoted": "my-prompts==1.2"}
    back = PromptClassifier.from_pretrained(tmp_path / "out", device="cpu")
    assert [row["label"] for row in answers] == back.predict(TEXTS).tolist()
    order = [word for row in found["label_words"].values() for word in row]
    assert len(order) == 4 and order == sorted(order, reverse=True)
    assert [(one["name"], one["default"]) for one in listed["settings"]] == [("words", 1), ("last", False)]
    assert (listed["package"], listed["description"]) == ("my-prompts==1.2", "Give the classes words by the alphabet.")


@pytest.mark.parametrize(
    ("parts", "who"),
    [
        ({"verbalizer": OURS}, "verbalizer kind 'first-word'"),
        ({"tuning": "last-norm"}, "tuning 'last-norm'"),
        ({"template": TEMPLATE}, "template filter 'quoted'"),
        ({"template": {"kind": "question", "source": PLAIN}}, "template kind 'question'"),
    ],
)
def test_a_saved_model_without_its_package_says_what_to_install(place, base, tmp_path, parts, who):
    with installed_in(place):
        classifier(base, **parts).save_pretrained(tmp_path / "saved")

    message = rf"^{who} comes from the package my-prompts 1\.2, which isn't installed; install it: pip install my-prom"
    for load in (PromptClassifier.from_pretrained, load_any):
        with pytest.raises(SavedModelError, match=message) as caught:
            load(tmp_path / "saved", device="cpu")
        assert "\n" not in str(caught.value)


def test_an_estimator_comes_back_as_its_class_and_names_its_package(place, base, tmp_path):
    with installed_in(place):
        from my_prompts import CarefulClassifier

        CarefulClassifier(PLAIN, FIRST, base, "none", device="cpu").save_pretrained(tmp_path / "saved")
        assert type(load_any(tmp_path / "saved", device="cpu")).__name__ == "CarefulClassifier"

    with pytest.raises(SavedModelError, match=r"estimator 'CarefulClassifier' comes from the package my-prompts 1\.2"):
        load_any(tmp_path / "saved", device="cpu")


def test_parts_inside_others_are_saved_with_their_package(installed):
    inner = {"kind": "first-word", "from": FROM, "label_words": WORDS, "boost": 1.0}
    saved = {"kind": "contextual", "verbalizer": {"$verbalizer": inner}, "inputs": ["x"]}

    assert json.loads(json.dumps(VERBALIZERS.to_dict(VERBALIZERS.from_dict(saved)))) == saved
    assert "from" not in TEMPLATES.to_dict(ManualTemplate("{{ text_a | lower_first | upper }} {{ mask }}"))


def test_members_are_trained_in_other_processes(installed, base):
    pairs, settings = [(TEMPLATE, OURS), (PLAIN, FIRST)], {"max_steps": 2, "repetitions": 1, "device": "cpu"}

    here, there = (
        PVPEnsemble(pairs, base, "last-norm", **settings, **where).fit(TEXTS, LABELS).predict_proba(TEXTS)
        for where in ({}, {"executor": "joblib", "workers": 2})
    )

    assert here == pytest.approx(there, abs=1e-6)


def test_searches_are_chosen_by_name(installed, tiny_backbone):
    backbone = tiny_backbone("bert")
    board = search_templates(
        "two", TEXTS, LABELS, verbalizer=FIRST, model=backbone, device="cpu", settings={"verb": "is"},
        eval_set=(["great", "bad"], ["positive", "negative"]), ranking=Ranking(rounds=()),
    )  # fmt: skip
    (found,) = search_words(
        PLAIN, TEXTS, LABELS, backbone, engine="alphabet", settings={"words": 2, "last": True}, device="cpu"
    )

    assert {one.found.template for one in board.ranked} == {
        "{{ text_a }} It is {{ mask }}",
        "{{ text_a }} is {{ mask }}",
    }
    order = [word for words in found.label_words.values() for word in words]
    assert len(order) == 4 and order == sorted(order, reverse=True)
