"""Prompt tuning from a prompt that was pre-trained on unlabelled text (PPT) against other starts, the same budget.

    python benchmarks/ppt.py FOLDER [--tasks sst2 rte] [--seeds 13 21 42 87 100] [--examples 3000]

FOLDER holds ``imdb`` (train.tsv.gz, the unlabelled text; its labels aren't read) and ``rte``. SST-2 starts from a
prompt that learnt the zero-shot prompt's confident labels of IMDB sentences (format "sentence"), RTE from one that
learnt whether sentences follow one another (format "pair"), with RTE's template and words. Everything but the prompt
stays frozen. Finished runs are kept in results/ppt.json, prompts in results/ppt; the table goes to results/ppt.md.
"""

from __future__ import annotations

import argparse
import datetime
import json
import time
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import fewshot
from tuning import data

from promptlab import PromptClassifier, PromptTuning, load_backbone, pretrain_prompt, read_documents
from promptlab.files import atomic_file

LENGTH = 20
FOLDER = fewshot.RESULTS / "ppt"
STARTS = ("random", "vocabulary", "pre-trained")
TASKS = {"sst2": "SST-2 (872 dev rows)", "rte": "RTE (277 dev rows)"}
PAIRS = {"next": ["yes"], "same document": ["maybe"], "other": ["no"]}
RTE = "{{ text_a | strip_punctuation }}? {{ mask }}, {{ text_b | lower_first }}"


def pretrain(task: str, folder: Path, n_examples: int) -> dict[str, Any]:
    """Write the task's prompt and say how it was made."""
    documents = read_documents(folder / "imdb" / "train.tsv.gz")
    settings: dict[str, Any] = {"format": "pair", "template": RTE, "verbalizer": PAIRS}
    if task == "sst2":
        zero_shot = PromptClassifier("sst2", "sst2", fewshot.MODEL)
        settings = {"format": "sentence", "template": "sst2", "verbalizer": "sst2", "labeller": zero_shot}
    start = time.perf_counter()
    classifier = pretrain_prompt(
        documents,
        model=fewshot.MODEL,
        tuning=PromptTuning(length=LENGTH),
        n_examples=n_examples,
        batch_size=16,
        max_length=128,
        checkpoint_dir=FOLDER / f"{task}-checkpoint",
        **settings,
    )
    classifier.save_prompt(FOLDER / f"{task}.safetensors")
    return {"seconds": time.perf_counter() - start, "examples": n_examples, "history": classifier.history_}


def run(task: str, start: str, seed: int, folder: Path) -> dict[str, Any]:
    train, dev, test = data(task, seed, folder)
    where = str(FOLDER / f"{task}.safetensors") if start == "pre-trained" else start
    template, words = ("sst2", "sst2") if task == "sst2" else (RTE, "rte")
    backbone = load_backbone(fewshot.MODEL)
    classifier = PromptClassifier(template, words, backbone, PromptTuning(LENGTH, where), max_length=128, seed=seed)
    predicted = classifier.fit(train, eval_set=(dev, None)).predict(test)
    accuracy = sum(p == e.label for p, e in zip(predicted, test, strict=True)) / len(test)
    return {"accuracy": accuracy, "history": classifier.history_}


def write(results: Mapping[str, Any]) -> None:
    versions = {name: version(name) for name in ("promptlab", "torch", "transformers")}
    about = {"model": fewshot.MODEL, "length": LENGTH, "date": str(datetime.date.today()), "versions": versions}
    with atomic_file(fewshot.RESULTS / "ppt.json") as path:
        path.write_text(json.dumps({"about": about, "runs": results}, indent=1) + "\n")
    tasks = [task for task in TASKS if any(key.startswith(f"{task}/") for key in results)]
    lines = [f"| prompt starts from | {' | '.join(TASKS[task] for task in tasks)} |", "|---" * (len(tasks) + 1) + "|"]
    for start in STARTS:
        cells = []
        for task in tasks:
            rows = [results[k] for seed in fewshot.SEEDS if (k := f"{task}/{start}/{seed}") in results]
            values = [100 * row["accuracy"] for row in rows]
            cells.append(fewshot.mean(values))
        lines.append(f"| {start} | {' | '.join(cells)} |")
    made = {task: results[f"{task}/pretraining"] for task in tasks if f"{task}/pretraining" in results}
    learnt = "; ".join(f"{task}: {100 * row['history'][-1]['dev_accuracy']:.0f} %" for task, row in made.items())
    note = (
        "Test accuracy in %, mean (standard deviation) over the splits 13, 21, 42, 87, 100; 16 training and 16 dev "
        f"examples a class; {LENGTH} soft tokens, the model frozen, 200 updates of 8 examples, selected on dev; "
        f"model {fewshot.MODEL}. Accuracy on the pre-training task's own dev examples: {learnt}. {about['date']}, "
        + ", ".join(f"{k} {v}" for k, v in versions.items())
        + "."
    )
    with atomic_file(fewshot.RESULTS / "ppt.md") as path:
        path.write_text("\n\n".join(["# Pre-trained prompts", "\n".join(lines), note]) + "\n")
    print("\n".join(lines), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--tasks", nargs="+", default=list(TASKS), choices=list(TASKS))
    parser.add_argument("--seeds", nargs="+", type=int, default=list(fewshot.SEEDS), choices=fewshot.SEEDS)
    parser.add_argument("--examples", type=int, default=3000)
    options = parser.parse_args()
    path = fewshot.RESULTS / "ppt.json"
    results = json.loads(path.read_text())["runs"] if path.exists() else {}
    FOLDER.mkdir(exist_ok=True)
    for task in options.tasks:
        if f"{task}/pretraining" not in results:
            results[f"{task}/pretraining"] = pretrain(task, options.folder, options.examples)
        for seed in options.seeds:
            for start in STARTS:
                if (key := f"{task}/{start}/{seed}") not in results:
                    results[key] = run(task, start, seed, options.folder)
                    write(results)
    write(results)


if __name__ == "__main__":
    main()
