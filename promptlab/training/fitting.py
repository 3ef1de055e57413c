"""Training a prompt model on labeled examples, whole or only its head."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from promptlab.core.devices import resolve_device
from promptlab.core.types import Batch, Encoded
from promptlab.data.labeled import Training
from promptlab.models.inference import average_variants, calibrate, in_batches, predict_log_probs
from promptlab.models.prompt_model import PromptModel
from promptlab.models.trainable_model import TrainableModel
from promptlab.training.checkpoint import Checkpoints
from promptlab.training.dev_score import DevScore, dev_score
from promptlab.training.loop import train
from promptlab.training.settings import TrainingSettings

Objective = Callable[[PromptModel], TrainableModel]  # makes a model around the model, with another loss


Scorer = Callable[[Tensor, Tensor], DevScore]  # of class log-probabilities (examples, classes), and targets


class EncodedSet(NamedTuple):
    """Encoded prompts, ``n_variants`` for each example, the targets of each example and how they score a model.

    The targets of ordinary classification are classes, or log-probabilities of all.
    """

    rows: list[Encoded]
    targets: Tensor
    n_variants: int
    scorer: Scorer = dev_score
    max_length: int | None = None  # tokens that a prompt could have
    weights: Tensor | None = None  # of each example in the loss, (examples,) or (examples, classes); None: alike

    @property
    def row_targets(self) -> Tensor:
        """The targets of each prompt."""
        return self.targets.repeat_interleave(self.n_variants, dim=0)

    @property
    def row_weights(self) -> Tensor | None:
        """The weights of each prompt in the loss."""
        return None if self.weights is None else self.weights.repeat_interleave(self.n_variants, dim=0)

    def score(self, log_probs: Tensor) -> DevScore:
        """Of class log-probabilities of the examples, (examples, classes)."""
        return self.scorer(log_probs, self.targets)

    @classmethod
    def of(cls, data: Training, model: PromptModel, max_length: int | None, scorer: Scorer = dev_score) -> EncodedSet:
        """The prompts that a model makes of examples, and what ``scorer`` measures on them."""
        targets = data.targets(model.verbalizer.classes)
        rows = model.encode(data.examples, max_length=max_length)
        return cls(rows, targets, model.template.n_variants, scorer, max_length, data.weights)


def train_model(
    model: TrainableModel,
    rows: Sequence[Any],
    collate: Callable[[list[Any]], Any],
    lengths: Sequence[int],
    settings: TrainingSettings,
    *,
    evaluate: Callable[[], DevScore] | None,
    checkpoint: Checkpoints | None,
    separate: Sequence[nn.Module] = (),
) -> list[dict[str, float]]:
    """Train what is trainable of a model, on the device of the settings; see ``training.train``.

    Raises:
        TuningError: if nothing is trainable, or activations can't be computed again.
    """
    model.check_trainable()
    device = resolve_device(settings.device)
    model.to(device)
    if settings.gradient_checkpointing:
        model.recompute_activations()
    return train(
        model,
        rows,
        lambda some: collate(some).to(device),
        lengths,
        replace(settings, device=str(device)),
        evaluate=evaluate,
        checkpoint=checkpoint,
        separate=separate,
    )


def fit_model(
    model: PromptModel,
    training: EncodedSet,
    dev: EncodedSet | None,
    settings: TrainingSettings,
    *,
    checkpoint: Checkpoints | None = None,
    objective: Objective | None = None,
) -> list[dict[str, float]]:
    """Train what is trainable and leave the best weights by dev score; returns the record of ``train``.

    If only the head is trained, with its own loss, the frozen model's answers are computed once. A head with a training
    of its own gets it after the language model's.

    Args:
        checkpoint: knows of the dev set and of what the weights don't tell of the tuning.
        objective: what is minimised, if not the head's loss.

    Raises:
        TuningError: if nothing is trainable.
    """
    model.template.check_training()
    head = model.head
    if head.post_training is None:
        if objective is None and model.trains_head_only():
            return _fit_head(model, training, dev, settings, checkpoint)
        return _fit_whole(model, training, dev, settings, checkpoint, objective)
    history = []
    if not model.trains_head_only():
        model.head = head.first_head
        history = _fit_whole(model, training, dev, settings, checkpoint, objective)
        model.head = head
    own = replace(settings, batch_size=len(training.rows), gradient_accumulation_steps=1, **head.post_training)
    return history + _fit_head(model, training, dev, own, None)


def _fit_whole(
    model: PromptModel,
    training: EncodedSet,
    dev: EncodedSet | None,
    settings: TrainingSettings,
    checkpoint: Checkpoints | None,
    objective: Objective | None,
) -> list[dict[str, float]]:
    learner = model if objective is None else objective(model)
    row_targets, row_weights = training.row_targets, training.row_weights

    def collate(rows: list[int]) -> Batch:
        batch = model.backbone.collate([training.rows[row] for row in rows])
        batch.labels = row_targets[rows]
        batch.weights = None if row_weights is None else row_weights[rows]
        return batch

    def evaluate() -> DevScore:
        assert dev is not None
        return dev.score(predict_log_probs(model.eval(), dev.rows))

    lengths = [len(row.input_ids) for row in training.rows]
    scorer = None if dev is None else evaluate
    return train_model(learner, range(len(lengths)), collate, lengths, settings, evaluate=scorer, checkpoint=checkpoint)


class HeadModel(TrainableModel):
    """The head alone, on answers of a frozen model that were computed once."""

    def __init__(self, head: Any, answers: Any, labels: Tensor, weights: Tensor | None) -> None:
        super().__init__()
        self.head = head
        self._answers, self.labels, self.weights = answers, labels, weights  # answers follow from model and rows

    def recompute_activations(self) -> None:
        """There are none: the answers are kept, not computed."""

    def loss(self, rows: Tensor) -> Tensor:
        """Return the head's loss on some rows, ()."""
        weights = None if self.weights is None else self.weights[rows]
        loss: Tensor = self.head.own_loss(self._answers[rows], self.labels[rows], weights)
        return loss

    forward = loss

    def loss_weights(self, rows: Tensor) -> Tensor:
        return super().loss_weights(rows) if self.weights is None else self.weights[rows].sum()


def _fit_head(
    model: PromptModel,
    training: EncodedSet,
    dev: EncodedSet | None,
    settings: TrainingSettings,
    checkpoint: Checkpoints | None,
) -> list[dict[str, float]]:
    model.check_trainable()  # before anything is computed
    device = resolve_device(settings.device)
    model.to(device).eval()
    answers = in_batches(model.backbone, training.rows, model.read)
    row_weights = None if training.row_weights is None else training.row_weights.to(device)
    head = HeadModel(model.head, answers, training.row_targets.to(device), row_weights)
    dev_answers = None if dev is None else in_batches(model.backbone, dev.rows, model.read)

    def settle() -> None:
        if model.head.post_training is not None:
            calibrate(model, max_length=training.max_length, answers=answers, weights=row_weights)

    @torch.inference_mode()
    def evaluate() -> DevScore:
        assert dev is not None
        head.eval()
        settle()
        return dev.score(average_variants(model.head(dev_answers), dev.n_variants).cpu())

    count = len(training.rows)
    scorer = None if dev is None else evaluate
    checkpoint = checkpoint and checkpoint.also(model, training)
    history = train_model(
        head, range(count), torch.tensor, [1] * count, settings, evaluate=scorer, checkpoint=checkpoint
    )
    if dev is None:
        settle()
    return history
