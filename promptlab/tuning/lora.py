"""Low-rank and scaling updates, by peft."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from promptlab.core.errors import SavedModelError, TuningError
from promptlab.core.interfaces import Backbone, Tuning
from promptlab.core.ranges import PartShare, Size
from promptlab.core.training_defaults import TrainingDefaults

if TYPE_CHECKING:
    from peft import PeftConfig

NAME = "default"  # of the adapter inside peft


@dataclass(frozen=True)
class PeftTuning(Tuning):
    """What peft's methods share: only what peft adds is trained, and it is saved in peft's own format."""

    @abstractmethod
    def config(self, backbone: Backbone) -> PeftConfig:
        """Return peft's settings for a model."""

    @property
    @abstractmethod
    def mark(self) -> str:
        """Part of the names of the parameters that peft adds."""

    def attach(self, backbone: Backbone) -> None:
        from peft import inject_adapter_in_model

        backbone.requires_grad_(False)
        try:
            inject_adapter_in_model(self.config(backbone), backbone.model, adapter_name=NAME)
        except (ValueError, TypeError) as error:
            raise TuningError(
                f"peft can't add this to {backbone.name or 'the model'}: {str(error).splitlines()[0]}"
            ) from None
        for name, weight in backbone.named_parameters():
            weight.requires_grad_(self.mark in name)
        for name in backbone.query_value():
            trained = backbone.outputs_of(name, self.roles)
            if self.roles and trained is not None:
                _train_only(backbone.model.get_submodule(name), trained)

    @property
    @abstractmethod
    def roles(self) -> Collection[str]:
        """What is to be updated of a layer that makes queries, keys and values; nothing for all of it."""

    def merge(self, backbone: Backbone) -> None:
        from peft.tuners.tuners_utils import BaseTunerLayer

        for name, layer in list(backbone.model.named_modules()):
            if isinstance(layer, BaseTunerLayer):
                layer.merge(safe_merge=True)  # into new memory: the weights may be shared
                backbone.model.set_submodule(name, layer.get_base_layer())

    def save(self, backbone: Backbone, folder: Path) -> frozenset[str]:
        from peft import get_peft_model_state_dict
        from safetensors.torch import save_file

        target = folder / "adapter"
        target.mkdir()
        state = get_peft_model_state_dict(backbone.model, adapter_name=NAME)
        prefix = "base_model.model."  # as in a whole peft model, so that PeftModel.from_pretrained opens it
        tensors = {f"{prefix}{name}": value.detach().cpu().contiguous() for name, value in state.items()}
        save_file(tensors, target / "adapter_model.safetensors", metadata={"format": "pt"})
        config = self.config(backbone)
        config.base_model_name_or_path, config.inference_mode = backbone.name, True
        config.save_pretrained(str(target))
        return frozenset(name for name, weight in backbone.named_parameters() if self.mark in name)

    def load(self, backbone: Backbone, folder: Path) -> frozenset[str]:
        from peft import set_peft_model_state_dict
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        path = folder / "adapter" / "adapter_model.safetensors"
        try:
            tensors = load_file(path)
        except (OSError, SafetensorError) as error:
            raise SavedModelError(f"{str(path)!r} is damaged or missing ({error}); save the model again.") from None
        state = {name.removeprefix("base_model.model."): value for name, value in tensors.items()}
        try:
            result: Any = set_peft_model_state_dict(backbone.model, state, adapter_name=NAME)
            fits = not result.unexpected_keys and not any(self.mark in name for name in result.missing_keys)
        except RuntimeError:  # of torch, about shapes
            fits = False
        if not fits:
            raise SavedModelError(f"{str(path)!r} doesn't fit its settings; save the model again.")
        return frozenset(name for name, weight in backbone.named_parameters() if self.mark in name)


@dataclass(frozen=True)
class LoRA(PeftTuning):
    """Train low-rank updates of the query and value projections, or of every linear layer.

    Where one layer makes queries, keys and values (GPT-2, GPT-NeoX, ModernBERT), ``"query-value"`` updates the outputs
    that are queries and values; they share the matrix A, and the rows of B that would make keys stay 0. Named modules
    are updated whole.

    Source: LoRA, arXiv:2106.09685, section 4; rank-stabilized: arXiv:2312.03732; DoRA: arXiv:2402.09353.

    Args:
        rank: rank of each update.
        alpha: each update is scaled by alpha / rank (rsLoRA: alpha / √rank).
        dropout: share of an update's inputs that is dropped in training.
        targets: layers that are updated: ``"query-value"``, ``"all-linear"``, or names of modules.
        rslora: whether to scale by the square root of the rank.
        dora: whether to train magnitude and direction of the weights apart.

    Raises:
        TuningError: if a number is out of range, or peft finds nothing to update.

    Example:
        >>> from promptlab import LoRA, PromptClassifier
        >>> classifier = PromptClassifier("sst2", "sst2", "minilm", LoRA(rank=4), max_steps=2)
        >>> classifier = classifier.fit(["a dull film", "great fun"], ["negative", "positive"])
        >>> classifier.trainable_parameters()  # 6 layers · 2 projections · 4 · (384 + 384)
        36864
    """

    rank: Size = 8
    alpha: Size = 16
    dropout: PartShare = 0.0
    targets: str | Sequence[str] = "query-value"
    rslora: bool = False
    dora: bool = False

    mark = "lora_"

    @property
    def roles(self) -> Collection[str]:
        return ("query", "value") if self.targets == "query-value" else ()

    def attach(self, backbone: Backbone) -> None:
        if self.rank > backbone.hidden_size:
            raise TuningError(
                f"LoRA rank={self.rank} is more than the model's width {backbone.hidden_size}, where an update is "
                "already free; choose 4 to 64, or tuning='full'."
            )
        super().attach(backbone)

    def config(self, backbone: Backbone) -> PeftConfig:
        from peft import LoraConfig

        modules = backbone.query_value() if self.targets == "query-value" else self.targets
        return LoraConfig(
            r=self.rank,
            lora_alpha=self.alpha,
            lora_dropout=self.dropout,
            target_modules=modules if isinstance(modules, str) else list(modules),
            use_rslora=self.rslora,
            use_dora=self.dora,
            fan_in_fan_out=_transposed(backbone),
        )

    @property
    def defaults(self) -> TrainingDefaults:
        return TrainingDefaults(learning_rate=4e-4, max_steps=100, head_learning_rate=1e-3)


@dataclass(frozen=True)
class IA3(PeftTuning):
    """Train vectors that rescale keys, values and the feed-forward layer's inner activations.

    Where one layer makes queries, keys and values, the queries' part of its vector stays 1.

    Source: T-Few, arXiv:2205.05638, section 3.3.

    Example:
        >>> from promptlab import IA3, PromptClassifier
        >>> classifier = PromptClassifier("sst2", "sst2", "minilm", IA3(), max_steps=2)
        >>> classifier = classifier.fit(["a dull film", "great fun"], ["negative", "positive"])
        >>> classifier.trainable_parameters()  # 6 layers · (384 + 384 + 1,536)
        13824
    """

    mark = "ia3_"
    roles = ("key", "value")

    def config(self, backbone: Backbone) -> PeftConfig:
        from peft import IA3Config

        keys, feed_forward = backbone.key_value(), backbone.feed_forward_outputs()
        return IA3Config(
            target_modules=[*keys, *feed_forward],
            feedforward_modules=list(feed_forward),
            fan_in_fan_out=_transposed(backbone),
        )

    @property
    def defaults(self) -> TrainingDefaults:
        return TrainingDefaults(learning_rate=1.2e-2, max_steps=100, head_learning_rate=1e-3)


def _train_only(layer: nn.Module, outputs: Tensor) -> None:
    """Give what peft added to a layer no gradient but for some of the layer's outputs.

    Args:
        outputs: which, booleans (outputs,).
    """
    added = {name: weight for name, weight in layer.named_parameters() if weight.requires_grad}
    for name, weight in added.items():
        if "lora_A" not in name:  # what all outputs share
            mask = outputs.view(-1, *(1 for _ in weight.shape[1:]))
            weight.register_hook(lambda gradient, mask=mask: gradient * mask.to(gradient.device))


def _transposed(backbone: Backbone) -> bool:
    """Whether the model keeps its weights transposed, as GPT-2 does."""
    return any(type(layer).__name__ == "Conv1D" for layer in backbone.modules())
