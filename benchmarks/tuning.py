"""Every tuning method on minilm, k = 16: accuracy, trained weights, file size, seconds, and what the model forgets.

    python benchmarks/tuning.py [--tasks sst2 ag_news] [--methods …] [--seeds 13 21 42 87 100]

Forgetting is measured after tuning on SST-2: zero-shot accuracy of the tuned language model on AG News (300 test rows),
against the model before. For methods that leave the model frozen and only add to it, nothing is forgotten once the
addition is taken away; the figure is with it in place. Every finished run is kept in results/tuning.json; the table is
written to results/tuning.md.
"""

from __future__ import annotations

import argparse
import datetime
import json
import statistics
import tempfile
import time
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import fewshot
import torch

from promptlab import Adapter, LoRA, PromptClassifier, PTuning, load_sample
from promptlab.classifier import resolve_template, resolve_verbalizer
from promptlab.files import atomic_file
from promptlab.inference import predict_log_probs
from promptlab.model import PromptModel
from promptlab.tuning.none import NoTuning

SOFT = {  # P-Tuning needs soft tokens in the template
    "sst2": "{{ soft(3) }} {{ text_a }} {{ soft(2) }} All in all, it was {{ mask }}.",
    "ag_news": "{{ soft(3) }} {{ mask }}: {{ soft(2) }} {{ text_a }}",
}
METHODS: Mapping[str, Any] = {
    "none (zero-shot)": "none",
    "full": "full",
    "top-layers": "top-layers",
    "bitfit": "bitfit",
    "layer-norm": "layer-norm",
    "adapter (Houlsby)": "adapter",
    "adapter (Pfeiffer)": Adapter(place="pfeiffer"),
    "lora (query, value)": "lora",
    "lora (all linear)": LoRA(targets="all-linear"),
    "ia3": "ia3",
    "prefix (MLP)": "prefix",
    "p-tuning-v2": "p-tuning-v2",
    "prompt-tuning": "prompt-tuning",
    "p-tuning (model frozen)": PTuning(train_model=False),
    "p-tuning (model too)": "p-tuning",
}


def run(task: str, method: str, seed: int) -> dict[str, Any]:
    sample = load_sample(task)
    train, dev = sample.few_shot(seed)
    template = SOFT[task] if method.startswith("p-tuning (") else task
    start = time.perf_counter()
    classifier = PromptClassifier(template, task, fewshot.MODEL, METHODS[method]).fit(train, eval_set=(dev, None))
    seconds = time.perf_counter() - start
    predicted = classifier.predict(sample.test)
    with tempfile.TemporaryDirectory() as folder:
        classifier.save_pretrained(Path(folder) / "saved")
        size = sum(path.stat().st_size for path in Path(folder).rglob("*.safetensors"))
    result = {
        "accuracy": sum(p == e.label for p, e in zip(predicted, sample.test, strict=True)) / len(sample.test),
        "trained_weights": classifier.trainable_parameters(),
        "file_bytes": size,
        "train_seconds": seconds,
        "history": classifier.history_,
    }
    if task == "sst2":
        result["ag_news_zero_shot"] = other_task(classifier.model_.backbone)
    return result


@torch.inference_mode()
def other_task(backbone: Any) -> float:
    """Zero-shot accuracy on AG News of a language model that was tuned for something else."""
    model = PromptModel.build(resolve_template("ag_news"), resolve_verbalizer("ag_news"), backbone, NoTuning()).eval()
    test = load_sample("ag_news").test[:300]
    best = predict_log_probs(model, model.encode(test)).argmax(dim=1).tolist()
    return sum(model.verbalizer.classes[i] == example.label for i, example in zip(best, test, strict=True)) / len(test)


def table(results: Mapping[str, Any]) -> str:
    lines = ["| method | trained weights | file | SST-2 | AG News | AG News zero-shot after SST-2 |"]
    lines.append("|---|---|---|---|---|---|")
    for method in METHODS:
        rows = {task: [results[k] for s in fewshot.SEEDS if (k := f"{task}/{method}/{s}") in results] for task in SOFT}
        some = next((row[0] for row in rows.values() if row), None)
        if some is None:
            continue
        cells = [_mean([100 * row["accuracy"] for row in rows[task]]) for task in SOFT]
        kept = _mean([100 * row["ag_news_zero_shot"] for row in rows["sst2"]])
        size = f"{some['file_bytes'] / 1e6:.2f} MB"
        lines.append(f"| {method} | {some['trained_weights']:,} | {size} | {' | '.join(cells)} | {kept} |")
    return "\n".join(lines)


def _mean(values: list[float]) -> str:
    if not values:
        return "–"
    spread = f" ({statistics.stdev(values):.1f}; {len(values)})" if len(values) > 1 else " (1)"
    return f"{statistics.mean(values):.1f}{spread}"


def write(results: Mapping[str, Any]) -> None:
    versions = {name: version(name) for name in ("promptlab", "torch", "transformers", "peft")}
    about = {"model": fewshot.MODEL, "k": 16, "date": str(datetime.date.today()), "versions": versions}
    with atomic_file(fewshot.RESULTS / "tuning.json") as path:
        path.write_text(json.dumps({"about": about, "runs": results}, indent=1) + "\n")
    note = (
        f"Test accuracy in %, mean (standard deviation; number of splits); 16 training and 16 dev examples a class; "
        f"model {fewshot.MODEL}; each method with its own defaults; weights selected on dev. {about['date']}, "
        + ", ".join(f"{k} {v}" for k, v in versions.items())
        + "."
    )
    with atomic_file(fewshot.RESULTS / "tuning.md") as path:
        path.write_text(f"# Tuning methods\n\n{table(results)}\n\n{note}\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", nargs="+", default=list(SOFT), choices=list(SOFT))
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=list(METHODS))
    parser.add_argument("--seeds", nargs="+", type=int, default=list(fewshot.SEEDS), choices=fewshot.SEEDS)
    options = parser.parse_args()
    path = fewshot.RESULTS / "tuning.json"
    results = json.loads(path.read_text())["runs"] if path.exists() else {}
    for seed in options.seeds:
        for task in options.tasks:
            for method in options.methods:
                key = f"{task}/{method}/{seed}"
                if key not in results:
                    results[key] = run(task, method, seed)
                    print(key, {k: v for k, v in results[key].items() if k != "history"}, flush=True)
                    write(results)
    write(results)
    print(table(results))


if __name__ == "__main__":
    main()
