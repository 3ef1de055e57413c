from __future__ import annotations

import pydoc
from dataclasses import dataclass, field
from typing import ClassVar

from promptlab.core.docstrings import Item, items, list_settings


@dataclass(kw_only=True)
class Base:
    """Do something.

    Args:
        rate: speed of it,
            in steps a second.
        names: what it is called.

    Attributes:
        done_: how often it was done.
    """

    known: ClassVar[int] = 3

    rate: float = 0.5
    names: dict[str, int] = field(default_factory=dict)

    def __init_subclass__(cls):
        list_settings(cls)


@dataclass
class Own(Base):
    """Do more.

    More of this.

    Raises:
        ValueError: if it can't.

    Args:
        size: width.

    Attributes:
        more_: as often.
    """

    size: int
    rate: float = field(default=2.0, kw_only=True)


@dataclass
class Silent(Own):
    shape: str = "round"


@dataclass(frozen=True)
@list_settings
class Alone:
    """Stand alone.

    Args:
        width: from left to right.
    """

    width: int = 1


def test_inherited_settings_stand_behind_own_ones_with_types_and_the_defaults_of_the_class():
    assert (
        pydoc.getdoc(Own)
        == """Do more.

More of this.

Args:
    size (int): width.
    rate (float, default 2.0): speed of it, in steps a second.
    names (dict[str, int], default {}): what it is called.

Attributes:
    done_: how often it was done.
    more_: as often.

Raises:
    ValueError: if it can't."""
    )


def test_what_a_class_without_a_docstring_inherits_reaches_the_next_one():
    class Last(Silent):
        """Do the most."""

    assert dict(items(Last.__doc__, "Args")) == {
        "size": Item("width.", "int"),
        "shape": Item("", "str, default 'round'"),
        "rate": Item("speed of it, in steps a second.", "float, default 2.0"),
        "names": Item("what it is called.", "dict[str, int], default {}"),
    }


def test_a_class_without_bases_lists_its_own_settings():
    assert dict(items(Alone.__doc__, "Args")) == {"width": Item("from left to right.", "int, default 1")}


def test_long_texts_are_wrapped_and_read_again_as_they_were():
    class Long(Own):
        __doc__ = "Do it.\n\nArgs:\n    size: " + "wide " * 40

    listed = dict(items(Long.__doc__, "Args"))

    assert max(map(len, Long.__doc__.splitlines())) <= 112
    assert listed["size"] == Item(("wide " * 40).strip(), "int")


def test_defaults_with_brackets_and_colons_are_no_texts():
    assert dict(items("Do.\n\nArgs:\n    a (str, default (': ', ')')): what.", "Args")) == {
        "a": Item("what.", "str, default (': ', ')')")
    }


def test_the_nearest_class_says_what_a_setting_is():
    class Nearer(Own):
        """Do it.

        Args:
            size: height.
        """

    class Nearest(Nearer):
        """Do it, too."""

    assert dict(items(Nearest.__doc__, "Args"))["size"] == Item("height.", "int")
