"""Options and output that several commands share."""

from __future__ import annotations

import functools
import itertools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from promptlab.core.types import Example

FILE = click.Path(exists=False, dir_okay=False, path_type=Path)


def columns_option(command: Callable[..., Any]) -> Callable[..., Any]:
    return click.option(
        "--column",
        "columns",
        multiple=True,
        metavar="FIELD=COLUMN",
        help="Take a template field from a column of another name; may be repeated.",
    )(command)


def dialect_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Options that say how text files are written; the command gets them as one mapping, ``dialect``."""

    @functools.wraps(command)
    def with_dialect(*, encoding: str, delimiter: str, quoting: str, **options: Any) -> Any:
        dialect = {"encoding": encoding, "delimiter": delimiter, "quoting": quoting}
        return command(dialect=dialect, **options)

    for option in (
        click.option(
            "--quoting",
            type=click.Choice(["auto", "csv", "none"]),
            default="auto",
            show_default=True,
            help="Of CSV and TSV: csv if quotes may enclose a field, none if they are text, as in GLUE's files.",
        ),
        click.option(
            "--delimiter",
            default="auto",
            show_default=True,
            help="Of CSV, TSV and .txt: a character, tab, or none for one text on each line.",
        ),
        click.option("--encoding", default="auto", show_default=True, help="Of text files, such as utf-8 or cp1252."),
    ):
        with_dialect = option(with_dialect)
    return with_dialect


def base_option(command: Callable[..., Any]) -> Callable[..., Any]:
    return click.option(
        "--model",
        "base",
        metavar="NAME",
        help="The base model, if it isn't where it was when the classifier was saved: a name, hub id or folder.",
    )(command)


def label_option(command: Callable[..., Any]) -> Callable[..., Any]:
    return click.option("--label", default="label", show_default=True, help="Column of the labels.")(command)


def separator_option(command: Callable[..., Any]) -> Callable[..., Any]:
    return click.option(
        "--separator",
        help="What stands between the labels of a row, if it may have several; JSON lists are taken as they are. "
        "[default: the model's own, | unless fit was told another]",
    )(command)


def chosen_separator(classifier: Any, separator: str | None) -> str:
    """What stands between the labels that a classifier reads and writes: the separator that was given, or its own.

    Raises:
        DataError: if its classes couldn't be told apart with it.
    """
    from promptlab.data.labels import check_separator

    chosen: str = classifier.separator if separator is None else separator
    check_separator(chosen, classifier.class_names_)
    return chosen


def check_no_separator(separator: str | None, model_folder: str) -> None:
    """Refuse a separator where each row has one label.

    Raises:
        click.UsageError: if there is one.
    """
    if separator is not None:
        raise click.UsageError(f"--separator is for several labels a row, but {model_folder} predicts one.")


def class_weight_option(command: Callable[..., Any]) -> Callable[..., Any]:
    return click.option(
        "--class-weight",
        metavar="balanced|JSON",
        callback=lambda _, __, text: parse_class_weight(text),
        help='How much the rows of each class count: balanced, or JSON such as {"spam": 2}; 1 where none is given.',
    )(command)


def parse_class_weight(text: str | None) -> Any:
    """``balanced`` as it is, or class → weight from JSON.

    Raises:
        click.BadParameter: if it is neither.
    """
    if text is None or text == "balanced":
        return text
    try:
        weights = json.loads(text)
    except ValueError:
        weights = None
    if not isinstance(weights, dict):
        raise click.BadParameter(f'{text!r} should be balanced, or JSON such as {{"spam": 2}}.')
    return weights


def check_trains(tuning: str, **settings: Any) -> None:
    """Refuse settings of training where nothing is trained, instead of the warning that Python gives.

    Raises:
        click.UsageError: naming the option.
    """
    from promptlab.core.registry import TUNINGS

    unused = [name for name in ("max_steps", "epochs", "learning_rate") if settings.get(name) is not None]
    if unused and TUNINGS.make(tuning).defaults.max_steps == 0:
        option = f"--{unused[0].replace('_', '-')}"
        raise click.UsageError(f"--tuning {tuning} trains nothing, so that {option} has no use; leave it out.")


def json_option(command: Callable[..., Any]) -> Callable[..., Any]:
    return click.option("--json", "as_json", is_flag=True, help="Print JSON for machines.")(command)


def parse_pairs(pairs: Sequence[str], form: str = "FIELD=COLUMN, such as text_a=sentence") -> dict[str, str] | None:
    """``("text_a=sentence",)`` → ``{"text_a": "sentence"}``; None if there are none.

    Raises:
        click.BadParameter: if a pair has no ``=``, or two have one name.
    """
    wrong = [pair for pair in pairs if "=" not in pair.strip("=")]
    if wrong:
        raise click.BadParameter(f"{wrong[0]!r} should look like {form}.")
    names = [pair.split("=", 1)[0] for pair in pairs]
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise click.BadParameter(f"{twice[0]!r} is given twice; give it once.")
    return dict(pair.split("=", 1) for pair in pairs) or None


def quiet_libraries() -> None:
    """Keep loading bars and what the libraries log out of a terminal that shows ours."""
    from huggingface_hub.utils import logging as hub
    from transformers.utils import logging

    logging.disable_progress_bar()
    logging.set_verbosity_error()
    hub.set_verbosity_error()  # each retry of a connection, whose failure our error tells


def warn_of_shared(fields: Sequence[str], **sets: Sequence[Any] | None) -> None:
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


def readable(model_folder: str, examples: Iterator[Example]) -> Iterator[Example]:
    """The examples, the first of them checked against the templates saved in a folder, before its model is loaded.

    Raises:
        PromptlabError: if the file can't be read, or its rows lack a field.
    """
    from promptlab.core.registry import TEMPLATES
    from promptlab.data.labeled import check_fields
    from promptlab.estimators.saving import local, read_settings

    settings = read_settings(local(model_folder))
    first = next(examples)
    for part in (settings, *settings.get("pvps", ())):
        if "template" in part:
            check_fields(TEMPLATES.from_dict(part["template"]), [first])
    return itertools.chain([first], examples)


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], *, n_text: int = 1) -> None:
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


def print_result(result: Mapping[str, Any], *, as_json: bool) -> None:
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


def print_json(value: Mapping[str, Any] | Sequence[Any]) -> None:
    click.echo(json.dumps(value, ensure_ascii=False))
