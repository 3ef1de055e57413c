"""LM-BFF's beam search for templates against the plain loop: the same T5, the same winners, how much faster?

    python benchmarks/speed/t5_templates.py [--beam 50] [--examples 32] [--longest 6]

The loop runs the whole model for one state and one example at a time: encoder, the decoder over all tokens so far,
logits of the whole vocabulary at all positions. promptlab's search runs the encoder once, goes on from the decoder's
keys and values and reads all states of several examples in one pass. The model is a T5 of width 256 with 4 + 4 layers,
trained here for a minute to fill gaps in reviews, so that it ends its gaps. The results go to benchmarks/results/.
"""

from __future__ import annotations

import argparse
import functools
import json
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from torch import Tensor
from transformers import PreTrainedTokenizerFast, T5Config, T5ForConditionalGeneration

from benchmarks.common.data import sample
from benchmarks.common.models import MODEL, loaded, texts_of
from benchmarks.common.options import value_of
from benchmarks.common.runs import Job, Measurement
from benchmarks.common.setup import Setup
from benchmarks.common.tables import Page, Runs, listed, table
from benchmarks.common.timing import timed
from promptlab import ManualTemplate
from promptlab.backbones.seq2seq import T5Backbone
from promptlab.search.generation_based.infill_engines import T5Search
from promptlab.search.generation_based.infill_reader import Infill, InfillNextTokens
from promptlab.search.generation_based.joint_beam import CLOSE, State, joint_beam
from promptlab.search.generation_based.writing import answered, layouts, vocabulary_of
from promptlab.search.templates.task import SearchTask

WORDS = {"negative": ("terrible",), "positive": ("great",)}
VOCABULARY, WIDTH, LAYERS = 8000, 256, 4
STEPS, BATCH = 60, 16
SPECIAL = ["<pad>", "</s>", "<unk>"]
SENTINELS = [f"<extra_id_{i}>" for i in range(3)]


def tokenizer_for(texts: Sequence[str]) -> PreTrainedTokenizerFast:
    """A Unigram tokenizer of T5's kind, learnt from texts."""
    learner = Tokenizer(models.Unigram())
    learner.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    trainer = trainers.UnigramTrainer(vocab_size=VOCABULARY, special_tokens=SPECIAL, unk_token="<unk>")
    learner.train_from_iterator(texts, trainer)
    pieces = json.loads(learner.to_str())["model"]["vocab"]
    vocabulary = [(piece, score) for piece, score in pieces] + [(sentinel, 0.0) for sentinel in SENTINELS]
    tokenizer = Tokenizer(models.Unigram(vocabulary, unk_id=2))
    added = [AddedToken(sentinel, lstrip=True, rstrip=True, special=True) for sentinel in SENTINELS]
    tokenizer.add_special_tokens([*SPECIAL, *added])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    tokenizer.decoder = decoders.Metaspace(prepend_scheme="always")
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", pair="$A </s> $B </s>", special_tokens=[("</s>", 1)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, model_max_length=512, pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
    )


def trained_t5(texts: Sequence[str], steps: int) -> T5Backbone:
    """A T5 that has learnt for a while which words are missing from reviews."""
    torch.manual_seed(0)
    tokenizer, draw = tokenizer_for(texts), random.Random(0)
    config = T5Config(
        vocab_size=len(tokenizer), d_model=WIDTH, d_kv=WIDTH // 8, d_ff=4 * WIDTH, num_layers=LAYERS, num_heads=8,
        decoder_start_token_id=0, pad_token_id=0, eos_token_id=1, dropout_rate=0.0,
    )  # fmt: skip
    model = T5ForConditionalGeneration(config)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    for _ in range(steps):
        inputs, targets = zip(*(with_gaps(draw.choice(texts).split(), draw) for _ in range(BATCH)), strict=True)
        batch = tokenizer(list(inputs), padding=True, return_tensors="pt", return_token_type_ids=False)
        wanted = tokenizer(list(targets), padding=True, return_tensors="pt")
        labels = wanted.input_ids.masked_fill(wanted.attention_mask == 0, -100)
        model(**batch, labels=labels).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return T5Backbone(model.eval(), tokenizer, name="t5-reviews")


def with_gaps(words: list[str], draw: random.Random) -> tuple[str, str]:
    """A text with two gaps of up to two words around one word, and what stood there."""
    middle = draw.randrange(len(words))
    first, second = words[max(0, middle - draw.randrange(3)) : middle], words[middle + 1 :][: draw.randrange(3)]
    before, after = words[: middle - len(first)], words[middle + 1 + len(second) :]
    text = [*before, SENTINELS[0], words[middle], SENTINELS[1], *after]
    return " ".join(text), " ".join([SENTINELS[0], *first, SENTINELS[1], *second, SENTINELS[2]])


@torch.inference_mode()
def plain_loop(
    model: Any, rows: Sequence[Infill], allowed: Callable[[State], Tensor], width: int, longest: int
) -> list[State]:
    """The same search with one pass of the whole model for every state and example."""
    states, done = [State()], list[State]()
    for _ in range(longest):
        grown = []
        for state in states:
            total: Any = 0.0
            ends: Any = 0.0
            for row in rows:
                said = list(row.prefix)
                for place, token in enumerate(state.tokens):
                    n_closed = state.tokens[:place].count(CLOSE)
                    said.append(row.closers[n_closed][0] if token == CLOSE else token)
                logits = model(
                    input_ids=torch.tensor([list(row.input_ids)]), decoder_input_ids=torch.tensor([said])
                ).logits  # (1, length, vocabulary)
                log_probs = logits.log_softmax(dim=-1)[0, -1].double()
                total = total + log_probs
                ends = ends + log_probs[list(row.closers[state.n_closed])]
            scores = (total / len(rows)).masked_fill(~allowed(state), -torch.inf).tolist()
            grown += [State((*state.tokens, i), state.score + score) for i, score in enumerate(scores)]
            grown.append(State((*state.tokens, CLOSE), state.score + (ends / len(rows)).max().item()))
        best = sorted([*done, *grown], key=lambda state: (-state.score, state.tokens))[:width]
        done = [state for state in best if state.n_closed == 2]
        states = [state for state in best if state.n_closed < 2]
    return done


def jobs(options: argparse.Namespace) -> Iterator[Job]:
    yield "search", functools.partial(run, options.setup, options.beam, options.examples, options.longest)


def run(setup: Setup, beam: int, examples: int, longest: int) -> dict[str, Any]:
    """Return seconds of both searches, which must end with the same winners."""
    steps = setup.settings(max_steps=STEPS)["max_steps"]
    writer = trained_t5(texts_of(setup.some(sample("sst2").pool)), steps)
    train, _ = sample("sst2").few_shot(13)
    task = SearchTask(train[:examples], [], WORDS, loaded(MODEL))
    vocabulary, infills = vocabulary_of(writer, task), infills_of(writer, task, examples)

    def allowed(state: State) -> Tensor:
        return vocabulary.allowed(state.gaps[-1], vocabulary.starts)

    def ours() -> list[State]:
        reader = InfillNextTokens(writer.copy(), infills, beam)
        return joint_beam(reader, allowed, n_gaps=2, width=beam, longest=longest)

    ours()  # warms up
    fast, seconds = timed(ours, time.process_time)
    loop = functools.partial(plain_loop, writer.model, infills, allowed, beam, longest)
    plain, plain_seconds = timed(loop, time.process_time)
    return {
        "winners": len(fast),
        "seconds": seconds,
        "plain_seconds": plain_seconds,
        "ratio": plain_seconds / seconds,
        "scores_apart": scores_apart(fast, plain),
        "best": [f"S{vocabulary.text(state.gaps[0])} [MASK]{vocabulary.text(state.gaps[1])}" for state in fast[:3]],
    }


def infills_of(writer: T5Backbone, task: SearchTask, examples: int) -> Sequence[Infill]:
    """Return the examples with gaps around their label words, the text first."""
    rows, template = answered(task, examples), ManualTemplate(layouts(task)[0].open())
    prompts = writer.encode([template.render(row.example) for row in rows], soft_ids={})
    return T5Search().infills(writer, rows, prompts)


def scores_apart(fast: Sequence[State], plain: Sequence[State]) -> float:
    """Return by how many nats the scores of the same winners differ at most."""
    if [state.tokens for state in fast] != [state.tokens for state in plain]:
        raise RuntimeError(f"the winners differ: {fast} against {plain}")
    return max(abs(one.score - other.score) for one, other in zip(fast, plain, strict=True))


def page(runs: Runs, about: Mapping[str, Any]) -> Page:
    run = runs["search"]
    rows = [["plain loop", f"{run['plain_seconds']:.1f}"], ["promptlab", f"{run['seconds']:.2f}"]]
    found = (
        f"{run['ratio']:.0f} times as fast (target: at least 10), the same {run['winners']} finished winners in the "
        f"same order, scores at most {run['scores_apart']:.1e} nats apart. The best: "
        f"{listed(f'`{best}`' for best in run['best'])}."
    )
    note = (
        f"Beam {about['beam']}, {about['examples']} reviews of SST-2, {about['longest']} steps, the text first. "
        f"A T5 of width {WIDTH} with {LAYERS} + {LAYERS} layers and {VOCABULARY} tokens, trained for {STEPS} steps to "
        "fill gaps; one thread."
    )
    return Page([table(["search", "CPU seconds"], rows), found], note)


BENCHMARK = Measurement(
    name="t5_templates",
    title="T5 templates: promptlab's beam search against the plain loop",
    doc=__doc__,
    stages=[jobs],
    page=page,
    options=[value_of("beam", 50), value_of("examples", 32), value_of("longest", 6)],
    recorded=["beam", "examples", "longest"],
    own_process=True,
)

if __name__ == "__main__":
    BENCHMARK.main()
