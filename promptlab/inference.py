"""Running a model on many prompts: in batches of like length, the order restored."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from promptlab.model import PromptModel
from promptlab.types import Batch, Encoded, MaskStates

BATCH = 32


def predict_log_probs(model: PromptModel, encoded: Sequence[Encoded]) -> Tensor:
    """Class log-probabilities of encoded examples, (examples, classes) on the CPU, in the order given.

    Where the template makes several prompts of an example, their log-probabilities are averaged.
    """
    return average_variants(in_batches(model, encoded, model), model.template.n_variants).cpu()


def average_variants(log_probs: Tensor, n_variants: int) -> Tensor:
    """Mean over the prompts of each example, normalised: (examples * variants, classes) → (examples, classes)."""
    if n_variants == 1:
        return log_probs
    return log_probs.unflatten(0, (-1, n_variants)).mean(dim=1).log_softmax(dim=-1)


@torch.inference_mode()
def calibrate(model: PromptModel, *, max_length: int | None = None) -> None:
    """Let the head measure its prior with the model as it is now; does nothing for heads that don't calibrate."""
    prompts = model.verbalizer.reference_prompts(model.template)
    if prompts:
        model.eval()
        model.head.set_prior(in_batches(model, model.encode_prompts(prompts, max_length=max_length), model.read))


@torch.inference_mode()
def in_batches(model: PromptModel, encoded: Sequence[Encoded], run: Callable[[Batch], Any]) -> Any:
    """``run`` on batches of prompts of like length, so that none pays for another's; results in the order given."""
    device = next(model.parameters()).device
    order: list[int] = []
    results = []
    for alike in model.backbone.alike(encoded):
        rows = sorted(alike, key=lambda row: len(encoded[row].input_ids))
        with model.backbone.sharing([encoded[row] for row in rows]):
            for start in range(0, len(rows), BATCH):
                batch = model.backbone.collate([encoded[row] for row in rows[start : start + BATCH]])
                results.append(run(batch.to(device)))
        order += rows
    back = torch.empty(len(order), dtype=torch.long)
    back[order] = torch.arange(len(order))
    return joined(results)[back.to(device)]


def joined(answers: Sequence[Any]) -> Any:
    """One answer for several batches of examples."""
    if isinstance(answers[0], MaskStates):
        return MaskStates(torch.cat([answer.hidden for answer in answers]), answers[0].lm_head)
    return torch.cat(list(answers))
