from __future__ import annotations

import pytest
import torch

from promptlab.core.errors import BackboneError, TemplateError
from promptlab.core.registry import BACKBONES
from promptlab.core.types import Example
from promptlab.templates.manual import ManualTemplate

EXAMPLE = Example({"text_a": "the film was great"})


def batch_of(backbone, source="{{ text_a }} it was {{ mask }} .", example=EXAMPLE):
    return backbone.collate(backbone.encode([ManualTemplate(source).render(example)], soft_ids={}))


@torch.no_grad()
def test_t5_answers_after_the_sentinel(tiny_backbone):
    for family in ("t5", "mt5"):
        backbone = tiny_backbone(family)
        batch = batch_of(backbone)
        ids = backbone.tokenizer("the film was great it was <extra_id_0> .").input_ids
        sentinel = backbone.tokenizer.convert_tokens_to_ids("<extra_id_0>")

        logits = backbone.model(input_ids=torch.tensor([ids]), decoder_input_ids=torch.tensor([[0, sentinel]])).logits[
            0, 1
        ]

        assert batch.input_ids[0].tolist() == ids
        torch.testing.assert_close(backbone.mask_states(batch).logits()[0, 0], logits, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_bart_goes_on_from_the_text_before_the_mask(tiny_backbone):
    backbone = tiny_backbone("bart")
    backbone.model.final_logits_bias.normal_()
    batch = batch_of(backbone)
    ids = backbone.tokenizer("the film was great it was <mask> .").input_ids
    place = ids.index(backbone.tokenizer.mask_token_id)

    logits = backbone.model(input_ids=torch.tensor([ids]), decoder_input_ids=torch.tensor([[2, *ids[:place]]])).logits[
        0, -1
    ]

    assert batch.input_ids[0].tolist() == ids
    torch.testing.assert_close(backbone.mask_states(batch).logits()[0, 0], logits, atol=1e-5, rtol=1e-5)


def test_logits_of_some_words_are_columns_of_all(seq2seq_backbone):
    with torch.no_grad():
        states = seq2seq_backbone.mask_states(batch_of(seq2seq_backbone))

        torch.testing.assert_close(states.logits(torch.tensor([7, 3])), states.logits()[..., [7, 3]], atol=1e-6, rtol=0)


def test_two_slots_are_an_error(seq2seq_backbone):
    with pytest.raises(TemplateError, match="2 slots"):
        seq2seq_backbone.mask_states(batch_of(seq2seq_backbone, "{{ mask }} {{ text_a }} {{ mask }}"))


def test_a_tokenizer_without_sentinels_is_refused(tiny_backbone):
    model = tiny_backbone("t5").model

    with pytest.raises(BackboneError, match="has no <extra_id_0>"):
        BACKBONES.get("t5")(model, tiny_backbone("bert").tokenizer)


def test_a_sentinel_in_a_text_is_plain_text(tiny_backbone):
    backbone = tiny_backbone("t5")

    batch = batch_of(backbone, example=Example({"text_a": "a <extra_id_0> b"}))

    sentinel = backbone.tokenizer.convert_tokens_to_ids("<extra_id_0>")
    assert (batch.input_ids == sentinel).sum() == 1


@torch.no_grad()
def test_bart_leaves_room_for_the_answer_among_its_decoders_positions(tiny_backbone):
    backbone = tiny_backbone("bart")
    backbone.max_length = backbone.model.config.max_position_embeddings
    prompt = ManualTemplate("{{ text_a }} it was {{ mask }}").render(Example({"text_a": "film " * 200}))
    rows = backbone.encode([prompt], soft_ids={}, answer_length=3)

    scores = backbone.string_log_probs(backbone.collate(rows), [[21, 35, 40]], decoding="left-to-right")

    assert scores.isfinite().all()
