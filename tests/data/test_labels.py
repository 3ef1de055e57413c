from __future__ import annotations

import json

import numpy as np
import pytest

from promptlab.data.labels import label_list
from promptlab.data.readers import as_examples, iter_examples, read_examples
from promptlab.errors import DataError
from promptlab.types import Example


@pytest.mark.parametrize(
    ("value", "separator", "expected"),
    [
        (["b", "a"], None, ("b", "a")),
        (("a",), None, ("a",)),
        ({"b", "a"}, None, ("a", "b")),
        (np.array(["a", "b"]), None, ("a", "b")),
        ([], None, ()),
        ([3, 1], None, ("3", "1")),
        (["a|b"], "|", ("a|b",)),
        ("a|b", "|", ("a", "b")),
        (" a | b ", "|", ("a", "b")),
        ("a", "|", ("a",)),
        ("", "|", ()),
        ("a, b", ", ", ("a", "b")),
    ],
)
def test_labels_come_as_lists_or_as_one_text_with_a_separator(value, separator, expected):
    assert label_list(value, "row 1", separator=separator) == expected


@pytest.mark.parametrize(
    ("value", "separator", "message"),
    [
        ("a|b", None, "row 7 has 'a|b' for its labels; give a list"),
        (None, "|", "row 7 has None"),
        (5, "|", "row 7 has 5"),
        ({"a": 1}, None, "give a list of labels"),
        (["a", "b", "a"], None, "row 7 has the label 'a' twice"),
        ("a|a", "|", "row 7 has the label 'a' twice"),
        ("a||b", "|", "row 7 has no label"),
        (["a", None], None, "row 7 has no label"),
        ([["a"]], None, "expected one class"),
        ("a", "", "separator is empty"),
    ],
)
def test_other_labels_are_refused_with_their_row(value, separator, message):
    with pytest.raises(DataError, match=message.replace("|", r"\|")):
        label_list(value, "row 7", separator=separator)


def test_tables_split_the_column_of_labels(tmp_path):
    path = tmp_path / "rows.tsv"
    path.write_text("text_a\ttopics\none\ta;b\ntwo\t\nthree\tb\n", encoding="utf-8")

    rows = read_examples(path, label="topics", separator=";")

    assert [row.labels for row in rows] == [("a", "b"), (), ("b",)]
    assert [row.label for row in rows] == [None] * 3
    assert [dict(row.fields) for row in rows] == [{"text_a": text} for text in ("one", "two", "three")]


def test_json_lines_hold_lists_or_texts(tmp_path):
    path = tmp_path / "rows.jsonl"
    values = [["a", "b"], [], "a|c", ""]
    path.write_text("".join(json.dumps({"text_a": "x", "label": v}) + "\n" for v in values), encoding="utf-8")

    assert [row.labels for row in iter_examples(path, separator="|")] == [("a", "b"), (), ("a", "c"), ()]


def test_a_list_is_no_label_where_each_row_has_one(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"text_a": "x", "label": ["a"]}\n', encoding="utf-8")

    with pytest.raises(DataError, match="expected one class"):
        read_examples(path)


def test_examples_keep_their_labels():
    (example,) = as_examples([Example({"text_a": "x"}, labels=("a", "b"))])

    assert example.labels == ("a", "b")
