"""``promptlab demo``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

import click

from promptlab.cli.groups import OptionGroup, group_command, option
from promptlab.cli.option_groups.reports import ReportOptions
from promptlab.cli.printing import print_json, print_table, quiet_libraries

if TYPE_CHECKING:
    from promptlab.estimators.classifiers import HeadClassifier, PromptClassifier
    from promptlab.evaluation.baselines import DemoRow


@dataclass(frozen=True)
class DemoOptions(OptionGroup):
    """Which model learns from which draw."""

    title: ClassVar[str] = "Demo"

    model: str = option(default="minilm", help="Model package, hub id or folder.")
    split: Literal["13", "21", "42", "87", "100"] = option(default="13")


@group_command("demo")
def command(demo: DemoOptions, report: ReportOptions) -> None:
    """Classify film reviews from 16 examples a class: zero-shot, linear probe, head and prompt fine-tuning."""
    from promptlab.evaluation.baselines import run_demo

    quiet_libraries()
    rows = []
    for row in run_demo(demo.model, split=int(demo.split)):
        click.echo(f"{row.method}: {100 * row.accuracy:.1f} %", err=True)
        rows.append(row)
    answers = _answers(rows[-1].classifier)
    if report.as_json:
        names = ("method", "accuracy", "seconds", "trained_weights")
        print_json({"results": [{name: getattr(r, name) for name in names} for r in rows], "predictions": answers})
    else:
        _print(rows, answers, demo.model)


def _answers(classifier: PromptClassifier | HeadClassifier) -> list[dict[str, object]]:
    """Return five texts with the probabilities of their classes."""
    from promptlab.data.samples import load_sample
    from promptlab.evaluation.baselines import TASK

    examples = load_sample(TASK).test[:5]
    return [
        {"text": e.fields["text_a"], "truth": e.label}
        | {name: round(float(p), 3) for name, p in zip(classifier.class_names_, row, strict=True)}
        for e, row in zip(examples, classifier.predict_proba(examples), strict=True)
    ]


def _print(rows: Sequence[DemoRow], answers: Sequence[Mapping[str, object]], model: str) -> None:
    table = [[r.method, f"{100 * r.accuracy:.1f} %", f"{r.seconds:.1f}", f"{r.trained_weights:,}"] for r in rows]
    print_table(
        f"SST-2, 16 examples a class, {model}, 872 dev sentences",
        ["method", "accuracy", "seconds", "trained weights"],
        table,
    )
    classes = rows[-1].classifier.class_names_
    print_table(
        "five predictions of the last one",
        ["text", "truth", *(f"p({name})" for name in classes)],
        [[a["text"], a["truth"], *(a[name] for name in classes)] for a in answers],
    )
