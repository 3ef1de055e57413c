"""``promptlab export``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import click

from promptlab.cli.groups import FOLDER, OptionGroup, group_command, option
from promptlab.cli.option_groups.models import SavedModel
from promptlab.cli.printing import quiet_libraries


@dataclass(frozen=True)
class ExportFiles(OptionGroup):
    """Where the language model is written."""

    output: Path = option("-o", "--output", required=True, type=FOLDER, help="A new folder.")


@group_command("export")
def command(saved: SavedModel, files: ExportFiles) -> None:
    """Write the language model of the classifier saved in MODEL as an ordinary Hugging Face folder.

    Updates such as LoRA's are merged into its weights; the classifier's own head isn't part of it.
    """
    from promptlab.core.files import check_savable
    from promptlab.core.registry import ESTIMATORS
    from promptlab.estimators.saving import Exportable, local, read_settings

    quiet_libraries()
    kind = read_settings(local(saved.model_folder))["estimator"]
    if kind in ESTIMATORS.names and not issubclass(ESTIMATORS.get(kind), Exportable):
        raise click.UsageError(
            f"{saved.model_folder} holds a {kind}, which is several models; export {saved.model_folder}/member-0."
        )
    check_savable(files.output)  # before the model is loaded
    classifier = saved.load("cpu")
    assert isinstance(classifier, Exportable)
    classifier.export_model(files.output)
    click.echo(str(files.output))
