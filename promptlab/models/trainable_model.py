"""A language model with something on it, of which a part is trained."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Generic, Self, TypeAlias, TypeVar

from torch import Tensor, nn

from promptlab.core.errors import TuningError
from promptlab.core.interfaces import Backbone, Tuning

Seen = TypeVar("Seen")  # the batches that a loss takes


class TrainableModel(nn.Module, Generic[Seen]):
    """A language model with something on it, of which a part is trained.

    A subclass has a ``loss``, and methods of other names for what it answers. ``forward`` is the loss, too, for those
    who wrap models to train them (accelerate, DistributedDataParallel) and can wrap nothing else: each class says so
    with ``forward = loss``.
    """

    backbone: Backbone

    def loss(self, batch: Seen) -> Tensor:
        """Return the mean training loss of a batch, (), or of each of its terms, (terms,)."""
        raise NotImplementedError

    def prepare(self, batch: Any) -> Seen:
        """Return what ``loss`` takes: the batch, with what the loss draws at random, drawn once."""
        seen: Seen = batch
        return seen

    def loss_weights(self, batch: Seen) -> Tensor:
        """The total weight behind the mean that ``loss`` returns, () or one a term (terms,).

        It is the number of rows where these count alike, of words or tokens where the mean is over them, and the sum of
        the rows' weights where they have such. Known without a forward pass.
        """
        raise NotImplementedError

    def export(self) -> Self:
        """Drop what only training needs, such as the MLP that makes a prefix; the model answers as before."""
        for module in list(self.modules()):
            export = getattr(module, "export", None)
            if callable(export) and module is not self:
                export()
        return self

    def train(self, mode: bool = True) -> Self:
        """Training mode, except for modules without a trainable weight: frozen layers must not drop anything out."""
        super().train(mode)
        if not mode:
            return self
        for _, module in list(self.named_modules())[1:]:  # without the model itself
            if _is_frozen(module):
                module.eval()
            elif _is_frozen_before_layers(module):
                _eval_alone(module)
        for module in self.modules():  # layers that compute activations again do so only in this mode
            if getattr(module, "gradient_checkpointing", False):
                module.training = True
        return self

    def trained_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Name and weight of everything that training moves.

        Weights inside the backbone have names that start with ``backbone.``.
        """
        return ((name, weight) for name, weight in self.named_parameters() if weight.requires_grad)

    def recompute_activations(self) -> None:
        """From now on, compute activations again for the gradient instead of keeping them.

        Raises:
            TuningError: if the language model can't.
        """
        self.backbone.recompute_activations()

    def added_inputs(self) -> Sequence[str]:
        """What the model is fed besides ordinary tokens."""
        return ()

    def check_trainable(self) -> None:
        """Raise if training could change nothing.

        Raises:
            TuningError: if no weight is trainable.
        """
        if not any(True for _ in self.trained_parameters()):
            raise TuningError(
                "this tuning leaves nothing to train: the model is frozen, the verbalizer has no weights and the "
                "template no soft tokens. Choose tuning='full', or put {{ soft(5) }} into the template."
            )


AnyModel: TypeAlias = TrainableModel[Any]  # whatever it takes, which is then made for it


def _is_frozen(module: nn.Module) -> bool:
    weights = list(module.parameters())
    return bool(weights) and not any(weight.requires_grad for weight in weights)


def _is_frozen_before_layers(module: nn.Module) -> bool:
    """Whether a module holds a list of layers and, before it, weights such as embeddings, of which none is trained.

    What it drops out itself, it does before the layers: GPT-2, T5 and BART after the embeddings.
    """
    children = list(module.children())
    first = next((i for i, child in enumerate(children) if isinstance(child, nn.ModuleList)), 0)
    before = [weight for child in children[:first] for weight in child.parameters()]
    return bool(before) and not any(weight.requires_grad for weight in before)


def _eval_alone(module: nn.Module) -> None:
    """Evaluation mode for a module and its children without weights, not for its other children."""
    module.training = False
    for child in module.children():
        if not any(True for _ in child.parameters()):
            child.eval()


def attach(tuning: Tuning, backbone: Backbone) -> None:
    """Say which weights of a backbone are to be trained, those that nothing reads left out.

    Raises:
        TuningError: if the tuning doesn't fit the model.
    """
    tuning.attach(backbone)
    backbone.freeze_unused()
    backbone.unshare_trainable()
