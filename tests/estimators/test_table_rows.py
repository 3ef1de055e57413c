"""Predictions as rows of a table."""

from __future__ import annotations

import numpy as np
import pytest

from promptlab import HeadClassifier, MultiLabelClassifier, PromptGenerator, PVPEnsemble, TokenClassifier
from promptlab.core.errors import UnsupportedError
from promptlab.core.types import Example
from promptlab.estimators.table_rows import label_rows, label_set_rows, text_rows

ROWS = [Example({"text_a": text}) for text in ("x", "y", "z")]


class Scorer:
    """A classifier that has its probabilities."""

    class_names_ = ("b", "a")

    def __init__(self, *rows):
        self.rows = rows

    def ready(self):
        return self

    def iter_proba(self, examples):
        for _, row in zip(examples, self.rows):
            yield np.array(row)

    def decide_names(self, probabilities):
        return [name for name, p in zip(self.class_names_, probabilities) if p >= 0.5]


def test_a_row_has_the_likeliest_class_and_its_probability_and_may_have_all():
    scorer = Scorer((0.25, 0.75), (0.1234567, 0.8765433))

    assert list(label_rows(scorer, ROWS[:1])) == [{"row": 1, "label": "a", "probability": 0.75}]
    assert list(label_rows(scorer, ROWS[:2], proba=True))[1] == {
        "row": 2, "label": "a", "probability": 0.876543, "p(b)": 0.123457, "p(a)": 0.876543,
    }  # fmt: skip


def test_several_labels_are_a_list_or_one_text():
    scorer = Scorer((0.5, 0.75), (0.1, 0.2))

    assert [row["labels"] for row in label_set_rows(scorer, ROWS[:2])] == [["b", "a"], []]
    assert [row["labels"] for row in label_set_rows(scorer, ROWS[:2], separator=" | ")] == ["b | a", ""]
    assert next(label_set_rows(scorer, ROWS[:1], proba=True)) == {
        "row": 1, "labels": ["b", "a"], "p(b)": 0.5, "p(a)": 0.75,
    }  # fmt: skip


def test_texts_are_written_some_at_a_time_in_order():
    class Writer:
        asked = []

        def generate(self, examples):
            self.asked.append(len(examples))
            return [example.fields["text_a"].upper() for example in examples]

    rows = text_rows(Writer(), (Example({"text_a": f"t{i}"}) for i in range(70)))

    assert next(rows) == {"row": 1, "text": "T0"} and Writer.asked == [32]
    assert list(rows)[-1] == {"row": 70, "text": "T69"} and Writer.asked == [32, 32, 6]


def test_rows_come_as_the_examples_do():
    taken = []

    def source():
        for row in ROWS:
            taken.append(row)
            yield row

    rows = label_rows(Scorer(*[(0.5, 0.5)] * 3), source())

    next(rows)
    assert len(taken) == 1


def test_what_an_estimator_cannot_do_is_told_before_any_row():
    with pytest.raises(UnsupportedError, match="have no probabilities of classes"):
        PromptGenerator().table_rows(ROWS, proba=True)
    with pytest.raises(UnsupportedError, match="a TokenClassifier doesn't predict rows of a table"):
        TokenClassifier().table_rows(ROWS)
    with pytest.raises(UnsupportedError, match="a PromptGenerator isn't scored on rows"):
        PromptGenerator().check_scored()


def test_an_estimator_says_what_its_rows_are_and_how_they_are_scored():
    assert [one.check_scored().main for one in (HeadClassifier(), PVPEnsemble(), MultiLabelClassifier())] == [
        "accuracy", "accuracy", "micro_f1",
    ]  # fmt: skip
    assert MultiLabelClassifier(separator=";").label_separator == ";"
    assert HeadClassifier().label_separator is PVPEnsemble().label_separator is None
