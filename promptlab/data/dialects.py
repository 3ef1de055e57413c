"""How a table in a text file is written: its encoding, its delimiter, its quotes. What isn't said is found out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from promptlab.core.checks import check_types, warn
from promptlab.core.errors import DataError, UnknownNameError
from promptlab.data.encodings import Encoding, check_encoding, check_mark, find_encoding, text_lines
from promptlab.data.quoting import NO_DELIMITER, Lines, find_quoting, fitting

QUOTINGS = ("auto", "csv", "none")
DELIMITERS = ("\t", ";", ",", "|")
_NAMED = {"none": NO_DELIMITER, "tab": "\t", "\\t": "\t"}


@dataclass(frozen=True)
class Dialect:
    """How a text file is written. ``"auto"`` is what the file shows.

    Args:
        encoding: a name that Python knows, such as ``"utf-8"`` or ``"cp1252"``.
        delimiter: between the fields of a row: a character, ``"tab"``, or ``"none"`` if a line is one text.
        quoting: ``"csv"`` if a field may stand in quotes, then with line ends, delimiters and doubled quotes in it;
            ``"none"`` if quotes are text, as in GLUE's files.

    Raises:
        DataError: if a value is none of these.
    """

    encoding: str = "auto"
    delimiter: str = "auto"
    quoting: str = "auto"

    def __post_init__(self) -> None:
        check_types(self, DataError)
        if self.quoting not in QUOTINGS:
            raise UnknownNameError("quoting", self.quoting, QUOTINGS)
        if self.encoding != "auto":
            check_encoding(self.encoding)
        if self.delimiter != "auto" and self.delimiter not in _NAMED and (
            len(self.delimiter) != 1 or self.delimiter in '"\r\n\0'
        ):  # fmt: skip
            raise DataError(f"delimiter={self.delimiter!r} must be one character, such as ';', or 'tab', or 'none'.")

    @property
    def separator(self) -> str:
        """The delimiter as a character."""
        return _NAMED.get(self.delimiter, self.delimiter)


def resolved(file: Path, given: Dialect, *, usual: str) -> Dialect:
    """What a table is written in, nothing left open; a warning says what isn't as usual and wasn't said.

    Args:
        usual: the delimiter that the name of the file promises.

    Raises:
        DataError: if the encoding isn't found, or a file can be read with quotes and without, and it matters.
    """
    encoding = encoding_of(file, given)
    lines = partial(text_lines, file, encoding.name)
    delimiter = find_delimiter(lines, usual, given.quoting) if given.delimiter == "auto" else given.separator
    quoting = find_quoting(lines, delimiter, str(file)) if given.quoting == "auto" else given.quoting
    found = Dialect(encoding.name, delimiter, quoting)
    _say(file, given, found, Dialect("utf-8", usual, "csv"), encoding)
    return found


def resolved_lines(file: Path, given: Dialect) -> Dialect:
    """``resolved`` of a file with a text on each line."""
    encoding = encoding_of(file, given)
    found = Dialect(encoding.name, "none", "none" if given.quoting == "auto" else given.quoting)
    _say(file, given, found, replace(found, encoding="utf-8"), encoding)
    return found


def encoding_of(file: Path, given: Dialect) -> Encoding:
    """The encoding that was said, or the one that the file shows.

    Raises:
        DataError: if it isn't found, or the file's byte-order mark contradicts it.
    """
    if given.encoding == "auto":
        return find_encoding(file)
    check_mark(file, given.encoding)
    return Encoding(given.encoding)


def find_delimiter(lines: Callable[[], Lines], usual: str, quoting: str) -> str:
    """The delimiter by which the header and most rows have equally many fields; of several, the one with more fields.

    Args:
        usual: what it is if no other is found, as in a table of one column.
    """
    header = next((line for line in lines() if line.strip()), "")
    inside = [mark for mark in DELIMITERS if mark in header and mark != usual]
    if not inside:
        return usual
    inside += [usual] * (usual in header)
    best = max(inside, key=lambda mark: (*fitting(lines, mark, quoting), mark == usual))
    return best if usual in header or fitting(lines, best, quoting)[0] >= 0.5 else usual


def _say(file: Path, given: Dialect, found: Dialect, usual: Dialect, encoding: Encoding) -> None:
    said = list(_differences(given, found, usual, encoding))
    if said:
        names = " and ".join(f"{name}=" for name, _ in said)
        warn(f"{str(file)!r} is read {', '.join(text for _, text in said)}; if that is wrong, say it by {names}")


def _differences(given: Dialect, found: Dialect, usual: Dialect, encoding: Encoding) -> Iterator[tuple[str, str]]:
    if given.encoding == "auto" and found.encoding != usual.encoding:
        yield "encoding", f"as {found.encoding}" + (f" (such as {encoding.word!r})" if encoding.word else "")
    if given.delimiter == "auto" and found.delimiter != usual.delimiter:
        yield "delimiter", f"with delimiter {found.delimiter!r}"
    if given.quoting == "auto" and found.quoting != usual.quoting:
        yield "quoting", "with quotes as text"
