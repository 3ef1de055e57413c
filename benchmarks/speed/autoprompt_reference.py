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
import datetime
import json
import statistics
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from promptlab import load_backbone, load_sample
from promptlab.core.files import atomic_file
from promptlab.search.gradient_based.autoprompt import AutoPromptSearch, RunningSearch
from promptlab.search.templates.task import SearchTask

RESULTS = Path(__file__).parents[1] / "results"
WORDS = {"negative": ("terrible",), "positive": ("great",)}
START = "acting guys sounds"  # found after 8 steps from mask tokens
BATCH = 32


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


def engine_step(problem: RunningSearch) -> Callable[[list[int], np.random.Generator], list[int]]:
    def step(trigger: list[int], rng: np.random.Generator) -> list[int]:
        progress = {"iteration": 0, "trigger": trigger, "taken": []}
        trigger = problem.step(progress, rng)["trigger"]
        return trigger

    return step


def measure(model: str, examples: int, steps: int, rounds: int) -> dict[str, Any]:
    train = load_sample("sst2").pool
    settings = AutoPromptSearch(examples=examples, start=START)
    problem = RunningSearch(settings, SearchTask(train, train[:1], WORDS, load_backbone(model)))
    loop = PlainLoop(problem, load_backbone(model).model)
    contestants = {"plain loop": loop.step, "promptlab": engine_step(problem)}
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for seed in range(rounds):
        triggers = dict.fromkeys(contestants, problem.start)
        spent = dict.fromkeys(contestants, 0.0)
        for number in range(steps):
            for name, step in contestants.items():
                start = time.process_time()
                triggers[name] = step(triggers[name], np.random.default_rng([seed, number]))
                spent[name] += time.process_time() - start
            if triggers["plain loop"] != triggers["promptlab"]:
                raise SystemExit(f"seed {seed}, step {number}: {triggers} differ")
        for name, figure in spent.items():
            seconds[name].append(figure / steps)
        print(f"seed {seed}: {problem.text.write(triggers['promptlab'])!r}", {k: v[-1] for k, v in seconds.items()})
    medians = {name: statistics.median(figures) for name, figures in seconds.items()}
    return {"seconds": seconds, "ratio": medians["plain loop"] / medians["promptlab"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="minilm")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--examples", type=int, default=64)
    options = parser.parse_args()
    run = measure(options.model, options.examples, options.steps, options.rounds)
    about = {**vars(options), "threads": torch.get_num_threads(), "date": str(datetime.date.today())}
    about["versions"] = {name: version(name) for name in ("promptlab", "torch", "transformers", "tokenizers")}
    with atomic_file(RESULTS / "autoprompt_speed.json") as path:
        path.write_text(json.dumps({"about": about, **run}, indent=1) + "\n")
    medians = {name: statistics.median(figures) for name, figures in run["seconds"].items()}
    lines = ["# AutoPrompt: promptlab against a plain loop", "", "| | CPU seconds a step |", "|---|---|"]
    lines += [f"| {name} | {figure:.2f} |" for name, figure in medians.items()]
    lines += [f"| ratio | {run['ratio']:.1f} (at least 5) |", ""]
    lines.append(
        f"SST-2, model {options.model}, 10 candidates, {options.examples} examples for the gradient and for the "
        f"scores, medians of {options.rounds} rounds of {options.steps} steps, which took the same tokens. "
        f"{about['threads']} thread(s), {about['date']}, torch {about['versions']['torch']}, "
        f"transformers {about['versions']['transformers']}."
    )
    with atomic_file(RESULTS / "autoprompt_speed.md") as path:
        path.write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
