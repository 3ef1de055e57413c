from __future__ import annotations

import copy

import pytest
import torch

from promptlab.core.errors import TemplateError
from promptlab.core.types import Example
from promptlab.models.prompt_model import PromptModel
from promptlab.models.soft_tokens import SoftTokens
from promptlab.templates.manual import ManualTemplate
from promptlab.tuning.frozen import Frozen

TEXTS = ("the film was great", "a dull , lifeless mess of a story and the acting too")


def batch_of(backbone, source="{{ text_a }} was {{ mask }}.", texts=TEXTS, soft_ids=None):
    prompts = [ManualTemplate(source).render(Example({"text_a": text})) for text in texts]
    return backbone.collate(backbone.encode(prompts, soft_ids=soft_ids or {}))


def full_logits(backbone, batch):
    inputs = {"input_ids": batch.input_ids, "attention_mask": batch.attention_mask}
    if getattr(backbone.model.config, "type_vocab_size", 0) > 1:
        inputs["token_type_ids"] = batch.segment_ids
    logits = backbone.model(**inputs).logits
    return torch.stack([logits[row, batch.mask_index[row]] for row in range(len(logits))])


@torch.no_grad()
def test_logits_at_the_mask_are_those_of_the_whole_model(masked_backbone):
    batch = batch_of(masked_backbone, "{{ text_a }} {{ sep }} it was {{ mask }}.")

    torch.testing.assert_close(
        masked_backbone.mask_states(batch).logits(), full_logits(masked_backbone, batch), atol=1e-5, rtol=0
    )


@torch.no_grad()
def test_logits_of_some_words_are_columns_of_all(masked_backbone):
    states = masked_backbone.mask_states(batch_of(masked_backbone, "{{ mask(2) }} {{ text_a }}"))

    torch.testing.assert_close(states.logits(torch.tensor([7, 3])), states.logits()[..., [7, 3]], atol=1e-6, rtol=0)


def test_only_the_soft_tokens_in_use_get_gradients(masked_backbone):
    source = '{{ text_a }} {{ soft(2, id="used") }} {{ mask }} {% if text_a == "x" %}{{ soft(3) }}{% endif %}'
    soft = SoftTokens(ManualTemplate(source).soft_slots, masked_backbone)
    masked_backbone.requires_grad_(False)
    masked_backbone.embed_soft(soft)

    masked_backbone.mask_states(batch_of(masked_backbone, source, soft_ids=soft.ids)).logits().square().sum().backward()

    assert soft.table.grad.abs().sum(dim=1).gt(0).tolist() == [True, True, False, False, False]
    assert all(weight.grad is None for weight in masked_backbone.parameters())


class Rows(torch.nn.Module):
    """A soft table of given vectors."""

    def __init__(self, rows):
        super().__init__()
        self.rows = rows

    def forward(self):
        return self.rows


@torch.no_grad()
@pytest.mark.parametrize("copied", [False, True])
def test_a_new_soft_table_takes_the_place_of_the_old(masked_backbone, copied):
    weight = masked_backbone.embedding_weight()
    masked_backbone.embed_soft(Rows(weight[[5, 5]]))
    if copied:  # as an estimator does before it fits
        masked_backbone = copy.deepcopy(masked_backbone)
    masked_backbone.embed_soft(Rows(weight[[7, 8]]))
    batch = batch_of(masked_backbone)
    soft, hard = batch.input_ids.clone(), batch.input_ids.clone()
    soft[:, 1], soft[:, 2] = masked_backbone.vocabulary, masked_backbone.vocabulary + 1
    hard[:, 1], hard[:, 2] = 7, 8

    results = []
    for ids in (soft, hard):
        batch.input_ids = ids
        results.append(masked_backbone.mask_states(batch).logits())

    torch.testing.assert_close(results[0], results[1], atol=1e-6, rtol=0)


def test_rows_are_padded_on_the_right_and_padding_is_masked(masked_backbone):
    batch = batch_of(masked_backbone)

    for ids, attention, text in zip(batch.input_ids, batch.attention_mask, TEXTS):
        alone = batch_of(masked_backbone, texts=[text]).input_ids[0].tolist()
        padding = batch.input_ids.shape[1] - len(alone)
        assert ids.tolist() == alone + [masked_backbone.tokenizer.pad_token_id] * padding
        assert attention.tolist() == [1] * len(alone) + [0] * padding


def test_prompts_of_one_batch_must_have_the_same_number_of_masks(tiny_backbone):
    source = "{{ text_a }} {% if text_a == 'x' %}{{ mask }}{% else %}{{ mask(2) }}{% endif %}"

    with pytest.raises(TemplateError, match="1 and 2 masks"):
        batch_of(tiny_backbone("bert"), source, texts=("x", "y"))


def test_frozen_tuning_with_soft_tokens_trains_the_soft_tokens_only(tiny_backbone):
    from promptlab.verbalizers.manual import ManualVerbalizer

    model = PromptModel.build(
        ManualTemplate("{{ text_a }} {{ soft(2) }} {{ mask }}"),
        ManualVerbalizer({"bad": ["bad"], "good": ["good"]}),
        tiny_backbone("bert"),
        Frozen(),
    )

    assert [name for name, _ in model.trained_parameters()] == ["soft.table"]


@torch.no_grad()
def test_debertas_attention_with_an_empty_prefix_is_its_own(tiny_backbone):
    backbone = tiny_backbone("deberta-v2")
    expected = backbone.mask_states(batch_of(backbone)).logits()

    class Empty(torch.nn.Module):
        dropout, visible = torch.nn.Identity(), None

        def forward(self):
            return [(torch.zeros(heads, 0, width), torch.zeros(heads, 0, width)) for heads, width in sites]

    sites = backbone.prefix_sites()
    backbone.set_prefix(Empty())

    torch.testing.assert_close(backbone.mask_states(batch_of(backbone)).logits(), expected, atol=1e-5, rtol=1e-5)
