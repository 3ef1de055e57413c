"""Unlabelled text: taken from where it is, labelled softly part by part, and learnt from by a student."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence, Sized
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from promptlab.data.labels import is_missing
from promptlab.data.readers import as_examples, iter_examples
from promptlab.errors import DataError, shown
from promptlab.fitting import Labelled, SoftLabelled
from promptlab.head_classifier import HeadClassifier
from promptlab.jobs import Job
from promptlab.member_jobs import MODEL, SCORES, classifier_of, labelled, settings_of
from promptlab.members import Member, reduced
from promptlab.merging import merged
from promptlab.objectives import Distilled
from promptlab.types import Example
from promptlab.workspace import PART, Chunks, Workspace, drawn_rows, some_rows


class Lesson(NamedTuple):
    """What a fit works with.

    Args:
        training: the labelled examples; None if there are none.
        whole: whether classes are whole numbers.
        dev: hash of the dev examples.
        unlabelled: the hashes of the parts of the unlabelled set.
        weights: of the members.
        done: told of every finished job.
    """

    workspace: Workspace
    members: Sequence[Member]
    training: Labelled | None
    whole: bool
    dev: str | None
    unlabelled: Chunks
    weights: np.ndarray
    done: Any


def split_unlabelled(X: Any, y: Any, classes: Sequence[str]) -> tuple[Labelled | None, list[Example]]:
    """The labelled rows (None if there are none), and the others: those whose label is None, NaN or -1.

    Source: scikit-learn's convention for semi-supervised learning.

    Args:
        classes: where one is called ``-1``, that is a label like any other.

    Raises:
        DataError: if there isn't a label for each row.
    """
    if X is None:
        return None, []
    examples = as_examples(X)
    if y is None:
        labels: list[Any] = [example.label for example in examples]
    elif isinstance(y, Iterable) and not isinstance(y, str):
        labels = [_label(label) for label in (y.tolist() if hasattr(y, "tolist") else y)]
    else:
        raise DataError(f"y is {shown(y)}; pass a list of labels, -1 or None where there is none.")
    if len(labels) != len(examples):
        raise DataError(f"{len(labels)} labels for {len(examples)} rows; give one for each row, -1 or None if unknown.")
    unknown = [is_missing(label) or (str(label) == "-1" and "-1" not in classes) for label in labels]
    rest = list(itertools.compress(examples, unknown))
    if all(unknown):
        return None, rest
    known = [not is_unknown for is_unknown in unknown]
    training = Labelled.of(list(itertools.compress(examples, known)), list(itertools.compress(labels, known)))
    return (training if y is not None else Labelled(training.examples, False)), rest


def _label(label: Any) -> Any:
    """A label; whole numbers among which some were missing come as floats from pandas."""
    return int(label) if isinstance(label, float) and label.is_integer() else label


def stream(*sources: Any, fields: Sequence[str]) -> Iterator[Example]:
    """Unlabelled examples from lists and the like, paths of tables, and streams, one after the other.

    Args:
        sources: what has no length (an iterator, a streamed data set) is read in parts; None is nothing.
        fields: those that are read; others may hold anything, or nothing.

    Raises:
        DataError: as ``as_examples`` and ``iter_examples`` do, or if an example has none of the fields.
    """
    for source in sources:
        number = 0
        for examples in _parts(source):
            for example in reduced(examples, fields):
                number += 1
                if not example.fields:
                    raise DataError(f"unlabelled row {number} has no value in {' or '.join(fields)}; leave it out.")
                yield Example(example.fields)


def _parts(source: Any) -> Iterable[Iterable[Example]]:
    if source is None:
        return []
    if isinstance(source, (str, Path)):
        return [iter_examples(source, columns={}, label=None)]
    if isinstance(source, Iterable) and not isinstance(source, Sized):
        return (as_examples(some, columns={}) for some in _in_lists(iter(source)))
    return [as_examples(source, columns={})]


def _in_lists(source: Iterator[Any]) -> Iterator[list[Any]]:
    while some := list(itertools.islice(source, PART)):
        yield some


def load_scores(folders: Iterable[Path]) -> np.ndarray:
    """The scores in some results, one part after the other: (examples, classes).

    Raises:
        DataError: if a file is damaged.
    """
    rows = []
    for folder in folders:
        try:
            rows.append(np.load(folder / SCORES, allow_pickle=False))
        except (OSError, ValueError, EOFError) as error:
            raise DataError(f"result {str(folder)!r} is damaged ({error}); delete it and run again.") from None
    return np.concatenate(rows)


def merge_scores(settings: Mapping[str, Any], folder: Path, workspace: Workspace) -> None:
    """The job that merges members' scores of a part: ``scores.npy``, the soft labels before any temperature.

    Args:
        settings: the keys of the ``scores`` and the ``weights`` of the members.
    """
    scores = np.stack([load_scores([workspace.result(key)]) for key in settings["scores"]])
    labels = merged(scores, np.array(settings["weights"]))
    np.save(folder / SCORES, labels.astype(np.float32), allow_pickle=False)


def student_job(
    student: HeadClassifier, lesson: Lesson, labels: Sequence[str], *, temperature: float, at_most: int
) -> Job:
    """The job that lets an unfitted classifier on a loaded backbone learn from soft labels.

    Args:
        labels: keys of the jobs that merged the members' scores of each part.
        at_most: rows to learn from.
    """
    settings = {
        "chunks": lesson.unlabelled.names,
        "total": lesson.unlabelled.total,
        "at_most": at_most,
        "labels": labels,
        "classes": sorted(lesson.members[0].classifier.verbalizer.classes),
        "whole": lesson.whole,
        "temperature": temperature,
        "dev": lesson.dev,
    }
    return Job.of("student", train_student, settings_of(student, lesson.workspace) | settings)


def train_student(settings: Mapping[str, Any], folder: Path, workspace: Workspace) -> None:
    """The job that lets a classifier learn from soft labels.

    Source: PET, arXiv:2001.07676, section 3.3.

    Args:
        settings: of ``settings_of``; the hashes of the unlabelled ``chunks`` and how many rows there are (``total``),
            how many to learn from ``at_most``; the keys of their ``labels``, whose columns are ``classes``; whether
            labels are ``whole`` numbers; ``temperature``; and the hash of the ``dev`` set, or None.
    """
    student = classifier_of(settings, workspace)
    rows = drawn_rows(settings["total"], settings["at_most"], seed=student.seed)
    labels = load_scores(workspace.result(key) for key in settings["labels"])[rows]
    training = SoftLabelled(
        some_rows(workspace, settings["chunks"], rows), settings["classes"], torch.from_numpy(labels), settings["whole"]
    )
    dev = labelled(settings["dev"], settings, workspace)
    student.learn(training, dev, objective=lambda model: Distilled(model, temperature=settings["temperature"]))
    student.save_pretrained(folder / MODEL)
