"""Excel workbooks."""

from __future__ import annotations

import datetime
import sys

import pytest

from promptlab.core.errors import DataError, PromptlabWarning
from promptlab.core.types import Example
from promptlab.data.readers import iter_rows, read_examples

openpyxl = pytest.importorskip("openpyxl")


def workbook(path, rows, *others):
    book = openpyxl.Workbook()
    for row in rows:
        book.active.append(row)
    for name in others:
        book.create_sheet(name)
    book.save(path)
    return path


def test_the_first_sheet_is_read_as_it_shows(tmp_path):
    rows = [
        [" text_a ", "n", "when", "label", None],
        ["good film", 2.0, datetime.date(2026, 1, 2), 1, None],
        [],
        ["dull", 2.5, datetime.datetime(2026, 1, 2, 3, 4), 0, None],
    ]

    assert read_examples(workbook(tmp_path / "rows.xlsx", rows)) == [
        Example({"text_a": "good film", "n": 2, "when": "2026-01-02"}, "1"),
        Example({"text_a": "dull", "n": 2.5, "when": "2026-01-02 03:04:00"}, "0"),
    ]


def test_empty_cells_and_errors_of_formulas_are_missing(tmp_path):
    path = workbook(tmp_path / "rows.xlsx", [["text_a", "note", "more"], ["x", None, "#N/A"], ["y", "z"]])

    assert list(iter_rows(path)) == [
        {"text_a": "x", "note": None, "more": None},
        {"text_a": "y", "note": "z", "more": None},
    ]


def test_further_sheets_are_told(tmp_path):
    path = workbook(tmp_path / "rows.xlsx", [["text_a"], ["x"]], "Notes")

    with pytest.warns(PromptlabWarning, match="has the sheets 'Sheet', 'Notes'; the first is read"):
        assert list(iter_rows(path)) == [{"text_a": "x"}]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "has no rows"),
        ([["text_a"]], "has no rows"),
        ([["text_a", "text_a "], ["x", "y"]], "column 'text_a' twice"),
        ([["text_a"], ["x", "y"]], "row 1 .* has a value in a column without a name"),
    ],
)
def test_sheets_that_are_no_table_are_refused(tmp_path, rows, message):
    with pytest.raises(DataError, match=message):
        list(iter_rows(workbook(tmp_path / "rows.xlsx", rows)))


def test_what_is_no_workbook_or_has_no_reader_is_one_line(tmp_path, monkeypatch):
    path = tmp_path / "rows.xlsx"
    path.write_bytes(b"text_a,label\n")

    with pytest.raises(DataError, match="isn't a readable workbook"):
        list(iter_rows(path))
    monkeypatch.setitem(sys.modules, "openpyxl", None)
    with pytest.raises(DataError, match=r"takes the package openpyxl; pip install 'promptlab\[excel\]'"):
        list(iter_rows(path))
