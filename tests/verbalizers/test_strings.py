from __future__ import annotations

import itertools
import math

import pytest
import torch

from promptlab.core.errors import VerbalizerError
from promptlab.core.types import AnswerSlot, Example
from promptlab.templates.manual import ManualTemplate
from promptlab.verbalizers.aggregates import AGGREGATES
from promptlab.verbalizers.strings import MultiTokenVerbalizer, StringHead

SLOT = AnswerSlot(n_masks=1, at_start=False)
TWO = {"no": ["not entailed"], "yes": ["entailed"]}


def head(ids, aggregate="sum-prob", per_token=False, margin=False):
    return StringHead(ids, AGGREGATES[aggregate], per_token=per_token, decoding="left-to-right", margin=margin)


IDS = [[[1], [2, 3]], [[4, 5, 6]]]  # two answers of the first class, one of the second
ANSWER = torch.tensor([[-1.0, -4.0, -2.0]])


def test_the_probabilities_of_a_classs_answers_add_up():
    scores = head(IDS).combine(head(IDS).word_scores(ANSWER))

    assert scores[0].tolist() == pytest.approx([math.log(math.exp(-1.0) + math.exp(-4.0)), -2.0])


def test_per_token_divides_by_the_number_of_tokens():
    scores = head(IDS, "max-logit", per_token=True)

    assert scores.combine(scores.word_scores(ANSWER))[0].tolist() == pytest.approx([max(-1.0, -4.0 / 2), -2.0 / 3])


def test_the_hinge_is_zero_when_the_right_answer_leads_every_other_by_one_nat():
    ids = [[[1]], [[2]], [[3]]]

    assert head(ids, margin=True).loss(torch.tensor([[-1.0, -2.0, -2.5]]), torch.tensor([0])).item() == 0.0
    # 1 + ce_right - ce_wrong: 1 + 1.5 - 1.0 and 1 + 1.5 - 2.0
    assert head(ids, margin=True).loss(torch.tensor([[-1.5, -1.0, -2.0]]), torch.tensor([0])).item() == pytest.approx(
        2.0
    )


def test_without_the_hinge_the_loss_is_cross_entropy():
    expected = -math.log(math.exp(-1.0) / (math.exp(-1.0) + math.exp(-2.0)))

    assert head([[[1]], [[2]]]).loss(torch.tensor([[-1.0, -2.0]]), torch.tensor([0])).item() == pytest.approx(expected)


def batch_of(backbone, length):
    prompts = [
        ManualTemplate("{{ text_a }} was {{ mask }} .").render(Example({"text_a": text}))
        for text in ("the film", "a dull , lifeless mess")
    ]
    return backbone.collate(backbone.encode(prompts, soft_ids={}, answer_length=length))


def fill_in_order(backbone, ids, index, string, order):
    """Log-probability of a string whose tokens are written into the masks in one order, one forward pass each."""
    ids, total, seen = ids.clone(), 0.0, []
    for place in order:
        logits = backbone.model(input_ids=ids[None]).logits[0]
        log_probs = logits[index].log_softmax(dim=-1)
        seen.append({i: log_probs[i, string[i]].item() for i in range(len(string))})
        total += log_probs[place, string[place]].item()
        ids[index[place]] = string[place]
    return total, seen


@torch.no_grad()
def test_max_first_fills_the_likelier_mask_first(tiny_backbone):
    backbone = tiny_backbone("roberta")
    batch = batch_of(backbone, 2)
    orders = set()
    for first, second in itertools.product(range(20, 60, 7), repeat=2):
        scores = backbone.string_log_probs(batch, [[first, second]], decoding="max-first")
        for row in range(2):
            ids = batch.input_ids[row][batch.attention_mask[row].bool()]
            by_order = {
                order: fill_in_order(backbone, ids, batch.mask_index[row], [first, second], order)
                for order in ((0, 1), (1, 0))
            }
            start = by_order[(0, 1)][1][0]
            order = (0, 1) if start[0] > start[1] else (1, 0)
            orders.add(order)
            assert scores[row, 0].item() == pytest.approx(by_order[order][0], abs=1e-4)
    assert len(orders) == 2  # both orders came up


@torch.no_grad()
def test_left_to_right_and_parallel_are_the_loops_they_stand_for(tiny_backbone):
    backbone = tiny_backbone("roberta")
    batch, string = batch_of(backbone, 3), [21, 35, 40]

    ordered = backbone.string_log_probs(batch, [string], decoding="left-to-right")
    at_once = backbone.string_log_probs(batch, [string, [21]], decoding="parallel")

    for row in range(2):
        ids, index = batch.input_ids[row][batch.attention_mask[row].bool()], batch.mask_index[row]
        total, _ = fill_in_order(backbone, ids, index, string, (0, 1, 2))
        log_probs = backbone.model(input_ids=ids[None]).logits[0][index].log_softmax(dim=-1)
        assert ordered[row, 0].item() == pytest.approx(total, abs=1e-4)
        assert at_once[row, 0].item() == pytest.approx(sum(log_probs[i, string[i]].item() for i in range(3)), abs=1e-4)
        assert at_once[row, 1].item() == pytest.approx(log_probs[0, 21].item(), abs=1e-4)


@torch.no_grad()
def test_a_masked_model_looks_once_in_training_and_fills_one_mask_after_the_other_in_prediction(tiny_backbone):
    backbone = tiny_backbone("roberta")
    batch, strings = batch_of(backbone, 2), [[21, 35], [40, 28]]
    model = StringHead(
        [[s] for s in strings], AGGREGATES["sum-prob"], per_token=False, decoding="max-first", margin=True
    )

    once, filled = (backbone.string_log_probs(batch, strings, decoding=name) for name in ("parallel", "max-first"))

    assert not torch.allclose(once, filled)
    assert torch.equal(model.train().read_backbone(backbone, batch), once)
    assert torch.equal(model.eval().read_backbone(backbone, batch), filled)


@torch.no_grad()
def test_a_shorter_answer_is_scored_in_a_prompt_with_as_many_masks_as_it_has_tokens(tiny_backbone):
    backbone = tiny_backbone("roberta")

    in_long = backbone.string_log_probs(batch_of(backbone, 3), [[21], [21, 35, 40]], decoding="max-first")
    alone = backbone.string_log_probs(batch_of(backbone, 1), [[21]], decoding="max-first")

    torch.testing.assert_close(in_long[:, :1], alone, atol=1e-5, rtol=0)


@torch.no_grad()
def test_a_causal_score_is_the_log_likelihood_of_a_full_pass(causal_backbone):
    prompt = ManualTemplate("{{ text_a }} was {{ mask }}").render(Example({"text_a": "the film"}))
    (encoded,) = causal_backbone.encode([prompt], soft_ids={}, answer_length=3)
    string = [21, 35, 40]

    scores = causal_backbone.string_log_probs(
        causal_backbone.collate([encoded]), [string, [21]], decoding="left-to-right"
    )

    ids = torch.tensor([[*encoded.input_ids.tolist(), *string]])
    log_probs = causal_backbone.model(input_ids=ids).logits[0].log_softmax(dim=-1)
    start = len(encoded.input_ids) - 1
    expected = [log_probs[start + i, token].item() for i, token in enumerate(string)]
    assert scores[0].tolist() == pytest.approx([sum(expected), expected[0]], abs=1e-4)


@torch.no_grad()
def test_a_seq2seq_score_is_the_log_likelihood_of_a_full_pass(seq2seq_backbone):
    prompts = [
        ManualTemplate("{{ text_a }} was {{ mask }} .").render(Example({"text_a": text})) for text in ("the film", "a")
    ]
    rows = seq2seq_backbone.encode(prompts, soft_ids={}, answer_length=3)
    string, start = [21, 35, 40], seq2seq_backbone.model.config.decoder_start_token_id

    scores = seq2seq_backbone.string_log_probs(seq2seq_backbone.collate(rows), [string], decoding="left-to-right")

    for row, encoded in enumerate(rows):
        ids, mask = encoded.input_ids.tolist(), int(encoded.mask_index[0])
        is_bart = seq2seq_backbone.model.config.model_type == "bart"
        prefix = [start, *ids[:mask]] if is_bart else [start, ids[mask]]
        decoder = torch.tensor([[*prefix, *string]])
        logits = seq2seq_backbone.model(input_ids=torch.tensor([ids]), decoder_input_ids=decoder).logits[0]
        log_probs = logits.log_softmax(dim=-1)
        expected = sum(log_probs[len(prefix) - 1 + i, token].item() for i, token in enumerate(string))
        assert scores[row, 0].item() == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize(
    ("settings", "slot", "message"),
    [
        ({"decoding": "beam"}, SLOT, "isn't one of max-first, left-to-right, parallel"),
        ({}, AnswerSlot(2, False, n_places=2), "2 places for an answer"),
        ({}, AnswerSlot(2, False), "the longest answer has"),
        ({"strings": {"a": ["good"], "b": ["good"]}}, SLOT, "same token as 'good' of class 'a'"),
        ({"strings": {"a": ["\u200b"], "b": ["good"]}}, SLOT, "has no token"),
    ],
)
def test_answers_that_do_not_fit_are_one_clear_line(tiny_backbone, settings, slot, message):
    with pytest.raises(VerbalizerError, match=message):
        MultiTokenVerbalizer(**{"strings": TWO, **settings}).build(tiny_backbone("bert"), slot)


def test_a_causal_model_knows_no_order_but_left_to_right(tiny_backbone):
    with pytest.raises(VerbalizerError, match="'max-first' isn't one of left-to-right"):
        MultiTokenVerbalizer(TWO, decoding="max-first").build(tiny_backbone("gpt2"), SLOT)


def test_an_unknown_aggregate_is_named():
    with pytest.raises(VerbalizerError, match="unknown aggregate 'median'"):
        MultiTokenVerbalizer(TWO, aggregate="median")
