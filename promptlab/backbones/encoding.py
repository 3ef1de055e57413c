"""Prompts → token ids, exactly those that the model's own tokenizer gives for the whole text.

A tokenizer first cuts its special tokens out of a text and then treats what is left run by run. So do we: text and
fields that touch form one run, special tokens are put between the runs by id. All runs of a batch go through one call.
The runs are tokenized by a copy of the tokenizer that has never heard of special tokens, so ``[MASK]`` or ``</s>`` in a
text is a row of characters like any other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from tokenizers import AddedToken, Encoding, Tokenizer
from transformers import PreTrainedTokenizerBase

from promptlab.backbones.answers import written_ids
from promptlab.backbones.runs import Run, Special, joined, stripped
from promptlab.backbones.shortening import field_tokens, shares
from promptlab.backbones.tokenization import Frame, only_in_python, plain_tokenizers, text_tokens
from promptlab.core.errors import BackboneError, TemplateError
from promptlab.core.places import Place
from promptlab.core.types import Encoded, Prompt, Segment


class PromptEncoder:
    """Encodes batches of prompts for one tokenizer.

    What stands where is decided in the methods ``frame_of`` to ``strips``, which a family that doesn't answer at mask
    tokens overrides.

    Args:
        tokenizer: a fast tokenizer.
        mask: the special token that stands for a mask, if the tokenizer doesn't say.

    Raises:
        BackboneError: if the tokenizer isn't a fast one.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, mask: str | None = None) -> None:
        if not tokenizer.is_fast:
            raise only_in_python(tokenizer.name_or_path, type(tokenizer).__name__)
        self.frame = Frame.of(tokenizer)
        self.mask_id = tokenizer.mask_token_id if mask is None else int(tokenizer.convert_tokens_to_ids(mask))
        mask = tokenizer.backend_tokenizer.get_added_tokens_decoder().get(self.mask_id)
        self.mask_token = mask or AddedToken("")
        self.unknown_id: int | None = tokenizer.unk_token_id
        self.start_id: int | None = tokenizer.bos_token_id
        self.first, self.later = plain_tokenizers(tokenizer)
        self.constants: dict[tuple[bool, str], list[int]] = {}  # ids of templates' own texts, at the start or later

    def frame_of(self, prompt: Prompt) -> Frame:
        """What stands before, inside and after a prompt besides its own text."""
        return self.frame

    def special_ids(self) -> set[int]:
        """Ids that a prompt may have besides those of its texts and its soft tokens."""
        frame, mask = self.frame, () if self.mask_id is None else (self.mask_id,)
        return {*frame.before, *frame.between, *frame.after, *mask}

    def check_table(self, tokenizer: PreTrainedTokenizerBase, n_rows: int, name: str) -> None:
        """Refuse a tokenizer that can put ids into prompts of which the model's embedding table has no row.

        Raises:
            BackboneError: if it can.
        """
        special = ((token, str(tokenizer.convert_ids_to_tokens(token))) for token in self.special_ids())
        beyond = sorted({pair for pair in (*special, *text_tokens(tokenizer, self.first)) if pair[0] >= n_rows})
        if beyond:
            token, piece = beyond[0]
            raise BackboneError(
                f"the tokenizer of {name or 'this model'!r} gives {piece!r} the id {token}, but the model's embedding "
                f"table has {n_rows} rows ({len(beyond)} such token(s)); call model.resize_token_embeddings"
                f"({beyond[-1][0] + 1}) and save the model again, or take the tokenizer that it was trained with."
            )
        if self.start_id is not None and self.start_id >= n_rows:
            self.start_id = None
        if self.unknown_id is not None and self.unknown_id >= n_rows:
            self.unknown_id = None

    def answer_tokens(self, prompt: Prompt, n_masks: int, answer_length: int) -> tuple[int, ...]:
        """Ids that a slot of so many masks takes, for answers of up to ``answer_length`` tokens."""
        if self.mask_id is None:
            raise TemplateError(f"template {str(prompt)!r} has a mask, but this model's tokenizer has no mask token.")
        return (self.mask_id,) * max(n_masks, answer_length)

    def answer_index(self, start: int, n_tokens: int) -> Sequence[int]:
        """Positions from which the answer is read, of a slot whose tokens begin at ``start``."""
        return range(start, start + n_tokens)

    def reserved(self, answer_length: int) -> int:
        """Tokens of the model's limit that the prompt must leave free for the answer."""
        return 0

    def check(self, prompt: Prompt, parts: list[Run | Special]) -> None:
        """Refuse prompts that the family can't answer; may change the parts."""

    def strips(self, *, right: bool) -> bool:
        """Whether the mask swallows the white space to its left (which is the right end of a run), or its right."""
        return bool(self.mask_token.lstrip if right else self.mask_token.rstrip)

    def encode(
        self,
        prompts: Sequence[Prompt],
        *,
        soft_ids: Mapping[str, Sequence[int]],
        max_length: int,
        answer_length: int = 1,
    ) -> list[Encoded]:
        """See ``Backbone.encode``. Demonstrations that don't fit are left out whole, before any field is shortened."""
        limit = max_length - self.reserved(answer_length)
        rows = [self._parts(prompt, soft_ids, answer_length) for prompt in prompts]
        pieces = self._tokenized(rows)
        encoded = [self._assembled(*row, limit=limit) for row in zip(prompts, rows, pieces)]
        for i, row in enumerate(encoded):
            if row.n_cut and prompts[i].n_demonstrations:  # nothing was shortened yet
                fewer = self._with_fewer(prompts[i], soft_ids, limit, answer_length)
                encoded[i] = fewer._replace(n_cut=len(row.input_ids) - len(fewer.input_ids))
        return encoded

    def _with_fewer(
        self, prompt: Prompt, soft_ids: Mapping[str, Sequence[int]], limit: int, answer_length: int
    ) -> Encoded:
        """The prompt with as many demonstrations as fit, found by halving."""
        fits, too_many, best = 0, prompt.n_demonstrations, None
        while best is None or fits + 1 < too_many:
            number = 0 if best is None else (fits + too_many) // 2
            some = prompt.with_demonstrations(number)
            parts = self._parts(some, soft_ids, answer_length)
            row = self._assembled(some, parts, self._tokenized([parts])[0], limit=limit)
            if number == 0 or not row.n_cut:
                fits, best = number, row
            else:
                too_many = number
        return best

    def _tokenized(self, rows: Sequence[list[Run | Special]]) -> list[dict[int, list[int]]]:
        """Ids of the runs of each row by their place in it, from one call to the tokenizer."""
        ids: list[dict[int, list[int]]] = [{} for _ in rows]
        runs = []
        for row, parts in enumerate(rows):
            for i, part in enumerate(parts):
                if isinstance(part, Run):
                    if part.is_constant:
                        ids[row][i] = self._constant(part.text, at_start=i == 0)
                    else:
                        runs.append((row, i, part.text))
        for tokenizer, places in self._by_place(runs):
            texts = [text for _, _, text in places]
            for (row, i, _), encoding in zip(places, tokenizer.encode_batch_fast(texts, add_special_tokens=False)):
                ids[row][i] = encoding.ids
        return ids

    def _constant(self, text: str, *, at_start: bool) -> list[int]:
        key = (at_start, text)
        if key not in self.constants:
            tokenizer = self.first if at_start else self.later
            self.constants[key] = tokenizer.encode(text, add_special_tokens=False).ids
        return self.constants[key]

    def token_ids(self, word: str, *, at_start: bool) -> list[int]:
        """Ids of a word after other text, or (``at_start``) at the beginning."""
        if at_start:
            return self.first.encode(word, add_special_tokens=False).ids
        context = self.first.encode("a", add_special_tokens=False).ids
        both = self.first.encode(f"a {word}", add_special_tokens=False).ids
        if both[: len(context)] != context:
            raise BackboneError(f"the tokenizer joins {word!r} to the word before it.")
        return both[len(context) :]

    def answer_ids(self, word: str, place: Place) -> list[int]:
        """Ids of a word that is written at a place.

        Raises:
            VerbalizerError: if a token holds both a part of it and of the text beside it.
        """
        return written_ids(word, place, first=self.first, later=self.later, unknown=self.unknown_id)

    def _by_place(self, runs: list[tuple[int, int, str]]) -> list[tuple[Tokenizer, list[tuple[int, int, str]]]]:
        """Only a run at the start of its prompt gets the word-start mark of tokenizers that set it once."""
        if self.later is self.first:
            return [(self.first, runs)]
        return [(self.first, [run for run in runs if run[1] == 0]), (self.later, [run for run in runs if run[1] != 0])]

    def _parts(self, prompt: Prompt, soft_ids: Mapping[str, Sequence[int]], answer_length: int) -> list[Run | Special]:
        parts: list[Run | Special] = []
        run: list[Segment] = []
        for segment in prompt.segments:
            if segment.kind in ("text", "field"):
                run.append(segment)
                continue
            if run:
                parts.append(joined(run))
                run = []
            parts.append(self._special(segment, prompt, soft_ids, answer_length))
        if run:
            parts.append(joined(run))
        self.check(prompt, parts)
        self._strip_around_masks(parts)
        return parts

    def _special(
        self, segment: Segment, prompt: Prompt, soft_ids: Mapping[str, Sequence[int]], answer_length: int
    ) -> Special:
        if segment.kind == "soft":
            return Special("soft", tuple(soft_ids[segment.key]))
        if segment.kind == "sep":
            between = self.frame_of(prompt).between
            if not between:
                raise TemplateError(f"template {str(prompt)!r} has {{{{ sep }}}}, but this model has no separator.")
            return Special("sep", between)
        if segment.kind == "trigger":
            raise TemplateError(f"template {str(prompt)!r} has trigger slots that no search has filled yet.")
        return Special("mask", self.answer_tokens(prompt, segment.n, answer_length))

    def _strip_around_masks(self, parts: list[Run | Special]) -> None:
        """Some mask tokens swallow the white space beside them."""
        if not (self.strips(right=True) or self.strips(right=False)):
            return
        for i, part in enumerate(parts):
            before, after = (parts[i - 1] if i else None), (parts[i + 1] if i + 1 < len(parts) else None)
            if isinstance(part, Run):
                if self.strips(right=True) and isinstance(after, Special) and after.kind == "mask":
                    part = stripped(part, right=True)
                if self.strips(right=False) and isinstance(before, Special) and before.kind == "mask":
                    part = stripped(part, right=False)
                parts[i] = part

    def _assembled(
        self, prompt: Prompt, parts: list[Run | Special], ids: dict[int, list[int]], *, limit: int
    ) -> Encoded:
        frame = self.frame_of(prompt)
        room = limit - len(frame.before) - len(frame.after)
        pieces: list[Sequence[int]] = [
            part.ids if isinstance(part, Special) else ids[i] for i, part in enumerate(parts)
        ]
        excess = sum(map(len, pieces)) - room
        if excess > 0 and not prompt.n_demonstrations:
            pieces = self._shortened(prompt, parts, room)
        flat: list[int] = list(frame.before)
        masks: list[int] = []
        switch = None
        for part, piece in zip(parts, pieces):
            if isinstance(part, Special) and part.kind == "mask":
                masks += self.answer_index(len(flat), len(piece))
            flat += piece
            if isinstance(part, Special) and part.kind == "sep" and switch is None:
                switch = len(flat)
        flat += frame.after
        if masks and masks[0] < 0:  # read from before the first token
            if self.start_id is None:
                raise TemplateError(f"prompt {str(prompt)!r} has nothing before its mask, where the model starts from.")
            flat, masks = [self.start_id, *flat], [place + 1 for place in masks]
        segment_ids = np.zeros(len(flat), dtype=np.int64)
        if switch is not None:
            segment_ids[switch:] = frame.second_type
        counts = self._counts(prompt, parts, pieces)
        return Encoded(np.array(flat, np.int64), segment_ids, np.array(masks, np.int64), max(excess, 0), *counts)

    def _counts(
        self, prompt: Prompt, parts: list[Run | Special], pieces: Sequence[Sequence[int]]
    ) -> tuple[int, int, bool]:
        """Tokens of the fields, unknown ones among them, and whether the fields are empty."""
        n_text = n_unknown = 0
        for i, (part, piece) in enumerate(zip(parts, pieces)):
            if isinstance(part, Run) and not part.is_constant:
                texts = [segment.text for segment in part.segments if segment.kind == "text"]
                own = [token for text in texts for token in self._constant(text, at_start=i == 0)]
                n_text += max(0, len(piece) - len(own))
                if self.unknown_id is not None:
                    n_unknown += max(0, piece.count(self.unknown_id) - own.count(self.unknown_id))
        said = [segment.text.strip() for segment in prompt.segments if segment.kind == "field"]
        return max(n_text, n_unknown), n_unknown, bool(said) and not any(said)

    def _shortened(self, prompt: Prompt, parts: list[Run | Special], room: int) -> list[Sequence[int]]:
        """The pieces of a prompt that is too long, tokens cut from the ends of its longest fields."""
        runs = {i: part for i, part in enumerate(parts) if isinstance(part, Run)}
        encodings = {i: self._tokens(i, run) for i, run in runs.items()}
        fields = [(i, places) for i, run in runs.items() for places in field_tokens(run, encodings[i])]
        lengths = [len(places) for _, places in fields]
        total = sum(len(part.ids) if isinstance(part, Special) else len(encodings[i]) for i, part in enumerate(parts))
        fixed = total - sum(lengths)
        if fixed >= room:
            raise TemplateError(
                f"template {str(prompt)!r} takes {fixed} tokens besides what may be shortened, of {max(room, 0)} that "
                "fit; raise max_length, shorten the template or drop a | keep."
            )
        kept = shares(lengths, room - fixed)
        dropped = {(i, place) for (i, places), share in zip(fields, kept) for place in places[share:].tolist()}
        return [
            part.ids
            if isinstance(part, Special)
            else [token for place, token in enumerate(encodings[i].ids) if (i, place) not in dropped]
            for i, part in enumerate(parts)
        ]

    def _tokens(self, place: int, run: Run) -> Encoding:
        tokenizer = self.first if place == 0 else self.later
        return tokenizer.encode(run.text, add_special_tokens=False)
