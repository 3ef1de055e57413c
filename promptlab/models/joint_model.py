"""Prompt models that share the passes of one language model."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from promptlab.backbones.mixing import RowGroups, mix
from promptlab.core.errors import TuningError, short_repr
from promptlab.core.interfaces import Backbone
from promptlab.core.types import Batch, Encoded, MaskStates
from promptlab.models.prompt_model import PromptModel
from promptlab.models.trainable_model import TrainableModel


class MemberRow(NamedTuple):
    """An encoded prompt, the number of the model that reads it, its class if that is known, and its weight if any."""

    member: int
    encoded: Encoded
    target: int = -1
    weight: float | None = None


@dataclass(slots=True)
class JointBatch:
    """A batch whose rows stand in the order of the models, and the number of rows of each."""

    batch: Batch
    sizes: list[int]

    def to(self, device: str | torch.device) -> JointBatch:
        return JointBatch(self.batch.to(device), self.sizes)


class JointModel(TrainableModel[JointBatch]):
    """Prompt models whose backbones are copies of one; what they share runs once for all rows of a batch.

    Trained together, each model's gradient is the one that it would get alone.

    Source: Prompt Tuning, arXiv:2104.08691, section 6 (prompts of one model in one batch).

    Args:
        origin: the backbone that theirs were copied from.
        members: the models.

    Raises:
        TuningError: if the models read the language model in different ways, or changed what rows of a batch share.
    """

    def __init__(self, origin: Backbone, members: Sequence[PromptModel]) -> None:
        super().__init__()
        first = members[0].head
        for member in members:
            if member.head.batch_key != first.batch_key:
                raise TuningError(
                    f"{_said(members[0])} and {_said(member)} read the model in different ways, so that they can't "
                    "share a batch; run them one after the other."
                )
        if first.answer_length > 1:
            raise TuningError("answers of several tokens can't share a batch; run the classifiers one after the other.")
        self.members = nn.ModuleList(members)
        self.groups = RowGroups()
        self.backbone = mix(origin, [member.backbone for member in members], self.groups)
        self._try_out()

    @property
    def prompt_models(self) -> list[PromptModel]:
        """The members."""
        return [member for member in self.members if isinstance(member, PromptModel)]

    @torch.no_grad()
    def _try_out(self) -> None:
        """Run batches of two sizes: what isn't passed as rows of the batch is noticed in one of them at least."""
        ids = np.ones(3, np.int64)
        for times in (1, 2):
            self.groups.sizes = [times] * len(self.members)
            batch = self.backbone.collate([Encoded(ids, 0 * ids, ids[:1])] * (times * len(self.members)))
            self._read(batch.to(self.backbone.embedding_weight().device))

    def _read(self, batch: Batch) -> MaskStates | Tensor:
        outputs: MaskStates | Tensor = self.prompt_models[0].head.read_backbone(self.backbone, batch)
        return outputs

    def collate(self, rows: Sequence[MemberRow]) -> JointBatch:
        """One batch of the rows of all models, sorted by model."""
        by_member = sorted(rows, key=lambda row: row.member)
        batch = self.backbone.collate([row.encoded for row in by_member])
        counts = Counter(row.member for row in rows)
        labels = [row.target for row in by_member]
        batch.labels = torch.tensor(labels) if min(labels) >= 0 else None
        if any(row.weight is not None for row in rows):
            batch.weights = torch.tensor([1.0 if row.weight is None else row.weight for row in by_member])
        return JointBatch(batch, [counts[number] for number in range(len(self.members))])

    def loss_weights(self, batch: JointBatch) -> Tensor:
        """Of each model that has rows in the batch."""
        weights = batch.batch.weights
        each = torch.ones(sum(batch.sizes)) if weights is None else weights
        return torch.stack([part.sum() for part in each.split(batch.sizes) if len(part)])

    def log_probs(self, joint: JointBatch) -> list[Tensor]:
        """Return class log-probabilities by each model of its rows, in nats, (rows, classes)."""
        return [member.head(answer) for member, answer, _ in self._answers(joint)]

    def loss(self, joint: JointBatch) -> Tensor:
        """Return the loss of each model that has rows in a labeled batch, (models,)."""
        labels, weights = joint.batch.labels, joint.batch.weights
        assert labels is not None
        return torch.stack(
            [
                member.head.loss(answer, labels[rows], None if weights is None else weights[rows])
                for member, answer, rows in self._answers(joint)
                if rows.stop > rows.start
            ]
        )

    forward = loss

    def _answers(self, joint: JointBatch) -> Iterator[tuple[PromptModel, MaskStates | Tensor, slice]]:
        """Each model with the language model's answer to its rows, and the rows."""
        self.groups.sizes = joint.sizes
        answer = self._read(joint.batch)
        ends = list(itertools.accumulate(joint.sizes))
        for member, size, end in zip(self.prompt_models, joint.sizes, ends):
            rows = slice(end - size, end)
            yield member, _part(answer, rows, member), rows


def _said(member: PromptModel) -> str:
    """What reads the model, as messages call it."""
    return f"a {type(member.verbalizer).__name__} ({short_repr(list(member.verbalizer.classes))})"


def _part(answer: MaskStates | Tensor, rows: slice, member: PromptModel) -> MaskStates | Tensor:
    """A model's rows of an answer, read through its own language-model head."""
    return MaskStates(answer.hidden[rows], member.backbone.project) if isinstance(answer, MaskStates) else answer[rows]
