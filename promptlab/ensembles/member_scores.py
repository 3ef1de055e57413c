"""What the fitted members of an ensemble say of examples; those that can, in one batch."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence

import numpy as np

from promptlab.core.errors import TuningError
from promptlab.core.inputs import ModelLike
from promptlab.core.types import Example
from promptlab.estimators.classifiers import PromptClassifier
from promptlab.estimators.joint_classifier import JointClassifier
from promptlab.models.prompt_model import PromptModel


class MemberScores:
    """The members, and which of them run together: those of one backbone that have trained little of it.

    ``joint`` holds the groups that do.

    Args:
        members: fitted classifiers by name.
        backbones: by the same names, what each was loaded on.
    """

    def __init__(self, members: Mapping[str, PromptClassifier], backbones: Mapping[str, ModelLike | None]) -> None:
        self._members = dict(members)
        groups: dict[Hashable, dict[str, PromptClassifier]] = {}
        for name, member in members.items():
            if _shares_most(member.model_):
                alike = (id(member.model_.backbone.memory), member.model_.head.batch_key)
                groups.setdefault(alike, {})[name] = member
        joined = [_joint_of(group, backbones) for group in groups.values() if len(group) > 1]
        self.joint = [joint for joint in joined if joint is not None]

    def __call__(self, examples: Sequence[Example]) -> np.ndarray:
        """Log-probabilities by each member, (members, examples, classes)."""
        rows: dict[str, np.ndarray] = {}
        for joint in self.joint:
            names = [name for name in joint.classifiers for _ in examples]
            found = np.array(joint.predict_log_proba(list(examples) * len(joint.classifiers), names))
            rows |= dict(zip(joint.classifiers, found.reshape(len(joint.classifiers), len(examples), -1)))
        for name, member in self._members.items():
            if name not in rows:
                rows[name] = np.stack(list(member.iter_log_proba(examples)))
        return np.stack([rows[name] for name in self._members])


def _shares_most(model: PromptModel) -> bool:
    """Whether training left most of the language model's own weights as they were."""
    sizes = [(weight.numel(), weight.requires_grad) for weight in model.backbone.parameters()]
    return 2 * sum(size for size, trained in sizes if trained) < sum(size for size, _ in sizes)


def _joint_of(
    members: Mapping[str, PromptClassifier], backbones: Mapping[str, ModelLike | None]
) -> JointClassifier | None:
    """Classifiers of one backbone together, or None if what they changed belongs to no row of a batch."""
    try:
        return JointClassifier(members, backbones[next(iter(members))])
    except TuningError:
        return None
