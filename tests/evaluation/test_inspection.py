from __future__ import annotations

import math

import pytest
import torch

from promptlab import (
    ManualVerbalizer,
    MultiTokenVerbalizer,
    PromptClassifier,
    SoftVerbalizer,
    SupportCalibration,
    WeightedVerbalizer,
    class_words,
    explain,
)
from promptlab.core.errors import UnknownNameError, VerbalizerError
from promptlab.core.types import Example
from promptlab.evaluation.inspection import inspect_prompt

TEMPLATE = "{{ text_a }} it was {{ mask }}"
TEXTS = ["the film was great", "a dull , lifeless mess"]
WORDS = {"n": ["bad", "awful"], "p": ["good"]}


def made(verbalizer, backbone, **settings):
    return PromptClassifier(TEMPLATE, verbalizer, backbone, "none", device="cpu", **settings)


@pytest.mark.parametrize(
    "verbalizer",
    [ManualVerbalizer(WORDS), WeightedVerbalizer(WORDS), SupportCalibration(ManualVerbalizer(WORDS), TEXTS)],
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
    strings = MultiTokenVerbalizer({"n": ["not good", "bad"], "p": "good"})

    report = explain(made(strings, tiny_backbone("bert")), TEXTS[:1])[0]

    assert {word["word"] for part in report for word in part["words"]} == {"not good", "bad", "good"}


def test_vectors_without_words_have_no_parts(tiny_backbone):
    with pytest.raises(VerbalizerError, match="SoftVerbalizer has no label words"):
        explain(made(SoftVerbalizer(WORDS), tiny_backbone("bert")), TEXTS)


def test_mean_log_probs_of_words_are_those_of_the_language_model_by_hand(tiny_backbone, monkeypatch):
    monkeypatch.setattr("promptlab.evaluation.inspection.CHUNK", 2)
    backbone = tiny_backbone("bert")
    texts, labels = [*TEXTS, "awful acting"], ["p", "n", "n"]
    rows = []
    for text in texts:
        ids = backbone.tokenizer(f"{text} it was [MASK]")["input_ids"]
        with torch.no_grad():
            logits = backbone.model(torch.tensor([ids])).logits[0, ids.index(backbone.tokenizer.mask_token_id)]
        log_probs = logits.log_softmax(dim=-1)
        rows.append(
            {w: log_probs[backbone.tokenizer.convert_tokens_to_ids(w)].item() for w in ("bad", "awful", "good")}
        )

    table = class_words(made(ManualVerbalizer(WORDS), backbone), texts, labels)

    assert [(row["class"], row["word"], row["weight"]) for row in table] == [
        ("n", "bad", 0.5), ("n", "awful", 0.5), ("p", "good", 1.0)
    ]  # fmt: skip
    for row in table:
        own = [each[row["word"]] for each in rows]
        assert row["mean_log_prob"] == pytest.approx(sum(own) / 3, abs=1e-4)
        assert row["by_class"] == {"n": pytest.approx(sum(own[1:]) / 2, abs=1e-4), "p": pytest.approx(own[0], abs=1e-4)}


def test_whole_answers_have_mean_log_probs_and_a_class_without_texts_has_none(tiny_backbone):
    backbone = tiny_backbone("bert")
    strings = MultiTokenVerbalizer({"n": ["not good", "bad"], "p": "good"}, per_token=False)

    table = class_words(made(strings, backbone), TEXTS[:1], ["n"])

    assert [list(row["by_class"]) for row in table] == [["n"]] * 3
    words = class_words(made(ManualVerbalizer({"n": "bad", "p": "good"}), backbone), TEXTS[:1], ["n"])
    assert table[1]["mean_log_prob"] == pytest.approx(words[0]["mean_log_prob"], abs=1e-4)


def test_a_calibrated_word_is_told_less_its_prior(tiny_backbone):
    backbone, labels = tiny_backbone("bert"), ["p", "n"]
    plain, calibrated = ManualVerbalizer(WORDS), SupportCalibration(ManualVerbalizer(WORDS), TEXTS)

    rows = zip(*(class_words(made(v, backbone), TEXTS, labels) for v in (plain, calibrated)), strict=True)

    priors = [math.exp(one["mean_log_prob"] - other["mean_log_prob"]) for one, other in rows]
    assert sum(priors) == pytest.approx(1, abs=1e-4)


def test_labels_of_no_class_and_vectors_without_words_have_no_table(tiny_backbone):
    with pytest.raises(UnknownNameError, match="unknown label 'x'"):
        class_words(made(ManualVerbalizer(WORDS), tiny_backbone("bert")), TEXTS, ["p", "x"])
    with pytest.raises(VerbalizerError, match="SoftVerbalizer has no label words"):
        class_words(made(SoftVerbalizer(WORDS), tiny_backbone("bert")), TEXTS, ["p", "n"])


def test_a_likely_row_past_the_tokenizer_is_shown_by_its_id(tiny_backbone):
    """Many tables are padded, so that they have more rows than the tokenizer has tokens."""
    backbone = tiny_backbone("bert")
    size = backbone.vocabulary
    backbone.model.resize_token_embeddings(size + 3)
    backbone.model.cls.predictions.decoder.bias.data[size + 1] = 100.0
    padded = type(backbone)(backbone.model, backbone.tokenizer)

    report = inspect_prompt("{{ text_a }} was {{ mask }}", Example({"text_a": "a film"}), model=padded)

    assert report["masks"][0][0]["word"] == f"<id {size + 1}>"
