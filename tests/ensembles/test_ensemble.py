from __future__ import annotations

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from promptlab import PromptClassifier
from promptlab.core.errors import (
    BackboneError,
    DataError,
    JobError,
    TemplateError,
    TuningError,
    UnknownNameError,
    VerbalizerError,
)
from promptlab.ensembles.merging import Stacking

TEXTS = ["the film was great", "a good story", "great acting", "a dull mess", "the acting was bad", "a terrible film"]
LABELS = ["positive"] * 3 + ["negative"] * 3
WORDS = {"positive": ["good", "great"], "negative": ["bad", "dull"]}
OTHER = {"negative": ["terrible"], "positive": ["great"]}
PAIRS = [("{{ text_a }} . it was {{ mask }}", WORDS), ("{{ mask }} : {{ text_a }}", OTHER)]
DEV = (TEXTS[::-1], LABELS[::-1])


def softmax(rows):
    return np.exp(rows) / np.exp(rows).sum(axis=-1, keepdims=True)


def test_probabilities_are_the_softmax_of_the_mean_score(make_ensemble):
    ensemble = make_ensemble(repetitions=2).fit(TEXTS, LABELS)
    each = [member.predict_proba(TEXTS) for member in ensemble.members_.values()]

    assert list(ensemble.members_) == ["1/1", "1/2", "2/1", "2/2"]
    assert ensemble.classes_.tolist() == ["negative", "positive"]
    expected = softmax(np.mean([np.log(rows) for rows in each], axis=0))
    assert ensemble.predict_proba(TEXTS) == pytest.approx(expected, abs=1e-6)
    assert np.allclose(ensemble.member_proba(TEXTS), each, atol=1e-6)
    assert ensemble.score(TEXTS, LABELS) == np.mean(ensemble.predict(TEXTS) == LABELS)
    assert ensemble.member_proba([]).shape == (4, 0, 2) and ensemble.predict([]).tolist() == []
    assert not np.allclose(each[0], each[1]) and not np.allclose(each[0], each[2])


def test_one_pair_alone_is_the_ordinary_classifier(make_ensemble, bert):
    alone = PromptClassifier(*PAIRS[0], bert, max_steps=3, learning_rate=1e-3, device="cpu", seed=5).fit(TEXTS, LABELS)

    ensemble = make_ensemble(PAIRS[:1], seed=5).fit(TEXTS, LABELS)

    assert ensemble.predict_proba(TEXTS) == pytest.approx(alone.predict_proba(TEXTS), abs=1e-6)


def test_weights_before_training_are_the_zero_shot_accuracies(make_ensemble, bert):
    ensemble = make_ensemble(weighting="untrained-accuracy").fit(TEXTS, LABELS)

    expected = [
        PromptClassifier(*pair, bert, "none", device="cpu").fit(TEXTS, LABELS).score(TEXTS, LABELS) for pair in PAIRS
    ]
    assert list(ensemble.weights_.values()) == (expected if sum(expected) else [1.0, 1.0])
    assert ensemble.measured_on_ == "train"
    scores = np.log([member.predict_proba(TEXTS) for member in ensemble.members_.values()])
    merged = np.average(scores, axis=0, weights=list(ensemble.weights_.values()))
    assert ensemble.predict_proba(TEXTS) == pytest.approx(softmax(merged), abs=1e-6)


def test_weights_after_training_are_the_accuracies_on_dev(make_ensemble):
    dev = (TEXTS[:3] + TEXTS[3:5], LABELS[:5])

    ensemble = make_ensemble(weighting="trained-accuracy").fit(TEXTS, LABELS, eval_set=dev)

    expected = {name: member.score(*dev) for name, member in ensemble.members_.items()}
    assert ensemble.member_scores_ == expected
    assert ensemble.weights_ == (expected if any(expected.values()) else dict.fromkeys(expected, 1.0))
    chosen = [member.predict(dev[0]) for member in ensemble.members_.values()]
    assert ensemble.agreement_[0, 1] == np.mean(chosen[0] == chosen[1])


def test_stacking_is_learnt_on_dev(make_ensemble):
    dev, wrong = ["a great opera", "awful", "a good film"], ["negative", "positive", "negative"]

    ensemble = make_ensemble(weighting="stacked").fit(TEXTS, LABELS, eval_set=(dev, wrong))

    scores = np.log(ensemble.member_proba(TEXTS))
    again = Stacking.fitted(np.log(ensemble.member_proba(dev)), np.array([0, 1, 0]), seed=0)
    assert ensemble.predict_proba(TEXTS) == pytest.approx(np.exp(again(scores)), abs=1e-5)

    assert ensemble.predict_proba(TEXTS) == pytest.approx(np.exp(ensemble.stacking_(scores)), abs=1e-6)
    assert ensemble.stacking_.coefficients.shape == (2, 4)


def test_a_hard_vote_is_the_majoritys(make_ensemble):
    ensemble = make_ensemble([*PAIRS, ("{{ text_a }} {{ mask }}", WORDS)], voting="hard").fit(TEXTS, LABELS)
    chosen = [member.predict(TEXTS).tolist() for member in ensemble.members_.values()]

    expected = [max(LABELS, key=[row[i] for row in chosen].count) for i in range(len(TEXTS))]
    assert ensemble.predict(TEXTS).tolist() == expected


def test_the_report_has_every_member_and_the_ensemble_and_leaves_rows_without_a_label_out(make_ensemble):
    ensemble = make_ensemble(weighting="untrained-accuracy").fit(TEXTS, LABELS)
    known, truth = TEXTS[:2] + TEXTS[3:], LABELS[:2] + LABELS[3:]

    found = ensemble.report(TEXTS, [*LABELS[:2], -1, *LABELS[3:]])

    assert found == [
        *((name, member.score(known, truth)) for name, member in ensemble.members_.items()),
        ("ensemble", ensemble.score(known, truth)),
    ]
    with pytest.raises(DataError, match="no row has a label"):
        ensemble.report(TEXTS, [-1] * len(TEXTS))


def test_a_voting_that_is_set_after_fitting_is_checked(make_ensemble):
    ensemble = make_ensemble().fit(TEXTS, LABELS).set_params(voting="mostly")

    with pytest.raises(UnknownNameError, match="unknown voting 'mostly'"):
        ensemble.predict(TEXTS)


def test_classes_ten_and_nine_are_scored_as_numbers(make_ensemble):
    """As texts 10 comes before 9, as numbers after it."""
    pairs = [(template, {"10": ["good", "great"], "9": ["bad", "dull"]}) for template, _ in PAIRS]
    y = [10 if label == "positive" else 9 for label in LABELS]

    ensemble = make_ensemble(pairs, max_steps=100, learning_rate=3e-3).fit(TEXTS, y)

    assert ensemble.classes_.tolist() == [9, 10]
    assert ensemble.predict(TEXTS).tolist() == y
    assert set(ensemble.member_scores_.values()) == {1.0}


def test_labels_come_back_as_whole_numbers(make_ensemble, tmp_path):
    words = {"10": ["good", "great"], "9": ["bad", "dull"]}
    ensemble = make_ensemble([("{{ text_a }} {{ mask }}", words)] * 2).fit(TEXTS, [10, 10, 10, 9, 9, 9])

    assert ensemble.classes_.tolist() == [9, 10]
    assert ensemble.member_proba(TEXTS).mean(axis=0)[0] == pytest.approx(ensemble.predict_proba(TEXTS)[0], abs=0.05)
    assert ensemble.score(TEXTS, [10, 10, 10, 9, 9, 9]) == np.mean(ensemble.predict(TEXTS) == [10, 10, 10, 9, 9, 9])


def test_it_clones_and_is_not_fitted_before_fit(make_ensemble):
    ensemble = make_ensemble(voting="hard")

    assert clone(ensemble).get_params()["voting"] == "hard"
    with pytest.raises(NotFittedError, match="PVPEnsemble isn't fitted"):
        ensemble.predict(TEXTS)


@pytest.mark.parametrize(
    ("pvps", "settings", "error", "message"),
    [
        ([], {}, DataError, r"pvps=\[\]"),
        (PAIRS[0], {}, DataError, "pair 1 is '{{ text_a"),
        ([PAIRS[0], ("{{ text_a }} {{ mask }}", {"negative": "bad", "neutral": "dull"})], {}, VerbalizerError,
         "'1' has positive, negative and '2' has negative, neutral"),
        ([PAIRS[0], ("{{ text_a }} {{ mask }}", {"negative": "\u2603", "positive": "good"})], {}, VerbalizerError,
         "member '2': label word '\u2603'"),
        (PAIRS, {"weighting": "best"}, UnknownNameError, "unknown weighting 'best'"),
        (PAIRS, {"voting": "loud"}, UnknownNameError, "unknown voting 'loud'"),
        (PAIRS, {"weighting": "trained-accuracy"}, TuningError, "'trained-accuracy' is learnt on dev examples"),
        (PAIRS, {"weighting": "stacked"}, TuningError, "weighting='stacked' is learnt on dev examples"),
        (PAIRS, {"repetitions": 0}, TuningError, "repetitions=0"),
        (PAIRS, {"repetitions": 2, "seed": 2**32 - 1}, TuningError, "seed=4294967296"),
        (PAIRS, {"batch_size": 0}, TuningError, "batch_size=0"),
        (PAIRS, {"epochs": 2}, TuningError, "max_steps=3 and epochs=2"),
        (PAIRS, {"model": {"a": 1}}, BackboneError, "model is {'a': 1}; pass a name"),
        ([PAIRS[0], ("{{ text_b }} {{ mask }}", WORDS)], {}, TemplateError, "member '2': .*text_b"),
        (PAIRS, {"executor": "slurm"}, UnknownNameError, "unknown executor 'slurm'"),
        (PAIRS, {"workers": 4}, JobError, "workers=4 has no use with executor 'serial'"),
        (PAIRS, {"optimizer": "sgd"}, UnknownNameError, "unknown optimizer 'sgd'"),
        (PAIRS, {"precision": "float16"}, UnknownNameError, "unknown precision 'float16'"),
        (PAIRS, {"patience": 2}, TuningError, "patience=2"),
    ],
)  # fmt: skip
def test_what_cannot_work_is_told_before_anything_is_trained(
    make_ensemble, monkeypatch, pvps, settings, error, message
):
    monkeypatch.setattr(PromptClassifier, "fit_labeled", lambda *_, **__: pytest.fail("trained"))

    with pytest.raises(error, match=message):
        make_ensemble(pvps, **settings).fit(TEXTS, LABELS)


def test_labels_that_no_member_knows_are_told(make_ensemble):
    with pytest.raises(UnknownNameError, match="unknown label 'neutral'"):
        make_ensemble().fit(TEXTS, ["neutral"] * 3 + LABELS[3:])
    with pytest.raises(DataError, match="all 6 labels are 'positive'"):
        make_ensemble().fit(TEXTS, ["positive"] * 6)


def test_stacking_needs_dev_examples_of_every_class_before_anything_is_trained(make_ensemble, monkeypatch):
    monkeypatch.setattr(PromptClassifier, "fit_labeled", lambda *_, **__: pytest.fail("trained"))

    with pytest.raises(DataError, match="no dev example is of class 'negative'"):
        make_ensemble(weighting="stacked").fit(TEXTS, LABELS, eval_set=(TEXTS[:3], LABELS[:3]))


def test_a_hard_vote_has_no_use_for_stacking(make_ensemble):
    with pytest.raises(TuningError, match="voting='hard' has no use"):
        make_ensemble(weighting="stacked", voting="hard").fit(TEXTS, LABELS, eval_set=DEV)
