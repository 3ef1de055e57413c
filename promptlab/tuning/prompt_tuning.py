"""Trainable tokens before or inside the prompt of a model, frozen or not."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from promptlab.core.errors import TuningError
from promptlab.core.interfaces import Backbone, Template, Tuning
from promptlab.core.prompt_files import prompt_length
from promptlab.core.ranges import Size, Width
from promptlab.core.training_defaults import TrainingDefaults
from promptlab.core.types import SoftSlot
from promptlab.tuning.soft_prompts import LSTMEncoder, MLPEncoder, SoftPromptTemplate


@dataclass(frozen=True)
class PromptTuning(Tuning):
    """Put soft tokens before the template and train them only (and the head).

    Source: Prompt Tuning, arXiv:2104.08691, section 2.

    Args:
        length: number of soft tokens; None takes as many as a saved prompt has, else 20.
        start: what the tokens start from: ``"vocabulary"`` (the vectors of common words), ``"labels"`` (those of the
            label words), ``"random"``, or the path of a saved prompt.
        hidden: width of an MLP over the soft tokens that is dropped after training; 0 for none.

    Raises:
        TuningError: if a number is out of range.

    Example:
        >>> from promptlab import PromptClassifier, PromptTuning
        >>> classifier = PromptClassifier("sst2", "sst2", "minilm", PromptTuning(length=5, start="labels"), max_steps=2)
        >>> classifier = classifier.fit(["a dull film", "great fun"], ["negative", "positive"])
        >>> classifier.trainable_parameters()  # 5 vectors of width 384
        1920
    """

    length: Size | None = None
    start: str = "vocabulary"
    hidden: Width = 0

    def edit(self, template: Template) -> Template:
        length = prompt_length(self.start) if self.length is None else self.length
        return SoftPromptTemplate(template, SoftSlot("prompt", length, start=self.start))

    def soft_encoder(self, width: int) -> nn.Module | None:
        return MLPEncoder(width, self.hidden) if self.hidden else None

    def attach(self, backbone: Backbone) -> None:
        backbone.requires_grad_(False)

    @property
    def defaults(self) -> TrainingDefaults:
        return TrainingDefaults(learning_rate=3e-3, max_steps=200, head_learning_rate=3e-3)


@dataclass(frozen=True)
class PTuning(Tuning):
    """Train the template's soft tokens through an LSTM and an MLP that are dropped after training.

    What goes into the LSTM starts at the scale of the model's embeddings, or from words; the authors' code draws it
    from N(0, 1), which is 10 to 50 times as wide.

    Source: P-Tuning, arXiv:2103.10385, section 3.

    Args:
        hidden: width of the LSTM in each direction; 0 takes the width of the embeddings.
        train_model: whether the model is trained, too, as in the paper's few-shot runs.

    Raises:
        TuningError: if ``hidden`` is negative, or the template has no soft tokens.

    Example:
        >>> from promptlab import PromptClassifier, PTuning
        >>> template, tuning = "{{ text_a }} {{ soft(3) }} {{ mask }}.", PTuning(train_model=False)
        >>> classifier = PromptClassifier(template, "sst2", "minilm", tuning, max_steps=2)
        >>> classifier = classifier.fit(["a dull film", "great fun"], ["negative", "positive"])
        >>> classifier.trainable_parameters()  # that are kept: 3 vectors of width 384
        1152
    """

    hidden: Width = 0
    train_model: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.hidden < 0:
            raise TuningError(f"P-Tuning hidden={self.hidden} must be 0 (the embeddings' width) or above.")

    def edit(self, template: Template) -> Template:
        if not template.soft_slots:
            raise TuningError(
                "P-Tuning trains the soft tokens of a template, but this one has none; write {{ soft(3) }} into it, or "
                "choose prompt-tuning, which needs none."
            )
        return template

    def soft_encoder(self, width: int) -> nn.Module | None:
        return LSTMEncoder(width, self.hidden or width)

    def attach(self, backbone: Backbone) -> None:
        backbone.requires_grad_(self.train_model)

    @property
    def defaults(self) -> TrainingDefaults:
        rate = 2.5e-5 if self.train_model else 1e-3
        return TrainingDefaults(rate, max_steps=100, head_learning_rate=1e-3, scale_with_width=self.train_model)
