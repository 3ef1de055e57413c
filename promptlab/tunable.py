"""What tuning methods take hold of in a language model."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor, nn


class Tunable(ABC):
    """The parts of a language model that can be trained, replaced or added to.

    Names of layers are whole and those below ``model``, as ``model.get_submodule`` takes them.
    """

    model: Any  # the transformers model

    @abstractmethod
    def own_trained(self) -> None:
        """Give the weights that are to be trained memory of their own, if they are shared with another backbone."""

    @abstractmethod
    def embedding_weight(self) -> Tensor:
        """The input embedding matrix, (vocabulary, embedding)."""

    @abstractmethod
    def embed_soft(self, table: nn.Module) -> None:
        """Look ids past the vocabulary up in ``table()``, of shape (soft tokens, embedding)."""

    @abstractmethod
    def freeze_unread(self) -> None:
        """Take weights out of training that no answer depends on, if only hidden states are read."""

    @abstractmethod
    def common_word_ids(self, limit: int) -> list[int]:
        """Ids of the most common ordinary words, judged by their place in the vocabulary."""

    @abstractmethod
    def norms(self) -> Sequence[nn.Module]:
        """The normalisation layers."""

    @abstractmethod
    def sublayer_outputs(self) -> tuple[Sequence[nn.Module], Sequence[nn.Module]]:
        """The output projections of the attention and of the feed-forward sub-layers."""

    @abstractmethod
    def query_value(self) -> Sequence[str]:
        """Names of the layers that make queries and values (all three where one layer makes them)."""

    @abstractmethod
    def key_value(self) -> Sequence[str]:
        """Names of the layers that make keys and values."""

    @abstractmethod
    def feed_forward_outputs(self) -> Sequence[str]:
        """Names of the feed-forward sub-layers' output projections."""

    @abstractmethod
    def prefix_sites(self) -> Sequence[tuple[int, int]]:
        """Heads and head width of every attention call of a forward pass, in order.

        Raises:
            TuningError: if the family's attention takes no prefix.
        """

    @abstractmethod
    def set_prefix(self, table: nn.Module) -> None:
        """Put the keys and values that ``table()`` returns before those of every attention call."""

    @abstractmethod
    def added_weights(self) -> Sequence[str]:
        """Names of the weights that a tuning method added to the model's own."""

    @abstractmethod
    def recompute_activations(self) -> None:
        """From now on, compute activations again for the gradient instead of keeping them.

        Raises:
            TuningError: if the family can't.
        """

    @abstractmethod
    def layers(self) -> Sequence[nn.Module]:
        """The transformer layers, from the input to the output."""
