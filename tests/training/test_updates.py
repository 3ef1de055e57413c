"""The gradient of an update doesn't depend on how many batches it is seen in."""

from __future__ import annotations

import pytest
import torch

from promptlab import (
    HeadClassifier,
    JointClassifier,
    MultiLabelClassifier,
    PromptClassifier,
    PromptGenerator,
    TokenClassifier,
)
from promptlab.core.types import Example
from promptlab.data.labeled import SoftLabeled
from promptlab.training.objectives import Distillation

WORDS = {"negative": ["bad", "dull"], "positive": ["good"]}
TEXTS = ["The film was great", "dull", "Just awful? Yes, no, maybe.", "great story", "world sports business news"]
LABELS = ["positive", "negative", "negative", "positive", "positive"]
SOURCE = "{{ text_a }} was {{ mask }}"
LONG = "the acting terrible and the story good and the film was great and the mess"


def tagger(model, **settings):
    sentences = [["the", "film"], LONG.split(), ["no"], ["yes", "maybe", "no"], ["great"]]
    tags = [["B-x" if i % 3 == 0 else "O" for i in range(len(words))] for words in sentences]
    return TokenClassifier(model, dropout=0.0, **settings).fit(sentences, tags)


def writer(reduction):
    def fit(model, **settings):
        texts = ["good", LONG, "bad", "the film", "dull mess"]
        return PromptGenerator(SOURCE, model, "full", max_new_tokens=40, reduction=reduction, **settings).fit(
            TEXTS, texts
        )

    return fit


def distilled(model, **settings):
    teacher = torch.tensor([[0.9], [0.8], [0.1], [0.25], [0.5]])
    soft = SoftLabeled([Example({"text_a": t}) for t in TEXTS], list(WORDS), torch.cat([teacher, 1 - teacher], 1).log())
    classifier = PromptClassifier(SOURCE, WORDS, model, **settings)
    return classifier.fit_labeled(soft, objective=lambda inner: Distillation(inner, temperature=2.0))


def joint(model, **settings):
    members = {name: PromptClassifier(SOURCE, WORDS, tuning="prompt-tuning", **settings) for name in "ab"}
    joined = JointClassifier(members, model)
    joined.fit({"a": TEXTS, "b": TEXTS[::-1]}, {"a": LABELS, "b": LABELS})
    return joined.classifiers_["a"]


def several(model, **settings):
    return MultiLabelClassifier(SOURCE, WORDS, model, **settings).fit(TEXTS, [[label] for label in LABELS])


MAKERS = {
    "tagger": tagger,
    "tokens": writer("token"),
    "sequences": writer("sequence"),
    "prompt": lambda model, **s: PromptClassifier(SOURCE, WORDS, model, **s).fit(TEXTS, LABELS),
    "head": lambda model, **s: HeadClassifier(model, dropout=0.0, tuning="full", **s).fit(TEXTS, LABELS),
    "frozen": lambda model, **s: HeadClassifier(model, dropout=0.0, tuning="frozen", **s).fit(TEXTS, LABELS),
    "distilled": distilled,
    "several labels": several,
    "joint": joint,
}
CAUSAL = ("tokens", "sequences")


@pytest.mark.parametrize("limit", [1e9, 1e-2])
@pytest.mark.parametrize("name", MAKERS)
def test_an_update_in_several_batches_is_that_of_one_batch_of_all_rows(gradients, name, limit):
    family = "llama" if name in CAUSAL else "bert"

    expected, loss = gradients(MAKERS[name], family, batch_size=5, max_grad_norm=limit)
    found, reported = gradients(MAKERS[name], family, batch_size=2, gradient_accumulation_steps=3, max_grad_norm=limit)

    norm = torch.stack([grad.norm() for grad in expected]).norm()
    clipped = limit * 2**0.5 if name == "joint" else limit  # each of its two members by itself
    assert norm == pytest.approx(clipped, rel=1e-3) if limit < 1 else norm > 0.02
    assert torch.stack([(one - other).norm() for one, other in zip(expected, found, strict=True)]).norm() < 1e-5 * norm
    assert reported == pytest.approx(loss, rel=1e-5)
