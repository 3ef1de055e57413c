"""Rows of files, column to value, one at a time."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import zip_longest
from pathlib import Path

from promptlab.core.errors import DataError
from promptlab.core.files import check_path
from promptlab.core.json_loader import unique_keys
from promptlab.data.dialects import Dialect, resolved, resolved_lines
from promptlab.data.encodings import text_lines
from promptlab.data.quoting import READ, BadQuotes, Record, Shape

Row = dict[str, object]

TEXT = "text_a"  # the field of a file with a text on each line
ELSEWHERE = {  # formats that people have, and what they do about them
    ".xls": "save it as .xlsx or .csv",
    ".ods": "save it as .xlsx or .csv",
    ".json": "write one object on each line and call it .jsonl",
    ".feather": "write it as .parquet",
    ".pkl": "write it as .parquet or .csv",
}


def iter_rows(path: str | Path, dialect: Dialect | None = None, *, chunk_size: int = 1024) -> Iterator[Row]:
    """Stream a file's rows. Text in CSV and TSV stays text: ``NA`` and ``None`` are words.

    Args:
        path: as in ``read_examples``.
        dialect: how a text file is written; the file shows what isn't said.
        chunk_size: rows that are in memory at a time, where the format is read in blocks (Parquet).

    Raises:
        DataError: if the file is missing, empty, damaged, of another encoding or of an unknown format.
    """
    file = check_path(path)
    read = _reader(file)
    if not file.exists():
        raise DataError(f"no file {str(file)!r}; check the path.")
    if not file.is_file():
        kind = "folder; name one file in it" if file.is_dir() else "device or pipe; write its rows to a file"
        raise DataError(f"{str(file)!r} is a {kind}.")
    return _non_empty(read(file, dialect or Dialect(), chunk_size), file)


def iter_lines(file: Path, dialect: Dialect) -> Iterator[str]:
    """The lines of a text file, without white space around them.

    Raises:
        DataError: if it can't be read.
    """
    with _reading(file):
        yield from (line.strip() for line in text_lines(file, resolved_lines(file, dialect).encoding))


def _reader(file: Path) -> Callable[[Path, Dialect, int], Iterator[Row]]:
    name = file.name.lower()
    for suffix, read in _READERS.items():
        if name.endswith(suffix) or (suffix not in BINARY and name.endswith(suffix + ".gz")):
            return read
    for suffix, remedy in ELSEWHERE.items():
        if name.endswith(suffix):
            raise DataError(f"can't read {str(file)!r}, which is {suffix}; {remedy}.")
    raise DataError(f"unknown format of {str(file)!r}; expected {', '.join(_READERS)}; text formats also with .gz.")


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
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{str(file)!r} is a damaged .gz file ({error}); fetch or compress it again.") from None
    except OSError as error:
        raise DataError(f"can't read {str(file)!r}: {error.strerror or error}; check the file.") from None


def _delimited_rows(file: Path, given: Dialect, _: int, *, usual: str) -> Iterator[Row]:
    # Not pandas: it fills a short row with empty texts, which can't be told from real ones.
    dialect = resolved(file, given, usual=usual)
    records = READ[dialect.quoting](text_lines(file, dialect.encoding), dialect.separator)
    try:
        header = next(records, None)
        if header is not None:
            yield from _rows_under(header, records, file)
    except BadQuotes as error:
        raise DataError(
            f"{str(file)!r}, {error}; double the quotes inside a quoted field, or say that quotes are text by "
            "quoting='none'."
        ) from None


def _rows_under(header: Record, records: Iterator[Record], file: Path) -> Iterator[Row]:
    shape = Shape(header.fields)
    names = check_names(shape.names, str(file))
    for record in records:
        fields = shape.fitted(record.fields)
        if fields is None:
            said = f"the row has {len(record.fields)} fields, but the header has {len(names)}"
            lines = "" if len(names) > 1 else ", or say that a line is one text by delimiter='none'"
            raise DataError(f"{str(file)!r}, line {record.last}: {said}; quote fields that hold a separator{lines}.")
        yield dict(zip(names, fields))


def check_names(names: list[str], where: str) -> list[str]:
    """The names of columns, without blanks around them.

    Raises:
        DataError: if two are the same.
    """
    bare = [name.strip() for name in names]
    twice = sorted({name for name in bare if bare.count(name) > 1})
    if twice:
        raise DataError(f"{where!r} has the column {twice[0]!r} twice (blanks around names don't count); rename one.")
    return bare


def _line_rows(file: Path, given: Dialect, chunk_size: int) -> Iterator[Row]:
    """A text on each line, or the rows of a table if a delimiter was said."""
    if given.delimiter not in ("auto", "none"):
        yield from _delimited_rows(file, given, chunk_size, usual="\t")
        return
    dialect = resolved_lines(file, given)
    lines = partial(text_lines, file, dialect.encoding)
    if given.delimiter == "auto":
        _check_no_table(lines(), file)
    for record in READ[dialect.quoting](lines(), dialect.separator):
        yield {TEXT: record.fields[0]}


def _check_no_table(lines: Iterator[str], file: Path) -> None:
    """Refuse a file whose lines have equally many tabs: it may be a table, with a header that is no text."""
    counts = {line.count("\t") for line in lines if line.strip()}
    if len(counts) == 1 and counts != {0}:
        raise DataError(
            f"every line of {str(file)!r} has the same number of tabs; say whether it is a table with a header "
            "(delimiter='tab') or one text on each line (delimiter='none')."
        )


def _json_rows(file: Path, given: Dialect, _: int) -> Iterator[Row]:
    for number, line in enumerate(text_lines(file, resolved_lines(file, given).encoding), start=1):
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


def _parquet_rows(file: Path, _: Dialect, chunk_size: int) -> Iterator[Row]:
    import pyarrow as pa  # slow to import, so only where it is used
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(file) as table:
            names = check_names(table.schema_arrow.names, str(file))
            for batch in table.iter_batches(batch_size=chunk_size):
                yield from batch.rename_columns(names).to_pylist()
    except pa.ArrowException as error:
        if file.stat().st_size == 0:
            return
        raise DataError(f"{str(file)!r} isn't a readable Parquet file ({error}); write it again.") from None


def _workbook_rows(file: Path, _: Dialect, __: int) -> Iterator[Row]:
    from promptlab.data.workbooks import sheet_records

    records = sheet_records(file)
    header = next(records, None)
    if header is not None:
        shape = Shape([str(name) for name in header])
        names = check_names(shape.names, str(file))
        for number, fields in enumerate(records, start=1):
            if any(value is not None for value in fields[len(names) :]):
                raise DataError(f"row {number} of {str(file)!r} has a value in a column without a name; name it.")
            yield dict(zip_longest(names, fields[: len(names)]))


BINARY = (".parquet", ".xlsx")
_READERS: dict[str, Callable[[Path, Dialect, int], Iterator[Row]]] = {
    ".csv": partial(_delimited_rows, usual=","),
    ".tsv": partial(_delimited_rows, usual="\t"),
    ".jsonl": _json_rows,
    ".ndjson": _json_rows,
    ".parquet": _parquet_rows,
    ".xlsx": _workbook_rows,
    ".txt": _line_rows,
}
