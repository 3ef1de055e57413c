"""Texts that stand in two sets: a score on what was learned from, or chosen by, says nothing of new text."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

from promptlab.core.types import Example


def texts_of(examples: Iterable[Example], fields: Sequence[str]) -> list[str]:
    """What tells examples apart: the fields that are read, without white space around them, and no label."""
    return [
        json.dumps([str(example.fields.get(name)).strip() for name in fields], ensure_ascii=False)
        for example in examples
    ]


def count_shared(examples: Iterable[Example], others: Iterable[Example], fields: Sequence[str]) -> int:
    """How many of some examples have the texts of one of the others, whatever their labels."""
    known = set(texts_of(others, fields))
    return sum(text in known for text in texts_of(examples, fields))
