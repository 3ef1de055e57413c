"""Which options of transformers' ``generate`` mean something where one text is written for each input."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Mapping
from typing import TypeGuard

import numpy as np

from promptlab.core.checks import is_number, is_whole
from promptlab.core.errors import TuningError, short_repr

SAMPLING = {  # option → the value that is as good as none
    "temperature": 1.0, "top_k": 50, "top_p": 1.0, "min_p": None, "top_h": None, "typical_p": 1.0,
    "epsilon_cutoff": 0.0, "eta_cutoff": 0.0,
}  # fmt: skip
BEAMS = {"length_penalty": 1.0, "early_stopping": False}
ENCODERS = {"encoder_repetition_penalty": 1.0, "encoder_no_repeat_ngram_size": 0}
OTHERS = (
    "max_new_tokens", "min_new_tokens", "num_beams", "do_sample", "max_time", "stop_strings", "repetition_penalty",
    "no_repeat_ngram_size", "bad_words_ids", "renormalize_logits", "forced_bos_token_id", "forced_eos_token_id",
    "remove_invalid_values", "exponential_decay_length_penalty", "suppress_tokens", "begin_suppress_tokens",
    "sequence_bias", "watermarking_config", "eos_token_id", "use_cache", "cache_implementation", "logits_processor",
    "stopping_criteria", "prefix_allowed_tokens_fn", "streamer", "tokenizer",
)  # fmt: skip
KNOWN = (*SAMPLING, *BEAMS, *ENCODERS, *OTHERS)
INSTEAD = {  # what would do nothing, or would undo what was asked for → what to do
    "generation_config": "pass its settings one by one",
    "max_length": "set max_new_tokens",
    "min_length": "set min_new_tokens",
    "num_return_sequences": "one text is written for each input; sample several times with other seeds",
}
ALL = math.inf
RANGES: Mapping[str, tuple[Callable[[object], TypeGuard[float]], float, float, str]] = {
    "max_new_tokens": (is_whole, 1, ALL, "a whole number of at least 1"),
    "min_new_tokens": (is_whole, 0, ALL, "a whole number of at least 0"),
    "num_beams": (is_whole, 1, ALL, "a whole number of at least 1"),
    "top_k": (is_whole, 0, ALL, "a whole number of at least 0"),
    "no_repeat_ngram_size": (is_whole, 0, ALL, "a whole number of at least 0"),
    "encoder_no_repeat_ngram_size": (is_whole, 0, ALL, "a whole number of at least 0"),
    **dict.fromkeys(
        ("top_p", "min_p", "top_h", "typical_p", "epsilon_cutoff", "eta_cutoff"),
        (is_number, 0, 1, "a number from 0 to 1"),
    ),
    **dict.fromkeys(
        ("temperature", "repetition_penalty", "encoder_repetition_penalty", "max_time"),
        (is_number, math.ulp(0.0), ALL, "a number above 0"),
    ),
    "length_penalty": (is_number, -ALL, ALL, "a number"),
}


def checked_options(options: Mapping[str, object], *, has_encoder: bool = True) -> dict[str, object]:
    """Options as transformers takes them: those that are None left out, NumPy's numbers made plain ones.

    Args:
        options: ``max_new_tokens``, ``num_beams``, ``do_sample`` and what the user added.
        has_encoder: whether the model reads the prompt with an encoder.

    Raises:
        TuningError: if one has none, its value is out of range, or there is no such option.
    """
    for name in ("max_new_tokens", "num_beams"):
        if options[name] is None:
            raise TuningError(f"{name}=None must be {RANGES[name][3]}.")
    given = {name: _python_value(value) for name, value in options.items() if value is not None}
    for name, value in given.items():
        _check_known(name, value)
        if name in RANGES:
            fits, least, most, said = RANGES[name]
            if not fits(value) or not least <= value <= most:
                raise TuningError(f"{name}={short_repr(value)} must be {said}.")
    if not isinstance(given.get("do_sample", False), bool):
        raise TuningError(f"do_sample={short_repr(given['do_sample'])} must be True or False.")
    _check_useful(given, SAMPLING, bool(given.get("do_sample")), "set do_sample=True")
    _check_useful(given, BEAMS, _number(given, "num_beams") > 1, "set num_beams to 2 or more")
    _check_useful(given, ENCODERS, has_encoder, "choose an encoder-decoder model")
    if _number(given, "min_new_tokens") > _number(given, "max_new_tokens"):
        raise TuningError(
            f"min_new_tokens={given['min_new_tokens']} is more than max_new_tokens={given['max_new_tokens']}; lower it."
        )
    return given


def _python_value(value: object) -> object:
    return value.item() if isinstance(value, np.generic) else value


def _number(options: Mapping[str, object], name: str) -> float:
    """An option's value, 0 where none is given."""
    value = options.get(name)
    return value if is_number(value) else 0


def _check_known(name: str, value: object) -> None:
    if name in KNOWN or (name, value) == ("num_return_sequences", 1):
        return
    if name.startswith(("output_", "return_")):
        if value is False:
            return
        raise TuningError(f"{name}={short_repr(value)} has no use here: what comes back are texts; leave it out.")
    if name in INSTEAD:
        raise TuningError(f"{name}={short_repr(value)} has no use here: {INSTEAD[name]}.")
    close = difflib.get_close_matches(name, KNOWN, n=1)
    hint = f"did you mean {close[0]}?" if close else f"it takes {', '.join(KNOWN)}."
    raise TuningError(f"generate doesn't take {name}={short_repr(value)}; {hint}")


def _check_useful(options: Mapping[str, object], neutral: Mapping[str, object], are_used: bool, remedy: str) -> None:
    for name, value in neutral.items():
        if not are_used and name in options and options[name] != value:
            raise TuningError(f"{name}={short_repr(options[name])} has no effect as it is; {remedy}, or leave it out.")
