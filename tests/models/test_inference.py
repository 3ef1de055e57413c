from __future__ import annotations

import pytest
import torch

from promptlab.core.types import Prompt, Segment
from promptlab.models.inference import average_variants, in_batches


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
