"""What one training works on: the model, its rows, its settings, and what scores it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, Self

import torch
from torch import nn
from torch.utils.data import DataLoader

from promptlab.core.devices import resolve_device
from promptlab.core.finished_work import Entry
from promptlab.models.trainable_model import AnyModel
from promptlab.training.batching import LengthBatches
from promptlab.training.checkpoint import Checkpoints
from promptlab.training.dev_score import DevScore
from promptlab.training.settings import TrainingSettings


class Movable(Protocol):
    """A batch, which goes to the device of the model."""

    def to(self, device: torch.device) -> Movable: ...


@dataclass(frozen=True)
class TrainingRun:
    """What ``loop.train`` works on.

    Args:
        model: of which a part is trained; its forward pass is its loss.
        rows: what ``collate`` makes batches of.
        lengths: tokens of each row, to put like lengths together.
        evaluate: scores the model as it is; without it the last weights are kept.
        checkpoint: where to resume from, written at every evaluation; knows what ``evaluate`` scores by.
        separate: parts that share no trained weight; each one's gradient is clipped by itself.
    """

    model: AnyModel
    rows: Sequence[object]
    collate: Callable[[list[Any]], Movable]
    lengths: Sequence[int]
    settings: TrainingSettings
    evaluate: Callable[[], DevScore] | None = None
    checkpoint: Checkpoints | None = None
    separate: Sequence[nn.Module] = ()

    def on_device(self) -> Self:
        """Return the run with model and batches on the device of the settings, ready to be trained.

        Raises:
            TuningError: if nothing is trainable, or activations can't be computed again.
        """
        self.model.check_trainable()
        device = resolve_device(self.settings.device)
        self.model.to(device)
        if self.settings.gradient_checkpointing:
            self.model.recompute_activations()
        return replace(
            self,
            collate=lambda some: self.collate(some).to(device),
            settings=replace(self.settings, device=str(device)),
        )

    def loader(self, batches: LengthBatches) -> DataLoader[object]:
        """Return what makes batches of the rows; the global random state doesn't depend on how often it is begun."""
        return DataLoader(
            self.rows,  # type: ignore[arg-type]
            batch_sampler=batches,
            collate_fn=self.collate,
            generator=torch.Generator(),
        )

    def checkpoint_entry(self, n_processes: int) -> Entry | None:
        """Return the place of the run's state, if one is kept; nothing of the model may have moved yet."""
        if self.checkpoint is None:
            return None
        kind = replace(self.settings, device=torch.device(self.settings.device).type), n_processes
        return self.checkpoint.entry(self.model, self._contents(), kind)

    def dev_score(self, network: nn.Module) -> DevScore | None:
        """Score the model, if there is something to score it by, and leave it in training mode."""
        if self.evaluate is None:
            return None
        score = self.evaluate()
        network.train()
        return score

    def _contents(self) -> Iterator[Movable]:
        """What the model is going to see, all of it once."""
        size = self.settings.batch_size
        for start in range(0, len(self.rows), size):
            yield self.collate([self.rows[i] for i in range(start, min(start + size, len(self.rows)))])
