from __future__ import annotations

import json
import math
import warnings

import numpy as np
import pytest
import torch

from promptlab import (
    ContextualCalibration,
    ManualVerbalizer,
    MultiLabelClassifier,
    MultiTokenVerbalizer,
    PromptClassifier,
    PrototypicalVerbalizer,
    PVPEnsemble,
    SupportCalibration,
)
from promptlab.core.errors import PromptlabWarning, VerbalizerError
from promptlab.core.types import AnswerSlot
from promptlab.estimators.saving import load_any
from promptlab.library.resolve import resolve_verbalizer
from promptlab.verbalizers.words import WordsVerbalizer

TEMPLATE = "{{ text_a }} was {{ mask }}"
TEXTS = ["the film was great", "a dull mess", "good acting", "just awful"]
LABELS = ["positive", "negative", "positive", "negative"]
LONG = {"negative": ["dull mess", "awful"], "positive": ["great"]}
SHORT = {"negative": ["dull", "awful"], "positive": ["great"]}
ANSWERS = MultiTokenVerbalizer(LONG, "mean-prob")


def test_a_mapping_whose_words_are_single_tokens_is_label_words_without_a_word(bert):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        classifier = PromptClassifier(TEMPLATE, SHORT, bert, device="cpu")
        found = classifier.predict_proba(TEXTS)

    assert classifier.ready().verbalizer == ManualVerbalizer(SHORT)
    expected = PromptClassifier(TEMPLATE, ManualVerbalizer(SHORT), bert, device="cpu").predict_proba(TEXTS)
    assert found.tolist() == expected.tolist()


def test_a_word_of_several_tokens_makes_all_words_whole_answers_in_any_family(any_backbone):
    classifier = PromptClassifier(TEMPLATE, {"n": "maybe not", "p": "good"}, any_backbone, device="cpu")

    with pytest.warns(PromptlabWarning, match=r"'maybe not' of class 'n' is \d+ tokens \(.*scored as whole answers"):
        found = classifier.predict_proba(TEXTS)

    answers = MultiTokenVerbalizer({"n": "maybe not", "p": "good"}, "mean-prob")
    assert classifier.ready().verbalizer == answers
    expected = PromptClassifier(TEMPLATE, answers, any_backbone, device="cpu").predict_proba(TEXTS)
    np.testing.assert_allclose(found, expected, atol=1e-6)


@torch.no_grad()
def test_words_of_unlike_length_and_number_are_as_likely_as_the_model_says(tiny_backbone):
    """The sum of an answer's log-probabilities, token by token; the mean probability of a class's answers."""
    backbone = tiny_backbone("gpt2")
    words = {"n": ["not a good story", "awful"], "p": ["great"]}

    def likelihood(text, answer):
        ids, tokens = backbone.token_ids(f"{text} was", at_start=True), backbone.token_ids(answer)
        log_probs = backbone.model(input_ids=torch.tensor([ids + tokens])).logits[0].log_softmax(dim=-1)
        return math.exp(sum(log_probs[len(ids) - 1 + i, token].item() for i, token in enumerate(tokens)))

    with pytest.warns(PromptlabWarning):
        found = PromptClassifier(TEMPLATE, words, backbone, device="cpu").predict_proba(TEXTS)

    for text, row in zip(TEXTS, found, strict=True):
        scores = [sum(likelihood(text, word) for word in own) / len(own) for own in words.values()]
        assert row.tolist() == pytest.approx([score / sum(scores) for score in scores], rel=1e-3)


@pytest.mark.parametrize("mask", ["{{ mask }}", "{{ mask(3) }}"])
def test_the_masks_of_the_template_grow_or_shrink(bert, mask):
    classifier = PromptClassifier("{{ text_a }} was " + mask, LONG, bert, device="cpu")

    with pytest.warns(PromptlabWarning):
        found = classifier.predict_proba(TEXTS)

    expected = PromptClassifier(TEMPLATE, ANSWERS, bert, device="cpu").predict_proba(TEXTS)
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_words_of_one_token_at_several_masks_are_whole_answers_too(bert):
    with pytest.warns(PromptlabWarning, match="the template has 2 masks, so that all words"):
        PromptClassifier("{{ text_a }} was {{ mask(2) }}", SHORT, bert, device="cpu").predict(TEXTS)


@pytest.mark.parametrize("tuning", ["full", "lora", "none"])
def test_a_fitted_one_is_saved_as_what_it_became_and_loads_without_a_word(bert, tmp_path, tuning):
    settings = {"device": "cpu"} if tuning == "none" else {"device": "cpu", "max_steps": 2}
    classifier = PromptClassifier(TEMPLATE, LONG, bert, tuning, **settings)
    with pytest.warns(PromptlabWarning):
        classifier.fit(TEXTS, LABELS)
    classifier.save_pretrained(tmp_path / "out")

    saved = json.loads((tmp_path / "out" / "promptlab.json").read_text())["verbalizer"]
    with warnings.catch_warnings():
        warnings.simplefilter("error", PromptlabWarning)
        back = PromptClassifier.from_pretrained(tmp_path / "out", model=bert, device="cpu")

    assert saved["kind"] == "strings"
    assert saved["strings"] == {name: list(row) for name, row in LONG.items()}
    assert back.predict_proba(TEXTS).tolist() == classifier.predict_proba(TEXTS).tolist()
    assert classifier.verbalizer == LONG  # the setting stays what was given


def test_training_is_that_of_whole_answers(bert):
    trained = [PromptClassifier(TEMPLATE, part, bert, max_steps=3, device="cpu") for part in (LONG, ANSWERS)]
    with pytest.warns(PromptlabWarning):
        trained[0].fit(TEXTS, LABELS)

    trained[1].fit(TEXTS, LABELS)

    assert trained[0].predict_proba(TEXTS).tolist() == trained[1].predict_proba(TEXTS).tolist()


@pytest.mark.parametrize(
    "verbalizer",
    [ManualVerbalizer(LONG), {"kind": "manual", "label_words": LONG}, PrototypicalVerbalizer(LONG)],
    ids=["verbalizer", "entry", "prototypes"],
)
def test_a_verbalizer_that_was_chosen_stays_what_it_is(bert, verbalizer):
    with pytest.raises(VerbalizerError, match=r"'dull mess' of class 'negative' is 2 tokens \('dull', 'mess'\)"):
        PromptClassifier(TEMPLATE, verbalizer, bert, device="cpu").fit(TEXTS, LABELS)


@pytest.mark.parametrize("word", ["\u2603", "dull \u2603"])
def test_a_word_that_the_model_does_not_know_is_refused(bert, word):
    with pytest.raises(VerbalizerError, match="isn't in the vocabulary"):
        PromptClassifier(TEMPLATE, {"n": word, "p": "good"}, bert, device="cpu").predict(TEXTS)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"n": "Dull mess", "p": "dull MESS"}, "is the same token"),
        ({"n": ["film", "dull mess"], "p": ["good", "Film"]}, "is the same token"),
    ],
)
def test_answers_of_two_classes_are_told(bert, words, message):
    with pytest.raises(VerbalizerError, match=message):
        PromptClassifier(TEMPLATE, words, bert, device="cpu").predict(TEXTS)


def test_two_places_for_an_answer_are_told(bert):
    with pytest.raises(VerbalizerError, match="whole answers need exactly 1"):
        PromptClassifier("{{ mask }} {{ text_a }} was {{ mask }}", LONG, bert, device="cpu").predict(TEXTS)


@pytest.mark.parametrize("wrap", [ContextualCalibration, lambda inner: SupportCalibration(inner, TEXTS)])
def test_words_that_are_calibrated_may_have_several_tokens(bert, wrap):
    plain = PromptClassifier(TEMPLATE, wrap(resolve_verbalizer(LONG)), bert, device="cpu")

    with pytest.warns(PromptlabWarning):
        found = plain.predict_proba(TEXTS)

    expected = PromptClassifier(TEMPLATE, wrap(ANSWERS), bert, device="cpu").predict_proba(TEXTS)
    assert found.tolist() == expected.tolist()


def test_the_model_decides_for_each_member_of_an_ensemble(tiny_backbone, tmp_path):
    bert = tiny_backbone("bert")
    pairs = [(TEMPLATE, LONG), ("{{ mask }} : {{ text_a }}", SHORT)]
    ensemble = PVPEnsemble(pairs, bert, repetitions=1, max_steps=2, weighting="uniform", device="cpu")

    with pytest.warns(PromptlabWarning):
        ensemble.fit(TEXTS, LABELS)

    ensemble.save_pretrained(tmp_path / "out")
    kinds = [
        json.loads((tmp_path / "out" / f"member-{i}" / "promptlab.json").read_text())["verbalizer"]["kind"]
        for i in range(2)
    ]
    assert kinds == ["strings", "manual"]
    back = PVPEnsemble.from_pretrained(tmp_path / "out", model=bert, device="cpu")
    assert back.predict_proba(TEXTS).tolist() == ensemble.predict_proba(TEXTS).tolist()


def test_pet_and_a_classifier_of_several_labels_take_them(make_pet, bert):
    with pytest.warns(PromptlabWarning):
        make_pet(pvps=[(TEMPLATE, LONG)]).fit(TEXTS, LABELS, unlabeled=["a film", "a story"])

    classifier = MultiLabelClassifier(TEMPLATE, LONG, bert, max_steps=2, device="cpu")
    with pytest.warns(PromptlabWarning):
        classifier.fit(TEXTS, [[label] for label in LABELS])
    assert isinstance(classifier.model_.verbalizer, MultiTokenVerbalizer)


def test_aggregates_that_are_asked_for_are_kept(bert):
    with pytest.warns(PromptlabWarning):
        suited = WordsVerbalizer(LONG, "max-logit").suited(bert, AnswerSlot(1, at_start=False))

    assert suited == MultiTokenVerbalizer(LONG, "max-logit")


def test_a_saved_one_of_any_kind_is_read(bert, base, tmp_path):
    classifier = PromptClassifier(TEMPLATE, LONG, base, "none", device="cpu")
    with pytest.warns(PromptlabWarning):
        classifier.fit(TEXTS, LABELS).save_pretrained(tmp_path / "out")

    assert load_any(tmp_path / "out").predict(TEXTS).tolist() == classifier.predict(TEXTS).tolist()
