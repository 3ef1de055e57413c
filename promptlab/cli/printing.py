"""What commands print: results, tables, label words, notes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from promptlab.core.types import Example


def quiet_libraries() -> None:
    """Keep loading bars and what the libraries log out of a terminal that shows ours."""
    from huggingface_hub.utils import logging as hub
    from transformers.utils import logging

    logging.disable_progress_bar()
    logging.set_verbosity_error()
    hub.set_verbosity_error()  # each retry of a connection, whose failure our error tells


def warn_of_shared(fields: Sequence[str], **sets: Sequence[Example] | None) -> None:
    """Say on standard error which rows have the texts of another set's rows, whatever their labels.

    Args:
        fields: that are read.
        sets: examples by what the set is called; None for no such set.
    """
    from itertools import combinations

    from promptlab.data.overlap import count_shared

    given = {name: examples for name, examples in sets.items() if examples is not None}
    for (name, examples), (other, others) in combinations(given.items(), 2):
        if count := count_shared(others, examples, fields):
            click.echo(
                f"warning: {count} of {len(others)} {other} rows have the text of a {name} row, so that a score on "
                "them says little of new text; take them out",
                err=True,
            )


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]], *, n_text: int = 1) -> None:
    """A table on standard output; the first ``n_text`` columns are text, the others are numbers."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title)
    for number, column in enumerate(columns):
        is_text = number < n_text
        table.add_column(column, justify="left" if is_text else "right", no_wrap=not is_text, overflow="fold")
    for row in rows:
        table.add_row(*(Text(str(cell)) for cell in row))  # as it is: no markup, no emoji
    Console().print(table)


def print_result(result: Mapping[str, object], *, as_json: bool) -> None:
    """Names and values on one line, or as JSON."""
    if as_json:
        print_json(result)
    else:
        click.echo("  ".join(f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in result.items()))


def write_label_words(path: Path | None, label_words: Mapping[str, Sequence[str]]) -> None:
    """Write class → words as JSON, as ``--verbalizer`` takes it, if there is a path to write to."""
    from promptlab.core.files import atomic_file

    if path is not None:
        with atomic_file(path) as file:
            file.write_text(json.dumps(label_words, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def print_json(value: Mapping[str, object] | Sequence[object]) -> None:
    click.echo(json.dumps(value, ensure_ascii=False))
