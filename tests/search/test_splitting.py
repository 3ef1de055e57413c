from __future__ import annotations

import pytest

from promptlab import Example
from promptlab.errors import DataError, SearchError
from promptlab.search import splitting
from promptlab.search.task import SearchTask

WORDS = {"p": ("good",), "n": ("bad",)}


def rows(*texts, **more):
    """Examples whose label is the first letter of their text."""
    return [Example({"text_a": text, **more}, text[0]) for text in texts]


def given(train, dev=(), seed=3):
    return SearchTask(train, dev, WORDS, None, seed)


def split(task, **settings):
    return splitting.split(task, reads=settings.pop("reads", ["text_a"]), **settings)


def texts(examples):
    return [example.fields["text_a"] for example in examples]


def test_without_dev_half_of_each_class_is_kept_for_it():
    task, left_out = split(given(rows("p1", "p2", "p3", "p4", "n1", "n2")), dev=None, of_each_class=1)

    assert sorted(text[0] for text in texts(task.train)) == ["n", "p", "p"]
    assert sorted(text[0] for text in texts(task.dev)) == ["n", "p", "p"]
    assert sorted(texts([*task.train, *task.dev])) == ["n1", "n2", "p1", "p2", "p3", "p4"]
    assert left_out == {"dev_left_out": 0, "dev_unused": 0, "train_unused": 0}


def test_a_dev_set_stays_in_its_order():
    dev = rows("n9", "p9", "p8")

    assert split(given(rows("p1", "n1"), dev), dev=3, of_each_class=1)[0].dev == dev


def test_of_a_large_dev_set_some_of_each_class_are_drawn_by_seed():
    dev = rows(*(f"p{i}" for i in range(50)), "n8", "n9")

    def drawn(seed):
        task, left_out = split(given(rows("p1_", "n1"), dev, seed), dev=6, of_each_class=1)
        assert left_out == {"dev_left_out": 0, "dev_unused": 46, "train_unused": 0}
        return texts(task.dev)

    assert sorted(text[0] for text in drawn(3)) == ["n", "n", "p", "p", "p", "p"]
    assert drawn(3) == drawn(3) != drawn(4)


def test_of_a_large_training_set_some_of_each_class_are_drawn():
    train = rows(*(f"p{i}" for i in range(50)), "n1", "n2")

    task, left_out = split(given(train, rows("p99", "n99")), train=4)

    assert sorted(text[0] for text in texts(task.train)) == ["n", "n", "p", "p"]
    assert left_out["train_unused"] == 48


def test_rows_that_differ_in_a_field_that_is_read_are_no_copies():
    train, dev = rows("p1", "n1", title="one"), rows("p1", "n1", title="other")

    assert split(given(train, dev), reads=["title", "text_a"])[0].dev == dev
    with pytest.raises(DataError, match="all 2 dev examples are training examples"):
        split(given(train, dev))


def test_a_copy_is_told_by_its_texts_and_label_whatever_else_a_row_has():
    dev = [*rows("p1", "p2", id="7"), Example({"text_a": "n1", "id": "8"}, "p")]

    task, left_out = split(given(rows("p1", "n1", id="1"), dev), dev=None, of_each_class=1)

    assert [(example.fields["text_a"], example.label) for example in task.dev] == [("p2", "p"), ("n1", "p")]
    assert left_out == {"dev_left_out": 1, "dev_unused": 0, "train_unused": 0}


@pytest.mark.parametrize(
    ("task", "error", "message"),
    [
        (given([*rows("p1", "n1", "p2"), Example({"text_a": None}, "n")]), SearchError, "row 4 of train has no text"),
        (given([*rows("p1", "n1", "p2"), Example({"text_a": "x"}, "x")]), SearchError, "row 4 of train is 'x'"),
        (given(rows("p1", "n1"), [*rows("p2"), Example({}, "n")]), SearchError, "row 2 of dev has no text 'text_a'"),
        (given(rows("p1", "p2", "n1")), DataError, "no dev set was given, and none can be made: class 'n' has 1 row"),
        (given(rows("p1", "p2"), rows("n1")), DataError, "class 'n' has 0 training examples, but the search needs 1"),
        (given(rows("p1", "n1"), rows("n1")), DataError, "all 1 dev examples are training examples, too"),
    ],
)
def test_rows_that_cannot_be_used_are_told_by_their_number_in_what_was_given(task, error, message):
    with pytest.raises(error, match=message):
        split(task, dev=None, of_each_class=1)
