"""Values from text, as the command line gives them: settings, pairs, label words, class weights."""

from __future__ import annotations

import dataclasses
import difflib
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import click

from promptlab.core.errors import TuningError, VerbalizerError, short_repr
from promptlab.core.interfaces import Tuning
from promptlab.core.plain_text import read_json
from promptlab.core.registry import TUNINGS

if TYPE_CHECKING:
    from promptlab.core.inputs import VerbalizerLike

EXPECTED_WORDS = 'write words for each class, such as {"negative": ["bad"], "positive": ["good"]}'


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
    """A setting's value: JSON if it is some, else the text itself.

    Raises:
        TuningError: if it begins as a list or a mapping of JSON does, and is none.
    """
    if text.startswith(("{", "[")):
        return read_json(
            text, f"setting {short_repr(text)}", TuningError, 'write it like {"spam": 2} or ["bad", "good"]'
        )
    try:
        return json.loads(text)
    except ValueError:
        return text


def parse_pairs(pairs: Sequence[str], form: str = "FIELD=COLUMN, such as text_a=sentence") -> dict[str, str] | None:
    """Take pairs apart: ``("text_a=sentence",)`` → ``{"text_a": "sentence"}``; None if there are none.

    Raises:
        click.BadParameter: if a pair has no ``=``, or two have one name.
    """
    wrong = [pair for pair in pairs if "=" not in pair.strip("=")]
    if wrong:
        raise click.BadParameter(f"{wrong[0]!r} should look like {form}.")
    names = [pair.split("=", 1)[0] for pair in pairs]
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise click.BadParameter(f"{twice[0]!r} is given twice; give it once.")
    return dict(pair.split("=", 1) for pair in pairs) or None


def parse_verbalizer(text: str, answers: str = "words") -> VerbalizerLike:
    """Return label words from JSON or a JSON file; anything else is a name of the task library.

    With ``answers="strings"`` they are scored as whole answers even if each is one token.

    Raises:
        DataError: if the file can't be read.
        VerbalizerError: if the JSON is broken or isn't an object.
    """
    from promptlab.core.files import read_text
    from promptlab.verbalizers.strings import MultiTokenVerbalizer

    if not is_json(text):
        return text
    source = read_text(text) if text.endswith(".json") else text
    words = read_json(source, f"verbalizer {short_repr(text)}", VerbalizerError, EXPECTED_WORDS)
    if not isinstance(words, dict):
        raise VerbalizerError(f"verbalizer {short_repr(text)} is a JSON {type(words).__name__}; {EXPECTED_WORDS}.")
    return MultiTokenVerbalizer(words) if answers == "strings" else words


def is_json(verbalizer: str) -> bool:
    """Return whether a verbalizer is given as JSON or a JSON file, not by a name."""
    return verbalizer.endswith(".json") or verbalizer.lstrip().startswith(("{", "[", '"'))


def parse_class_weight(text: str) -> object:
    """Return ``balanced`` as it is, or class → weight from JSON.

    Raises:
        click.BadParameter: if it is neither.
    """
    weights = value_of(text)
    if weights != "balanced" and not isinstance(weights, dict):
        raise click.BadParameter(f'{text!r} should be balanced, or JSON such as {{"spam": 2}}.')
    return weights
