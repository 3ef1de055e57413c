"""Filters for the values of fields, such as ``{{ text_a | lower_first }}``; text that was kept stays so."""

from __future__ import annotations

import string

from promptlab.templates.slots import Slot


class Kept(str):
    """Text of a field that must not be shortened."""


def keep(value: object) -> Kept | Slot:
    """The text as one that isn't shortened; slots never are."""
    return value if isinstance(value, Slot) else Kept(value)


def lower_first(text: str) -> str:
    return text[:1].lower() + text[1:]


def upper_first(text: str) -> str:
    return text[:1].upper() + text[1:]


def strip_punctuation(text: str) -> str:
    """Without the white space and punctuation at the end."""
    return text.rstrip(string.whitespace + string.punctuation + "。，！？；：、…")
