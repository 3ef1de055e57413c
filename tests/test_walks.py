"""How far it is from what a user calls to where it happens: the calls of our own on the stack, and their files."""

from __future__ import annotations

import traceback
from pathlib import Path

import pytest

from promptlab.core.interfaces import Head
from promptlab.estimators.classifiers import HeadClassifier, PromptClassifier
from promptlab.estimators.multi_label_classifier import MultiLabelClassifier

PACKAGE = Path(__file__).parents[1] / "promptlab"
WORDS = {"negative": ["bad"], "positive": ["good"]}
TEXTS, LABELS = ["a good film", "a bad film"] * 2, ["positive", "negative"] * 2


def own_calls():
    """Function and file of every frame of ours, the outermost first."""
    places = [(frame.name, Path(frame.filename)) for frame in traceback.extract_stack()]
    return [(name, path.relative_to(PACKAGE).as_posix()) for name, path in places if path.is_relative_to(PACKAGE)]


def noted(walks, result=None):
    walks.append(own_calls())
    return result


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


@pytest.mark.parametrize("estimator", [PromptClassifier, HeadClassifier, MultiLabelClassifier])
def test_a_classifier_inherits_from_four_classes_of_ours_at_most(estimator):
    ours = [kind for kind in estimator.__mro__[1:] if kind.__module__.startswith("promptlab.")]

    assert len(ours) <= 4, ours
