"""The causal model that real runs use; ``promptlab download smollm2`` brings it."""

from __future__ import annotations

from contextlib import nullcontext

import pytest
import torch

from promptlab import ContextualCalibration, InContextTemplate, MultiTokenVerbalizer, PromptClassifier
from promptlab.backbones.catalog import load_backbone
from promptlab.backbones.download import downloaded
from promptlab.core.types import Example
from promptlab.data.samples import load_sample
from promptlab.templates.manual import ManualTemplate

pytestmark = [
    pytest.mark.smollm2,
    pytest.mark.skipif(downloaded("smollm2") is None, reason="needs: promptlab download smollm2"),
]
ANSWERS = MultiTokenVerbalizer({"negative": ["Negative", "not good at all"], "positive": ["Positive"]})
SHOWN = InContextTemplate("Review: {{ text_a }}\nSentiment: {{ mask }}", k=4)


@pytest.fixture(scope="module")
def smollm2():
    return load_backbone("smollm2")


@torch.no_grad()
def test_it_goes_on_as_transformers_does(smollm2):
    row = smollm2.encode(
        [ManualTemplate("{{ text_a }} is {{ mask }}").render(Example({"text_a": "The capital of France"}))], soft_ids={}
    )[0]

    logits = smollm2.mask_states(smollm2.collate([row])).logits()[0, 0]

    ids = torch.tensor([smollm2.tokenizer("The capital of France is").input_ids])
    assert row.input_ids.tolist() == ids[0].tolist()
    torch.testing.assert_close(logits, smollm2.model(ids).logits[0, -1], atol=1e-3, rtol=1e-4)
    assert smollm2.tokenizer.decode(logits.topk(5).indices).count("Paris") == 1


@torch.no_grad()
def test_answers_of_several_tokens_score_as_in_one_pass(smollm2):
    prompt = ManualTemplate("{{ text_a }} is {{ mask }}").render(Example({"text_a": "The film"}))
    (row,) = smollm2.encode([prompt], soft_ids={}, answer_length=4)
    answer = smollm2.token_ids("not good at all")

    scores = smollm2.string_log_probs(smollm2.collate([row]), [answer, answer[:1]], decoding="left-to-right")

    log_probs = smollm2.model(torch.tensor([[*row.input_ids.tolist(), *answer]])).logits[0].log_softmax(dim=-1)
    start = len(row.input_ids) - 1
    expected = sum(log_probs[start + i, token].item() for i, token in enumerate(answer))
    assert scores[0, 0].item() == pytest.approx(expected, abs=1e-3)


def test_a_shared_prefix_gives_the_same_scores_and_demonstrations_help(smollm2):
    sample = load_sample("sst2")
    train, _ = sample.few_shot(13)
    test = sample.test[:10]
    classifier = PromptClassifier(SHOWN, ContextualCalibration(ANSWERS), smollm2, tuning="none", device="cpu").fit(
        train
    )

    shared = classifier.predict_proba(test)
    classifier.model_.backbone.sharing = lambda encoded: nullcontext()
    plain = classifier.predict_proba(test)

    assert abs(shared - plain).max() < 1e-3
    assert sum(p == e.label for p, e in zip(classifier.classes_[shared.argmax(axis=1)], test)) >= 6
