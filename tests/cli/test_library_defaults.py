"""Defaults that are read from the source are those that Python has."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import re
from pathlib import Path

import pytest

from promptlab.cli.library_defaults import default_of

CLI = Path(__file__).parents[2] / "promptlab" / "cli"


def used():
    """Where defaults are read and of which setting, in the order of the files."""
    constants = dict(NAMED.findall((CLI / "option_groups" / "pairs.py").read_text(encoding="utf-8")))  # imported by two
    for path in sorted(CLI.rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        names = constants | dict(NAMED.findall(text))
        for where, setting in CALL.findall(text):
            yield names.get(where, where.strip('"')), setting


NAMED = re.compile(r'^([A-Z]+) = "([\w.]+:\w+)"$', re.M)
CALL = re.compile(r"""default_of\(\s*([\w.:"]+), ["'](\w+)["']""")
USED = list(used())


@pytest.mark.parametrize(("where", "setting"), USED)
def test_a_default_of_the_command_line_is_the_librarys(where, setting):
    module, name = where.split(":")
    declared = getattr(importlib.import_module(module), name)
    if dataclasses.is_dataclass(declared):
        expected = next(field.default for field in dataclasses.fields(declared) if field.name == setting)
    else:
        expected = inspect.signature(declared).parameters[setting].default

    assert default_of(where, setting) == expected
    assert expected is not None


def test_defaults_are_used_by_many_options():
    assert len(USED) > 15


@pytest.mark.parametrize(
    ("where", "setting"),
    [("promptlab.distillation.pet:PET", "repetitions"), ("promptlab.distillation.pet:Pet", "temperature")],
)
def test_what_is_not_declared_there_has_no_default(where, setting):
    with pytest.raises(LookupError):
        default_of(where, setting)
