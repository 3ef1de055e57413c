"""How much rows and classes count: a row of weight 2 is two rows, one of weight 0 is none."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
import sklearn
import torch
from sklearn.model_selection import cross_validate
from sklearn.utils.class_weight import compute_class_weight, compute_sample_weight

from promptlab import (
    ContextualCalibration,
    DemonstrationTemplate,
    EnsembleVerbalizer,
    HeadClassifier,
    JointClassifier,
    ManualVerbalizer,
    MultiLabelClassifier,
    MultiTokenVerbalizer,
    PromptClassifier,
    PromptGenerator,
    PrototypicalVerbalizer,
    RuleVerbalizer,
    SoftVerbalizer,
    TokenClassifier,
)
from promptlab.core.errors import DataError, TuningError, UnknownNameError
from promptlab.core.types import Example
from promptlab.data.labeled import Labeled, SoftLabeled
from promptlab.estimators.saving import load_any
from promptlab.templates.manual import ManualTemplate
from promptlab.training.fitting import EncodedSet
from promptlab.training.objectives import AuxiliaryMLM, Distillation

WORDS = {"negative": ["bad", "dull"], "positive": ["good"]}
TEXTS = ["The film was great", "dull", "Just awful? Yes, no, maybe.", "great story", "world sports business news"]
LABELS = ["positive", "negative", "negative", "positive", "positive"]
WEIGHTS = [2, 1, 3, 1, 0]
REPEATED = [0, 0, 1, 2, 2, 2, 3]  # the rows as often as their weights say
SOURCE = "{{ text_a }} was {{ mask }}"
TWO_MASKS = "{{ text_a }} was {{ mask }} and {{ mask }}"


def of(rows, values):
    return [values[row] for row in rows]


def prompt(verbalizer=WORDS, template=SOURCE, tuning="full"):
    def fit(model, rows, weights, **settings):
        classifier = PromptClassifier(template, verbalizer, model, tuning, **settings)
        return classifier.fit(of(rows, TEXTS), of(rows, LABELS), weights)

    return fit


def head(tuning):
    def fit(model, rows, weights, **settings):
        return HeadClassifier(model, tuning, dropout=0.0, **settings).fit(of(rows, TEXTS), of(rows, LABELS), weights)

    return fit


def several(model, rows, weights, **settings):
    labels = [["positive"], [], ["negative"], ["positive", "negative"], []]
    return MultiLabelClassifier(SOURCE, WORDS, model, **settings).fit(of(rows, TEXTS), of(rows, labels), weights)


def several_with_class_weights(model, rows, weights, **settings):
    return several(model, rows, weights, class_weight="balanced", **settings)


def distilled(model, rows, weights, **settings):
    teacher = torch.tensor([[0.9], [0.8], [0.1], [0.25], [0.5]])
    log_probs = torch.cat([teacher, 1 - teacher], 1).log()[rows]
    kept = None if weights is None else torch.tensor(weights, dtype=torch.float)
    soft = SoftLabeled([Example({"text_a": text}) for text in of(rows, TEXTS)], list(WORDS), log_probs, weights=kept)
    classifier = PromptClassifier(SOURCE, WORDS, model, **settings)
    return classifier.fit_labeled(soft, objective=lambda inner: Distillation(inner, temperature=2.0))


def with_masked_words(model, rows, weights, **settings):
    data = Labeled([Example({"text_a": TEXTS[row]}, LABELS[row]) for row in rows]).weighed(weights)

    def around(inner):
        return AuxiliaryMLM(inner, inner.encode([Example({"text_a": TEXTS[0]})]), weight=1e-9)

    return PromptClassifier(SOURCE, WORDS, model, **settings).fit_labeled(data, objective=around)


def joint(model, rows, weights, **settings):
    members = {name: PromptClassifier(SOURCE, WORDS, tuning="prompt-tuning", **settings) for name in "ab"}
    joined = JointClassifier(members, model)
    X, y = of(rows, TEXTS), of(rows, LABELS)
    given = None if weights is None else {"a": weights, "b": weights}
    joined.fit({"a": X, "b": X}, {"a": y, "b": y}, given)
    return joined.classifiers_["a"]


def tagger(class_weight=None):
    def fit(model, rows, weights, **settings):
        sentences = [["the", "film"], ["a", "dull", "story", "and", "a", "mess"], ["no"], ["yes", "no"], ["great"]]
        tags = [["B-x" if i % 3 == 0 else "O" for i in range(len(words))] for words in sentences]
        estimator = TokenClassifier(model, dropout=0.0, class_weight=class_weight, **settings)
        return estimator.fit(of(rows, sentences), of(rows, tags), weights)

    return fit


def writer(reduction):
    def fit(model, rows, weights, **settings):
        texts = of(rows, ["good", "a story and the film was great", "bad", "the film", "dull mess"])
        estimator = PromptGenerator(SOURCE, model, "full", max_new_tokens=40, reduction=reduction, **settings)
        return estimator.fit(of(rows, TEXTS), texts, weights)

    return fit


MAKERS = {
    "label words": prompt(),
    "soft label words": prompt(SoftVerbalizer(WORDS)),
    "whole answers": prompt(MultiTokenVerbalizer({"negative": "dull", "positive": "good"})),
    "margin": prompt(MultiTokenVerbalizer({"negative": "dull", "positive": "good"})),
    "rules": prompt(RuleVerbalizer({"negative": ["bad", "dull"], "positive": ["good", "great"]}), TWO_MASKS),
    "several verbalizers": prompt(EnsembleVerbalizer([ManualVerbalizer(WORDS), SoftVerbalizer(WORDS)], [1, 3])),
    "calibrated": prompt(ContextualCalibration(ManualVerbalizer(WORDS))),
    "prototypes": prompt(PrototypicalVerbalizer(names=("negative", "positive"), max_steps=1), tuning="frozen"),
    "head": head("full"),
    "frozen head": head("frozen"),
    "several labels": several,
    "several labels by class": several_with_class_weights,
    "distilled": distilled,
    "masked words": with_masked_words,
    "joint": joint,
    "tagger": tagger(),
    "tagger by class": tagger("balanced"),
    "tokens": writer("token"),
    "sequences": writer("sequence"),
}
CAUSAL = ("tokens", "sequences", "whole answers")


def difference(one, other):
    """Of gradients, as a share of their norm."""
    norm = torch.stack([grad.norm() for grad in one]).norm()
    return torch.stack([(a - b).norm() for a, b in zip(one, other, strict=True)]).norm() / norm


@pytest.mark.parametrize("name", MAKERS)
def test_a_row_of_weight_2_counts_as_two_rows_and_one_of_weight_0_as_none(gradients, name):
    family = "llama" if name in CAUSAL else "bert"

    def repeated(model, **settings):
        return MAKERS[name](model, REPEATED, None, **settings)

    def weighed(model, **settings):
        rows = range(4) if name == "distilled" else range(5)  # where rows of weight 0 are left out before
        return MAKERS[name](model, list(rows), WEIGHTS[: len(rows)], **settings)

    def plain(model, **settings):
        return MAKERS[name](model, [0, 1, 2, 3], None, **settings)

    expected, loss = gradients(repeated, family, batch_size=8)
    found, reported = gradients(weighed, family, batch_size=8)
    parts, reported_of_parts = gradients(weighed, family, batch_size=3, gradient_accumulation_steps=2)
    others, _ = gradients(plain, family, batch_size=8)

    assert difference(expected, found) < 1e-5
    assert reported == pytest.approx(loss, rel=1e-5)
    assert difference(expected, others) > 1e-2  # weights make a difference here
    if name not in ("prototypes",):  # which see all rows at once
        assert difference(expected, parts) < 1e-5
        assert reported_of_parts == pytest.approx(loss, rel=1e-5)


def test_the_loss_is_the_weighted_mean_as_pytorch_has_it(bert):
    untrained = PromptClassifier(SOURCE, WORDS, bert, device="cpu")
    log_probs = torch.from_numpy(np.log(untrained.predict_proba(TEXTS)))
    targets = torch.tensor([untrained.classes_.tolist().index(label) for label in LABELS])
    expected = torch.nn.NLLLoss(weight=torch.tensor([3.0, 0.5]))(log_probs, targets).item()

    classifier = PromptClassifier(
        SOURCE, WORDS, bert, "layer-norm", device="cpu", max_steps=1, batch_size=5, learning_rate=0.0,
        class_weight={"negative": 3, "positive": 0.5},
    )  # fmt: skip
    # no dropout where only norms are trained but in their own layers, so the loss is compared with evaluation
    for module in bert.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    bert.model.config.attention_probs_dropout_prob = 0.0

    loss = classifier.fit(TEXTS, LABELS).history_[-1]["loss"]

    assert loss == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("weights", [None, [1, 2, 0.5, 3, 1]])
def test_balanced_is_scikit_learns_and_multiplies_with_the_rows_own_weights(weights):
    data = Labeled([Example({"text_a": text}, label) for text, label in zip(TEXTS, LABELS)]).weighed(weights)

    found = data.weighed_by_class("balanced", ["negative", "positive"]).weights

    own = np.ones(5) if weights is None else np.array(weights)
    expected = own * compute_sample_weight("balanced", LABELS)
    if weights is not None:
        by_class = compute_class_weight(
            "balanced", classes=np.array(["negative", "positive"]), y=np.array(LABELS), sample_weight=own
        )
        expected = own * [by_class[int(label == "positive")] for label in LABELS]
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("labels", "class_weight"),
    [
        (LABELS, {"negative": 2}),
        ([label == "positive" for label in LABELS], {False: 2, True: 1}),
        ([int(label == "positive") for label in LABELS], {0: 2}),
        ([int(label == "positive") for label in LABELS], {np.int64(0): np.float32(2)}),
    ],
)
def test_weights_of_classes_go_by_labels_of_the_users_type_and_are_saved(bert, base, tmp_path, labels, class_weight):
    settings = {"max_steps": 2, "device": "cpu", "dropout": 0.0}
    by_row = HeadClassifier(base, "frozen", **settings).fit(TEXTS, labels, [1, 2, 2, 1, 1])

    fitted = HeadClassifier(base, "frozen", class_weight=class_weight, **settings).fit(TEXTS, labels)
    fitted.save_pretrained(tmp_path / "saved")
    again = load_any(tmp_path / "saved", device="cpu")

    assert np.array_equal(fitted.predict_proba(TEXTS), by_row.predict_proba(TEXTS))
    assert np.array_equal(again.predict_proba(TEXTS), fitted.predict_proba(TEXTS))
    assert np.array_equal(again.fit(TEXTS, labels).predict_proba(TEXTS), fitted.predict_proba(TEXTS))
    assert fitted.class_weight == class_weight


def test_a_class_of_several_counts_where_it_holds(bert):
    labels = [["positive"], [], ["negative"], ["positive", "negative"], []]
    data = MultiLabelClassifier(SOURCE, WORDS, bert, "none", device="cpu", class_weight="balanced").fit(TEXTS, labels)

    probabilities = data.predict_proba(TEXTS)
    holds = np.array([[name in row for name in ("negative", "positive")] for row in labels])
    weights = np.where(holds, 5 / (2 * holds.sum(axis=0)), 5 / (2 * (~holds).sum(axis=0)))
    log_odds = np.log(probabilities / (1 - probabilities))
    np.testing.assert_allclose((weights * log_odds).sum(axis=0) / weights.sum(axis=0), 0.0, atol=1e-5)  # shares are ½


def test_every_prompt_of_an_example_has_its_weight(bert):
    template = DemonstrationTemplate(ManualTemplate(SOURCE), sets=3)
    data = Labeled([Example({"text_a": text}, label) for text, label in zip(TEXTS, LABELS)]).weighed(WEIGHTS)
    classifier = PromptClassifier(template, WORDS, bert, max_steps=1, device="cpu")
    model = classifier.fit_labeled(data).model_

    rows = EncodedSet.of(data, model, None)

    assert rows.row_weights.tolist() == [2, 2, 2, 1, 1, 1, 3, 3, 3, 1, 1, 1]
    assert len(rows.row_targets) == len(rows.rows) == 12


def test_leaving_a_row_out_and_weight_0_give_the_same_model(bert, make_ensemble, make_pet):
    X, y, weights = [*TEXTS, "no"], [*LABELS, "negative"], [1, 1, 0, 2, 1, 0]
    kept = [row for row, weight in enumerate(weights) if weight]
    less = of(kept, X), of(kept, y), of(kept, weights)
    makers = (
        lambda: PromptClassifier(SOURCE, WORDS, bert, max_steps=3, device="cpu"),
        lambda: make_ensemble(weighting="untrained-accuracy"),
        make_pet,
    )
    for make in makers:
        more = {} if make is not make_pet else {"unlabeled": TEXTS}

        fitted, expected = make().fit(X, y, weights, **more), make().fit(*less, **more)

        assert np.array_equal(fitted.predict_proba(TEXTS), expected.predict_proba(TEXTS))


def test_members_learn_with_the_weights_of_rows_and_classes(bert, make_ensemble):
    settings = {"max_steps": 3, "learning_rate": 1e-3, "device": "cpu", "class_weight": "balanced"}
    alone = PromptClassifier("{{ text_a }} . it was {{ mask }}", WORDS, bert, **settings).fit(TEXTS, LABELS, WEIGHTS)

    pair = [("{{ text_a }} . it was {{ mask }}", WORDS)]
    ensemble = make_ensemble(pair, class_weight="balanced").fit(TEXTS, LABELS, WEIGHTS)

    np.testing.assert_allclose(ensemble.predict_proba(TEXTS), alone.predict_proba(TEXTS), atol=1e-6)
    (score,) = ensemble.member_scores_.values()
    assert score == pytest.approx(alone.score(TEXTS, LABELS, WEIGHTS))


@pytest.mark.parametrize("weights", [np.array(WEIGHTS), pd.Series(WEIGHTS, index=[9, 8, 7, 6, 5]), tuple(WEIGHTS)])
def test_weights_come_in_many_containers(bert, weights):
    def make():
        return HeadClassifier(bert, "frozen", max_steps=2, device="cpu")

    expected = make().fit(TEXTS, LABELS, WEIGHTS).predict_proba(TEXTS)

    assert np.array_equal(make().fit(TEXTS, LABELS, weights).predict_proba(TEXTS), expected)


def test_scikit_learn_hands_weights_on(bert):
    classifier = HeadClassifier(bert, "frozen", max_steps=2, device="cpu")
    y = np.array(LABELS)
    plain = cross_validate(classifier, TEXTS, y, cv=2, params={"sample_weight": np.array([1, 1, 1, 1, 1.0])})
    assert not np.isnan(plain["test_score"]).any()
    with sklearn.config_context(enable_metadata_routing=True):
        asking = classifier.set_fit_request(sample_weight=True).set_score_request(sample_weight=True)
        routed = cross_validate(asking, TEXTS, y, cv=2, params={"sample_weight": np.arange(1, 6)}, error_score="raise")
    assert not np.isnan(routed["test_score"]).any()


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([1] * 4, "sample_weight has 4 numbers for 5 rows; give one for each"),
        ([1, 1, -1, 1, 1], "sample_weight of row 3 is -1; weights are numbers from 0"),
        ([1, 1e39, 1, 1, 1], "sample_weight of row 2 is 1e[+]39; weights are numbers from 0 to 1e[+]30"),
        ([1, float("nan"), 1, 1, 1], "sample_weight of row 2 is nan"),
        ([1, float("inf"), 1, 1, 1], "sample_weight of row 2 is inf"),
        ([1, "2", 1, 1, 1], "sample_weight of row 2 is '2'"),
        ([1, None, 1, 1, 1], "sample_weight of row 2 is None"),
        (np.ones((5, 1)), r"sample_weight of row 1 is \[1.0\]"),
        ([0] * 5, "sample_weight is 0 for every row"),
        (2.0, "sample_weight is 2.0; pass a list"),
        ("balanced", "sample_weight is 'balanced'; pass a list"),
        ([0, 1, 1, 0, 0], "all 2 labels are 'negative'"),
    ],
)
def test_weights_that_are_none_are_told_in_one_line_before_a_model_is_loaded(weights, message):
    with pytest.raises(DataError, match=message):
        PromptClassifier(SOURCE, WORDS, "no-model").fit(TEXTS, LABELS, weights)


@pytest.mark.parametrize(
    ("class_weight", "error", "message"),
    [
        ("balance", TuningError, "class_weight='balance' must be 'balanced', or a mapping"),
        ([1, 2], TuningError, r"class_weight=\[1, 2\] must be 'balanced'"),
        ({"positive": -1}, TuningError, "class_weight of 'positive' is -1; weights are numbers from 0"),
        ({"positive": "2"}, TuningError, "class_weight of 'positive' is '2'"),
        ({"positiv": 1}, UnknownNameError, "unknown class 'positiv' in class_weight; did you mean 'positive'"),
        ({"positive": 0, "negative": 0}, DataError, "0 for every row together"),
    ],
)
def test_weights_of_classes_that_are_none_are_told(class_weight, error, message):
    with pytest.raises(error, match=message):
        PromptClassifier(SOURCE, WORDS, "no-model", class_weight=class_weight).fit(TEXTS, LABELS)


def test_a_student_has_no_classes_to_weigh(make_pet, bert):
    student = HeadClassifier(class_weight="balanced")

    with pytest.raises(TuningError, match=r"student: class_weight='balanced' has no use.*set the members'"):
        make_pet(student=student, student_steps=None).fit(TEXTS, LABELS, unlabeled=TEXTS)


def test_weights_of_joint_classifiers_go_by_name(bert):
    joined = JointClassifier({"a": PromptClassifier(SOURCE, WORDS, tuning="prompt-tuning", device="cpu")}, bert)

    with pytest.raises(DataError, match="give a mapping from classifiers' names to weights"):
        joined.fit({"a": TEXTS}, {"a": LABELS}, WEIGHTS)
    with pytest.raises(UnknownNameError, match="unknown classifier 'b' in sample_weight"):
        joined.fit({"a": TEXTS}, {"a": LABELS}, {"b": WEIGHTS})


def test_the_setting_is_plain_json(bert, tmp_path):
    labels = [label == "positive" for label in LABELS]
    fitted = HeadClassifier(bert, "frozen", max_steps=1, device="cpu", class_weight={True: 2}).fit(TEXTS, labels)

    fitted.save_pretrained(tmp_path / "saved")

    saved = json.loads((tmp_path / "saved" / "promptlab.json").read_text())
    assert saved["parameters"]["class_weight"] == {"True": 2.0} and saved["label_type"] == "bool"
