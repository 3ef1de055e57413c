"""``promptlab search-template``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from promptlab.cli.options import (
    FILE,
    columns_option,
    dialect_options,
    json_option,
    label_option,
    parse_pairs,
    print_json,
    print_table,
    quiet_libraries,
)
from promptlab.core.registry import TEMPLATE_SEARCHES

if TYPE_CHECKING:
    from promptlab.search.templates.search import Leaderboard

LONGEST = 70  # signs of a template in the table


@click.command("search-template")
@click.argument("train", type=FILE)
@click.option(
    "--engine",
    default="heuristic",
    show_default=True,
    help=f"What finds templates: {', '.join(TEMPLATE_SEARCHES.names)}.",
)
@click.option("--verbalizer", required=True, help="Label words of one token: JSON, a JSON file or a name.")
@click.option("--dev", type=FILE, help="Labeled file to choose by. [default: half of each class of TRAIN]")
@click.option("--model", help="Model package, hub id or folder. [default: minilm, if installed]")
@click.option("--generator", help="Model that writes the templates, for engines that take one.")
@click.option("--engine-arg", "engine_args", multiple=True, metavar="NAME=VALUE", help="Setting of the engine.")
@click.option("--budget", default="small", show_default=True, help="small (of dev 64 rows), medium or large.")
@click.option("--zero-shot", is_flag=True, help="Rank by the untrained model; nothing is fine-tuned.")
@click.option("--top", type=click.IntRange(min=1), default=10, show_default=True, help="Templates to write and print.")
@click.option("--diversity", type=float, default=0.0, show_default=True, help="Above 0: choose different ones, too.")
@click.option("--label-words", type=click.IntRange(min=1), metavar="N", help="Also search N for each of the best.")
@click.option("--output", "-o", type=click.Path(dir_okay=False, path_type=Path), help="YAML for fit --pvp.")
@click.option("--report", type=click.Path(dir_okay=False, path_type=Path), help="HTML page.")
@click.option("--resume-dir", type=click.Path(path_type=Path), help="Folder from which an interrupted search goes on.")
@click.option(
    "--max-length", type=click.IntRange(min=1), help="Tokens of the prompt. [default: 64 for small, the model's limit]"
)
@click.option("--device", default="auto", show_default=True)
@click.option("--seed", type=int, default=0, show_default=True)
@columns_option
@label_option
@dialect_options
@json_option
def command(
    train: Path,
    engine: str,
    verbalizer: str,
    dev: Path | None,
    generator: str | None,
    engine_args: tuple[str, ...],
    budget: str,
    zero_shot: bool,
    label_words: int | None,
    output: Path | None,
    report: Path | None,
    columns: tuple[str, ...],
    label: str,
    dialect: Mapping[str, str],
    as_json: bool,
    **options: Any,
) -> None:
    """Search templates for the labeled rows of TRAIN and print the best, with their accuracy on dev."""
    from promptlab.cli.arguments import value_of
    from promptlab.cli.commands.fit import parse_verbalizer
    from promptlab.core.files import check_writable
    from promptlab.data.readers import read_examples
    from promptlab.library.pvps import write_pvps
    from promptlab.search.templates.ranking import Ranking
    from promptlab.search.templates.report import write_report
    from promptlab.search.templates.search import search_templates

    quiet_libraries()
    files = [path.resolve() for path in (train, dev, output, report) if path is not None]
    for path in filter(None, (output, report)):
        if files.count(path.resolve()) > 1:
            raise click.UsageError(f"{path} is named twice; give --output and --report files of their own.")
        check_writable(path)
    given = parse_pairs(engine_args, "NAME=VALUE, such as candidates=100") or {}
    settings = {name: value_of(text) for name, text in given.items()}
    if generator is not None:
        settings["generator"] = generator
    fields = parse_pairs(columns)
    held_out = None if dev is None else (read_examples(dev, columns=fields, label=label, **dialect), None)
    board = search_templates(
        engine,
        read_examples(train, columns=fields, label=label, **dialect),
        verbalizer=parse_verbalizer(verbalizer),
        eval_set=held_out,
        budget=budget,
        ranking=Ranking(rounds=()) if zero_shot else None,
        searched_words=label_words or 0,
        settings=settings,
        **options,
    )
    for note in _notes(board, train):
        click.echo(note, err=True)
    if output is not None:
        write_pvps(output, board.pvps())
    if report is not None:
        write_report(report, board)
    if as_json:
        print_json(
            [{"name": p.name, "template": p.template, "label_words": p.verbalizer, **p.origin} for p in board.pvps()]
        )
        return
    print_table(_title(board), *_table(board, with_words=bool(label_words)), n_text=3 if label_words else 2)


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
