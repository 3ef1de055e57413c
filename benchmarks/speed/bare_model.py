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
import functools
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.common.data import sample
from benchmarks.common.models import MODEL, fresh, texts_of
from benchmarks.common.options import Option, value_of
from benchmarks.common.runs import Job, Measurement
from benchmarks.common.setup import Setup
from benchmarks.common.tables import NONE, Page, Runs, table
from benchmarks.common.timing import in_turn, ratio
from promptlab import Example, ManualTemplate, ManualVerbalizer, PromptClassifier
from promptlab.core.types import Batch, Encoded
from promptlab.models.inference import BATCH, in_batches
from promptlab.training.batching import LengthBatches

TASKS = {"sst2": "SST-2 dev (872 rows)", "ag_news": "AG News test (500 rows)"}
ROWS = {"sst2": 872, "ag_news": 500}
STEPS, TRAIN_BATCH, RATE = 20, 16, 1e-5
PROMPT = "{{ text_a }} All in all, it was {{ mask }}."
SENTIMENT = [  # eight verbalizers with a word a class, to be read from one answer
    ("terrible", "great"), ("bad", "good"), ("awful", "wonderful"), ("boring", "exciting"),
    ("poor", "excellent"), ("horrible", "beautiful"), ("worst", "best"), ("stupid", "smart"),
]  # fmt: skip


class BareModel:
    """minilm as transformers makes it, run by hand."""

    def __init__(self, classifier: PromptClassifier) -> None:
        self.backbone = fresh(MODEL)
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


def jobs(options: argparse.Namespace) -> Iterator[Job]:
    setup, rounds = options.setup, options.rounds
    every: dict[str, Callable[[], Any]] = {
        **{f"predict {task}": functools.partial(predict, setup, task, rounds) for task in TASKS},
        **{f"fit {task}": functools.partial(fit, setup, task, rounds) for task in TASKS},
        **{f"memory {task}": functools.partial(memory, setup, task) for task in TASKS},
        "encoding": functools.partial(encoding, options.texts, rounds),
        "verbalizers": functools.partial(several_verbalizers, setup, rounds),
    }
    for name in options.jobs or every:
        yield name, every[name]


def classifier_of(task: str) -> PromptClassifier:
    return PromptClassifier(task, task, fresh(MODEL), device="cpu")


def test_rows(setup: Setup, task: str) -> Sequence[Example]:
    return setup.some(sample(task).test[: ROWS[task]])


def predict(setup: Setup, task: str, rounds: int) -> dict[str, Any]:
    """Return the throughput of ``predict_proba`` over that of the loop, and seconds of its stages."""
    classifier, test = classifier_of(task), test_rows(setup, task)
    texts = texts_of(test)
    bare = BareModel(classifier)
    encoded = sorted(classifier.ready().encode(test), key=lambda row: len(row.input_ids))
    chunks = [encoded[i : i + BATCH] for i in range(0, len(encoded), BATCH)]
    batches = [bare.backbone.collate(chunk) for chunk in chunks]
    contest = {"promptlab": lambda: classifier.predict_proba(texts), "loop": lambda: bare.predict(batches)}
    with torch.inference_mode():
        seconds = in_turn(contest, rounds, warm_up=1)
        by_stage = in_turn(stages(classifier, test, chunks, batches), 1, warm_up=1)
    check_alike(classifier, test, bare.predict(batches))
    return {
        "seconds": seconds,
        "stages": by_stage,
        "rows": len(test),
        "throughput": ratio(seconds, "loop", "promptlab"),
    }


def stages(
    classifier: PromptClassifier, test: Sequence[Example], chunks: Sequence[Any], batches: Sequence[Batch]
) -> dict[str, Callable[[], Any]]:
    """Return each stage of a prediction, to be measured by itself."""
    model, texts = classifier.ready(), texts_of(test)
    return {
        "whole": lambda: classifier.predict_proba(texts),
        "render": lambda: [model.template.variants(example) for example in test],
        "render and tokenize": lambda: model.encode(test),
        "pad": lambda: [model.backbone.collate(chunk) for chunk in chunks],
        "transformer": lambda: [model.backbone.hidden_states(batch) for batch in batches],
        "all of the model": lambda: [model.read(batch) for batch in batches],
        "model and verbalizer": lambda: [model.log_probs(batch) for batch in batches],
    }


def check_alike(classifier: PromptClassifier, test: Sequence[Example], log_probs: Tensor) -> None:
    """Refuse a loop that predicts something else.

    Args:
        log_probs: the loop's, of the rows in the order of their lengths, shape (rows, classes).
    """
    model = classifier.ready()
    rows = model.encode(test)
    order = sorted(range(len(test)), key=lambda row: len(rows[row].input_ids))
    columns = [list(model.verbalizer.classes).index(str(name)) for name in classifier.classes_]
    apart = float(abs(classifier.predict_proba(test)[order] - log_probs.exp().numpy()[:, columns]).max())
    if apart > 1e-4:
        raise RuntimeError(f"the loop predicts something else: probabilities are up to {apart:.5f} away")


def fit(setup: Setup, task: str, rounds: int) -> dict[str, Any]:
    """Return the speed of ``fit`` (all weights, no dev set) over that of the loop."""
    settings = setup.settings(max_steps=STEPS, batch_size=TRAIN_BATCH, learning_rate=RATE)
    pool, backbone, steps = sample(task).test[: STEPS * TRAIN_BATCH], fresh(MODEL), settings["max_steps"]
    bare, classifier = BareModel(classifier_of(task)), PromptClassifier(task, task, backbone, **settings)
    origin = {name: weight.clone() for name, weight in bare.bert.state_dict().items()}
    batches = training_batches(classifier_of(task).ready(), pool)[:steps]
    losses: list[float] = []

    def loop() -> None:
        bare.bert.load_state_dict(origin)
        torch.manual_seed(0)
        losses[:] = bare.fit(batches, rate=RATE)

    contest = {"promptlab": lambda: classifier.set_params(eval_every=steps).fit(pool), "loop": loop}
    seconds = in_turn(contest, rounds, warm_up=1)
    told = classifier.set_params(eval_every=1).fit(pool).history_  # the loss of every update
    apart = max(abs(row["loss"] - loss) for row, loss in zip(told, losses, strict=True))
    if apart > 1e-3:
        raise RuntimeError(f"the loop trains another model: its losses are up to {apart:.4f} away")
    return {"seconds": seconds, "speed": ratio(seconds, "loop", "promptlab"), "losses_apart": apart}


def training_batches(model: Any, pool: Sequence[Example]) -> list[Batch]:
    """Return the padded batches, with labels, that ``fit`` makes of the examples in its first epoch."""
    encoded, classes = model.encode(pool), list(model.verbalizer.classes)
    batches = []
    for rows in LengthBatches([len(row.input_ids) for row in encoded], TRAIN_BATCH, 0):
        batch = model.backbone.collate([encoded[row] for row in rows])
        batch.labels = torch.tensor([classes.index(str(pool[row].label)) for row in rows])
        batches.append(batch)
    return batches


def memory(setup: Setup, task: str) -> float:
    """Return the MiB that the process takes at most during ``predict``, over what it had with the model loaded."""
    texts = texts_of(test_rows(setup, task))
    classifier = classifier_of(task)
    classifier.predict(texts[:1])  # loads the model
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    before = _status("VmRSS")
    classifier.predict(texts)
    return (_status("VmHWM") - before) / 1024


def _status(name: str) -> int:
    """Return a figure of this process in KiB, as Linux tells it."""
    found = re.search(rf"{name}:\s+(\d+)", Path("/proc/self/status").read_text())
    assert found
    return int(found[1])


def encoding(n_texts: int, rounds: int) -> dict[str, Any]:
    """Time rendering and tokenizing many short texts against one ``encode`` for every piece of text of every prompt.

    The first contestant has the tokenizer in Python that PET and OpenPrompt used, the second the fast one. Both get the
    ids of masks and of what stands around a text for nothing. The one in Python runs on a tenth of the texts.
    """
    texts = texts_of(sample("sst2").test)
    examples = [Example({"text_a": texts[i % len(texts)]}) for i in range(n_texts)]
    backbone, some = fresh(MODEL), examples[: n_texts // 10]
    template, fast, slow = ManualTemplate(PROMPT), backbone.tokenizer, slow_tokenizer(backbone.tokenizer)

    def at_once(some: Sequence[Example]) -> list[Encoded]:
        return backbone.encode([template.render(example) for example in some], soft_ids={})

    own = [row.input_ids.tolist() for row in at_once(some)]
    if not own == by_piece(slow, some, fast) == by_piece(fast, some, fast):
        raise RuntimeError("the tokenizers disagree")
    contest: dict[str, Callable[[], Any]] = {
        "promptlab": lambda: at_once(examples),
        "promptlab, a tenth": lambda: at_once(some),
        "slow by piece, a tenth": lambda: by_piece(slow, some, fast),
        "fast by piece": lambda: by_piece(fast, examples, fast),
    }
    seconds = in_turn(contest, rounds, warm_up=1)
    return {
        "seconds": seconds,
        "texts": n_texts,
        "than slow": ratio(seconds, "slow by piece, a tenth", "promptlab, a tenth"),
        "than fast": ratio(seconds, "fast by piece", "promptlab"),
    }


def by_piece(tokenizer: Any, some: Sequence[Example], special: Any) -> list[list[int]]:
    """Return the prompts' ids, one call for every piece; ``special`` knows the ids of masks and separators."""
    encode = functools.partial(tokenizer.encode, add_special_tokens=False)
    first, mask, last = special.cls_token_id, special.mask_token_id, special.sep_token_id
    return [
        [first, *encode(e.fields["text_a"]), *encode(" All in all, it was"), mask, *encode("."), last] for e in some
    ]


def slow_tokenizer(tokenizer: Any) -> Any:
    """Return the tokenizer of the same words that is written in Python."""
    from transformers.models.bert.tokenization_bert_legacy import BertTokenizerLegacy

    words = sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "vocab.txt"
        path.write_text("".join(f"{word}\n" for word, _ in words), encoding="utf-8")
        return BertTokenizerLegacy(str(path))


def several_verbalizers(setup: Setup, rounds: int) -> dict[str, Any]:
    """Return the cost of reading eight verbalizers from the same answers, over that of one."""
    model = classifier_of("sst2").ready()
    encoded = model.encode(test_rows(setup, "sst2"))
    verbalizers = [ManualVerbalizer({"negative": [bad], "positive": [good]}) for bad, good in SENTIMENT]
    heads = [verbalizer.build(model.backbone, model.template.slot) for verbalizer in verbalizers]

    def scored(n: int) -> list[Tensor]:
        answers = in_batches(model.backbone, encoded, model.read)
        with torch.inference_mode():
            return [head(answers) for head in heads[:n]]

    contest = {"one": lambda: scored(1), "eight": lambda: scored(len(heads))}
    seconds = in_turn(contest, rounds, warm_up=1)
    return {"seconds": seconds, "cost": ratio(seconds, "eight", "one")}


def page(runs: Runs, about: Mapping[str, Any]) -> Page:
    note = (
        f"Model {MODEL}, {about['threads']} thread(s), medians of {about['rounds']} rounds in which the contestants "
        "take turns. The loop's rows are rendered, tokenized, sorted by length and padded before its clock starts; "
        f"both compute hidden states at the mask only. fit: {STEPS} updates of {TRAIN_BATCH} rows, all weights, the "
        "same batches, losses equal. Stages are shares of the whole of predict, each measured by itself."
    )
    return Page([table(["what", "figure", "target"], figures(runs)), stages_table(runs)], note)


def figures(runs: Runs) -> Iterator[list[str]]:
    """Yield what was measured, and what was aimed at."""
    for task, name in TASKS.items():
        throughput = runs[f"predict {task}"]["throughput"]
        yield [f"predict, {name}: throughput over the loop's", f"{throughput:.2f}", "at least 0.88"]
    for task, name in TASKS.items():
        yield [f"fit, {name}: speed over the loop's", f"{runs[f'fit {task}']['speed']:.2f}", "at least 0.88"]
    for task, name in TASKS.items():
        peak = f"{runs[f'memory {task}']:.0f} MiB"
        yield [f"predict, {name}: peak memory over the loaded model", peak, "at most 160 MiB"]
    row, what = runs["encoding"], f"render and tokenize {runs['encoding']['texts']:,} short texts"
    yield [f"{what}: times as fast as one slow encode a piece", f"{row['than slow']:.1f}", "at least 7"]
    yield [f"{what}: times as fast as one fast encode a piece", f"{row['than fast']:.1f}", NONE]
    cost = runs["verbalizers"]["cost"]
    yield ["eight verbalizers on one template: cost over one's", f"{cost:.3f}", "at most 1.05"]


def stages_table(runs: Runs) -> str:
    seconds = {task: runs[f"predict {task}"]["stages"] for task in TASKS}
    rows = [
        [stage, *(f"{100 * ratio(own, stage, 'whole'):.1f} %" for own in seconds.values())]
        for stage in seconds["sst2"]
        if stage != "whole"
    ]
    return table(["stage of predict", *TASKS.values()], rows)


SOME_JOBS: Option = ("--jobs", {"nargs": "+", "help": "some of them, such as 'fit sst2'; the others' figures are kept"})
BENCHMARK = Measurement(
    name="speed",
    title="promptlab against the bare model",
    doc=__doc__,
    stages=[jobs],
    page=page,
    options=[value_of("rounds", 5), value_of("texts", 100_000), SOME_JOBS],
    recorded=["rounds"],
    packages=["tokenizers"],
    own_process=True,
)

if __name__ == "__main__":
    BENCHMARK.main()
