"""Several prompts that decide together."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
from sklearn.exceptions import NotFittedError
from tqdm.auto import tqdm

from promptlab.core.errors import DataError, TuningError, UnknownNameError
from promptlab.core.inputs import DeviceLike, DevSet, Labels, ModelLike, Texts, Weights
from promptlab.core.types import Example
from promptlab.data.labeled import Labeled
from promptlab.data.readers import as_examples
from promptlab.ensembles import saving as saved_ensemble
from promptlab.ensembles.member_jobs import load_member
from promptlab.ensembles.member_scores import MemberScores
from promptlab.ensembles.members import PVPMembers
from promptlab.ensembles.merging import Stacking, accuracies, agreement, merged, votes, weights_of
from promptlab.estimators.classifiers import PromptClassifier
from promptlab.estimators.text_estimator import CHUNK
from promptlab.library.known_classes import KnownClasses, read_sets

VOTINGS: Mapping[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {"soft": merged, "hard": votes}


@dataclass(eq=False, repr=False)
class PVPEnsemble(PVPMembers):
    """Let several prompts decide together: pattern-verbalizer pairs x seeds, trained one by one.

    Members of one backbone that train little of it (soft prompts, prefixes, adapters, LoRA) share the memory of the
    rest and are run in one batch.

    Source: PET, arXiv:2001.07676, section 3.3.

    Args:
        weighting: ``"uniform"``; ``"untrained-accuracy"``, by accuracy on the training set before any training (PET's,
            alike if all are 0); ``"trained-accuracy"``, by accuracy on the dev set; or ``"stacked"``, a logistic
            regression on the dev set's scores.
        voting: ``"soft"``, the weighted mean of the scores, or ``"hard"``, of the members' choices.

    Attributes:
        members_: name → fitted classifier.
        member_scores_: name of a member → its accuracy on the rows of ``measured_on_``.
        agreement_: share of these rows on which two members choose the same class, (members, members).
        measured_on_: ``"dev"``, which chose the weights, or without a dev set ``"train"``, of which accuracy says
            nothing.
        stacking_: the logistic regression of ``weighting="stacked"``, else None.
        saved_pairs_: templates and verbalizers as they are saved.

    Raises:
        PromptlabError: in ``fit``, if settings, pairs and texts don't fit one another.

    Example:
        >>> from promptlab import PVPEnsemble
        >>> pairs = [("sst2/it-was", "sst2"), ("sst2/just", "sst2")]
        >>> ensemble = PVPEnsemble(pairs, "minilm", "bitfit", repetitions=1, max_steps=3)
        >>> ensemble = ensemble.fit(["a dull film", "great fun"], ["negative", "positive"])
        >>> ensemble.predict(["a bore", "superb"]), ensemble.member_proba(["a bore"]).shape  # (members, texts, classes)
        (array(['negative', 'positive'], dtype='<U8'), (2, 1, 2))
    """

    weightings: ClassVar[tuple[str, ...]] = ("uniform", "untrained-accuracy", "trained-accuracy", "stacked")

    voting: str = "soft"

    def fit(
        self, X: Texts, y: Labels | None = None, sample_weight: Weights | None = None, *, eval_set: DevSet | None = None
    ) -> Self:
        """Train the members on labeled texts, and weigh them.

        Args:
            X: texts (field ``text_a``), tuples (``text_a``, ``text_b``, …), dicts, a DataFrame or a Dataset.
            y: labels: texts, whole numbers, or True and False, all of one type; None takes those that the examples
                carry.
            sample_weight: how much each text counts, a number from 0; None: alike.
            eval_set: dev texts and labels, on which each member's weights are selected, and the members weighed where
                ``weighting`` says so.

        Raises:
            PromptlabError: if the pairs or settings don't fit one another or the data.
            JobError: if a member fails, naming it.
        """
        self.check_settings(eval_set)
        pairs = self._pairs()
        known = pairs[0].known
        training, dev = self._labeled(X, y, eval_set, known, sample_weight)
        with self._workspace() as workspace:
            backbones = self._loaded(workspace, pairs)
            members = self._members(pairs, backbones, len(training.examples))
            for row_check in self._row_checks(pairs, members, training.examples):
                row_check.check([*training.examples, *([] if dev is None else dev.examples)])
            trains = self._train_sets(workspace, members, training)
            jobs = self._jobs(members, trains, dev, workspace, label_type=training.label_type.saved(), words=None)
            measured = len(jobs) if self.weighting == "untrained-accuracy" else 0
            with tqdm(total=len(jobs) + measured, desc="ensemble", unit="job", leave=False, disable=None) as bar:
                before = self._untrained_accuracies(members, trains, workspace, bar.update) if measured else ()
                folders = self._run(jobs, workspace, bar.update)
            trained = {
                member.name: load_member(folder, job.settings["model"], workspace)
                for member, job, folder in zip(members, jobs, folders)
            }
        loaded_on = {member.name: member.classifier.model for member in members}
        self.take_members(trained, loaded_on, list(map(saved_ensemble.saved_pair, pairs)))
        self.set_classes(known.own, training.label_type)
        self.measured_on_ = "train" if dev is None else "dev"
        self._weigh(training if dev is None else dev, before)
        return self

    def _labeled(
        self, X: Texts, y: Labels | None, eval_set: DevSet | None, known: KnownClasses, sample_weight: Weights | None
    ) -> tuple[Labeled, Labeled | None]:
        """The training and the dev examples, whose labels are classes."""
        training, dev = read_sets(X, y, eval_set, known, sample_weight)
        training.several_classes()
        if dev is not None and self.weighting == "stacked" and (absent := sorted(set(known.own) - set(dev.labels))):
            raise DataError(f"no dev example is of class {absent[0]!r}; stacking needs some of every class.")
        return training, dev

    def report(self, X: Texts, y: Labels | None = None) -> list[tuple[str, float]]:
        """Return the accuracy of each member and of the ensemble on labeled texts.

        Args:
            X: texts, in any form that ``fit`` takes.
            y: their labels, None if the examples carry them; rows without a label don't count.

        Raises:
            DataError: if no row has a label.
        """
        self.ready()
        data, targets = self._measured(X, y, self.class_names_)
        scores = self._scores(data.examples)
        (ensemble,) = accuracies(self._merge(scores)[None], targets)
        return list(zip(self.reported(), [*accuracies(scores, targets), ensemble]))

    def reported(self) -> list[str]:
        """Return the names of those that ``report`` measures."""
        return [*self.members_, "ensemble"]

    def _check_values(self) -> None:
        super()._check_values()
        if self.voting not in VOTINGS:
            raise UnknownNameError("voting", self.voting, VOTINGS)

    def check_settings(self, eval_set: DevSet | None) -> None:
        super().check_settings(eval_set)
        if self.weighting in ("trained-accuracy", "stacked") and eval_set is None:
            raise TuningError(
                f"weighting={self.weighting!r} is learnt on dev examples; pass eval_set (--dev on the command line)."
            )
        if self.weighting == "stacked" and self.voting != "soft":
            raise TuningError(f"voting={self.voting!r} has no use with weighting='stacked', which learns how to merge.")

    def _weigh(self, data: Labeled, before: Sequence[float]) -> None:
        """Measure the members and say what each counts."""
        targets = data.targets(self.class_names_).numpy()
        scores = self._scores(data.examples)
        right = accuracies(scores, targets, None if data.weights is None else data.weights.numpy())
        self.member_scores_ = dict(zip(self.members_, right))
        self.agreement_ = agreement(scores)
        chosen = {"untrained-accuracy": before, "trained-accuracy": right}.get(self.weighting, [1.0] * len(right))
        self.weights_ = dict(zip(self.members_, weights_of(chosen).tolist()))
        stacked = self.weighting == "stacked"
        self.stacking_ = Stacking.fitted(scores, targets, seed=self.seed) if stacked else None

    def ready(self) -> Mapping[str, PromptClassifier]:
        self._check_values()
        if not hasattr(self, "members_"):
            raise NotFittedError("this PVPEnsemble isn't fitted yet; call fit first.")
        return self.members_

    def trainable_parameters(self) -> int:
        return sum(member.trainable_parameters() for member in self.ready().values())

    def iter_log_proba(self, examples: Iterable[Example]) -> Iterator[np.ndarray]:
        self.ready()
        source = iter(examples)
        while chunk := list(itertools.islice(source, CHUNK)):
            yield from self._merge(self._scores(chunk))

    def member_proba(self, X: Texts) -> np.ndarray:
        """Return class probabilities by each member, (members, texts, classes), in the order of ``members_``."""
        examples = as_examples(X)
        shape = len(self.ready()), len(examples), len(self.classes_)
        return np.exp(self._scores(examples)) if examples else np.zeros(shape)

    def take_members(
        self,
        members: Mapping[str, PromptClassifier],
        backbones: Mapping[str, ModelLike | None],
        pairs: Sequence[Mapping[str, object]],
    ) -> None:
        """Become the ensemble of fitted members.

        Args:
            backbones: by the members' names, what each was loaded on.
            pairs: as they are saved.
        """
        self.members_, self.saved_pairs_ = dict(members), pairs
        self._scores = MemberScores(members, backbones)

    def save_pretrained(self, folder: str | Path) -> None:
        """Save all members, each in a folder of its own as its class saves it, and what they count."""
        saved_ensemble.save(self, folder)

    @classmethod
    def from_pretrained(
        cls,
        folder: str | Path,
        *,
        model: ModelLike | Sequence[ModelLike | None] | None = None,
        device: DeviceLike = "auto",
    ) -> Self:
        """Load a saved ensemble; members of one base model share its memory.

        Args:
            model: the base model, or where to look for it; a list with one for each pair if they differ.
        """
        return saved_ensemble.load(cls, folder, model=model, device=device)

    def _merge(self, scores: np.ndarray) -> np.ndarray:
        if self.stacking_ is not None:
            return self.stacking_(scores)
        return VOTINGS[self.voting](scores, np.array(list(self.weights_.values())))
