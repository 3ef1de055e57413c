"""What it takes to train a prompt model on labeled examples, whole or only its head."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from promptlab.core.devices import resolve_device
from promptlab.core.inputs import DeviceLike
from promptlab.core.interfaces import AnyHead
from promptlab.core.types import Batch, Encoded, MaskStates
from promptlab.data.labeled import Training
from promptlab.models.inference import average_variants, calibrate, in_batches, predict_log_probs
from promptlab.models.prompt_model import PromptModel
from promptlab.models.trainable_model import AnyModel, TrainableModel
from promptlab.training.checkpoint import Checkpoints
from promptlab.training.dev_score import DevScore, dev_score
from promptlab.training.run import TrainingRun
from promptlab.training.settings import TrainingSettings

Objective = Callable[[PromptModel], AnyModel]  # makes a model around the model, with another loss


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


def training_runs(
    model: PromptModel,
    training: EncodedSet,
    dev: EncodedSet | None,
    settings: TrainingSettings,
    *,
    checkpoint: Checkpoints | None = None,
    objective: Objective | None = None,
) -> Iterator[TrainingRun]:
    """Yield the runs that train what is trainable of a model; each is trained before the next one is asked for.

    If only the head is trained, with its own loss, the frozen model's answers are computed once. A head with a training
    of its own gets it after the language model's. What is left has the best weights by dev score.

    Args:
        checkpoint: knows of the dev set and of what the weights don't tell of the tuning.
        objective: what is minimised, if not the head's loss.

    Raises:
        TuningError: if nothing is trainable.
    """
    model.template.check_training()
    head, is_frozen = model.head, model.trains_head_only()
    if head.post_training is None and is_frozen and objective is None:
        yield from _head_runs(model, training, dev, settings, checkpoint)
    elif head.post_training is None:
        yield _whole_run(model, training, dev, settings, checkpoint, objective)
    else:
        if not is_frozen:
            model.head = head.first_head
            yield _whole_run(model, training, dev, settings, checkpoint, objective)
            model.head = head
        own = replace(settings, batch_size=len(training.rows), gradient_accumulation_steps=1, **head.post_training)
        yield from _head_runs(model, training, dev, own, None)


def untrained_record(model: PromptModel, dev: EncodedSet | None, device: DeviceLike) -> list[dict[str, float]]:
    """Return the record of a model of which nothing is trained: its score on dev, if there is a dev set."""
    if dev is None:
        return []
    score = dev.score(predict_log_probs(model.to(resolve_device(device)).eval(), dev.rows))
    return [{"step": 0, **score.record()}]


def _whole_run(
    model: PromptModel,
    training: EncodedSet,
    dev: EncodedSet | None,
    settings: TrainingSettings,
    checkpoint: Checkpoints | None,
    objective: Objective | None,
) -> TrainingRun:
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
    return TrainingRun(learner, range(len(lengths)), collate, lengths, settings, scorer, checkpoint).on_device()


class HeadModel(TrainableModel[Tensor]):
    """The head alone, on answers of a frozen model that were computed once."""

    def __init__(self, head: AnyHead, answers: MaskStates | Tensor, labels: Tensor, weights: Tensor | None) -> None:
        super().__init__()
        self.head = head
        self._answers, self.labels, self.weights = answers, labels, weights  # answers follow from model and rows

    def recompute_activations(self) -> None:
        """There are none: the answers are kept, not computed."""

    def loss(self, rows: Tensor) -> Tensor:
        """Return the head's loss on some rows, ()."""
        weights = None if self.weights is None else self.weights[rows]
        return self.head.own_loss(self._answers[rows], self.labels[rows], weights)

    forward = loss

    def loss_weights(self, rows: Tensor) -> Tensor:
        return torch.tensor(float(len(rows))) if self.weights is None else self.weights[rows].sum()


def _head_runs(
    model: PromptModel,
    training: EncodedSet,
    dev: EncodedSet | None,
    settings: TrainingSettings,
    checkpoint: Checkpoints | None,
) -> Iterator[TrainingRun]:
    """The one run of the head alone, after which it is settled."""
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
    yield TrainingRun(head, range(count), torch.tensor, [1] * count, settings, scorer, checkpoint).on_device()
    if dev is None:
        settle()
