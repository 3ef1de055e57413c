"""Groups of options: a frozen dataclass declares each option once, and an object of it is what a command receives.

@dataclass(frozen=True)
class RunOptions(OptionGroup):
    title: ClassVar[str] = "Run"

    seed: int = option(default=0, help="Of everything that is drawn.")

@group_command("sample")
def command(run: RunOptions) -> None: ...
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import Field, dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar, Literal, get_args, get_origin, get_type_hints

import click

from promptlab.cli.rules import Rule, check_rules, is_given

Settings = dict[str, Any]  # of the library, by name
FILE = click.Path(dir_okay=False, path_type=Path)  # whether it's there is told by what reads it
FOLDER = click.Path(path_type=Path)


@dataclass(frozen=True)
class OptionGroup:
    """The base of all groups, which are frozen dataclasses of ``option``, ``flag``, ``repeated`` and ``argument``.

    Attributes:
        title: the heading of the group in ``--help``.
        rules: what of its options must, or must not, go together, wherever the group is used.
    """

    title: ClassVar[str] = "Options"
    rules: ClassVar[tuple[Rule, ...]] = ()

    def settings(self) -> Settings:
        """Return the options by name, as the library's settings; where these differ, a group says so."""
        return {one.name: getattr(self, one.name) for one in fields(self)}


def settings_of(*groups: OptionGroup) -> Settings:
    """Return the settings of several groups together."""
    return {name: value for group in groups for name, value in group.settings().items()}


def option(*flags: str, default: object = None, **settings: object) -> Any:
    """Declare an option as a field, whose annotation says what values it takes.

    Args:
        flags: how it is written; none: as the field, in kebab-case.
        default: its value where it isn't given; help shows it.
        settings: of ``click.Option``.
    """
    return _field(_GroupOption, flags, default, {"show_default": is_given(default)} | settings)


def flag(*flags: str, default: bool = False, **settings: object) -> bool:
    """Declare an option without a value; settings are those of ``option``."""
    return option(*flags, default=default, is_flag=True, **settings)


def repeated(*flags: str, **settings: object) -> tuple[str, ...]:
    """Declare an option that may be given several times; settings are those of ``option``."""
    return option(*flags, default=(), multiple=True, **settings)


def argument(*, required: bool = True, **settings: object) -> Any:
    """Declare an argument as a field; settings are those of ``click.Argument``."""
    return _field(click.Argument, (), None, {"required": required} | settings)


def group_command(name: str, *rules: Rule) -> Callable[[Callable[..., None]], GroupCommand]:
    """Make a command of a function, which receives an object of each group that its parameters are annotated with.

    Args:
        rules: of options from several groups, beside those of each group; they are looked at first.
    """

    def made(function: Callable[..., None]) -> GroupCommand:
        groups = {name: kind for name, kind in get_type_hints(function).items() if name != "return"}

        def call(**values: object) -> None:
            filled = {name: _filled(kind, values) for name, kind in groups.items()}
            check_rules([*rules, *(rule for kind in groups.values() for rule in kind.rules)], *filled.values())
            function(**filled)

        parameters = [one for kind in groups.values() for one in _parameters(kind)]
        command = GroupCommand(name, params=parameters, callback=call, help=function.__doc__)
        command.groups = tuple(groups.values())
        return command

    return made


class _GroupOption(click.Option):
    """An option that knows its group's title."""

    title = OptionGroup.title


class GroupCommand(click.Command):
    """A command whose help has a section for each of its groups of options."""

    groups: tuple[type[OptionGroup], ...] = ()

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        sections: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None and isinstance(parameter, click.Option):
                sections.setdefault(getattr(parameter, "title", OptionGroup.title), []).append(record)
        for title, records in sections.items():
            with formatter.section(title):
                formatter.write_dl(records)


def _field(kind: type[click.Parameter], flags: tuple[str, ...], default: object, settings: Settings) -> Any:
    return field(default=default, metadata={"kind": kind, "flags": flags, "settings": settings})


def _parameters(group: type[OptionGroup]) -> list[click.Parameter]:
    """Make the parameters of click that fill a group."""
    hints = get_type_hints(group)
    return [_parameter(one, hints[one.name], group.title) for one in fields(group)]


def _parameter(declared: Field[object], hint: object, title: str) -> click.Parameter:
    flags, settings = [declared.name, *declared.metadata["flags"]], declared.metadata["settings"]
    if declared.metadata["kind"] is click.Argument:
        return click.Argument(flags, **{"type": click_type(hint)} | settings)
    if len(flags) == 1:
        flags.append(f"--{declared.name.replace('_', '-')}")
    made = _GroupOption(flags, default=declared.default, **{"type": click_type(hint)} | settings)
    made.title = title
    return made


def click_type(hint: object) -> object:
    """Return what click calls the type of an annotation: of ``X | None`` and ``tuple[X, ...]`` that of X."""
    if get_origin(hint) is Literal:
        return click.Choice(get_args(hint))
    if get_args(hint):
        return click_type(get_args(hint)[0])
    return FILE if hint is Path else hint


def _filled(group: type[OptionGroup], values: Mapping[str, object]) -> OptionGroup:
    return group(**{one.name: values[one.name] for one in fields(group)})
