"""Gradients and scores of trigger tokens."""

from __future__ import annotations

import math

import pytest
import torch

from promptlab.core.types import Batch, Example, MaskStates
from promptlab.search.gradient_based.trigger_scores import TriggerScores, class_losses, errors, ranked, word_losses
from promptlab.search.gradient_based.triggers import TriggerText, filled
from promptlab.templates.manual import ManualTemplate
from promptlab.verbalizers.manual import ManualVerbalizer

TEXTS = ["the film was great", "a dull , lifeless mess", "awful", "the story and the acting of the film too"]
EXAMPLES = [Example({"text_a": text}) for text in TEXTS]
TARGETS = torch.tensor([1, 0, 0, 1])
WORDS = {"negative": ("a",), "positive": ("b",)}


def scores_of(backbone, source="{{ text_a }} {{ trigger(2) }} {{ mask }}", words=WORDS):
    backbone = backbone.requires_grad_(False)
    text = TriggerText(source, backbone, EXAMPLES)
    slot = ManualTemplate("{{ text_a }} x {{ mask }}").slot
    head = ManualVerbalizer(words).build(backbone, slot)
    return TriggerScores(backbone, head, text.rows(EXAMPLES, TARGETS))


def one_by_one(scores, trigger, penalty):
    """Penalty of each example, each in a pass of its own through the whole model."""
    found = []
    for row, (encoded, places) in enumerate(zip(scores.rows.encoded, scores.rows.places)):
        written = encoded._replace(input_ids=filled(encoded.input_ids, places.numpy(), trigger))
        states = scores.backbone.mask_states(scores.backbone.collate([written]))
        found.append(penalty(scores.head, states, TARGETS[row : row + 1]).item())
    return found


@pytest.mark.parametrize("family", ["bert", "roberta", "electra", "gpt2", "gpt_neox", "bart"])
@pytest.mark.parametrize("losses", [class_losses, word_losses])
def test_the_first_order_score_is_the_directional_derivative(tiny_backbone, family, losses):
    scores = scores_of(tiny_backbone(family).double())
    trigger = [20, 30]
    generator = torch.Generator().manual_seed(0)
    direction = torch.randn(2, scores.backbone.embedding_weight().shape[1], generator=generator, dtype=torch.float64)

    gradient = scores.gradient(trigger, range(4), losses)

    def loss(step):
        vectors = scores.backbone.model.get_input_embeddings()(torch.tensor(trigger)) + step * direction
        soft = [scores.backbone.vocabulary, scores.backbone.vocabulary + 1]
        scores.vectors.rows = vectors
        with torch.no_grad():
            return sum(one_by_one(scores, soft, losses))

    slope = (loss(1e-5) - loss(-1e-5)) / 2e-5
    assert (gradient * direction).sum().item() == pytest.approx(slope, rel=1e-4)


def test_no_weight_gets_a_gradient(tiny_backbone):
    scores = scores_of(tiny_backbone())

    scores.gradient([20, 30], range(4), word_losses)

    assert all(weight.grad is None for weight in scores.backbone.parameters())


class LinearModel(torch.nn.Module):
    """Its state at the mask is the sum of the embedded prompt, so a linear loss is linear in each trigger."""

    def __init__(self, backbone):
        super().__init__()
        self.model, self.inner = backbone.model, backbone
        self.vocabulary, self.embedding_weight, self.collate = 10**6, backbone.embedding_weight, backbone.collate

    def embed_soft(self, table):
        self.vocabulary = self.inner.vocabulary
        self.inner.embed_soft(table)

    def mask_states_with(self, batch: Batch, places, tokens):
        ids = batch.input_ids.repeat_interleave(len(tokens), 0)
        ids = ids.scatter(1, places.repeat_interleave(len(tokens), 0), tokens.repeat(len(places), 1))
        embedded = self.model.get_input_embeddings()(ids)
        return MaskStates(embedded.sum(dim=1, keepdim=True), lambda hidden, ids=None: hidden)


def test_on_a_linear_loss_the_order_and_the_differences_are_those_of_brute_force(tiny_backbone):
    scores = scores_of(tiny_backbone().double())
    scores.backbone = LinearModel(scores.backbone)
    scores.backbone.embed_soft(scores.vectors)
    weights = torch.randn(32, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    def loss(head, states, targets):
        return states.hidden[:, 0] @ weights + 100

    words = range(len(scores.backbone.embedding_weight()))
    gradient = scores.gradient([20, 30], range(4), loss)
    totals = torch.tensor(scores.penalties([20, 30], 1, list(words), [range(4)], loss), dtype=torch.float64)

    table = scores.backbone.embedding_weight()
    everything = torch.ones(len(words), dtype=torch.bool)
    assert ranked(table, gradient[1], everything) == totals.argsort().tolist()
    promised = (table - table[30]) @ gradient[1]
    assert torch.allclose(totals - totals[30], promised, atol=1e-9)


def test_ranked_leaves_out_what_is_not_allowed_and_ignores_a_shift_of_all_vectors():
    table = torch.tensor([[1.0, 0.0], [3.0, 0.0], [2.0, 0.0], [0.0, 0.0]])
    gradient = torch.tensor([-1.0, 0.0])
    allowed = torch.tensor([True, False, True, True])

    assert ranked(table, gradient, allowed) == [2, 0, 3]
    assert ranked(table - table[1], gradient, allowed) == [2, 0, 3]
    assert ranked(table, -gradient, allowed) == [3, 0, 2]


@pytest.mark.parametrize("family", ["bert", "roberta", "gpt2", "qwen2", "bart"])
@pytest.mark.parametrize("penalty", [errors, class_losses])
def test_tokens_tried_together_score_as_one_by_one(tiny_backbone, family, penalty):
    scores = scores_of(tiny_backbone(family))
    scores.n_tokens = 60  # several passes
    tokens = [21, 25, 40, 50]

    found = scores.penalties([20, 30], 0, tokens, [[3, 0], [1, 2]], penalty)

    expected = [sum(one_by_one(scores, [token, 30], penalty)) for token in tokens]
    assert found == pytest.approx(expected, abs=1e-4)


def test_tokens_that_reach_the_limit_are_infinite_and_the_others_complete(tiny_backbone):
    scores = scores_of(tiny_backbone())
    tokens = list(range(20, 40))
    whole = scores.penalties([20, 30], 0, tokens, [range(4)], class_losses)
    limit = sorted(whole)[5]

    found = scores.penalties([20, 30], 0, tokens, [[3], [1, 2], [0]], class_losses, limit=limit)

    assert found == [pytest.approx(total, abs=1e-5) if total < limit else math.inf for total in whole]


def test_a_token_that_reached_the_limit_is_tried_no_further(tiny_backbone):
    scores = scores_of(tiny_backbone())
    tried = []
    run = scores.backbone.mask_states_with

    def noting(batch, places, tokens):
        tried.append(len(tokens))
        return run(batch, places, tokens)

    scores.backbone.mask_states_with = noting
    first = scores.penalties([20, 30], 0, [21, 22], [[3]], class_losses)
    tried.clear()

    scores.penalties([20, 30], 0, [21, 22], [[3], [0]], class_losses, limit=max(first))

    assert tried == [2, 1]


def test_examples_that_the_trigger_finds_hardest_come_first(tiny_backbone):
    scores = scores_of(tiny_backbone())
    hardness = one_by_one(scores, [20, 30], class_losses)

    total, blocks = scores.examine([20, 30], range(4), class_losses)

    assert total == pytest.approx(sum(hardness), abs=1e-4)
    assert blocks == [[row] for row in sorted(range(4), key=lambda row: -hardness[row])]


def test_the_loss_among_the_vocabulary_is_the_mean_over_the_label_words_of_minus_their_log_probability(tiny_backbone):
    backbone, words = tiny_backbone(), {"negative": ("a", "c"), "positive": ("b",)}
    scores = scores_of(backbone, words=words)
    states = scores.backbone.mask_states(scores.backbone.collate(scores.rows.encoded))

    losses = word_losses(scores.head, states, TARGETS)

    probabilities = states.logits()[:, 0].softmax(dim=-1)
    for row, target in enumerate(TARGETS.tolist()):
        ids = [backbone.token_ids(word)[0] for word in list(words.values())[target]]
        by_hand = [-math.log(probabilities[row, token].item()) for token in ids]
        assert losses[row].item() == pytest.approx(sum(by_hand) / len(by_hand), abs=1e-4)
