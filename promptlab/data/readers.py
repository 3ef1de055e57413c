"""Examples from files, and from the objects people already have: lists, arrays, data frames, data sets.

Nothing is guessed: a column keeps its own name as a field unless ``columns`` gives it another. Rows count from 1.
"""

from __future__ import annotations

import csv
import gzip
import json
import string
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from promptlab.data.labels import is_missing, label_list, label_name
from promptlab.errors import DataError, shown
from promptlab.types import Example

Row = dict[str, Any]


def read_examples(
    path: str | Path,
    *,
    columns: Mapping[str, str] | None = None,
    label: str | None = "label",
    separator: str | None = None,
) -> list[Example]:
    """Read a CSV, TSV, JSON Lines or Parquet file.

    Args:
        path: its format shows in its name: ``.csv``, ``.tsv``, ``.jsonl``, ``.ndjson`` (each also with ``.gz``) or
            ``.parquet``.
        columns: field to column, such as ``{"text_a": "sentence"}``. Other columns keep their own names, which a
            template can use as they are; a column that has the name of a mapped field gives way to it.
        label: the column of the labels, which become ``str`` and aren't a field; None if there are none.
        separator: what stands between the labels of a row, such as ``"|"``, if rows may have several or none; a list of
            JSON Lines or Parquet is taken as it is. They become ``Example.labels``.

    Raises:
        DataError: if the file, a row, a column or a value isn't as expected.
    """
    return list(iter_examples(path, columns=columns, label=label, separator=separator))


def iter_examples(
    path: str | Path,
    *,
    columns: Mapping[str, str] | None = None,
    label: str | None = "label",
    separator: str | None = None,
) -> Iterator[Example]:
    """``read_examples`` one at a time, for files that don't fit in memory; errors come up where they are met."""
    for number, row in enumerate(iter_rows(path), start=1):
        where = f"row {number} of {str(path)!r}"
        fields = _fields(row, columns, label, where)
        given = None if label is None else _value(row, label, where, "label=... (--label; None for no labels)")
        if label is None:
            yield Example(fields)
        elif separator is None:
            yield Example(fields, label_name(given, where))
        else:
            yield Example(fields, labels=label_list(given, where, separator=separator))


def as_examples(X: Any, labels: Any = None, *, columns: Mapping[str, str] | None = None) -> list[Example]:
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


def iter_rows(path: str | Path, *, chunk_size: int = 1024) -> Iterator[Row]:
    """Stream a file's rows, column to value. Text in CSV and TSV stays text: ``NA`` and ``None`` are words.

    Args:
        path: as in ``read_examples``.
        chunk_size: rows that are in memory at a time, where the format is read in blocks (Parquet).

    Raises:
        DataError: if the file is missing, empty, damaged, not UTF-8, or of an unknown format.
    """
    file = Path(path)
    read = _reader(file)
    if not file.exists():
        raise DataError(f"no file {str(file)!r}; check the path.")
    if not file.is_file():
        raise DataError(f"{str(file)!r} is a folder; name one file in it.")
    return _non_empty(read(file, chunk_size), file)


def _reader(file: Path) -> Callable[[Path, int], Iterator[Row]]:
    name = file.name.lower()
    for suffix, read in _READERS.items():
        if name.endswith(suffix) or (suffix != ".parquet" and name.endswith(suffix + ".gz")):
            return read
    known = ", ".join(_READERS)
    raise DataError(f"unknown format of {str(file)!r}; expected {known}; text formats also with .gz.")


def _non_empty(rows: Iterator[Row], file: Path) -> Iterator[Row]:
    with _reading(file):
        first = next(rows, None)
        if first is None:
            raise DataError(f"{str(file)!r} has no rows; give a file with at least one example.")
        yield first
        yield from rows


@contextmanager
def _reading(file: Path) -> Iterator[None]:
    try:
        yield
    except UnicodeDecodeError as error:
        raise DataError(f"{str(file)!r} isn't UTF-8 ({error.reason}); convert it to UTF-8.") from None
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{str(file)!r} is a damaged .gz file ({error}); fetch or compress it again.") from None
    except OSError as error:
        raise DataError(f"can't read {str(file)!r}: {error.strerror or error}; check the file.") from None


def _open_text(file: Path) -> TextIO:
    if file.name.lower().endswith(".gz"):
        return gzip.open(file, "rt", encoding="utf-8-sig", newline="")
    return open(file, encoding="utf-8-sig", newline="")


def _csv_rows(file: Path, _: int) -> Iterator[Row]:
    return _table_rows(file, ",")


def _tsv_rows(file: Path, _: int) -> Iterator[Row]:
    return _table_rows(file, "\t")


def _table_rows(file: Path, delimiter: str) -> Iterator[Row]:
    # Not pandas: it fills a short row with empty texts, which can't be told from real ones.
    with _open_text(file) as lines:
        reader = csv.reader(lines, delimiter=delimiter, strict=True)
        try:
            filled = (row for row in reader if row)
            header = _header(next(filled, []), file)
            for row in filled:
                yield _table_row(header, row, f"{str(file)!r}, line {reader.line_num}")
        except csv.Error as error:
            where = f"{str(file)!r}, line {reader.line_num}"
            raise DataError(f"{where}: {error}; quote the field as CSV does, or use JSON Lines.") from None


def _header(names: list[str], file: Path) -> list[str]:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DataError(f"{str(file)!r} has the column {twice[0]!r} twice; rename one.")
    return names


def _table_row(header: list[str], row: list[str], where: str) -> Row:
    if len(row) != len(header):
        expected = f"the header has {len(header)}"
        raise DataError(f"{where}: the row has {len(row)} fields, but {expected}; quote fields that hold a separator.")
    return dict(zip(header, row))


def _json_rows(file: Path, _: int) -> Iterator[Row]:
    with _open_text(file) as lines:
        for number, line in enumerate(lines, start=1):
            if line.strip():
                yield _json_row(line, f"{str(file)!r}, line {number}")


def _json_row(line: str, where: str) -> Row:
    try:
        row = json.loads(line, object_pairs_hook=unique_keys)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where} isn't valid JSON ({error}); write one JSON object on each line.") from None
    if not isinstance(row, dict):
        raise DataError(f"{where} is a JSON {type(row).__name__}, not an object; write {{column: value, ...}}.")
    return row


def unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """For ``json.loads``, which otherwise keeps the last of several values.

    Raises:
        ValueError: if a key stands twice.
    """
    values = dict(pairs)
    if len(values) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"the key {next(key for key in keys if keys.count(key) > 1)!r} stands twice")
    return values


def _parquet_rows(file: Path, chunk_size: int) -> Iterator[Row]:
    import pyarrow as pa  # slow to import, so only where it is used
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(file) as table:
            for batch in table.iter_batches(batch_size=chunk_size):
                yield from batch.to_pylist()
    except pa.ArrowException as error:
        if file.stat().st_size == 0:
            return
        raise DataError(f"{str(file)!r} isn't a readable Parquet file ({error}); write it again.") from None


_READERS = {
    ".csv": _csv_rows,
    ".tsv": _tsv_rows,
    ".jsonl": _json_rows,
    ".ndjson": _json_rows,
    ".parquet": _parquet_rows,
}


def _value(row: Mapping[str, Any], column: str, where: str, option: str) -> Any:
    if column not in row:
        present = ", ".join(map(repr, row)) or "none"
        raise DataError(f"{where} has no column {column!r}; it has {present}. Name the right one with {option}.")
    return row[column]


def _fields(row: Mapping[str, Any], columns: Mapping[str, str] | None, label: str | None, where: str) -> Row:
    mapped = {field: _value(row, column, where, "columns=... (--column)") for field, column in (columns or {}).items()}
    for field, value in mapped.items():
        _require(value, field, where)
    used = {*(columns or {}).values(), label}
    kept = {name: value for name, value in row.items() if name not in used}
    if columns is None:
        for field, value in kept.items():
            _require(value, field, where)
    return {name: value for name, value in kept.items() if not is_missing(value)} | mapped


def _require(value: Any, field: str, where: str) -> None:
    if is_missing(value):
        remedy = "fill it in, leave the row out, or name the columns that count with columns={field: column}"
        raise DataError(f"{where} has no value in field {field!r} ({value!r}); {remedy}.")


def _labels(labels: Any, n_rows: int) -> list[str]:
    names = _listed(labels, "labels")
    if len(names) != n_rows:
        raise DataError(f"{len(names)} labels for {n_rows} rows; give one label for each row.")
    return [label_name(name, f"row {i}") for i, name in enumerate(names, start=1)]


def _items(X: Any) -> list[Any]:
    if hasattr(X, "to_dicts"):  # a polars frame
        return list(X.to_dicts())
    if hasattr(X, "columns") and hasattr(X, "to_dict"):  # a pandas frame
        _header([str(name) for name in X.columns], Path("X"))
        return list(X.to_dict("records"))
    return _listed(X, "X")


_TO_LIST = ("to_list", "tolist", "to_pylist")  # of series and data sets, arrays, Arrow columns and tables


def _listed(values: Any, name: str) -> list[Any]:
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


def _example(item: Any, name: str | None, columns: Mapping[str, str] | None, where: str) -> Example:
    if isinstance(item, Example):
        return Example(_fields(item.fields, columns, None, where), item.label if name is None else name, item.labels)
    return Example(_fields(_row(item, where), columns, None, where), name)


def _row(item: Any, where: str) -> Row:
    if isinstance(item, Mapping):
        return {str(field): value for field, value in item.items()}
    if isinstance(item, str) or is_missing(item):
        item = (item,)
    if (
        not isinstance(item, (tuple, list))
        or not 0 < len(item) <= len(string.ascii_lowercase)
        or not all(isinstance(value, str) or is_missing(value) for value in item)
    ):
        raise DataError(f"{where} of X is {shown(item)}; expected a text, a tuple of texts, a mapping or an Example.")
    return {f"text_{letter}": value for letter, value in zip(string.ascii_lowercase, item)}
