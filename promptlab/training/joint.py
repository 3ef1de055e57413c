"""Training several classifiers on one language model together."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from promptlab.models.inference import predict_log_probs
from promptlab.models.joint_model import JointBatch, JointModel, MemberRow
from promptlab.training.checkpoint import Checkpoints
from promptlab.training.dev_score import DevScore, dev_score
from promptlab.training.fitting import EncodedSet
from promptlab.training.run import TrainingRun
from promptlab.training.settings import TrainingSettings


def joint_run(
    model: JointModel,
    sets: Sequence[EncodedSet],
    dev: Sequence[EncodedSet] | None,
    settings: TrainingSettings,
    *,
    checkpoint: Checkpoints | None,
    separate: Sequence[nn.Module] = (),
) -> TrainingRun:
    """Return a run with batches of which each holds as many rows of every model; shorter sets begin anew.

    Its dev scores are means over the models.

    Args:
        sets: of each model, in the order of ``model.members``; ``dev`` likewise.
        checkpoint: see ``TrainingRun``, as for ``separate``.
    """
    rows = [_rows(number, data) for number, data in enumerate(sets)]
    count = max(map(len, rows))

    def collate(numbers: list[int]) -> JointBatch:
        return model.collate([own[number % len(own)] for own in rows for number in numbers])

    lengths = [max(len(own[number % len(own)].encoded.input_ids) for own in rows) for number in range(count)]
    evaluate = None if dev is None else lambda: _mean_score(model, dev)
    return TrainingRun(model, range(count), collate, lengths, settings, evaluate, checkpoint, separate).on_device()


def _rows(number: int, data: EncodedSet) -> list[MemberRow]:
    weights = data.row_weights
    return [
        MemberRow(number, row, int(target), None if weights is None else float(weights[i]))
        for i, (row, target) in enumerate(zip(data.rows, data.row_targets))
    ]


def _mean_score(model: JointModel, dev: Sequence[EncodedSet]) -> DevScore:
    scores = [
        dev_score(predict_log_probs(member.eval(), data.rows), data.targets)
        for member, data in zip(model.prompt_models, dev)
    ]
    return DevScore(
        sum(score.accuracy for score in scores) / len(scores),
        sum(score.loss for score in scores) / len(scores),
        sum(score.n_examples for score in scores),
    )
