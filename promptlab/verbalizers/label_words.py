"""Label words as token ids, checked against the vocabulary."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from promptlab.core.errors import VerbalizerError, short_repr
from promptlab.core.interfaces import Backbone, Verbalizer
from promptlab.core.messages import has_half_characters
from promptlab.core.types import AnswerSlot

LONGEST = 1_000  # characters of a label word or a class


@dataclass(frozen=True)
class LabelWordVerbalizer(Verbalizer):
    """Give every class words of its own.

    Args:
        label_words: class → its words; a single string is one word.

    Raises:
        VerbalizerError: if there are fewer than two classes, or a class without words.
    """

    label_words: Mapping[str, Sequence[str]]

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "label_words", check_words(self.label_words))

    @property
    def classes(self) -> tuple[str, ...]:
        return tuple(self.label_words)

    @property
    def answers(self) -> dict[str, str]:
        return {name: words[0] for name, words in self.label_words.items()}


def check_words(words: Mapping[str, str | Sequence[str]]) -> dict[str, tuple[str, ...]]:
    """Class → its words as tuples, where a single string is one word.

    Raises:
        VerbalizerError: if there are fewer than two classes, or a class has no word or an empty one.
    """
    if not isinstance(words, Mapping):
        raise VerbalizerError(
            f'label words are {short_repr(words)}; give a mapping such as {{"bad": ["terrible"], ...}}.'
        )
    wrong = [c for c, w in words.items() if not isinstance(w, (str, list, tuple))]
    if wrong:
        raise VerbalizerError(
            f"class {wrong[0]!r} has {short_repr(words[wrong[0]])} for label words; give a word or a list of words."
        )
    odd = [(c, word) for c, row in words.items() for word in row if not isinstance(word, str)]
    if odd:
        raise VerbalizerError(
            f"label word {short_repr(odd[0][1])} of class {odd[0][0]!r} isn't a text; put it in quotes."
        )
    rows = {str(c): (w,) if isinstance(w, str) else tuple(w) for c, w in words.items()}
    if len(rows) < 2:
        raise VerbalizerError(f"label words are given for {len(rows)} class(es); a classifier needs at least 2.")
    empty = [name for name, row in rows.items() if not row or not all(w.strip() for w in row)]
    if empty:
        raise VerbalizerError(f"class {empty[0]!r} has an empty list of label words or an empty word; name one.")
    check_texts(text for name, row in rows.items() for text in (name, *row))
    return rows


def check_texts(texts: Iterable[str]) -> None:
    """Refuse label words and classes that no tokenizer and no file takes.

    Raises:
        VerbalizerError: naming the text.
    """
    for text in texts:
        if len(text) > LONGEST or has_half_characters(text):
            raise VerbalizerError(
                f"label words and classes are texts of at most {LONGEST:,} characters, none of which is half a "
                f"character (a lone surrogate), but {short_repr(text)} is one of {len(text):,}; write a word."
            )


def label_word_ids(
    label_words: Mapping[str, Sequence[str]], backbone: Backbone, slot: AnswerSlot
) -> tuple[Tensor, Tensor]:
    """Ids (classes, words) of single-token label words, and True where a word stands and not padding.

    Raises:
        VerbalizerError: if the slot has several masks, a word isn't exactly one known token, or two are the same.
    """
    check_one_mask(slot, "label words of one token need exactly 1; for longer answers use MultiTokenVerbalizer")
    ids = [[one_id(word, name, backbone, slot) for word in words] for name, words in label_words.items()]
    check_distinct(ids, label_words)
    width = max(map(len, ids))
    padded = torch.tensor([row + [0] * (width - len(row)) for row in ids])
    valid = torch.tensor([[True] * len(row) + [False] * (width - len(row)) for row in ids])
    return padded, valid


def check_one_mask(slot: AnswerSlot, need: str) -> None:
    """Refuse a template with another number of masks than one; ``need`` says who needs it, and the remedy.

    Raises:
        VerbalizerError: if it has.
    """
    if slot.n_masks != 1:
        raise VerbalizerError(f"the template has {slot.n_masks} masks, but {need}.")


def is_ordinary(token: int, backbone: Backbone) -> bool:
    """Whether an id stands for a word of the vocabulary, not for the unknown or a special token."""
    tokenizer = backbone.tokenizer
    return token != tokenizer.unk_token_id and token not in tokenizer.all_special_ids


def one_id(word: str, name: str, backbone: Backbone, slot: AnswerSlot) -> int:
    """The token of a word of a class.

    Raises:
        VerbalizerError: if it isn't exactly one known token.
    """
    ids = backbone.answer_ids(word, slot)
    if len(ids) != 1:
        pieces = ", ".join(map(repr, backbone.tokenizer.convert_ids_to_tokens(ids)))
        raise VerbalizerError(
            f"label word {word!r} of class {name!r} is {len(ids)} tokens ({pieces}) for "
            f"{backbone.name or 'this model'}; choose a word that is a single token, or a MultiTokenVerbalizer."
        )
    if not is_ordinary(ids[0], backbone):
        raise VerbalizerError(
            f"label word {word!r} of class {name!r} isn't in the vocabulary of {backbone.name or 'this model'}; "
            "choose another word."
        )
    return ids[0]


def check_distinct(ids: Sequence[Sequence[Hashable]], label_words: Mapping[str, Sequence[str]]) -> None:
    """Raise if two words have the same ids.

    Raises:
        VerbalizerError: naming both words and their classes.
    """
    owner: dict[Hashable, tuple[str, str]] = {}
    for row, (name, words) in zip(ids, label_words.items()):
        for token, word in zip(row, words):
            if token in owner:
                other, twin = owner[token]
                remedy = "leave one of them out" if other == name else "give every class words of its own"
                raise VerbalizerError(
                    f"label word {word!r} of class {name!r} is the same token as {twin!r} of class {other!r}; {remedy}."
                )
            owner[token] = (name, word)
