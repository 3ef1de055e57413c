"""The jobs of members: plain settings that describe one, its training, and what it says of examples."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TypeAlias

import numpy as np
import torch

from promptlab.backbones.catalog import load_backbone
from promptlab.core.finished_work import reading
from promptlab.core.json_loader import Json
from promptlab.core.prompt_files import start_files
from promptlab.core.registry import ESTIMATORS, TEMPLATES, TUNINGS, VERBALIZERS, saved_as_brought
from promptlab.data.labeled import Labeled
from promptlab.data.labels import LabelType
from promptlab.estimators.class_scorer import ClassScorer
from promptlab.estimators.classifiers import PromptClassifier
from promptlab.estimators.saving import parameters_of
from promptlab.estimators.text_estimator import TextEstimator
from promptlab.jobs.workspace import Workspace, drawn_rows, some_rows
from promptlab.library.resolve import resolve_tuning
from promptlab.models.prompt_model import PromptModel
from promptlab.training.objectives import AuxiliaryMLM

MODEL, SCORES, RESULT = "model", "scores.npy", "result.json"

Settings: TypeAlias = "Mapping[str, Json]"  # of a job


def classifier_settings(classifier: TextEstimator, workspace: Workspace) -> dict[str, object]:
    """Settings of jobs that tell of an unfitted classifier on a loaded backbone; ``classifier_of`` makes it again.

    Files that its soft tokens start from count by what they hold.
    """
    tuning = resolve_tuning(classifier.tuning)
    model = load_backbone(classifier.model)
    settings: dict[str, object] = {
        "estimator": type(classifier).__name__,
        **saved_as_brought(ESTIMATORS.brought(type(classifier).__name__)),
        "parameters": parameters_of(classifier),
        "tuning": TUNINGS.to_dict(tuning),
        "files": start_files(tuning.edit(classifier.make_template()).soft_slots),
        "model": {"name": model.name, "identity": workspace.identity(model)},
    }
    if isinstance(classifier, PromptClassifier):
        settings["template"] = TEMPLATES.to_dict(classifier.make_template())
        settings["verbalizer"] = VERBALIZERS.to_dict(classifier.make_verbalizer(None))
    return settings


def classifier_of(settings: Settings, workspace: Workspace) -> TextEstimator:
    """The unfitted classifier that ``classifier_settings`` told of, its model loaded."""
    parts = {"template": TEMPLATES, "verbalizer": VERBALIZERS, "tuning": TUNINGS}
    made = {name: registry.from_dict(settings[name]) for name, registry in parts.items() if name in settings}
    model = workspace.backbone(settings["model"])
    return ESTIMATORS.get(settings["estimator"])(model=model, device=workspace.device, **settings["parameters"], **made)


def train_member(settings: Settings, folder: Path, workspace: Workspace) -> None:
    """The job that trains a member, or saves it untrained if it has nothing to train on.

    Args:
        settings: of ``classifier_settings``, and the hashes of ``train`` and ``dev`` (None for none), the
            ``row_weights`` of the training set or None, the labels' saved ``label_type``, and ``words``: None, or for
            ``AuxiliaryMLM`` the hashes of the unlabeled ``chunks``, how many rows there are (``total``),
            ``weight`` and ``ratio``.
    """
    classifier = classifier_of(settings, workspace)
    train, dev = (labeled_set(settings[name], settings, workspace) for name in ("train", "dev"))
    if train is not None:
        if settings["row_weights"] is not None:
            train = train._replace(weights=torch.tensor(settings["row_weights"]))
        words, examples = settings["words"], train.examples

        def around(model: PromptModel) -> AuxiliaryMLM:
            width, n_variants = model.backbone.hidden_size, model.template.n_variants
            seen = classifier.rows_seen(resolve_tuning(classifier.tuning), len(examples), width, n_variants=n_variants)
            rows = drawn_rows(words["total"], words["ratio"] * seen, seed=classifier.seed)
            encoded = model.encode(some_rows(workspace, words["chunks"], rows), max_length=classifier.max_length)
            return AuxiliaryMLM(model, encoded, weight=words["weight"], ratio=words["ratio"])

        classifier.fit_labeled(train, dev, objective=None if words is None else around)
    classifier.save_pretrained(folder / MODEL)


def labeled_set(name: str | None, settings: Settings, workspace: Workspace) -> Labeled | None:
    """The labeled set of that hash, None for none."""
    return None if name is None else Labeled(workspace.examples(name), LabelType.from_saved(settings["label_type"]))


def score_untrained(settings: Settings, folder: Path, workspace: Workspace) -> None:
    """The job that measures an untrained member: ``classifier_settings``, the hash of ``train``, ``row_weights``."""
    train = workspace.examples(settings["train"])
    classifier = classifier_of(settings, workspace).fit_labeled(Labeled(train))
    assert isinstance(classifier, ClassScorer)
    result = {"accuracy": classifier.score(train, sample_weight=settings["row_weights"])}
    (folder / RESULT).write_text(json.dumps(result))


def score_rows(settings: Settings, folder: Path, workspace: Workspace) -> None:
    """The job that lets a saved member score examples: ``scores.npy``, log-probabilities (examples, classes).

    Columns are in the order of the classes' sorted names.

    Args:
        settings: the key of the job that trained the ``member``, its ``model`` and the hash of the ``examples``.
    """
    member = load_member(workspace.result(settings["member"]), settings["model"], workspace)
    names = list(member.class_names_)
    rows = np.stack(list(member.iter_log_proba(workspace.examples(settings["examples"]))))
    np.save(folder / SCORES, rows[:, [names.index(name) for name in sorted(names)]], allow_pickle=False)


def load_member(folder: Path, model: Mapping[str, str], workspace: Workspace) -> PromptClassifier:
    """A member that a job trained, on the workspace's backbone.

    Raises:
        DataError: if what was kept of it is damaged.
    """
    backbone = workspace.backbone(model)
    with reading(folder):
        return PromptClassifier.from_pretrained(folder / MODEL, model=backbone, device=workspace.device)


def load_accuracy(folder: Path) -> float:
    """What ``score_untrained`` found.

    Raises:
        DataError: if it is damaged.
    """
    with reading(folder):
        return float(json.loads((folder / RESULT).read_text())["accuracy"])
