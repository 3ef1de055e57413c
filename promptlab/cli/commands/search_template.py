"""``promptlab search-template``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import click

from promptlab.cli.arguments import parse_pairs, parse_verbalizer, value_of
from promptlab.cli.groups import (
    FOLDER,
    OptionGroup,
    Settings,
    argument,
    flag,
    group_command,
    option,
    repeated,
    settings_of,
)
from promptlab.cli.library_defaults import default_of
from promptlab.cli.option_groups.data import LabeledDataOptions
from promptlab.cli.option_groups.models import ModelOptions, RunOptions
from promptlab.cli.option_groups.reports import ReportOptions
from promptlab.cli.printing import print_json, print_table, quiet_libraries
from promptlab.core.registry import TEMPLATE_SEARCHES

if TYPE_CHECKING:
    from promptlab.search.templates.search import Leaderboard

SEARCH = "promptlab.search.templates.search:search_templates"
LONGEST = 70  # signs of a template in the table


@dataclass(frozen=True)
class SearchFiles(OptionGroup):
    """What is read, and where the best is written."""

    title: ClassVar[str] = "Files"

    train: Path = argument()
    dev: Path | None = option(help="Labeled file to choose by. [default: half of each class of TRAIN]")
    output: Path | None = option("-o", "--output", help="YAML for fit --pvp.")
    report: Path | None = option(help="HTML page.")
    resume_dir: Path | None = option(type=FOLDER, help="Folder from which an interrupted search goes on.")

    def check(self) -> None:
        """Refuse files that can't be written, or that are another's, before any work.

        Raises:
            DataError: if one can't be written.
            click.UsageError: if one is named twice.
        """
        from promptlab.core.files import check_writable

        files = [path.resolve() for path in (self.train, self.dev, self.output, self.report) if path is not None]
        for path in filter(None, (self.output, self.report)):
            if files.count(path.resolve()) > 1:
                raise click.UsageError(f"{path} is named twice; give --output and --report files of their own.")
            check_writable(path)


@dataclass(frozen=True)
class SearchOptions(OptionGroup):
    """What is searched, and how the best are chosen."""

    title: ClassVar[str] = "Search"

    engine: str = option(default="heuristic", help=f"What finds templates: {', '.join(TEMPLATE_SEARCHES.names)}.")
    engine_args: tuple[str, ...] = repeated("--engine-arg", metavar="NAME=VALUE", help="Setting of the engine.")
    generator: str | None = option(help="Model that writes the templates, for engines that take one.")
    verbalizer: str = option(required=True, help="Label words of one token: JSON, a JSON file or a name.")
    label_words: int | None = option(
        type=click.IntRange(min=1), metavar="N", help="Also search N for each of the best."
    )
    budget: str = option(default=default_of(SEARCH, "budget"), help="small (of dev 64 rows), medium or large.")
    zero_shot: bool = flag(help="Rank by the untrained model; nothing is fine-tuned.")
    top: int = option(
        default=default_of(SEARCH, "top"), type=click.IntRange(min=1), help="Templates to write and print."
    )
    diversity: float = option(default=default_of(SEARCH, "diversity"), help="Above 0: choose different ones, too.")

    def settings(self) -> Settings:
        from promptlab.search.templates.ranking import Ranking

        given = parse_pairs(self.engine_args, "NAME=VALUE, such as candidates=100") or {}
        of_engine = {name: value_of(text) for name, text in given.items()}
        if self.generator is not None:
            of_engine["generator"] = self.generator
        return {
            "verbalizer": parse_verbalizer(self.verbalizer),
            "searched_words": self.label_words or 0,
            "budget": self.budget,
            "ranking": Ranking(rounds=()) if self.zero_shot else None,
            "top": self.top,
            "diversity": self.diversity,
            "settings": of_engine,
        }


@dataclass(frozen=True)
class SearchedModel(ModelOptions):
    """Which model the templates are for."""

    max_length: int | None = option(
        type=click.IntRange(min=1), help="Tokens of the prompt. [default: 64 for small, the model's limit]"
    )


@group_command("search-template")
def command(
    files: SearchFiles,
    search: SearchOptions,
    model: SearchedModel,
    run: RunOptions,
    data: LabeledDataOptions,
    report: ReportOptions,
) -> None:
    """Search templates for the labeled rows of TRAIN and print the best, with their accuracy on dev."""
    from promptlab.library.pvps import write_pvps
    from promptlab.search.templates.report import write_report
    from promptlab.search.templates.search import search_templates

    quiet_libraries()
    files.check()
    settings = settings_of(search, model, run)
    train, dev = data.read(files.train), data.read_if_given(files.dev)
    held_out = None if dev is None else (dev, None)
    board = search_templates(search.engine, train, eval_set=held_out, resume_dir=files.resume_dir, **settings)
    for note in _notes(board, files.train):
        click.echo(note, err=True)
    if files.output is not None:
        write_pvps(files.output, board.pvps())
    if files.report is not None:
        write_report(files.report, board)
    if report.as_json:
        print_json(
            [{"name": p.name, "template": p.template, "label_words": p.verbalizer, **p.origin} for p in board.pvps()]
        )
    else:
        with_words = search.label_words is not None
        print_table(_title(board), *_table(board, with_words=with_words), n_text=3 if with_words else 2)


def _title(board: Leaderboard) -> str:
    names = board.names()
    said = names[0] if len(names) == 1 else f"{names[0]} to {names[-1]}"
    return f"{said} of {len(board.ranked)} templates, by accuracy on the {board.about['dev']} dev rows that chose them"


def _table(board: Leaderboard, *, with_words: bool) -> tuple[list[str], list[tuple[str, ...]]]:
    """Columns and rows; without label words if all have the same."""
    estimates = [board.estimate(place) for place in range(len(board.best))]
    table = {
        "#": [str(rank) for rank in range(1, len(board.best) + 1)],
        "template": [_short(one.found.template) for one in board.best],
        "label words": [_listed(one.found.label_words) for one in board.best],
        "dev (chose)": [f"{one.result.accuracy:.3f}" for one in board.best],
        "estimate": ["–" if one is None else f"{one.accuracy:.3f}" for one in estimates],
        "zero-shot": [f"{one.zero_shot.accuracy:.3f}" for one in board.best],
        "updates": [one.training for one in board.best],
    }
    if not with_words:
        del table["label words"]
    return list(table), list(zip(*table.values()))


def _short(template: str) -> str:
    """A template whose middle is left out if it is long; whole ones are in JSON and YAML."""
    return template if len(template) <= LONGEST else f"{template[: LONGEST - 25]} … {template[-22:]}"


def _notes(board: Leaderboard, train: Path) -> Iterator[str]:
    """What a search left out, and why."""
    about = board.about
    if about["dev_from_train"]:
        yield f"no --dev: half of each class of {train}, drawn by seed {about['seed']}, was kept for it"
    if n := about["dev_left_out"]:
        yield f"dev rows left out since their texts are training rows', too: {n}"
    for name in ("train", "dev"):
        if n := about[f"{name}_unused"]:
            yield (
                f"{name} rows left out since --budget {about['budget']} takes {about[name]}, in proportion to the "
                f"classes: {n}"
            )
    if board.unusable:
        template, reason = next(iter(board.unusable.items()))
        yield f"templates left out since they don't fit all rows: {len(board.unusable)}, such as {template!r}: {reason}"
    yield _expected(board)
    if any(one.rounds for one in board.best):
        yield "updates: with how many a template is best on dev; in brackets what more of them came to"
    if not board.best[0].updates and board.best[0].rounds:
        yield "the first is best untrained: fit it with --tuning none, or look at those that training helped"


def _expected(board: Leaderboard) -> str:
    """What the accuracies on dev are worth."""
    about, estimate = board.about, board.estimate(0)
    said = (
        f"dev accuracy is the highest of {len(board.ranked)} on the {about['dev']} rows that chose it, of which one is "
        f"worth {100 / about['dev']:.1f} points: too high for new text."
    )
    if estimate is None:
        return f"{said} There are too few dev rows for an estimate; give at least 4."
    return (
        f"{said} Expect {estimate.accuracy:.3f} ± {estimate.standard_error:.3f} of the first: chosen by all but one of "
        f"{about['estimate']['folds']} parts of dev, on that part."
    )


def _listed(label_words: Mapping[str, Sequence[str]]) -> str:
    return "; ".join(f"{name}: {', '.join(words)}" for name, words in label_words.items())
