"""What a template makes of an example, and what drove a decision, for people to look at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, NotRequired, TypeAlias, TypedDict

import torch
from torch import Tensor

from promptlab.backbones import catalog
from promptlab.core.devices import resolve_device
from promptlab.core.errors import VerbalizerError
from promptlab.core.inputs import Labels, ModelLike, TemplateLike, Texts
from promptlab.core.interfaces import AnyHead, Verbalizer
from promptlab.core.types import Example, MaskStates
from promptlab.data.labeled import Labeled
from promptlab.data.readers import as_examples
from promptlab.estimators.classifiers import PromptClassifier
from promptlab.estimators.multi_label_classifier import MultiLabelClassifier
from promptlab.library.resolve import resolve_template
from promptlab.models.inference import average_variants, encode_untrained, in_batches
from promptlab.models.prompt_model import PromptModel
from promptlab.verbalizers.calibrated import WordPriorHead
from promptlab.verbalizers.head import WordHead
from promptlab.verbalizers.independent import IndependentHead

Explained: TypeAlias = "PromptClassifier | MultiLabelClassifier"
CHUNK = 256  # prompts whose logits of the whole vocabulary are held at once


class WordShare(TypedDict):
    """What a label word adds to the score of its class."""

    word: str
    share: float
    score: float


class LikelyWord(TypedDict):
    """A word that the model would write at a mask."""

    word: str
    probability: float


ClassReport = TypedDict("ClassReport", {"class": str, "probability": float, "words": list[WordShare]})
WordReport = TypedDict(
    "WordReport",
    {"class": str, "word": str, "weight": float, "mean_log_prob": float, "by_class": dict[str, float]},
)


class PromptReport(TypedDict):
    """What a template makes of an example, and what the model would write at its masks."""

    segments: list[dict[str, object]]
    tokens: list[str]
    ids: list[int]
    n_cut: int
    masks: list[list[LikelyWord]]
    classes: NotRequired[list[ClassReport]]


@torch.inference_mode()
def inspect_prompt(
    template: TemplateLike,
    example: Example,
    *,
    model: ModelLike | None = None,
    max_length: int | None = None,
    top_k: int = 10,
) -> PromptReport:
    """Segments, tokens, ids and truncation of a prompt, and the likeliest words at each mask.

    Soft tokens are shown as ``soft`` and have the vectors that training would start from.
    """
    resolved = resolve_template(template)
    prompt = resolved.render(example)
    backbone = catalog.load_backbone(model).eval()
    encoded = encode_untrained(resolved, [prompt], backbone, max_length=max_length)[0]
    probabilities = backbone.mask_states(backbone.collate([encoded])).logits()[0].softmax(dim=-1)  # (masks, vocabulary)
    best = probabilities.topk(min(top_k, probabilities.shape[-1]), dim=-1)
    name = backbone.tokenizer.convert_ids_to_tokens
    ids = encoded.input_ids.tolist()
    vocabulary = len(backbone.embedding_weight())
    return {
        "segments": [segment._asdict() for segment in prompt.segments],
        "tokens": [name(i) if i < vocabulary else "<soft>" for i in ids],
        "ids": ids,
        "n_cut": encoded.n_cut,
        "masks": [
            [{"word": name(i) or f"<id {i}>", "probability": p} for i, p in zip(row_ids, row, strict=True)]
            for row_ids, row in zip(best.indices.tolist(), best.values.tolist(), strict=True)
        ],
    }


@torch.inference_mode()
def explain(classifier: Explained, X: Texts, *, top_k: int = 10) -> list[list[ClassReport]]:
    """Explain the decision on each text: for each class, the likeliest first, its probability and its words.

    A word comes with its ``share`` of the class's score and its ``score``, in nats, over the mean of all label words':
    the logit at the mask, less the prior where the verbalizer calibrates. Words are sorted by score. Several prompts of
    one example are averaged.

    Args:
        classifier: a ``PromptClassifier``, fitted or zero-shot; or a fitted ``MultiLabelClassifier``.
        X: texts, in any form that ``predict`` takes.
        top_k: number of words of each class.

    Raises:
        VerbalizerError: if the verbalizer has no label words.

    Example:
        >>> from promptlab import PromptClassifier, explain
        >>> words = {"negative": ["bad", "dull"], "positive": ["good", "great"]}
        >>> classifier = PromptClassifier("{{ text_a }} It was {{ mask }}.", words, "minilm")
        >>> likeliest, other = explain(classifier, ["great fun"])[0]
        >>> likeliest["class"], round(likeliest["probability"], 2)
        ('positive', 0.99)
        >>> [(one["word"], round(one["score"], 1)) for one in likeliest["words"]]  # the likeliest word first
        [('great', 3.2), ('good', 1.3)]
    """
    model, head, words, answers = _outputs_of(classifier, as_examples(X))
    log_probs = average_variants(model.head(answers), model.template.n_variants).cpu()  # (examples, classes)
    scores = head.word_scores(answers).unflatten(0, (-1, model.template.n_variants)).mean(dim=1).cpu()
    shares = head.word_weights().cpu()  # (classes, words), 0 where padded
    valid = shares > 0
    means = scores.masked_fill(~valid, 0.0).sum(dim=(1, 2)) / valid.sum()
    centered = scores - means[:, None, None]  # (examples, classes, words)
    return [_report(words, shares, *row, top_k) for row in zip(centered, log_probs)]


@torch.inference_mode()
def class_words(classifier: Explained, X: Texts, y: Labels | None = None) -> list[WordReport]:
    """List every label word with its class, its weight within it, and what the model makes of it on labeled texts.

    ``mean_log_prob`` is its log-probability at the mask, in nats, over all texts; ``by_class`` the same over the texts
    of each class that has some. Where the verbalizer calibrates, the prior is taken off both. A word that tells the
    classes apart is likelier after texts of its own class than after others.

    Args:
        classifier: a ``PromptClassifier``, fitted or zero-shot.
        X: labeled texts, in any form that ``fit`` takes.
        y: their labels; None if the examples carry them.

    Raises:
        VerbalizerError: if the verbalizer has no label words.
        UnknownNameError: if a label isn't one of its classes.

    Example:
        >>> from promptlab import PromptClassifier, class_words
        >>> classifier = PromptClassifier("{{ text_a }} It was {{ mask }}.", {"bad": "dull", "good": "great"}, "minilm")
        >>> rows = class_words(classifier, ["a dull film", "great fun"], ["bad", "good"])
        >>> [(row["word"], {name: round(value, 1) for name, value in row["by_class"].items()}) for row in rows]
        [('dull', {'bad': -3.8, 'good': -8.9}), ('great', {'bad': -4.5, 'good': -2.8})]
    """
    classifier.ready()
    data = Labeled.of(X, y, like=classifier.label_type_)
    model, head, words, answers = _outputs_of(classifier, data.examples)
    scores = head.word_scores(answers)  # (prompts, classes, words)
    if isinstance(answers, MaskStates):
        chunks = answers.hidden[:, 0].split(CHUNK)
        scores = scores - torch.cat([answers.lm_head(h).logsumexp(dim=-1) for h in chunks])[:, None, None]
    scores = scores.unflatten(0, (-1, model.template.n_variants)).mean(dim=1).cpu()  # (examples, classes, words)
    targets, weights = data.targets(list(words)), head.word_weights().cpu()
    means = {name: scores[targets == i].mean(dim=0) for i, name in enumerate(words) if (targets == i).any()}
    return [
        {
            "class": name,
            "word": word,
            "weight": weights[i, j].item(),
            "mean_log_prob": scores[:, i, j].mean().item(),
            "by_class": {other: mean[i, j].item() for other, mean in means.items()},
        }
        for i, (name, row) in enumerate(words.items())
        for j, word in enumerate(row)
    ]


class Outputs(NamedTuple):
    """A classifier's model, the head that scores words, these by class, and the model's outputs for some examples."""

    model: PromptModel
    head: WordHead[Any] | WordPriorHead[Any]
    words: Mapping[str, Sequence[str]]
    outputs: MaskStates | Tensor


def _outputs_of(classifier: Explained, examples: Sequence[Example]) -> Outputs:
    model = classifier.ready().to(resolve_device(classifier.device)).eval()
    words, head = _label_words(model.verbalizer), _word_head(model)
    if words is None or not isinstance(head, (WordHead, WordPriorHead)):
        raise VerbalizerError(f"{type(model.verbalizer).__name__} has no label words whose part could be told.")
    encoded = model.encode(examples, max_length=classifier.max_length)
    return Outputs(model, head, words, in_batches(model.backbone, encoded, model.read))


def _word_head(model: PromptModel) -> AnyHead:
    """The head that scores words, where another one stands around it."""
    return model.head.inner if isinstance(model.head, IndependentHead) else model.head


def _report(
    words: Mapping[str, Sequence[str]], shares: Tensor, scores: Tensor, log_probs: Tensor, top_k: int
) -> list[ClassReport]:
    """The classes of one example, the likeliest first."""
    report: list[ClassReport] = []
    for name, row, own, log_prob in zip(words, shares, scores, log_probs):
        parts: list[WordShare] = [
            {"word": word, "share": share, "score": score}
            for word, share, score in zip(words[name], row.tolist(), own.tolist())
        ]
        best = sorted(parts, key=lambda part: -part["score"])[:top_k]
        report.append({"class": name, "probability": log_prob.exp().item(), "words": best})
    return sorted(report, key=lambda part: -part["probability"])


def _label_words(verbalizer: Verbalizer) -> Mapping[str, Sequence[str]] | None:
    """Class → words, of a verbalizer or of the one that it wraps."""
    own = getattr(verbalizer, "label_words", None) or getattr(verbalizer, "strings", None)
    return own if own is not None or verbalizer.wrapped is None else _label_words(verbalizer.wrapped)
