"""Text out: a model that is tuned to write what the mask at the end of a template stands for."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
import torch

from promptlab.core.devices import resolve_device
from promptlab.core.errors import BackboneError, DataError, TemplateError, TuningError, short_repr
from promptlab.core.inputs import Labels, ModelLike, TemplateLike, Texts, TuningLike, Weights
from promptlab.core.interfaces import Backbone, Template, Tuning
from promptlab.core.registry import TEMPLATES
from promptlab.core.seeding import seeded
from promptlab.core.types import Encoded, Example
from promptlab.data.labeled import Labeled, check_fields
from promptlab.data.readers import as_examples
from promptlab.estimators.estimator import TrainedEstimator
from promptlab.estimators.saving import SavedSettings
from promptlab.estimators.table_rows import text_rows
from promptlab.library.resolve import fresh_backbone, resolve_template, resolve_tuning
from promptlab.models.generation_options import checked_options
from promptlab.models.generator_model import GeneratorModel, PairBatch, PromptAndTarget
from promptlab.models.inference import BATCH, run_by_length
from promptlab.models.input_warnings import notice
from promptlab.models.soft_tokens import to_be_filled
from promptlab.training.dev_score import DevScore
from promptlab.training.loop import train
from promptlab.training.run import TrainingRun

REDUCTIONS = ("token", "sequence")


@dataclass(eq=False, repr=False)
class PromptGenerator(TrainedEstimator[GeneratorModel]):
    """Write texts: what a template's final mask stands for.

    Source: Prefix-Tuning, arXiv:2101.00190, section 4; Prompt Tuning, arXiv:2104.08691, section 2.

    Args:
        template: Jinja source that ends with ``{{ mask }}``, or a ``Template``.
        model: a causal or encoder-decoder model: a package's name, a hub id, a folder or a loaded backbone.
        tuning: name of a tuning method such as ``"prefix"`` or ``"lora"``, or a ``Tuning``.
        max_new_tokens: tokens that a text may have, its end included; longer training texts are cut, with a warning.
        num_beams: beams of the search where ``generate`` is given no other number; 1 is greedy.
        reduction: what the loss is the mean over: each ``"token"``, or each ``"sequence"``.

    Raises:
        PromptlabError: in ``fit``, if settings, parts and texts don't fit one another.

    Example:
        >>> from promptlab import PromptGenerator
        >>> inputs, summaries = ["The film runs for three hours.", "We laughed a lot."], ["Too long.", "Great fun."]
        >>> generator = PromptGenerator("{{ text_a }} In short: {{ mask }}", "smollm2", max_new_tokens=16, max_steps=2)
        >>> generator = generator.fit(inputs, summaries)
        >>> texts = generator.generate(["Two hours of talk."], num_beams=2)
        >>> len(texts), type(texts[0])
        (1, <class 'str'>)
    """

    template: TemplateLike | None = None
    model: ModelLike | None = None
    tuning: TuningLike = "prefix"
    max_new_tokens: int = 64
    num_beams: int = 1
    reduction: str = "token"

    table_rows = text_rows
    dev_form: ClassVar[str] = "a pair (X, y) of inputs and the texts to write"
    dev_option: ClassVar[str] = "pass eval_set"
    hub_task: ClassVar[str] = "text-generation"

    def fit(
        self,
        X: Texts,
        y: Sequence[str],
        sample_weight: Weights | None = None,
        *,
        eval_set: tuple[Texts, Sequence[str]] | None = None,
    ) -> Self:
        """Train on inputs and the texts to write.

        Args:
            X: texts (field ``text_a``), tuples, dicts, a DataFrame or a Dataset.
            y: one text for each.
            sample_weight: how much each pair counts, a number from 0; None: alike. The loss of an update is the
                weighted mean over its tokens, or over its texts if ``reduction`` is ``"sequence"``.
            eval_set: dev inputs and texts. The latest weights whose share of tokens predicted right is within one
                standard error of the highest are kept.

        Raises:
            DataError: if there is no text, or not one for each input.
            PromptlabError: if template, model, tuning or settings don't fit one another.
        """
        self.check_settings(eval_set)
        if self.reduction not in REDUCTIONS:
            raise TuningError(f"reduction={self.reduction!r} must be one of {', '.join(REDUCTIONS)}.")
        checked_options({"max_new_tokens": self.max_new_tokens, "num_beams": self.num_beams})
        training = Labeled(_paired(X, y)).weighed(sample_weight)
        dev = None if eval_set is None else _paired(*eval_set)
        tuning = resolve_tuning(self.tuning)
        if tuning.defaults.max_steps == 0:
            raise TuningError("tuning 'none' trains nothing; choose another, such as 'prefix'.")
        given = resolve_template(self.template)
        if type(given).bind is not Template.bind:
            raise TemplateError(
                f"{type(given).__name__} shows examples answered with label words, of which generated texts have none; "
                "write examples into the template instead."
            )
        check_fields(given, [*training.examples, *(dev or ())])
        with seeded(self.seed):
            template = tuning.edit(given)
            model = GeneratorModel.build(template, fresh_backbone(self.model, self.device), tuning, self.reduction)
            self.history_ = train(self._run(model, tuning, training, dev))
        self.model_ = model.export().eval()
        return self

    def generate(self, X: Texts, **options: object) -> list[str]:
        """Write the text for each input.

        Args:
            options: of transformers' ``generate``, such as ``num_beams=5``, ``stop_strings=["."]``, or
                ``do_sample=True, top_p=0.9``; what is sampled depends on ``seed``.

        Raises:
            TuningError: if an option would have no effect, or transformers doesn't take it.
        """
        model = self.ready()
        device = resolve_device(self.device)
        model.to(device).eval()
        chosen = {"max_new_tokens": self.max_new_tokens, "num_beams": self.num_beams, "do_sample": False, **options}
        chosen = checked_options(chosen, has_encoder=model.backbone.model.config.is_encoder_decoder)
        answer_length = int(str(chosen["max_new_tokens"]))
        encoded = model.encode(as_examples(X), max_length=self.max_length, answer_length=answer_length)
        notice(encoded, model.backbone, self.max_length)

        def written(rows: list[Encoded]) -> list[str]:
            ids = model.backbone.generate(model.backbone.collate(rows).to(device), **chosen)
            return [model.backbone.tokenizer.decode(row, skip_special_tokens=True).strip() for row in ids]

        with seeded(self.seed), torch.inference_mode():
            return run_by_length(written, encoded, lambda row: len(row.input_ids))

    def predict(self, X: Texts) -> np.ndarray:
        """Write the text for each input with the settings of the estimator, (inputs,)."""
        return np.array(self.generate(X), dtype=object)

    def score(self, X: Texts, y: Sequence[str | Sequence[str]]) -> float:
        """Return the corpus BLEU (0 to 100) of what is generated, by sacrebleu.

        Args:
            y: for each input its right text, or several.
        """
        return bleu(self.generate(X), y)

    def saved_parts(self) -> dict[str, object]:
        return {"template": TEMPLATES.to_dict(self.ready().template)}

    @classmethod
    def restored(cls, saved: SavedSettings, backbone: Backbone, tuning: Tuning) -> tuple[Self, GeneratorModel]:
        template = TEMPLATES.from_dict(saved["template"])
        estimator = cls(**saved["parameters"], template=template)
        return estimator, GeneratorModel.build(
            template, backbone, tuning, estimator.reduction, slots=to_be_filled(template.soft_slots)
        )

    def take_model(self, model: GeneratorModel, saved: SavedSettings) -> None:
        self.model_ = model.eval()

    def _run(
        self, model: GeneratorModel, tuning: Tuning, training: Labeled, dev: Sequence[Example] | None
    ) -> TrainingRun:
        pairs, weights = self._pairs(model, training.examples), training.weights
        held_out = None if dev is None else self._pairs(model, dev)
        settings = self.training_settings(tuning, len(pairs), model.backbone.hidden_size)

        def collate(numbers: list[int]) -> PairBatch:
            found = model.collate([pairs[number] for number in numbers])
            found.batch.weights = None if weights is None else weights[numbers]
            return found

        @torch.inference_mode()
        def evaluate() -> DevScore:
            assert held_out is not None
            model.eval()
            device = next(model.parameters()).device
            parts = [held_out[start : start + BATCH] for start in range(0, len(held_out), BATCH)]
            losses, hits = zip(*(model.score(model.collate(part).to(device)) for part in parts))
            right = torch.cat(hits).float()
            return DevScore(right.mean().item(), torch.cat(losses).mean().item(), len(right))

        return TrainingRun(
            model,
            range(len(pairs)),
            collate,
            [len(pair.encoded.input_ids) + len(pair.target) for pair in pairs],
            settings,
            evaluate=None if dev is None else evaluate,
            checkpoint=self.checkpoints(tuning, held_out),
        ).on_device()

    def _pairs(self, model: GeneratorModel, examples: Sequence[Example]) -> list[PromptAndTarget]:
        backbone, limit = model.backbone, self.max_new_tokens
        end = backbone.end_id
        if end is None:
            raise BackboneError(
                f"the tokenizer of {backbone.name!r} has no end-of-text token, with which a text stops."
            )
        slot = model.template.slot
        targets = [[*backbone.answer_ids(str(example.label), slot), end] for example in examples]
        n_cut = sum(len(target) > limit for target in targets)
        if n_cut:
            warnings.warn(
                f"{n_cut} of {len(targets)} texts have more than max_new_tokens={limit} tokens and are cut; raise it.",
                stacklevel=4,
            )
        encoded = model.encode(examples, max_length=self.max_length, answer_length=limit)
        notice(encoded, model.backbone, self.max_length)
        return [PromptAndTarget(row, target[:limit]) for row, target in zip(encoded, targets)]


def bleu(written: Sequence[str], references: Sequence[str | Sequence[str]]) -> float:
    """Corpus BLEU (0 to 100), by sacrebleu.

    Args:
        references: for each text the right one, or several.

    Raises:
        DataError: if sacrebleu isn't installed, there isn't a right text for each, or one is no text.
    """
    try:
        from sacrebleu import corpus_bleu
    except ImportError:
        raise DataError("BLEU needs the package sacrebleu; install promptlab[bleu].") from None
    several = [_right_texts(row, one) for row, one in enumerate(_listed_targets(references), start=1)]
    if len(written) != len(several):
        raise DataError(f"there are {len(written)} inputs, but {len(several)} references; give some for each.")
    if not several or not all(several):
        raise DataError("BLEU needs at least one input, and a right text for each.")
    streams = [[own[i] if i < len(own) else None for own in several] for i in range(max(map(len, several)))]
    return float(corpus_bleu(written, streams).score)


def _listed_targets(texts: Iterable[object]) -> list[object]:
    if isinstance(texts, (str, bytes, Mapping)) or not isinstance(texts, Iterable):
        raise DataError(f"y is {short_repr(texts)}; pass a list with one text for each input.")
    return list(texts)


def _right_texts(row: int, given: object) -> list[str]:
    """One right text, or several."""
    if isinstance(given, str):
        return [given]
    texts = list(given) if isinstance(given, Iterable) and not isinstance(given, (bytes, Mapping)) else [given]
    wrong = [text for text in texts if not isinstance(text, str)]
    if wrong:
        raise DataError(f"row {row} of y holds {short_repr(wrong[0])}; give its right text, or a list of right texts.")
    return [str(text) for text in texts]


def _paired(X: Texts, y: Labels) -> list[Example]:
    texts = _listed_targets(y)
    wrong = next(
        (row for row, text in enumerate(texts, start=1) if not isinstance(text, str) or not text.strip()), None
    )
    if wrong is not None:
        raise DataError(f"row {wrong} has the text {texts[wrong - 1]!r}; give a string that isn't empty.")
    examples = as_examples(X, texts)
    if not examples:
        raise DataError("there are no examples; give at least one.")
    return examples
