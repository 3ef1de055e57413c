"""``promptlab export``."""

from __future__ import annotations

from pathlib import Path

import click

from promptlab.cli.options import base_option, quiet_libraries


@click.command("export")
@click.argument("model_folder", metavar="MODEL")
@click.option("--output", "-o", type=click.Path(path_type=Path), required=True, help="A new folder.")
@base_option
def command(model_folder: str, output: Path, base: str | None) -> None:
    """Write the language model of the classifier saved in MODEL as an ordinary Hugging Face folder.

    Updates such as LoRA's are merged into its weights; the classifier's own head isn't part of it.
    """
    from promptlab.core.files import check_savable
    from promptlab.core.registry import ESTIMATORS
    from promptlab.estimators.saving import load_any, local, read_settings

    quiet_libraries()
    kind = read_settings(local(model_folder))["estimator"]
    if kind in ESTIMATORS.names and not hasattr(ESTIMATORS.get(kind), "export_model"):
        raise click.UsageError(
            f"{model_folder} holds a {kind}, which is several models; export {model_folder}/member-0."
        )
    check_savable(output)  # before the model is loaded
    load_any(model_folder, model=base, device="cpu").export_model(output)
    click.echo(str(output))
