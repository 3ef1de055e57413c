from __future__ import annotations

import itertools

import pytest
import torch

from promptlab.search.generation_based.joint_beam import CLOSE, NextTokenModel, State, beam_of_each_length, joint_beam

VOCABULARY = 4


class Table(NextTokenModel):
    """A model whose next-token log-probabilities are drawn for every text; several examples, the mean of each row."""

    def __init__(self, n_examples=3):
        self.n_examples = n_examples
        self.rows = {}

    def of(self, tokens):
        """Log-probabilities (examples, vocabulary + 1) after some tokens."""
        if tokens not in self.rows:
            generator = torch.Generator().manual_seed(hash(tokens) % 2**31)
            logits = 2 * torch.randn(self.n_examples, VOCABULARY + 1, generator=generator)
            self.rows[tokens] = logits.log_softmax(dim=-1)
        return self.rows[tokens]

    def read(self, states, parents):
        return torch.stack([self.of(state.tokens).mean(dim=0) for state in states])


def anything(state):
    return torch.ones(VOCABULARY, dtype=torch.bool)


def all_texts(n_gaps, longest):
    """Every text with all gaps closed."""
    for length in range(n_gaps, longest + 1):
        for tokens in itertools.product([*range(VOCABULARY), CLOSE], repeat=length):
            if tokens[-1] == CLOSE and tokens.count(CLOSE) == n_gaps:
                yield tokens


def score(table, tokens):
    steps = [table.of(tokens[:i]).mean(dim=0)[token].item() for i, token in enumerate(tokens)]
    return sum(steps)


@pytest.mark.parametrize("n_gaps", [1, 2])
def test_a_wide_beam_finds_what_brute_force_finds(n_gaps):
    table = Table()
    scores = {tokens: score(table, tokens) for tokens in all_texts(n_gaps, 4)}
    best = sorted(scores, key=lambda tokens: -scores[tokens])

    found = joint_beam(table, anything, n_gaps=n_gaps, width=5**4, longest=4)

    assert [state.tokens for state in found] == best
    assert [state.score for state in found] == pytest.approx([scores[tokens] for tokens in best])


def test_a_beam_as_wide_as_the_vocabulary_is_exact_for_one_token():
    table = Table()
    best = max(all_texts(1, 2), key=lambda tokens: score(table, tokens))

    assert joint_beam(table, anything, n_gaps=1, width=VOCABULARY + 1, longest=2)[0].tokens == best


def test_only_allowed_tokens_are_written():
    table = Table()

    def never_two(state):
        return torch.tensor([True, True, False, True])

    found = joint_beam(table, never_two, n_gaps=2, width=50, longest=4)

    assert found and all(2 not in state.tokens for state in found)


def test_the_parent_of_a_state_is_its_number_in_the_step_before():
    class Checked(Table):
        before = ()

        def read(self, states, parents):
            if self.before:
                assert [self.before[p] for p in parents] == [state.tokens[:-1] for state in states]
            self.before = [state.tokens for state in states]
            return super().read(states, parents)

    joint_beam(Checked(), anything, n_gaps=2, width=6, longest=5)
    beam_of_each_length(Checked(), anything, width=6, longest=3)


def test_some_texts_of_each_length_are_found_though_their_end_is_unlikely():
    class Reluctant(Table):
        def of(self, tokens):
            return super().of(tokens) - torch.tensor([0.0] * VOCABULARY + [50.0])

    table = Reluctant()
    scores = {tokens: score(table, tokens) for tokens in all_texts(1, 3)}

    found = beam_of_each_length(table, anything, width=VOCABULARY, longest=2)

    for length in range(3):
        best = max((tokens for tokens in scores if len(tokens) == length + 1), key=scores.__getitem__)
        (first, *_) = [state for state in found if len(state.tokens) == length + 1]
        if length < 2:  # the beam is exact there
            assert first.tokens == best
        assert first.score == pytest.approx(scores[first.tokens])


def test_a_state_knows_its_gaps():
    assert State((3, 1, CLOSE, CLOSE)).gaps == [(3, 1), (), ()]
    assert State((3, CLOSE, 2)).gaps == [(3,), (2,)]
