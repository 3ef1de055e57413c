"""Training several classifiers on one language model together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from promptlab.models.inference import predict_log_probs
from promptlab.models.joint_model import JointModel, MemberRow
from promptlab.training.checkpoint import Checkpoints
from promptlab.training.dev_score import DevScore, dev_score
from promptlab.training.fitting import EncodedSet, train_model
from promptlab.training.settings import TrainingSettings


def train_jointly(
    model: JointModel,
    sets: Sequence[EncodedSet],
    dev: Sequence[EncodedSet] | None,
    settings: TrainingSettings,
    *,
    checkpoint: Checkpoints | None,
    separate: Sequence[nn.Module] = (),
) -> list[dict[str, float]]:
    """Train with batches of which each holds as many rows of every model; shorter sets begin anew.

    Args:
        sets: of each model, in the order of ``model.members``; ``dev`` likewise.
        checkpoint: see ``training.fitting.train_model``, as for ``separate``.

    Returns:
        The record of training; its dev scores are means over the models.
    """
    rows = [_rows(number, data) for number, data in enumerate(sets)]
    count = max(map(len, rows))

    def collate(numbers: list[int]) -> Any:
        return model.collate([own[number % len(own)] for own in rows for number in numbers])

    return train_model(
        model,
        range(count),
        collate,
        [max(len(own[number % len(own)].encoded.input_ids) for own in rows) for number in range(count)],
        settings,
        evaluate=None if dev is None else lambda: _mean_score(model, dev),
        checkpoint=checkpoint,
        separate=separate,
    )


def _rows(number: int, data: EncodedSet) -> list[MemberRow]:
    weights = data.row_weights
    return [
        MemberRow(number, row, int(target), None if weights is None else float(weights[i]))
        for i, (row, target) in enumerate(zip(data.rows, data.row_targets))
    ]


def _mean_score(model: JointModel, dev: Sequence[EncodedSet]) -> DevScore:
    members: Any = model.members
    scores = [
        dev_score(predict_log_probs(member.eval(), data.rows), data.targets) for member, data in zip(members, dev)
    ]
    return DevScore(
        sum(score.accuracy for score in scores) / len(scores),
        sum(score.loss for score in scores) / len(scores),
        sum(score.n_examples for score in scores),
    )
