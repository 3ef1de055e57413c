"""How values, lists and whole messages are told: in one line, and never longer than a person reads."""

from __future__ import annotations

import dataclasses
import reprlib
from collections.abc import Iterable, Mapping
from itertools import islice

LONGEST = 500  # characters of a message; of a longer one the middle is left out
END = 200  # of them, those at the end, where the remedy stands
LISTED = 250  # characters of a list of names


def has_half_characters(text: str) -> bool:
    """Return whether a text holds a lone surrogate, which no file and no tokenizer takes."""
    return not text.isascii() and any("\ud800" <= sign <= "\udfff" for sign in text)


def one_line(text: str) -> str:
    """Return a message in one line of at most ``LONGEST`` characters, what can't be printed by its escape sequence."""
    if len(text) > LONGEST:
        text = f"{text[: LONGEST - END - 3]} … {text[-END:]}"
    if not text.isprintable():
        text = " ".join(text.split())
        text = "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in text)
    return text if len(text) <= LONGEST else one_line(text)


def listed(names: Iterable[str]) -> str:
    """Return names with commas between, those of many that come first."""
    names = list(names)
    shown: list[str] = []
    for name in names:
        if sum(map(len, shown)) + len(name) > LISTED:
            break
        shown.append(name)
    left = len(names) - len(shown)
    return (", ".join(shown) + (f" and {left} more" if left else "")) or "none"


def short_repr(value: object) -> str:
    """Return a value as one line of a message, cut if it is long; what is cut isn't made first."""
    text = " ".join(_OUTLINE.repr(value).split())
    return text if len(text) <= 80 else f"{text[:77]}..."


class _Outline(reprlib.Repr):
    """``repr`` as far as ``short_repr`` shows it, so that a nest of lists costs no more than its beginning."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel = 3
        self.maxlist = self.maxtuple = self.maxset = self.maxfrozenset = self.maxdict = 30
        self.maxother = 1_000

    def repr1(self, x: object, level: int) -> str:
        for kind in (str, int, dict, list, tuple, set, frozenset):
            if type(x).__repr__ is kind.__repr__:  # subclasses, too, if they are shown alike
                return str(getattr(self, f"repr_{kind.__name__}")(x, level))
        if (
            dataclasses.is_dataclass(x)
            and not isinstance(x, type)
            and type(x).__repr__.__module__ == type(x).__module__
        ):
            return self.repr_settings(x, level)
        return self.repr_instance(x, level)

    def repr_str(self, x: str, level: int) -> str:
        return repr(x[:100])

    def repr_int(self, x: int, level: int) -> str:
        return repr(x) if x.bit_length() < 1_000 else f"a whole number of {x.bit_length():,} bits"

    def repr_dict(self, x: Mapping[object, object], level: int) -> str:
        if level <= 0 and x:
            return "{...}"
        items = islice(x.items(), self.maxdict)
        pairs = [f"{self.repr1(key, level - 1)}: {self.repr1(value, level - 1)}" for key, value in items]
        return f"{{{', '.join(pairs)}{', ...' if len(x) > self.maxdict else ''}}}"

    def repr_settings(self, x: object, level: int) -> str:
        """A dataclass as it shows itself, its values as short as others."""
        if level <= 0:
            return f"{type(x).__qualname__}(...)"
        names = [field.name for field in dataclasses.fields(x) if field.repr]  # type: ignore[arg-type]
        pairs = [f"{name}={self.repr1(getattr(x, name), level - 1)}" for name in names]
        return f"{type(x).__qualname__}({', '.join(pairs)})"


_OUTLINE = _Outline()
