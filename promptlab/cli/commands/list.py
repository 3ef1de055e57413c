"""``promptlab list``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import click

from promptlab.cli.groups import OptionGroup, argument, group_command, option
from promptlab.cli.option_groups.reports import ReportOptions
from promptlab.cli.printing import print_json, print_table
from promptlab.cli.rules import Rule
from promptlab.core import registry

ESCAPES = {ord("\\"): r"\\", ord("\n"): r"\n", ord("\r"): r"\r", ord("\t"): r"\t"}
REGISTRIES = {
    "tunings": registry.TUNINGS,
    "engines": registry.TEMPLATE_SEARCHES,
    "word-engines": registry.WORD_SEARCHES,
    "verbalizer-kinds": registry.VERBALIZERS,
    "template-kinds": registry.TEMPLATES,
    "filters": registry.FILTERS,
    "estimators": registry.ESTIMATORS,
    "families": registry.BACKBONES,
}
KINDS = ("tasks", "templates", "verbalizers", "models", "samples", *REGISTRIES)
WITH_SETTINGS = [kind for kind in REGISTRIES if kind != "families"]


@dataclass(frozen=True)
class ListOptions(OptionGroup):
    """What is listed."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            when=("task",),
            needs=("kind=templates", "kind=verbalizers"),
            message="--task goes with templates and verbalizers.",
        ),
        Rule(
            when=("name",),
            needs=tuple(f"kind={kind}" for kind in WITH_SETTINGS),
            message=f"{{kind}} have no settings to show; a NAME goes with {', '.join(WITH_SETTINGS)}.",
        ),
    )

    kind: str = argument(type=click.Choice(KINDS))
    name: str | None = argument(required=False)
    task: str | None = option(help="Only templates or verbalizers of one task.")


@group_command("list")
def command(what: ListOptions, report: ReportOptions) -> None:
    """List what can be chosen by name, or the settings of the one called NAME, with their defaults."""
    if what.name is not None:
        _print_settings(what.kind, what.name, as_json=report.as_json)
        return
    names = _describe(what.kind, what.task)
    if report.as_json:
        print_json(names)
        return
    for one, text in names.items():
        click.echo(f"{one}\t{one_line(text)}" if text else one)


def one_line(text: str) -> str:
    """A text whose line breaks and tabs are written as \\n and \\t, as in a string of Python or JSON."""
    return text.translate(ESCAPES)


def _print_settings(kind: str, name: str, *, as_json: bool) -> None:
    from promptlab.core.part_help import help_of

    found = help_of(REGISTRIES[kind], name)
    if as_json:
        print_json(found.to_json())
        return
    click.echo(f"{found.name}: {found.description}")
    click.echo(f"{found.location} (package {found.package})" if found.package else found.location)
    if found.source:
        click.echo(f"source: {found.source}")
    rows = [(setting.name, setting.shown_default, setting.meaning) for setting in found.settings]
    if rows:
        print_table("settings", ("name", "default", "meaning"), rows, n_text=3)
    else:
        click.echo("no settings")


def _describe(kind: str, task: str | None) -> Mapping[str, str]:
    """Name → one line about it; nothing heavy is imported for it."""
    from promptlab.library import tasks as library

    if kind in REGISTRIES:
        return REGISTRIES[kind].descriptions
    if kind == "templates":
        return {name: library.template_entry(name).template for name in library.template_names(task)}
    if kind == "verbalizers":
        return {name: _words(name) for name in library.verbalizer_names(task)}
    if kind == "tasks":
        return {name: library.template_entry(name).description for name in library.tasks()}
    return _samples() if kind == "samples" else _models()


def _samples() -> Mapping[str, str]:
    from promptlab.data.samples import sample_names

    return dict.fromkeys(sample_names(), "")


def _models() -> Mapping[str, str]:
    from promptlab.backbones.download import DOWNLOADS, downloaded

    fetched = {name: "" if downloaded(name) else f" (promptlab download {name})" for name in DOWNLOADS}
    return registry.MODELS.descriptions | {name: DOWNLOADS[name].about + note for name, note in fetched.items()}


def _words(name: str) -> str:
    from promptlab.library.tasks import verbalizer_entry

    words = verbalizer_entry(name).label_words
    return "; ".join(f"{label}: {', '.join(row)}" for label, row in words.items())
