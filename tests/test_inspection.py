from __future__ import annotations

import math

import pytest

from promptlab import (
    ManualVerbalizer,
    PromptClassifier,
    SoftVerbalizer,
    StringVerbalizer,
    SupportVerbalizer,
    WeightedVerbalizer,
    explain,
)
from promptlab.errors import VerbalizerError

TEMPLATE = "{{ text_a }} it was {{ mask }}"
TEXTS = ["the film was great", "a dull , lifeless mess"]
WORDS = {"n": ["bad", "awful"], "p": ["good"]}


def made(verbalizer, backbone, **settings):
    return PromptClassifier(TEMPLATE, verbalizer, backbone, "none", device="cpu", **settings)


@pytest.mark.parametrize(
    "verbalizer",
    [ManualVerbalizer(WORDS), WeightedVerbalizer(WORDS), SupportVerbalizer(ManualVerbalizer(WORDS), TEXTS)],
    ids=["manual", "weighted", "calibrated"],
)
def test_the_words_scores_and_shares_add_up_to_the_probabilities(tiny_backbone, verbalizer):
    classifier = made(verbalizer, tiny_backbone("bert"))
    probabilities = classifier.predict_proba(TEXTS)

    for report, row in zip(explain(classifier, TEXTS), probabilities, strict=True):
        totals = {c["class"]: sum(w["share"] * w["score"] for w in c["words"]) for c in report}
        norm = sum(map(math.exp, totals.values()))
        for part in report:
            own = row[classifier.classes_.tolist().index(part["class"])]
            assert part["probability"] == pytest.approx(own, abs=1e-6)
            assert math.exp(totals[part["class"]]) / norm == pytest.approx(own, abs=1e-5)
        assert report[0]["class"] == classifier.classes_[row.argmax()]
        assert sum(w["score"] for part in report for w in part["words"]) == pytest.approx(0, abs=1e-4)


def test_only_the_best_words_are_told_if_asked(tiny_backbone):
    report = explain(made(ManualVerbalizer(WORDS), tiny_backbone("bert")), TEXTS[:1], top_k=1)[0]

    assert [len(part["words"]) for part in report] == [1, 1]


def test_whole_answers_have_their_parts_too(tiny_backbone):
    strings = StringVerbalizer({"n": ["not good", "bad"], "p": "good"})

    report = explain(made(strings, tiny_backbone("bert")), TEXTS[:1])[0]

    assert {word["word"] for part in report for word in part["words"]} == {"not good", "bad", "good"}


def test_vectors_without_words_have_no_parts(tiny_backbone):
    with pytest.raises(VerbalizerError, match="SoftVerbalizer has no label words"):
        explain(made(SoftVerbalizer(WORDS), tiny_backbone("bert")), TEXTS)
