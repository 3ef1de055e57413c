from __future__ import annotations

import random

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import Pipeline

from promptlab import (
    ContextualCalibration,
    HeadClassifier,
    LinearVerbalizer,
    MultiLabelClassifier,
    PromptClassifier,
    PrototypicalVerbalizer,
)
from promptlab.core.errors import DataError, TemplateError, TuningError, UnknownNameError, VerbalizerError
from promptlab.core.types import Example

TEXTS = ["the film was great", "a good story", "great acting", "a dull mess", "the acting was bad", "a terrible film"]
LABELS = ["positive"] * 3 + ["negative"] * 3
WORDS = {"positive": ["good", "great"], "negative": ["bad", "dull"]}
TEMPLATE = "{{ text_a }} . it was {{ mask }}"


@pytest.fixture
def prompt(bert):
    return PromptClassifier(TEMPLATE, WORDS, bert, learning_rate=1e-3, max_steps=6, device="cpu")


@pytest.fixture
def head(bert):
    return HeadClassifier(bert, learning_rate=1e-3, max_steps=6, device="cpu")


@pytest.fixture(params=["prompt", "head"])
def classifier(request):
    return request.getfixturevalue(request.param)


def weights(model):
    return {name: weight.detach().clone() for name, weight in model.named_parameters()}


def test_zero_shot_probabilities_are_the_softmax_of_the_label_words_logits(prompt, bert):
    single = PromptClassifier(TEMPLATE, {"n": ["bad"], "p": ["good"]}, bert, device="cpu")
    model = single.ready()
    batch = bert.collate(model.encode([Example({"text_a": TEXTS[0]})]))
    with torch.no_grad():
        logits = bert.mask_states(batch).logits()[0, 0]
    bad, good = (logits[bert.token_ids(word)[0]].item() for word in ("bad", "good"))

    (probabilities,) = single.predict_proba(TEXTS[:1])

    assert single.classes_.tolist() == ["n", "p"]
    assert probabilities[1] == pytest.approx(1 / (1 + np.exp(bad - good)), abs=1e-6)


def test_training_fits_the_training_set(prompt, head):
    for classifier in (prompt, head):
        classifier.set_params(max_steps=60, learning_rate=5e-3).fit(TEXTS, LABELS)

        assert classifier.predict(TEXTS).tolist() == LABELS
        assert classifier.score(TEXTS, LABELS) == 1.0


def test_a_passed_backbone_is_not_changed(classifier, bert):
    before = weights(bert)

    classifier.fit(TEXTS, LABELS)

    assert all(torch.equal(weight, before[name]) for name, weight in bert.named_parameters())


def test_the_same_seed_gives_the_same_probabilities_and_leaves_the_callers_random_state(classifier):
    random.seed(5)
    np.random.seed(5)
    torch.manual_seed(5)
    expected = random.random(), np.random.rand(), torch.rand(1).item()
    random.seed(5)
    np.random.seed(5)
    torch.manual_seed(5)

    first = classifier.fit(TEXTS, LABELS).predict_proba(TEXTS)
    after = random.random(), np.random.rand(), torch.rand(1).item()
    second = clone(classifier).fit(TEXTS, LABELS).predict_proba(TEXTS)

    assert after == expected
    assert np.array_equal(first, second)


def test_fitting_twice_is_fitting_once(classifier):
    once = classifier.fit(TEXTS, LABELS).predict_proba(TEXTS)
    twice = classifier.fit(TEXTS, LABELS).predict_proba(TEXTS)

    assert np.array_equal(once, twice)


def test_fit_leaves_the_parameters_alone(classifier):
    before = classifier.get_params()

    classifier.fit(TEXTS, LABELS)

    assert classifier.get_params() == before


def test_results_do_not_depend_on_the_order_or_the_company_of_the_rows(classifier):
    texts = [*TEXTS, "x", "a much longer text about the film and the story and the acting " * 2]
    classifier.fit(TEXTS, LABELS)
    together = classifier.predict_proba(texts)

    np.testing.assert_allclose(classifier.predict_proba(texts[::-1]), together[::-1], atol=1e-6)
    for row, text in enumerate(texts):
        np.testing.assert_allclose(classifier.predict_proba([text])[0], together[row], atol=1e-6)


def test_probabilities_sum_to_one_in_the_order_of_the_classes(classifier):
    classifier.fit(TEXTS, LABELS)
    probabilities = classifier.predict_proba(TEXTS)

    assert classifier.classes_.tolist() == ["negative", "positive"]
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-6)
    assert classifier.predict(TEXTS).tolist() == [classifier.classes_[i] for i in probabilities.argmax(axis=1)]


def test_whole_number_labels_come_back_as_whole_numbers(bert):
    classifier = PromptClassifier(TEMPLATE, {0: ["bad"], 1: ["good"]}, bert, max_steps=2, device="cpu")

    classifier.fit(TEXTS, [1, 1, 1, 0, 0, 0])

    assert classifier.classes_.tolist() == [0, 1]
    assert classifier.predict(TEXTS).dtype.kind == "i"


def test_no_texts_give_no_predictions(classifier):
    classifier.fit(TEXTS, LABELS)

    assert classifier.predict_proba([]).shape == (0, 2)
    assert classifier.predict([]).tolist() == []


@pytest.mark.parametrize(
    "container",
    [
        list,
        lambda texts: [{"text_a": text} for text in texts],
        lambda texts: [(text,) for text in texts],
        lambda texts: pd.Series(texts),
        lambda texts: pd.DataFrame({"text_a": texts}),
        np.array,
        lambda texts: [Example({"text_a": text}) for text in texts],
    ],
)
def test_texts_come_in_many_containers(prompt, container):
    expected = prompt.predict_proba(TEXTS)

    assert np.array_equal(prompt.predict_proba(container(TEXTS)), expected)


def test_the_head_needs_fit_first(head):
    with pytest.raises(NotFittedError):
        head.predict(TEXTS)


def test_it_works_in_a_pipeline_cross_validation_and_a_grid_over_templates(prompt):
    prompt.set_params(max_steps=2)
    assert Pipeline([("classify", prompt)]).fit(TEXTS, LABELS).predict(TEXTS).shape == (6,)
    assert cross_val_score(prompt, TEXTS, LABELS, cv=3).shape == (3,)
    grid = GridSearchCV(prompt, {"template": [TEMPLATE, "{{ mask }} : {{ text_a }}"]}, cv=3).fit(TEXTS, LABELS)
    assert grid.predict(TEXTS).shape == (6,)


def test_the_kept_weights_are_those_of_the_evaluation_that_was_chosen(prompt):
    prompt.set_params(max_steps=8, eval_every=2, learning_rate=5e-3)

    prompt.fit(TEXTS, LABELS, eval_set=(TEXTS[::2], LABELS[::2]))

    high = max(entry["dev_accuracy"] for entry in prompt.history_)
    error = (high * (1 - high) / 3) ** 0.5
    chosen = [entry for entry in prompt.history_ if entry["dev_accuracy"] >= high - error][-1]
    log_probs = np.log(prompt.predict_proba(TEXTS[::2]))
    position = [prompt.classes_.tolist().index(label) for label in LABELS[::2]]
    assert -log_probs[range(3), position].mean() == pytest.approx(chosen["dev_loss"], abs=1e-5)


def test_cached_features_of_a_frozen_model_give_what_the_whole_model_gives(head, bert):
    head.set_params(tuning="frozen", max_steps=20).fit(TEXTS, LABELS)
    model = head.model_
    batch = bert.collate(model.encode([Example({"text_a": text}) for text in TEXTS]))

    with torch.no_grad():
        end_to_end = model.log_probs(batch).exp().numpy()

    np.testing.assert_allclose(head.predict_proba(TEXTS), end_to_end, atol=1e-6)
    assert {name for name, _ in model.trained_parameters()} == {"head.linear.weight", "head.linear.bias"}


def test_soft_tokens_train_while_the_model_stays_frozen(bert):
    classifier = PromptClassifier(
        '{{ soft(2) }} {{ text_a }} {{ soft("it was") }} {{ mask }}', WORDS, bert, "frozen", max_steps=3, device="cpu"
    )

    classifier.fit(TEXTS, LABELS)

    n_tokens = 2 + len(bert.token_ids("it was"))
    assert classifier.trainable_parameters() == n_tokens * 32


def test_setting_another_template_is_noticed_before_fit(prompt):
    before = prompt.predict_proba(TEXTS)

    prompt.set_params(template="{{ mask }} {{ text_a }}")

    assert not np.allclose(prompt.predict_proba(TEXTS), before)


def test_a_pair_is_read_with_the_models_separator(bert):
    pairs = [(text, "a film") for text in TEXTS]
    classifier = HeadClassifier(bert, fields=("text_a", "text_b"), max_steps=2, device="cpu").fit(pairs, LABELS)

    encoded = classifier.model_.encode([Example({"text_a": "a", "text_b": "b"})])[0]

    assert encoded.input_ids.tolist() == bert.tokenizer("a", "b").input_ids
    assert encoded.segment_ids.tolist() == bert.tokenizer("a", "b", return_token_type_ids=True).token_type_ids


@pytest.mark.parametrize(
    ("changes", "X", "y", "error", "message"),
    [
        ({}, TEXTS, ["positive"] * 6, DataError, "2 classes or more"),
        ({}, TEXTS, ["positive"] * 5 + ["negativ"], UnknownNameError, "did you mean 'negative'"),
        ({}, TEXTS, LABELS[:-1], DataError, "5"),
        ({}, [], [], DataError, "no examples"),
        ({}, TEXTS, None, DataError, "row 1 has no label"),
        ({"template": None}, TEXTS, LABELS, TemplateError, "no template"),
        ({"template": [TEMPLATE]}, TEXTS, LABELS, TemplateError, "pass one text, or a Template"),
        ({"verbalizer": ["bad", "good"]}, TEXTS, LABELS, VerbalizerError, "pass class: label words"),
        ({"verbalizer": None}, TEXTS, LABELS, VerbalizerError, "no verbalizer"),
        ({"template": "{{ text_b }} {{ mask }}"}, TEXTS, LABELS, TemplateError, "text_b"),
        ({"template": "sst3"}, TEXTS, LABELS, UnknownNameError, "did you mean 'sst"),
        ({"tuning": "ful"}, TEXTS, LABELS, UnknownNameError, "did you mean 'full'"),
        ({"tuning": "frozen"}, TEXTS, LABELS, TuningError, "nothing to train"),
        ({"epochs": 2}, TEXTS, LABELS, TuningError, "give one"),
        ({"device": "gpu"}, TEXTS, LABELS, TuningError, "device='gpu'"),
        ({"max_steps": 0}, TEXTS, LABELS, TuningError, "max_steps=0"),
        ({"seed": -1}, TEXTS, LABELS, TuningError, "seed=-1"),
        ({"patience": 2}, TEXTS, LABELS, TuningError, "pass eval_set"),
        ({"batch_size": "8"}, TEXTS, LABELS, TuningError, "PromptClassifier: batch_size='8' must be a whole number"),
        ({"learning_rate": "1e-4"}, TEXTS, LABELS, TuningError, "'1e-4' must be a number or None"),
        ({"max_steps": 2.5}, TEXTS, LABELS, TuningError, "max_steps=2.5 must be a whole number or None"),
        ({"seed": None}, TEXTS, LABELS, TuningError, "seed=None must be a whole number"),
        ({"optimizer": None}, TEXTS, LABELS, TuningError, "optimizer=None must be a text"),
        ({"gradient_checkpointing": "no"}, TEXTS, LABELS, TuningError, "must be True or False"),
        ({"max_steps": None, "epochs": -1}, TEXTS, LABELS, TuningError, "epochs=-1 must be at least 1"),
        ({"device": "meta"}, TEXTS, LABELS, TuningError, "device='meta' can't compute"),
        ({"device": None}, TEXTS, LABELS, TuningError, "device=None can't compute"),
        ({"verbalizer": {"positive": 1, "negative": 2}}, TEXTS, LABELS, VerbalizerError, "has 1 for label words"),
    ],
)
def test_bad_input_is_one_clear_line(prompt, changes, X, y, error, message):
    with pytest.raises(error, match=message) as caught:
        prompt.set_params(**changes).fit(X, y)
    assert "\n" not in str(caught.value)


def test_an_unknown_label_is_told_before_a_model_is_loaded():
    with pytest.raises(UnknownNameError, match="label 'negativ'"):
        PromptClassifier(TEMPLATE, WORDS, "/no/such/model").fit(TEXTS, [*LABELS[:5], "negativ"])


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"dropout": "0.1"}, TuningError, "HeadClassifier: dropout='0.1' must be a number"),
        ({"dropout": 1.5}, TuningError, "dropout=1.5 must be from 0 to below 1"),
        ({"fields": "text_a"}, TuningError, "fields='text_a' must be a list of texts"),
        ({"fields": []}, TemplateError, "fields is empty"),
    ],
)
def test_bad_settings_of_a_head_are_one_clear_line(head, changes, error, message):
    with pytest.raises(error, match=message):
        head.set_params(**changes).fit(TEXTS, LABELS)


@pytest.mark.parametrize("eval_set", ["ab", TEXTS, (TEXTS,), [(TEXTS, LABELS)], 3])
def test_dev_examples_that_are_no_pair_are_one_clear_line(prompt, eval_set):
    with pytest.raises(DataError, match=r"eval_set is .*; pass a pair") as caught:
        prompt.fit(TEXTS, LABELS, eval_set=eval_set)
    assert "\n" not in str(caught.value)


def test_settings_may_be_numbers_of_numpy(prompt, tmp_path):
    numbers = {"max_steps": np.int64(2), "seed": np.int32(3), "learning_rate": np.float32(1e-3)}

    prompt.set_params(**numbers, resume_dir=tmp_path / "run").fit(TEXTS, LABELS).save_pretrained(tmp_path / "out")

    assert PromptClassifier.from_pretrained(tmp_path / "out", model=prompt.model).seed == 3


@pytest.mark.parametrize("changes", [{"max_length": "64"}, {"seed": "0"}])
def test_settings_of_another_type_are_told_by_predict_too(prompt, changes):
    with pytest.raises(TuningError, match="must be a whole number"):
        prompt.set_params(**changes).predict(TEXTS)


def test_score_counts_right_answers_and_needs_a_label_for_each_text(prompt):
    right = np.mean(prompt.predict(TEXTS) == np.array(LABELS))

    assert prompt.score(TEXTS, LABELS) == right
    assert prompt.score([Example({"text_a": t}, y) for t, y in zip(TEXTS, LABELS, strict=True)]) == right
    with pytest.raises(DataError, match="2 labels for 6 rows"):
        prompt.score(TEXTS, LABELS[:2])
    with pytest.raises(DataError, match="row 1 has no label"):
        prompt.score(TEXTS, None)


@pytest.mark.parametrize(
    "labels", [torch.tensor([1, 1, 1, 0, 0, 0]), np.array([1, 1, 1, 0, 0, 0]), pd.Series([1, 1, 1, 0, 0, 0])]
)
def test_whole_numbers_may_come_in_any_container(bert, labels):
    classifier = PromptClassifier(TEMPLATE, {0: ["bad"], 1: ["good"]}, bert, max_steps=2, device="cpu")

    assert classifier.fit(TEXTS, labels).classes_.tolist() == [0, 1]


def test_whole_number_classes_are_whole_numbers_before_fit_too(bert):
    classifier = PromptClassifier(TEMPLATE, {0: ["bad"], 1: ["good"]}, bert, device="cpu")

    assert 0 <= classifier.score(TEXTS, [1, 1, 1, 0, 0, 0]) <= 1


def test_whole_number_labels_of_a_verbalizer_with_other_classes_are_refused():
    classifier = PromptClassifier(TEMPLATE, {"0": ["bad"], "1": ["good"], "none": ["dull"]}, "no-model")

    with pytest.raises(
        DataError, match="whole numbers, of which none means the class 'none'; give all labels as texts"
    ):
        classifier.fit(TEXTS, [1, 1, 1, 0, 0, 0])


def test_another_limit_is_noticed_before_fit(prompt):
    texts = ["the film was great and " * 20]
    before = prompt.predict_proba(texts)

    prompt.set_params(max_length=12)

    assert not np.allclose(prompt.predict_proba(texts), before)


def test_untrained_models_are_scored_on_dev(prompt):
    prompt.set_params(tuning="none", max_steps=None, learning_rate=None).fit(TEXTS, LABELS, eval_set=(TEXTS, LABELS))

    assert prompt.history_[0]["dev_accuracy"] == pytest.approx(prompt.score(TEXTS, LABELS))


def test_precision_holds_for_one_fit_and_not_for_predictions(prompt):
    half = clone(prompt).set_params(precision="bf16").fit(TEXTS, LABELS)
    whole = clone(prompt).set_params(precision="no").fit(TEXTS, LABELS)

    assert not np.array_equal(half.predict_proba(TEXTS), whole.predict_proba(TEXTS))
    for classifier in (half, whole):
        assert "forward" not in vars(classifier.model_)
        np.testing.assert_allclose(classifier.predict_proba(TEXTS).sum(axis=1), 1, atol=1e-6)


def test_two_zero_shot_classifiers_with_soft_tokens_share_no_backbone(bert):
    first = PromptClassifier('{{ text_a }} {{ soft("it was") }} {{ mask }}', WORDS, bert, device="cpu")
    second = PromptClassifier('{{ text_a }} {{ soft("the good film") }} {{ mask }}', WORDS, bert, device="cpu")
    before = first.predict_proba(TEXTS)

    second.predict_proba(TEXTS)

    assert np.array_equal(first.predict_proba(TEXTS), before)


@pytest.mark.parametrize(
    "verbalizer",
    [
        LinearVerbalizer(["negative", "positive"]),
        PrototypicalVerbalizer(names=["negative", "positive"]),
        PrototypicalVerbalizer(WORDS),
        ContextualCalibration(LinearVerbalizer(["negative", "positive"])),
    ],
    ids=["linear", "prototypes", "prototypes and words", "calibrated"],
)
def test_a_head_that_says_nothing_untrained_is_refused_where_nothing_trains_it(bert, verbalizer):
    message = f"{type(verbalizer).__name__} says nothing of a text before it is trained.* call fit with another"

    with pytest.raises(TuningError, match=message):
        PromptClassifier(TEMPLATE, verbalizer, bert, "none", device="cpu").fit(TEXTS, LABELS)
    with pytest.raises(TuningError, match=message):
        PromptClassifier(TEMPLATE, verbalizer, bert, device="cpu").predict(TEXTS)
    fitted = PromptClassifier(TEMPLATE, verbalizer, bert, "frozen", max_steps=2, device="cpu").fit(TEXTS, LABELS)
    assert len(fitted.predict(TEXTS)) == len(TEXTS)


def test_several_labels_need_a_head_that_something_trains_too(bert):
    classifier = MultiLabelClassifier(TEMPLATE, LinearVerbalizer(list(WORDS)), bert, "none", device="cpu")

    with pytest.raises(TuningError, match="LinearVerbalizer says nothing of a text before it is trained"):
        classifier.fit(TEXTS, [[label] for label in LABELS])
