"""``promptlab search-verbalizer``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import click

from promptlab.cli.arguments import parse_pairs, value_of
from promptlab.cli.groups import OptionGroup, Settings, argument, group_command, option, repeated, settings_of
from promptlab.cli.library_defaults import default_of
from promptlab.cli.option_groups.data import LabeledDataOptions
from promptlab.cli.option_groups.models import ModelOptions, RunOptions
from promptlab.cli.option_groups.reports import ReportOptions
from promptlab.cli.printing import print_json, print_table, quiet_libraries, write_label_words
from promptlab.cli.rules import Rule
from promptlab.core.registry import WORD_SEARCHES

if TYPE_CHECKING:
    from promptlab.core.types import Example
    from promptlab.search.words.search import FoundWords

SEARCH = "promptlab.search.words.search:search_words"


@dataclass(frozen=True)
class WordFiles(OptionGroup):
    """What is read, and where the best is written."""

    title: ClassVar[str] = "Files"

    train: Path = argument()
    dev: Path | None = option(help="Fine-tune with each result and rank them by their accuracy on this file.")
    output: Path | None = option("-o", "--output", help="The best, as JSON for fit.")


@dataclass(frozen=True)
class WordSearchOptions(OptionGroup):
    """What is searched."""

    title: ClassVar[str] = "Search"
    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            when=("words",),
            excludes=("engine=lm-bff",),
            message="--words is for petal and autoprompt; lm-bff gives each class one word.",
        ),
    )

    template: str = option(required=True, help="Jinja source or a name, with one mask.")
    engine: str = option(default=default_of(SEARCH, "engine"), type=click.Choice(WORD_SEARCHES.names))
    engine_args: tuple[str, ...] = repeated("--engine-arg", metavar="NAME=VALUE", help="Setting of the engine.")
    top: int = option(default=5, type=click.IntRange(min=1), help="Results to print.")
    candidates: int = option(default=default_of(SEARCH, "candidates"), help="Commonest words of the vocabulary.")
    words: int | None = option(type=click.IntRange(min=1), help="Of each class, for petal and autoprompt.")

    def settings(self) -> Settings:
        of_engine: dict[str, object] = {} if self.words is None else {"words": self.words}
        given = parse_pairs(self.engine_args, "NAME=VALUE, such as words=5") or {}
        of_engine |= {name: value_of(text) for name, text in given.items()}
        return {"engine": self.engine, "top": self.top, "candidates": self.candidates, "settings": of_engine}


@group_command("search-verbalizer")
def command(
    files: WordFiles,
    search: WordSearchOptions,
    model: ModelOptions,
    run: RunOptions,
    data: LabeledDataOptions,
    report: ReportOptions,
) -> None:
    """Find label words for the labeled rows of TRAIN and print the best."""
    from promptlab.core.files import check_writable
    from promptlab.search.words.search import rank_by_training, search_words

    quiet_libraries()
    if files.output is not None:
        check_writable(files.output)  # before a model is loaded
    train, dev = data.read(files.train), data.read_if_given(files.dev)
    found = search_words(search.template, train, **settings_of(search, model, run))
    file, n_rows = files.train, len(train)
    if files.dev is not None and dev is not None:
        settings = settings_of(model, run)
        found = rank_by_training(found, search.template, (train, None), (dev, None), **settings)
        file, n_rows = files.dev, len(dev) - _tell_shared(dev, train, search.template)
    write_label_words(files.output, found[0].label_words)
    if report.as_json:
        print_json([_word_json(one) | {"file": str(file), "rows": n_rows} for one in found])
        return
    click.echo(_note(found[0], file, n_rows), err=True)
    table = _table(found)
    print_table("label words", list(table), list(zip(*table.values())), n_text=1 + len(found[0].label_words))


def _tell_shared(dev: Sequence[Example], train: Sequence[Example], template: str) -> int:
    """Say how many dev rows were left out since they are training rows, and return that."""
    from promptlab.data.overlap import count_shared
    from promptlab.library.resolve import resolve_template

    shared = count_shared(dev, train, resolve_template(template).fields)
    if shared:
        click.echo(f"dev rows left out since their texts are training rows', too: {shared}", err=True)
    return shared


def _table(found: Sequence[FoundWords]) -> Mapping[str, Sequence[str]]:
    """Column → cells; estimates where dev chose."""
    best = found[0]
    table = {"#": [str(number) for number in range(1, len(found) + 1)]}
    table |= {name: [" ".join(one.label_words[name]) for one in found] for name in best.label_words}
    table[best.measure] = [f"{one.score:.3f}" for one in found]
    if best.measure == "dev accuracy":
        table["estimate"] = ["–" if one.estimate is None else f"{one.estimate.accuracy:.3f}" for one in found]
    return table


def _word_json(one: FoundWords) -> dict[str, object]:
    from promptlab.search.words.search import MEANINGS

    said = {"label_words": one.label_words, "score": one.score, "measure": one.measure}
    if one.estimate is not None:
        said |= {
            "estimated_accuracy": one.estimate.accuracy, "estimated_standard_error": one.estimate.standard_error,
        }  # fmt: skip
    return said | {"measure_is": MEANINGS[one.measure]}


def _note(best: FoundWords, file: Path, n_rows: int) -> str:
    """What the scores are, of which rows, and what to expect of new text."""
    from promptlab.search.words.search import MEANINGS

    said = f"{best.measure}: {MEANINGS[best.measure]} ({n_rows} rows of {file})."
    if best.estimate is None:
        return said
    expected = f"{best.estimate.accuracy:.3f} ± {best.estimate.standard_error:.3f}"
    return f"{said} Expect {expected} of the first: chosen by three quarters of dev, on the fourth."
