"""AutoPrompt: trigger tokens found by the gradient of a frozen model's loss, written as an ordinary template."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, TypedDict

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from tqdm.auto import tqdm

from promptlab.backbones.causal import CausalBackbone
from promptlab.core.checks import check_seed
from promptlab.core.errors import SearchError
from promptlab.core.ranges import Count
from promptlab.core.types import Example
from promptlab.models.inference import in_batches
from promptlab.search.gradient_based.trigger_scores import (
    Penalty,
    TriggerScores,
    class_losses,
    errors,
    ranked,
    word_losses,
)
from promptlab.search.gradient_based.triggers import TriggerText, allowed_tokens
from promptlab.search.templates.journal import journal_of
from promptlab.search.templates.task import FoundTemplate, SearchTask, TemplateSearch, check_examples
from promptlab.templates.manual import ManualTemplate
from promptlab.verbalizers.manual import ManualVerbalizer

LOSSES: Mapping[str, Penalty] = {"classes": class_losses, "vocabulary": word_losses}
TRIED = 100  # tokens whose text is tried for each candidate that is asked for


@dataclass(frozen=True)
class AutoPromptSearch(TemplateSearch):
    """Replace one trigger token at a time by the one that helps most, among those that the gradient points at.

    Candidates are scored on other examples than those of the gradient (each on half of a small set, drawn anew in
    every step), and one is taken only if it is strictly better than the token it replaces. What is returned was the
    trigger at some step, the best on dev first. Text can't hold a mask token, so while slots still hold the one
    that they begin with, the slot is drawn among those and the best candidate is taken whatever its score (the rule
    of the paper's code for LAMA); triggers with a mask token are never returned.

    Every step draws from a generator of its own, made from the seed and the step's number, so the trigger and what was
    taken so far are all that an interrupted search goes on from.

    Source: AutoPrompt, arXiv:2010.15980, section 2.2, and its code. There: 10 or 100 candidates, 10 batches of 32
    examples, 100 or 180 iterations. Fewer examples here, so that an iteration takes seconds on a CPU. The words of a
    class count by their mean logit, as they do where the template is used; the paper sums their probabilities.

    Args:
        template: Jinja source with ``{{ trigger(n) }}`` slots; None has 3 between the text and the mask, or between the
            mask and the second text.
        start: words that the slots begin with: one token for all slots, or one for each. None is the mask token, or
            ``"the"`` for models without one.
        iterations: number of steps; each replaces one token or none.
        candidates: number of tokens that are tried in each step.
        examples: examples of a step's gradient, and as many others of its scores, half of the set at most; the paper's
            batches together.
        loss: loss whose gradient is taken: ``"vocabulary"``, of the label words among all words, as in the paper, or
            ``"classes"``, among the label words.
        metric: what candidates are scored by: ``"accuracy"``, or ``"loss"``, of which less is better.

    Raises:
        SearchError: if a number is below 1, or a name unknown.

    Example:
        >>> from promptlab import AutoPromptSearch, Ranking, search_templates
        >>> texts, labels = ["a dull film", "a bore", "great fun", "a gem"], ["bad", "bad", "good", "good"]
        >>> words, zero_shot = {"bad": "terrible", "good": "great"}, Ranking(rounds=())
        >>> search = AutoPromptSearch("{{ text_a }} {{ trigger(2) }} {{ mask }}.", iterations=4, candidates=4)
        >>> found = search_templates(search, texts, labels, verbalizer=words, model="minilm", ranking=zero_shot)
        >>> found.pvps()[0].template  # a word in the place of each trigger token
        '{{ text_a }} ... {{ mask }}.'
    """

    template: str | None = None
    start: str | None = None
    iterations: Count = 100
    candidates: Count = 10
    examples: Count = 128
    loss: str = "vocabulary"
    metric: str = "accuracy"

    BUDGETS: ClassVar[Mapping[str, Mapping[str, object]]] = {
        "small": {"iterations": 15, "candidates": 6, "examples": 32},
        "large": {"iterations": 500, "candidates": 100, "examples": 320},
    }

    def __post_init__(self) -> None:
        super().__post_init__()
        known = {"loss": LOSSES, "metric": ("accuracy", "loss")}
        for name, names in known.items():
            given = getattr(self, name)
            if given not in names:
                raise SearchError(f"AutoPromptSearch: {name}={given!r} must be one of {', '.join(names)}.")

    def fields_used(self, task: SearchTask) -> Sequence[str]:
        return task.fields if self.template is None else tuple(task.train[0].fields)

    def search(self, task: SearchTask, *, resume_dir: Path | None = None) -> list[FoundTemplate]:
        check_seed(task.seed, SearchError)
        problem = RunningSearch(self, task)
        settings = dataclasses.asdict(self)
        del settings["iterations"]  # more of them go on where fewer ended
        journal = journal_of(resume_dir, "autoprompt", task, **settings)
        progress: Progress = journal.once("progress", problem.beginning)
        steps = range(progress["iteration"], self.iterations)
        for number in tqdm(steps, desc="autoprompt", unit="step", leave=False, disable=None):
            progress = problem.step(progress, np.random.default_rng([task.seed, number]))
            journal.store("progress", progress)
        taken = {tuple(one["trigger"]): one for one in progress["taken"] if one["iteration"] <= self.iterations}
        if not taken:
            raise SearchError(
                f"after {self.iterations} iterations some trigger slot still holds the mask token; raise iterations, "
                'give start="the", or put white space around {{ trigger(n) }}.'
            )
        best = sorted(taken.values(), key=lambda one: (-one["dev_accuracy"], one["dev_loss"], one["iteration"]))
        return [problem.found(one) for one in best]


class Taken(TypedDict):
    """A whole trigger that the search went through."""

    trigger: list[int]
    iteration: int
    train_penalty: float | None
    dev_accuracy: float
    dev_loss: float


class Progress(TypedDict):
    """How far the search is; plain JSON."""

    iteration: int
    trigger: list[int]
    taken: list[Taken]


class RunningSearch:
    """A search on one model and data."""

    def __init__(self, settings: AutoPromptSearch, task: SearchTask) -> None:
        self.settings, self.task = settings, task
        targets = _targets("train", task.train, task)
        self.dev_targets = _targets("dev", task.dev, task)
        self.backbone = task.backbone.copy().eval().requires_grad_(False)
        source = settings.template or _default_template(task)
        self.text = TriggerText(source, self.backbone, task.train, max_length=task.max_length)
        self.start = self.text.start(settings.start)
        self.blank = self.backbone.tokenizer.mask_token_id  # None for models without one
        n_blank = self.start.count(self.blank)
        if settings.iterations < n_blank:
            raise SearchError(
                f"iterations={settings.iterations} can't fill {n_blank} trigger slots, one in each; raise it, or give "
                'start="the".'
            )
        verbalizer = ManualVerbalizer(task.label_words)
        slot = ManualTemplate(self.text.write(self.text.fillers[:1] * self.text.n)).slot
        weight = self.backbone.embedding_weight()
        self.head = verbalizer.build(self.backbone, slot).to(weight.device)
        self.scores = TriggerScores(self.backbone, self.head, self.text.rows(task.train, targets))
        words = [word for row in task.label_words.values() for word in row]
        self.allowed = allowed_tokens(self.backbone, words).to(weight.device)
        if not self.allowed.any():
            raise SearchError("no token of the vocabulary may become a trigger: all are special or label words.")
        self.penalty = errors if settings.metric == "accuracy" else LOSSES[settings.loss]

    def beginning(self) -> Progress:
        """Progress before the first step; plain JSON."""
        progress: Progress = {"iteration": 0, "trigger": self.start, "taken": []}
        return progress if self.blank in self.start else self._taking(progress, self.start, None)

    def step(self, progress: Progress, rng: np.random.Generator) -> Progress:
        """Progress after one more step."""
        after: Progress = {**progress, "iteration": progress["iteration"] + 1}
        trigger = progress["trigger"]
        order = rng.permutation(len(self.task.train)).tolist()
        n = min(self.settings.examples, max(1, len(order) // 2))  # so that a step's two sets share no example
        blanks = [slot for slot, token in enumerate(trigger) if token == self.blank]
        slot = int(rng.choice(blanks or range(len(trigger))))
        gradient = self.scores.gradient(trigger, order[:n], LOSSES[self.settings.loss])[slot]
        tokens = self.candidates(trigger, slot, gradient)
        limit, blocks = math.inf, [order[-n:]]
        if not blanks:
            limit, blocks = self.scores.examine(trigger, order[-n:], self.penalty)
        penalties = self.scores.penalties(trigger, slot, tokens, blocks, self.penalty, limit=limit)
        least = min(penalties, default=math.inf)
        if least >= limit:
            return after
        chosen = tokens[penalties.index(least)]
        return self._taking(after, [*trigger[:slot], chosen, *trigger[slot + 1 :]], least / n)

    def candidates(self, trigger: Sequence[int], slot: int, gradient: Tensor) -> list[int]:
        """Tokens for a slot, that which promises the largest decrease of the loss first, and whose text holds."""
        allowed = self.allowed.clone()
        allowed[trigger[slot]] = False
        promising = ranked(self.backbone.embedding_weight(), gradient, allowed)[: TRIED * self.settings.candidates]
        known = [None if token == self.blank else token for token in trigger]
        kept: list[int] = []
        for token in promising:
            if self.text.keeps([*known[:slot], token, *known[slot + 1 :]]):
                kept.append(token)
            if len(kept) == self.settings.candidates:
                break
        return kept

    def _taking(self, progress: Progress, trigger: list[int], penalty: float | None) -> Progress:
        """Progress with another trigger; a whole one is scored on dev as the ordinary template that it makes."""
        after: Progress = {**progress, "trigger": trigger}
        if self.blank in trigger:
            return after
        encoded = self.text.encode(trigger, self.task.dev)
        with torch.inference_mode():
            log_probs = in_batches(self.backbone, encoded, lambda batch: self.head(self.backbone.mask_states(batch)))
        targets = self.dev_targets.to(log_probs.device)
        one: Taken = {
            "trigger": trigger,
            "iteration": after["iteration"],
            "train_penalty": penalty,
            "dev_accuracy": (log_probs.argmax(dim=-1) == targets).double().mean().item(),
            "dev_loss": F.nll_loss(log_probs, targets).item(),
        }
        return {**after, "taken": [*progress["taken"], one]}

    def found(self, one: Taken) -> FoundTemplate:
        """A trigger as an ordinary template with its provenance."""
        task = self.task
        origin = {
            **one,
            "tokens": self.backbone.tokenizer.convert_ids_to_tokens(one["trigger"]),
            "slots": self.text.source,
            "settings": dataclasses.asdict(self.settings),
            "seed": task.seed,
            "model": self.backbone.name,
            "revision": self.backbone.revision,
        }
        source = self.text.write(one["trigger"])
        return FoundTemplate(source, "autoprompt", one["dev_accuracy"], task.label_words, origin)


def _targets(name: str, examples: Sequence[Example], task: SearchTask) -> Tensor:
    check_examples(name, examples, task)
    classes = list(task.label_words)
    return torch.tensor([classes.index(str(example.label)) for example in examples])


def _default_template(task: SearchTask) -> str:
    """Source: AutoPrompt, arXiv:2010.15980, table 3, for one text and for two."""
    if not task.fields:
        raise SearchError("the examples have no text_a; name their fields in a template such as {{ text }} {{ mask }}.")
    texts = [f"{{{{ {name} }}}}" for name in task.fields]
    if isinstance(task.backbone, CausalBackbone):
        return " ".join([*texts, "{{ trigger(3) }} {{ mask }}"])
    if len(texts) > 1:
        return " {{ mask }} {{ trigger(3) }} ".join(texts)
    return texts[0] + " {{ trigger(3) }} {{ mask }}."
