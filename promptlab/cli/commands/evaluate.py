"""``promptlab evaluate``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from promptlab.cli.groups import OptionGroup, argument, group_command
from promptlab.cli.option_groups.data import LabeledDataOptions
from promptlab.cli.option_groups.models import DeviceOptions, SavedModel, SeparatorOptions
from promptlab.cli.option_groups.reports import ReportOptions
from promptlab.cli.printing import print_json, print_table, quiet_libraries

SCORES = {  # of one label a row, or of several
    "accuracy": "accuracy",
    "subset_accuracy": "all labels right",
    "micro_f1": "micro-F1",
    "macro_f1": "macro-F1",
}


@dataclass(frozen=True)
class EvaluateFiles(OptionGroup):
    """What is read."""

    file: Path = argument()


@group_command("evaluate")
def command(
    saved: SavedModel,
    files: EvaluateFiles,
    device: DeviceOptions,
    data: LabeledDataOptions,
    labels: SeparatorOptions,
    report: ReportOptions,
) -> None:
    """Score the classifier saved in MODEL on the labeled rows of FILE, read as they come."""
    from promptlab.core.errors import error_context
    from promptlab.evaluation.metrics import report_for

    quiet_libraries()
    saved.check_first(data.iter_labeled(files.file, separator=labels.separator or "|"))
    classifier = saved.load(device.device)
    with error_context(saved.model_folder):
        scored = report_for(classifier)
    separator = labels.between_labels(classifier, saved.model_folder)
    found = scored.make(classifier, data.iter_labeled(files.file, separator=separator))
    if report.as_json:
        print_json(found)
    else:
        _print(found, str(files.file))


def _print(report: Mapping[str, Any], title: str) -> None:
    """Print the scores of each class, and those of all rows."""
    table = [
        [name, f"{v['precision']:.3f}", f"{v['recall']:.3f}", f"{v['f1']:.3f}", v["support"]]
        for name, v in report["classes"].items()
    ]
    print_table(title, ["class", "precision", "recall", "F1", "rows"], table)
    scores = [f"{shown} {report[name]:.4f}" for name, shown in SCORES.items() if name in report]
    click.echo("  ".join([*scores, f"rows {report['rows']}"]))
