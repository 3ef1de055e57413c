"""The classifier that learns from what prompts say of unlabeled texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sklearn.base import clone

from promptlab.backbones.catalog import load_backbone
from promptlab.core.errors import TuningError, error_context
from promptlab.core.inputs import DeviceLike, DevSet
from promptlab.ensembles.members import Member, read_fields
from promptlab.estimators.classifiers import HeadClassifier
from promptlab.jobs.workspace import Workspace
from promptlab.library.resolve import resolve_tuning


def unfitted_student(
    given: HeadClassifier | None,
    settings: Mapping[str, Any],
    members: Sequence[Member],
    workspace: Workspace,
    *,
    device: DeviceLike,
    eval_set: DevSet | None,
) -> HeadClassifier:
    """Return the student on a loaded backbone.

    Args:
        given: what the user passed; where it names no model or fields, it takes those of the members.
        settings: of the usual student, where the user passed none.
        device: where all of the distillation runs.

    Raises:
        TuningError: if its settings can't work.
    """
    model = members[0].classifier.model
    if given is None:
        student = HeadClassifier(model, fields=read_fields(members), **settings)
    else:
        student = clone(given)
        if student.fields is None:
            student.set_params(fields=read_fields(members))
        student.set_params(
            model=model if student.model is None else workspace.share_backbone(load_backbone(student.model))
        )
    with error_context("student"):
        _check(student, device, eval_set)
    return student


def _check(student: HeadClassifier, device: DeviceLike, eval_set: DevSet | None) -> None:
    if student.device not in ("auto", device):
        raise TuningError(f"device={student.device!r} isn't {device!r}, where all of this runs; leave it out.")
    student.check_settings(eval_set)
    if student.class_weight is not None:
        raise TuningError(
            f"class_weight={student.class_weight!r} has no use: a student learns from probabilities; set the members'."
        )
    if student.resume_dir is not None:
        raise TuningError(
            f"resume_dir={str(student.resume_dir)!r} has no use: the folder of its teacher keeps it; set that one's."
        )
    student.updates(
        resolve_tuning(student.tuning), 1, load_backbone(student.model).hidden_size
    )  # which checks the rest
