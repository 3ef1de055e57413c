"""Several classifiers on one language model: trained together, and run together on the rows of one batch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence, Sized
from dataclasses import fields
from typing import Self, TypeAlias, TypeVar

import numpy as np
import torch
from sklearn.base import clone
from torch import Tensor

from promptlab.backbones import catalog
from promptlab.core.devices import resolve_device
from promptlab.core.errors import DataError, TuningError, UnknownNameError, short_repr
from promptlab.core.inputs import DevSet, Labels, ModelLike, Texts, Weights
from promptlab.core.seeding import seeded
from promptlab.core.types import Example
from promptlab.data.labeled import Training
from promptlab.data.labels import Label
from promptlab.data.readers import as_examples
from promptlab.estimators.text_estimator import TextEstimator
from promptlab.estimators.training_options import TrainingOptions
from promptlab.library.resolve import resolve_tuning
from promptlab.models.inference import average_variants, run_by_length
from promptlab.models.input_warnings import notice
from promptlab.models.joint_model import JointModel, MemberRow
from promptlab.models.prompt_model import PromptModel
from promptlab.training.fitting import EncodedSet
from promptlab.training.joint import joint_run
from promptlab.training.loop import train

OWN_SETTINGS = ("seed",)  # in which classifiers that are trained together may differ

JointDevSet: TypeAlias = "tuple[Mapping[str, Texts], Mapping[str, Labels] | None]"
T = TypeVar("T")


class JointClassifier:
    """Train and run several classifiers on one language model, each with a prompt and a tuning of its own.

    Unfitted ones are trained together, which is how several soft prompts of one frozen model cost one pass, and how
    P-Tuning's prompt encoder serves several tasks. Fitted ones (loaded with ``model=backbone``) are run together: the
    rows of one batch may belong to different classifiers.

    Source: Prompt Tuning, arXiv:2104.08691, section 6; P-Tuning, arXiv:2103.10385, section 3.2.

    Args:
        classifiers (Mapping[str, TextEstimator]): name → classifier. Those that are trained together have the same
            tuning and settings, but for the seed.
        model (Any, default None): the backbone they share, or its name; needed where fitted classifiers are run
            together. None takes ``minilm``.
        share_encoder (bool, default False): whether to train one encoder of soft tokens (P-Tuning's LSTM) for all of
            them; each keeps its own tokens. The tuning is then ``PTuning(train_model=False)``, as the language model is
            one for all.

    Attributes:
        classifiers_: name → fitted classifier.
        model_: the joint model, an ``nn.Module``.

    Raises:
        TuningError: if there is no classifier, one can't share a batch, or some are fitted and others aren't.

    Example:
        >>> from promptlab import JointClassifier, PromptClassifier
        >>> names, texts, labels = ("sst2/it-was", "sst2/just"), ["a dull film", "great fun"], ["negative", "positive"]
        >>> prompts = {name: PromptClassifier(name, "sst2", tuning="prompt-tuning", max_steps=3) for name in names}
        >>> joint = JointClassifier(prompts, "minilm").fit(dict.fromkeys(names, texts), dict.fromkeys(names, labels))
        >>> joint.predict(["a bore", "superb"], names)  # each text by the classifier named for it
        ['negative', 'positive']
    """

    def __init__(
        self, classifiers: Mapping[str, TextEstimator], model: ModelLike | None = None, *, share_encoder: bool = False
    ) -> None:
        if not classifiers:
            raise TuningError("there are no classifiers; give at least one.")
        if not isinstance(classifiers, Mapping):
            raise TuningError(f"classifiers are {short_repr(classifiers)}; give a mapping from names to classifiers.")
        for name, other in classifiers.items():
            if not isinstance(other, TextEstimator) or not other.shares_batches:
                kind = f"classifier {name!r} is a {type(other).__name__}"
                raise TuningError(f"{kind}, which can't share a batch; give PromptClassifiers or HeadClassifiers.")
        self.classifiers, self.model, self.share_encoder = dict(classifiers), model, share_encoder
        fitted = [name for name, classifier in self.classifiers.items() if hasattr(classifier, "model_")]
        self.origin = catalog.load_backbone(model)
        if len(fitted) == len(self.classifiers):
            self._join(self.classifiers)
        elif fitted:
            raise TuningError(
                f"classifier {fitted[0]!r} is fitted and others aren't; give fitted ones or unfitted ones."
            )

    def fit(
        self,
        X: Mapping[str, Texts],
        y: Mapping[str, Labels] | None = None,
        sample_weight: Mapping[str, Weights] | None = None,
        *,
        eval_set: JointDevSet | None = None,
    ) -> Self:
        """Train all classifiers; each update sees a batch of every one of them.

        Args:
            X: the texts of each classifier; the smaller sets are gone through more often.
            y: their labels, or None if the examples carry them.
            sample_weight: the weights of the texts of each classifier, or of some; see ``PromptClassifier.fit``.
            eval_set: dev texts and labels, both by name; the weights are chosen by the mean accuracy.

        Raises:
            TuningError: if the classifiers' settings differ.
            PromptlabError: as ``PromptClassifier.fit`` does.
        """
        settings = self._common_settings()
        for classifier in self.classifiers.values():
            classifier.check_settings(eval_set)
        if resolve_tuning(settings.tuning).defaults.max_steps == 0:
            raise TuningError("tuning 'none' trains nothing; choose another, such as 'prompt-tuning'.")
        self.origin.to(resolve_device(settings.device))  # before it is copied, so that the copies share its memory
        data, dev = self._labeled(X, y, eval_set, sample_weight)
        fitted = {name: clone(classifier) for name, classifier in self.classifiers.items()}
        members = [self._build(fitted[name], data[name]) for name in fitted]
        if self.share_encoder:
            _share_encoders(members)
        sets = [EncodedSet.of(data[name], member, settings.max_length) for name, member in zip(fitted, members)]
        held_out = (
            None
            if dev is None
            else [EncodedSet.of(dev[name], m, settings.max_length) for name, m in zip(fitted, members)]
        )
        notice([row for own in sets for row in own.rows], self.origin, settings.max_length)
        model = JointModel(self.origin, members)
        tuning, count = resolve_tuning(settings.tuning), max(len(own.rows) for own in sets)
        with seeded(settings.seed):
            run = joint_run(
                model,
                sets,
                held_out,
                settings.training_settings(tuning, count, self.origin.hidden_size),
                checkpoint=settings.checkpoints(tuning, self.share_encoder, held_out),
                separate=() if self.share_encoder else members,
            )
            history = train(run)
        for (name, classifier), member in zip(fitted.items(), members):
            classifier.become(member, label_type=data[name].label_type, history=history)
        self.classifiers_, self.model_ = fitted, model.eval()
        return self

    def predict(self, X: Texts, names: Sequence[str]) -> list[Label]:
        """Return the likeliest class of each text, by the classifier named for it."""
        probabilities = self.predict_proba(X, names)
        return [self.classifiers_[name].classes_[row.argmax()].item() for name, row in zip(names, probabilities)]

    def predict_proba(self, X: Texts, names: Sequence[str]) -> list[np.ndarray]:
        """Return class probabilities of each text by the classifier named for it, in the order of its ``classes_``.

        Raises:
            UnknownNameError: if there is no such classifier.
            DataError: if there aren't as many names as texts.
        """
        return [np.exp(row) for row in self.predict_log_proba(X, names)]

    @torch.inference_mode()
    def predict_log_proba(self, X: Texts, names: Sequence[str]) -> list[np.ndarray]:
        """Return the logarithms, in nats, of what ``predict_proba`` returns.

        Raises:
            UnknownNameError: if there is no such classifier.
            DataError: if there aren't as many names as texts.
        """
        self._check_fitted()
        examples = as_examples(X)
        if isinstance(names, str) or not isinstance(names, Sized):
            raise DataError(f"names are {short_repr(names)}; give a list with a classifier's name for each text.")
        if len(names) != len(examples):
            raise DataError(
                f"there are {len(examples)} texts, but {len(names)} names of classifiers; give one for each."
            )
        order = {name: number for number, name in enumerate(self.classifiers_)}
        for name in names:
            if name not in order:
                raise UnknownNameError("classifier", name, order)
        rows = self._rows(examples, [order[name] for name in names])
        flat = [row for own in rows for row in own]
        for number, classifier in enumerate(self.classifiers_.values()):
            notice([row.encoded for row in flat if row.member == number], self.origin, classifier.max_length)
        log_probs = self._log_probs(flat)
        results, start = [], 0
        for name, own in zip(names, rows):
            classifier = self.classifiers_[name]
            mean = average_variants(torch.stack(log_probs[start : start + len(own)]), len(own))[0]
            known = list(classifier.model_.verbalizer.classes)
            results.append(mean.numpy()[[known.index(label) for label in classifier.class_names_]])
            start += len(own)
        return results

    def vote(self, X: Texts) -> list[Label]:
        """Return the class that most classifiers choose; of equally many votes, an earlier classifier's.

        Raises:
            DataError: if the classifiers have different classes.
        """
        self._check_fitted()
        (first_name, first), *others = self.classifiers_.items()
        for name, other in others:
            if set(other.classes_.tolist()) != set(first.classes_.tolist()):
                raise DataError(
                    f"{first_name!r} has the classes {_listed(first.classes_)} and {name!r} has "
                    f"{_listed(other.classes_)}; only classifiers of the same classes can vote."
                )
        examples = as_examples(X)
        names = [name for _ in examples for name in self.classifiers_]
        chosen = self.predict([example for example in examples for _ in self.classifiers_], names)
        width = len(self.classifiers_)
        return [Counter(chosen[i : i + width]).most_common(1)[0][0] for i in range(0, len(chosen), width)]

    def _check_fitted(self) -> None:
        if not hasattr(self, "model_"):
            raise TuningError("these classifiers aren't fitted yet; call fit, or give fitted ones.")

    def _labeled(
        self,
        X: Mapping[str, Texts],
        y: Mapping[str, Labels] | None,
        eval_set: JointDevSet | None,
        sample_weight: Mapping[str, Weights] | None,
    ) -> tuple[dict[str, Training], dict[str, Training] | None]:
        """The training and dev examples of each classifier."""
        if sample_weight is not None and not isinstance(sample_weight, Mapping):
            raise DataError(
                f"sample_weight is {short_repr(sample_weight)}; give a mapping from classifiers' names to weights."
            )
        weights = sample_weight or {}
        for name in weights:
            if name not in self.classifiers:
                raise UnknownNameError("classifier", name, self.classifiers, where="sample_weight")
        data: dict[str, Training] = {}
        dev: dict[str, Training] = {}
        for name, classifier in self.classifiers.items():
            own = None if eval_set is None else self._pair(eval_set[0], eval_set[1], name)
            training, held_out = classifier.read_labels(*self._pair(X, y, name), own, weights.get(name))
            data[name] = classifier.weighed(training, classifier.make_verbalizer(training.several_classes()).classes)
            if held_out is not None:
                dev[name] = held_out
        return data, dev or None

    def _pair(self, X: Mapping[str, Texts], y: Mapping[str, Labels] | None, name: str) -> DevSet:
        return self._of(X, name), None if y is None else self._of(y, name)

    def _of(self, parts: Mapping[str, T], name: str) -> T:
        if not isinstance(parts, Mapping):
            raise DataError(f"X or y is {short_repr(parts)}; give a mapping from each classifier's name to its own.")
        if name not in parts:
            raise DataError(
                f"there is no data for classifier {name!r}, only for {', '.join(parts) or 'none'}; give some."
            )
        return parts[name]

    def _common_settings(self) -> TextEstimator:
        """The classifier whose settings all have."""
        first_name, first = next(iter(self.classifiers.items()))
        for name, other in self.classifiers.items():
            if other.model is not None and other.model is not self.model and str(other.model) != self.origin.name:
                raise TuningError(f"classifier {name!r} has a model of its own; leave it out and pass it here, once.")
            for key in (*(field.name for field in fields(TrainingOptions)), "tuning"):
                mine, theirs = getattr(first, key), getattr(other, key)
                if key not in OWN_SETTINGS and mine != theirs:
                    raise TuningError(
                        f"classifiers that are trained together have one {key}, but {first_name!r} has {mine!r} and "
                        f"{name!r} has {theirs!r}; make them equal."
                    )
        return first

    def _build(self, classifier: TextEstimator, data: Training) -> PromptModel:
        verbalizer = classifier.make_verbalizer(data.several_classes())
        with seeded(classifier.seed):
            member = classifier.build(verbalizer, data.examples, self.origin.copy())
        if member.head.post_training is not None:
            raise TuningError(
                f"{type(verbalizer).__name__} is learnt from a finished language model, which training together "
                "doesn't give it; fit its classifier alone, and join fitted ones."
            )
        return member

    def _join(self, fitted: Mapping[str, TextEstimator]) -> None:
        members = [classifier.ready() for classifier in fitted.values()]
        for name, member in zip(fitted, members):
            if member.backbone.memory is not self.origin.memory:
                raise TuningError(
                    f"classifier {name!r} has a backbone of its own; load it with from_pretrained(folder, "
                    "model=backbone) and pass the same backbone here."
                )
        self.classifiers_ = dict(fitted)
        self.model_ = JointModel(self.origin, members).eval()

    def _rows(self, examples: Sequence[Example], numbers: Sequence[int]) -> list[list[MemberRow]]:
        """The prompts of each example."""
        found: list[list[MemberRow]] = [[] for _ in examples]
        for number, classifier in enumerate(self.classifiers_.values()):
            own = [i for i, its in enumerate(numbers) if its == number]
            member = classifier.ready()
            encoded = member.encode([examples[i] for i in own], max_length=classifier.max_length)
            n = member.template.n_variants
            for place, i in enumerate(own):
                found[i] = [MemberRow(number, row) for row in encoded[place * n : (place + 1) * n]]
        return found

    def _log_probs(self, rows: Sequence[MemberRow]) -> list[Tensor]:
        """Class log-probabilities of each row, on the CPU, in batches of like length and one number of masks."""
        model = self.model_.eval()
        device = next(model.parameters()).device

        def run(some: list[MemberRow]) -> list[Tensor]:
            of_member = [iter(part.cpu()) for part in model.log_probs(model.collate(some).to(device))]
            return [next(of_member[row.member]) for row in some]

        return run_by_length(
            run, rows, lambda row: len(row.encoded.input_ids), group=lambda row: len(row.encoded.mask_index)
        )


def _listed(labels: np.ndarray) -> str:
    return short_repr(labels.tolist())


def _share_encoders(members: Sequence[PromptModel]) -> None:
    encoder = members[0].soft.encoder
    if encoder is None:
        raise TuningError(
            "there is no encoder of soft tokens to share; choose tuning=PTuning(train_model=False) and soft tokens."
        )
    for member in members:
        member.soft.encoder = encoder
