"""The role of a language model that writes."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING

from promptlab.core.interfaces import Backbone
from promptlab.core.types import Batch

if TYPE_CHECKING:
    from torch import Tensor


class GenerativeBackbone(Backbone):
    """A backbone that can write after a prompt, at its one slot."""

    @property
    @abstractmethod
    def end_id(self) -> int | None:
        """Id of the token that ends a text, None if the tokenizer has none."""

    @abstractmethod
    def target_logits(self, batch: Batch, targets: Tensor, lengths: Tensor) -> Tensor:
        """Return logits that predict each token of a text from those before it: (batch, longest, vocabulary).

        Args:
            targets: ids of the text of each prompt, padded on the right, (batch, longest).
            lengths: tokens of each text, (batch,).
        """

    @abstractmethod
    def generate(self, batch: Batch, **options: object) -> list[list[int]]:
        """Ids that the model writes after each prompt, special ones included.

        Raises:
            TuningError: if transformers' ``generate`` doesn't take the options.
        """
