"""Every tuning method: accuracy, trained weights, file size, seconds, memory, and what the model forgets.

    python benchmarks/accuracy/tuning.py [--data FOLDER] [--tasks sst2 ag_news] [--methods …] [--seeds 13 …]
        [--model minilm] [--device cuda] [--processes 8]

Tasks: ``sst2`` and ``ag_news`` (shipped; 872 and 1,000 test rows), and from FOLDER, which holds ``rte`` and ``sst-2``
with train.tsv, dev.tsv and fewshot/k16-seedS.json: ``rte`` (277 dev rows), and ``sst2-all`` and ``rte-all`` (all 6,920
sentences or 2,490 pairs, 500 of them to select on, two epochs of batches of 16, one seed). With a causal model only
``sst2``, 300 test rows.

Forgetting is measured after tuning on SST-2: the masked-LM loss on held-out text (AG News: 200 texts, 4 words of each
masked, always the same) and zero-shot accuracy on AG News (300 rows), of the tuned language model and, ``detached``, of
the model that it was made from, which shares its frozen weights. Memory is the peak of the process over what it had
before ``fit``; every run is a process of its own. Every finished run is kept in results/tuning.json; the tables are
written to results/tuning.md.
"""

from __future__ import annotations

import argparse
import functools
import json
import resource
import statistics
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
from torch.nn import functional as F

from benchmarks.accuracy.fewshot import TASKS
from benchmarks.common.runs import GPU, MODEL, SEEDS, Job, keep, mean, parser, placed, sweep
from promptlab import (
    Adapter,
    Example,
    HeadClassifier,
    LoRA,
    PromptClassifier,
    PTuning,
    load_backbone,
    load_sample,
    read_examples,
)
from promptlab.core.types import Encoded
from promptlab.library.resolve import resolve_template, resolve_verbalizer
from promptlab.models.inference import predict_log_probs
from promptlab.models.prompt_model import PromptModel
from promptlab.tuning.none import NoTuning

SOFT = {  # P-Tuning needs soft tokens in the template
    "sst2": "{{ soft(3) }} {{ text_a }} {{ soft(2) }} All in all, it was {{ mask }}.",
    "sst2-all": "{{ soft(3) }} {{ text_a }} {{ soft(2) }} All in all, it was {{ mask }}.",
    "ag_news": "{{ soft(3) }} {{ mask }}: {{ soft(2) }} {{ text_a }}",
    "rte": "{{ soft(2) }} {{ text_a | strip_punctuation }} ? {{ soft(2) }} {{ mask }} , {{ text_b | lower_first }}",
    "rte-all": "{{ soft(2) }} {{ text_a | strip_punctuation }} ? {{ soft(2) }} {{ mask }} , {{ text_b | lower_first }}",
}
WHOLE = {"sst2-all": "SST-2", "rte-all": "RTE"}
CAUSAL = {"sst2": ("sst2/review-sentiment", "sst2/sentiment")}  # templates that end with their mask
CAUSAL_TEST = 300  # rows
ALL = {"epochs": 2, "batch_size": 16}
PROBE, HEAD = "linear probe", "head, full"
HEADS = {PROBE: "frozen", HEAD: "full"}
METHODS: Mapping[str, Any] = {
    "none (zero-shot)": "none",
    **HEADS,
    "full": "full",
    "top-layers": "top-layers",
    "bitfit": "bitfit",
    "layer-norm": "layer-norm",
    "adapter (Houlsby)": "adapter",
    "adapter (feed-forward)": Adapter(place="feed-forward"),
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
MERGES = ("full", "top-layers", "bitfit", "layer-norm", "lora (query, value)", "lora (all linear)", "ia3")


def data(task: str, seed: int, folder: Path | None) -> tuple[list[Example], list[Example], list[Example]]:
    """Training, dev and test examples."""
    if task in TASKS:
        sample = load_sample(task)
        return *sample.few_shot(seed), sample.test
    if folder is None:
        raise SystemExit(f"task {task} needs --data FOLDER")
    place = folder / ("rte" if task.startswith("rte") else "sst-2")
    pool, test = read_examples(place / "train.tsv"), read_examples(place / "dev.tsv")
    if task in WHOLE:
        return pool[:-500], pool[-500:], test
    split = json.loads((place / "fewshot" / f"k16-seed{seed}.json").read_text())
    return [pool[i] for i in split["train"]], [pool[i] for i in split["dev"]], test


def make(task: str, method: str, model: Any, settings: dict[str, Any]) -> Any:
    if method in HEADS:
        fields = ("text_a", "text_b") if task.startswith("rte") else ("text_a",)
        return HeadClassifier(model, HEADS[method], fields=fields, **settings)
    template, words = (task.removesuffix("-all"),) * 2
    if method.startswith("p-tuning ("):
        template = SOFT[task]
    if model.name != MODEL:
        template, words = CAUSAL[task]
    return PromptClassifier(template, words, model, METHODS[method], **settings)


def jobs(options: argparse.Namespace) -> Iterator[Job]:
    for task in options.tasks:
        for seed in options.seeds[:1] if task in WHOLE else options.seeds:
            for method in options.methods:
                key = f"{options.model}/{task}/{method}/{seed}"
                yield key, functools.partial(run, options.model, task, method, seed, options.data, options.device)


def run(model: str, task: str, method: str, seed: int, folder: Path | None, device: str) -> dict[str, Any]:
    origin = loaded(model)
    train, dev, test = data(task, seed, folder)
    if model != MODEL:
        test = test[:CAUSAL_TEST]
    whole = ALL if task in WHOLE and METHODS.get(method) != "none" else {}
    classifier = make(task, method, origin, {**whole, "seed": seed, **placed(device)})
    before = psutil.Process().memory_info().rss
    start = time.perf_counter()
    classifier.fit(train, eval_set=(dev, None))
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before  # of the host, whatever the device
    predicted = classifier.predict(test)
    with tempfile.TemporaryDirectory() as place:
        classifier.save_pretrained(Path(place) / "saved")
        size = sum(path.stat().st_size for path in Path(place).rglob("*.safetensors"))
    result = {
        "accuracy": sum(p == e.label for p, e in zip(predicted, test, strict=True)) / len(test),
        "trained_weights": classifier.trainable_parameters(),
        "model_weights": sum(weight.numel() for weight in origin.parameters()),
        "file_bytes": size,
        "train_seconds": seconds,
        "peak_bytes": max(0, peak),
        "device": device,
        "history": classifier.history_,
    }
    if task == "sst2" and model == MODEL:
        for name, backbone in (("attached", classifier.model_.backbone), ("detached", origin)):
            result[name] = {"ag_news": zero_shot(backbone.copy()), "mlm_loss": mlm_loss(backbone)}
    return result


@functools.cache
def loaded(model: str) -> Any:
    return load_backbone(model)


@torch.inference_mode()
def zero_shot(backbone: Any) -> float:
    """Accuracy on AG News of a language model that was tuned for something else."""
    model = PromptModel.build(resolve_template("ag_news"), resolve_verbalizer("ag_news"), backbone, NoTuning()).eval()
    test = load_sample("ag_news").test[:300]
    best = predict_log_probs(model, model.encode(test)).argmax(dim=1).tolist()
    return sum(model.verbalizer.classes[i] == example.label for i, example in zip(best, test, strict=True)) / len(test)


@torch.inference_mode()
def mlm_loss(backbone: Any, n_texts: int = 200, n_masks: int = 4) -> float:
    """Mean loss in nats of masked tokens of AG News texts, which are the same every time."""
    rng, tokenizer = np.random.default_rng(0), backbone.tokenizer
    rows, hidden = [], []
    for example in load_sample("ag_news").test[300 : 300 + n_texts]:
        ids = np.array(tokenizer(example.fields["text_a"], truncation=True, max_length=64)["input_ids"])
        places = np.sort(rng.choice(np.arange(1, len(ids) - 1), n_masks, replace=False))
        hidden.append(ids[places])
        ids[places] = tokenizer.mask_token_id
        rows.append(Encoded(ids, 0 * ids, places))
    losses = []
    for start in range(0, len(rows), 50):
        logits = backbone.eval().mask_states(backbone.collate(rows[start : start + 50])).logits()
        targets = torch.from_numpy(np.stack(hidden[start : start + 50]))
        losses.append(F.cross_entropy(logits.flatten(0, 1), targets.flatten()).item())
    return statistics.mean(losses)


def table(results: Mapping[str, Any], model: str, tasks: Sequence[str]) -> str:
    forgets = "sst2" in tasks and model == MODEL
    splits = {task: _splits(results, f"{model}/{task}") for task in tasks}
    columns = [f"{task} ({len(splits[task])} split{'s' * (len(splits[task]) > 1)})" for task in tasks]
    head = ["method", "trained weights", "share", "file", "merges", *columns, "seconds", "memory"]
    head += ["AG News after SST-2", "MLM loss after SST-2"] if forgets else []
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for method in METHODS:
        keys = {task: [f"{model}/{task}/{method}/{seed}" for seed in splits[task]] for task in tasks}
        rows = {task: [results[key] for key in keys[task] if key in results] for task in tasks}
        some = next((row[0] for row in rows.values() if row), None)
        if some is None:
            continue
        share = f"{100 * some['trained_weights'] / some['model_weights']:.3g} %"
        cells = [method, f"{some['trained_weights']:,}", share, f"{some['file_bytes'] / 1e6:.2f} MB"]
        cells.append("yes" if method in MERGES else "–" if method in (*HEADS, "none (zero-shot)") else "no")
        cells += [mean([100 * row["accuracy"] for row in rows[task]]) for task in tasks]
        timed = [row for row in next(iter(rows.values())) if row.get("device", "cpu") == "cpu"]
        cells.append(f"{statistics.mean(row['train_seconds'] for row in timed):.0f}" if timed else "–")
        cells.append(f"{statistics.mean(row['peak_bytes'] for row in timed) / 2**20:.0f} MiB" if timed else "–")
        if forgets:
            cells.append(mean([100 * row["attached"]["ag_news"] for row in rows["sst2"]]))
            cells.append(mean([row["attached"]["mlm_loss"] for row in rows["sst2"]], digits=3))
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _splits(results: Mapping[str, Any], place: str) -> list[int]:
    """Splits on which every method of a task has run that has run on any."""
    runs = {tuple(key.removeprefix(f"{place}/").rsplit("/", 1)) for key in results if key.startswith(f"{place}/")}
    methods = {method for method, _ in runs}
    whole = [seed for seed in SEEDS if all((method, str(seed)) in runs for method in methods)]
    return whole or list(SEEDS)


def write(results: Mapping[str, Any]) -> None:
    on_gpu = sorted({key.split("/")[1] for key, row in results.items() if row.get("device", "cpu") != "cpu"})
    earlier = (
        "All rows but adapter (Pfeiffer) were run on 2026-11-25, when Houlsby's adapters stood before the dropout, "
        "LoRA's rate was 8e-4 instead of 4e-4, IA3's vectors were decayed and top-layers left the head's transform "
        "frozen. "
    )
    elsewhere = f"Some runs of {', '.join(on_gpu)} were on {GPU}, and tell no seconds or memory. " if on_gpu else ""
    parts: list[str] = []
    for model in dict.fromkeys(key.split("/")[0] for key in results):
        tasks = dict.fromkeys(key.split("/")[1] for key in results if key.startswith(f"{model}/"))
        few = [task for task in tasks if task not in WHOLE]
        parts += [f"Model {model}:", table(results, model, few)] if few else []
        for task in WHOLE:
            if task in tasks:
                parts += [f"Model {model}, all of {WHOLE[task]}'s training set:", table(results, model, [task])]
    kept = [row["detached"] for row in results.values() if "detached" in row]
    same = len({tuple(row.values()) for row in kept}) == 1
    note = (
        "“AG News after SST-2” is zero-shot accuracy on AG News (300 rows), “MLM loss” that of masked words in AG News "
        "texts, in nats, of the language model after tuning on SST-2, what was added in place. Test accuracy in %, "
        "mean (standard deviation) over those of the splits 13, 21, 42, 87, 100 on which all methods ran; 16 training "
        "and 16 dev examples a class; each method with its own defaults; weights selected on dev. Seconds and peak "
        "memory of fit over what the process had before, means of the first task's runs, float32, one core of a busy "
        f"machine: compare them roughly. {elsewhere}{earlier}Causal models: split 13, the first 300 test rows. "
        + (
            f"The model that the tuned ones were made from scores {100 * kept[0]['ag_news']:.1f} on AG News and "
            f"{kept[0]['mlm_loss']:.3f} nats after every one of {len(kept)} runs: it is never changed. "
            if same
            else ""
        )
    )
    keep("tuning", "Tuning methods", results, parts, note.rstrip(), packages=["peft"], k=16)


def main() -> None:
    options_of = parser(__doc__)
    options_of.add_argument("--data", type=Path)
    options_of.add_argument("--device", default="cpu")
    options_of.add_argument("--model", default=MODEL)
    options_of.add_argument("--tasks", nargs="+", default=["sst2", "ag_news"], choices=list(SOFT))
    options_of.add_argument("--methods", nargs="+", default=list(METHODS), choices=list(METHODS))
    options_of.add_argument("--seeds", nargs="+", type=int, default=list(SEEDS), choices=SEEDS)
    options = options_of.parse_args()
    loaded(options.model)  # once, before the processes part
    sweep("tuning", jobs(options), write, processes=options.processes, fresh=options.device == "cpu")


if __name__ == "__main__":
    main()
