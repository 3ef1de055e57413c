from __future__ import annotations

import pytest
import torch

from promptlab.core.seeding import seeded
from promptlab.core.types import SoftSlot
from promptlab.models.soft_tokens import SoftTokens
from promptlab.tuning.soft_prompts import MLPEncoder


def test_ids_count_on_from_the_end_of_the_vocabulary(tiny_backbone):
    backbone = tiny_backbone("bert")
    first = backbone.embedding_weight().shape[0]

    soft = SoftTokens([SoftSlot("a", 2), SoftSlot("b", 3)], backbone)

    assert soft.ids == {"a": [first, first + 1], "b": [first + 2, first + 3, first + 4]}
    assert soft().shape == (5, backbone.embedding_weight().shape[1])


def test_words_give_as_many_vectors_as_they_have_tokens_and_start_there(any_backbone):
    tokens = any_backbone.token_ids("It was dull")

    soft = SoftTokens([SoftSlot("p", 1, "It was dull")], any_backbone)

    assert len(soft.ids["p"]) == len(tokens) > 1
    assert torch.equal(soft(), any_backbone.embedding_weight()[tokens])


def test_training_soft_tokens_leaves_the_words_they_started_from(tiny_backbone):
    backbone = tiny_backbone("bert")
    before = backbone.embedding_weight().detach().clone()
    soft = SoftTokens([SoftSlot("p", 1, "film")], backbone)

    with torch.no_grad():
        soft.table += 1.0

    assert torch.equal(backbone.embedding_weight(), before)


def test_slots_without_words_are_drawn_like_the_embeddings(tiny_backbone):
    backbone = tiny_backbone("bert")
    with torch.no_grad():
        backbone.embedding_weight().normal_(mean=0.3, std=0.02)

    with seeded(0):
        table = SoftTokens([SoftSlot("p", 500)], backbone)().detach()

    weight = backbone.embedding_weight().detach()
    torch.testing.assert_close(table.mean(dim=0), weight.mean(dim=0), atol=5 * 0.02 / 500**0.5, rtol=0)
    torch.testing.assert_close(table.std(dim=0), weight.std(dim=0), atol=0, rtol=0.2)


def test_a_label_of_several_tokens_gives_their_mean(tiny_backbone):
    backbone = tiny_backbone("bert")
    weight = backbone.embedding_weight()

    soft = SoftTokens([SoftSlot("p", 2, start="labels")], backbone, label_words=["film", "a great story"])

    rows = [weight[i] for i in backbone.token_ids("a great story")]
    assert len(rows) > 1
    torch.testing.assert_close(soft.table[1], sum(rows) / len(rows))


def test_an_mlp_over_soft_tokens_keeps_where_they_start(tiny_backbone):
    soft = SoftTokens([SoftSlot("p", 3)], tiny_backbone("bert"), encoder=MLPEncoder(32, 8))

    assert torch.equal(soft(), soft.table)


def test_the_same_seed_draws_the_same_vectors(tiny_backbone):
    backbone = tiny_backbone("bert")
    tables = []
    for seed in (0, 0, 1):
        with seeded(seed):
            tables.append(SoftTokens([SoftSlot("p", 2)], backbone)().detach())

    assert torch.equal(tables[0], tables[1])
    assert not torch.equal(tables[0], tables[2])


@pytest.mark.parametrize(("slots", "trained"), [([], False), ([SoftSlot("p", 2)], True)])
def test_there_is_something_to_train_only_where_a_slot_is_declared(tiny_backbone, slots, trained):
    soft = SoftTokens(slots, tiny_backbone("bert"))

    assert soft.table.requires_grad is trained
    assert len(soft.table) == (2 if trained else 0)
