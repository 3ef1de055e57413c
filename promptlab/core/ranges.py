"""Ranges of numbers, declared as the type of a setting: ``rank: Count = 8``; ``checks.check_types`` holds them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Annotated, NamedTuple


class Range(NamedTuple):
    """Which numbers of a type a setting may have.

    Args:
        kind: the type, as ``checks.TYPES`` calls it.
        said: the rest of a sentence that begins with "it must be".
        holds: whether a number is one of them.
    """

    kind: str
    said: str
    holds: Callable[[float], bool]


_COUNT = Range("int", "at least 1", lambda value: value >= 1)
_SIZE = Range("int", "from 1 to 10,000", lambda value: 1 <= value <= 10_000)
_WIDTH = Range("int", "from 0 to 10,000", lambda value: 0 <= value <= 10_000)
_AMOUNT = Range("int", "0 or above", lambda value: value >= 0)
_POSITIVE = Range("float", "above 0", lambda value: 0 < value < math.inf)
_NON_NEGATIVE = Range("float", "0 or above", lambda value: 0 <= value < math.inf)
_LIMIT = Range("float", "above 0; infinity is no limit", lambda value: value > 0)
_SHARE = Range("float", "from 0 to 1", lambda value: 0 <= value <= 1)
_PART = Range("float", "from 0 to below 1", lambda value: 0 <= value < 1)
_SOME = Range("float", "above 0 and at most 1", lambda value: 0 < value <= 1)
_RATE = Range("float", "between 0 and 10, usually 1e-5 to 1e-2", lambda value: 0 <= value < 10)

Count = Annotated[int, _COUNT]
Size = Annotated[int, _SIZE]  # of what memory is made for at once
Width = Annotated[int, _WIDTH]  # likewise, where 0 is none
Amount = Annotated[int, _AMOUNT]
Positive = Annotated[float, _POSITIVE]
NonNegative = Annotated[float, _NON_NEGATIVE]
Limit = Annotated[float, _LIMIT]
Share = Annotated[float, _SHARE]
PartShare = Annotated[float, _PART]  # never all
SomeShare = Annotated[float, _SOME]  # never nothing
Rate = Annotated[float, _RATE]

RANGES: Mapping[str, Range] = {  # by the names that annotations have
    "Count": _COUNT, "Size": _SIZE, "Width": _WIDTH, "Amount": _AMOUNT, "Positive": _POSITIVE,
    "NonNegative": _NON_NEGATIVE, "Limit": _LIMIT, "Share": _SHARE, "PartShare": _PART, "SomeShare": _SOME,
    "Rate": _RATE,
}  # fmt: skip


def plain_types(annotation: str) -> list[str]:
    """Return the types that an annotation says, ranges as the type of their numbers: ``Count | None`` → int, None."""
    return [RANGES[kind].kind if kind in RANGES else kind for kind in annotation.split(" | ")]


def said_types(annotation: str) -> str:
    """Return an annotation as people read it, ranges written out: ``Count | None`` → ``int at least 1 | None``."""
    kinds = annotation.split(" | ")
    return " | ".join(f"{RANGES[kind].kind} {RANGES[kind].said}" if kind in RANGES else kind for kind in kinds)
