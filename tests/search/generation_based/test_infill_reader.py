from __future__ import annotations

import pytest
import torch

from promptlab.search.generation_based.infill_reader import Infill, InfillNextTokens
from promptlab.search.generation_based.joint_beam import CLOSE, State

STATES = [State((12, 13)), State((11, 14)), State((CLOSE, 15)), State((11, CLOSE))]
PARENTS = [1, 0, 2, 0]


def rows_of(family):
    """Five examples; BART's prefixes have two lengths, and each of its gaps ends with a token of the example's own."""
    if family != "bart":
        return [Infill([5, 6, 7, 20 + i][: 3 + i % 2], [0, 9], [[30], [31, 1]]) for i in range(5)]
    return [Infill([0, 5, 6, 20 + i][: 3 + i % 2], [2, 0, 5, 6][: 3 + i % 2], [[30 + i], [40 - i]]) for i in range(5)]


def whole_passes(backbone, rows, state):
    """Logits (rows, vocabulary) of what comes next, one pass of the whole model for each row."""
    found = []
    for row in rows:
        said, n_closed = list(row.prefix), 0
        for token in state.tokens:
            said.append(row.closers[n_closed][0] if token == CLOSE else token)
            n_closed += token == CLOSE
        output = backbone.model(
            input_ids=torch.tensor([list(row.input_ids)]), decoder_input_ids=torch.tensor([said]), use_cache=False
        )
        found.append(output.logits[0, -1])
    return torch.stack(found)


def read_on(backbone, rows):
    reader = InfillNextTokens(backbone, rows, 4)
    reader.read([State()], [0])
    reader.read([State((11,)), State((12,)), State((CLOSE,))], [0, 0, 0])
    return reader.read(STATES, PARENTS)


def test_states_are_foretold_as_in_whole_passes(seq2seq_backbone):
    rows = rows_of(seq2seq_backbone.model.config.model_type)

    found = read_on(seq2seq_backbone.copy(), rows)

    for row, state in zip(found, STATES, strict=True):
        log_probs = whole_passes(seq2seq_backbone, rows, state).log_softmax(dim=-1)
        assert torch.allclose(row[:-1].float(), log_probs.mean(dim=0), atol=2e-5)
        ways = torch.tensor([list(r.closers[state.n_closed]) for r in rows])
        end = log_probs.gather(1, ways).mean(dim=0).max().item()
        assert row[-1].item() == pytest.approx(end, abs=2e-5)


def test_the_tokens_of_a_step_stand_in_the_order_of_their_mean_logits(seq2seq_backbone):
    """LM-BFF's code takes the mean of logits, its paper of log-probabilities; of a state they differ by a constant."""
    rows = rows_of(seq2seq_backbone.model.config.model_type)

    found = read_on(seq2seq_backbone.copy(), rows)

    for row, state in zip(found, STATES, strict=True):
        logits = whole_passes(seq2seq_backbone, rows, state).mean(dim=0)
        apart = row[:-1].float() - logits
        assert torch.allclose(apart, apart.mean().expand_as(apart), atol=2e-5)
        assert (row[:-1][logits.argsort(descending=True)].diff() < 2e-5).all()


def test_the_encoder_runs_once_for_an_example(tiny_backbone):
    backbone = tiny_backbone("t5").copy()
    calls = []
    backbone.model.get_encoder().register_forward_hook(lambda module, inputs, output: calls.append(1))

    read_on(backbone, rows_of("t5"))

    assert len(calls) == 1


def test_the_decoder_reads_one_token_of_a_state_at_a_time(tiny_backbone):
    backbone = tiny_backbone("t5").copy()
    shapes = []
    backbone.model.get_decoder().register_forward_pre_hook(
        lambda module, inputs, options: shapes.append(tuple(options["input_ids"].shape)), with_kwargs=True
    )

    read_on(backbone, rows_of("t5"))

    assert shapes == [(5, 2), (15, 1), (20, 1)]
