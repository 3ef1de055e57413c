"""Records of a table in a text file, with quotes that enclose fields or that are text, and which of both a file has.

A file is read both ways. Where both work and differ, signs decide: a quote doubled inside a quoted field, or a column
of quoted fields, says that quotes enclose; a quote inside an unquoted field, or lines inside a quoted field that look
like rows, say that they are text.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import NamedTuple

from promptlab.core.errors import DataError

NO_DELIMITER = "\x1f"  # stands for none: no text holds it, since it separates units
NEVER_QUOTED = ("\t", NO_DELIMITER)  # between fields that programs often write without any quoting
LONGEST = 2**31 - 1  # characters of a field, the most that the csv module's limit can be everywhere

Lines = Iterator[str]


class Record(NamedTuple):
    """The fields of a row, and its first and last line."""

    fields: list[str]
    first: int
    last: int


def quoted_records(lines: Iterable[str], delimiter: str) -> Iterator[Record]:
    """Rows whose fields may stand in quotes; blank lines are none.

    Raises:
        BadQuotes: if quotes don't enclose fields.
    """
    reader = csv.reader(iter(lines), delimiter=delimiter, strict=True)
    while True:
        last = reader.line_num
        limit = csv.field_size_limit(LONGEST)  # the whole process's: as it was, between rows
        try:
            fields = next(reader, None)
        except csv.Error as error:
            raise BadQuotes(last + 1, reader.line_num, str(error)) from None
        finally:
            csv.field_size_limit(limit)
        if fields is None:
            return
        if fields:
            yield Record(fields, last + 1, reader.line_num)


def plain_records(lines: Iterable[str], delimiter: str) -> Iterator[Record]:
    """Rows whose quotes are text; blank lines are none."""
    for number, line in enumerate(lines, start=1):
        text = line.rstrip("\r\n")
        if text:
            yield Record(text.split(delimiter), number, number)


class BadQuotes(Exception):
    """Quotes that don't enclose fields, in the lines from ``first`` to ``last``."""

    def __init__(self, first: int, last: int, said: str) -> None:
        lines = f"line {first}" if first == last else f"lines {first} to {last}"
        begins = f"line {first}: a field begins with a quote, but no quote ends it"
        super().__init__(begins if said.startswith("unexpected end") else f"{lines}: {said}")


class Shape:
    """How many fields the rows of a table have: as many as the header has names, empty ones at the end left out."""

    def __init__(self, header: list[str]) -> None:
        names = [name.strip() for name in header]
        while len(names) > 1 and not names[-1]:
            names.pop()
        self.names = names
        self.widths = {len(names), len(header)}
        self.is_first = True

    def fitted(self, fields: list[str]) -> list[str] | None:
        """The fields of a row, one for each name; None if there aren't as many.

        A delimiter at the end of every row, the first included, is no field.
        """
        width = len(self.names)
        more = fields[width:]
        if self.is_first and more == [""]:
            self.widths.add(len(fields))
        self.is_first = False
        return fields[:width] if len(fields) in self.widths and not any(more) else None


class Trial(NamedTuple):
    """What came of reading a file in one way: rows, those that fit the header, columns, records of several lines."""

    rows: int
    fit: int
    columns: int
    spans: Sequence[tuple[int, int]] = ()
    problem: str = ""  # of quotes

    @property
    def works(self) -> bool:
        return not self.problem and self.fit == self.rows

    @property
    def share(self) -> float:
        """Of rows that fit."""
        return 0.0 if self.problem else self.fit / max(1, self.rows)


def tried(records: Iterator[Record]) -> Trial:
    """Read all records of a file."""
    rows, fit, spans, problem = 0, 0, [], ""
    shape: Shape | None = None
    try:
        for record in records:
            if record.last > record.first:
                spans.append((record.first, record.last))
            if shape is None:
                shape = Shape(record.fields)
            else:
                rows += 1
                fit += shape.fitted(record.fields) is not None
    except BadQuotes as error:
        problem = str(error)
    return Trial(rows, fit, len(shape.names) if shape else 0, spans, problem)


READ: Mapping[str, Callable[[Iterable[str], str], Iterator[Record]]] = {"csv": quoted_records, "none": plain_records}


def fitting(lines: Callable[[], Lines], delimiter: str, quoting: str) -> tuple[float, int]:
    """The share of rows that have as many fields as the header, and its number of columns."""
    trials = [tried(read(lines(), delimiter)) for name, read in READ.items() if quoting in ("auto", name)]
    return max((trial.share, trial.columns) for trial in trials)


def find_quoting(lines: Callable[[], Lines], delimiter: str, file: str) -> str:
    """``"csv"`` if quotes enclose fields, ``"none"`` if they are text; the first where there are none.

    Raises:
        DataError: if both may be, and rows would differ.
    """
    if not any('"' in line and _begins_quoted(line, delimiter) for line in lines()):
        return "csv"
    quoted, plain = (tried(read(lines(), delimiter)) for read in READ.values())
    if not plain.works:
        return "csv"
    signs = signs_of(lines, delimiter, () if quoted.problem else quoted.spans)
    if not quoted.works:
        if signs.enclosing <= signs.textual:
            return "none"
        raise _undecided(file, quoted.problem or "some rows have more fields if quotes enclose them", plain)
    if not quoted.spans:  # the rows are the same, but for quotes around fields
        return "none" if delimiter in NEVER_QUOTED and signs.textual + signs.needless > signs.enclosing else "csv"
    if signs.enclosing and not signs.textual:
        return "csv"
    if signs.textual and not signs.enclosing:
        return "none"
    if delimiter in NEVER_QUOTED or signs.textual:
        first, last = quoted.spans[0]
        raise _undecided(file, f"lines {first} to {last}: one row with line ends in quotes, or several", plain)
    return "csv"


def _undecided(file: str, what: str, plain: Trial) -> DataError:
    return DataError(
        f"{file!r}, {what}; quotes may enclose fields (quoting='csv') or be text (quoting='none', with which all rows "
        f"have {plain.columns} fields): say which."
    )


def _begins_quoted(line: str, delimiter: str) -> bool:
    return line.startswith('"') or delimiter + '"' in line


class Signs(NamedTuple):
    """How many fields speak for quotes that enclose, and for quotes that are text; ``needless`` weakly for the latter.

    A quoted field is needless if a writer that quotes only what it must would have left it as it is.
    """

    enclosing: int
    textual: int
    needless: int


def signs_of(lines: Callable[[], Lines], delimiter: str, spans: Sequence[tuple[int, int]]) -> Signs:
    """Read a file as if quotes were text, and count.

    Args:
        spans: first and last lines of the records that take several if quotes enclose fields.
    """
    filled, quoted, doubled, textual = Counter[int](), Counter[int](), 0, 0
    within = frozenset(line for first, last in spans for line in range(first, last + 1))
    inside: list[list[str]] = []
    for fields, line, _ in _rows(lines, delimiter):
        if line in within:
            inside.append(fields)
        for column, field in enumerate(fields):
            filled[column] += bool(field)
            if is_quoted(field):
                quoted[column] += 1
            elif '"' in field and line not in within:
                textual += 1
            doubled += '""' in field and field != '""'
    usual = sum(n for column, n in quoted.items() if 2 * n >= filled[column])
    if inside and len(inside[0]) > 1 and _look_like_rows(inside, lines, delimiter):
        textual += len(inside)
    return Signs(usual + doubled, textual, quoted.total() - usual)


def is_quoted(field: str) -> bool:
    """Whether quotes enclose a field, those inside doubled."""
    inner = field[1:-1]
    return len(field) > 1 and field[0] == field[-1] == '"' and '"' not in inner.replace('""', "")


def _rows(lines: Callable[[], Lines], delimiter: str) -> Iterator[Record]:
    return islice(plain_records(lines(), delimiter), 1, None)


def _look_like_rows(inside: Sequence[list[str]], lines: Callable[[], Lines], delimiter: str) -> bool:
    """Whether there is a column, such as the label's, each of whose values in these lines comes more than once."""
    values = [set(column) for column in zip(*inside)]
    counts = [Counter[str]() for _ in values]
    for record in _rows(lines, delimiter):
        for field, known, count in zip(record.fields, values, counts):
            if field in known:
                count[field] += 1
    return any(all(value and count[value] > 1 for value in known) for known, count in zip(values, counts))
