from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.metrics import f1_score
from sklearn.model_selection import GridSearchCV, cross_val_score

from promptlab import (
    ContextualCalibration,
    InContextTemplate,
    LinearVerbalizer,
    ManualVerbalizer,
    MultiLabelClassifier,
    MultiTokenVerbalizer,
    PrototypicalVerbalizer,
    SoftVerbalizer,
    WeightedVerbalizer,
    explain,
)
from promptlab.core.errors import DataError, PromptlabError, SavedModelError
from promptlab.core.types import Example
from promptlab.estimators.saving import load_any
from promptlab.templates.plain import InputTemplate

TEXTS = ["great film", "sports news", "great sports", "a dull story", "the opera", "dull sports", "great opera", "bad"]
LABELS = [["good"], ["sport"], ["good", "sport"], [], ["music"], ["sport"], ["good", "music"], []]
WORDS = {"sport": ["sports", "World"], "good": ["good", "great"], "music": ["opera", "Carmen"]}
MATRIX = np.array([[int(name in row) for name in ("good", "music", "sport")] for row in LABELS])
TEMPLATE = "{{ text_a }} . it was {{ mask }}"
VERBALIZERS = {
    "manual": WORDS,
    "weighted": WeightedVerbalizer(WORDS),
    "soft": SoftVerbalizer(WORDS),
    "sum-prob": ManualVerbalizer(WORDS, "sum-prob"),
    "strings": MultiTokenVerbalizer({"sport": "sports news", "good": "good", "music": "the opera"}),
}


@pytest.fixture
def make(bert):
    def make(verbalizer=WORDS, tuning="full", template=TEMPLATE, **changes):
        settings = {"max_steps": 3, "learning_rate": 1e-3, "device": "cpu", **changes}
        if tuning == "none":
            settings |= {"max_steps": None, "learning_rate": None}
        return MultiLabelClassifier(template, verbalizer, bert, tuning, **settings)

    return make


@pytest.mark.parametrize("kind", VERBALIZERS)
def test_training_fits_the_training_set_with_every_verbalizer(make, kind):
    fitted = make(VERBALIZERS[kind], max_steps=60, learning_rate=5e-3).fit(TEXTS, LABELS, eval_set=(TEXTS, LABELS))

    assert fitted.predict(TEXTS).tolist() == MATRIX.tolist()
    assert fitted.predict_labels(TEXTS) == [tuple(sorted(row)) for row in LABELS]
    assert fitted.score(TEXTS, LABELS) == 1.0
    assert fitted.history_[-1]["dev_micro_f1"] == 1.0


@pytest.mark.parametrize("kind", ["weighted", "soft", "manual"])
def test_a_frozen_model_learns_its_head_from_answers_that_are_computed_once(make, kind):
    fitted = make(VERBALIZERS[kind], "frozen", max_steps=10, learning_rate=0.1).fit(
        TEXTS, LABELS, eval_set=(TEXTS, LABELS)
    )

    names = {name for name, _ in fitted.model_.trained_parameters()}
    assert names and all(name.startswith("head.") for name in names) and "head.bias" in names
    probabilities, truth = fitted.predict_proba(TEXTS), MATRIX.astype(float)
    loss = -np.mean(truth * np.log(probabilities) + (1 - truth) * np.log(1 - probabilities))
    assert fitted.history_[-1]["dev_loss"] == pytest.approx(loss, abs=1e-5)


def test_a_linear_head_without_label_words_is_a_baseline(make):
    names = ("good", "music", "sport")
    fitted = make(LinearVerbalizer(names), "frozen", template=InputTemplate(), max_steps=200, learning_rate=0.05)

    fitted.fit(TEXTS, LABELS, eval_set=(TEXTS, LABELS))

    assert f1_score(MATRIX, fitted.predict(TEXTS), average="micro") > 0.9


def test_a_class_is_as_likely_as_the_sigmoid_of_its_own_words_mean_logit_with_the_bias(make, bert):
    fitted = make(tuning="none").fit(TEXTS, LABELS)
    batch = bert.collate(fitted.model_.encode([Example({"text_a": TEXTS[0]})]))
    with torch.no_grad():
        logits = bert.mask_states(batch).logits()[0, 0]
    bias = dict(zip(WORDS, fitted.model_.head.bias.tolist()))

    (probabilities,) = fitted.predict_proba(TEXTS[:1])

    for name, probability in zip(fitted.classes_, probabilities):
        mean = np.mean([logits[bert.token_ids(word)[0]].item() for word in WORDS[name]])
        assert probability == pytest.approx(1 / (1 + np.exp(-mean - bias[name])), abs=1e-6)


def test_untrained_log_odds_are_on_average_those_of_the_classes_shares(make):
    fitted = make(tuning="none").fit(TEXTS, LABELS)

    probabilities = fitted.predict_proba(TEXTS).astype(float)
    shares = (MATRIX.sum(axis=0) + 0.5) / 9
    np.testing.assert_allclose(
        np.log(probabilities / (1 - probabilities)).mean(axis=0), np.log(shares / (1 - shares)), atol=1e-4
    )


@pytest.mark.parametrize(
    "y", [MATRIX, pd.DataFrame(MATRIX, columns=["good", "music", "sport"])[["sport", "good", "music"]], None]
)
def test_a_matrix_or_labels_of_the_examples_train_what_lists_do(make, y):
    X = TEXTS if y is not None else [Example({"text_a": t}, labels=tuple(row)) for t, row in zip(TEXTS, LABELS)]
    expected = make().fit(TEXTS, LABELS, eval_set=(TEXTS, LABELS))

    fitted = make().fit(X, y, eval_set=(X, y))

    assert np.array_equal(fitted.predict_proba(TEXTS), expected.predict_proba(TEXTS))
    assert np.array_equal(fitted.thresholds_, expected.thresholds_)
    assert fitted.score(X, y) == expected.score(TEXTS, LABELS)


def test_the_matrix_says_where_a_probability_reaches_the_threshold_of_its_class(make):
    fitted = make(threshold="per-class").fit(TEXTS, LABELS, eval_set=(TEXTS, LABELS))
    probabilities = fitted.predict_proba(TEXTS)

    predicted = fitted.predict(TEXTS)

    assert predicted.dtype.kind == "i"
    assert predicted.tolist() == [[int(p >= t) for p, t in zip(row, fitted.thresholds_)] for row in probabilities]
    assert len(set(fitted.thresholds_)) == 3
    fitted.thresholds_ = fitted.predict_proba(TEXTS[:1])[0].astype(float)  # which are reached exactly
    assert fitted.predict(TEXTS[:1]).tolist() == [[1, 1, 1]]
    assert fitted.predict_labels(TEXTS[:1]) == [("good", "music", "sport")]


def test_thresholds_are_chosen_on_dev_and_are_a_half_without(make):
    dev = (TEXTS[:4], LABELS[:4])
    one, each, none = (
        make(threshold=threshold).fit(TEXTS, LABELS, eval_set=eval_set)
        for threshold, eval_set in (("global", dev), ("per-class", dev), ("per-class", None))
    )

    truth = MATRIX[:4]
    for fitted, average in ((one, "micro"), (each, "macro")):
        probabilities = fitted.predict_proba(TEXTS[:4])
        best = f1_score(truth, fitted.predict(TEXTS[:4]), average=average, zero_division=0)
        for threshold in np.linspace(0.01, 0.99, 50):
            said = (probabilities >= threshold).astype(int)
            assert f1_score(truth, said, average=average, zero_division=0) <= best + 1e-12
    assert len(set(one.thresholds_)) == 1 and each.thresholds_[1] == 0.5  # music holds for none of the four
    assert none.thresholds_.tolist() == [0.5] * 3
    for eval_set in (dev, None):
        assert make(threshold=0.3).fit(TEXTS, LABELS, eval_set=eval_set).thresholds_.tolist() == [0.3] * 3


@pytest.mark.parametrize(
    ("kind", "tuning"), [("manual", "full"), ("weighted", "frozen"), ("soft", "prompt-tuning"), ("manual", "none")]
)
def test_a_loaded_classifier_is_the_saved_one(base, tmp_path, kind, tuning):
    settings = {} if tuning == "none" else {"max_steps": 3}
    classifier = MultiLabelClassifier(TEMPLATE, VERBALIZERS[kind], base, tuning, "per-class", device="cpu", **settings)
    classifier.fit(TEXTS, LABELS, eval_set=(TEXTS, LABELS)).save_pretrained(tmp_path / "out")

    for load in (MultiLabelClassifier.from_pretrained, load_any):
        loaded = load(tmp_path / "out", device="cpu")
        assert np.array_equal(loaded.predict_proba(TEXTS), classifier.predict_proba(TEXTS))
        assert np.array_equal(loaded.thresholds_, classifier.thresholds_)
        assert loaded.predict_labels(TEXTS) == classifier.predict_labels(TEXTS)
        assert loaded.threshold == "per-class"
    assert loaded.fit(TEXTS, LABELS).predict(TEXTS).shape == MATRIX.shape


@pytest.mark.parametrize("thresholds", [[0.5], "0.5", [0.5, None, 0.5], None])
def test_damaged_thresholds_are_told(base, tmp_path, thresholds):
    classifier = MultiLabelClassifier(TEMPLATE, WORDS, base, "none", device="cpu").fit(TEXTS, LABELS)
    classifier.save_pretrained(tmp_path / "out")
    path = tmp_path / "out" / "promptlab.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "thresholds": thresholds}))

    with pytest.raises(SavedModelError, match="thresholds"):
        load_any(tmp_path / "out")


def test_it_is_cloned_with_its_parameters_and_fits_the_same_again(make):
    classifier = make(threshold="per-class")
    before = classifier.get_params()

    first = classifier.fit(TEXTS, LABELS, eval_set=(TEXTS, LABELS))
    second = clone(classifier).fit(TEXTS, LABELS, eval_set=(TEXTS, LABELS))

    assert classifier.get_params() == before and second.threshold == "per-class"
    assert np.array_equal(first.predict_proba(TEXTS), second.predict_proba(TEXTS))
    assert np.array_equal(first.thresholds_, second.thresholds_)


def test_it_works_in_scikit_learns_cross_validation_and_search(make):
    classifier = make(tuning="none")

    folds = [([0, 1, 2, 3, 4], [5, 6, 7]), ([2, 3, 5, 6, 7], [0, 1, 4])]
    assert cross_val_score(classifier, TEXTS, MATRIX, cv=folds, scoring="f1_micro").shape == (2,)
    grid = GridSearchCV(classifier, {"threshold": [0.2, 0.5]}, cv=folds, scoring="f1_macro").fit(TEXTS, MATRIX)
    assert grid.predict(TEXTS).shape == MATRIX.shape
    assert classifier.__sklearn_tags__().classifier_tags.multi_label


def test_the_score_is_the_share_of_texts_whose_labels_are_all_right(make):
    fitted = make(tuning="none").fit(TEXTS, LABELS)
    right = (fitted.predict(TEXTS) == MATRIX).all(axis=1)

    assert fitted.score(TEXTS, LABELS) == fitted.score(TEXTS, MATRIX) == right.mean()
    weights = np.arange(1, 9)
    assert fitted.score(TEXTS, LABELS, weights) == pytest.approx((right * weights).sum() / weights.sum())


def test_whole_numbers_as_classes_come_back_as_such_in_their_order(make):
    words = {10: ["sports"], 9: ["good"], 2: ["opera"]}
    numbers = {"sport": 10, "good": 9, "music": 2}

    fitted = make(words, tuning="none").fit(TEXTS, [[numbers[name] for name in row] for row in LABELS])

    assert fitted.classes_.tolist() == [2, 9, 10]
    by_matrix = make(words, tuning="none").fit(TEXTS, MATRIX[:, [1, 0, 2]])
    assert np.array_equal(by_matrix.predict_proba(TEXTS), fitted.predict_proba(TEXTS))


def test_no_texts_give_no_predictions(make):
    fitted = make(tuning="none").fit(TEXTS, LABELS)

    assert fitted.predict([]).shape == (0, 3) and fitted.predict_labels([]) == []


def test_a_class_that_never_holds_is_warned_of_and_becomes_unlikely(make):
    labels = [[name for name in row if name != "music"] for row in LABELS]

    with pytest.warns(UserWarning, match=r"1 of 3 classes hold for none of 8 training texts \(music\)"):
        fitted = make(tuning="none").fit(TEXTS, labels)

    assert fitted.predict_proba(TEXTS).mean(axis=0).argmin() == 1


def test_which_words_drive_a_decision_can_be_told(make):
    fitted = make(VERBALIZERS["weighted"]).fit(TEXTS, LABELS)

    (report,) = explain(fitted, TEXTS[:1])

    expected = dict(zip(fitted.classes_.tolist(), fitted.predict_proba(TEXTS[:1])[0]))
    assert {row["class"]: row["probability"] for row in report} == pytest.approx(expected)
    assert {part["word"] for row in report for part in row["words"]} == {w for row in WORDS.values() for w in row}


def test_it_predicts_only_when_fitted(make):
    for predict in (make().predict, make().predict_labels, make().score):
        with pytest.raises(NotFittedError):
            predict(TEXTS)


@pytest.mark.parametrize(
    ("changes", "y", "message"),
    [
        ({}, ["good"] * 8, "single label"),
        ({}, [["good", "musik"], *LABELS[1:]], "unknown label 'musik' in row 1; did you mean 'music'"),
        ({}, [["good", "good"], *LABELS[1:]], "row 1 of y has the label 'good' twice"),
        ({}, [[]] * 8, "none of 8 training texts has a label"),
        ({}, MATRIX * 0, "none of 8 training texts has a label"),
        ({}, MATRIX[:, :2], "shape"),
        ({}, LABELS[:-1], "7 rows of labels for 8 texts"),
        ({}, None, "row 1 has no list of labels"),
        ({"threshold": 2}, LABELS, "threshold=2 must be between 0 and 1"),
        ({"verbalizer": ContextualCalibration(ManualVerbalizer(WORDS))}, LABELS, "ContextualCalibration compares"),
        ({"verbalizer": PrototypicalVerbalizer(names=tuple(WORDS))}, LABELS, "PrototypicalVerbalizer compares"),
        ({"template": InContextTemplate(TEMPLATE, k=1)}, LABELS, "InContextTemplate shows answered examples"),
        ({"patience": 1}, LABELS, "pass eval_set"),
    ],
)
def test_input_that_does_not_fit_is_one_clear_line(make, changes, y, message):
    with pytest.raises(PromptlabError, match=message) as told:
        make().set_params(**changes).fit(TEXTS, y)

    assert "\n" not in str(told.value)


def test_dev_labels_are_checked_before_training(make):
    with pytest.raises(DataError, match="row 2 of y is 'b'"):
        make().fit(TEXTS, LABELS, eval_set=(TEXTS[:2], [["good"], "b"]))


@pytest.mark.minilm
def test_minilm_learns_topics_of_which_several_hold():
    topics = {
        "sports": [
            "the striker scored two late goals",
            "the champion won the final set",
            "a coach and his basketball team",
        ],
        "business": [
            "shares fell after the bank's profit warning",
            "the company raised its dividend",
            "oil prices hit the market",
        ],
        "science": [
            "astronomers found a distant planet",
            "a new chip doubles computing speed",
            "researchers map the genome",
        ],
    }
    names = sorted(topics)
    pairs = [(a, b) for a in names for b in names if a < b]
    X, y = [], []
    for i in range(3):
        X += [topics[name][i] for name in names] + [f"{topics[a][i]} . {topics[b][(i + 1) % 3]}" for a, b in pairs]
        y += [[name] for name in names] + [list(pair) for pair in pairs]
    parts = ("{{ mask }} news : {{ text_a }}", {name: [name] for name in names}, "minilm")
    untrained = MultiLabelClassifier(*parts, "none", device="cpu").fit(X, y, eval_set=(X, y))
    classifier = MultiLabelClassifier(*parts, max_steps=15, device="cpu").fit(X, y, eval_set=(X, y))

    test = ["the goalkeeper saved a penalty", "investors sold bank shares", "the telescope saw a star being born"]
    both = [f"{test[0]} . {test[1]}", f"{test[2]} . {test[1]}"]
    truth = np.array([[0, 0, 1], [1, 0, 0], [0, 1, 0], [1, 0, 1], [1, 1, 0]])
    assert f1_score(truth, classifier.predict(test + both), average="micro") >= 0.9
    assert classifier.history_[-1]["dev_loss"] < untrained.history_[0]["dev_loss"] / 2
