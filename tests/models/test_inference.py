from __future__ import annotations

import pytest
import torch

from promptlab.core.types import Prompt, Segment
from promptlab.models.inference import BATCH, average_variants, in_batches, length_batches, run_by_length


def test_prompts_of_one_example_are_averaged_in_log_probabilities_and_normalised():
    log_probs = torch.tensor([[0.5, 0.5], [0.9, 0.1], [0.2, 0.8], [0.2, 0.8]]).log()

    first, second = average_variants(log_probs, 2).exp().tolist()

    left, right = (0.5 * 0.9) ** 0.5, (0.5 * 0.1) ** 0.5
    assert first == pytest.approx([left / (left + right), right / (left + right)])
    assert second == pytest.approx([0.2, 0.8])


def test_one_prompt_an_example_is_its_own_mean():
    log_probs = torch.tensor([[0.5, 0.5], [0.9, 0.1]]).log()

    assert torch.equal(average_variants(log_probs, 1), log_probs)


def test_rows_come_back_in_the_order_in_which_they_were_given(bert):
    texts = [
        "the film was great",
        "a",
        "the film was",
        "the film",
        "a dull mess of a story",
        "no",
    ] * 7  # in two batches
    prompts = [Prompt((Segment("field", text), Segment("mask"))) for text in texts]
    encoded = bert.encode(prompts, soft_ids={})

    found = in_batches(bert, encoded, lambda batch: batch.attention_mask.sum(dim=1))

    assert found.tolist() == [len(row.input_ids) for row in encoded]


def test_a_batch_takes_the_shortest_rows_that_are_left_as_many_as_fit_at_the_length_of_its_longest():
    rows = ["aaaa", "b", "ccc", "d", "ee", "ffff"]

    found = length_batches(rows, len, size=lambda longest: 6 // longest)  # six tokens, padding included

    assert found == [["b", "d", "ee"], ["ccc"], ["aaaa"], ["ffff"]]


def test_a_row_that_fits_into_no_batch_has_one_of_its_own():
    assert length_batches(["aaa", "bb"], len, size=lambda longest: 0) == [["bb"], ["aaa"]]


def test_rows_of_two_groups_never_share_a_batch():
    found = length_batches(["b3", "a11", "b1", "a4"], len, group=lambda row: row[0])

    assert found == [["a4", "a11"], ["b3", "b1"]]


def test_each_row_gets_its_own_result_and_no_batch_is_larger_than_usual():
    rows = ["x" * (7 * n % 50) for n in range(3 * BATCH)]
    sizes = []

    def run(some):
        sizes.append(len(some))
        return map(len, some)

    assert run_by_length(run, rows, len) == [7 * n % 50 for n in range(3 * BATCH)]
    assert sizes == [BATCH] * 3
