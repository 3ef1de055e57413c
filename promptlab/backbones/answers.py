"""Words as the ids that they have where the template puts them: those of the whole text with the word written there."""

from __future__ import annotations

from collections.abc import Sequence

from tokenizers import Tokenizer

from promptlab.core.errors import VerbalizerError
from promptlab.core.places import Place

# what stands for text that isn't known; hardly a word is joined to all of them
ANY_TEXT = ("a:", "a;", "a/", "a。")
LONGEST = 16  # characters of the template's own text that are looked at


def written_ids(word: str, place: Place, *, first: Tokenizer, later: Tokenizer, unknown: int | None) -> list[int]:
    """Ids of a word that is written at a place.

    Args:
        word: one or several words.
        place: where.
        first: a tokenizer without special tokens for the start of a text.
        later: the same for text after a special token.
        unknown: id of what isn't in the vocabulary.

    Raises:
        VerbalizerError: if a token holds both a part of the word and of the text beside it.
    """
    joined: list[str] = []
    for tokenizer, left in _lefts(place, first, later):
        ids = _cut(tokenizer, left, word, place.after[:LONGEST], unknown, joined)
        if ids is not None:
            return ids
    beside = f"{place.before}…{place.after}" if place.before or place.after else "the text before it"
    raise VerbalizerError(
        f"{word!r} can't be told apart from {beside!r}, since this model's vocabulary has {joined[0]!r} as one token; "
        "put white space beside the mask, or choose another word."
    )


def _lefts(place: Place, first: Tokenizer, later: Tokenizer) -> Sequence[tuple[Tokenizer, str]]:
    """Texts that stand for what comes before a word, and the tokenizer for each; the next is asked if one joins."""
    before = place.before[-LONGEST:]
    if len(before) < len(place.before) or place.outer == "field":
        return [(first, text + before) for text in ANY_TEXT]
    if place.outer == "space":
        return [(first, f"a {before}")]
    return [(first if place.outer == "start" else later, before)]


def _cut(
    tokenizer: Tokenizer, left: str, word: str, right: str, unknown: int | None, joined: list[str]
) -> list[int] | None:
    """The ids of a word between other text; None if one of them reaches over its end, which ``joined`` then gets.

    A space before the word belongs to its first token, as most tokenizers have it.
    """
    encoding = tokenizer.encode(left + word + right, add_special_tokens=False)
    start, stop = len(left) - left.endswith(" "), len(left) + len(word)
    spans = encoding.offsets
    inside = [i for i, (begin, end) in enumerate(spans) if (begin < stop and end > start) or (not left and not end)]
    for i in inside:
        begin, end = spans[i]
        if (begin < start or end > stop) and encoding.ids[i] != unknown:
            joined.append((left + word + right)[begin:end].strip())
            return None
    return [encoding.ids[i] for i in inside]
