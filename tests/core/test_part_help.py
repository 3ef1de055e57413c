from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from promptlab.core import registry
from promptlab.core.entries import Entry
from promptlab.core.errors import UnknownNameError
from promptlab.core.part_help import REQUIRED, Setting, documented, help_of, settings_of

TABLES = [value for value in vars(registry).values() if isinstance(value, registry.Registry)]
NAMES = [(table, name) for table in TABLES if table is not registry.BACKBONES for name in table.names]


@dataclass(frozen=True)
class Base:
    """What others share.

    Args:
        width: in tokens.
        seed: of what is drawn.
    """

    width: int = 3
    seed: int = field(default=0, kw_only=True)


@dataclass(frozen=True)
class Own(Base):
    """Do it our own way.

    Source: nobody,
    section 1.

    Args:
        words: class → ``words``, which are
            long.
        width: in letters.

    Raises:
        ValueError: never.
    """

    words: tuple = ()
    made: list = field(default_factory=list)


@dataclass
class Needs:
    """Needs a size."""

    size: int


def own_function(text, *, times: int = 2):
    """Repeat.

    Args:
        times: how often.
    """


def test_settings_come_in_order_with_defaults_and_the_nearest_docstrings_words():
    assert settings_of(Own) == [
        Setting("width", "int", 3, "in letters."),
        Setting("words", "tuple", (), "class → words, which are long."),
        Setting("made", "list", [], ""),
        Setting("seed", "int", 0, "of what is drawn."),
    ]


def test_a_setting_without_a_default_has_to_be_given():
    (size,) = settings_of(Needs)

    assert size.default is REQUIRED and size.shown_default == "to be given"
    assert size.to_json() == {"name": "size", "type": "int", "meaning": ""}


def test_what_a_function_works_on_is_no_setting_of_it():
    assert settings_of(own_function) == [Setting("times", "int", 2, "how often.")]


def test_a_default_that_json_does_not_know_is_written_as_python_prints_it():
    assert Setting("x", "Any", {1, 2}, "").to_json()["default"] == "{1, 2}"
    assert Setting("x", "Any", (1, 2), "").to_json()["default"] == [1, 2]


def test_a_docstring_without_arguments_says_nothing_of_them():
    assert documented("Do it.\n\nRaises:\n    ValueError: never.") == {}


def test_what_an_entry_leaves_open_is_read_from_the_docstring():
    table = registry.Registry("thing", "THINGS", {"own": Entry(f"{__name__}:Own"), "said": Entry("a:B", "a", "b")})
    table.entries["said"] = Entry(f"{__name__}:Own", "ours", "a book")

    assert (help_of(table, "own").description, help_of(table, "own").source) == (
        "Do it our own way.", "nobody, section 1",
    )  # fmt: skip
    assert (help_of(table, "said").description, help_of(table, "said").source) == ("ours", "a book")


@pytest.mark.parametrize(("table", "name"), NAMES, ids=lambda value: getattr(value, "table", value))
def test_every_setting_of_a_shipped_part_is_explained(table, name):
    assert [setting.name for setting in help_of(table, name).settings if not setting.meaning] == []


def test_an_unknown_part_is_told_with_the_nearest_name():
    with pytest.raises(UnknownNameError, match="unknown tuning 'lorra'; did you mean 'lora'"):
        help_of(registry.TUNINGS, "lorra")
