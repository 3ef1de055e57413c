from __future__ import annotations

from collections import Counter

import pytest

from promptlab import Example
from promptlab.core.errors import DataError, SearchError
from promptlab.search.templates import splitting
from promptlab.search.templates.task import SearchTask

WORDS = {"p": ("good",), "n": ("bad",)}


def rows(*texts, **more):
    """Examples whose label is the first letter of their text."""
    return [Example({"text_a": text, **more}, text[0]) for text in texts]


def given(train, dev=(), seed=3):
    return SearchTask(train, dev, WORDS, None, seed)


def split(task, **settings):
    return splitting.split(task, fields_used=settings.pop("fields_used", ["text_a"]), **settings)


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


def test_of_a_large_dev_set_rows_are_drawn_by_seed_in_proportion_to_the_classes():
    """576 and 64 rows become 58 and 6: 57.6 and 6.4 of 64."""
    dev = rows(*(f"p{i}" for i in range(576)), *(f"n{i}_" for i in range(64)))

    def drawn(seed):
        task, left_out = split(given(rows("p1_", "n1"), dev, seed), dev=64, of_each_class=1)
        assert left_out == {"dev_left_out": 0, "dev_unused": 576, "train_unused": 0}
        return texts(task.dev)

    assert Counter(text[0] for text in drawn(3)) == {"p": 58, "n": 6}
    assert drawn(3) == drawn(3) != drawn(4)
    assert drawn(3) == [text for text in texts(dev) if text in drawn(3)]  # in their order


def test_of_a_large_training_set_rows_are_drawn_in_proportion_but_enough_of_each_class():
    train = rows(*(f"p{i}" for i in range(300)), *(f"n{i}" for i in range(3)))

    task, left_out = split(given(train, rows("p999", "n999")), train=20, of_each_class=2)

    assert Counter(text[0] for text in texts(task.train)) == {"p": 18, "n": 2}
    assert left_out["train_unused"] == 283


@pytest.mark.parametrize(
    ("counts", "n", "at_least", "expected"),
    [
        ({"a": 50, "b": 30, "c": 20}, 10, 0, {"a": 5, "b": 3, "c": 2}),
        ({"a": 576, "b": 64}, 64, 0, {"a": 58, "b": 6}),
        ({"a": 1, "b": 1, "c": 1}, 2, 0, {"a": 1, "b": 1, "c": 0}),
        ({"a": 9000, "b": 1, "c": 1}, 10, 1, {"a": 8, "b": 1, "c": 1}),
        ({"a": 9000, "b": 1, "c": 1}, 10, 0, {"a": 10, "b": 0, "c": 0}),
        ({"a": 9, "b": 9, "c": 9}, 2, 1, {"a": 1, "b": 1, "c": 0}),  # there isn't room for one of each
        ({"a": 97, "b": 97, "c": 2}, 30, 2, {"a": 14, "b": 14, "c": 2}),
    ],
)
def test_shares_are_those_of_the_largest_remainder(counts, n, at_least, expected):
    assert splitting.proportional(counts, n, at_least=at_least) == expected


def test_rows_that_differ_in_a_field_that_is_read_are_no_copies():
    train, dev = rows("p1", "n1", title="one"), rows("p1", "n1", title="other")

    assert split(given(train, dev), fields_used=["title", "text_a"])[0].dev == dev
    with pytest.raises(DataError, match="all 2 dev examples are training examples"):
        split(given(train, dev))


def test_a_copy_is_told_by_its_texts_whatever_label_and_other_columns_it_has():
    """A row that the model saw with another label is no new text either: it would be scored by what it was taught."""
    dev = [*rows("p1", "p2", id="7"), Example({"text_a": "n1", "id": "8"}, "p"), Example({"text_a": " n1"}, "n")]

    task, left_out = split(given(rows("p1", "n1", id="1"), dev), dev=None, of_each_class=1)

    assert [(example.fields["text_a"], example.label) for example in task.dev] == [("p2", "p")]
    assert left_out == {"dev_left_out": 3, "dev_unused": 0, "train_unused": 0}


def test_texts_of_two_fields_are_one_row_only_if_both_are_the_same():
    pair = [Example({"text_a": "a", "text_b": "b"}, "p"), Example({"text_a": "c", "text_b": "d"}, "n")]
    dev = [Example({"text_a": "a", "text_b": "d"}, "p"), Example({"text_a": "c", "text_b": "d"}, "p")]

    task, _ = split(given(pair, dev), fields_used=["text_a", "text_b"])

    assert task.dev == dev[:1]


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
