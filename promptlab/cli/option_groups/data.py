"""How the files that a command reads are written, and what stands in their columns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from promptlab.cli.arguments import parse_pairs
from promptlab.cli.groups import OptionGroup, option, repeated
from promptlab.cli.library_defaults import default_of

if TYPE_CHECKING:
    from promptlab.core.types import Example

DIALECT = "promptlab.data.dialects:Dialect"


@dataclass(frozen=True)
class DialectOptions(OptionGroup):
    """How text files are written."""

    title: ClassVar[str] = "Files"

    encoding: str = option(default=default_of(DIALECT, "encoding"), help="Of text files, such as utf-8 or cp1252.")
    delimiter: str = option(
        default=default_of(DIALECT, "delimiter"),
        help="Of CSV, TSV and .txt: a character, tab, or none for one text on each line.",
    )
    quoting: Literal["auto", "csv", "none"] = option(
        default=default_of(DIALECT, "quoting"),
        help="Of CSV and TSV: csv if quotes may enclose a field, none if they are text, as in GLUE's files.",
    )

    def dialect(self) -> Mapping[str, str]:
        """Return the settings by the names of ``Dialect``."""
        return {"encoding": self.encoding, "delimiter": self.delimiter, "quoting": self.quoting}


@dataclass(frozen=True)
class DataOptions(DialectOptions):
    """Which columns the fields of a template are in."""

    columns: tuple[str, ...] = repeated(
        "--column", metavar="FIELD=COLUMN", help="Take a template field from a column of another name; may be repeated."
    )

    def iter_unlabeled(self, file: Path) -> Iterator[Example]:
        """Read the rows of a file as they come; labels aren't looked at."""
        return self._iter(file, label=None)

    def _iter(self, file: Path, label: str | None, separator: str | None = None) -> Iterator[Example]:
        from promptlab.data.readers import iter_examples

        return iter_examples(
            file, columns=parse_pairs(self.columns), label=label, separator=separator, **self.dialect()
        )


@dataclass(frozen=True)
class LabelOptions(OptionGroup):
    """Which column the labels are in."""

    title: ClassVar[str] = "Files"

    label: str = option(
        default=default_of("promptlab.data.readers:read_examples", "label"), help="Column of the labels."
    )


@dataclass(frozen=True)
class LabeledDataOptions(LabelOptions, DataOptions):
    """Which columns fields and labels are in."""

    def iter_labeled(self, file: Path, *, separator: str | None = None) -> Iterator[Example]:
        """Read the rows of a file as they come.

        Args:
            separator: what stands between the labels of a row, or None if each has one.
        """
        return self._iter(file, label=self.label, separator=separator)

    def read(self, file: Path, *, separator: str | None = None) -> list[Example]:
        """Read the labeled rows of a file, as ``iter_labeled`` does."""
        return list(self.iter_labeled(file, separator=separator))

    def read_if_given(self, file: Path | None, *, separator: str | None = None) -> list[Example] | None:
        """Read the labeled rows of a file, if there is one."""
        return None if file is None else self.read(file, separator=separator)
