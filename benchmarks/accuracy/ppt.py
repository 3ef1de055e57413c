"""Prompt tuning from a prompt that was pre-trained on unlabeled text (PPT) against other starts, the same budget.

    python benchmarks/accuracy/ppt.py FOLDER [--tasks sst2 rte] [--seeds 13 21 42 87 100] [--examples 3000]

FOLDER holds ``imdb`` (train.tsv.gz, the unlabeled text; its labels aren't read) and ``rte``. SST-2 starts from a
prompt that learnt the zero-shot prompt's confident labels of IMDB sentences (format "sentence"), RTE from one that
learnt whether sentences follow one another (format "pair"), with RTE's template and words. Everything but the prompt
stays frozen. Finished runs are kept in results/ppt.json, prompts in results/ppt; the table goes to results/ppt.md.
"""

from __future__ import annotations

import argparse
import functools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks.common.data import SIZED, accuracy, path_of, split_of
from benchmarks.common.models import MODEL, loaded
from benchmarks.common.options import DEVICE, FOLDER, SOME_SEEDS, some_of, value_of
from benchmarks.common.runs import Benchmark, Job
from benchmarks.common.setup import GPU, Setup
from benchmarks.common.tables import Page, Runs, over_seeds, percent, table, under
from benchmarks.common.timing import timed
from promptlab import PromptClassifier, PromptTuning, pretrain_prompt, read_documents

LENGTH = 20
TASKS = ("sst2", "rte")
STARTS = ("random", "vocabulary", "pre-trained")
PAIRS = {"next": ["yes"], "same document": ["maybe"], "other": ["no"]}
RTE = "{{ text_a | strip_punctuation }}? {{ mask }}, {{ text_b | lower_first }}"


def prompts(options: argparse.Namespace) -> Iterator[Job]:
    """Yield the pre-training of each task's prompt."""
    for task in options.tasks:
        yield f"{task}/pretraining", functools.partial(pretrain, options.setup, task, options.examples)


def jobs(options: argparse.Namespace) -> Iterator[Job]:
    for task in options.tasks:
        for seed in options.seeds:
            for start in STARTS:
                yield f"{task}/{start}/{seed}", functools.partial(run, options.setup, task, start, seed)


def pretrain(setup: Setup, task: str, n_examples: int) -> dict[str, Any]:
    """Write the task's prompt and say how it was made."""
    documents = read_documents(path_of(setup.data("imdb"), "train"))
    settings: dict[str, Any] = {"format": "pair", "template": RTE, "verbalizer": PAIRS}
    if task == "sst2":
        zero_shot = PromptClassifier("sst2", "sst2", loaded(MODEL), **setup.settings(tuning="none"))
        settings = {"format": "sentence", "template": "sst2", "verbalizer": "sst2", "labeller": zero_shot}
        settings["confidence"] = 0.9
    settings |= {"tuning": PromptTuning(length=LENGTH), "n_examples": n_examples, "batch_size": 16, "max_length": 128}
    place = prompt_path(setup, task)
    settings["resume_dir"] = place.with_name(f"{task}-checkpoint")
    call = functools.partial(pretrain_prompt, documents, model=loaded(MODEL), **setup.settings(**settings))
    classifier, seconds = timed(call)
    classifier.save_prompt(place)
    return {"seconds": seconds, "examples": n_examples, "history": classifier.history_}


def prompt_path(setup: Setup, task: str) -> Path:
    """Return the place of a task's prompt, whose folder is there."""
    folder = setup.results / "ppt"
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{task}.safetensors"


def run(setup: Setup, task: str, start: str, seed: int) -> dict[str, Any]:
    train, dev, test = split_of(task, seed, setup)
    where = str(prompt_path(setup, task)) if start == "pre-trained" else start
    template, words = ("sst2", "sst2") if task == "sst2" else (RTE, "rte")
    settings = setup.settings(tuning=PromptTuning(LENGTH, where), max_length=128, seed=seed)
    classifier = PromptClassifier(template, words, loaded(MODEL), **settings)
    classifier.fit(train, eval_set=(dev, None))
    return {"accuracy": accuracy(classifier, test), "history": classifier.history_}


def page(runs: Runs, about: Mapping[str, Any]) -> Page:
    tasks = [task for task in TASKS if under(runs, task)]
    rows = [[start, *(percent(over_seeds(runs, f"{task}/{start}")) for task in tasks)] for start in STARTS]
    made = {task: runs[f"{task}/pretraining"] for task in tasks if f"{task}/pretraining" in runs}
    learnt = "; ".join(f"{task}: {100 * run['history'][-1]['dev_accuracy']:.0f} %" for task, run in made.items())
    note = (
        "Test accuracy in %, mean (standard deviation) over the splits 13, 21, 42, 87, 100; 16 training and 16 dev "
        f"examples a class; {LENGTH} soft tokens, the model frozen, 200 updates of 8 examples, selected on dev; "
        f"model {MODEL}. Accuracy on the pre-training task's own dev examples: {learnt}. On {GPU}."
    )
    return Page([table(["prompt starts from", *(SIZED[task] for task in tasks)], rows)], note)


BENCHMARK = Benchmark(
    name="ppt",
    title="Pre-trained prompts",
    doc=__doc__,
    stages=[prompts, jobs],  # all prompts are there before the first run starts
    page=page,
    options=[FOLDER, DEVICE, some_of("tasks", TASKS), SOME_SEEDS, value_of("examples", 3000)],
    about={"length": LENGTH},
)

if __name__ == "__main__":
    BENCHMARK.main()
