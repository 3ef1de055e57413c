"""Which learning rate each tuning method wants at which width, on random models; no downloads.

    python benchmarks/accuracy/widths.py [--widths 128 384 1024 2048] [--methods …] [--seeds 0 1]

A random BERT of one layer fills a mask behind four words out of 24. A text's class is the sign of the product of a
random direction with the state at its mask, as one model of that width computes it; the same model, tuned on 480 texts
in 60 updates of 8, has to answer with one of two words. So the task is alike at every width, and the untrained model is
right half of the time. Each method is tried at rates a factor of three apart, the same at every width, and at the rate
that fell with the square of the width, as promptlab's rates once did. Beside the accuracy on 256 further texts stands
how far the states at the mask moved, and how far the matrices, what was added merged into them; both as a share of what
was there (root mean squares).

Every finished run is kept in results/widths.json; the tables are written to results/widths.md. A run takes a second at
width 128, one minute at 2048.
"""

from __future__ import annotations

import argparse
import functools
import statistics
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from torch import Tensor
from transformers import BertConfig, BertForMaskedLM, PreTrainedTokenizerFast

from benchmarks.common.options import some_of, values_of
from benchmarks.common.runs import Benchmark, Job
from benchmarks.common.setup import Setup
from benchmarks.common.tables import NONE, Page, Runs, listed, percent, table, under
from benchmarks.common.timing import timed
from promptlab import PromptClassifier
from promptlab.backbones.masked import MaskedBackbone
from promptlab.core.seeding import seeded
from promptlab.data.readers import as_examples
from promptlab.library.resolve import resolve_tuning

WIDTHS = (128, 384, 1024, 2048)
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
ANSWERS = {"negative": ["no"], "positive": ["yes"]}
WORDS = tuple(f"w{number}" for number in range(24))
N_TRAIN, N_TEST, LENGTH = 480, 256, 4
STEPS, BATCH = 60, 8
TEMPLATE = "{{ text_a }} {{ mask }}"
OLD: Mapping[str, float] = {  # the rates once given for width 768, that fell with the square of the width
    "full": 2.5e-5,
    "lora": 2e-4,
    "adapter": 1e-4,
    "ia3": 3e-3,
    "bitfit": 1e-3,
    "layer-norm": 1e-3,
}
GRID: Mapping[str, Sequence[float]] = {
    "full": (1e-5, 3e-5, 1e-4, 3e-4),
    "lora": (1.3e-4, 4e-4, 1.3e-3, 4e-3),
    "adapter": (1.3e-4, 4e-4, 1.3e-3, 4e-3),
    "ia3": (4e-3, 1.2e-2, 4e-2),
    "bitfit": (1.3e-3, 4e-3, 1.2e-2),
    "layer-norm": (1.3e-3, 4e-3, 1.2e-2),
}


def tokenizer() -> PreTrainedTokenizerFast:
    """One token a word."""
    vocabulary = {word: number for number, word in enumerate((*SPECIAL, "no", "yes", *WORDS))}
    made = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    made.add_special_tokens(list(SPECIAL))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[(token, vocabulary[token]) for token in ("[CLS]", "[SEP]")]
    )
    names = dict(zip(("pad_token", "unk_token", "cls_token", "sep_token", "mask_token"), SPECIAL))
    return PreTrainedTokenizerFast(tokenizer_object=made, model_max_length=32, **names)


def random_backbone(width: int) -> MaskedBackbone:
    """Return BERT of one layer whose matrices have entries of about 1 / √width, as trained ones have at every width."""
    config = BertConfig(
        vocab_size=len(SPECIAL) + len(ANSWERS) + len(WORDS), hidden_size=width, num_hidden_layers=1,
        num_attention_heads=width // 64, intermediate_size=4 * width, max_position_embeddings=32,
        initializer_range=width**-0.5, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
    )  # fmt: skip
    return MaskedBackbone(BertForMaskedLM(config).eval(), tokenizer(), name=f"random-{width}", revision="0")


@torch.inference_mode()
def states(classifier: Any, backbone: Any, texts: Sequence[str]) -> Tensor:
    """Return those of a backbone at the mask of each text, (texts, width)."""
    rows = classifier.model_.encode(as_examples(list(texts)))
    parts = [backbone.collate(rows[start : start + 64]) for start in range(0, len(rows), 64)]
    return torch.cat([backbone.eval().mask_states(part).hidden[:, 0] for part in parts])


def moved(after: Tensor, before: Tensor) -> float:
    return ((after - before).norm() / before.norm()).item()


@torch.no_grad()
def weights_moved(backbone: Any, origin: Any, tuning: Any) -> float | None:
    """Return the mean over the matrices that changed once what was added is merged into them; None if that can't be."""
    merged = backbone.copy()
    tuning.merge(merged)
    if merged.added_weights():
        return None
    pairs = zip(merged.model.parameters(), origin.model.parameters(), strict=True)
    shares = [moved(new, old) for new, old in pairs if old.ndim > 1 and not torch.equal(new, old)]
    return statistics.mean(shares) if shares else None


def jobs(options: argparse.Namespace) -> Iterator[Job]:
    for seed in options.seeds:
        for width in options.widths:
            for method in options.methods:
                for rate in (old_rate(method, width), *GRID[method]):
                    key = f"{method}/{width}/{rate:.2g}/{seed}"
                    yield key, functools.partial(run, options.setup, width, method, rate, seed)


def run(setup: Setup, width: int, method: str, rate: float, seed: int) -> dict[str, Any]:
    origin, texts, direction = drawn(width, seed)
    untrained = PromptClassifier(TEMPLATE, ANSWERS, origin, "none").fit(texts[:2], list(ANSWERS))
    before = states(untrained, origin, texts)
    scores = before @ direction
    labels = ["positive" if score > scores.median() else "negative" for score in scores]
    settings = setup.settings(tuning=method, learning_rate=rate, max_steps=STEPS, batch_size=BATCH, seed=seed)
    classifier = PromptClassifier(TEMPLATE, ANSWERS, origin, **settings)
    _, seconds = timed(lambda: classifier.fit(texts[:N_TRAIN], labels[:N_TRAIN]))
    tuned = classifier.model_.backbone
    right = [p == label for p, label in zip(classifier.predict(texts[N_TRAIN:]), labels[N_TRAIN:], strict=True)]
    return {
        "accuracy": sum(right) / N_TEST,
        "states_moved": moved(states(classifier, tuned, texts[N_TRAIN:]), before[N_TRAIN:]),
        "weights_moved": weights_moved(tuned, origin, resolve_tuning(method)),
        "seconds": seconds,
    }


def drawn(width: int, seed: int) -> tuple[MaskedBackbone, list[str], Tensor]:
    """Return a random model, texts, and the direction that divides them into classes."""
    with seeded(seed):
        origin = random_backbone(width)
        texts = [" ".join(WORDS[i] for i in torch.randint(len(WORDS), (LENGTH,))) for _ in range(N_TRAIN + N_TEST)]
        return origin, texts, torch.randn(width)


def old_rate(method: str, width: int) -> float:
    return OLD[method] * (768 / width) ** 2


def page(runs: Runs, about: Mapping[str, Any]) -> Page:
    seeds = sorted({int(key.rsplit("/", 1)[1]) for key in runs})
    note = (
        "Rows are widths, columns learning rates; of the old rule the rate stands first. Cells: accuracy in % on 256 "
        "texts, mean (standard deviation) over those of the seeds "
        f"{listed(seeds)} that have run; then by how much of their size the states at the mask moved, and "
        "the matrices that changed, where updates can be merged. Random BERT of one layer, 60 updates of 8 texts."
    )
    return Page([method_table(method, own) for method in GRID if (own := under(runs, method))], note)


def method_table(method: str, runs: Runs) -> str:
    rows = []
    for width in WIDTHS:
        old = old_rate(method, width)
        cells = [cell(runs, width, rate) for rate in GRID[method]]
        rows.append([str(width), f"{old:.2g}: {cell(runs, width, old)}", *cells])
    return table([method, "old rule", *(f"{rate:g}" for rate in GRID[method])], rows)


def cell(runs: Runs, width: int, rate: float) -> str:
    """Return the accuracy, and how far states and matrices moved."""
    own = list(under(runs, f"{width}/{rate:.2g}").values())
    if not own:
        return NONE
    merged = own[0]["weights_moved"] is not None
    shares = [statistics.mean(run[what] for run in own) for what in ("states_moved", "weights_moved")[: 1 + merged]]
    return f"{percent(own)}; {listed(f'{100 * share:.2g} %' for share in shares)}"


BENCHMARK = Benchmark(
    name="widths",
    title="Learning rates at several widths",
    doc=__doc__,
    stages=[jobs],
    page=page,
    options=[some_of("widths", WIDTHS), some_of("methods", GRID), values_of("seeds", 0, 1)],
    about={"model": "random"},
    packages=["peft"],
)

if __name__ == "__main__":
    BENCHMARK.main()
