"""Predictions come back as the labels came, from every estimator, saved or not."""

from __future__ import annotations

import json

import datasets
import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import accuracy_score, confusion_matrix
from sklearn.model_selection import GridSearchCV, cross_val_score

from promptlab import HeadClassifier, JointClassifier, MultiLabelClassifier, PromptClassifier
from promptlab.core.errors import DataError, UnknownNameError
from promptlab.data.labeled import split_unlabeled
from promptlab.estimators.saving import load_any

TEXTS = ["the film was great", "a good story", "great acting", "a dull mess", "the acting was bad", "a terrible film"]
IS_GOOD = [True, True, True, False, False, False]
TEMPLATE = "{{ text_a }} . it was {{ mask }}"
WORDS = {"False": ["bad"], "True": ["good"]}
NUMBERED = {0: ["bad"], 1: ["good"]}
NAMED = {"negative": ["bad"], "positive": ["good"]}
whole = np.array(IS_GOOD).astype(int)
CASES = {  # the verbalizer, the labels, the classes
    "bool": (WORDS, IS_GOOD, [False, True]),
    "numpy bool": (WORDS, np.array(IS_GOOD), [False, True]),
    "pandas boolean": (WORDS, pd.Series(IS_GOOD, dtype="boolean"), [False, True]),
    "bool keys": ({False: ["bad"], True: ["good"]}, IS_GOOD, [False, True]),
    "int keys for bool": (NUMBERED, IS_GOOD, [False, True]),
    "int": (NUMBERED, whole.tolist(), [0, 1]),
    "list of np.int64": (NUMBERED, list(whole), [0, 1]),
    "int8": (NUMBERED, whole.astype(np.int8), [0, 1]),
    "float": (NUMBERED, whole.astype(float), [0, 1]),
    "float keys": ({1.0: ["bad"], 2.0: ["good"]}, whole + 1.0, [1, 2]),
    "float32 keys for int": ({np.float32(2): ["good"], np.float32(1): ["bad"]}, whole + 1, [1, 2]),
    "float32 in a list": (NUMBERED, list(whole.astype(np.float32)), [0, 1]),
    "pandas Int64": (NUMBERED, pd.Series(whole, dtype="Int64"), [0, 1]),
    "categories of int": (NUMBERED, pd.Series(whole).astype("category"), [0, 1]),
    "text": (NAMED, np.where(IS_GOOD, "positive", "negative"), ["negative", "positive"]),
    "categories": (NAMED, pd.Series(np.where(IS_GOOD, "positive", "negative"), dtype="category"), [*NAMED]),
    "encoded": (NAMED, whole, [0, 1]),
    "sorted as numbers": ({"10": ["good"], "9": ["bad"]}, [10, 10, 10, 9, 9, 9], [9, 10]),
}


def prompt(verbalizer, bert, **settings):
    return PromptClassifier(TEMPLATE, verbalizer, bert, **{"max_steps": 2, "device": "cpu", **settings})


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("kind", ["prompt", "head"])
def test_predictions_are_of_the_labels_type_before_and_after_saving(bert, base, tmp_path, kind, case):
    verbalizer, labels, classes = CASES[case]
    head = HeadClassifier(base, "frozen", max_steps=2, device="cpu")
    classifier = head if kind == "head" else prompt(verbalizer, base)

    classifier.fit(TEXTS, labels, eval_set=(TEXTS, labels))
    classifier.save_pretrained(tmp_path / "saved")
    again = load_any(tmp_path / "saved", device="cpu")

    expected = np.array(classes)
    for fitted in (classifier, again):
        predicted = fitted.predict(TEXTS)
        assert fitted.classes_.tolist() == classes
        assert fitted.classes_.dtype.kind == predicted.dtype.kind == expected.dtype.kind
        right = [bool(one == truth) for one, truth in zip(predicted.tolist(), list(labels))]
        assert fitted.score(TEXTS, labels) == sum(right) / 6
        assert np.array_equal(fitted.predict_proba(TEXTS), classifier.predict_proba(TEXTS))


def test_scikit_learn_compares_truth_values(bert):
    y = np.array(IS_GOOD)
    classifier = prompt(WORDS, bert)

    assert not np.isnan(cross_val_score(classifier, TEXTS, y, cv=3, error_score="raise")).any()
    assert not np.isnan(cross_val_score(classifier, TEXTS, y, cv=3, scoring="f1", error_score="raise")).any()
    grid = GridSearchCV(classifier, {"template": [TEMPLATE, "{{ mask }} {{ text_a }}"]}, cv=3, error_score="raise")
    predicted = grid.fit(TEXTS, y).predict(TEXTS)
    assert grid.score(TEXTS, y) == accuracy_score(y, predicted)
    assert confusion_matrix(y, predicted).sum() == 6


def test_numbers_that_no_class_is_called_by_count_the_sorted_classes_and_it_is_said(bert):
    verbalizer = {"world": ["World"], "film": ["film"], "sports": ["sports"]}
    by_name = prompt(verbalizer, bert).fit(TEXTS, ["film", "sports", "world"] * 2)

    with pytest.warns(UserWarning, match="sorted classes: 0 is 'film', 1 is 'sports', 2 is 'world'; if they mean"):
        by_number = prompt(verbalizer, bert).fit(TEXTS, [0, 1, 2] * 2)

    assert np.array_equal(by_number.predict_proba(TEXTS), by_name.predict_proba(TEXTS))
    assert by_number.classes_.tolist() == [0, 1, 2] and by_number.class_names_ == ("film", "sports", "world")
    assert by_number.score(TEXTS, [0, 1, 2] * 2) == by_name.score(TEXTS, ["film", "sports", "world"] * 2)
    assert by_number.score(TEXTS, ["film", "sports", "world"] * 2) == by_number.score(TEXTS, [0, 1, 2] * 2)


def test_the_numbers_of_a_data_set_go_by_its_names(bert):
    feature = datasets.ClassLabel(names=["positive", "negative"])  # 0 is positive here
    rows = {"text_a": TEXTS, "label": [int(not good) for good in IS_GOOD]}
    features = datasets.Features({"text_a": datasets.Value("string"), "label": feature})
    data = datasets.Dataset.from_dict(rows, features=features)
    by_name = prompt(NAMED, bert).fit(TEXTS, ["positive"] * 3 + ["negative"] * 3)

    fitted = prompt(NAMED, bert).fit(data["text_a"], data["label"], eval_set=(data["text_a"], data["label"]))

    assert fitted.classes_.tolist() == [0, 1] and fitted.class_names_ == ("positive", "negative")
    assert np.array_equal(fitted.predict_proba(TEXTS)[:, ::-1], by_name.predict_proba(TEXTS))
    assert fitted.score(data["text_a"], data["label"]) == by_name.score(data["text_a"], data["label"])


def test_splits_of_a_data_set_are_told_one_by_one():
    splits = datasets.DatasetDict({"train": datasets.Dataset.from_dict({"text_a": TEXTS})})

    with pytest.raises(DataError, match=r"X is a DatasetDict of train; pass one, such as X\['train'\]"):
        prompt(NAMED, "no-model").fit(splits, IS_GOOD)


@pytest.mark.parametrize(
    ("y", "error", "message"),
    [
        (
            [0, 2] * 3,
            UnknownNameError,
            r"unknown label '0' in row 1. Known \(the verbalizer's classes\): negative, pos",
        ),
        (["positive"] * 5 + ["praise"], UnknownNameError, "unknown label 'praise' in row 6"),
        ([0, "positive"] * 3, DataError, r"row 2 has the label 'positive' \(str\), but row 1 has 0 \(int\)"),
        ([0.5, 1.0] * 3, DataError, "row 1 has the label 0.5"),
    ],
)
def test_labels_that_mean_no_class_are_told_with_their_row_before_a_model_is_loaded(y, error, message):
    with pytest.raises(error, match=message):
        prompt(NAMED, "no-model").fit(TEXTS, y)


def test_a_dev_label_that_means_no_class_is_told_with_its_row():
    good = ["positive", "negative"] * 3
    with pytest.raises(UnknownNameError, match="unknown label 'x' in row 2 of eval_set"):
        prompt(NAMED, "no-model").fit(TEXTS, good, eval_set=(TEXTS[:2], ["positive", "x"]))
    with pytest.raises(UnknownNameError, match=r"in row 1 of eval_set. Known \(those of the training labels\): neg"):
        HeadClassifier("no-model").fit(TEXTS, good, eval_set=(TEXTS[:1], ["x"]))


def test_several_labels_are_of_the_type_given(bert):
    words = {"1": ["good"], "2": ["film"], "10": ["great"]}
    fitted = MultiLabelClassifier(TEMPLATE, words, bert, "none", device="cpu")

    fitted.fit(TEXTS, [[1], [1, 10], [np.int64(10)], [2.0], [], [2]])

    assert fitted.classes_.tolist() == [1, 2, 10]
    assert {type(label) for row in fitted.predict_labels(TEXTS) for label in row} <= {int}
    assert fitted.score(TEXTS, fitted.predict_labels(TEXTS)) == 1.0
    with pytest.raises(DataError, match=r"row 2 has the label '1' \(str\), but row 1 has 1 \(int\)"):
        fitted.fit(TEXTS, [[1], ["1"], [], [], [], []])


def test_a_class_that_holds_the_separator_is_refused(bert):
    words = {"a|b": ["good"], "c": ["film"]}
    labels = [["a|b"], ["c"], [], ["a|b", "c"], [], []]

    with pytest.raises(DataError, match=r"class 'a\|b' .* choose another separator \(--separator\)"):
        MultiLabelClassifier(TEMPLATE, words, "no-model").fit(TEXTS, labels)

    MultiLabelClassifier(TEMPLATE, words, bert, "none", separator=";", device="cpu").fit(TEXTS, labels)


def test_ensembles_students_and_joint_classifiers_keep_the_type(bert, make_ensemble, make_pet):
    pairs = [(TEMPLATE, NAMED), ("{{ mask }} : {{ text_a }}", NAMED)]
    ensemble = make_ensemble(pairs).fit(TEXTS, whole)
    assert ensemble.classes_.tolist() == [0, 1]
    assert ensemble.score(TEXTS, whole) == (ensemble.predict(TEXTS) == whole).mean()
    assert dict(ensemble.report(TEXTS, whole))["ensemble"] == ensemble.score(TEXTS, whole)

    truths = [(TEMPLATE, WORDS), ("{{ mask }} : {{ text_a }}", WORDS)]
    pet = make_pet(pvps=truths).fit([*TEXTS, "a film"], [*IS_GOOD, None])
    assert pet.classes_.tolist() == [False, True] and pet.predict(TEXTS).dtype == bool
    assert dict(pet.report(TEXTS, IS_GOOD))["student"] == (pet.predict(TEXTS) == np.array(IS_GOOD)).mean()

    joint = JointClassifier({"a": prompt(NUMBERED, None, tuning="lora"), "b": prompt(WORDS, None, tuning="lora")}, bert)
    joint.fit({"a": TEXTS, "b": TEXTS}, {"a": whole, "b": np.array(IS_GOOD)})
    answers = joint.predict(TEXTS[:2], ["a", "b"])
    assert json.loads(json.dumps(answers)) == answers
    assert [type(answer) for answer in answers] == [int, bool]


def test_rows_without_a_label_keep_their_numbers_in_messages():
    with pytest.raises(UnknownNameError, match="unknown label 'x' in row 3"):
        split_unlabeled(TEXTS[:3], ["positive", None, "x"], [*NAMED])
    with pytest.raises(DataError, match=r"row 3 has the label 1 \(int\), but row 2 has 'positive'"):
        split_unlabeled(TEXTS[:3], [-1, "positive", 1], [*NAMED])
