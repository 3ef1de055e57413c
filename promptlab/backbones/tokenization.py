"""What a tokenizer puts around texts, and a copy of it to which special tokens are plain text."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerBase

from promptlab.core.errors import BackboneError

BYTE = re.compile("<0x[0-9A-F]{2}>")
HIDDEN = "\ufdd0"  # what the random names of special tokens begin with; no character


@dataclass(frozen=True)
class Frame:
    """What a tokenizer puts before one text, between two and after the last, and the second text's token type."""

    before: tuple[int, ...]
    between: tuple[int, ...]
    after: tuple[int, ...]
    second_type: int

    @classmethod
    def of(cls, tokenizer: PreTrainedTokenizerBase) -> Frame:
        single = tokenizer("a", return_special_tokens_mask=True)
        pair = tokenizer("a", "a", return_special_tokens_mask=True, return_token_type_ids=True)
        ids, special = pair["input_ids"], pair["special_tokens_mask"]
        texts = [i for i, is_special in enumerate(special) if not is_special]
        start, stop = texts[0], single["special_tokens_mask"].index(0)
        width = sum(not is_special for is_special in single["special_tokens_mask"])
        second = start + width + sum(special[start + width : texts[-1]])
        return cls(
            before=tuple(single["input_ids"][:stop]),
            between=tuple(ids[start + width : second]),
            after=tuple(single["input_ids"][stop + width :]),
            second_type=pair["token_type_ids"][second],
        )


def only_in_python(name: str, kind: str) -> BackboneError:
    """The error of a tokenizer that has no fast version, such as those of PhoBERT, BERTweet and Japanese BERT."""
    return BackboneError(
        f"the tokenizer of {name or 'this model'!r} ({kind}) exists in Python only, and promptlab needs a fast "
        "one, to which transformers can't convert it. Choose a model whose folder has a tokenizer.json, or one of many "
        "languages, such as FacebookAI/xlm-roberta-base."
    )


def plain_tokenizers(tokenizer: PreTrainedTokenizerBase) -> tuple[Tokenizer, Tokenizer]:
    """Copies of a tokenizer to which special tokens are plain text: for the start of a text, and for later runs.

    Special tokens get random names that no text contains, in the list of added tokens and in the model's vocabulary
    (a Unigram model would otherwise find ``</s>`` there).
    """
    settings = json.loads(tokenizer.backend_tokenizer.to_str())
    settings |= {"truncation": None, "padding": None, "post_processor": None}
    special = [token["content"] for token in settings["added_tokens"] if token["special"]]
    given = {name for name in special if _is_given(name, settings["model"])}
    names = {name: f"{HIDDEN}{secrets.token_hex(16)}{HIDDEN}" for name in special if name not in given}
    settings["added_tokens"] = [
        {**token, "content": names.get(token["content"], token["content"])}
        for token in settings["added_tokens"]
        if token["content"] not in given
    ]
    vocabulary = settings["model"].get("vocab", {})
    if isinstance(vocabulary, dict):
        settings["model"]["vocab"] = {names.get(piece, piece): i for piece, i in vocabulary.items()}
    else:
        settings["model"]["vocab"] = [[names.get(piece, piece), score] for piece, score in vocabulary]
    first = Tokenizer.from_str(json.dumps(settings))
    later = Tokenizer.from_str(json.dumps(_without_first_mark(settings)))
    same = first.to_str() == later.to_str()
    return first, first if same else later


def _is_given(name: str, model: Mapping[str, object]) -> bool:
    """Whether a tokenizer gives a special token to ordinary text: the unknown one, or that of a byte."""
    return name == model.get("unk_token") or (bool(model.get("byte_fallback")) and BYTE.fullmatch(name) is not None)


def text_tokens(tokenizer: PreTrainedTokenizerBase, plain: Tokenizer) -> Iterator[tuple[int, str]]:
    """Ids and names of the tokens that a text may have.

    Args:
        plain: a copy of the tokenizer, as ``plain_tokenizers`` makes them.
    """
    for piece, token in plain.get_vocab(with_added_tokens=True).items():
        if not piece.startswith(HIDDEN):
            yield token, piece
    if isinstance(plain.model, models.Unigram) and tokenizer.unk_token_id is not None:  # it is told by its number there
        yield tokenizer.unk_token_id, str(tokenizer.unk_token)


def end_of_text(tokenizer: PreTrainedTokenizerBase) -> int | None:
    """Id of the token that ends a text."""
    return tokenizer.sep_token_id if tokenizer.eos_token_id is None else tokenizer.eos_token_id


def padding_id(tokenizer: PreTrainedTokenizerBase, n_rows: int) -> int:
    """An id to fill rows up with: the tokenizer's own, or another that the embedding table of ``n_rows`` has.

    Nothing is read where it stands, so that any row would do; a special token is taken if there is one.
    """
    likely = (tokenizer.pad_token_id, end_of_text(tokenizer), *tokenizer.all_special_ids)
    return next((token for token in likely if token is not None and token < n_rows), 0)


def _without_first_mark(settings: object) -> object:
    """The settings with every ``"prepend_scheme": "first"`` turned off."""
    if isinstance(settings, list):
        return [_without_first_mark(value) for value in settings]
    if not isinstance(settings, dict):
        return settings
    changed = {key: value if key == "model" else _without_first_mark(value) for key, value in settings.items()}
    return changed | ({"prepend_scheme": "never"} if settings.get("prepend_scheme") == "first" else {})
