from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from promptlab.core.errors import DataError
from promptlab.core.types import Example
from promptlab.data.labeled import split_unlabeled

TEXTS = ["the film was great", "a good story", "a dull mess", "the acting was bad"]


def texts(examples):
    return [example.fields["text_a"] for example in examples]


@pytest.mark.parametrize(
    "labels",
    [
        ["a", None, "b", None],
        np.array(["a", None, "b", None], dtype=object),
        pd.Series(["a", None, "b", None]),
        pd.Series(["a", None, "b", None], dtype="string"),
        ["a", float("nan"), "b", -1],
        np.array(["a", "-1", "b", "-1"]),
    ],
)
def test_rows_whose_label_is_missing_or_minus_one_are_unlabeled(labels):
    training, rest = split_unlabeled(TEXTS, labels, ["a", "b"])

    assert texts(training.examples) == [TEXTS[0], TEXTS[2]]
    assert training.labels == ["a", "b"]
    assert texts(rest) == [TEXTS[1], TEXTS[3]]


def test_whole_numbers_stay_such_and_minus_one_is_a_label_where_a_class_is_called_so():
    training, rest = split_unlabeled(TEXTS, np.array([0, -1, 1, -1]), ["0", "1"])
    assert training.label_type.kind == "int" and training.labels == ["0", "1"] and len(rest) == 2

    training, rest = split_unlabeled(TEXTS, [1, -1, 1, -1], ["-1", "1"])
    assert training.labels == ["1", "-1", "1", "-1"] and rest == []


@pytest.mark.parametrize("labels", [pd.Series([1, None, 0, None]), pd.Series([1, None, 0, None], dtype="Int64")])
def test_whole_numbers_with_gaps_stay_whole_numbers(labels):
    training, rest = split_unlabeled(TEXTS, labels, ["0", "1"])

    assert training.label_type.kind == "int" and training.labels == ["1", "0"] and len(rest) == 2


def test_labels_that_are_no_list_are_told():
    with pytest.raises(DataError, match="y is 3; pass a list of labels"):
        split_unlabeled(TEXTS, 3, ["0", "1"])


def test_examples_carry_their_labels_or_none():
    examples = [Example({"text_a": "x"}, "a"), Example({"text_a": "y"})]

    training, rest = split_unlabeled(examples, None, ["a"])

    assert (texts(training.examples), texts(rest)) == (["x"], ["y"])
    assert split_unlabeled(TEXTS, [None] * 4, ["a"])[0] is None
    assert split_unlabeled(None, None, ["a"]) == (None, [])
    with pytest.raises(DataError, match="3 labels for 4 rows"):
        split_unlabeled(TEXTS, ["a"] * 3, ["a"])


def test_labels_that_were_forgotten_and_texts_that_were_are_told():
    with pytest.raises(DataError, match="none of the 4 texts of X has a label; pass y"):
        split_unlabeled(TEXTS, None, ["a"])
    with pytest.raises(DataError, match="labels y, but no texts; pass X"):
        split_unlabeled(None, ["a"], ["a"])
    minus_ones = [Example({"text_a": text}, "-1") for text in TEXTS]
    assert split_unlabeled(minus_ones, None, ["a"])[1] == minus_ones
