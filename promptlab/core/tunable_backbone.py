"""What tuning methods take hold of in a language model."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from torch import Tensor, nn
    from torch.nn import Module as Module
    from transformers import PreTrainedModel
else:
    Module = object  # at run time, whoever plays a role that is a module brings torch's along: roles import no torch


class SublayerOutput(NamedTuple):
    """Where a sub-layer ends, before its residual sum.

    Args:
        projection: its last linear layer.
        end: the dropout after it, whose output goes into the sum; the projection itself where there is none.
        width: numbers that it puts out.
    """

    projection: nn.Module
    end: nn.Module
    width: int


class KeysAndValues(Protocol):
    """What makes the keys and values that stand before those of every attention call; also an ``nn.Module``."""

    @property
    def dropout(self) -> Callable[[Tensor], Tensor]:
        """Of keys and values, where they are used."""

    @property
    def visible(self) -> Tensor | None:
        """Which of them count for each row of the batch, (rows, 1, 1, length); None for all."""

    def __call__(self) -> Sequence[tuple[Tensor, Tensor]]:
        """Keys and values of each call, (heads, length, width), or with rows of the batch before."""


class Tunable(ABC, Module):
    """The parts of a language model that can be trained, replaced or added to.

    Names of layers are whole and those below ``model``, as ``model.get_submodule`` takes them.
    """

    model: PreTrainedModel

    @abstractmethod
    def unshare_trainable(self) -> None:
        """Give the weights that are to be trained memory of their own, if they are shared with another backbone."""

    @abstractmethod
    def embedding_weight(self) -> Tensor:
        """Return the input embedding matrix, (vocabulary, embedding)."""

    @abstractmethod
    def embed_soft(self, table: nn.Module) -> None:
        """Look ids past the vocabulary up in ``table()``, of shape (soft tokens, embedding)."""

    @abstractmethod
    def freeze_unused(self) -> None:
        """Take weights out of training that no answer depends on, if only hidden states are read."""

    @abstractmethod
    def common_word_ids(self, limit: int) -> list[int]:
        """Return ids of the most common ordinary words, judged by their place in the vocabulary.

        Single characters come last, unless most of the vocabulary's words are such.
        """

    @abstractmethod
    def norms(self) -> Sequence[nn.Module]:
        """Return the normalization layers."""

    @abstractmethod
    def sublayer_outputs(self) -> tuple[Sequence[SublayerOutput], Sequence[SublayerOutput]]:
        """Return where the attention and the feed-forward sub-layers end.

        Where the dropout there is no module of its own, each projection gets one in its place.
        """

    @abstractmethod
    def output_norms(self) -> Sequence[nn.Module]:
        """Return the norms of the residual sums that end the layers; none where norms come first."""

    @abstractmethod
    def query_value(self) -> Sequence[str]:
        """Return names of the layers that make queries and values (all three where one layer makes them)."""

    @abstractmethod
    def key_value(self) -> Sequence[str]:
        """Return names of the layers that make keys and values (all three where one layer makes them)."""

    @abstractmethod
    def outputs_of(self, name: str, roles: Collection[str]) -> Tensor | None:
        """Return which outputs of a layer that makes queries, keys and values are of some of these roles.

        Args:
            roles: some of ``"query"``, ``"key"``, ``"value"``.

        Returns:
            Booleans (outputs,), or None for a layer that doesn't make all three.
        """

    @abstractmethod
    def feed_forward_outputs(self) -> Sequence[str]:
        """Return names of the feed-forward sub-layers' output projections."""

    @abstractmethod
    def prefix_sites(self) -> Sequence[tuple[int, int]]:
        """Return heads and head width of every attention call of a forward pass, in order.

        Raises:
            TuningError: if the family's attention takes no prefix.
        """

    @abstractmethod
    def set_prefix(self, table: KeysAndValues) -> None:
        """Put the keys and values that ``table()`` returns before those of every attention call."""

    @abstractmethod
    def added_weights(self) -> Sequence[str]:
        """Return names of the weights that a tuning method added to the model's own."""

    @abstractmethod
    def recompute_activations(self) -> None:
        """Compute activations again for the gradient, from now on, instead of keeping them.

        Raises:
            TuningError: if the family can't.
        """

    @abstractmethod
    def layers(self) -> Sequence[nn.Module]:
        """Return the transformer layers, from the input to the output."""

    @abstractmethod
    def above(self, layers: Sequence[nn.Module]) -> Sequence[nn.Module]:
        """Return what stands between the last layers and the decoder: final norms of stacks, the head's transform.

        The decoder, whose weights are often the embeddings', isn't part of it.
        """
