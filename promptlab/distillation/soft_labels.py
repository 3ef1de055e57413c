"""Unlabeled text: taken from where it is, labeled softly part by part, and learned from by a student."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from promptlab.core.finished_work import reading
from promptlab.data.labeled import Labeled, SoftLabeled, reduced
from promptlab.data.labels import LabelType
from promptlab.ensembles.member_jobs import MODEL, SCORES, Settings, classifier_of, classifier_settings, labeled_set
from promptlab.ensembles.members import Member
from promptlab.ensembles.merging import merged
from promptlab.estimators.classifiers import HeadClassifier
from promptlab.jobs.jobs import Job
from promptlab.jobs.workspace import Chunks, Workspace, drawn_rows, some_rows
from promptlab.training.objectives import Distillation


class DistillationRun(NamedTuple):
    """What a fit works with.

    Args:
        training: the labeled examples; None if there are none.
        dev: the dev examples, or None.
        label_type: of the labels.
        unlabeled: the hashes of the parts of the unlabeled set.
        weights: of the members.
        done: told of every finished job.
    """

    workspace: Workspace
    members: Sequence[Member]
    training: Labeled | None
    dev: Labeled | None
    label_type: LabelType
    unlabeled: Chunks
    weights: np.ndarray
    done: Callable[[int], object]


def load_scores(folders: Iterable[Path]) -> np.ndarray:
    """The scores in some results, one part after the other: (examples, classes).

    Raises:
        DataError: if a file is damaged.
    """
    rows = []
    for folder in folders:
        with reading(folder):
            rows.append(np.load(folder / SCORES, allow_pickle=False))
    return np.concatenate(rows)


def merge_scores(settings: Settings, folder: Path, workspace: Workspace) -> None:
    """The job that merges members' scores of a part: ``scores.npy``, the soft labels before any temperature.

    Args:
        settings: the keys of the ``scores`` and the ``weights`` of the members.
    """
    scores = np.stack([load_scores([workspace.result(key)]) for key in settings["scores"]])
    labels = merged(scores, np.array(settings["weights"]))
    np.save(folder / SCORES, labels.astype(np.float32), allow_pickle=False)


def student_job(
    student: HeadClassifier, lesson: DistillationRun, labels: Sequence[str], *, temperature: float, at_most: int
) -> Job:
    """The job that lets an unfitted classifier on a loaded backbone learn from soft labels.

    Args:
        labels: keys of the jobs that merged the members' scores of each part.
        at_most: rows to learn from.
    """
    workspace, dev = lesson.workspace, lesson.dev
    settings = {
        "chunks": lesson.unlabeled.names,
        "total": lesson.unlabeled.total,
        "at_most": at_most,
        "labels": labels,
        "classes": sorted(lesson.members[0].classifier.make_verbalizer(None).classes),
        "label_type": lesson.label_type.saved(),
        "temperature": temperature,
        "dev": dev and workspace.store(reduced(dev.examples, student.make_template().fields)),
    }
    return Job.of("student", train_student, classifier_settings(student, workspace) | settings)


def train_student(settings: Settings, folder: Path, workspace: Workspace) -> None:
    """The job that lets a classifier learn from soft labels.

    Source: PET, arXiv:2001.07676, section 3.3.

    Args:
        settings: of ``classifier_settings``; the hashes of the unlabeled ``chunks`` and how many rows there are
            (``total``), how many to learn from ``at_most``; the keys of their ``labels``, whose columns are
            ``classes``; the saved ``label_type``; ``temperature``; and the hash of the ``dev`` set or None.
    """
    student = classifier_of(settings, workspace)
    rows = drawn_rows(settings["total"], settings["at_most"], seed=student.seed)
    labels = load_scores(workspace.result(key) for key in settings["labels"])[rows]
    training = SoftLabeled(
        some_rows(workspace, settings["chunks"], rows),
        settings["classes"],
        torch.from_numpy(labels),
        LabelType.from_saved(settings["label_type"]),
    )
    dev = labeled_set(settings["dev"], settings, workspace)
    student.fit_labeled(training, dev, objective=lambda model: Distillation(model, temperature=settings["temperature"]))
    student.save_pretrained(folder / MODEL)
