"""Finished pieces of a search on disk, so that an interrupted one repeats none of them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from promptlab.core.finished_work import FinishedWork, Results, work_key
from promptlab.core.identity import examples_digest, fingerprint
from promptlab.core.interfaces import Backbone
from promptlab.search.templates.task import SearchTask


def journal_of(resume_dir: Path | None, work: str, task: SearchTask, **settings: object) -> Results:
    """Return the results of work for a task, by key; those that aren't kept on disk need no hash of weights.

    Args:
        resume_dir: folder of finished work; None keeps the results in memory only.
        work: its name.
        settings: of the work, as for ``identity_of``.

    Raises:
        DataError: as ``FinishedWork`` and ``Results`` do.
    """
    if resume_dir is None:
        return Results()
    return FinishedWork(resume_dir).results("searches", work_key(work, identity_of(task, **settings)))


def identity_of(task: SearchTask, **settings: object) -> dict[str, object]:
    """What a result for a task depends on, data as hashes, with the settings of the work that is done.

    Models, those among the settings too, count by their name and weights.
    """
    return {
        **_known_by("model", task.backbone),
        "seed": task.seed,
        "max_length": task.max_length,
        "label_words": [[name, list(words)] for name, words in task.label_words.items()],  # their order can matter
        "train": examples_digest(task.train),
        "dev": examples_digest(task.dev),
        **plain_settings(settings),
    }


def plain_settings(settings: Mapping[str, object]) -> dict[str, object]:
    """Settings as plain JSON, a model as two of them."""
    plain = dict(settings)
    for name, value in settings.items():
        if isinstance(value, Backbone):
            plain |= _known_by(name, value)
    return dict(json.loads(json.dumps(plain, default=str)))


def _known_by(name: str, backbone: Backbone) -> dict[str, str]:
    return {name: backbone.name, f"{name}_weights": fingerprint(backbone)}
