"""``promptlab list``."""

from __future__ import annotations

import click

from promptlab.cli.options import json_option, print_json

ESCAPES = {ord("\\"): r"\\", ord("\n"): r"\n", ord("\r"): r"\r", ord("\t"): r"\t"}
KINDS = ("tasks", "templates", "verbalizers", "tunings", "models", "families", "samples")


@click.command("list")
@click.argument("kind", type=click.Choice(KINDS))
@click.option("--task", help="Only templates or verbalizers of one task.")
@json_option
def command(kind: str, task: str | None, as_json: bool) -> None:
    """List what can be chosen by name."""
    if task is not None and kind not in ("templates", "verbalizers"):
        raise click.UsageError("--task goes with templates and verbalizers.")
    names = _describe(kind, task)
    if as_json:
        print_json(names)
        return
    for name, text in names.items():
        click.echo(f"{name}\t{one_line(text)}" if text else name)


def one_line(text: str) -> str:
    """A text whose line breaks and tabs are written as \\n and \\t, as in a string of Python or JSON."""
    return text.translate(ESCAPES)


def _describe(kind: str, task: str | None) -> dict[str, str]:
    from promptlab.core.registry import BACKBONES, TUNINGS
    from promptlab.library import tasks as library

    if kind == "templates":
        return {name: library.template_entry(name).template for name in library.template_names(task)}
    if kind == "verbalizers":
        return {name: _words(name) for name in library.verbalizer_names(task)}
    if kind == "tasks":
        return {name: library.template_entry(name).description for name in library.tasks()}
    if kind == "tunings":
        return {name: str(TUNINGS.get(name).__doc__).splitlines()[0] for name in TUNINGS.names}
    if kind == "families":
        return {name: str(BACKBONES.get(name).__doc__).splitlines()[0] for name in BACKBONES.names}
    if kind == "samples":
        from promptlab.data.samples import sample_names

        return dict.fromkeys(sample_names(), "")
    from promptlab.backbones.catalog import packages
    from promptlab.backbones.download import DOWNLOADS, downloaded

    found = {name: f"package {entry.dist.name if entry.dist else '?'}" for name, entry in packages().items()}
    fetched = {name: "" if downloaded(name) else f" (promptlab download {name})" for name in DOWNLOADS}
    return found | {name: DOWNLOADS[name].about + note for name, note in fetched.items()}


def _words(name: str) -> str:
    from promptlab.library.tasks import verbalizer_entry

    words = verbalizer_entry(name).label_words
    return "; ".join(f"{label}: {', '.join(row)}" for label, row in words.items())
