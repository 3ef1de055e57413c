"""``promptlab evaluate``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from promptlab.cli.groups import OptionGroup, argument, group_command
from promptlab.cli.option_groups.data import LabeledDataOptions
from promptlab.cli.option_groups.models import DeviceOptions, SavedModel, SeparatorOptions
from promptlab.cli.option_groups.reports import ReportOptions
from promptlab.cli.printing import print_json, print_table, quiet_libraries

if TYPE_CHECKING:
    from promptlab.estimators.table_scores import Scores


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

    quiet_libraries()
    saved.check_first(data.iter_labeled(files.file, separator=labels.separator or "|"))
    classifier = saved.load(device.device)
    with error_context(saved.model_folder):
        scored = classifier.check_scored()
    separator = labels.between_labels(classifier, saved.model_folder)
    found = scored.make(classifier, data.iter_labeled(files.file, separator=separator))
    if report.as_json:
        print_json(found)
    else:
        _print(found, scored.titles, str(files.file))


def _print(found: Scores, titles: Mapping[str, str], file: str) -> None:
    """Print the scores of each class, if there are classes, and those of all rows."""
    table = [
        [name, f"{v['precision']:.3f}", f"{v['recall']:.3f}", f"{v['f1']:.3f}", v["support"]]
        for name, v in found.get("classes", {}).items()
    ]
    if table:
        print_table(file, ["class", "precision", "recall", "F1", "rows"], table)
    scores = [f"{title} {found[name]:.4f}" for name, title in titles.items()]
    click.echo("  ".join([*scores, f"rows {found['rows']}"]))
