"""Several topics a text: micro- and macro-F1 over five seeds, minilm, on texts put together from the shipped samples.

    python benchmarks/accuracy/multilabel.py [--methods …] [--seeds 13 21 42 87 100]

There is no multi-label data in the samples, so that it is made: a text is the beginnings of 0 to 3 AG News articles,
each of another topic, in random order; where there are fewer than 2, an SST-2 sentence stands among them. Its labels
are the topics. Training, dev and test texts are made from the samples' training, dev and test rows.

Every finished run is kept in results/multilabel.json, so that an interrupted benchmark goes on where it stopped; the
table is written to results/multilabel.md.
"""

from __future__ import annotations

import argparse
import functools
import random
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score
from sklearn.multiclass import OneVsRestClassifier
from torch import Tensor

from benchmarks.common.data import sample
from benchmarks.common.models import MODEL, TfidfBaseline, loaded
from benchmarks.common.options import SOME_SEEDS, some_of
from benchmarks.common.runs import Benchmark, Job
from benchmarks.common.setup import SEEDS, Setup
from benchmarks.common.tables import Page, Runs, listed, over_seeds, percent, table
from benchmarks.common.timing import timed
from promptlab import LinearVerbalizer, MultiLabelClassifier, SoftVerbalizer, WeightedVerbalizer
from promptlab.core.types import Example
from promptlab.data.multi_label import MultiLabeled
from promptlab.library.tasks import verbalizer_entry
from promptlab.models.multi_label_model import MultiLabelModel
from promptlab.templates.plain import InputTemplate
from promptlab.training.thresholds import HALF, choose_thresholds
from promptlab.verbalizers.independent import IndependentHead

TOPICS = ["Business", "Sci/Tech", "Sports", "World"]
N_WORDS, N_TRAIN, N_TEST = 12, 64, 200
TEMPLATE, STEPS = "ag_news/news", 60  # steps of fine-tuning; the default would be 200
THRESHOLDS = {"0.5": HALF, "global": "global", "per class": "per-class"}
AVERAGES = ("micro", "macro")


class LessMean(IndependentHead):
    """Scores less their mean over the classes."""

    def log_odds(self, answer: Any) -> Tensor:
        scores = self.inner.class_scores(answer)
        return scores - scores.mean(dim=-1, keepdim=True) + self.bias


class LessVocabulary(IndependentHead):
    """Scores less the log of the sum over the vocabulary: log-probabilities of the language model."""

    def log_odds(self, answer: Any) -> Tensor:
        log_sum = answer.logits()[:, 0].logsumexp(dim=-1, keepdim=True)
        return self.inner.class_scores(answer) - log_sum + self.bias


@dataclass(frozen=True)
class Prompted:
    """A method with a prompt.

    Args:
        head: another than the classifier's own.
    """

    verbalizer: Any
    settings: Mapping[str, Any]
    head: type[IndependentHead] | None = None
    template: Any = TEMPLATE

    def classifier(self, setup: Setup, seed: int) -> MultiLabelClassifier:
        settings = setup.settings(seed=seed, **self.settings)
        classifier = MultiLabelClassifier(self.template, self.verbalizer, loaded(MODEL), **settings)
        return classifier if self.head is None else with_head(classifier, self.head)


def with_head(classifier: MultiLabelClassifier, head: type[IndependentHead]) -> MultiLabelClassifier:
    """Give a classifier another head than its own."""

    class Model(MultiLabelModel):
        def __init__(self, template: Any, verbalizer: Any, backbone: Any, inner: Any, soft: Any) -> None:
            super().__init__(template, verbalizer, backbone, inner, soft)
            self.head = head(inner, len(verbalizer.classes))

    classifier.model_class = Model
    return classifier


class WithoutPrompt:
    """The method without a prompt: a logistic regression of words for each topic."""

    def classifier(self, setup: Setup, seed: int) -> TfidfBaseline:
        return TfidfBaseline(OneVsRestClassifier(LogisticRegression(C=10)), truth)


WORDS = dict(verbalizer_entry("ag_news/wide").label_words)
SOFT = SoftVerbalizer(WORDS)
NONE, FROZEN = {"tuning": "none"}, {"tuning": "frozen", "eval_every": 125}
TUNED = {"tuning": "full", "max_steps": STEPS, "eval_every": STEPS // 3}
METHODS: Mapping[str, Prompted | WithoutPrompt] = {
    "TF-IDF + logistic regressions": WithoutPrompt(),
    "label words, nothing trained": Prompted(WORDS, NONE),
    "label words, less the classes' mean": Prompted(WORDS, NONE, LessMean),
    "label words, less the vocabulary's log-sum": Prompted(WORDS, NONE, LessVocabulary),
    "weighted label words, model frozen": Prompted(WeightedVerbalizer(WORDS), FROZEN),
    "soft verbalizer, model frozen": Prompted(SOFT, FROZEN),
    "soft verbalizer, less the classes' mean": Prompted(SOFT, FROZEN, LessMean),
    "soft verbalizer, less the vocabulary's log-sum": Prompted(SOFT, FROZEN, LessVocabulary),
    "linear probe": Prompted(LinearVerbalizer(tuple(TOPICS)), FROZEN, template=InputTemplate()),
    "label words, fine-tuned": Prompted(WORDS, TUNED),
}


def texts(news: Sequence[Example], fill: Sequence[Example], n: int, seed: int) -> list[Example]:
    """Return texts of 0 to 3 topics, as many of each number."""
    rng = random.Random(seed)
    by_topic = {topic: [e.fields["text_a"] for e in news if e.label == topic] for topic in TOPICS}
    rows = []
    for i in range(n):
        topics = rng.sample(TOPICS, i % 4)
        pieces = [rng.choice(by_topic[topic]) for topic in topics]
        pieces += [rng.choice(fill).fields["text_a"]] if len(pieces) < 2 else []
        rng.shuffle(pieces)
        text = " ".join(" ".join(piece.split()[:N_WORDS]) for piece in pieces)
        rows.append(Example({"text_a": text}, labels=tuple(sorted(topics))))
    return rows


def truth(examples: Sequence[Example]) -> np.ndarray:
    """Return 1 where a topic holds, else 0."""
    return MultiLabeled.read(examples, None, TOPICS).targets(TOPICS).numpy().astype(int)


def jobs(options: argparse.Namespace) -> Iterator[Job]:
    for seed in options.seeds:
        for method in options.methods:
            yield f"{method}/{seed}", functools.partial(run, options.setup, method, seed)


def run(setup: Setup, method: str, seed: int) -> dict[str, Any]:
    """Train on one split, choose weights and thresholds on its dev half, score on the test texts."""
    news, fill = sample("ag_news"), sample("sst2")
    pairs = zip(news.few_shot(seed), fill.few_shot(seed), strict=True)
    train, dev = (setup.some(texts(*pair, N_TRAIN, seed)) for pair in pairs)
    test = setup.some(texts(news.test, fill.test, N_TEST, 0))
    classifier, seconds = timed(
        lambda: METHODS[method].classifier(setup, seed).fit(train, eval_set=(dev, None)), time.process_time
    )
    found = f1_scores(classifier.predict_proba(test), test, classifier.predict_proba(dev), dev)
    return {"train_cpu_seconds": seconds, **found}


def f1_scores(
    probabilities: np.ndarray, test: Sequence[Example], on_dev: np.ndarray, dev: Sequence[Example]
) -> dict[str, float]:
    """Return micro- and macro-F1 on test with each threshold that is chosen on dev."""
    scores = {}
    for name, threshold in THRESHOLDS.items():
        said = (probabilities >= choose_thresholds(threshold, on_dev, truth(dev))).astype(int)
        for average in AVERAGES:
            scores[f"{average}/{name}"] = float(f1_score(truth(test), said, average=average, zero_division=0))
    return scores


def page(runs: Runs, about: Mapping[str, Any]) -> Page:
    columns = {f"{average}-F1, threshold {name}": f"{average}/{name}" for name in THRESHOLDS for average in AVERAGES}
    rows = [[method, *(percent(over_seeds(runs, method), what) for what in columns.values())] for method in METHODS]
    note = (
        f"In %, mean (standard deviation) over the seeds {listed(SEEDS)}; {N_TRAIN} training and "
        f"{N_TRAIN} dev texts, {N_TEST} test texts; model {MODEL}. The texts are made: the first {N_WORDS} "
        "words of 0 to 3 AG News articles of different topics, in random order, with an SST-2 sentence where there are "
        f"fewer than 2; the labels are the topics. Fine-tuning has {STEPS} steps. Weights and thresholds are chosen on "
        "dev, but for 0.5."
    )
    return Page([table(["method", *columns], rows)], note)


BENCHMARK = Benchmark(
    name="multilabel",
    title="Several topics a text",
    doc=__doc__,
    stages=[jobs],
    page=page,
    options=[some_of("methods", METHODS), SOME_SEEDS],
    about={"seeds": SEEDS},
    packages=["scikit-learn"],
)

if __name__ == "__main__":
    BENCHMARK.main()
