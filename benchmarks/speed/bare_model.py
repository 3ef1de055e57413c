"""How near promptlab comes to plain loops over the bare model: predict, fit, memory, encoding, several verbalizers.

    python benchmarks/speed/bare_model.py [--rounds 5] [--texts 100000] [--jobs "fit sst2" …]

The loops get for nothing what promptlab does itself: their rows are rendered, tokenized, sorted by length and padded
before the clock starts. They compute hidden states at the mask only and the label words' rows of the decoder; in
training they take the same batches with the same optimizer, schedule and clipping, and must end with the same losses.
Contestants take turns in one process; every figure is a ratio of medians over the rounds. The results go to
benchmarks/results/speed.json and speed.md.
"""

from __future__ import annotations

import argparse
import datetime
import functools
import json
import multiprocessing
import re
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from promptlab import Example, ManualTemplate, ManualVerbalizer, PromptClassifier, load_backbone, load_sample
from promptlab.core.files import atomic_file
from promptlab.core.types import Batch, Encoded
from promptlab.models.inference import BATCH, in_batches
from promptlab.training.batching import LengthBatches

RESULTS = Path(__file__).parents[1] / "results"
MODEL = "minilm"
TASKS = {"sst2": "SST-2 dev (872 rows)", "ag_news": "AG News test (500 rows)"}
ROWS = {"sst2": 872, "ag_news": 500}
STEPS, TRAIN_BATCH, RATE = 20, 16, 1e-5
SENTIMENT = [  # eight verbalizers with a word a class, to be read from one answer
    ("terrible", "great"), ("bad", "good"), ("awful", "wonderful"), ("boring", "exciting"),
    ("poor", "excellent"), ("horrible", "beautiful"), ("worst", "best"), ("stupid", "smart"),
]  # fmt: skip


class BareModel:
    """minilm as transformers makes it, run by hand."""

    def __init__(self, classifier: PromptClassifier) -> None:
        self.backbone = load_backbone(MODEL)
        self.bert: Any = self.backbone.model
        self.ids = classifier.ready().head.ids  # (classes, words)
        self.valid = classifier.ready().head.valid

    def log_probs(self, batch: Batch) -> Tensor:
        hidden = self.bert.bert(
            input_ids=batch.input_ids, attention_mask=batch.attention_mask, token_type_ids=batch.segment_ids
        ).last_hidden_state
        hidden = hidden[torch.arange(len(hidden)), batch.mask_index[:, 0]]  # (batch, hidden)
        hidden = self.bert.cls.predictions.transform(hidden)
        decoder = self.bert.cls.predictions.decoder
        words = self.ids.flatten()
        logits = F.linear(hidden, decoder.weight[words], decoder.bias[words]).view(-1, *self.ids.shape)
        mean = logits.masked_fill(~self.valid, 0).sum(dim=-1) / self.valid.sum(dim=-1)
        return mean.log_softmax(dim=-1)

    @torch.inference_mode()
    def predict(self, batches: Sequence[Batch]) -> Tensor:
        self.bert.eval()
        return torch.cat([self.log_probs(batch) for batch in batches])

    def fit(self, batches: Sequence[Batch], *, rate: float) -> list[float]:
        self.bert.train()
        matrices = [w for w in self.bert.parameters() if w.ndim > 1]
        vectors = [w for w in self.bert.parameters() if w.ndim <= 1]
        groups = [{"params": matrices, "weight_decay": 0.01}, {"params": vectors, "weight_decay": 0.0}]
        optimizer = torch.optim.AdamW(groups, lr=rate, fused=True)
        warm, losses = round(0.1 * len(batches)), []
        for step, batch in enumerate(batches):
            share = (step + 1) / (warm + 1) if step < warm else (len(batches) - step) / (len(batches) - warm)
            for group in optimizer.param_groups:
                group["lr"] = rate * share
            loss = F.nll_loss(self.log_probs(batch), batch.labels)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self.bert.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
            losses.append(loss.item())
        return losses


def in_turn(contestants: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Seconds of every contestant in every round, after one round that doesn't count."""
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for number in range(rounds + 1):
        for name, run in contestants.items():
            start = time.perf_counter()
            run()
            if number:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def ratio(seconds: Mapping[str, list[float]], of: str, to: str) -> float:
    return statistics.median(seconds[of]) / statistics.median(seconds[to])


def predict(task: str, rounds: int) -> dict[str, Any]:
    """Throughput of ``predict_proba`` over that of the loop, and seconds of its stages."""
    test = load_sample(task).test[: ROWS[task]]
    texts = [example.fields["text_a"] for example in test]
    classifier = PromptClassifier(task, task, MODEL, device="cpu")
    model = classifier.ready()
    bare = BareModel(classifier)
    rows = model.encode(test)
    encoded = sorted(rows, key=lambda row: len(row.input_ids))
    chunks = [encoded[i : i + BATCH] for i in range(0, len(encoded), BATCH)]
    batches = [model.backbone.collate(chunk) for chunk in chunks]
    contest: dict[str, Callable[[], object]] = {
        "promptlab": lambda: classifier.predict_proba(texts),
        "loop": lambda: bare.predict(batches),
    }
    with torch.inference_mode():
        seconds = in_turn(contest, rounds)
        stages: dict[str, Callable[[], object]] = {
            "whole": lambda: classifier.predict_proba(texts),
            "render": lambda: [model.template.variants(example) for example in test],
            "render and tokenize": lambda: model.encode(test),
            "pad": lambda: [model.backbone.collate(chunk) for chunk in chunks],
            "transformer": lambda: [model.backbone.hidden_states(batch) for batch in batches],
            "all of the model": lambda: [model.read(batch) for batch in batches],
            "model and verbalizer": lambda: [model.log_probs(batch) for batch in batches],
        }
        by_stage = in_turn(stages, 1)
    order = sorted(range(len(test)), key=lambda row: len(rows[row].input_ids))
    ours = classifier.predict_proba(texts)[order]
    columns = [list(model.verbalizer.classes).index(str(name)) for name in classifier.classes_]
    apart = float(abs(ours - bare.predict(batches).exp().numpy()[:, columns]).max())
    if apart > 1e-4:
        raise RuntimeError(f"the loop predicts something else: probabilities are up to {apart:.5f} away")
    return {
        "seconds": seconds,
        "stages": by_stage,
        "rows": len(test),
        "throughput": ratio(seconds, "loop", "promptlab"),
    }


def fit(task: str, rounds: int) -> dict[str, Any]:
    """Speed of ``fit`` (all weights, no dev set) over that of the loop."""
    pool = load_sample(task).test[: STEPS * TRAIN_BATCH]
    backbone = load_backbone(MODEL)
    bare = BareModel(PromptClassifier(task, task, MODEL, device="cpu"))
    origin = {name: weight.clone() for name, weight in bare.bert.state_dict().items()}
    settings: dict[str, Any] = {"max_steps": STEPS, "batch_size": TRAIN_BATCH, "learning_rate": RATE, "device": "cpu"}
    classifier = PromptClassifier(task, task, backbone, eval_every=STEPS, **settings)
    batches = training_batches(PromptClassifier(task, task, MODEL, device="cpu").ready(), pool)
    losses: list[float] = []

    def loop() -> None:
        bare.bert.load_state_dict(origin)
        torch.manual_seed(0)
        losses[:] = bare.fit(batches, rate=RATE)

    seconds = in_turn({"promptlab": lambda: classifier.fit(pool), "loop": loop}, rounds)
    told = (
        PromptClassifier(task, task, backbone, eval_every=1, **settings).fit(pool).history_
    )  # the loss of every update
    apart = max(abs(row["loss"] - loss) for row, loss in zip(told, losses, strict=True))
    if apart > 1e-3:
        raise RuntimeError(f"the loop trains another model: its losses are up to {apart:.4f} away")
    return {"seconds": seconds, "speed": ratio(seconds, "loop", "promptlab"), "losses_apart": apart}


def training_batches(model: Any, pool: Sequence[Example]) -> list[Batch]:
    """The padded batches, with labels, that ``fit`` makes of the examples in its first epoch."""
    encoded, classes = model.encode(pool), list(model.verbalizer.classes)
    batches = []
    for rows in LengthBatches([len(row.input_ids) for row in encoded], TRAIN_BATCH, 0):
        batch = model.backbone.collate([encoded[row] for row in rows])
        batch.labels = torch.tensor([classes.index(str(pool[row].label)) for row in rows])
        batches.append(batch)
    return batches


def memory(task: str) -> float:
    """Peak of the process's memory during ``predict`` over what it had with the model loaded, in MiB."""
    texts = [example.fields["text_a"] for example in load_sample(task).test[: ROWS[task]]]
    classifier = PromptClassifier(task, task, MODEL, device="cpu")
    classifier.predict(texts[:1])  # loads the model
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    before = _status("VmRSS")
    classifier.predict(texts)
    return (_status("VmHWM") - before) / 1024


def _status(name: str) -> int:
    """A figure of this process in KiB, as Linux tells it."""
    found = re.search(rf"{name}:\s+(\d+)", Path("/proc/self/status").read_text())
    assert found
    return int(found[1])


def encoding(n_texts: int, rounds: int) -> dict[str, Any]:
    """Rendering and tokenizing many short texts against one ``encode`` for every piece of text of every prompt.

    The first contestant has the tokenizer in Python that PET and OpenPrompt used, the second the fast one. Both get the
    ids of masks and of what stands around a text for nothing. The one in Python runs on a tenth of the texts.
    """
    texts = [example.fields["text_a"] for example in load_sample("sst2").test]
    examples = [Example({"text_a": texts[i % len(texts)]}) for i in range(n_texts)]
    backbone = load_backbone(MODEL)
    template, fast = ManualTemplate("{{ text_a }} All in all, it was {{ mask }}."), backbone.tokenizer
    slow = slow_tokenizer(fast)
    first, mask, last = fast.cls_token_id, fast.mask_token_id, fast.sep_token_id

    def by_piece(tokenizer: Any, some: Sequence[Example]) -> list[list[int]]:
        encode = functools.partial(tokenizer.encode, add_special_tokens=False)
        return [
            [first, *encode(e.fields["text_a"]), *encode(" All in all, it was"), mask, *encode("."), last] for e in some
        ]

    def at_once(some: Sequence[Example]) -> list[Encoded]:
        return backbone.encode([template.render(example) for example in some], soft_ids={})

    some = examples[: n_texts // 10]
    own = [row.input_ids.tolist() for row in at_once(some)]
    if not own == by_piece(slow, some) == by_piece(fast, some):
        raise RuntimeError("the tokenizers disagree")
    contestants: dict[str, Callable[[], object]] = {
        "promptlab": lambda: at_once(examples),
        "promptlab, a tenth": lambda: at_once(some),
        "slow by piece, a tenth": lambda: by_piece(slow, some),
        "fast by piece": lambda: by_piece(fast, examples),
    }
    seconds = in_turn(contestants, rounds)
    return {
        "seconds": seconds,
        "texts": n_texts,
        "than slow": ratio(seconds, "slow by piece, a tenth", "promptlab, a tenth"),
        "than fast": ratio(seconds, "fast by piece", "promptlab"),
    }


def slow_tokenizer(tokenizer: Any) -> Any:
    """The tokenizer of the same words that is written in Python."""
    from transformers.models.bert.tokenization_bert_legacy import BertTokenizerLegacy

    words = sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "vocab.txt"
        path.write_text("".join(f"{word}\n" for word, _ in words), encoding="utf-8")
        return BertTokenizerLegacy(str(path))


def several_verbalizers(rounds: int) -> dict[str, Any]:
    """Cost of reading eight verbalizers from the same answers, over that of one."""
    test = load_sample("sst2").test
    model = PromptClassifier("sst2", "sst2", MODEL, device="cpu").ready()
    encoded = model.encode(test)
    verbalizers = [ManualVerbalizer({"negative": [bad], "positive": [good]}) for bad, good in SENTIMENT]
    heads = [verbalizer.build(model.backbone, model.template.slot) for verbalizer in verbalizers]

    def scored(n: int) -> list[Tensor]:
        answers = in_batches(model.backbone, encoded, model.read)
        with torch.inference_mode():
            return [head(answers) for head in heads[:n]]

    seconds = in_turn({"one": lambda: scored(1), "eight": lambda: scored(len(heads))}, rounds)
    return {"seconds": seconds, "cost": ratio(seconds, "eight", "one")}


def table(runs: Mapping[str, Any]) -> str:
    lines = ["| what | figure | target |", "|---|---|---|"]
    for task, name in TASKS.items():
        row = runs[f"predict {task}"]
        lines.append(f"| predict, {name}: throughput over the loop's | {row['throughput']:.2f} | at least 0.88 |")
    for task, name in TASKS.items():
        lines.append(f"| fit, {name}: speed over the loop's | {runs[f'fit {task}']['speed']:.2f} | at least 0.88 |")
    for task, name in TASKS.items():
        peak = runs[f"memory {task}"]
        lines.append(f"| predict, {name}: peak memory over the loaded model | {peak:.0f} MiB | at most 160 MiB |")
    row, what = runs["encoding"], f"render and tokenize {runs['encoding']['texts']:,} short texts"
    lines.append(f"| {what}: times as fast as one slow encode a piece | {row['than slow']:.1f} | at least 7 |")
    lines.append(f"| {what}: times as fast as one fast encode a piece | {row['than fast']:.1f} | – |")
    lines.append(
        f"| eight verbalizers on one template: cost over one's | {runs['verbalizers']['cost']:.3f} | at most 1.05 |"
    )
    stages = [name for name in runs["predict sst2"]["stages"] if name != "whole"]
    lines += ["", "| stage of predict | " + " | ".join(TASKS.values()) + " |", "|---" * (len(TASKS) + 1) + "|"]
    for stage in stages:
        shares = [ratio(runs[f"predict {task}"]["stages"], stage, "whole") for task in TASKS]
        lines.append(f"| {stage} | " + " | ".join(f"{100 * share:.1f} %" for share in shares) + " |")
    return "\n".join(lines)


def write(runs: Mapping[str, Any], rounds: int) -> None:
    versions = {name: version(name) for name in ("promptlab", "torch", "transformers", "tokenizers")}
    threads = torch.get_num_threads()
    about = {"model": MODEL, "rounds": rounds, "threads": threads, "date": str(datetime.date.today())}
    with atomic_file(RESULTS / "speed.json") as path:
        path.write_text(json.dumps({"about": about | {"versions": versions}, "runs": runs}, indent=1) + "\n")
    note = (
        f"Model {MODEL}, {threads} thread(s), medians of {rounds} rounds in which the contestants take turns. The "
        "loop's rows are rendered, tokenized, sorted by length and padded before its clock starts; both compute hidden "
        f"states at the mask only. fit: {STEPS} updates of {TRAIN_BATCH} rows, all weights, the same batches, losses "
        "equal. Stages are shares of the whole of predict, each measured by itself. "
        f"{about['date']}, " + ", ".join(f"{k} {v}" for k, v in versions.items()) + "."
    )
    with atomic_file(RESULTS / "speed.md") as path:
        path.write_text("\n\n".join(["# promptlab against the bare model", table(runs), note]) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--texts", type=int, default=100_000)
    parser.add_argument("--jobs", nargs="+", help="Some of them, such as 'fit sst2'; the others' figures are kept.")
    options = parser.parse_args()
    jobs: dict[str, tuple[Callable[..., Any], tuple[Any, ...]]] = {
        **{f"predict {task}": (predict, (task, options.rounds)) for task in TASKS},
        **{f"fit {task}": (fit, (task, options.rounds)) for task in TASKS},
        **{f"memory {task}": (memory, (task,)) for task in TASKS},
        "encoding": (encoding, (options.texts, options.rounds)),
        "verbalizers": (several_verbalizers, (options.rounds,)),
    }
    path = RESULTS / "speed.json"
    runs = json.loads(path.read_text())["runs"] if options.jobs and path.exists() else {}
    for name in options.jobs or jobs:
        job, arguments = jobs[name]
        with multiprocessing.get_context("spawn").Pool(1) as pool:  # each in a process of its own
            runs[name] = pool.apply(job, arguments)
        print(name, _brief(runs[name]), flush=True)
    write(runs, options.rounds)
    print(table(runs))


def _brief(run: Any) -> Any:
    return {k: v for k, v in run.items() if k not in ("seconds", "stages")} if isinstance(run, dict) else run


if __name__ == "__main__":
    main()
