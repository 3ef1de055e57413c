"""A template search as one HTML page that needs nothing else: leaderboard, plots, label words, explained examples."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from promptlab.core.files import atomic_file
from promptlab.estimators.classifiers import PromptClassifier
from promptlab.evaluation.inspection import class_words, explain
from promptlab.search.templates.ranking import RankedTemplate
from promptlab.search.templates.search import Leaderboard
from promptlab.search.templates.task import in_turn

WIDTH, HEIGHT, MARGIN = 640, 300, 44  # of a plot, in pixels


class Point(NamedTuple):
    """A point of a plot, in pixels."""

    x: float
    y: float
    label: str


def write_report(path: str | Path, board: Leaderboard, *, examples: int = 6) -> None:
    """Write the page.

    Label words and explanations are those of the best pair on dev, with the model as it was before fine-tuning.

    Args:
        examples: dev examples to explain, of all classes in turn.

    Raises:
        DataError: if the file can't be written.
    """
    page = render_report(board, examples=examples)
    with atomic_file(path) as file:
        file.write_text(page, encoding="utf-8")


def render_report(board: Leaderboard, *, examples: int = 6) -> str:
    """The page as text; what comes from data or models is escaped."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    best, task = board.best[0].found, board.task
    device = str(next(task.backbone.parameters()).device)
    classifier = PromptClassifier(
        best.template,
        best.label_words,
        task.backbone,
        "none",
        max_length=task.max_length,
        device=device,
        seed=task.seed,
    )
    of_class = [[example for example in task.dev if example.label == name] for name in best.label_words]
    some = list(islice(in_turn(of_class), examples))
    return environment.get_template("report.html.j2").render(
        about=board.about,
        best=list(zip(board.names(), board.best, map(board.estimate, range(len(board.best))))),
        estimate=board.estimate(0),
        n_found=len(board.ranked),
        unusable=board.unusable,
        rounds=sorted({updates for one in board.ranked for updates in one.rounds}),
        bars=_bars(board.best),
        halving=_halving(board.ranked),
        ends=_ends(board.ranked),
        scatter=_scatter(board.ranked),
        ticks=[(share, _across(share), _up(share)) for share in (0.0, 0.25, 0.5, 0.75, 1.0)],
        frame={"width": WIDTH, "height": HEIGHT, "margin": MARGIN},
        classes=list(best.label_words),
        words=class_words(classifier, task.dev),
        explained=list(zip(some, explain(classifier, some))),
    )


def _across(share: float) -> float:
    return round(MARGIN + share * (WIDTH - 2 * MARGIN), 1)


def _up(share: float) -> float:
    return round(HEIGHT - MARGIN - share * (HEIGHT - 2 * MARGIN), 1)


def _bars(best: Sequence[RankedTemplate]) -> list[dict[str, float]]:
    """For each of the best a bar of its accuracy on dev, and where its zero-shot accuracy and the number stand."""
    return [
        {
            "number": number,
            "end": _across(one.result.accuracy),
            "mark": _across(one.zero_shot.accuracy),
            "text": _across(max(one.result.accuracy, one.zero_shot.accuracy)) + 8,
            "accuracy": one.result.accuracy,
        }
        for number, one in enumerate(best, start=1)
    ]


def _halving(ranked: Sequence[RankedTemplate]) -> list[list[Point]]:
    """For each template that was fine-tuned its accuracy on dev by updates, from 0."""
    last = max((max(one.rounds) for one in ranked if one.rounds), default=1)
    return [
        [
            Point(_across(updates / last), _up(result.accuracy), f"{updates} updates: {result.accuracy:.3f}")
            for updates, result in one.results.items()
        ]
        for one in ranked
        if one.rounds
    ]


def _ends(ranked: Sequence[RankedTemplate]) -> list[Point]:
    """Where the lines of fine-tuning end, with the ranks of the templates whose lines end there."""
    numbers = [number for number, one in enumerate(ranked, start=1) if one.rounds]
    ends: dict[tuple[float, float], list[str]] = {}
    for number, line in zip(numbers, _halving(ranked)):
        ends.setdefault(line[-1][:2], []).append(str(number))
    return [Point(x, y, ", ".join(names)) for (x, y), names in ends.items()]


def _scatter(ranked: Sequence[RankedTemplate]) -> list[Point]:
    """Zero-shot accuracy (across) against that after the first round (up)."""
    return [
        Point(_across(one.zero_shot.accuracy), _up(first.accuracy), one.found.template)
        for one in ranked
        if one.rounds and (first := one.rounds[min(one.rounds)])
    ]
