"""docs/architecture.md is true of the code: its walks are walked, its numbers counted, and it stays short."""

from __future__ import annotations

import re
import sys
import traceback
from pathlib import Path

import pytest

from benchmarks.house import PACKAGE, ROOT, counted, files_naming
from promptlab.backbones.catalog import load_backbone
from promptlab.core.interfaces import Head
from promptlab.estimators.classifiers import HeadClassifier, PromptClassifier
from promptlab.estimators.multi_label_classifier import MultiLabelClassifier
from promptlab.verbalizers.strings import MultiTokenVerbalizer

PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
WALKS = [section.split("\n## ")[0] for section in PAGE.split("\n### Walk ")[1:]]
NUMBERS = {
    label: (before, now)
    for label, before, now in re.findall(
        r"^\| (.+?) \| (.+?) \| (.+?) \|$", PAGE.split("in numbers\n")[1], re.MULTILINE
    )
}
WORDS = {"negative": ["bad"], "positive": ["good"]}
TEXTS, LABELS = ["a good film", "a bad film"] * 2, ["positive", "negative"] * 2
TEMPLATE = "{{ text_a }} It was {{ mask }}"


def number(label):
    """What the table says is now, of the one row that begins so."""
    (row,) = (now for name, (_, now) in NUMBERS.items() if name.startswith(label))
    return row


# walks


def calls_of(run):
    """Calls of our own, each as ``room/module.function``, in the order in which they begin."""
    calls = []

    def note(frame, event, _):
        path = Path(frame.f_code.co_filename)
        if event == "call" and path.is_relative_to(PACKAGE):
            calls.append(f"{path.relative_to(PACKAGE).with_suffix('').as_posix()}.{frame.f_code.co_name}")

    sys.setprofile(note)
    try:
        run()
    finally:
        sys.setprofile(None)
    return calls


def predicting(saved_model, tmp_path):
    return PromptClassifier("sst2", WORDS, saved_model("bert"), device="cpu").predict(["a dull film"])


def answering(saved_model, tmp_path):
    verbalizer = MultiTokenVerbalizer({"no": "not good", "yes": "a good film"})
    PromptClassifier(TEMPLATE, verbalizer, saved_model("gpt2"), device="cpu").predict(["a dull film"] * 2)


def fitting(saved_model, tmp_path):
    backbone = load_backbone(saved_model("bert"))
    classifier = PromptClassifier(TEMPLATE, WORDS, backbone, "p-tuning-v2", max_steps=1, device="cpu")
    classifier.fit(TEXTS, LABELS, eval_set=(TEXTS, LABELS)).save_pretrained(tmp_path / "saved")


@pytest.mark.parametrize(("walk", "run"), [*zip(WALKS, (predicting, answering, fitting), strict=True)])
def test_the_calls_of_a_walk_follow_one_another(walk, run, saved_model, tmp_path):
    hops = re.findall(r"`(\w+/\w+\.\w+)`", walk)
    calls = iter(calls_of(lambda: run(saved_model, tmp_path)))

    assert len(hops) > 10
    assert [hop for hop in hops if hop not in calls] == []  # each after the one before it


# numbers


@pytest.mark.parametrize("name", counted())
def test_the_house_is_no_larger_than_the_table_says(name):
    assert counted()[name] <= int(number(name))  # else: fewer, or what ``python benchmarks/house.py`` prints


@pytest.mark.parametrize("label", [label for label in NUMBERS if label.startswith(("files that", "…"))])
def test_a_part_touches_as_many_files_as_the_table_says(label):
    name = re.findall(r"`(\w+)`\)$", label)[0]
    inside = PACKAGE / "cli" if "command (" in label else PACKAGE
    word = f'"{name}"' if name.islower() else rf"\b{name}\b"

    assert len(files_naming(word, inside)) + 2 == int(number(label))  # its test and its row in the README


def own_calls():
    """Function and file of every frame of ours, the outermost first."""
    places = [(frame.name, Path(frame.filename)) for frame in traceback.extract_stack()]
    return [(name, path.relative_to(PACKAGE).as_posix()) for name, path in places if path.is_relative_to(PACKAGE)]


def noted(walks, result=None):
    walks.append(own_calls())
    return result


def calls_and_files(walk):
    return f"{len(walk)} / {len({file for _, file in walk})}"


@pytest.fixture
def classifier(tiny_backbone):
    return PromptClassifier("{{ text_a }} {{ mask }}", WORDS, tiny_backbone("bert"), max_steps=1, device="cpu")


def test_from_fit_to_the_loss_of_a_head_are_seven_calls_over_five_files_at_most(classifier, monkeypatch):
    walks, losses = [], Head.losses
    monkeypatch.setattr(Head, "losses", lambda *args: noted(walks, losses(*args)))

    classifier.fit(TEXTS, LABELS)

    assert walks[0][0] == ("fit", "estimators/text_estimator.py")
    assert walks[0][-1] == ("loss", "core/interfaces.py")
    assert len(walks[0]) <= 7, walks[0]
    assert len({file for _, file in walks[0]}) <= 5, walks[0]
    assert calls_and_files(walks[0]) == number("`fit` to the loss")


@pytest.mark.parametrize("is_fitted", [False, True])
def test_from_predict_to_the_language_model_are_twelve_calls_over_eight_files_at_most(classifier, is_fitted):
    walks = []
    if is_fitted:
        classifier.fit(TEXTS, LABELS)
    model = classifier.ready()
    model.backbone.model.base_model.register_forward_pre_hook(lambda *_: noted(walks))

    classifier.predict(TEXTS)

    assert walks[0][0] == ("predict", "estimators/class_scorer.py")
    assert len(walks[0]) <= 12, walks[0]
    assert len({file for _, file in walks[0]}) <= 8, walks[0]
    assert calls_and_files(walks[0]) == number("`predict` to the language model")


def own_bases(estimator):
    return [kind for kind in estimator.__mro__[1:] if kind.__module__.startswith("promptlab.")]


@pytest.mark.parametrize("estimator", [PromptClassifier, HeadClassifier, MultiLabelClassifier])
def test_a_classifier_inherits_from_four_classes_of_ours_at_most(estimator):
    assert len(own_bases(estimator)) <= 4, own_bases(estimator)


def test_as_many_classes_stand_above_the_prompt_classifier_as_the_table_says():
    assert len(own_bases(PromptClassifier)) == int(number("classes of ours above"))


# its form


def test_the_page_is_half_as_long_as_that_of_the_old_layout():
    assert len(PAGE.splitlines()) <= 373 // 2
    assert len(PAGE.split()) <= 4923 // 2


def test_lines_of_the_page_are_under_120_columns():
    assert [line for line in PAGE.splitlines() if len(line) >= 120] == []
