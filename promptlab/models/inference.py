"""Running a model on many prompts: in batches of like length, the order restored."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

import torch
from torch import Tensor

from promptlab.core.interfaces import AnyHead, Backbone, Template, Verbalizer
from promptlab.core.types import Batch, Encoded, Example, MaskStates, Prompt
from promptlab.models.prompt_model import PromptModel
from promptlab.models.soft_tokens import SoftTokens

BATCH = 32
Row = TypeVar("Row")
Result = TypeVar("Result")
Outputs = TypeVar("Outputs", MaskStates, Tensor)


def length_batches(
    rows: Iterable[Row],
    length: Callable[[Row], int],
    *,
    size: Callable[[int], int] = lambda longest: BATCH,
    group: Callable[[Row], int] = lambda row: 0,
) -> list[list[Row]]:
    """Put rows of like length into batches, so that none pays for another's padding; the shortest come first.

    Args:
        length: of a row, in tokens.
        size: how many rows a batch takes whose longest row has so many tokens; one at least.
        group: what rows of one batch have in common, as something that can be sorted.
    """
    batches: list[list[Row]] = []
    for row in sorted(rows, key=lambda row: (group(row), length(row))):
        if batches and len(batches[-1]) < size(length(row)) and group(batches[-1][0]) == group(row):
            batches[-1].append(row)
        else:
            batches.append([row])
    return batches


def run_by_length(
    run: Callable[[list[Row]], Iterable[Result]],
    rows: Sequence[Row],
    length: Callable[[Row], int],
    *,
    group: Callable[[Row], int] = lambda row: 0,
) -> list[Result]:
    """Call ``run`` on batches of like length; return its result for each row, in the order given.

    Args:
        run: gives one result for each row of a batch.
        length: as for ``length_batches``; ``group``, too.
    """
    results: dict[int, Result] = {}
    for some in length_batches(range(len(rows)), lambda i: length(rows[i]), group=lambda i: group(rows[i])):
        results.update(zip(some, run([rows[i] for i in some]), strict=True))
    return [results[i] for i in range(len(rows))]


def predict_log_probs(model: PromptModel, encoded: Sequence[Encoded]) -> Tensor:
    """Class log-probabilities of encoded examples, (examples, classes) on the CPU, in the order given.

    Where the template makes several prompts of an example, their log-probabilities are averaged.
    """
    return average_variants(in_batches(model.backbone, encoded, model.log_probs), model.template.n_variants).cpu()


def average_variants(log_probs: Tensor, n_variants: int) -> Tensor:
    """Mean over the prompts of each example, normalized: (examples * variants, classes) → (examples, classes)."""
    if n_variants == 1:
        return log_probs
    return log_probs.unflatten(0, (-1, n_variants)).mean(dim=1).log_softmax(dim=-1)


@torch.inference_mode()
def calibrate(
    model: PromptModel,
    *,
    max_length: int | None = None,
    answers: MaskStates | Tensor | None = None,
    weights: Tensor | None = None,
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


def _nested(verbalizer: Verbalizer | None, head: AnyHead | None) -> Iterator[tuple[Verbalizer, AnyHead]]:
    """A verbalizer with its head, and those that they wrap."""
    while verbalizer is not None and head is not None:
        yield verbalizer, head
        verbalizer, head = verbalizer.wrapped, head.wrapped


@torch.inference_mode()
def in_batches(backbone: Backbone, encoded: Sequence[Encoded], run: Callable[[Batch], Outputs]) -> Outputs:
    """Call ``run`` on batches of prompts of like length; return its results as one, in the order given."""
    device = next(backbone.parameters()).device
    order: list[int] = []
    results = []
    for alike in backbone.alike(encoded):
        with backbone.sharing([encoded[row] for row in alike]):
            for some in length_batches(alike, lambda row: len(encoded[row].input_ids)):
                results.append(run(backbone.collate([encoded[row] for row in some]).to(device)))
                order += some
    return joined(results)[torch.tensor(order).argsort().to(device)]


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


def joined(answers: Sequence[Outputs]) -> Outputs:
    """One answer for several batches of examples."""
    if isinstance(answers[0], MaskStates):
        return MaskStates(torch.cat([answer.hidden for answer in answers]), answers[0].lm_head)
    return torch.cat(list(answers))
