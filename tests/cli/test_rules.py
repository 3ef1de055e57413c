"""What must, or must not, go together."""

from __future__ import annotations

import importlib
import re
from types import SimpleNamespace

import click
import pytest

from promptlab.cli.commands.fit import RULES
from promptlab.cli.groups import OptionGroup
from promptlab.cli.main import COMMANDS
from promptlab.cli.rules import Rule, check_rules, is_given

CALM = SimpleNamespace(a=None, b=None, n=None, kind="plain", rows=(), is_on=False)


def given(**values):
    return SimpleNamespace(**{**vars(CALM), **values})


def is_refused(rule, **values):
    try:
        check_rules([rule], given(**values))
    except click.UsageError:
        return True
    return False


@pytest.mark.parametrize(
    ("value", "expected"), [(None, False), (False, False), ((), False), (0, True), ("", True), (("x",), True)]
)
def test_zero_and_an_empty_text_say_something(value, expected):
    assert is_given(value) is expected


@pytest.mark.parametrize(
    ("rule", "broken", "kept"),
    [
        (Rule(when=("a",), excludes=("b", "n")), {"a": 1, "n": 0}, {"n": 1, "b": 2}),
        (Rule(when=("a", "b"), needs=("is_on",)), {"b": ""}, {"b": "", "is_on": True}),
        (Rule(when=("a",), needs=("kind=odd",)), {"a": 1}, {"a": 1, "kind": "odd"}),
        (Rule(needs=("a b", "rows")), {"a": 1}, {"a": 1, "b": 1}),
        (Rule(needs=("a b", "rows")), {"b": 1}, {"rows": ("x",)}),
        (Rule(when=("n=3",), excludes=("a",)), {"n": 3, "a": 1}, {"n": 4, "a": 1}),
        (Rule(when=("a",), excludes=("elsewhere",), needs=("b",)), {"a": 1}, {"a": 1, "b": 1}),
    ],
)
def test_a_rule_is_broken_where_its_condition_is_met_and_only_there(rule, broken, kept):
    assert is_refused(rule, **broken)
    assert not is_refused(rule, **kept)


def test_the_first_rule_that_is_broken_is_told_with_its_values():
    rules = [
        Rule(when=("b",), needs=("n",), message="b needs n."),
        Rule(when=("a", "is_on"), excludes=("n", "is_off"), message="{kind} takes no {given}."),
        Rule(needs=("rows",), message="no rows."),
    ]

    with pytest.raises(click.UsageError) as found:
        check_rules(rules, SimpleNamespace(kind="plain", a=None, is_off=True), SimpleNamespace(is_on=True, rows=()))

    assert str(found.value.message) == "plain takes no --is-on."


def groups_by_command():
    for name in COMMANDS:
        command = importlib.import_module(f"promptlab.cli.commands.{name.replace('-', '_')}").command
        yield command, [kind for kind in command.groups if issubclass(kind, OptionGroup)]


def test_rules_speak_of_options_that_there_are():
    """A group's rule may speak of an option that not every command with the group has."""
    known = {name for _, groups in groups_by_command() for kind in groups for name in dir(kind)}
    rules = {*RULES, *(rule for _, groups in groups_by_command() for kind in groups for rule in kind.rules)}
    named = {
        part.partition("=")[0] for rule in rules for one in (rule.when, rule.needs, rule.excludes) for c in one
        for part in c.split()
    }  # fmt: skip

    assert len(rules) > 10
    assert named - known == set()


def test_options_that_messages_name_are_options_of_the_command():
    for command, groups in groups_by_command():
        flags = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
        rules = [*(RULES if command.name == "fit" else ()), *(rule for kind in groups for rule in kind.rules)]
        for rule in rules:
            assert set(re.findall(r"--[\w-]+", rule.message)) <= flags, (command.name, rule.message)
