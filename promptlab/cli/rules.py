"""Rules of what must, or must not, go together on the command line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import click


@dataclass(frozen=True)
class Rule:
    """What must, or must not, go with an option.

    A condition is an option's field (``"head"``: it is given), or one with a value (``"calibrate=support"``); several
    with blanks between them hold together. A field may be a property of its group that says more than an option.

    Args:
        when: conditions; the rule is for whoever meets one of them. None: for everybody.
        needs: conditions, one of which must be met then; none: nothing is needed.
        excludes: conditions, none of which may be met then.
        message: what is said to who breaks the rule. ``{given}`` is the first of ``when`` that is met, as an option;
            other names in braces stand for the values of options.
    """

    when: Sequence[str] = ()
    needs: Sequence[str] = ()
    excludes: Sequence[str] = ()
    message: str = ""


def check_rules(rules: Sequence[Rule], *groups: object) -> None:
    """Refuse options that break a rule; the first that is broken is told.

    Raises:
        click.UsageError: with the rule's message.
    """
    given = _Given(groups)
    for rule in rules:
        met = [condition for condition in rule.when if given.meets(condition)]
        if not met and rule.when:
            continue
        if any(map(given.meets, rule.excludes)) or (rule.needs and not any(map(given.meets, rule.needs))):
            raise click.UsageError(rule.message.format_map(_Words(given, met)))


class _Given:
    """The values of all groups of a command, by the names of their fields."""

    def __init__(self, groups: Sequence[object]) -> None:
        self.groups = groups

    def __getitem__(self, name: str) -> object:
        """Return the value of an option; None where the command hasn't it, as where it isn't given."""
        return next((getattr(group, name) for group in self.groups if hasattr(group, name)), None)

    def meets(self, condition: str) -> bool:
        """Return whether all parts of a condition hold."""
        parts = (part.partition("=") for part in condition.split())
        return all(str(self[name]) == value if has_value else is_given(self[name]) for name, has_value, value in parts)


class _Words(dict[str, object]):
    """What a message may name in braces."""

    def __init__(self, given: _Given, met: Sequence[str]) -> None:
        super().__init__({"given": f"--{met[0].replace('_', '-')}"} if met else {})
        self.given = given

    def __missing__(self, name: str) -> object:
        return self.given[name]


def is_given(value: object) -> bool:
    """Return whether an option has a value that says something."""
    return value is not None and value is not False and value != ()
