"""Scores against counts by hand."""

from __future__ import annotations

import numpy as np
import pytest

from promptlab.core.errors import UnknownNameError
from promptlab.core.types import Example
from promptlab.estimators.table_scores import evaluate, evaluate_labels

NAMES = ("b", "a", "c")  # as numbers would be: not sorted as texts


class Said:
    """A classifier that has its answers."""

    class_names_ = NAMES

    def __init__(self, answers):
        self.answers = answers

    def ready(self):
        return self

    def iter_proba(self, examples):
        for _, answer in zip(examples, self.answers, strict=True):
            yield np.array([float(name in answer) for name in NAMES])

    def decide_names(self, row):
        return [name for name, p in zip(NAMES, row) if p > 0.5]


def test_scores_of_one_label_are_those_of_counts():
    truth = "aaaabbc"
    said = "aabcbab"

    scores = evaluate(Said(list(said)), [Example({"text_a": "x"}, label) for label in truth])

    assert scores["rows"] == 7
    assert scores["accuracy"] == pytest.approx(3 / 7)
    f1 = {}
    for name in NAMES:
        right = sum(one == other == name for one, other in zip(truth, said))
        precision, recall = right / said.count(name), right / truth.count(name)
        f1[name] = 2 * right / (said.count(name) + truth.count(name))
        expected = {"precision": precision, "recall": recall, "f1": f1[name], "support": truth.count(name)}
        assert scores["classes"][name] == pytest.approx(expected)
    assert list(scores["classes"]) == list(NAMES)
    assert scores["macro_f1"] == pytest.approx(sum(f1.values()) / 3)


def test_scores_of_several_labels_are_those_of_counts():
    truth = [("a",), ("a", "b"), (), ("c",), ("a", "c")]
    said = [("a", "b"), ("b",), (), ("c",), ("c",)]

    scores = evaluate_labels(Said(said), [Example({"text_a": "x"}, labels=labels) for labels in truth])

    # of 6 right and 5 said labels 4 are in both; a: 1 of 3 and 1, b: 1 of 1 and 2, c: 2 of 2 and 2
    assert scores["rows"] == 5
    assert scores["micro_f1"] == pytest.approx(2 * 4 / (6 + 5))
    assert scores["macro_f1"] == pytest.approx((2 / 4 + 2 / 3 + 1) / 3)
    assert scores["subset_accuracy"] == pytest.approx(2 / 5)
    assert scores["classes"]["a"] == pytest.approx({"precision": 1, "recall": 1 / 3, "f1": 0.5, "support": 3})
    assert scores["classes"]["b"] == pytest.approx({"precision": 0.5, "recall": 1, "f1": 2 / 3, "support": 1})


def test_a_label_that_is_no_class_is_told_with_its_row():
    rows = [Example({"text_a": "x"}, "a", labels=("a",)), Example({"text_a": "x"}, "d", labels=("d",))]

    for score in (evaluate, evaluate_labels):
        with pytest.raises(UnknownNameError, match=r"row 2.*'d'|'d'.*row 2"):
            score(Said(["a", "a"]), rows)
