"""AutoPrompt's step against a plain loop over the bare model that takes the same tokens.

    python benchmarks/speed/autoprompt_reference.py [--rounds 3] [--steps 2] [--examples 64] [--model minilm]

The loop does what the paper's code does: batches of 32 as they come, logits of the whole vocabulary at every position,
gradients of all weights, one candidate at a time, every candidate on every example. It gets for nothing what isn't the
step itself: encoded rows, the filter, and which tokens hold as text. Both begin with a trigger as it stands in the
middle of a search, take turns in one process and must take the same tokens at every step. The figure is the ratio of
the medians over the rounds; the results go to benchmarks/results/autoprompt_speed.json and autoprompt_speed.md.
"""

from __future__ import annotations

import argparse
import functools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.common.data import sample
from benchmarks.common.models import MODEL, fresh
from benchmarks.common.options import value_of
from benchmarks.common.runs import Job, Measurement
from benchmarks.common.setup import Setup
from benchmarks.common.tables import Page, Runs, table
from benchmarks.common.timing import medians, ratio, timed
from promptlab.search.gradient_based.autoprompt import AutoPromptSearch, RunningSearch
from promptlab.search.templates.task import SearchTask

WORDS = {"negative": ("terrible",), "positive": ("great",)}
START = "acting guys sounds"  # found after 8 steps from mask tokens
BATCH = 32
Step = Callable[[list[int], np.random.Generator], list[int]]


class PlainLoop:
    """AutoPrompt by hand on a model of transformers; ``problem`` lends encoded rows, the filter and the slots."""

    def __init__(self, problem: RunningSearch, model: Any) -> None:
        self.problem, self.model = problem, model.requires_grad_(True)
        self.rows = problem.scores.rows
        self.words = problem.head.ids[:, 0]  # one word a class

    def step(self, trigger: list[int], rng: np.random.Generator) -> list[int]:
        problem, n = self.problem, self.problem.settings.examples
        order = rng.permutation(len(self.rows.encoded)).tolist()
        blanks = [slot for slot, token in enumerate(trigger) if token == problem.blank]
        slot = int(rng.choice(blanks or range(len(trigger))))
        tokens = problem.candidates(trigger, slot, self.gradient(trigger, order[:n])[slot])
        best, least = trigger, len(order) + 1 if blanks else self.errors(trigger, order[-n:])
        for token in tokens:
            tried = [*trigger[:slot], token, *trigger[slot + 1 :]]
            errors = self.errors(tried, order[-n:])
            if errors < least:
                best, least = tried, errors
        return best

    def gradient(self, trigger: list[int], rows: Sequence[int]) -> Tensor:
        total = torch.zeros(len(trigger), self.model.get_input_embeddings().weight.shape[1])
        for start in range(0, len(rows), BATCH):
            self.model.zero_grad()
            inputs, mask, places, targets = self.batch(trigger, rows[start : start + BATCH])
            embedded = self.model.get_input_embeddings()(inputs.pop("input_ids"))
            embedded.retain_grad()
            logits = self.model(inputs_embeds=embedded, **inputs).logits
            at_mask = logits[torch.arange(len(mask)), mask].log_softmax(dim=-1)
            (-at_mask[torch.arange(len(mask)), self.words[targets]]).sum().backward()
            total += embedded.grad[torch.arange(len(mask))[:, None], places].sum(dim=0)
        return total

    @torch.no_grad()
    def errors(self, trigger: list[int], rows: Sequence[int]) -> int:
        wrong = 0
        for start in range(0, len(rows), BATCH):
            inputs, mask, _, targets = self.batch(trigger, rows[start : start + BATCH])
            logits = self.model(**inputs).logits
            scores = logits[torch.arange(len(mask)), mask][:, self.words]
            wrong += int((scores.argmax(dim=-1) != targets).sum())
        return wrong

    def batch(self, trigger: list[int], rows: Sequence[int]) -> tuple[dict[str, Tensor], Tensor, Tensor, Tensor]:
        batch = self.problem.backbone.collate([self.rows.encoded[row] for row in rows])
        places = self.rows.places[list(rows)]
        inputs = {
            "input_ids": batch.input_ids.scatter(1, places, torch.tensor(trigger).expand(len(rows), -1)),
            "attention_mask": batch.attention_mask,
        }
        return inputs, batch.mask_index[:, 0], places, self.rows.targets[list(rows)]


def engine_step(problem: RunningSearch) -> Step:
    def step(trigger: list[int], rng: np.random.Generator) -> list[int]:
        progress = {"iteration": 0, "trigger": trigger, "taken": []}
        trigger = problem.step(progress, rng)["trigger"]
        return trigger

    return step


def jobs(options: argparse.Namespace) -> Iterator[Job]:
    settings = (options.examples, options.steps, options.rounds)
    yield "step", functools.partial(measure, options.setup, options.model, *settings)


def measure(setup: Setup, model: str, examples: int, steps: int, rounds: int) -> dict[str, Any]:
    """Return processor seconds of a step in each round, and the ratio of their medians."""
    train = setup.some(sample("sst2").pool)
    settings = AutoPromptSearch(examples=examples, start=START)
    problem = RunningSearch(settings, SearchTask(train, train[:1], WORDS, fresh(model)))
    contestants = {"plain loop": PlainLoop(problem, fresh(model).model).step, "promptlab": engine_step(problem)}
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for seed in range(rounds):
        for name, spent in search(contestants, problem, seed, steps).items():
            seconds[name].append(spent / steps)
        print(f"seed {seed}:", {name: values[-1] for name, values in seconds.items()}, flush=True)
    return {"seconds": seconds, "ratio": ratio(seconds, "plain loop", "promptlab")}


def search(contestants: Mapping[str, Step], problem: RunningSearch, seed: int, steps: int) -> dict[str, float]:
    """Return the seconds of so many steps of each, which must take the same tokens."""
    triggers, spent = dict.fromkeys(contestants, problem.start), dict.fromkeys(contestants, 0.0)
    for number in range(steps):
        for name, step in contestants.items():
            draw = np.random.default_rng([seed, number])
            triggers[name], seconds = timed(functools.partial(step, triggers[name], draw), time.process_time)
            spent[name] += seconds
        if triggers["plain loop"] != triggers["promptlab"]:
            raise SystemExit(f"seed {seed}, step {number}: {triggers} differ")
    return spent


def page(runs: Runs, about: Mapping[str, Any]) -> Page:
    run = runs["step"]
    rows = [[name, f"{seconds:.2f}"] for name, seconds in medians(run["seconds"]).items()]
    note = (
        f"SST-2, model {about['model']}, 10 candidates, {about['examples']} examples for the gradient and for the "
        f"scores, medians of {about['rounds']} rounds of {about['steps']} steps, which took the same tokens. "
        f"{about['threads']} thread(s),"
    )
    return Page([table(["", "CPU seconds a step"], [*rows, ["ratio", f"{run['ratio']:.1f} (at least 5)"]])], note)


BENCHMARK = Measurement(
    name="autoprompt_speed",
    title="AutoPrompt: promptlab against a plain loop",
    doc=__doc__,
    stages=[jobs],
    page=page,
    options=[value_of("model", MODEL), value_of("rounds", 3), value_of("steps", 2), value_of("examples", 64)],
    recorded=["model", "rounds", "steps", "examples"],
    packages=["tokenizers"],
)

if __name__ == "__main__":
    BENCHMARK.main()
