"""How large a result will be, before it is made; and arguments that would cost too much."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sized

from jinja2.exceptions import SecurityError

from promptlab.templates.budget import MOST, size

NUMBER = 10_000  # largest whole number that a method or a filter takes
BITS = 4_096  # of a whole number that an operator makes
SEARCHED = 100  # characters that are looked for from an end, in steps as many as both lengths' product
FROM_AN_END = frozenset(("strip", "lstrip", "rstrip", "rsplit", "rpartition", "trim"))
DIRECTIVE = re.compile(r"%([^A-Za-z%]*[hlL]?[A-Za-z%]?)")
TOO_WIDE = re.compile(r"[*(]|\d{4}|c$")  # a width from outside, a name, four digits, a character by its number


def check_arguments(name: str, arguments: Iterable[object], keywords: Mapping[str, object]) -> None:
    """Refuse numbers and texts that would make a method or a filter work for long.

    Raises:
        SecurityError: naming the argument.
    """
    for value in (*arguments, *keywords.values()):
        if isinstance(value, int) and abs(value) > NUMBER:
            raise SecurityError(f"{name} takes numbers up to {NUMBER:,}")
        if name in FROM_AN_END and isinstance(value, str) and len(value) > SEARCHED:
            raise SecurityError(f"{name} takes texts of up to {SEARCHED} characters")


def size_of_replaced(text: object, old: object, new: object, count: object = None) -> int:
    """Bound the characters after ``replace``."""
    return len(str(text)) + str(text).count(str(old)) * len(str(new))


def size_of_joined(items: Sized, d: object = "", attribute: object = None) -> int:
    """Bound the characters after ``items | join(d)``."""
    return size(items, MOST) + len(items) * len(str(d))


def size_of_sum(left: object, right: object) -> int:
    """Bound the size of ``left + right``."""
    return size(left, MOST) + size(right, MOST)


def size_of_product(left: object, right: object) -> int:
    """Bound the size of ``left * right``: a number, or a sequence so many times."""
    for sequence, times in ((left, right), (right, left)):
        if isinstance(sequence, (str, list, tuple)) and isinstance(times, int):
            return size(sequence, MOST) * max(times, 0)
    if not (isinstance(left, int) and isinstance(right, int)):
        return 0
    return _bounded_bits(left.bit_length() + right.bit_length())


def size_of_power(left: object, right: object) -> int:
    """Bound the size of ``left ** right``."""
    if not (isinstance(left, int) and isinstance(right, int)):
        return 0
    return _bounded_bits(left.bit_length() * max(right, 0))


def size_of_formatted(left: object, right: object) -> int:
    """Bound the characters of ``"…" % values``; of numbers, the remainder takes nothing.

    Raises:
        SecurityError: if the text asks for more than plain texts and numbers.
    """
    if not isinstance(left, str):
        return 0
    directives = DIRECTIVE.findall(left)
    if any(map(TOO_WIDE.search, directives)):
        raise SecurityError("widths of % have at most 3 digits, and names, * and c aren't allowed")
    return len(left) + len(directives) * (size(right, MOST) + 1_000)


def _bounded_bits(bits: int) -> int:
    if bits > BITS:
        raise SecurityError(f"a whole number would have more than {BITS:,} bits")
    return bits


OF_OPERATORS: Mapping[str, Callable[[object, object], int]] = {
    "+": size_of_sum, "*": size_of_product, "**": size_of_power, "%": size_of_formatted,
}  # fmt: skip
OF_METHODS: Mapping[str, Callable[..., int]] = {
    "replace": size_of_replaced,
    "join": lambda separator, items: size_of_joined(items, separator),
}
OF_FILTERS: Mapping[str, Callable[..., int]] = {
    "replace": size_of_replaced,
    "join": size_of_joined,
    "format": lambda text, *values: size_of_formatted(str(text), values),
}
