"""Which tokens a generated template may be made of, and what they say."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from promptlab.backbones.base import TransformerBackbone

WORD, PIECE, MARK = 1, 2, 3  # a token that begins a word, one that goes on with it, punctuation; 0 is banned
CONTINUES = "##"  # WordPiece's sign
SPACES = ("\u0120", "\u2581")  # what stands for the space before a word in byte-level BPE and SentencePiece
GLUED = set(".,;:!?)]}'%")  # written right after a word; WordPiece doesn't care
CONTRACTED = re.compile(r"(?<=\w)' (s|t|m|d|re|ve|ll)\b")  # WordPiece cuts there
REPEATED = re.compile(r"(.)\1")


class GapVocabulary:
    """The ordinary tokens of a model: words, pieces of words, punctuation.

    Banned are special and added tokens, white space, underscores, the same sign twice in one token, bytes that are no
    character, and the label words.

    Args:
        backbone: the model that writes.
        label_words: in any case, with or without the space before them.
    """

    def __init__(self, backbone: TransformerBackbone, label_words: Collection[str]) -> None:
        tokenizer = backbone.tokenizer
        self.first = backbone.encoder.first
        pieces = tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))
        kinds = torch.zeros(backbone.decoder()[0].shape[0], dtype=torch.uint8)
        self.texts: list[str] = [""] * len(kinds)
        space = next((sign for sign in SPACES if any(piece.startswith(sign) for piece in pieces)), "")
        added = set(tokenizer.backend_tokenizer.get_added_tokens_decoder()) | set(tokenizer.all_special_ids)
        words = {word.strip().lower() for word in label_words}
        self.same: dict[str, list[int]] = {}
        for token, piece in enumerate(pieces[: len(kinds)]):
            if token in added:
                continue
            bare, spaced = _bare(piece, space, tokenizer)
            kind = 0 if bare.lower() in words else _kind(bare, spaced)
            kinds[token] = kind
            self.texts[token] = f" {bare}" if spaced else bare
            if kind == MARK:
                self.same.setdefault(bare, []).append(token)
        self.kinds = kinds
        self.starts = (kinds == WORD) | (kinds == MARK)
        self.words = kinds == WORD
        self.first_words = (
            self.words if backbone.token_ids("a", at_start=True) == backbone.token_ids("a") else kinds == PIECE
        )

    def allowed(self, gap: Sequence[int], starts: Tensor) -> Tensor:
        """Which tokens (vocabulary,) may come next in a gap: pieces only inside a word, no sign twice in a row.

        Args:
            gap: its tokens so far.
            starts: which may begin it: ``starts`` after other text, ``words`` for words only, ``first_words`` for those
                that begin the input.
        """
        if not gap:
            return starts
        if self.kinds[gap[-1]] != MARK:
            return self.kinds > 0
        mask = self.starts.clone()
        mask[self.same[self.texts[gap[-1]].strip()]] = False
        return mask

    def is_only_marks(self, gap: Sequence[int]) -> bool:
        return all(self.kinds[token] == MARK for token in gap)

    def text(self, gap: Sequence[int]) -> str:
        """What the tokens say, with the space before them."""
        return CONTRACTED.sub(r"'\1", "".join(self.texts[token] for token in gap))

    def is_exact(self, gap: Sequence[int]) -> bool:
        """Whether their text, after a word, is cut into these tokens."""
        context = self.first.encode("a", add_special_tokens=False).ids
        ids = self.first.encode(f"a{self.text(gap)}", add_special_tokens=False).ids
        return bool(ids == [*context, *gap])


def _bare(piece: str, space: str, tokenizer: PreTrainedTokenizerBase) -> tuple[str, bool]:
    """A token's characters, and whether a space stands before them."""
    if space:
        return tokenizer.convert_tokens_to_string([piece]).strip(" "), piece.startswith(space)
    if piece.startswith(CONTINUES) and piece != CONTINUES:
        return piece.removeprefix(CONTINUES), False
    return piece, not (set(piece) <= GLUED or _is_ideograph(piece))


def _is_ideograph(piece: str) -> bool:
    return len(piece) == 1 and "\u4e00" <= piece <= "\u9fff"


def _kind(bare: str, spaced: bool) -> int:
    if not bare.isprintable() or "\ufffd" in bare or "_" in bare or any(sign.isspace() for sign in bare):
        return 0
    if not any(sign.isalnum() for sign in bare):
        return MARK if bare and not REPEATED.search(bare) else 0
    if _is_ideograph(bare):
        return WORD
    if spaced:
        return WORD if bare[0].isalnum() else 0
    return PIECE
