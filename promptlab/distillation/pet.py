"""PET: prompts label unlabeled text, and an ordinary classifier learns from it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
from sklearn.exceptions import NotFittedError
from tqdm.auto import tqdm

from promptlab.backbones.catalog import load_backbone
from promptlab.core.errors import DataError, TuningError
from promptlab.core.finished_work import reading
from promptlab.core.inputs import DevSet, Labels, Texts, Weights
from promptlab.core.ranges import Count, Positive, Share
from promptlab.core.registry import ESTIMATORS
from promptlab.core.types import Example
from promptlab.data.labeled import VERBALIZERS, Labeled, reduced, split_unlabeled
from promptlab.distillation.soft_labels import DistillationRun, load_scores, merge_scores, student_job
from promptlab.distillation.student import unfitted_student
from promptlab.distillation.unlabeled import stream
from promptlab.ensembles.member_jobs import MODEL, score_rows
from promptlab.ensembles.members import Member, PatternVerbalizerPair, PVPMembers, TrainSet, read_fields
from promptlab.ensembles.merging import accuracies, merged, weights_of
from promptlab.ensembles.row_checks import RowCheck
from promptlab.estimators.classifiers import HeadClassifier
from promptlab.jobs.jobs import Job
from promptlab.jobs.workspace import Chunks, Workspace
from promptlab.library.resolve import resolve_tuning
from promptlab.models.prompt_model import PromptModel
from promptlab.training.objectives import check_masked_words

STUDENT_STEPS = 5000  # at most, where the user says nothing; the paper's


@dataclass(eq=False, repr=False)
class PET(PVPMembers):
    """Train prompts on few texts, let them label many softly, and train a student on these.

    This is pattern-exploiting training. Predictions are those of the student, an ordinary ``HeadClassifier``, which is
    what ``save_pretrained`` saves. Without labeled texts the members stay untrained.

    Source: PET, arXiv:2001.07676, section 3.

    Args:
        weighting: ``"untrained-accuracy"`` weighs members by their accuracy on the training set before any training,
            ``"uniform"`` all alike.
        temperature: temperature of the distillation, by which soft labels and the student's are softened.
        mlm_weight: α, the share that the loss on masked words of unlabeled texts has in the members' training; 0 for
            none, which models that aren't masked ones need.
        mlm_ratio: unlabeled texts for each labeled one in a batch of that training.
        student: an unfitted ``HeadClassifier`` with the student's settings; None for the first member's model, with
            ``max_length``, ``precision`` and ``seed`` as given here.
        student_steps: updates of the usual student; None for ``HeadClassifier``'s own, at most 5,000 (the paper's).
        max_distilled: unlabeled texts that the student learns from, drawn at random where there are more.

    Attributes:
        student_: the fitted student, a ``HeadClassifier``.
        teachers_: name of a member → the job that trained it.
        fields_: names of the fields that members and student read.

    Raises:
        PromptlabError: in ``fit``, if settings, pairs and texts don't fit one another, or there are no unlabeled texts.

    Example:
        >>> from promptlab import PET, HeadClassifier
        >>> pairs, student = [("sst2/it-was", "sst2"), ("sst2/just", "sst2")], HeadClassifier(tuning="frozen")
        >>> pet = PET(pairs, "minilm", "bitfit", repetitions=1, max_steps=1, mlm_weight=0.0, student=student)
        >>> labeled, unlabeled = ["a dull film", "great fun"], ["so dull", "boring", "a bore", "a gem", "fun", "a joy"]
        >>> pet = pet.set_params(student__max_steps=40).fit(labeled, ["negative", "positive"], unlabeled=unlabeled)
        >>> pet.predict(["boring", "a joy"])  # by the student, without a prompt
        array(['negative', 'positive'], dtype='<U8')
    """

    weightings: ClassVar[tuple[str, ...]] = ("uniform", "untrained-accuracy")

    temperature: Positive = 2.0
    mlm_weight: Share = 1e-4
    mlm_ratio: Count = 3
    student: HeadClassifier | None = None
    student_steps: Count | None = None
    max_distilled: Count = 80_000

    def fit(
        self,
        X: Texts | None = None,
        y: Labels | None = None,
        sample_weight: Weights | None = None,
        *,
        unlabeled: Texts | str | Path | None = None,
        eval_set: DevSet | None = None,
    ) -> Self:
        """Train the members, let them label the unlabeled texts, and train the student on these.

        Args:
            X: labeled texts, and unlabeled ones, for which ``y`` is -1 or None; left out where none is labeled.
            y: labels; None takes those that the examples carry. -1 is a label if a class is called so.
            sample_weight: how much each text of X counts in the members' training; those of unlabeled ones don't.
            unlabeled: more unlabeled texts: in any form that ``X`` has, the path of a table, or a stream of texts or
                examples, which is read once and may be larger than memory.
            eval_set: dev texts and labels, on which weights of members and student are selected.

        Raises:
            DataError: if there are no unlabeled texts.
            JobError: if a member or the student fails, naming it.
            PromptlabError: if the pairs or settings don't fit one another or the data.
        """
        self.check_settings(eval_set)
        pairs = self._pairs()
        training, rest, dev = self._given(X, y, eval_set, pairs[0], sample_weight)
        labeled, held_out = ([] if data is None else data.examples for data in (training, dev))
        with self._workspace() as workspace:
            backbones = self._loaded(workspace, pairs)
            members = self._members(pairs, backbones, len(labeled))
            for member in members if self.mlm_weight and labeled else ():
                check_masked_words(load_backbone(member.classifier.model), self.mlm_weight)
            settings = {name: getattr(self, name) for name in ("max_length", "precision", "seed")}
            settings["max_steps"] = self.student_steps
            student = unfitted_student(
                self.student, settings, members, workspace, device=self.device, eval_set=eval_set
            )
            row_checks = self._row_checks(pairs, members, labeled)
            _check(row_checks, labeled)
            row_checks.append(RowCheck.of("student", student, pairs[0].verbalizer.classes, labeled))
            _check(row_checks, held_out)
            fields = read_fields(members, student.make_template().fields)
            unlabeled = self._unlabeled(workspace, {"X": rest, "unlabeled": unlabeled}, fields, row_checks)
            steps = self._n_jobs(members, training, unlabeled)
            with tqdm(total=steps, desc=type(self).__name__, unit="job", leave=False, disable=None) as bar:
                weights = self._weights(members, training, workspace, bar.update)
                label_type = pairs[0].label_type if training is None else training.label_type
                lesson = DistillationRun(workspace, members, training, dev, label_type, unlabeled, weights, bar.update)
                self._distil(lesson, self._teach(lesson), student)
        self.fields_ = fields
        return self

    def report(self, X: Texts, y: Labels | None = None) -> list[tuple[str, float]]:
        """Return the accuracy of each member, of the ensemble and of the student on labeled texts.

        Args:
            X: texts, in any form that ``fit`` takes.
            y: their labels, None if the examples carry them; rows without a label don't count.

        Raises:
            TuningError: if the members aren't kept.
            DataError: if no row has a label.
        """
        self.ready()
        if not self.resume_dir:
            raise TuningError("members are only kept in a resume_dir; set one before fit.")
        data, targets = self._measured(X, y, sorted(self.class_names_))
        with self._workspace() as workspace:
            chunks = workspace.store_chunks(Example(e.fields) for e in reduced(data.examples, self.fields_))
            parts = self._score(self.teachers_.values(), chunks, workspace, lambda n: None)
            scores = np.stack([load_scores(folders) for folders in parts])
        (ensemble,) = accuracies(merged(scores, np.array(list(self.weights_.values())))[None], targets)
        found = [*accuracies(scores, targets), ensemble, self.score(data.examples)]
        return list(zip(self.reported(), found))

    def reported(self) -> list[str]:
        """Return the names of those that ``report`` measures."""
        return [*self.teachers_, "ensemble", "student"]

    def iter_log_proba(self, examples: Iterable[Example]) -> Iterator[np.ndarray]:
        self.ready()
        return self.student_.iter_log_proba(examples)

    def save_pretrained(self, folder: str | Path) -> None:
        """Save the student; ``HeadClassifier.from_pretrained`` loads it."""
        self.ready()
        self.student_.save_pretrained(folder)

    def export_model(self, folder: str | Path) -> None:
        """Write the student's language model; see ``HeadClassifier.export_model``."""
        self.ready()
        self.student_.export_model(folder)

    def ready(self) -> PromptModel:
        self._check_values()
        if not hasattr(self, "student_"):
            raise NotFittedError(f"this {type(self).__name__} isn't fitted yet; call fit first.")
        return self.student_.model_

    def check_settings(self, eval_set: DevSet | None) -> None:
        super().check_settings(eval_set)
        if self.student is not None and not isinstance(self.student, HeadClassifier):
            raise TuningError(f"student is a {type(self.student).__name__}; pass an unfitted HeadClassifier, or None.")
        if self.student is not None and not ESTIMATORS.knows(self.student):
            raise TuningError(
                f"student is a {type(self.student).__name__}, which isn't registered; add it by "
                "promptlab.core.registry.ESTIMATORS.register, under its name, so that jobs can make it."
            )
        if self.student is not None and self.student_steps is not None:
            raise TuningError(f"student_steps={self.student_steps} is for the usual student; set the given one's own.")

    def _given(
        self,
        X: Texts | None,
        y: Labels | None,
        eval_set: DevSet | None,
        pair: PatternVerbalizerPair,
        sample_weight: Weights | None,
    ) -> tuple[Labeled | None, list[Example], Labeled | None]:
        """The labeled, unlabeled and dev examples; what is wrong is told before any work."""
        training, rest = split_unlabeled(X, y, pair.known.numbered, sample_weight=sample_weight)
        if training is not None:
            training.several_classes()
        label_type = pair.label_type if training is None else training.label_type
        label_type.check(pair.known.own)
        if training is not None:
            pair.known.warn_of_numbers(training)
        dev = None if eval_set is None else Labeled.of(*eval_set, like=label_type)
        if dev is not None:
            dev.check(pair.known.own, whose=VERBALIZERS, source="eval_set")
        return training, rest, dev

    def _unlabeled(
        self,
        workspace: Workspace,
        sources: Mapping[str, Texts | str | Path | None],
        fields: Sequence[str],
        row_checks: Sequence[RowCheck],
    ) -> Chunks:
        """The unlabeled texts, kept in parts.

        Raises:
            DataError: if there are none.
            PromptlabError: if a member or the student can't read one, naming its row.
        """
        chunks = workspace.store_chunks(stream(sources, fields=fields, check=partial(_check, row_checks)))
        if not chunks.total:
            raise DataError(
                f"{type(self).__name__} learns from unlabeled texts, but there are none; pass unlabeled=, or -1 "
                "or None as the labels of some rows of y. Without such texts use PVPEnsemble."
            )
        return chunks

    def _n_jobs(self, members: Sequence[Member], training: Labeled | None, unlabeled: Chunks) -> int:
        parts = len(unlabeled.names)
        measured = len(members) if self.weighting == "untrained-accuracy" and training else 0
        return measured + (self._n_generations(training) + 1) * len(members) * (1 + parts) + parts + 1

    def _n_generations(self, training: Labeled | None) -> int:
        """Generations after the first."""
        return 0

    def _weights(
        self, members: Sequence[Member], training: Labeled | None, workspace: Workspace, done: Callable[[int], object]
    ) -> np.ndarray:
        if training is None or self.weighting == "uniform":
            return np.ones(len(members))
        trains = self._train_sets(workspace, members, training)
        return weights_of(self._untrained_accuracies(members, trains, workspace, done))

    def _teach(self, lesson: DistillationRun) -> dict[str, Job]:
        """Train the members that label; returns their jobs by their names."""
        if lesson.training is None:
            untrained = [member._replace(classifier=self._untrained(member)) for member in lesson.members]
            return self._train_members(lesson, untrained, [None] * len(untrained))
        trains = self._train_sets(lesson.workspace, lesson.members, lesson.training)
        return self._train_members(lesson, lesson.members, trains)

    def _train_members(
        self, lesson: DistillationRun, members: Sequence[Member], trains: Sequence[TrainSet | None]
    ) -> dict[str, Job]:
        words = None
        if self.mlm_weight:
            chunks = lesson.unlabeled
            words = {"chunks": chunks.names, "total": chunks.total, "weight": self.mlm_weight, "ratio": self.mlm_ratio}
        label_type = lesson.label_type.saved()
        jobs = self._jobs(members, trains, lesson.dev, lesson.workspace, label_type=label_type, words=words)
        self._run(jobs, lesson.workspace, lesson.done)
        return dict(zip([member.name for member in members], jobs))

    def _score(
        self, teachers: Iterable[Job], chunks: Chunks, workspace: Workspace, done: Callable[[int], object]
    ) -> list[list[Path]]:
        """Let members score a set; returns the folders of the results, a list of parts for each member."""
        jobs = [
            Job.of(
                f"scores of {teacher.name}, part {number}",
                score_rows,
                {"member": teacher.key, "model": teacher.settings["model"], "examples": chunk},
            )
            for teacher in teachers
            for number, chunk in enumerate(chunks.names, start=1)
        ]
        folders = self._run(jobs, workspace, done)
        return [folders[i : i + len(chunks.names)] for i in range(0, len(folders), len(chunks.names))]

    def _distil(self, lesson: DistillationRun, teachers: dict[str, Job], student: HeadClassifier) -> None:
        """Merge the members' scores and let the student learn from them."""
        scored = self._score(teachers.values(), lesson.unlabeled, lesson.workspace, lesson.done)
        labels = [
            Job.of(
                f"soft labels, part {number}",
                merge_scores,
                {"scores": [folder.name for folder in parts], "weights": lesson.weights.tolist()},
            )
            for number, parts in enumerate(zip(*scored), start=1)
        ]
        self._run(labels, lesson.workspace, lesson.done)
        if self.student is None and self.student_steps is None:
            rows = min(lesson.unlabeled.total, self.max_distilled)
            usual = student.updates(resolve_tuning(student.tuning), rows, load_backbone(student.model).hidden_size)
            student.set_params(max_steps=min(usual, STUDENT_STEPS))
        keys = [label.key for label in labels]
        job = student_job(student, lesson, keys, temperature=self.temperature, at_most=self.max_distilled)
        (folder,) = self._run([job], lesson.workspace, lesson.done)
        with reading(folder):
            self.student_ = type(student).from_pretrained(folder / MODEL, model=student.model, device=self.device)
        self.set_classes(self.student_.class_names_, self.student_.label_type_)
        self.teachers_ = teachers
        self.weights_ = dict(zip([member.name for member in lesson.members], lesson.weights.tolist()))


def _check(row_checks: Sequence[RowCheck], examples: Sequence[Example]) -> None:
    for row_check in row_checks:
        row_check.check(examples)
