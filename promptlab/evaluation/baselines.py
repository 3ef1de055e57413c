"""The demonstration: four ways to classify SST-2 from 16 examples a class, on real data and offline."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from promptlab.core.inputs import ModelLike
from promptlab.data.samples import Sample, load_sample
from promptlab.estimators.classifiers import HeadClassifier, PromptClassifier

TASK = "sst2"


class DemoRow(NamedTuple):
    """One method's result: accuracy on the dev sentences, seconds of training and prediction, weights trained."""

    method: str
    accuracy: float
    seconds: float
    trained_weights: int
    classifier: PromptClassifier | HeadClassifier


def methods(task: str, model: ModelLike, seed: int) -> Mapping[str, Callable[[], PromptClassifier | HeadClassifier]]:
    """Name → a new classifier with promptlab's defaults for a task of the library."""
    return {
        "zero-shot prompt": lambda: PromptClassifier(task, task, model, tuning="none", seed=seed),
        "linear probe": lambda: HeadClassifier(model, tuning="frozen", seed=seed),
        "head fine-tuning": lambda: HeadClassifier(model, tuning="full", seed=seed),
        "prompt fine-tuning": lambda: PromptClassifier(task, task, model, tuning="full", seed=seed),
    }


def run_demo(model: ModelLike = "minilm", *, split: int = 13, seed: int = 0) -> Iterator[DemoRow]:
    """Train each method on the same 16-shot split, pick its best weights on as many dev examples, score it."""
    sample: Sample = load_sample(TASK)
    train, dev = sample.few_shot(split)
    truth = [example.label for example in sample.test]
    for name, make in methods(TASK, model, seed).items():
        start = time.perf_counter()
        classifier = make().fit(train, eval_set=(dev, None))
        predicted = classifier.predict(sample.test)
        accuracy = sum(p == t for p, t in zip(predicted, truth, strict=True)) / len(truth)
        yield DemoRow(name, accuracy, time.perf_counter() - start, classifier.trainable_parameters(), classifier)
