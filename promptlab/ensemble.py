"""Several prompts that decide together."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from sklearn.exceptions import NotFittedError
from tqdm.auto import tqdm

from promptlab import __version__, saving
from promptlab.class_scorer import CHUNK
from promptlab.classifier import PromptClassifier
from promptlab.data.labels import label_type
from promptlab.data.readers import as_examples
from promptlab.errors import DataError, SavedModelError, TuningError, UnknownNameError
from promptlab.files import atomic_folder
from promptlab.joint import JointClassifier
from promptlab.labelled import Labelled
from promptlab.member_jobs import load_member
from promptlab.members import (
    Member,
    Pair,
    PVPMembers,
    check_classes,
    load_each,
    model_key,
    model_of_each,
    read_fields,
    reduced,
)
from promptlab.merging import Stacking, accuracies, agreement, merged, votes, weights_of
from promptlab.parts import resolve_tuning
from promptlab.pvp import PVP
from promptlab.registry import TEMPLATES, TUNINGS, VERBALIZERS
from promptlab.types import Example

WEIGHTINGS = ("uniform", "before", "after", "stacked")
VOTINGS: Mapping[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {"soft": merged, "hard": votes}


@dataclass(eq=False, repr=False)
class PVPEnsemble(PVPMembers):
    """Pattern-verbalizer pairs x seeds, trained one by one, that decide together.

    Members of one backbone that train little of it (soft prompts, prefixes, adapters, LoRA) share the memory of the
    rest and are run in one batch. ``fit`` leaves ``members_`` (name → classifier), ``weights_`` (name → weight),
    and for the dev set, or the training set without one, ``member_scores_`` (name → accuracy) and ``agreement_``
    (members, members).

    Source: PET, arXiv:2001.07676, section 3.3.

    Args:
        pvps: ``PVP`` objects, pairs (template, verbalizer), or the path of a YAML file with such.
        model: as for ``PromptClassifier``, or a list with one for each pair.
        tuning: as for ``PromptClassifier``.
        weighting: ``"uniform"``; ``"before"``, by accuracy on the training set before any training (PET's, alike if all
            are 0); ``"after"``, by accuracy on the dev set; or ``"stacked"``, a logistic regression on the dev set's
            scores.
        voting: ``"soft"``, the weighted mean of the scores, or ``"hard"``, of the members' choices.

    The other settings are those of ``PVPMembers`` and ``PromptClassifier``.
    """

    voting: str = "soft"

    def fit(self, X: Any, y: Any = None, *, eval_set: tuple[Any, Any] | None = None) -> Self:
        """Train the members; arguments as for ``PromptClassifier``.

        Raises:
            PromptlabError: if the pairs or settings don't fit one another or the data.
            JobError: if a member fails, naming it.
        """
        self._check_settings(eval_set)
        pairs = self._pairs()
        classes = pairs[0].verbalizer.classes
        training, dev = self._labelled(X, y, eval_set, classes)
        with self._workspace() as workspace:
            backbones = self._loaded(workspace, pairs)
            for reader in self._readers(pairs, backbones, training.examples):
                reader.check([*training.examples, *([] if dev is None else dev.examples)])
            members = self._members(pairs, backbones, len(training.examples))
            fields = read_fields(members)
            train = workspace.put(reduced(training.examples, fields))
            held_out = dev and workspace.put(reduced(dev.examples, fields))
            trains = [train] * len(members)
            jobs = self._jobs(members, trains, workspace, dev=held_out, whole=training.whole, words=None)
            measured = len(jobs) if self.weighting == "before" else 0
            with tqdm(total=len(jobs) + measured, desc="ensemble", unit="job", leave=False, disable=None) as bar:
                before = self._untrained_accuracies(members, train, workspace, bar.update) if measured else ()
                folders = self._run(jobs, workspace, bar.update)
            self.members_ = {
                member.name: load_member(folder, job.settings["model"], workspace)
                for member, job, folder in zip(members, jobs, folders)
            }
            self._backbones = {member.name: member.classifier.model for member in members}
        self._described = list(map(_plain, pairs))
        self._set_classes(classes, whole=training.whole)
        self._weigh(members, dev or training, before)
        return self

    def _labelled(self, X: Any, y: Any, eval_set: Any, classes: Sequence[str]) -> tuple[Labelled, Labelled | None]:
        """The training and the dev examples, whose labels are classes."""
        training = Labelled.of(X, y)
        dev = None if eval_set is None else Labelled.of(*eval_set)
        check_classes(training, classes)
        if dev is not None:
            dev.targets(classes)
            if self.weighting == "stacked" and (absent := sorted(set(classes) - set(dev.labels))):
                raise DataError(f"no dev example is of class {absent[0]!r}; stacking needs some of every class.")
        return training, dev

    def report(self, X: Any, y: Any = None) -> list[tuple[str, float]]:
        """Accuracy of each member and of the ensemble on labelled texts.

        Args:
            X, y: as for ``fit``; rows without a label don't count.

        Raises:
            DataError: if no row has a label.
        """
        self._ready()
        data, targets = self._measured(X, y, [str(name) for name in self.classes_])
        scores = self._scores(data.examples)
        (ensemble,) = accuracies(self._merge(scores)[None], targets)
        return [*zip(self.members_, accuracies(scores, targets)), ("ensemble", ensemble)]

    def _check_values(self) -> None:
        super()._check_values()
        for name, value, known in (("weighting", self.weighting, WEIGHTINGS), ("voting", self.voting, VOTINGS)):
            if value not in known:
                raise UnknownNameError(name, value, known)

    def _check_settings(self, eval_set: Any) -> None:
        super()._check_settings(eval_set)
        if self.weighting in ("after", "stacked") and eval_set is None:
            raise TuningError(
                f"weighting={self.weighting!r} is learnt on dev examples; pass eval_set (--dev on the command line)."
            )
        if self.weighting == "stacked" and self.voting != "soft":
            raise TuningError(f"voting={self.voting!r} has no use with weighting='stacked', which learns how to merge.")

    def _weigh(self, members: Sequence[Member], data: Labelled, before: Sequence[float]) -> None:
        """Measure the members and say what each counts."""
        names = [str(name) for name in self.classes_]
        targets = data.targets(names).numpy()
        scores = self._scores(data.examples)
        right = accuracies(scores, targets)
        self.member_scores_ = dict(zip(self.members_, right))
        self.agreement_ = agreement(scores)
        chosen = {"before": before, "after": right}.get(self.weighting, [1.0] * len(right))
        self.weights_ = dict(zip(self.members_, weights_of(chosen).tolist()))
        stacked = self.weighting == "stacked"
        self.stacking_ = Stacking.fitted(scores, targets, seed=self.seed) if stacked else None

    def _ready(self) -> Any:
        self._check_values()
        if not hasattr(self, "members_"):
            raise NotFittedError("this PVPEnsemble isn't fitted yet; call fit first.")
        return self.members_

    def trainable_parameters(self) -> int:
        return sum(member.trainable_parameters() for member in self._ready().values())

    def iter_log_proba(self, examples: Iterable[Example]) -> Iterator[np.ndarray]:
        self._ready()
        source = iter(examples)
        while chunk := list(itertools.islice(source, CHUNK)):
            yield from self._merge(self._scores(chunk))

    def member_proba(self, X: Any) -> np.ndarray:
        """Class probabilities by each member, (members, texts, classes), members in the order of ``members_``."""
        examples = as_examples(X)
        shape = len(self._ready()), len(examples), len(self.classes_)
        return np.exp(self._scores(examples)) if examples else np.zeros(shape)

    def export_model(self, folder: str | Path) -> None:
        """Refused: an ensemble isn't one language model."""
        raise TuningError("an ensemble is several models; call export_model of a member in members_.")

    def _merge(self, scores: np.ndarray) -> np.ndarray:
        if self.stacking_ is not None:
            return self.stacking_(scores)
        return VOTINGS[self.voting](scores, np.array(list(self.weights_.values())))

    def _scores(self, examples: Sequence[Example]) -> np.ndarray:
        """Log-probabilities by each member, (members, examples, classes)."""
        rows: dict[str, Any] = {}
        for joint in self._joined():
            names = [name for name in joint.classifiers for _ in examples]
            found = np.array(joint.predict_log_proba(list(examples) * len(joint.classifiers), names))
            rows |= dict(zip(joint.classifiers, found.reshape(len(joint.classifiers), len(examples), -1)))
        for name, member in self.members_.items():
            if name not in rows:
                rows[name] = np.stack(list(member.iter_log_proba(examples)))
        return np.stack([rows[name] for name in self.members_])

    def _joined(self) -> list[JointClassifier]:
        """Members that can share a batch, together."""
        if getattr(self, "_joint", (None,))[0] is not self.members_:
            groups: dict[Any, dict[str, PromptClassifier]] = {}
            for name, member in self.members_.items():
                if _shares_most(member.model_):
                    alike = (id(member.model_.backbone.memory), member.model_.head.reading)
                    groups.setdefault(alike, {})[name] = member
            joined = [_joint_of(group, self._backbones) for group in groups.values() if len(group) > 1]
            self._joint = self.members_, [joint for joint in joined if joint is not None]
        return self._joint[1]

    def save_pretrained(self, folder: str | Path) -> None:
        """Save all members, each in a folder of its own as its class saves it, and what they count."""
        members = self._ready()
        first = next(iter(members.values()))
        settings = {
            "schema": saving.SCHEMA,
            "promptlab": __version__,
            "estimator": type(self).__name__,
            "parameters": saving.parameters_of(self),
            "tuning": TUNINGS.to_dict(resolve_tuning(self.tuning)),
            "model": {"name": first.model_.backbone.name, "revision": first.model_.backbone.revision},
            "classes": list(first.model_.verbalizer.classes),
            "label_type": label_type(self.classes_),
            "pvps": self._described,
            "weights": self.weights_,
            "member_scores": self.member_scores_,
            "agreement": self.agreement_.tolist(),
            "stacking": self.stacking_ and [self.stacking_.coefficients.tolist(), self.stacking_.intercepts.tolist()],
        }
        content = json.dumps(settings, indent=2, ensure_ascii=False, default=saving.plain)
        with atomic_folder(folder, mark=saving.SETTINGS) as new:
            for number, member in enumerate(members.values()):
                member.save_pretrained(new / f"member-{number}")
            (new / saving.SETTINGS).write_text(content + "\n", encoding="utf-8")
            card = saving.card(settings, self.trainable_parameters())
            (new / "README.md").write_text(card, encoding="utf-8")

    @classmethod
    def from_pretrained(cls, folder: str | Path, *, model: Any = None, device: str = "auto") -> Self:
        """Load a saved ensemble; members of one base model share its memory.

        Args:
            model: the base model, or where to look for it; a list with one for each pair if they differ.
        """
        path, settings = saving.settings_for(cls, folder)
        pvps, turns, stacking = _described(settings)
        names = list(settings["weights"])
        folders = [path / f"member-{number}" for number in range(len(names))]
        given = [base for base in model_of_each(model, len(pvps)) for _ in range(turns)]
        bases = [saving.read_settings(f)["model"]["name"] if base is None else base for f, base in zip(folders, given)]
        backbones = dict(zip(names, load_each(bases)))
        used = list(backbones.values())[::turns]
        ensemble = cls(
            pvps,
            used[0] if len(set(map(model_key, used))) == 1 else used,
            TUNINGS.from_dict(settings["tuning"]),
            device=device,
            **settings["parameters"],
        )
        ensemble.members_ = {
            name: PromptClassifier.from_pretrained(own, model=backbones[name], device=device)
            for name, own in zip(names, folders)
        }
        ensemble._backbones, ensemble._described, ensemble.stacking_ = backbones, settings["pvps"], stacking
        ensemble.weights_, ensemble.member_scores_ = settings["weights"], settings["member_scores"]
        ensemble.agreement_ = np.array(settings["agreement"])
        ensemble._set_classes(settings["classes"], whole=settings["label_type"] == "int")
        return ensemble


def _plain(pair: Pair) -> dict[str, Any]:
    """A pair as it is saved."""
    parts = {"template": TEMPLATES.to_dict(pair.template), "verbalizer": VERBALIZERS.to_dict(pair.verbalizer)}
    return {"name": pair.name, **parts, "origin": dict(pair.origin)}


def _described(settings: saving.SavedSettings) -> tuple[list[PVP], int, Stacking | None]:
    """The pairs of a saved ensemble, the members of each, and what merges them if that was learnt.

    Raises:
        SavedModelError: if the settings are damaged.
    """
    try:
        pvps = [
            PVP(
                TEMPLATES.from_dict(p["template"]),
                VERBALIZERS.from_dict(p["verbalizer"]),
                p["name"],
                p.get("origin", {}),
            )
            for p in settings["pvps"]
        ]
        turns, rest = divmod(len(settings["weights"]), len(pvps))
        if rest or not turns:
            raise ValueError(f"{len(settings['weights'])} weights for {len(pvps)} pairs")
        numbers = [*settings["weights"].values(), *settings["member_scores"].values()]
        if not all(isinstance(number, (int, float)) for number in numbers):
            raise ValueError(f"weights and scores are numbers, not {numbers!r}")
        np.array(settings["agreement"], dtype=float)
        merging = settings["stacking"]
        return pvps, turns, None if merging is None else Stacking(*(np.array(part, dtype=float) for part in merging))
    except (AttributeError, KeyError, TypeError, ValueError, ZeroDivisionError) as error:
        raise SavedModelError(
            f"{str(settings.file)!r} is damaged ({type(error).__name__}: {error}); save the model again."
        ) from None


def _shares_most(model: Any) -> bool:
    """Whether training left most of the language model's own weights as they were."""
    sizes = [(weight.numel(), weight.requires_grad) for weight in model.backbone.parameters()]
    return 2 * sum(size for size, trained in sizes if trained) < sum(size for size, _ in sizes)


def _joint_of(members: Mapping[str, PromptClassifier], backbones: Mapping[str, Any]) -> JointClassifier | None:
    """Classifiers of one backbone together, or None if what they changed belongs to no row of a batch."""
    try:
        return JointClassifier(members, backbones[next(iter(members))])
    except TuningError:
        return None
