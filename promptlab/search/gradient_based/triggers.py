"""Trigger slots of a template: their tokens as ids in encoded prompts, and as plain text of an ordinary template."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from promptlab.core.errors import SearchError, TemplateError
from promptlab.core.interfaces import Backbone
from promptlab.core.types import Encoded, Example
from promptlab.templates.manual import ManualTemplate

SLOT = re.compile(  # with the white space that Jinja's minus signs take away
    r"(?:\s*\{\{-|\{\{\+?)\s*trigger\s*(?:\(\s*(?:n\s*=\s*)?(\d*)\s*\)\s*)?(?:-\}\}\s*|\+?\}\})"
)
PROBES = 8  # examples on which a trigger's text must give its tokens back


class SlotRows(NamedTuple):
    """Encoded prompts with tokens that only hold the places of a trigger, where these are, and the classes."""

    encoded: list[Encoded]
    places: Tensor  # (prompts, slots)
    targets: Tensor  # (prompts,)


class TriggerText:
    """A template with trigger slots, and what tokens in them look like as text.

    The slots of an encoded prompt are found by writing two different words into them and looking where ids differ, so
    that a search's prompts are those of the ordinary template, whatever the tokenizer does with spaces.

    Args:
        source: Jinja source with ``{{ trigger(n) }}`` slots.
        backbone: whose tokens they are.
        examples: real ones, on some of which every text is tried.
        max_length: tokens of a prompt; the model's own limit if None.

    Raises:
        SearchError: if the template has no trigger slot, has soft tokens, or words in its slots don't stay whole.
    """

    def __init__(
        self, source: str, backbone: Backbone, examples: Sequence[Example], *, max_length: int | None = None
    ) -> None:
        self.source, self.backbone, self.max_length = source, backbone, max_length
        self.slots = [int(match[1] or 1) for match in SLOT.finditer(source)]  # tokens of each
        if not sum(self.slots):
            raise SearchError(f"template {source!r} has no trigger slot; put {{{{ trigger(3) }}}} where tokens go.")
        if ManualTemplate(self.write([])).soft_slots:
            raise SearchError(f"template {source!r} has soft tokens, which this search doesn't train; take them out.")
        longest = sorted(examples, key=lambda example: sum(len(str(text)) for text in example.fields.values()))
        self.probes = longest[:: max(1, len(longest) // PROBES)][:PROBES]
        self.fillers = self._fillers()
        self.probe_rows = self._rows(self.probes)

    @property
    def n(self) -> int:
        """Trigger tokens of a prompt."""
        return sum(self.slots)

    def start(self, words: str | None) -> list[int]:
        """Ids that the slots begin with: of words, or the mask token (``"the"`` for models without one) if None.

        Raises:
            SearchError: if the words are neither one token nor as many as there are slots.
        """
        tokenizer = self.backbone.tokenizer
        if words is None and tokenizer.mask_token_id is not None:
            return [tokenizer.mask_token_id] * self.n
        ids = self.backbone.token_ids("the" if words is None else words)
        trigger = ids * self.n if len(ids) == 1 else ids
        if len(trigger) != self.n or not self.keeps(trigger):
            pieces = ", ".join(map(repr, tokenizer.convert_ids_to_tokens(ids)))
            raise SearchError(
                f"start={words!r} is {len(ids)} tokens ({pieces}), but there are {self.n} trigger slots; give words of "
                "one token for all of them, or of as many tokens."
            )
        return trigger

    def write(self, trigger: Sequence[int]) -> str:
        """The ordinary template in which these tokens stand as text."""
        tokens, written, end = iter(trigger), "", 0
        for match, n in zip(SLOT.finditer(self.source), self.slots):
            written += self.source[end : match.start()]
            text = text_of(self.backbone, list(itertools.islice(tokens, n)))
            written += as_jinja(text.removeprefix(" ") if written.endswith(" ") else text)
            end = match.end()
        return written + self.source[end:]

    def encode(self, trigger: Sequence[int], examples: Sequence[Example]) -> list[Encoded]:
        """Ids of the ordinary template's prompts.

        Raises:
            TemplateError: if the text breaks the template, or an example doesn't fit it.
        """
        template = ManualTemplate(self.write(trigger))
        prompts = [template.render(example) for example in examples]
        return self.backbone.encode(prompts, soft_ids={}, max_length=self.max_length)

    def keeps(self, trigger: Sequence[int | None]) -> bool:
        """Whether the text of a trigger gives its tokens back, in place; None is a slot that holds no text yet."""
        tokens = [self.fillers[0] if token is None else token for token in trigger]
        try:
            found = self.encode(tokens, self.probes)
        except TemplateError:
            return False
        expected = (filled(row.input_ids, at, tokens) for row, at in zip(*self.probe_rows))
        return all(map(np.array_equal, (row.input_ids for row in found), expected))

    def rows(self, examples: Sequence[Example], targets: Tensor) -> SlotRows:
        """Encoded examples whose slots can be filled.

        Raises:
            SearchError: if the slots of an example can't be told.
        """
        encoded, places = self._rows(examples)
        return SlotRows(encoded, torch.from_numpy(np.stack(places)), targets)

    def _rows(self, examples: Sequence[Example]) -> tuple[list[Encoded], list[np.ndarray]]:
        first, second = (self.encode([filler] * self.n, examples) for filler in self.fillers)
        places = [_differing(one.input_ids, other.input_ids) for one, other in zip(first, second)]
        for example, at in zip(examples, places):
            if len(at) != self.n:
                raise SearchError(
                    f"template {self.source!r} shows {len(at)} of its {self.n} trigger tokens for {example.fields!r}; "
                    "show every example all of them, with white space around {{ trigger(n) }}."
                )
        return first, places

    def _fillers(self) -> tuple[int, int]:
        """Two common words that stay one token each in all slots; no Chinese ones, which do so even inside words."""
        common = self.backbone.common_word_ids(1000)
        for pair in itertools.pairwise([token for token in common if text_of(self.backbone, [token]).isascii()][:50]):
            first, second = (self.encode([token] * self.n, self.probes) for token in pair)
            if all(
                len(at := _differing(one.input_ids, other.input_ids)) == self.n
                and set(one.input_ids[at]) == {pair[0]}
                and set(other.input_ids[at]) == {pair[1]}
                for one, other in zip(first, second)
            ):
                return pair
        raise SearchError(
            f"words in the trigger slots of template {self.source!r} don't stay tokens of their own; put white space "
            "around {{ trigger(n) }}, and show every example all slots."
        )


def filled(ids: np.ndarray, places: np.ndarray, tokens: Sequence[int]) -> np.ndarray:
    """Ids with tokens at some places."""
    ids = ids.copy()
    ids[places] = tokens
    return ids


def _differing(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Positions at which two rows of ids differ; none if they differ in length."""
    return np.flatnonzero(one != other) if len(one) == len(other) else np.array([], dtype=np.int64)


def text_of(backbone: Backbone, ids: Sequence[int]) -> str:
    """What tokens in a row say, with the space before them that some of them carry."""
    tokenizer = backbone.tokenizer
    text: str = tokenizer.convert_tokens_to_string(tokenizer.convert_ids_to_tokens(list(ids)))
    return text


def as_jinja(text: str) -> str:
    """A text as Jinja source; one with braces, which could begin code, becomes a string in braces."""
    return f"{{{{ {json.dumps(text)} }}}}" if "{" in text or "}" in text else text


def allowed_tokens(backbone: Backbone, words: Sequence[str]) -> Tensor:
    """Which ids of the vocabulary may become triggers, (vocabulary,).

    Left out are label words in any case and place, special and added tokens, tokens that begin with a capital letter
    and those that are no text by themselves.

    Source: AutoPrompt's code (``--filter``), with capitals told by the decoded text.

    Args:
        words: the label words.
    """
    tokenizer = backbone.tokenizer
    pieces = tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))
    special = {*tokenizer.all_special_ids, *tokenizer.added_tokens_decoder}
    taken = {word.strip().lower() for word in words}
    allowed = torch.zeros(len(backbone.embedding_weight()), dtype=torch.bool)
    for token, piece in enumerate(pieces[: len(allowed)]):
        text = tokenizer.convert_tokens_to_string([piece]).strip()
        word = text.removeprefix("##")  # WordPiece's mark of a piece inside a word
        is_text = bool(word) and "\ufffd" not in word
        allowed[token] = is_text and token not in special and not word[0].isupper() and word.lower() not in taken
    return allowed
