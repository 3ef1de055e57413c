from __future__ import annotations

import decimal
import enum
import json

import numpy as np
import pytest

from promptlab.core.errors import DataError
from promptlab.core.types import Example
from promptlab.data.labels import LabelType, check_separator, label_list, plain_label, plain_labels
from promptlab.data.readers import as_examples, iter_examples, read_examples


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


@pytest.mark.parametrize(
    ("labels", "classes", "numbered", "kind", "names"),
    [
        (["b", "a"], (), (), "str", ["b", "a"]),
        ([10, 2], (), (), "int", ["10", "2"]),
        ([True, False], (), (), "bool", ["True", "False"]),
        ([True, False], ("true", "false"), (), "bool", ["true", "false"]),
        ([True, False], ("0", "1"), (), "bool", ["1", "0"]),
        ([1, 0], ("0", "1"), (), "int", ["1", "0"]),
        ([0, 2], ("a", "b", "c"), (), "encoded", ["a", "c"]),
        ([0, 3], ("a", "b", "c"), (), "int", ["0", "3"]),  # 3 is no position, so that 0 isn't taken for one
        ([-1, 0], ("a", "b"), (), "int", ["-1", "0"]),
        ([0, 1], ("1", "2"), (), "int", ["0", "1"]),  # 1 is the name of a class
        ([0, 1], ("negative", "positive"), ("positive", "negative"), "encoded", ["positive", "negative"]),
        ([0, 1], ("0", "1"), ("no", "yes"), "int", ["0", "1"]),
        ([1, 0], (), ("no", "yes"), "encoded", ["yes", "no"]),
    ],
)
def test_labels_mean_classes_by_their_type(labels, classes, numbered, kind, names):
    label_type = LabelType.of(labels, classes, numbered)

    assert label_type.kind == kind
    assert [label_type.name(label) for label in labels] == names


@pytest.mark.parametrize(
    ("label_type", "names", "values"),
    [
        (LabelType(), ["b", "10", "9"], ["10", "9", "b"]),
        (LabelType("int"), ["10", "9", "-1"], [-1, 9, 10]),
        (LabelType("bool", ("False", "True")), ["True", "False"], [False, True]),
        (LabelType("bool", ("0", "1")), ["1", "0"], [False, True]),
        (LabelType("encoded", ("z", "a", "m")), ["a", "z"], [0, 1]),
    ],
)
def test_classes_are_sorted_by_labels_and_come_back_from_disk(label_type, names, values):
    in_order = label_type.sorted(names)

    assert [label_type.value(name) for name in in_order] == values
    assert [label_type.name(value) for value in values] == list(in_order)
    assert LabelType.from_saved(json.loads(json.dumps(label_type.saved()))) == label_type


class Shade(str, enum.Enum):  # noqa: UP042
    RED = "red"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (np.str_("a"), "a"),
        (Shade.RED, "red"),
        (np.int8(3), 3),
        (np.float16(2), 2),
        (-0.0, 0),
        (np.bool_(True), True),
        (np.array(4), 4),
    ],
)
def test_scalars_of_other_libraries_are_pythons_own(value, expected):
    label = plain_label(value, "row 1")

    assert label == expected and type(label) is type(expected)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (["a", 0], r"row 2 has the label 0 \(int\), but row 1 has 'a' \(str\); give labels of one type"),
        ([True, 1], r"row 2 has the label 1 \(int\), but row 1 has True \(bool\)"),
        ([0, 0.5], "row 2 has the label 0.5, of type float; classes are texts, whole numbers or True and False"),
        ([0, float("inf")], "row 2 has the label inf, of type float"),
        ([decimal.Decimal(1)], r"row 1 has the label Decimal\('1'\), of type Decimal; .* turn all labels into texts"),
        ([np.datetime64("2020-01-01")], "of type datetime64"),
        ([1, np.float32("nan")], "row 2 has no label"),
        ([np.array([1])], "row 1 has the label .* pass a single column"),
    ],
)
def test_labels_of_other_and_of_several_types_are_refused(labels, message):
    with pytest.raises(DataError, match=message):
        plain_labels(labels)


def test_files_hold_names(tmp_path):
    path = tmp_path / "rows.jsonl"
    values = [True, 1, 1.0, "1", "1.0", "a"]
    path.write_text("".join(json.dumps({"text_a": "x", "label": v}) + "\n" for v in values), encoding="utf-8")

    assert [row.label for row in read_examples(path)] == ["True", "1", "1", "1", "1.0", "a"]


@pytest.mark.parametrize(
    ("separator", "name", "fits"),
    [
        ("|", "a", True),
        ("|", "a|b", False),
        (";", "a|b", True),
        ("||", "a|b", True),
        ("||", "a|", False),  # a||| + b
        (", ", "a,b", True),
        ("|", " a", False),  # blanks beside a separator don't count
    ],
)
def test_a_separator_has_to_tell_the_classes_apart(separator, name, fits):
    written = separator.join(["x", name, "y"])
    assert (label_list(written, "row 1", separator=separator) == ("x", name, "y")) == fits

    if fits:
        check_separator(separator, ["x", name])
    else:
        with pytest.raises(DataError, match="choose another separator"):
            check_separator(separator, ["x", name])
