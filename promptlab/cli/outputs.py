"""Rows that a command writes: to standard output, or to a file in the format that its name says."""

from __future__ import annotations

import csv
import gzip
import itertools
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TextIO

import click

Rows = Iterable[Mapping[str, object]]

BATCH = 1024  # rows of Parquet that are written at a time

PARQUET = ".parquet"


def output_format(output: Path | None, *, as_json: bool) -> str:
    """The suffix of the format in which rows are written, without ``.gz``.

    Raises:
        DataError: if the name says none that is known.
        click.UsageError: if JSON is asked for, and the name says another.
    """
    if output is None:
        return ".jsonl" if as_json else ".tsv"
    name = output.name.lower()
    suffix = PARQUET if name.endswith(PARQUET) else next((s for s in WRITERS if name.endswith((s, f"{s}.gz"))), None)
    if suffix is None:
        from promptlab.core.errors import DataError
        from promptlab.core.files import check_writable

        check_writable(output)  # a pipe or a folder is told as such
        known = ", ".join([*WRITERS, PARQUET])
        raise DataError(f"unknown format of the output {str(output)!r}; call it {known}; text formats also with .gz.")
    if as_json and suffix not in (".jsonl", ".ndjson"):
        raise click.UsageError(f"--json writes JSON Lines, but {output} is {suffix}; leave --json out.")
    return suffix


def holds_lists(suffix: str) -> bool:
    """Whether a cell of this format may be a list."""
    return suffix not in (".csv", ".tsv")


def write_rows(rows: Rows, output: Path | None, suffix: str) -> None:
    """Write rows as they come; a file appears only when it is complete.

    Raises:
        DataError: if the file can't be written.
    """
    if output is None:
        WRITERS[suffix](rows, nullcontext(sys.stdout))
        return
    from promptlab.core.files import atomic_file

    with atomic_file(output) as path:
        if suffix == PARQUET:
            _write_parquet(rows, path)
        else:
            WRITERS[suffix](rows, _opened(path))


def _opened(path: Path) -> AbstractContextManager[TextIO]:
    if path.name.lower().endswith(".gz"):
        return gzip.open(path, "wt", encoding="utf-8", newline="")
    return open(path, "w", encoding="utf-8", newline="")


def _write_json(rows: Rows, opened: AbstractContextManager[TextIO]) -> None:
    with opened as sink:
        for row in rows:
            sink.write(json.dumps(row, ensure_ascii=False) + "\n")


def _table_writer(delimiter: str) -> Callable[[Rows, AbstractContextManager[TextIO]], None]:
    def write(rows: Rows, opened: AbstractContextManager[TextIO]) -> None:
        with opened as sink:
            writer: csv.DictWriter[str] | None = None
            for row in rows:
                if writer is None:
                    writer = csv.DictWriter(sink, list(row), delimiter=delimiter, lineterminator="\n")
                    writer.writeheader()
                writer.writerow(row)

    return write


def _write_parquet(rows: Rows, path: Path) -> None:
    import pyarrow as pa  # slow to import, so only where it is used
    import pyarrow.parquet as pq

    kinds = {"row": pa.int64(), "label": pa.string(), "text": pa.string(), "labels": pa.list_(pa.string())}
    batches = _batches(rows)
    first = next(batches)
    schema = pa.schema([(name, kinds.get(name, pa.float64())) for name in first[0]])
    with pq.ParquetWriter(path, schema) as writer:
        for batch in itertools.chain([first], batches):
            writer.write_table(pa.Table.from_pylist(list(batch), schema))


def _batches(rows: Rows) -> Iterator[list[Mapping[str, object]]]:
    source = iter(rows)
    while batch := list(itertools.islice(source, BATCH)):
        yield batch


WRITERS: Mapping[str, Callable[[Rows, AbstractContextManager[TextIO]], None]] = {
    ".csv": _table_writer(","),
    ".tsv": _table_writer("\t"),
    ".jsonl": _write_json,
    ".ndjson": _write_json,
}
