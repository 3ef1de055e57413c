"""Text files: opening them, and which encoding one has."""

from __future__ import annotations

import codecs
import gzip
import re
from collections.abc import Iterator
from io import BufferedIOBase
from pathlib import Path
from typing import NamedTuple, TextIO

from promptlab.core.errors import DataError

BLOCK = 1 << 20  # bytes that are looked at at a time
MARKS = (  # of byte order, the longer ones first
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_WORD_PART = re.compile(r"\w*[^\x00-\x7f]\w*")
_HIGH_WORD = re.compile(r"\S*[^\x00-\x7f]\S*")
# what no word of a language that is written in cp1252 holds: a sign between letters, a capital after a small letter,
# three letters with marks in a row
_LETTER = "A-Za-zÀ-ÖØ-öø-ÿŒœŠšŽžŸ"
_STRANGE = re.compile(
    f"[{_LETTER}][¡-¶¸-¿×÷†‡ˆ‰‹›‚„“”•™˜¤][{_LETTER}]|[a-z][À-ÖØ-ÞŒŠŽŸ]|[À-ÖØ-ÞŒŠŽŸ][à-öø-ÿœšž][À-ÖØ-ÞŒŠŽŸ]"
    "|[À-ÖØ-öø-ÿŒœŠšŽžŸƒ]{3}"
)


class Encoding(NamedTuple):
    """The name of an encoding, and a word that would look wrong if it were another one."""

    name: str
    word: str = ""


def open_binary(file: Path) -> BufferedIOBase:
    """The bytes of a file, decompressed if its name ends in ``.gz``."""
    return gzip.open(file, "rb") if file.name.lower().endswith(".gz") else open(file, "rb")


def open_text(file: Path, encoding: str) -> TextIO:
    """The characters of a file, line ends as they are."""
    if file.name.lower().endswith(".gz"):
        return gzip.open(file, "rt", encoding=encoding, newline="")
    return open(file, encoding=encoding, newline="")


def check_encoding(name: str) -> None:
    """Refuse what Python knows no text encoding of.

    Raises:
        DataError: naming it.
    """
    try:
        known = codecs.lookup(name)._is_text_encoding
    except (LookupError, ValueError):  # ValueError: a NUL in the name
        known = False
    if not known:
        raise DataError(f"encoding={name!r} is no text encoding; give one such as 'utf-8', 'utf-16' or 'cp1252'.")


def text_lines(file: Path, encoding: str) -> Iterator[str]:
    """The lines of a text file, with their ends and without a byte-order mark.

    Raises:
        DataError: if the bytes are of another encoding, or hold NUL characters.
    """
    with open_text(file, encoding) as lines:
        try:
            for number, line in enumerate(lines, start=1):
                if "\0" in line:
                    raise DataError(
                        f"{str(file)!r}, line {number} holds a NUL character; the file is damaged, or of another "
                        "encoding, such as encoding='utf-16-le'."
                    )
                yield line.removeprefix("\ufeff") if number == 1 else line
        except UnicodeError as error:
            raise undecodable(file, encoding, str(getattr(error, "reason", error))) from None


def find_encoding(file: Path) -> Encoding:
    """Which encoding a file has: UTF-8; UTF-16 or UTF-32 by its byte-order mark or its NULs; or cp1252.

    The whole file is looked at. cp1252 is what is left, if the words look like those of a language written in it.

    Raises:
        DataError: if it is none of these.
    """
    with open_binary(file) as stream:
        head = stream.read(BLOCK)
    marked = next((name for mark, name in MARKS if head.startswith(mark)), None) or _by_nuls(head)
    if marked is not None:
        return Encoding(marked)
    return Encoding("utf-8") if _is_utf8(file) else _cp1252(file)


def check_mark(file: Path, encoding: str) -> None:
    """Refuse an encoding that the file's byte-order mark contradicts.

    Raises:
        DataError: naming both.
    """
    with open_binary(file) as stream:
        head = stream.read(4)
    marked = next((name for mark, name in MARKS if head.startswith(mark)), None)
    if marked is not None and not codecs.lookup(encoding).name.startswith(marked):
        raise DataError(f"{str(file)!r} begins with the mark of {marked}, so that encoding={encoding!r} is wrong.")


def undecodable(file: Path, encoding: str, reason: str, *, such_as: str = "cp1252") -> DataError:
    """The error about a file that isn't of an encoding."""
    place = f", line {line}" if (line := _first_undecodable(file, encoding)) else ""
    return DataError(
        f"{str(file)!r}{place} isn't {encoding.upper().replace('_', '-')} ({reason}); "
        f"say its encoding, such as encoding={such_as!r}, or convert it to UTF-8."
    )


def _by_nuls(head: bytes) -> str | None:
    """UTF-16 without a mark: its first characters are ASCII, so that every other byte is NUL."""
    even, odd = head[:8:2], head[1:8:2]
    if len(odd) < 2 or any(even) == any(odd):
        return None
    return "utf-16-be" if any(odd) else "utf-16-le"


def _is_utf8(file: Path) -> bool:
    decoder = codecs.getincrementaldecoder("utf-8")()
    with open_binary(file) as stream:
        try:
            while block := stream.read(BLOCK):
                decoder.decode(block)
            decoder.decode(b"", final=True)
        except UnicodeDecodeError:
            return False
    return True


def _cp1252(file: Path) -> Encoding:
    words, strange, sample = 0, 0, ""
    with open_text(file, "cp1252") as lines:
        try:
            for line in lines:
                for word in _HIGH_WORD.findall(line):
                    words, strange = words + 1, strange + bool(_STRANGE.search(word))
                    sample = sample or "".join(_WORD_PART.findall(word)[:1])[:40]
        except UnicodeDecodeError:
            strange = words + 1
    if 10 * strange > words:
        raise undecodable(file, "utf-8", "nor do its words look like cp1252", such_as="gb18030")
    return Encoding("cp1252", sample)


def _first_undecodable(file: Path, encoding: str) -> int | None:
    """The number of the first line that can't be decoded, for encodings that have line ends of one byte."""
    if "16" in encoding or "32" in encoding:
        return None
    with open_binary(file) as lines:
        for number, line in enumerate(lines, start=1):
            try:
                line.decode(encoding)
            except UnicodeError:
                return number
    return None
