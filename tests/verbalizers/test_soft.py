from __future__ import annotations

import pytest
import torch

from promptlab import PromptClassifier
from promptlab.core.errors import VerbalizerError
from promptlab.core.types import AnswerSlot, Example
from promptlab.models.prompt_model import PromptModel
from promptlab.templates.manual import ManualTemplate
from promptlab.tuning.none import NoTuning
from promptlab.verbalizers.manual import ManualVerbalizer
from promptlab.verbalizers.soft import SoftVerbalizer

WORDS = {"negative": ["dull", "awful"], "positive": ["good", "great"]}
TEMPLATE = "{{ text_a }} it was {{ mask }}"
TEXTS = ["the film was great", "a good story", "a dull , lifeless mess", "just awful"]
LABELS = ["positive", "positive", "negative", "negative"]


@torch.no_grad()
def test_before_training_it_is_the_mean_logit_of_its_words(any_backbone):
    examples = [Example({"text_a": text}) for text in TEXTS]

    def log_probs(verbalizer):
        model = PromptModel.build(ManualTemplate(TEMPLATE), verbalizer, any_backbone, NoTuning()).eval()
        return model.log_probs(any_backbone.collate(model.encode(examples)))

    torch.testing.assert_close(
        log_probs(SoftVerbalizer(WORDS)), log_probs(ManualVerbalizer(WORDS)), atol=1e-5, rtol=1e-5
    )


def test_words_of_several_tokens_start_a_class_at_the_mean_of_all_tokens(tiny_backbone):
    backbone = tiny_backbone("roberta")
    slot = ManualTemplate(TEMPLATE).slot
    words = {"a": ["lifeless mess", "bad"], "b": ["good"]}
    ids = [token for word in words["a"] for token in backbone.answer_ids(word, slot)]

    head = SoftVerbalizer(words).build(backbone, slot)

    weight, bias = backbone.decoder()
    assert len(ids) > 2
    torch.testing.assert_close(head.weight[0], weight[ids].mean(dim=0))
    torch.testing.assert_close(head.bias[0], bias[ids].mean())


@pytest.mark.parametrize("tuning", ["frozen", "prompt-tuning"])
def test_training_moves_the_vectors_and_not_the_vocabulary(tiny_backbone, tuning):
    backbone = tiny_backbone("bert")
    before = backbone.embedding_weight().clone()
    start = SoftVerbalizer(WORDS).build(backbone, ManualTemplate(TEMPLATE).slot).weight.clone()

    classifier = PromptClassifier(TEMPLATE, SoftVerbalizer(WORDS), backbone, tuning, max_steps=3, device="cpu")
    classifier.fit(TEXTS, LABELS)

    assert torch.equal(classifier.model_.backbone.embedding_weight(), before)
    assert not torch.equal(classifier.model_.head.weight, start)


def test_a_saved_one_answers_as_before(tiny_backbone, tmp_path):
    backbone = tiny_backbone("bert")
    classifier = PromptClassifier(TEMPLATE, SoftVerbalizer(WORDS), backbone, "frozen", max_steps=5, device="cpu")
    classifier.fit(TEXTS, LABELS).save_pretrained(tmp_path / "out")

    back = PromptClassifier.from_pretrained(tmp_path / "out", model=backbone, device="cpu")

    assert back.predict_proba(TEXTS).tolist() == classifier.predict_proba(TEXTS).tolist()


def test_a_template_with_two_masks_is_refused(tiny_backbone):
    with pytest.raises(VerbalizerError, match="has 2 masks, but a vector of a class reads exactly 1"):
        SoftVerbalizer(WORDS).build(tiny_backbone("bert"), AnswerSlot(n_masks=2, at_start=False))
