"""Examples from files, and from the objects people already have: lists, arrays, data frames, data sets.

Nothing is guessed: a column keeps its own name as a field unless ``columns`` gives it another. Rows count from 1.
"""

from __future__ import annotations

import string
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from promptlab.core.errors import DataError, short_repr
from promptlab.core.fields import Fields
from promptlab.core.inputs import Labels, Texts
from promptlab.core.types import Example
from promptlab.data.dialects import Dialect
from promptlab.data.labels import is_missing, label_list, label_name
from promptlab.data.tables import Row, check_names, iter_rows


def read_examples(
    path: str | Path,
    *,
    columns: Mapping[str, str] | None = None,
    label: str | None = "label",
    separator: str | None = None,
    encoding: str = "auto",
    delimiter: str = "auto",
    quoting: str = "auto",
) -> list[Example]:
    r"""Read a file of CSV, TSV, JSON Lines, Parquet or Excel, or one with a text on each line.

    Args:
        path: file whose format shows in its name: ``.csv``, ``.tsv``, ``.jsonl``, ``.ndjson``, ``.txt`` (each also with
            ``.gz``), ``.parquet`` or ``.xlsx`` (the first sheet; needs ``promptlab[excel]``). A line of ``.txt`` is the
            field ``text_a``, unless a ``delimiter`` says that it is a table.
        columns: field → column, such as ``{"text_a": "sentence"}``. A field without a value is left out: it matters
            only to a template that reads it. Other columns keep their own names, which a template can use; a column
            that has the name of a mapped field gives way to it. Blanks around names don't count.
        label: column of the labels, which become ``str`` and aren't a field; None if there are none.
        separator: what stands between the labels of a row, such as ``"|"``, if rows may have several or none; a list of
            JSON Lines or Parquet is taken as it is. They become ``Example.labels``.
        encoding: encoding of a text file; ``"auto"`` is UTF-8, by their marks UTF-16 and UTF-32, else cp1252.
        delimiter: what stands between the fields of CSV and TSV: a character, ``"tab"``, or ``"none"`` if a line is one
            text. ``"auto"``: what the header and the rows agree in, of tab, ``;``, ``,`` and ``|``.
        quoting: ``"csv"`` if fields of CSV and TSV may stand in quotes, ``"none"`` if quotes are text, such as those of
            GLUE's files. ``"auto"``: what the file can be read by. Where that isn't as usual, a ``PromptlabWarning``
            says so.

    Raises:
        DataError: if the file, a row, a column or a value isn't as expected.

    Example:
        >>> from pathlib import Path
        >>> from promptlab import read_examples
        >>> _ = Path("films.csv").write_text("sentence,label\na dull film,negative\ngreat fun,positive\n")
        >>> rows = read_examples("films.csv", columns={"text_a": "sentence"})
        >>> len(rows), dict(rows[0].fields), rows[0].label
        (2, {'text_a': 'a dull film'}, 'negative')
    """
    dialect = Dialect(encoding, delimiter, quoting)
    return list(_examples(iter_rows(path, dialect), str(path), columns, label, separator))


def iter_examples(
    path: str | Path,
    *,
    columns: Mapping[str, str] | None = None,
    label: str | None = "label",
    separator: str | None = None,
    encoding: str = "auto",
    delimiter: str = "auto",
    quoting: str = "auto",
) -> Iterator[Example]:
    """``read_examples`` one at a time, for files that don't fit in memory; errors come up where they are met."""
    dialect = Dialect(encoding, delimiter, quoting)
    yield from _examples(iter_rows(path, dialect), str(path), columns, label, separator)


def _examples(
    rows: Iterable[Row], name: str, columns: Mapping[str, str] | None, label: str | None, separator: str | None
) -> Iterator[Example]:
    for number, row in enumerate(rows, start=1):
        where = f"row {number} of {name!r}"
        fields = _fields(row, columns, label, where, is_read=True)
        given = None if label is None else _value(row, label, where, "label= (None for no labels)")
        if label is None:
            yield Example(fields)
        elif separator is None:
            yield Example(fields, label_name(given, where))
        else:
            yield Example(fields, labels=label_list(given, where, separator=separator))


def as_examples(X: Texts, labels: Labels | None = None, *, columns: Mapping[str, str] | None = None) -> list[Example]:
    """Turn what the caller has into examples.

    Args:
        X: a list, array or series of texts (field ``text_a``), of tuples (``text_a``, ``text_b``, …), of mappings or
            of ``Example``; or a pandas or polars data frame, or a Hugging Face data set, whose columns are fields.
        labels: one for each row, in order (an index plays no part); they become ``str``. None keeps the labels of
            ``Example`` objects and gives others none.
        columns: field to column, as in ``read_examples``.

    Raises:
        DataError: if ``X`` is of another kind, a value is missing, or ``labels`` has another length.
    """
    items = _items(X)
    names = [None] * len(items) if labels is None else _labels(labels, len(items))
    return [_example(item, name, columns, f"row {i}") for i, (item, name) in enumerate(zip(items, names), start=1)]


def _value(row: Mapping[str, object], column: str, where: str, option: str) -> object:
    column = column if column in row else column.strip()
    if column not in row:
        present = ", ".join(map(repr, row)) or "none"
        raise DataError(f"{where} has no column {column!r}; it has {present}; name the right one by {option}.")
    return row[column]


def _fields(
    row: Mapping[str, object],
    columns: Mapping[str, str] | None,
    label: str | None,
    where: str,
    *,
    is_read: bool = False,
) -> Fields:
    """A row's fields, those without a value left out: whoever reads them knows whether they matter."""
    if isinstance(row, Fields) and not columns:
        return row
    mapping = columns or {}
    used = {name if name in row else str(name).strip() for name in (*mapping.values(), label)}
    values = {name: value for name, value in row.items() if name not in used}
    values |= {field: _value(row, column, where, "columns=") for field, column in mapping.items()}
    empty = {name: mapping.get(name, name) for name, value in values.items() if is_missing(value)}
    kept = {name: value for name, value in values.items() if name not in empty}
    return Fields(kept, where, empty=empty, is_read=is_read)


def listed_labels(labels: Labels) -> list[object]:
    """Labels in a list, array, series or column, one after the other.

    Raises:
        DataError: if they are of another kind.
    """
    return _sequence(labels, "labels")


def _labels(labels: Labels, n_rows: int) -> list[str]:
    names = _sequence(labels, "labels")
    if len(names) != n_rows:
        raise DataError(f"{len(names)} labels for {n_rows} rows; give one label for each row.")
    return [label_name(name, f"row {i}") for i, name in enumerate(names, start=1)]


def _items(X: Texts) -> list[object]:
    if hasattr(X, "to_dicts"):  # a polars frame
        return list(X.to_dicts())
    if hasattr(X, "columns") and hasattr(X, "set_axis"):  # a pandas frame
        names = check_names([str(name) for name in X.columns], "X")
        return list(X.set_axis(names, axis=1).to_dict("records"))
    return _sequence(X, "X")


_TO_LIST = ("to_list", "tolist", "to_pylist")  # of series and data sets, arrays, Arrow columns and tables


def _sequence(values: Iterable[object], name: str) -> list[object]:
    if isinstance(values, Mapping) and values and all(hasattr(split, "column_names") for split in values.values()):
        first = next(iter(values))
        raise DataError(
            f"{name} is a {type(values).__name__} of {', '.join(values)}; pass one, such as {name}[{first!r}]."
        )
    if isinstance(values, (str, bytes, Mapping, Example, set, frozenset)):
        expected = "pass a list of texts" if name == "X" else "pass a list of labels"
        raise DataError(f"{name} is one {type(values).__name__}; {expected}, even for one row.")
    if hasattr(values, "toarray"):  # of scipy, whose rows print as tables
        raise DataError(f"{name} is a sparse {type(values).__name__}; pass a plain list of texts or labels.")
    method = next((name for name in _TO_LIST if hasattr(values, name)), None)
    if method is not None:
        values = getattr(values, method)()
    if isinstance(values, str) or not isinstance(values, Iterable) or hasattr(values, "columns"):
        expected = "list, array, series, data frame or data set" if name == "X" else "list, array or series"
        raise DataError(f"{name} is a {type(values).__name__}; expected a {expected} with one item for each row.")
    return list(values)


def _example(item: object, name: str | None, columns: Mapping[str, str] | None, where: str) -> Example:
    if isinstance(item, Example):
        return Example(_fields(item.fields, columns, None, where), item.label if name is None else name, item.labels)
    return Example(_fields(_row(item, where), columns, None, where), name)


def _row(item: object, where: str) -> Row:
    if isinstance(item, Mapping):
        return {str(field): value for field, value in item.items()}
    if isinstance(item, str) or is_missing(item):
        item = (item,)
    if (
        not isinstance(item, (tuple, list))
        or not 0 < len(item) <= len(string.ascii_lowercase)
        or not all(isinstance(value, str) or is_missing(value) for value in item)
    ):
        raise DataError(
            f"{where} of X is {short_repr(item)}; expected a text, a tuple of texts, a mapping or an Example."
        )
    return {f"text_{letter}": value for letter, value in zip(string.ascii_lowercase, item)}
