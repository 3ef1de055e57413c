"""Running a model on many prompts: in batches of like length, the order restored."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from promptlab.core.interfaces import Backbone, Head, Template, Verbalizer
from promptlab.core.types import Batch, Encoded, Example, MaskStates, Prompt
from promptlab.models.prompt_model import PromptModel
from promptlab.models.soft_tokens import SoftTokens

BATCH = 32


def predict_log_probs(model: PromptModel, encoded: Sequence[Encoded]) -> Tensor:
    """Class log-probabilities of encoded examples, (examples, classes) on the CPU, in the order given.

    Where the template makes several prompts of an example, their log-probabilities are averaged.
    """
    return average_variants(in_batches(model.backbone, encoded, model), model.template.n_variants).cpu()


def average_variants(log_probs: Tensor, n_variants: int) -> Tensor:
    """Mean over the prompts of each example, normalized: (examples * variants, classes) → (examples, classes)."""
    if n_variants == 1:
        return log_probs
    return log_probs.unflatten(0, (-1, n_variants)).mean(dim=1).log_softmax(dim=-1)


@torch.inference_mode()
def calibrate(
    model: PromptModel, *, max_length: int | None = None, answers: Any = None, weights: Tensor | None = None
) -> None:
    """Let heads that calibrate measure their priors with the model as it is now, those that are wrapped first.

    Args:
        answers: the model's to the training texts, on which heads that learnt from them measure their scale.
        weights: of these texts' prompts, (prompts,); None: alike.
    """
    model.eval()
    for verbalizer, head in reversed(list(_nested(model.verbalizer, model.head))):
        groups = verbalizer.reference_prompts(model.template)
        if groups:
            encoded = model.encode_prompts([prompt for group in groups for prompt in group], max_length=max_length)
            head.set_prior(in_batches(model.backbone, encoded, model.read), len(groups[0]))
        if answers is not None:
            head.settle(answers, weights)


def _nested(verbalizer: Verbalizer | None, head: Head[Any] | None) -> Iterator[tuple[Verbalizer, Head[Any]]]:
    """A verbalizer with its head, and those that they wrap."""
    while verbalizer is not None and head is not None:
        yield verbalizer, head
        verbalizer, head = verbalizer.wrapped, head.wrapped


@torch.inference_mode()
def in_batches(backbone: Backbone, encoded: Sequence[Encoded], run: Callable[[Batch], Any]) -> Any:
    """``run`` on batches of prompts of like length, so that none pays for another's; results in the order given."""
    device = next(backbone.parameters()).device
    order: list[int] = []
    results = []
    for alike in backbone.alike(encoded):
        rows = sorted(alike, key=lambda row: len(encoded[row].input_ids))
        with backbone.sharing([encoded[row] for row in rows]):
            for start in range(0, len(rows), BATCH):
                batch = backbone.collate([encoded[row] for row in rows[start : start + BATCH]])
                results.append(run(batch.to(device)))
        order += rows
    back = torch.empty(len(order), dtype=torch.long)
    back[order] = torch.arange(len(order))
    return joined(results)[back.to(device)]


@torch.inference_mode()
def mask_answers(
    template: Template, examples: Sequence[Example], backbone: Backbone, *, max_length: int | None = None
) -> MaskStates:
    """States at the mask of a model that isn't trained, for every prompt of some examples: (prompts, masks, hidden)."""
    prompts = [prompt for example in examples for prompt in template.variants(example)]
    encoded = encode_untrained(template, prompts, backbone, max_length=max_length)
    states: MaskStates = in_batches(backbone.eval(), encoded, backbone.mask_states)
    return states


def encode_untrained(
    template: Template, prompts: Sequence[Prompt], backbone: Backbone, *, max_length: int | None = None
) -> list[Encoded]:
    """Token ids of a template's prompts for a bare backbone, whose embedding is changed in place.

    Soft tokens have the vectors that training would start from.
    """
    soft = SoftTokens(template.soft_slots, backbone)
    if soft.ids:
        backbone.embed_soft(soft)
    return backbone.encode(prompts, soft_ids=soft.ids, max_length=max_length)


def joined(answers: Sequence[Any]) -> Any:
    """One answer for several batches of examples."""
    if isinstance(answers[0], MaskStates):
        return MaskStates(torch.cat([answer.hidden for answer in answers]), answers[0].lm_head)
    return torch.cat(list(answers))
