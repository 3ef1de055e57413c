"""Prompt tuning from a prompt that was pre-trained on unlabeled text (PPT) against other starts, the same budget.

    python benchmarks/accuracy/ppt.py FOLDER [--tasks sst2 rte] [--seeds 13 21 42 87 100] [--examples 3000]

FOLDER holds ``imdb`` (train.tsv.gz, the unlabeled text; its labels aren't read) and ``rte``. SST-2 starts from a
prompt that learnt the zero-shot prompt's confident labels of IMDB sentences (format "sentence"), RTE from one that
learnt whether sentences follow one another (format "pair"), with RTE's template and words. Everything but the prompt
stays frozen. Finished runs are kept in results/ppt.json, prompts in results/ppt; the table goes to results/ppt.md.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.accuracy.tuning import data, loaded
from benchmarks.common.runs import GPU, MODEL, RESULTS, SEEDS, accuracy, keep, mean, parser, placed, sweep
from promptlab import PromptClassifier, PromptTuning, pretrain_prompt, read_documents

LENGTH = 20
FOLDER = RESULTS / "ppt"
STARTS = ("random", "vocabulary", "pre-trained")
TASKS = {"sst2": "SST-2 (872 dev rows)", "rte": "RTE (277 dev rows)"}
PAIRS = {"next": ["yes"], "same document": ["maybe"], "other": ["no"]}
RTE = "{{ text_a | strip_punctuation }}? {{ mask }}, {{ text_b | lower_first }}"


def pretrain(task: str, folder: Path, n_examples: int, device: str) -> dict[str, Any]:
    """Write the task's prompt and say how it was made."""
    documents = read_documents(folder / "imdb" / "train.tsv.gz")
    settings: dict[str, Any] = {"format": "pair", "template": RTE, "verbalizer": PAIRS}
    if task == "sst2":
        zero_shot = PromptClassifier("sst2", "sst2", MODEL, device=device)
        settings = {"format": "sentence", "template": "sst2", "verbalizer": "sst2", "labeller": zero_shot}
        settings["confidence"] = 0.9
    start = time.perf_counter()
    classifier = pretrain_prompt(
        documents,
        model=MODEL,
        tuning=PromptTuning(length=LENGTH),
        n_examples=n_examples,
        batch_size=16,
        max_length=128,
        resume_dir=FOLDER / f"{task}-checkpoint",
        **placed(device),
        **settings,
    )
    classifier.save_prompt(FOLDER / f"{task}.safetensors")
    return {"seconds": time.perf_counter() - start, "examples": n_examples, "history": classifier.history_}


def run(task: str, start: str, seed: int, folder: Path, device: str) -> dict[str, Any]:
    train, dev, test = data(task, seed, folder)
    where = str(FOLDER / f"{task}.safetensors") if start == "pre-trained" else start
    template, words = ("sst2", "sst2") if task == "sst2" else (RTE, "rte")
    settings: dict[str, Any] = {"max_length": 128, "seed": seed, **placed(device)}
    classifier = PromptClassifier(template, words, loaded(MODEL), PromptTuning(LENGTH, where), **settings)
    classifier.fit(train, eval_set=(dev, None))
    return {"accuracy": accuracy(classifier, test), "history": classifier.history_}


def write(results: Mapping[str, Any]) -> None:
    tasks = [task for task in TASKS if any(key.startswith(f"{task}/") for key in results)]
    lines = [f"| prompt starts from | {' | '.join(TASKS[task] for task in tasks)} |", "|---" * (len(tasks) + 1) + "|"]
    for start in STARTS:
        cells = []
        for task in tasks:
            rows = [results[k] for seed in SEEDS if (k := f"{task}/{start}/{seed}") in results]
            values = [100 * row["accuracy"] for row in rows]
            cells.append(mean(values))
        lines.append(f"| {start} | {' | '.join(cells)} |")
    made = {task: results[f"{task}/pretraining"] for task in tasks if f"{task}/pretraining" in results}
    learnt = "; ".join(f"{task}: {100 * row['history'][-1]['dev_accuracy']:.0f} %" for task, row in made.items())
    note = (
        "Test accuracy in %, mean (standard deviation) over the splits 13, 21, 42, 87, 100; 16 training and 16 dev "
        f"examples a class; {LENGTH} soft tokens, the model frozen, 200 updates of 8 examples, selected on dev; "
        f"model {MODEL}. Accuracy on the pre-training task's own dev examples: {learnt}. On {GPU}."
    )
    keep("ppt", "Pre-trained prompts", results, ["\n".join(lines)], note, length=LENGTH)


def main() -> None:
    options_of = parser(__doc__, folder=True)
    options_of.add_argument("--device", default="cpu")
    options_of.add_argument("--tasks", nargs="+", default=list(TASKS), choices=list(TASKS))
    options_of.add_argument("--seeds", nargs="+", type=int, default=list(SEEDS), choices=SEEDS)
    options_of.add_argument("--examples", type=int, default=3000)
    options = options_of.parse_args()
    FOLDER.mkdir(exist_ok=True)
    where = (options.folder, options.device)
    prompts = [
        (f"{task}/pretraining", functools.partial(pretrain, task, options.folder, options.examples, options.device))
        for task in options.tasks
    ]
    runs = [
        (f"{task}/{start}/{seed}", functools.partial(run, task, start, seed, *where))
        for task in options.tasks
        for seed in options.seeds
        for start in STARTS
    ]
    for jobs in (prompts, runs):  # all prompts are there before the first run starts
        sweep("ppt", jobs, write, processes=options.processes)


if __name__ == "__main__":
    main()
