"""Tuning methods from text, as the command line gives them."""

from __future__ import annotations

import dataclasses
import difflib
import json
from collections.abc import Mapping

from promptlab.core.errors import TuningError
from promptlab.core.interfaces import Tuning
from promptlab.core.registry import TUNINGS


def make_tuning(name: str, arguments: Mapping[str, str]) -> Tuning:
    """A tuning method with settings written as text, such as ``("top-layers", {"n": "3"})``.

    Raises:
        UnknownNameError: if there is no such method.
        TuningError: if it has no such setting, or the value is of another type.
    """
    method = TUNINGS.get(name)
    known = [field.name for field in dataclasses.fields(method)]
    values = {}
    for key, text in arguments.items():
        if key not in known:
            close = difflib.get_close_matches(key, known, n=1)
            hint = f"; did you mean {close[0]!r}?" if close else "."
            raise TuningError(f"tuning {name!r} has no setting {key!r}{hint} Known: {', '.join(known) or 'none'}.")
        values[key] = value_of(text)
    return TUNINGS.make(name, **values)


def value_of(text: str) -> object:
    """A setting's value: JSON if it is some, else the text itself."""
    try:
        return json.loads(text)
    except ValueError:
        return text
