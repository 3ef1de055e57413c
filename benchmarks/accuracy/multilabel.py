"""Several topics a text: micro- and macro-F1 over five seeds, minilm, on texts put together from the shipped samples.

    python benchmarks/accuracy/multilabel.py [--methods …] [--seeds 13 21 42 87 100]

There is no multi-label data in the samples, so that it is made: a text is the beginnings of 0 to 3 AG News articles,
each of another topic, in random order; where there are fewer than 2, an SST-2 sentence stands among them. Its labels
are the topics. Training, dev and test texts are made from the samples' training, dev and test rows.

Every finished run is kept in results/multilabel.json, so that an interrupted benchmark goes on where it stopped; the
table is written to results/multilabel.md.
"""

from __future__ import annotations

import functools
import random
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import make_pipeline
from torch import Tensor

from benchmarks.common.runs import MODEL, SEEDS, keep, mean, parser, sweep
from promptlab import LinearVerbalizer, MultiLabelClassifier, SoftVerbalizer, WeightedVerbalizer, load_backbone
from promptlab.core.types import Example
from promptlab.data.multi_label import MultiLabeled
from promptlab.data.samples import load_sample
from promptlab.library.tasks import verbalizer_entry
from promptlab.models.multi_label_model import MultiLabelModel
from promptlab.templates.plain import InputTemplate
from promptlab.training.thresholds import HALF, choose_thresholds
from promptlab.verbalizers.independent import IndependentHead

TOPICS = ["Business", "Sci/Tech", "Sports", "World"]
N_WORDS, N_TRAIN, N_TEST = 12, 64, 200
TEMPLATE, STEPS = "ag_news/news", 60  # steps of fine-tuning; the default would be 200
THRESHOLDS = {"0.5": HALF, "global": "global", "per class": "per-class"}


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


class WithHead(MultiLabelClassifier):
    """A classifier with another head than its own."""

    @classmethod
    def of(cls, head: type[IndependentHead], *parts: Any, **settings: Any) -> WithHead:
        class Model(MultiLabelModel):
            def __init__(self, template: Any, verbalizer: Any, backbone: Any, inner: Any, soft: Any) -> None:
                super().__init__(template, verbalizer, backbone, inner, soft)
                self.head = head(inner, len(verbalizer.classes))

        classifier = cls(*parts, **settings)
        classifier.model_class = Model
        return classifier


class TfidfBaseline:
    """Words and pairs of words, weighted by TF-IDF, into a logistic regression for each topic."""

    def __init__(self) -> None:
        features = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
        self.pipeline = make_pipeline(features, OneVsRestClassifier(LogisticRegression(C=10)))

    def fit(self, train: Sequence[Example], eval_set: Any = None) -> TfidfBaseline:
        self.pipeline.fit([e.fields["text_a"] for e in train], truth(train))
        return self

    def predict_proba(self, examples: Sequence[Example]) -> np.ndarray:
        return self.pipeline.predict_proba([e.fields["text_a"] for e in examples])


@functools.cache
def backbone() -> Any:
    return load_backbone(MODEL)


def methods(seed: int) -> Mapping[str, Callable[[], Any]]:
    """Name → a new classifier."""
    words = dict(verbalizer_entry("ag_news/wide").label_words)
    settings: dict[str, Any] = {"seed": seed, "device": "cpu"}
    tuned = {**settings, "max_steps": STEPS, "eval_every": STEPS // 3}
    few = {**settings, "eval_every": 125}
    soft, weighted, linear = SoftVerbalizer(words), WeightedVerbalizer(words), LinearVerbalizer(tuple(TOPICS))
    return {
        "TF-IDF + logistic regressions": TfidfBaseline,
        "label words, nothing trained": lambda: MultiLabelClassifier(TEMPLATE, words, backbone(), "none", **settings),
        "label words, less the classes' mean": lambda: WithHead.of(
            LessMean, TEMPLATE, words, backbone(), "none", **settings
        ),
        "label words, less the vocabulary's log-sum": lambda: WithHead.of(
            LessVocabulary, TEMPLATE, words, backbone(), "none", **settings
        ),
        "weighted label words, model frozen": lambda: MultiLabelClassifier(
            TEMPLATE, weighted, backbone(), "frozen", **few
        ),
        "soft verbalizer, model frozen": lambda: MultiLabelClassifier(TEMPLATE, soft, backbone(), "frozen", **few),
        "soft verbalizer, less the classes' mean": lambda: WithHead.of(
            LessMean, TEMPLATE, soft, backbone(), "frozen", **few
        ),
        "soft verbalizer, less the vocabulary's log-sum": lambda: WithHead.of(
            LessVocabulary, TEMPLATE, soft, backbone(), "frozen", **few
        ),
        "linear probe": lambda: MultiLabelClassifier(InputTemplate(), linear, backbone(), "frozen", **few),
        "label words, fine-tuned": lambda: MultiLabelClassifier(TEMPLATE, words, backbone(), "full", **tuned),
    }


def texts(news: Sequence[Example], fill: Sequence[Example], n: int, seed: int) -> list[Example]:
    """Texts of 0 to 3 topics, as many of each number."""
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
    """1 where a topic holds, else 0."""
    return MultiLabeled.read(examples, None, TOPICS).targets(TOPICS).numpy().astype(int)


def run(method: str, seed: int) -> dict[str, Any]:
    """Train on one split, choose weights and thresholds on its dev half, score on the test texts."""
    news, fill = load_sample("ag_news"), load_sample("sst2")
    (news_train, news_dev), (fill_train, fill_dev) = news.few_shot(seed), fill.few_shot(seed)
    train, dev = texts(news_train, fill_train, N_TRAIN, seed), texts(news_dev, fill_dev, N_TRAIN, seed)
    test = texts(news.test, fill.test, N_TEST, 0)
    start = time.process_time()
    classifier = methods(seed)[method]().fit(train, eval_set=(dev, None))
    seconds = time.process_time() - start
    probabilities, on_dev = classifier.predict_proba(test), classifier.predict_proba(dev)
    scores: dict[str, Any] = {"train_cpu_seconds": seconds}
    for name, threshold in THRESHOLDS.items():
        said = (probabilities >= choose_thresholds(threshold, on_dev, truth(dev))).astype(int)
        for average in ("micro", "macro"):
            scores[f"{average}/{name}"] = float(f1_score(truth(test), said, average=average, zero_division=0))
    return scores


def table(results: Mapping[str, Mapping[str, Any]]) -> str:
    """Mean and standard deviation over the seeds, a row for each method."""
    columns = [f"{average}/{name}" for name in THRESHOLDS for average in ("micro", "macro")]
    titles = [f"{average}-F1, threshold {name}" for name in THRESHOLDS for average in ("micro", "macro")]
    lines = ["| method | " + " | ".join(titles) + " |", "|---" * (len(titles) + 1) + "|"]
    for method in methods(0):
        runs = [results[key] for seed in SEEDS if (key := f"{method}/{seed}") in results]
        cells = [mean([100 * one[column] for one in runs]) for column in columns]
        lines.append(f"| {method} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def write(results: Mapping[str, Mapping[str, Any]]) -> None:
    note = (
        f"In %, mean (standard deviation) over the seeds {', '.join(map(str, SEEDS))}; {N_TRAIN} training and "
        f"{N_TRAIN} dev texts, {N_TEST} test texts; model {MODEL}. The texts are made: the first {N_WORDS} "
        "words of 0 to 3 AG News articles of different topics, in random order, with an SST-2 sentence where there are "
        f"fewer than 2; the labels are the topics. Fine-tuning has {STEPS} steps. Weights and thresholds are chosen on "
        "dev, but for 0.5."
    )
    keep("multilabel", "Several topics a text", results, [table(results)], note, packages=["scikit-learn"], seeds=SEEDS)


def main() -> None:
    options_of = parser(__doc__)
    options_of.add_argument("--methods", nargs="+", default=list(methods(0)), choices=list(methods(0)))
    options_of.add_argument("--seeds", nargs="+", type=int, default=list(SEEDS), choices=SEEDS)
    options = options_of.parse_args()
    jobs = [
        (f"{method}/{seed}", functools.partial(run, method, seed))
        for seed in options.seeds
        for method in options.methods
    ]
    print(table(sweep("multilabel", jobs, write, processes=options.processes)))


if __name__ == "__main__":
    main()
