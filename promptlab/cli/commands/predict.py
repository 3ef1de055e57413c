"""``promptlab predict``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from promptlab.cli.groups import OptionGroup, argument, flag, group_command, option
from promptlab.cli.option_groups.data import DataOptions
from promptlab.cli.option_groups.models import DeviceOptions, SavedModel, SeparatorOptions
from promptlab.cli.outputs import holds_lists, output_format, write_rows
from promptlab.cli.printing import quiet_libraries


@dataclass(frozen=True)
class PredictFiles(OptionGroup):
    """What is read and written."""

    title: ClassVar[str] = "Files"

    file: Path = argument()
    output: Path | None = option(
        "-o", "--output", help="File of .csv, .tsv, .jsonl or .parquet. [default: standard output]"
    )
    proba: bool = flag(help="Add the probability of every class.")
    as_json: bool = flag("--json", help="JSON Lines on standard output instead of TSV.")


@group_command("predict")
def command(
    saved: SavedModel, files: PredictFiles, device: DeviceOptions, data: DataOptions, labels: SeparatorOptions
) -> None:
    """Classify the rows of FILE with the classifier saved in MODEL, or let the generator saved there write.

    Rows are read and written as they come.
    """
    from promptlab.core.errors import error_context

    quiet_libraries()
    suffix = output_format(files.output, as_json=files.as_json)
    examples = saved.check_first(data.iter_unlabeled(files.file))
    estimator = saved.load(device.device)
    separator = labels.between_labels(estimator, saved.model_folder, as_lists=holds_lists(suffix))
    with error_context(saved.model_folder):
        rows = estimator.table_rows(examples, proba=files.proba, separator=separator)
    write_rows(rows, files.output, suffix)
