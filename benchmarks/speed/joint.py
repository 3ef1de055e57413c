"""Eight classifiers on one backbone: memory, and the time of one batch for all of them.

    python benchmarks/speed/joint.py [--rounds 5]

Memory is what the process grows by when eight saved LoRA classifiers are loaded on one backbone, and each with its
own. Time is for 256 sentences of SST-2, with minilm: all through one classifier, shared out among eight in mixed
batches, and among eight that run one after the other; and for training eight soft prompts together and one by one.
Interleaved in one process, medians. The figures are kept in results/joint.json, the table in
results/joint.md.
"""

from __future__ import annotations

import argparse
import functools
import gc
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil

from benchmarks.common.data import sample
from benchmarks.common.models import MODEL, fresh
from benchmarks.common.options import value_of
from benchmarks.common.runs import Job, Measurement
from benchmarks.common.setup import Setup
from benchmarks.common.tables import Page, Runs, table
from benchmarks.common.timing import in_turn, medians, ratio
from promptlab import JointClassifier, LoRA, PromptClassifier, PromptTuning, PTuningV2
from promptlab.core.types import Example

N = 8
ROWS = 256
METHODS: Mapping[str, Any] = {"prompt tuning": PromptTuning(), "P-Tuning v2": PTuningV2(), "LoRA": LoRA()}


def jobs(options: argparse.Namespace) -> Iterator[Job]:
    setup, rounds = options.setup, options.rounds
    yield "memory_mib", functools.partial(memory, setup)
    yield "prediction_over_one_classifier", functools.partial(predictions, setup, rounds)
    yield "training_one_by_one_over_together", functools.partial(training, setup, rounds)


def train_rows() -> Sequence[Example]:
    return sample("sst2").few_shot(13)[0]


def classifier(setup: Setup, model: Any, tuning: Any, *, seed: int = 0, **settings: Any) -> PromptClassifier:
    return PromptClassifier("sst2", "sst2", model, **setup.settings(tuning=tuning, seed=seed, **settings))


def memory(setup: Setup) -> dict[str, float]:
    """Return the MiB that eight LoRA classifiers take."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "saved"
        classifier(setup, fresh(MODEL), LoRA(), max_steps=1).fit(train_rows()).save_pretrained(place)
        backbones = {"shared": functools.cache(fresh), "own": fresh}
        return {name: grown(place, backbone) for name, backbone in backbones.items()}


def grown(place: Path, backbone: Callable[[str], Any]) -> float:
    """Return the MiB that the process grows by when a saved classifier is loaded eight times."""
    gc.collect()
    before = psutil.Process().memory_info().rss
    kept = [PromptClassifier.from_pretrained(place, model=backbone(MODEL)) for _ in range(N)]
    after = psutil.Process().memory_info().rss
    del kept
    return (after - before) / 2**20


def predictions(setup: Setup, rounds: int) -> dict[str, dict[str, float]]:
    return {name: prediction(setup, tuning, rounds) for name, tuning in METHODS.items()}


def prediction(setup: Setup, tuning: Any, rounds: int) -> dict[str, float]:
    """Return the time of eight classifiers over that of one, for as many texts."""
    backbone, texts = fresh(MODEL), setup.some(sample("sst2").test[:ROWS])
    fitted = {
        str(seed): classifier(setup, backbone, tuning, max_steps=1, seed=seed).fit(train_rows()) for seed in range(N)
    }
    names = [str(i % N) for i in range(len(texts))]
    joint = JointClassifier(fitted, backbone)
    contestants = {
        "one": lambda: fitted["0"].predict(texts),
        "mixed": lambda: joint.predict(texts, names),
        "in turn": lambda: [fitted[str(i)].predict(texts[i::N]) for i in range(N)],
    }
    seconds = medians(in_turn(contestants, rounds))
    return {name: value / seconds["one"] for name, value in seconds.items()}


def training(setup: Setup, rounds: int) -> float:
    """Return the time of eight soft prompts trained one by one, over that of training them together."""
    train, backbone = train_rows(), fresh(MODEL)

    def prompts(model: Any = None) -> dict[str, PromptClassifier]:
        settings: dict[str, Any] = {"max_steps": 5, "learning_rate": 3e-3}
        return {str(seed): classifier(setup, model, PromptTuning(), seed=seed, **settings) for seed in range(N)}

    data = {str(seed): train for seed in range(N)}
    contestants = {
        "together": lambda: JointClassifier(prompts(), backbone).fit(data),
        "one by one": lambda: [classifier.fit(train) for classifier in prompts(backbone).values()],
    }
    return ratio(in_turn(contestants, rounds), "one by one", "together")


def page(runs: Runs, about: Mapping[str, Any]) -> Page:
    heads = ["eight classifiers", "mixed batches / one classifier, time", "in turn / one classifier, time"]
    times = runs["prediction_over_one_classifier"]
    rows = [[name, f"{row['mixed']:.2f}", f"{row['in turn']:.2f}"] for name, row in times.items()]
    memory = runs["memory_mib"]
    note = (
        f"{ROWS} sentences of SST-2 through one classifier, or shared out among {N}; medians of {about['rounds']} "
        f"interleaved rounds, one process, CPU, model {MODEL}. {N} soft prompts trained one by one take "
        f"{runs['training_one_by_one_over_together']:.2f} times as long as together. {N} LoRA classifiers loaded on "
        f"one backbone take {memory['shared']:.0f} MiB, each with its own {memory['own']:.0f} MiB."
    )
    return Page([table(heads, rows)], note)


BENCHMARK = Measurement(
    name="joint",
    title="Several classifiers on one backbone",
    doc=__doc__,
    stages=[jobs],
    page=page,
    options=[value_of("rounds", 5)],
    recorded=["rounds"],
    about={"n": N},
)

if __name__ == "__main__":
    BENCHMARK.main()
