"""The estimators for text classification; they follow scikit-learn and Hugging Face."""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.exceptions import NotFittedError
from torch import Tensor

from promptlab.backbones import catalog
from promptlab.data.readers import as_examples
from promptlab.errors import DataError, TemplateError, TuningError, UnknownNameError, VerbalizerError
from promptlab.interfaces import Backbone, Template, Tuning, Verbalizer
from promptlab.library import template_entry, verbalizer_entry
from promptlab.model import HeadModel, PromptModel, join_answers
from promptlab.registry import TUNINGS
from promptlab.seeding import seeded
from promptlab.templates.manual import ManualTemplate
from promptlab.templates.plain import InputTemplate
from promptlab.training import DevScore, TrainingSettings, learning_rate_for, train
from promptlab.types import Batch, Encoded, Example
from promptlab.verbalizers.linear import LinearVerbalizer
from promptlab.verbalizers.manual import ManualVerbalizer

CHUNK = 1024  # rows that prediction holds at once
INFERENCE_BATCH = 32


class TextClassifier(ClassifierMixin, BaseEstimator):
    """What the two classifiers share. A subclass says which template and verbalizer it uses."""

    template: Any
    model: Any
    tuning: Any
    learning_rate: float | None
    head_learning_rate: float | None
    max_steps: int | None
    epochs: int | None
    batch_size: int
    gradient_accumulation_steps: int
    warmup_ratio: float
    weight_decay: float
    max_grad_norm: float
    eval_every: int | None
    patience: int | None
    max_length: int | None
    precision: str
    device: str
    seed: int
    checkpoint_dir: str | Path | None

    def _template(self) -> Template:
        raise NotImplementedError

    def _verbalizer(self, names: Sequence[str] | None) -> Verbalizer:
        """The verbalizer for the classes seen in training, or (None) for none seen."""
        raise NotImplementedError

    def fit(self, X: Any, y: Any = None, *, eval_set: tuple[Any, Any] | None = None) -> Self:
        """Train on labelled texts.

        Args:
            X: texts (field ``text_a``), tuples (``text_a``, ``text_b``, …), dicts, a DataFrame or a Dataset.
            y: labels, strings or whole numbers; None takes those that the examples carry.
            eval_set: dev texts and labels. The latest weights whose accuracy on them is within one standard error
                of the highest are kept.

        Raises:
            DataError: if labels are missing, unknown to the verbalizer, or all the same.
            PromptlabError: if template, verbalizer, model, tuning or settings don't fit one another.
        """
        examples, labels = _labelled(X, y)
        names = sorted({str(label) for label in labels})
        if len(names) < 2:
            raise DataError(
                f"all {len(labels)} labels are {names[0]!r}; a classifier needs examples of at least 2 classes."
            )
        verbalizer = self._verbalizer(names)
        targets = _indices(labels, verbalizer.classes)
        dev = _labelled(*eval_set) if eval_set is not None else None
        dev_targets = None if dev is None else _indices(dev[1], verbalizer.classes)
        tuning = resolve_tuning(self.tuning)
        with seeded(self.seed):
            model = PromptModel.build(self._template(), verbalizer, self._fresh_backbone(), tuning)
            self.history_ = self._train(model, tuning, examples, targets, None if dev is None else dev[0], dev_targets)
        self.model_ = model.eval()
        self.label_type_ = "int" if all(isinstance(label, (int, np.integer)) for label in labels) else "str"
        self._set_classes(verbalizer.classes)
        return self

    def predict_proba(self, X: Any) -> np.ndarray:
        """Class probabilities, shape (texts, classes), columns in the order of ``classes_``."""
        rows = list(self.iter_proba(as_examples(X)))
        return np.stack(rows) if rows else np.zeros((0, len(self.classes_)))

    def predict(self, X: Any) -> np.ndarray:
        """The likeliest class of each text."""
        probabilities = self.predict_proba(X)
        return self.classes_[probabilities.argmax(axis=1)]

    def iter_proba(self, examples: Iterable[Example]) -> Iterator[np.ndarray]:
        """Class probabilities of one example after the other, in constant memory."""
        model = self._ready()
        model.to(_device(self.device)).eval()
        order = [list(model.verbalizer.classes).index(str(name)) for name in self.classes_]
        source = iter(examples)
        while chunk := list(itertools.islice(source, CHUNK)):
            log_probs = predict_log_probs(model, model.encode(chunk, max_length=self.max_length))
            yield from log_probs.exp().numpy()[:, order]

    def save_pretrained(self, folder: str | Path) -> None:
        """Save what was trained, the settings and a model card; see ``promptlab.saving``."""
        from promptlab.saving import save

        save(self, Path(folder))

    @classmethod
    def from_pretrained(cls, folder: str | Path, *, model: Any = None, device: str = "auto") -> Self:
        """Load a saved classifier from a folder or a hub id; ``model`` overrides where its base model is looked for."""
        from promptlab.saving import load

        return load(cls, folder, model=model, device=device)

    def trainable_parameters(self) -> int:
        """Number of weights that training moved."""
        return sum(weight.numel() for _, weight in self._ready().trained_parameters())

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.input_tags.string = True
        return tags

    def _ready(self) -> PromptModel:
        if not hasattr(self, "model_"):
            raise NotFittedError(f"this {type(self).__name__} has no classes yet; call fit first.")
        return self.model_

    def _set_classes(self, names: Sequence[str]) -> None:
        kind = int if getattr(self, "label_type_", "str") == "int" else str
        self.classes_ = np.array(sorted(kind(name) for name in names))

    def _fresh_backbone(self) -> Any:
        """A backbone that training may change: loaded anew, or copied from the one that was passed."""
        return copy.deepcopy(self.model) if isinstance(self.model, Backbone) else catalog.load_backbone(self.model)

    def _settings(self, tuning: Tuning, n_examples: int, hidden_size: int) -> TrainingSettings:
        defaults = tuning.defaults
        if self.epochs is not None and self.max_steps is not None:
            raise TuningError(f"max_steps={self.max_steps} and epochs={self.epochs} are both given; give one.")
        steps = self.max_steps if self.max_steps is not None else defaults.max_steps
        if self.epochs is not None:
            steps = self.epochs * math.ceil(n_examples / (self.batch_size * self.gradient_accumulation_steps))
        base = defaults.learning_rate
        base = learning_rate_for(base, hidden_size) if defaults.scale_with_width else base
        rate = base if self.learning_rate is None else self.learning_rate
        own = defaults.head_learning_rate if self.learning_rate is None else None
        head_rate = self.head_learning_rate if self.head_learning_rate is not None else own
        return TrainingSettings(
            learning_rate=rate,
            head_learning_rate=rate if head_rate is None else head_rate,
            max_steps=steps,
            batch_size=self.batch_size,
            accumulation=self.gradient_accumulation_steps,
            warmup=self.warmup_ratio,
            weight_decay=self.weight_decay,
            max_grad_norm=self.max_grad_norm,
            eval_every=self.eval_every if self.eval_every is not None else max(1, steps // 10),
            patience=self.patience,
            precision=self.precision,
            device=self.device,
            seed=self.seed,
        )

    def _train(
        self,
        model: PromptModel,
        tuning: Tuning,
        examples: Sequence[Example],
        targets: Tensor,
        dev: Sequence[Example] | None,
        dev_targets: Tensor | None,
    ) -> list[dict[str, float]]:
        if tuning.defaults.max_steps == 0:  # zero-shot
            return []
        model.check_trainable()
        settings = self._settings(tuning, len(examples), model.backbone.hidden_size)
        encoded = model.encode(examples, max_length=self.max_length)
        held_out = None if dev is None else model.encode(dev, max_length=self.max_length)
        checkpoint = None if self.checkpoint_dir is None else Path(self.checkpoint_dir)
        device = _device(self.device)
        model.to(device)
        if model.has_constant_answers():
            return _train_head(model, encoded, targets, held_out, dev_targets, settings, checkpoint)

        def collate(rows: list[int]) -> Batch:
            batch = model.backbone.collate([encoded[row] for row in rows])
            batch.labels = targets[rows]
            return batch.to(device)

        def evaluate() -> DevScore:
            assert held_out is not None and dev_targets is not None
            return _dev_score(predict_log_probs(model.eval(), held_out), dev_targets)

        lengths = [len(row.input_ids) for row in encoded]
        return train(
            model,
            range(len(encoded)),
            collate,
            lengths,
            settings,
            evaluate=evaluate if held_out is not None else None,
            checkpoint=checkpoint,
        )


class PromptClassifier(TextClassifier):
    """Classification with a template and a verbalizer; zero-shot before ``fit``.

    Source: PET, arXiv:2001.07676, section 3.1; LM-BFF, arXiv:2012.15723, section 4.

    Args:
        template: Jinja source, a name of the task library such as ``"sst2/it-was"`` or ``"sst2"``, or a ``Template``.
        verbalizer: class → label words, a name of the task library, or a ``Verbalizer``.
        model: a model package's name, a hub id, a folder, or a loaded backbone; None takes ``minilm`` if installed.
        tuning: ``"full"``, ``"frozen"``, ``"top-layers"``, ``"none"``, or a ``Tuning``.
        learning_rate: of the model's weights; None takes the tuning method's own. Heads and soft tokens use
            ``head_learning_rate``, which is the same if ``learning_rate`` alone is given.
        max_steps: updates, or give ``epochs``; None takes the tuning method's own.
        max_length: tokens that a prompt may have; fields are shortened to fit. None is the model's own limit.
        eval_every: updates between dev evaluations; None is a tenth of the steps.
        patience: dev evaluations without improvement before training stops early.
        precision: ``"no"``, ``"bf16"``, ``"fp16"`` or ``"auto"``.
        device: ``"auto"``, ``"cpu"``, ``"cuda"``, …
        checkpoint_dir: a folder from which an interrupted ``fit`` goes on.
    """

    def __init__(
        self,
        template: Any = None,
        verbalizer: Any = None,
        model: Any = None,
        tuning: Any = "full",
        *,
        learning_rate: float | None = None,
        head_learning_rate: float | None = None,
        max_steps: int | None = None,
        epochs: int | None = None,
        batch_size: int = 8,
        gradient_accumulation_steps: int = 1,
        warmup_ratio: float = 0.1,
        weight_decay: float = 0.01,
        max_grad_norm: float = 1.0,
        eval_every: int | None = None,
        patience: int | None = None,
        max_length: int | None = None,
        precision: str = "auto",
        device: str = "auto",
        seed: int = 0,
        checkpoint_dir: str | Path | None = None,
    ) -> None:
        self.template = template
        self.verbalizer = verbalizer
        self.model = model
        self.tuning = tuning
        self.learning_rate = learning_rate
        self.head_learning_rate = head_learning_rate
        self.max_steps = max_steps
        self.epochs = epochs
        self.batch_size = batch_size
        self.gradient_accumulation_steps = gradient_accumulation_steps
        self.warmup_ratio = warmup_ratio
        self.weight_decay = weight_decay
        self.max_grad_norm = max_grad_norm
        self.eval_every = eval_every
        self.patience = patience
        self.max_length = max_length
        self.precision = precision
        self.device = device
        self.seed = seed
        self.checkpoint_dir = checkpoint_dir

    def _template(self) -> Template:
        return resolve_template(self.template)

    def _verbalizer(self, names: Sequence[str] | None) -> Verbalizer:
        if isinstance(self.verbalizer, Verbalizer):
            return self.verbalizer
        if self.verbalizer is None:
            raise VerbalizerError(
                'no verbalizer was given; pass one such as {"negative": ["bad"], "positive": ["good"]}.'
            )
        if isinstance(self.verbalizer, Mapping):
            return ManualVerbalizer(self.verbalizer)
        entry = verbalizer_entry(str(self.verbalizer))
        return ManualVerbalizer(entry.label_words, entry.aggregate)

    def _ready(self) -> PromptModel:
        return self.model_ if hasattr(self, "model_") else self._zero_shot()

    def _zero_shot(self) -> PromptModel:
        """The untrained model, kept until a part of it is set anew."""
        parts = (self.template, self.verbalizer, self.model, self.seed)
        kept = getattr(self, "_untrained", None)
        if kept is None or kept[0] != parts:
            with seeded(self.seed):
                verbalizer = self._verbalizer(None)
                model = PromptModel.build(
                    self._template(), verbalizer, catalog.load_backbone(self.model), TUNINGS.get("none")()
                )
            self._untrained = kept = (parts, model)
            self._set_classes(verbalizer.classes)
        return kept[1]


class HeadClassifier(TextClassifier):
    """An ordinary classification head on the pooled hidden states: fine-tuning baseline and linear probe.

    ``tuning="frozen"`` is the linear probe; the features of each text are then computed once.

    Args:
        fields: names of the fields that make up the input, in order.
        pooling: ``"mean"`` of the hidden states or the ``"first"`` one.
        dropout: of the pooled features.

    The other arguments are those of ``PromptClassifier``.
    """

    def __init__(
        self,
        model: Any = None,
        tuning: Any = "full",
        *,
        fields: Sequence[str] = ("text_a",),
        pooling: str = "mean",
        dropout: float = 0.1,
        learning_rate: float | None = None,
        head_learning_rate: float | None = None,
        max_steps: int | None = None,
        epochs: int | None = None,
        batch_size: int = 8,
        gradient_accumulation_steps: int = 1,
        warmup_ratio: float = 0.1,
        weight_decay: float = 0.01,
        max_grad_norm: float = 1.0,
        eval_every: int | None = None,
        patience: int | None = None,
        max_length: int | None = None,
        precision: str = "auto",
        device: str = "auto",
        seed: int = 0,
        checkpoint_dir: str | Path | None = None,
    ) -> None:
        self.model = model
        self.tuning = tuning
        self.fields = fields
        self.pooling = pooling
        self.dropout = dropout
        self.learning_rate = learning_rate
        self.head_learning_rate = head_learning_rate
        self.max_steps = max_steps
        self.epochs = epochs
        self.batch_size = batch_size
        self.gradient_accumulation_steps = gradient_accumulation_steps
        self.warmup_ratio = warmup_ratio
        self.weight_decay = weight_decay
        self.max_grad_norm = max_grad_norm
        self.eval_every = eval_every
        self.patience = patience
        self.max_length = max_length
        self.precision = precision
        self.device = device
        self.seed = seed
        self.checkpoint_dir = checkpoint_dir

    def _template(self) -> Template:
        return InputTemplate(tuple(self.fields))

    def _verbalizer(self, names: Sequence[str] | None) -> Verbalizer:
        return LinearVerbalizer(tuple(names or ()), self.pooling, self.dropout)


def predict_log_probs(model: PromptModel, encoded: Sequence[Encoded], *, batch_size: int = INFERENCE_BATCH) -> Tensor:
    """Class log-probabilities of encoded prompts, (prompts, classes) on the CPU, in the order given.

    Batches are made of prompts of like length, so none pays for another's.
    """
    return _in_batches(model, encoded, model, batch_size).cpu()


@torch.inference_mode()
def _in_batches(model: PromptModel, encoded: Sequence[Encoded], run: Any, batch_size: int) -> Any:
    """``run`` on batches sorted by length, the results joined in the order given."""
    device = next(model.parameters()).device
    order = sorted(range(len(encoded)), key=lambda row: len(encoded[row].input_ids))
    groups = [order[i : i + batch_size] for i in range(0, len(order), batch_size)]
    results = [run(model.backbone.collate([encoded[row] for row in group]).to(device)) for group in groups]
    back = torch.empty(len(order), dtype=torch.long)
    back[order] = torch.arange(len(order))
    return join_answers(results)[back.to(device)]


def _train_head(
    model: PromptModel,
    encoded: Sequence[Encoded],
    targets: Tensor,
    held_out: Sequence[Encoded] | None,
    dev_targets: Tensor | None,
    settings: TrainingSettings,
    checkpoint: Path | None,
) -> list[dict[str, float]]:
    """Train the head alone, on answers of the frozen model that are computed once."""
    device = next(model.parameters()).device
    answers = _in_batches(model.eval(), encoded, model.read, INFERENCE_BATCH)
    head = HeadModel(model.head, answers, targets.to(device))
    dev_answers = None if held_out is None else _in_batches(model, held_out, model.read, INFERENCE_BATCH)

    @torch.inference_mode()
    def evaluate() -> DevScore:
        assert dev_targets is not None
        head.eval()
        return _dev_score(model.head(dev_answers).cpu(), dev_targets)

    return train(
        head,
        range(len(encoded)),
        torch.tensor,
        [1] * len(encoded),
        settings,
        evaluate=evaluate if dev_answers is not None else None,
        checkpoint=checkpoint,
    )


def _dev_score(log_probs: Tensor, targets: Tensor) -> DevScore:
    accuracy = (log_probs.argmax(dim=-1) == targets).float().mean().item()
    loss = -log_probs[torch.arange(len(targets)), targets].mean().item()
    return DevScore(accuracy, loss, len(targets))


def _labelled(X: Any, y: Any) -> tuple[list[Example], list[Any]]:
    """Examples and their labels as the user gave them, from ``y`` or from the examples."""
    examples = as_examples(X, y)
    if not examples:
        raise DataError("there are no examples; give at least one of each class.")
    labels: list[Any] = [example.label for example in examples] if y is None else list(y)
    missing = [row for row, label in enumerate(labels, start=1) if label is None]
    if missing:
        raise DataError(f"row {missing[0]} has no label; pass y, or label every example.")
    return examples, labels


def _indices(labels: Sequence[Any], classes: Sequence[str]) -> Tensor:
    position = {name: i for i, name in enumerate(classes)}
    for label in labels:
        if str(label) not in position:
            raise UnknownNameError("label", str(label), position)
    return torch.tensor([position[str(label)] for label in labels])


def resolve_template(template: Any) -> Template:
    """A template, or the one of that Jinja source or name in the task library.

    Raises:
        TemplateError: if there is none.
        UnknownNameError: if the library has no such name.
    """
    if isinstance(template, Template):
        return template
    if template is None:
        raise TemplateError('no template was given; pass one such as "{{ text_a }} It was {{ mask }}." or "sst2".')
    source = str(template)
    return ManualTemplate(source if "{" in source or " " in source else template_entry(source).template)


def resolve_tuning(tuning: str | Tuning) -> Tuning:
    """A tuning method, or the one of that name with its defaults."""
    return tuning if isinstance(tuning, Tuning) else TUNINGS.get(str(tuning))()


def _device(device: str) -> torch.device:
    if device != "auto":
        try:
            return torch.empty(0, device=device).device
        except (RuntimeError, AssertionError) as error:
            raise TuningError(f"device {device!r} can't be used here: {str(error).splitlines()[0]}") from None
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
