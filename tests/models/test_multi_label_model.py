from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.sparse import csr_matrix

from promptlab.core.errors import DataError, UnknownNameError
from promptlab.core.types import Example
from promptlab.data.labels import LabelType
from promptlab.data.multi_label import MultiLabeled, label_lists
from promptlab.training.dev_score import micro_f1

CLASSES = ["a", "b", "c"]
MATRIX = [[1, 0, 1], [0, 0, 0], [0, 1, 0]]
LISTS = [("a", "c"), (), ("b",)]


@pytest.mark.parametrize(
    "y",
    [
        LISTS,
        [["a", "c"], [], ["b"]],
        [{"a", "c"}, set(), {"b"}],
        pd.Series([["a", "c"], [], ["b"]]),
        np.array([["a", "c"], [], ["b"]], dtype=object),
        MATRIX,
        np.array(MATRIX),
        np.array(MATRIX, dtype=bool),
        np.array(MATRIX, dtype=float),
        torch.tensor(MATRIX),
        csr_matrix(MATRIX),
        pd.DataFrame(MATRIX, columns=CLASSES),
        pd.DataFrame(MATRIX, columns=CLASSES)[["c", "a", "b"]],  # columns go by their names
    ],
)
def test_labels_come_in_many_forms(y):
    assert label_lists(y, CLASSES)[0] == LISTS


def test_whole_numbers_are_labels_where_a_class_is_called_by_one():
    assert label_lists([[1, 0], [], [1]], ["0", "1"]) == ([("1", "0"), (), ("1",)], LabelType("int"))


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (["a", "b", "c"], r"row 1 of y is 'a', a single label; pass a list such as \['a'\]"),
        (np.array(["a", "b", "c"]), "row 1 of y is 'a', a single label"),
        (pd.Series([0, 1, 1]), "row 1 of y is 0, a single label"),
        ("a", "y is 'a'"),
        (3, "y is 3"),
        ({"a": 1}, "y is {'a': 1}"),
        ([["a"], ["b", "b"], []], "row 2 of y has the label 'b' twice"),
        ([["a"], None, []], "row 2 of y has None"),
        (np.ones((3, 2)), r"shape \(3, 2\), but there are 3 classes \(a, b, c\)"),
        ([[1, 0], [0, 1], [0, 0]], r"shape \(3, 2\)"),
        ([[1, 0, 1], [0, 1]], "different lengths"),
        (np.array([[0, 1, 2]]), "y holds 2"),
        (np.array([[0, 1, np.nan]]), "y holds nan"),
        (pd.DataFrame(MATRIX, columns=["a", "b", "x"]), "columns a, b, x, but the classes are a, b, c"),
    ],
)
def test_other_forms_are_refused(y, message):
    with pytest.raises(DataError, match=message):
        label_lists(y, CLASSES)


def test_targets_are_one_where_a_class_holds():
    data = MultiLabeled.read(["x", "y", "z"], LISTS, CLASSES)

    assert data.targets(CLASSES).tolist() == MATRIX
    assert data.targets(["c", "b", "a"]).tolist() == [row[::-1] for row in MATRIX]


def test_examples_may_carry_their_labels():
    examples = [Example({"text_a": "x"}, labels=labels) for labels in LISTS]

    assert MultiLabeled.read(examples, None, CLASSES).targets(CLASSES).tolist() == MATRIX


@pytest.mark.parametrize(
    ("X", "y", "error", "message"),
    [
        ([], [], DataError, "no examples"),
        (["x"], [["a"], ["b"]], DataError, "2 rows of labels for 1 texts"),
        (["x"], [["d"]], UnknownNameError, "unknown label 'd'"),
        (["x"], None, DataError, "row 1 has no list of labels"),
        ([Example({"text_a": "x"}, "a")], None, DataError, "row 1 has no list of labels"),
    ],
)
def test_data_that_does_not_fit_is_told(X, y, error, message):
    with pytest.raises(error, match=message):
        MultiLabeled.read(X, y, CLASSES)


def test_the_dev_score_is_micro_f1_at_its_best_threshold_and_the_mean_cross_entropy():
    log_probs = torch.tensor([[0.9, 0.2], [0.4, 0.3]]).log()

    score = micro_f1(log_probs, torch.tensor([[1.0, 0.0], [1.0, 0.0]]))

    assert score.accuracy == 1.0  # at 0.35
    assert score.loss == pytest.approx(-(math.log(0.9) + math.log(0.8) + math.log(0.4) + math.log(0.7)) / 4)
    assert score.n_examples == 2  # labels, of which there are two
    assert score.record() == {"dev_micro_f1": 1.0, "dev_loss": score.loss}
