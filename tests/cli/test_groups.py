"""Options declared once, as fields of a dataclass."""

from __future__ import annotations

import ast
import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import click
import pytest
from click.testing import CliRunner

from promptlab.cli.groups import OptionGroup, argument, flag, group_command, option, repeated, settings_of
from promptlab.cli.main import COMMANDS
from promptlab.cli.rules import Rule

CLI = Path(__file__).parents[2] / "promptlab" / "cli"


@dataclass(frozen=True)
class Where(OptionGroup):
    title: ClassVar[str] = "Where"

    file: Path = argument()
    folders: tuple[str, ...] = repeated("--folder")


@dataclass(frozen=True)
class How(OptionGroup):
    title: ClassVar[str] = "How"
    rules: ClassVar[tuple[Rule, ...]] = (Rule(when=("loud",), excludes=("n_times=1",), message="once isn't loud."),)

    n_times: int = option(default=0, help="So often.")
    rate: float | None = option("-r", help="Of all.")
    mode: Literal["a", "b"] | None = option()
    loud: bool = flag()
    quiet: bool = flag("--quiet/--no-quiet", default=True)


@pytest.fixture
def call():
    """Runs a command of both groups and returns what it got, and what click says."""
    got = []

    @group_command("make", Rule(when=("mode=b",), needs=("rate", "folders"), message="--mode b goes with more."))
    def command(where: Where, how: How) -> None:
        """Make it."""
        got.extend([where, how])

    return lambda *arguments: (CliRunner().invoke(command, arguments), got)


def test_a_command_receives_an_object_of_each_group(call):
    result, got = call("x.tsv", "--n-times", "3", "-r", "0.5", "--folder", "p", "--folder", "q", "--mode", "a")

    assert result.exit_code == 0, result.output
    assert got == [Where(Path("x.tsv"), ("p", "q")), How(3, 0.5, "a")]


def test_what_is_not_given_has_the_default_of_its_field(call):
    assert call("x.tsv")[1] == [Where(Path("x.tsv")), How()]
    assert (How().n_times, How().rate, How().loud, How().quiet, Where().folders) == (0, None, False, True, ())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("x", "--n-times", "often"), "'often' is not a valid integer"),
        (("x", "--mode", "c"), "'c' is not one of 'a', 'b'"),
        ((), "Missing argument 'FILE'"),
        (("x", "--loud", "--n-times", "1"), "once isn't loud."),
        (("x", "--mode", "b"), "--mode b goes with more."),
    ],
)
def test_values_of_other_types_and_broken_rules_are_wrong_usage(call, arguments, message):
    result, got = call(*arguments)

    assert result.exit_code == 2 and message in result.output
    assert got == []


def test_help_has_a_section_for_each_group_and_shows_defaults_that_say_something(call):
    lines = [" ".join(line.split()) for line in call("--help")[0].output.splitlines()]

    assert [line for line in lines if line.endswith(":")] == ["Where:", "How:", "Options:"]
    assert "--n-times INTEGER So often. [default: 0]" in lines  # 0 is a value
    assert "-r FLOAT Of all." in lines and "--loud" in lines and "--folder TEXT" in lines
    assert "--quiet / --no-quiet [default: quiet]" in lines


def test_settings_of_groups_are_their_options_by_name():
    assert settings_of(How(2, mode="a"), Where(Path("x"))) == {
        "n_times": 2, "rate": None, "mode": "a", "loud": False, "quiet": True, "file": Path("x"), "folders": (),
    }  # fmt: skip


# What holds of all commands


def commands():
    return [importlib.import_module(f"promptlab.cli.commands.{name.replace('-', '_')}").command for name in COMMANDS]


def test_no_command_has_an_option_twice():
    for command in commands():
        flags = [name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)]
        assert len(flags) == len(set(flags)), command.name
        assert len(command.params) == len({parameter.name for parameter in command.params}), command.name


def test_one_thing_has_one_name_and_one_default_in_every_command():
    options = [option for command in commands() for option in command.params if isinstance(option, click.Option)]
    flags = {name for option in options for name in option.opts}

    assert {option.default for option in options if "--seed" in option.opts} == {0}
    assert all("--output" in option.opts for option in options if "-o" in option.opts)
    assert flags & {"--out", "--n", "--top-k", "--state", "--checkpoint-dir", "--cache-dir"} == set()


def test_no_function_of_the_command_line_is_longer_than_40_lines():
    lengths = {
        f"{path.name}:{node.name}": node.end_lineno - node.lineno + 1
        for path in CLI.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef)
    }

    assert lengths["fit.py:command"] < 40
    assert {name: length for name, length in lengths.items() if length > 40} == {}
