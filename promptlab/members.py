"""The members of an ensemble: pattern-verbalizer pairs x models x seeds, each trained by a job of its own."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from promptlab import __version__
from promptlab.backbones.catalog import load_backbone
from promptlab.classifier import PromptClassifier
from promptlab.errors import DataError, PromptlabError, TuningError, VerbalizerError, shown
from promptlab.estimator import TrainedEstimator
from promptlab.fitting import Labelled
from promptlab.interfaces import Backbone
from promptlab.jobs import Job, run
from promptlab.model import PromptModel
from promptlab.objectives import WithMaskedWords
from promptlab.parts import is_source, resolve_template, resolve_tuning, resolve_verbalizer
from promptlab.pvp import PVP, read_pvps
from promptlab.registry import ESTIMATORS, TEMPLATES, TUNINGS, VERBALIZERS
from promptlab.saving import parameters_of, plain
from promptlab.text_classifier import TextClassifier
from promptlab.types import Example
from promptlab.workspace import Workspace, drawn_rows, identity, some_rows

MODEL, SCORES, RESULT = "model", "scores.npy", "result.json"


class Member(NamedTuple):
    """An unfitted classifier, the number of its pair, and what tables call it."""

    name: str
    pair: int
    classifier: PromptClassifier


@dataclass(eq=False, repr=False)
class PVPMembers(TextClassifier):
    """What all estimators of several pattern-verbalizer pairs share.

    Args:
        pvps: ``PVP`` objects, pairs (template, verbalizer), or the path of a YAML file with such. Members without a
            name are called by their template's name in the task library, or by their number.
        model: as for ``PromptClassifier``, or a list with one for each pair.
        tuning: as for ``PromptClassifier``.
        weighting: how much a member counts; see the subclasses.
        repetitions: members of each pair, with the seeds ``seed``, ``seed + 1``, …
        executor: where members are trained: ``"serial"``, ``"joblib"`` or ``"ray"``; see ``jobs.run``.
        workers: members at a time; None for as many as there are cores.
        cache_dir: folder of finished members, from which an interrupted ``fit`` goes on; None for a temporary one.
    """

    pvps: Any = None
    model: Any = None
    tuning: Any = "full"
    weighting: str = "before"
    repetitions: int = 3
    executor: str = "serial"
    workers: int | None = None
    cache_dir: str | Path | None = None

    def _check_settings(self, eval_set: Any) -> None:
        super()._check_settings(eval_set)
        if self.repetitions < 1:
            raise TuningError(f"repetitions={self.repetitions} must be at least 1.")
        if self.checkpoint_dir is not None:
            raise TuningError(
                f"checkpoint_dir={str(self.checkpoint_dir)!r} is for one classifier; set cache_dir, which keeps every "
                "member that is finished."
            )

    @contextmanager
    def _workspace(self) -> Iterator[Workspace]:
        models = self.model if isinstance(self.model, (list, tuple)) else [self.model]
        loaded = [model for model in models if isinstance(model, Backbone)]
        with tempfile.TemporaryDirectory() as temporary:
            yield Workspace(self.cache_dir or temporary, device=self.device, models=loaded)

    def _pairs(self) -> list[tuple[str, Any, Any]]:
        """Name, template and verbalizer of each pair.

        Raises:
            DataError: if there is none.
            VerbalizerError: if their classes differ.
        """
        given = read_pvps(self.pvps) if isinstance(self.pvps, (str, Path)) else self.pvps
        if isinstance(given, Mapping) or not isinstance(given, Sequence) or not given:
            raise DataError(f"pvps={shown(given)}; give PVP objects, pairs (template, verbalizer), or a YAML file.")
        pairs: list[tuple[str, Any, Any]] = []
        for number, pvp in enumerate(given, start=1):
            if not isinstance(pvp, PVP) and not (isinstance(pvp, (tuple, list)) and len(pvp) == 2):
                raise DataError(f"pair {number} is {shown(pvp)}; give a PVP, or a pair (template, verbalizer).")
            template, verbalizer = (pvp.template, pvp.verbalizer) if isinstance(pvp, PVP) else pvp
            name = (pvp.name if isinstance(pvp, PVP) else "") or _library_name(template) or str(number)
            name = f"{name} ({number})" if name in [known for known, *_ in pairs] else name
            pairs.append((name, resolve_template(template), resolve_verbalizer(verbalizer)))
        (first, _, known), *others = pairs
        for name, _, verbalizer in others:
            if set(verbalizer.classes) != set(known.classes):
                raise VerbalizerError(
                    f"members have the same classes, but {first!r} has {', '.join(known.classes)} and {name!r} has "
                    f"{', '.join(verbalizer.classes)}; make them equal."
                )
        return pairs

    def _members(self, workspace: Workspace, examples: Sequence[Example]) -> list[Member]:
        """All members, whose pairs fit their models.

        Args:
            examples: those that templates with demonstrations show.

        Raises:
            PromptlabError: naming the member that doesn't.
        """
        pairs = self._pairs()
        models = list(self.model) if isinstance(self.model, (list, tuple)) else [self.model] * len(pairs)
        if len(models) != len(pairs):
            raise TuningError(f"{len(models)} models for {len(pairs)} pairs; give one model, or one for each pair.")
        shared = {f.name: getattr(self, f.name) for f in fields(TrainedEstimator) if f.name != "checkpoint_dir"}
        tuning, members = resolve_tuning(self.tuning), []
        loaded: dict[str, Any] = {}
        for number, ((name, template, verbalizer), model) in enumerate(zip(pairs, models)):
            if str(model) not in loaded:
                loaded[str(model)] = workspace.keep(load_backbone(model))
            backbone = loaded[str(model)]
            try:
                verbalizer.build(backbone, tuning.edit(template.bind(examples, verbalizer)).slot)
            except PromptlabError as error:
                raise type(error)(f"member {name!r}: {error}") from None
            for turn in range(self.repetitions):
                own = f"{name}/{turn + 1}" if self.repetitions > 1 else name
                settings = {**shared, "seed": self.seed + turn}
                members.append(
                    Member(own, number, PromptClassifier(template, verbalizer, backbone, tuning, **settings))
                )
        return members

    def _untrained_accuracies(self, members: Sequence[Member], train: str, workspace: Workspace, done: Any) -> Any:
        """Accuracy of each member's pair before any training, on the training set."""
        jobs = [
            Job.of(f"untrained {m.name}", score_untrained, settings_of(m.classifier) | {"train": train})
            for m in members
        ]
        return [json.loads((folder / RESULT).read_text())["accuracy"] for folder in self._run(jobs, workspace, done)]

    def _jobs(self, members: Sequence[Member], trains: Sequence[str | None], **settings: Any) -> list[Job]:
        """The jobs that train members.

        Args:
            trains: hash of each member's training set, or None to leave it untrained.
            settings: ``dev``, ``whole`` and ``words``, as ``train_member`` takes them.
        """
        return [
            Job.of(f"member {m.name}", train_member, settings_of(m.classifier) | {"train": train} | settings)
            for m, train in zip(members, trains)
        ]

    def _run(self, jobs: Sequence[Job], workspace: Workspace, done: Any) -> list[Path]:
        return run(jobs, workspace, executor=self.executor, workers=self.workers, done=done)


def settings_of(classifier: Any) -> dict[str, Any]:
    """An unfitted classifier on a loaded backbone as plain JSON, from which ``classifier_of`` makes it again.

    Raises:
        SavedModelError: if a part of it holds a function.
    """
    parts: dict[str, Any] = {
        "promptlab": __version__,
        "estimator": type(classifier).__name__,
        "parameters": parameters_of(classifier),
        "tuning": TUNINGS.to_dict(resolve_tuning(classifier.tuning)),
        "model": {"name": classifier.model.name, "revision": identity(classifier.model)},
    }
    if isinstance(classifier, PromptClassifier):
        parts["template"] = TEMPLATES.to_dict(classifier.template)
        parts["verbalizer"] = VERBALIZERS.to_dict(classifier.verbalizer)
    whole: dict[str, Any] = json.loads(json.dumps(parts, default=plain))
    return whole


def classifier_of(settings: Mapping[str, Any], workspace: Workspace) -> Any:
    """The unfitted classifier that ``settings_of`` described, its model loaded."""
    parts = {"template": TEMPLATES, "verbalizer": VERBALIZERS, "tuning": TUNINGS}
    made = {name: registry.from_dict(settings[name]) for name, registry in parts.items() if name in settings}
    model = workspace.backbone(settings["model"])
    return ESTIMATORS.get(settings["estimator"])(model=model, device=workspace.device, **settings["parameters"], **made)


def train_member(settings: Mapping[str, Any], folder: Path, workspace: Workspace) -> None:
    """The job that trains a member, or saves it untrained if it has nothing to train on.

    Args:
        settings: of ``settings_of``, and the hashes of ``train`` and ``dev`` (None for none), whether labels are
            ``whole`` numbers, and ``words``: None, or for ``WithMaskedWords`` the hashes of the unlabelled ``chunks``,
            how many rows there are (``total``), ``weight`` and ``ratio``.
    """
    classifier = classifier_of(settings, workspace)
    if settings["train"] is not None:
        train, dev = (labelled(settings[name], settings, workspace) for name in ("train", "dev"))
        words = settings["words"]

        def around(model: PromptModel) -> WithMaskedWords:
            seen = words["ratio"] * classifier.rows_seen(
                classifier.tuning, len(train.examples), model.backbone.hidden_size
            )
            rows = drawn_rows(words["total"], seen, seed=classifier.seed)
            encoded = model.encode(some_rows(workspace, words["chunks"], rows), max_length=classifier.max_length)
            return WithMaskedWords(model, encoded, weight=words["weight"], ratio=words["ratio"])

        classifier.learn(train, dev, objective=None if words is None else around)
    classifier.save_pretrained(folder / MODEL)


def labelled(name: str | None, settings: Mapping[str, Any], workspace: Workspace) -> Any:
    """The labelled set of that hash, None for none."""
    return None if name is None else Labelled(workspace.examples(name), settings["whole"])


def score_untrained(settings: Mapping[str, Any], folder: Path, workspace: Workspace) -> None:
    """The job that measures a member before any training: ``settings_of``, and the hash of ``train``."""
    classifier = classifier_of(settings, workspace)
    untrained = PromptClassifier(
        classifier.template, classifier.verbalizer, classifier.model, "none", seed=classifier.seed,
        max_length=classifier.max_length, device=classifier.device,
    )  # fmt: skip
    train = workspace.examples(settings["train"])
    result = {"accuracy": untrained.learn(Labelled(train, False)).score(train)}
    (folder / RESULT).write_text(json.dumps(result))


def score_rows(settings: Mapping[str, Any], folder: Path, workspace: Workspace) -> None:
    """The job that lets a saved member score examples: ``scores.npy``, log-probabilities (examples, classes).

    Columns are in the order of the classes' sorted names.

    Args:
        settings: the key of the job that trained the ``member``, its ``model`` and the hash of the ``examples``.
    """
    member = load_member(workspace.result(settings["member"]), settings["model"], workspace)
    names = [str(name) for name in member.classes_]
    rows = np.stack(list(member.iter_log_proba(workspace.examples(settings["examples"]))))
    np.save(folder / SCORES, rows[:, [names.index(name) for name in sorted(names)]], allow_pickle=False)


def load_member(folder: Path, model: Mapping[str, str], workspace: Workspace) -> PromptClassifier:
    """A member that a job trained, on the workspace's backbone."""
    return PromptClassifier.from_pretrained(folder / MODEL, model=workspace.backbone(model), device=workspace.device)


def _library_name(template: Any) -> str:
    """What a template of the task library is called; Jinja source and objects have no name."""
    return template if isinstance(template, str) and not is_source(template) else ""
