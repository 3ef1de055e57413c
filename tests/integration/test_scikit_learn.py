"""What scikit-learn asks of a classifier: meta-estimators, searches over parts, clones."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import StackingClassifier, VotingClassifier
from sklearn.model_selection import GridSearchCV, TunedThresholdClassifierCV
from sklearn.multiclass import OneVsRestClassifier

from promptlab import (
    PET,
    BitFit,
    ContextualCalibration,
    HeadClassifier,
    LoRA,
    ManualVerbalizer,
    PromptClassifier,
    PrototypicalVerbalizer,
)
from promptlab.core.errors import PromptlabError, TuningError, UnknownNameError
from promptlab.core.registry import TUNINGS

TEXTS = ["the film was great", "a good story", "great acting", "a dull mess", "the acting was bad", "a terrible film"]
TEMPLATE = "{{ text_a }} . it was {{ mask }}"
NAMED = {"billing": ["bad"], "technical": ["good"]}
LABELS = np.array(["technical"] * 3 + ["billing"] * 3)
NUMBERED = {0: ["bad"], 1: ["good"]}
META = {
    "soft votes": lambda one: VotingClassifier([("a", one), ("b", clone(one))], voting="soft"),
    "hard votes": lambda one: VotingClassifier([("a", one), ("b", clone(one)), ("c", clone(one))], voting="hard"),
    "stacking": lambda one: StackingClassifier([("a", one)], cv=2),
    "one against the rest": OneVsRestClassifier,
    "calibrated": lambda one: CalibratedClassifierCV(one, cv=2),
    "threshold": lambda one: TunedThresholdClassifierCV(one, cv=2),
}


@pytest.fixture
def prompt(bert):
    return PromptClassifier(TEMPLATE, NAMED, bert, max_steps=2, device="cpu")


@pytest.mark.parametrize("meta", META)
@pytest.mark.parametrize(
    ("verbalizer", "labels"), [(NAMED, LABELS), (NUMBERED, (LABELS == "technical").astype(int))], ids=["texts", "ints"]
)
def test_meta_estimators_hold_classifiers(prompt, meta, verbalizer, labels):
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)  # the order of the classes leaves nothing open
        fitted = META[meta](prompt.set_params(verbalizer=verbalizer)).fit(TEXTS, labels)

    predicted = fitted.predict(TEXTS)
    assert set(predicted.tolist()) <= set(labels.tolist())
    assert fitted.score(TEXTS, labels) == (predicted == labels).mean()


def test_votes_are_the_mean_of_the_members_whatever_their_labels_were_called(prompt):
    members = [("a", prompt), ("b", clone(prompt).set_params(template="{{ mask }} : {{ text_a }}"))]

    voted = VotingClassifier(members, voting="soft").fit(TEXTS, LABELS).predict_proba(TEXTS)

    own = [clone(member).fit(TEXTS, LABELS).predict_proba(TEXTS) for _, member in members]
    np.testing.assert_allclose(voted, np.mean(own, axis=0), atol=1e-7)


def test_more_classes_than_two_are_voted_on_and_told_apart(prompt):
    words = {"film": ["film"], "sports": ["sports"], "world": ["World"]}
    labels = np.array(["film", "world", "sports"] * 2)
    voting = VotingClassifier([("a", prompt.set_params(verbalizer=words))]).fit(TEXTS, labels)
    assert voting.score(TEXTS, labels) == (voting.predict(TEXTS) == labels).mean()

    rest = OneVsRestClassifier(HeadClassifier(prompt.model, "frozen", max_steps=2, device="cpu")).fit(TEXTS, labels)
    assert rest.predict_proba(TEXTS).shape == (6, 3)


def test_a_search_over_tunings_tells_once_of_a_setting_that_one_has_no_use_for(prompt):
    grid = GridSearchCV(prompt, {"tuning": ["none", "bitfit"]}, cv=2, error_score="raise")

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        grid.fit(TEXTS, LABELS)

    assert not np.isnan(grid.cv_results_["mean_test_score"]).any()
    said = {str(one.message) for one in caught if "promptlab" in str(one.filename) or "tuning" in str(one.message)}
    assert said == {"tuning 'none' trains nothing, so that max_steps=2 has no use."}


@pytest.mark.parametrize("tuning", ["lora", LoRA(alpha=2)])
def test_a_search_reaches_the_settings_of_a_tuning(prompt, tuning):
    prompt.set_params(tuning=tuning)

    grid = GridSearchCV(prompt, {"tuning__rank": [2, 4]}, cv=2, error_score="raise").fit(TEXTS, LABELS)

    assert grid.best_estimator_.tuning.rank == grid.best_params_["tuning__rank"]
    assert grid.best_estimator_.tuning.alpha == (16 if tuning == "lora" else 2)
    ranks = [clone(prompt).set_params(tuning__rank=rank).fit(TEXTS, LABELS).trainable_parameters() for rank in (2, 4)]
    assert ranks[1] == 2 * ranks[0]


def test_setting_a_part_never_changes_the_part_that_others_share():
    shared = LoRA(rank=8)
    one, other = PromptClassifier(TEMPLATE, NAMED, tuning=shared), PromptClassifier(TEMPLATE, NAMED, tuning=shared)

    assert one.set_params(tuning__rank=2) is one

    assert (one.tuning.rank, other.tuning.rank, shared.rank) == (2, 8, 8)
    assert one.get_params()["tuning__rank"] == 2 and "tuning__rank" not in one.get_params(deep=False)
    assert shared.set_params(rank=3) == LoRA(rank=3) and shared.rank == 8


def test_a_tuning_and_its_settings_can_be_set_together_and_wrapped_parts_reached():
    classifier = PromptClassifier(TEMPLATE, ContextualCalibration(ManualVerbalizer(NAMED)), tuning="full")

    classifier.set_params(tuning="lora", tuning__rank=2, verbalizer__verbalizer__aggregate="sum-prob")

    assert classifier.tuning == LoRA(rank=2)
    assert classifier.verbalizer == ContextualCalibration(ManualVerbalizer(NAMED, "sum-prob"))
    assert classifier.get_params()["verbalizer__verbalizer__aggregate"] == "sum-prob"

    pet = PET([(TEMPLATE, NAMED)], student=HeadClassifier(tuning="lora"))
    assert clone(pet).set_params(student__tuning__rank=2).student.tuning == LoRA(rank=2)


@pytest.mark.parametrize("name", TUNINGS.names)
def test_every_tuning_lists_its_settings_by_object_and_by_name(name):
    made = TUNINGS.get(name)()

    assert made.set_params(**made.get_params()) == made
    listed = PromptClassifier(TEMPLATE, NAMED, tuning=name).get_params()
    assert {key.removeprefix("tuning__"): v for key, v in listed.items() if "__" in key} == made.get_params()


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"tuning__rnk": 2}, UnknownNameError, "unknown setting of LoRA 'rnk'; did you mean 'rank'"),
        ({"tuning__rank": "a"}, PromptlabError, "LoRA: rank='a' must be a whole number"),
        (
            {"verbalizer__aggregate": "sum-prob"},
            TuningError,
            "verbalizer=.* has no setting 'aggregate'; pass an object",
        ),
        ({"tunning__rank": 2}, ValueError, "Invalid parameter 'tunning'"),
        ({"tuning": "lroa", "tuning__rank": 2}, TuningError, "tuning='lroa' has no setting 'rank'"),
    ],
)
def test_settings_that_are_none_are_told(changes, error, message):
    with pytest.raises(error, match=message):
        PromptClassifier(TEMPLATE, NAMED, tuning=LoRA()).set_params(**changes)


def test_clones_share_parts_which_are_frozen_and_print_as_pages(bert):
    verbalizer = PrototypicalVerbalizer(NAMED)  # which makes a ManualVerbalizer of the words
    classifier = PromptClassifier(TEMPLATE, verbalizer, bert, BitFit())

    copy = clone(classifier)

    assert copy.get_params() == classifier.get_params() and copy.verbalizer is verbalizer
    assert "BitFit" in copy._repr_html_() and "BitFit" in repr(copy)


def test_an_untrained_head_is_refused():
    with pytest.raises(TuningError, match="tuning='none' trains nothing, not even the head; choose 'frozen'"):
        HeadClassifier("no-model", tuning="none").fit(TEXTS, LABELS)
    with pytest.raises(TuningError, match="tuning='none' trains nothing, not even the head"):
        HeadClassifier("no-model", tuning=TUNINGS.get("none")()).fit(TEXTS, LABELS)
