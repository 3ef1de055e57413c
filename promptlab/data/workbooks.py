"""Rows of Excel workbooks."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from zipfile import BadZipFile

from promptlab.core.checks import warn
from promptlab.core.errors import DataError

if TYPE_CHECKING:
    from openpyxl.cell import Cell
    from openpyxl.worksheet.worksheet import Worksheet


def sheet_records(file: Path) -> Iterator[list[object]]:
    """The rows of the first sheet that aren't empty, the names of the columns first; None where nothing stands.

    Whole numbers are ``int``, however they are kept; dates are text, as ISO 8601 has them; an error of a formula is
    nothing.

    Raises:
        DataError: if openpyxl isn't installed, or the file is no workbook.
    """
    try:
        from openpyxl import load_workbook  # slow to import, and an extra
        from openpyxl.utils.exceptions import InvalidFileException
    except ImportError:
        raise DataError(
            f"reading {str(file)!r} takes the package openpyxl; pip install 'promptlab[excel]', or save it as .csv."
        ) from None
    if file.stat().st_size == 0:
        return
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of styles that openpyxl doesn't know
            book = load_workbook(file, read_only=True, data_only=True)
    except (BadZipFile, InvalidFileException, KeyError, ValueError) as error:
        raise DataError(f"{str(file)!r} isn't a readable workbook ({error}); save it again.") from None
    try:
        if len(book.worksheets) > 1:
            names = ", ".join(map(repr, book.sheetnames))
            warn(f"{str(file)!r} has the sheets {names}; the first is read")
        yield from _filled(book.worksheets[0])
    finally:
        book.close()


def _filled(sheet: Worksheet) -> Iterator[list[object]]:
    header = True
    for cells in sheet.iter_rows():
        values = [_value(cell) for cell in cells]
        if any(value is not None for value in values):
            yield ["" if value is None else str(value) for value in values] if header else values
            header = False


def _value(cell: Cell) -> object:
    value = cell.value
    if value is None or cell.data_type == "e" or value == "":
        return None
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return str(value).removesuffix(" 00:00:00") if hasattr(value, "isoformat") else value
