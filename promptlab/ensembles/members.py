"""The members of an ensemble: pattern-verbalizer pairs x models x seeds, each trained by a job of its own."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import ClassVar, NamedTuple

import numpy as np

from promptlab.core.checks import check_seed
from promptlab.core.devices import resolve_device
from promptlab.core.errors import DataError, TuningError, UnknownNameError, VerbalizerError, error_context, short_repr
from promptlab.core.files import to_json
from promptlab.core.inputs import DevSet, Labels, ModelLike, TemplateLike, Texts, TuningLike, VerbalizerLike
from promptlab.core.interfaces import Backbone, Template, Verbalizer
from promptlab.core.ranges import Count
from promptlab.core.types import Example
from promptlab.data.labeled import Labeled, reduced, split_unlabeled
from promptlab.data.labels import LabelType
from promptlab.ensembles.member_jobs import classifier_settings, load_accuracy, score_untrained, train_member
from promptlab.ensembles.row_checks import RowCheck
from promptlab.estimators.class_scorer import ClassScorer
from promptlab.estimators.classifiers import PromptClassifier
from promptlab.estimators.training_options import TrainingOptions
from promptlab.jobs.jobs import Job, check_workers, run
from promptlab.jobs.workspace import Workspace
from promptlab.library.known_classes import KnownClasses
from promptlab.library.pvps import PVP, read_pvps
from promptlab.library.resolve import (
    is_source,
    label_type_of,
    load_each,
    model_of_each,
    resolve_template,
    resolve_tuning,
    resolve_verbalizer,
)


class PatternVerbalizerPair(NamedTuple):
    """A pattern-verbalizer pair, what tables call it, its classes and what labels they were given as, its origin."""

    name: str
    template: Template
    verbalizer: Verbalizer
    known: KnownClasses
    label_type: LabelType
    origin: Mapping[str, object]


class TrainSet(NamedTuple):
    """The hash of a member's training set, and the weights of its rows; None: alike."""

    name: str
    weights: list[float] | None


class Member(NamedTuple):
    """An unfitted classifier, and what tables call it."""

    name: str
    classifier: PromptClassifier


@dataclass(eq=False, repr=False)
class PVPMembers(ClassScorer, TrainingOptions):
    """Train several pattern-verbalizer pairs; what all estimators of such share.

    Args:
        pvps: ``PVP`` objects, pairs (template, verbalizer), or the path of a YAML file with such. Members without a
            name are called by their template's name in the task library, or by their number.
        model: a package's name, a hub id, a folder or a loaded backbone, or a list with one for each pair; None takes
            ``minilm``.
        tuning: name of a tuning method such as ``"full"`` or ``"lora"``, or a ``Tuning``.
        weighting: how much a member counts.
        repetitions: members of each pair, with the seeds ``seed``, ``seed + 1``, …
        executor: where members are trained: ``"serial"``, ``"joblib"`` or ``"ray"``; see ``jobs.run``.
        workers: members at a time, by joblib or Ray; None for as many as there are cores.
        resume_dir: folder of finished members, from which an interrupted ``fit`` goes on; None for a temporary one.

    Attributes:
        weights_: name of a member → what it counts.
    """

    weightings: ClassVar[tuple[str, ...]]

    pvps: str | Path | Sequence[PVP | tuple[TemplateLike, VerbalizerLike]] | None = None
    model: ModelLike | Sequence[ModelLike | None] | None = None
    tuning: TuningLike = "full"
    weighting: str = "untrained-accuracy"
    repetitions: Count = 3
    executor: str = "serial"
    workers: int | None = None

    def _check_values(self) -> None:
        super()._check_values()
        if self.weighting not in self.weightings:
            raise UnknownNameError("weighting", self.weighting, self.weightings)

    def check_settings(self, eval_set: DevSet | None) -> None:
        super().check_settings(eval_set)
        check_workers(self.executor, self.workers)
        resolve_device(self.device)
        check_seed(self.seed + self.repetitions - 1, TuningError)

    @contextmanager
    def _workspace(self) -> Iterator[Workspace]:
        models = self.model if isinstance(self.model, (list, tuple)) else [self.model]
        loaded = [model for model in models if isinstance(model, Backbone)]
        with tempfile.TemporaryDirectory() as temporary:
            folder, passing = self.resume_dir or temporary, not self.resume_dir
            yield Workspace(folder, device=self.device, models=loaded, temporary=passing)

    def _pairs(self) -> list[PatternVerbalizerPair]:
        """The pairs, no two of one name.

        Raises:
            DataError: if there is none.
            VerbalizerError: if their classes differ.
        """
        given = read_pvps(self.pvps) if isinstance(self.pvps, (str, Path)) else self.pvps
        if isinstance(given, Mapping) or not isinstance(given, Sequence) or not given:
            raise DataError(
                f"pvps={short_repr(given)}; give PVP objects, pairs (template, verbalizer), or a YAML file."
            )
        pairs: list[PatternVerbalizerPair] = []
        for number, pvp in enumerate(given, start=1):
            if not isinstance(pvp, PVP) and not (isinstance(pvp, (tuple, list)) and len(pvp) == 2):
                raise DataError(f"pair {number} is {short_repr(pvp)}; give a PVP, or a pair (template, verbalizer).")
            one = pvp if isinstance(pvp, PVP) else PVP(*pvp)
            if not isinstance(one.origin, Mapping):
                raise DataError(
                    f"pair {number} has the origin {short_repr(one.origin)}; give names and values, or nothing."
                )
            with error_context(f"origin of pair {number}"):
                to_json(dict(one.origin))
            name = one.name or _library_name(one.template) or str(number)
            while name in [pair.name for pair in pairs]:
                name = f"{name} ({number})"
            parts = resolve_template(one.template), resolve_verbalizer(one.verbalizer)
            labels = KnownClasses.of(one.verbalizer), label_type_of(one.verbalizer)
            pairs.append(PatternVerbalizerPair(name, *parts, *labels, one.origin))
        first, *others = pairs
        for pair in others:
            if set(pair.verbalizer.classes) != set(first.verbalizer.classes):
                raise VerbalizerError(
                    f"members have the same classes, but {first.name!r} has {', '.join(first.verbalizer.classes)} and "
                    f"{pair.name!r} has {', '.join(pair.verbalizer.classes)}; make them equal."
                )
        return pairs

    def fields_used(self) -> list[str]:
        """Return the fields that the templates of the pairs read."""
        return list(dict.fromkeys(name for pair in self._pairs() for name in pair.template.fields))

    def check(self, X: Texts, y: Labels | None = None, *, shown: Sequence[Example] = ()) -> None:
        """Refuse labeled texts to be measured on, before any training, if ``report`` would refuse them after it.

        Args:
            X: texts, in any form that ``fit`` takes.
            y: their labels, None if the examples carry them.
            shown: the labeled examples that templates with demonstrations will show.

        Raises:
            DataError: if no row has a label.
            UnknownNameError: if a label is no class.
            PromptlabError: naming the member that can't read a text.
        """
        pairs = self._pairs()
        data, _ = self._measured(X, y, pairs[0].known.numbered)
        members = self._members(pairs, load_each(model_of_each(self.model, len(pairs))), len(shown))
        for row_check in self._row_checks(pairs, members, shown):
            row_check.check(data.examples)

    def _measured(self, X: Texts, y: Labels | None, classes: Sequence[str]) -> tuple[Labeled, np.ndarray]:
        """The rows that have a label, and the position of each label among the classes."""
        data, _ = split_unlabeled(X, y, classes, like=getattr(self, "label_type_", None))
        if data is None:
            raise DataError("no row has a label; pass labeled texts to report on.")
        return data, data.targets(classes).numpy()

    def _loaded(self, workspace: Workspace, pairs: Sequence[PatternVerbalizerPair]) -> list[Backbone]:
        """The backbone of each pair."""
        return [workspace.share_backbone(backbone) for backbone in load_each(model_of_each(self.model, len(pairs)))]

    def _row_checks(
        self, pairs: Sequence[PatternVerbalizerPair], members: Sequence[Member], shown: Sequence[Example]
    ) -> list[RowCheck]:
        """The first member of each pair, as it is before any training.

        Args:
            shown: the labeled examples, which templates with demonstrations show.

        Raises:
            PromptlabError: naming the member whose pair doesn't fit its model.
        """
        return [
            RowCheck.of(f"member {pair.name!r}", member.classifier, pair.verbalizer.classes, shown)
            for pair, member in zip(pairs, members[:: self.repetitions])
        ]

    def _members(
        self, pairs: Sequence[PatternVerbalizerPair], backbones: Sequence[Backbone], n_examples: int
    ) -> list[Member]:
        """All members.

        Args:
            n_examples: labeled ones.

        Raises:
            PromptlabError: naming the member whose settings can't work.
        """
        shared = {f.name: getattr(self, f.name) for f in fields(TrainingOptions) if f.name != "resume_dir"}
        tuning, members = resolve_tuning(self.tuning), []
        for pair, backbone in zip(pairs, backbones):
            parts = pair.template, pair.verbalizer, backbone, tuning
            for turn in range(self.repetitions):
                name = f"{pair.name}/{turn + 1}" if self.repetitions > 1 else pair.name
                members.append(Member(name, PromptClassifier(*parts, **{**shared, "seed": self.seed + turn})))
            with error_context(f"member {pair.name!r}"):
                members[-1].classifier.updates(tuning, max(1, n_examples), backbone.hidden_size)
        return members

    def _untrained_accuracies(
        self, members: Sequence[Member], trains: Sequence[TrainSet], workspace: Workspace, done: Callable[[int], object]
    ) -> Sequence[float]:
        """Accuracy of each member's pair before any training, on its training set, by the weights of its rows."""
        jobs = [
            Job.of(
                f"untrained {member.name}",
                score_untrained,
                classifier_settings(self._untrained(member), workspace)
                | {"train": train.name, "row_weights": train.weights},
            )
            for member, train in zip(members, trains)
        ]
        return [load_accuracy(folder) for folder in self._run(jobs, workspace, done)]

    def _untrained(self, member: Member) -> PromptClassifier:
        """A member's prompt, nothing trained: all of a pair alike."""
        prompt = member.classifier
        return PromptClassifier(
            prompt.template,
            prompt.verbalizer,
            prompt.model,
            "none",
            max_length=self.max_length,
            seed=self.seed,
            device=self.device,
        )

    def _jobs(
        self,
        members: Sequence[Member],
        trains: Sequence[TrainSet | None],
        dev: Labeled | None,
        workspace: Workspace,
        **settings: object,
    ) -> list[Job]:
        """The jobs that train members.

        Args:
            trains: each member's training set, or None to leave it untrained.
            settings: ``label_type`` and ``words``, as ``train_member`` takes them.
        """
        devs = [None] * len(members) if dev is None else own_rows(workspace, members, dev.examples)
        data = [
            {"train": None, "row_weights": None, "dev": None, **settings, "words": None}
            if train is None
            else {"train": train.name, "row_weights": train.weights, "dev": held_out, **settings}
            for train, held_out in zip(trains, devs)
        ]
        return [
            Job.of(f"member {member.name}", train_member, classifier_settings(member.classifier, workspace) | own)
            for member, own in zip(members, data)
        ]

    def _train_sets(self, workspace: Workspace, members: Sequence[Member], training: Labeled) -> list[TrainSet]:
        """Keep the training set of each member, with the weights of its rows and of their classes."""
        weighed = self.weighed(training, members[0].classifier.make_verbalizer(None).classes)
        weights = None if weighed.weights is None else weighed.weights.tolist()
        return [TrainSet(name, weights) for name in own_rows(workspace, members, weighed.examples)]

    def _run(self, jobs: Sequence[Job], workspace: Workspace, done: Callable[[int], object]) -> list[Path]:
        return run(jobs, workspace, executor=self.executor, workers=self.workers, done=done)


def read_fields(members: Sequence[Member], more: Sequence[str] = ()) -> tuple[str, ...]:
    """The fields that members' templates read, in order, and some more."""
    own = (member.classifier.make_template().fields for member in members)
    return tuple(dict.fromkeys(name for names in (*own, more) for name in names))


def own_rows(workspace: Workspace, members: Sequence[Member], examples: Sequence[Example]) -> list[str]:
    """Keep examples, of which each member needs the fields that its template reads; returns the hash of each."""
    fields = [tuple(member.classifier.make_template().fields) for member in members]
    kept = {names: workspace.store(reduced(examples, names)) for names in dict.fromkeys(fields)}
    return [kept[names] for names in fields]


def _library_name(template: TemplateLike) -> str:
    """What a template of the task library is called; Jinja source and objects have no name."""
    return template if isinstance(template, str) and not is_source(template) else ""
