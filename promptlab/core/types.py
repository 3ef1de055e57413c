"""What flows: Example → Prompt → Batch → MaskStates → log-probabilities. No torch at run time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol

from promptlab.core.docstrings import list_settings
from promptlab.core.places import AnswerSlot as AnswerSlot
from promptlab.core.places import slot_of

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import Tensor

SegmentKind = Literal["text", "field", "mask", "sep", "soft", "trigger"]


@dataclass(frozen=True, slots=True)
@list_settings
class Example:
    """Hold one row: named fields, usually ``text_a`` (and ``text_b``), and a label's name if it is known.

    Args:
        fields: name → value, most often a text.
        label: name of the class; None if it isn't known, or several may hold.
        labels: where several classes may hold at once, the names of all that do, empty if none does; else None.

    Example:
        >>> from promptlab import Example, PromptClassifier
        >>> rows = [Example({"text_a": "a dull film"}, "negative"), Example({"text_a": "great fun"}, "positive")]
        >>> classifier = PromptClassifier("{{ text_a }} It was {{ mask }}.", "sst2/great-terrible", "minilm", "bitfit")
        >>> classifier.set_params(max_steps=2).fit(rows).score(rows)
        1.0
    """

    fields: Mapping[str, object]
    label: str | None = None
    labels: tuple[str, ...] | None = None


class Segment(NamedTuple):
    """A piece of a prompt. What kind it is never depends on its text, so user text stays plain text.

    ``text`` holds the characters of ``text`` and ``field`` segments and the words a ``soft`` segment starts from.
    ``n`` is the number of slots of a ``mask``, ``trigger`` or ``soft`` segment; a soft segment with words has as
    many as the words have tokens, whatever ``n`` says. ``key`` names the vectors of a soft segment.
    ``demonstration`` numbers the answered example that the segment belongs to, from 1; 0 is the query itself.
    """

    kind: SegmentKind
    text: str = ""
    n: int = 1
    key: str = ""
    shortenable: bool = False
    demonstration: int = 0


@dataclass(frozen=True, slots=True)
class Prompt:
    """A rendered example."""

    segments: tuple[Segment, ...]

    @property
    def n_masks(self) -> int:
        return sum(segment.n for segment in self.segments if segment.kind == "mask")

    @property
    def n_demonstrations(self) -> int:
        return len({segment.demonstration for segment in self.segments} - {0})

    def with_demonstrations(self, n: int) -> Prompt:
        """With the ``n`` demonstrations of the lowest numbers only."""
        kept = sorted({segment.demonstration for segment in self.segments})[: n + 1]
        return Prompt(tuple(segment for segment in self.segments if segment.demonstration in kept))

    @property
    def slot(self) -> AnswerSlot:
        return slot_of(self.segments)

    def __str__(self) -> str:
        """The prompt as a person would write it, long fields cut."""
        return "".join(map(_outline, self.segments))


def _outline(segment: Segment) -> str:
    if segment.kind == "text":
        return segment.text
    if segment.kind == "field":
        return segment.text if len(segment.text) <= 40 else segment.text[:37] + "..."
    if segment.kind == "soft" and segment.text:
        return f"{{{{ soft({segment.text!r}) }}}}"
    return f"{{{{ {segment.kind}{f'({segment.n})' if segment.n > 1 else ''} }}}}"


class SoftSlot(NamedTuple):
    """Soft tokens that a template declares: ``n`` vectors, or as many as ``text`` has tokens if it isn't empty.

    ``start`` says how vectors without words start; see ``soft_tokens.SoftTokens``.
    """

    key: str
    n: int
    text: str = ""
    start: str = "random"


class Encoded(NamedTuple):
    """The token ids of one prompt, special tokens included.

    ``segment_ids`` are token types (all 0 for models without them); ``mask_index`` are positions of the answer slots.
    """

    input_ids: np.ndarray  # (length,)
    segment_ids: np.ndarray  # (length,)
    mask_index: np.ndarray  # (masks,)
    n_cut: int = 0  # tokens that truncation removed
    n_text: int = 0  # tokens of the fields
    n_unknown: int = 0  # of them, those that aren't in the vocabulary
    is_empty: bool = False  # whether there are fields, and no text in them


@dataclass(slots=True)
class Batch:
    """Encoded prompts, padded on the right to the longest of them."""

    input_ids: Tensor  # (batch, length)
    attention_mask: Tensor  # (batch, length), 1 where a token stands
    segment_ids: Tensor  # (batch, length)
    mask_index: Tensor  # (batch, masks)
    labels: Tensor | None = None  # (batch,) class indices; (batch, classes) where classes hold together, or log-probs
    weights: Tensor | None = (
        None  # of rows in the loss, (batch,), or of each row's classes, (batch, classes); None: alike
    )

    def to(self, device: str | torch.device) -> Batch:
        """The same batch with every tensor on ``device``."""
        tensors = {field.name: getattr(self, field.name) for field in fields(self)}
        return replace(self, **{name: tensor.to(device) for name, tensor in tensors.items() if tensor is not None})

    def __len__(self) -> int:
        return len(self.input_ids)


class LMHead(Protocol):
    """Turns hidden states into logits of the whole vocabulary, or of ``token_ids`` only."""

    def __call__(self, hidden: Tensor, token_ids: Tensor | None = None) -> Tensor: ...


@dataclass(slots=True)
class MaskStates:
    """Hidden states at the answer slots, as the language-model head's last linear layer takes them."""

    hidden: Tensor  # (batch, masks, hidden)
    lm_head: LMHead

    def logits(self, token_ids: Tensor | None = None) -> Tensor:
        """Logits at every slot: (batch, masks, vocabulary), or (batch, masks, words) for ``token_ids`` (words,)."""
        return self.lm_head(self.hidden, token_ids)

    def __getitem__(self, rows: Tensor) -> MaskStates:
        """The states of some rows of the batch."""
        return MaskStates(self.hidden[rows], self.lm_head)
