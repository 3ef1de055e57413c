"""Numbers between two label words, against arithmetic, loops and the classifier."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from sklearn.base import clone, is_regressor
from sklearn.exceptions import NotFittedError
from sklearn.metrics import r2_score
from sklearn.model_selection import GridSearchCV, cross_val_score

from promptlab import (
    ContextualCalibration,
    Example,
    InContextTemplate,
    LinearVerbalizer,
    ManualVerbalizer,
    MultiTokenVerbalizer,
    PromptClassifier,
    PromptRegressor,
    PrototypicalVerbalizer,
)
from promptlab.cli.main import main
from promptlab.core.errors import DataError, PromptlabError, TuningError
from promptlab.estimators.prompt_regressor import correlation, range_losses, scores_of
from promptlab.estimators.saving import load_any

TEXTS = ["great film", "sports news", "great sports", "a dull story", "the opera", "dull sports", "great opera", "bad"]
NUMBERS = [4.5, 2.0, 3.5, 0.5, 2.5, 0.0, 5.0, 1.0]
TEMPLATE = "{{ text_a }} . it was {{ mask }}"
WORDS = {0: "bad", 5: "great"}


@pytest.fixture
def make(bert):
    def make(verbalizer=WORDS, tuning="full", template=TEMPLATE, **changes):
        settings = {"max_steps": 3, "learning_rate": 1e-3, "device": "cpu", **changes}
        return PromptRegressor(template, verbalizer, bert, tuning, **settings)

    return make


# the loss and the prediction


def test_the_loss_is_the_divergence_from_the_place_between_the_ends():
    log_probs = torch.randn(5, 2, generator=torch.Generator().manual_seed(0)).log_softmax(dim=-1)
    places = [0.2, 0.5, 0.9, 0.0, 1.0]

    losses = range_losses(log_probs, torch.tensor(places))

    for row, place in enumerate(places):
        expected = 0.0
        for share, log_prob in ((1 - place, log_probs[row, 0].item()), (place, log_probs[row, 1].item())):
            expected += share * (math.log(share) - log_prob) if share else 0.0
        assert losses[row].item() == pytest.approx(expected, abs=1e-6)


def test_a_probability_that_is_linear_in_the_number_recovers_it_and_costs_nothing(make):
    numbers = np.array([-2.0, -0.5, 0.0, 1.75, 3.0])
    regressor = make({-2: "bad", 3: "great"}).fit(TEXTS, [-2.0, 3.0] * 4)
    places = (numbers + 2) / 5
    with np.errstate(divide="ignore"):
        rows = np.log(np.stack([1 - places, places], axis=1))
    regressor.iter_log_proba = lambda examples: iter(rows)

    np.testing.assert_allclose(regressor.predict(["any"] * 5), numbers, atol=1e-12)
    inside = slice(1, 4)
    losses = range_losses(torch.tensor(rows[inside]), torch.tensor(places[inside]))
    assert losses.abs().max() < 1e-12


def test_numbers_at_the_ends_are_learnt_as_the_two_classes(make, bert):
    ends = [0, 5, 5, 0, 0, 5, 5, 0]

    regressor = make(max_steps=8).fit(TEXTS, ends)
    classifier = PromptClassifier(TEMPLATE, WORDS, bert, max_steps=8, learning_rate=1e-3, device="cpu")
    classifier.fit(TEXTS, ends)

    assert regressor.history_[-1]["loss"] == pytest.approx(classifier.history_[-1]["loss"], abs=1e-6)
    np.testing.assert_allclose(regressor.predict(TEXTS), 5 * classifier.predict_proba(TEXTS)[:, 1], atol=1e-5)


@pytest.mark.parametrize(
    "verbalizer",
    [
        WORDS,
        ManualVerbalizer({"0": ["bad", "dull"], "5": ["great", "good"]}),
        MultiTokenVerbalizer({"0": "not good", "5": "great"}),
        LinearVerbalizer(("0", "5")),
    ],
    ids=["words", "manual", "strings", "linear"],
)
def test_training_fits_the_numbers_with_every_verbalizer(make, verbalizer):
    fitted = make(verbalizer, max_steps=80, learning_rate=5e-3).fit(TEXTS, NUMBERS)

    assert np.abs(fitted.predict(TEXTS) - NUMBERS).max() < 0.75


def test_a_frozen_model_trains_the_head_alone(make):
    fitted = make(LinearVerbalizer(("0", "5")), "frozen", max_steps=200, learning_rate=0.05).fit(TEXTS, NUMBERS)

    assert fitted.score(TEXTS, NUMBERS) > 0.5


# scores


def test_scores_are_those_of_their_formulas():
    truth, said = [1.0, 2.0, 4.0, 3.0], [0.5, 2.5, 2.0, 2.0]

    scores = scores_of(truth, said)

    assert scores["pearson"] == pytest.approx(np.corrcoef(truth, said)[0, 1])
    assert scores["spearman"] == pytest.approx(np.corrcoef([1, 2, 4, 3], [1, 4, 2.5, 2.5])[0, 1])  # ties share ranks
    assert scores["mean_absolute_error"] == pytest.approx((0.5 + 0.5 + 2 + 1) / 4)
    assert scores_of([1.0, 2.0], [3.0, 3.0])["pearson"] == scores_of([1.0], [1.0])["spearman"] == 0


def test_dev_weights_are_chosen_by_correlation_within_its_standard_error():
    probabilities = torch.tensor([0.1, 0.3, 0.2, 0.9])
    places = torch.tensor([0.0, 0.5, 0.25, 1.0])

    score = correlation(torch.stack([1 - probabilities, probabilities], dim=-1).log(), places)

    r = np.corrcoef(probabilities, places)[0, 1]
    assert score.accuracy == pytest.approx(r)
    assert score.standard_error == pytest.approx((1 - r**2) / math.sqrt(3))
    assert score.record().keys() == {"dev_pearson", "dev_loss"}


def test_a_dev_set_is_scored_at_every_evaluation(make):
    fitted = make(max_steps=4, eval_every=2).fit(TEXTS, NUMBERS, eval_set=(TEXTS[:5], NUMBERS[:5]))

    last = fitted.history_[-1]
    kept = scores_of(NUMBERS[:5], fitted.predict(TEXTS[:5]))["pearson"]
    assert kept in [pytest.approx(row["dev_pearson"], abs=1e-5) for row in fitted.history_ if "dev_pearson" in row]
    assert last["dev_loss"] > 0


# scikit-learn, weights, disk


def test_it_is_a_regressor_to_scikit_learn(make):
    regressor = make()

    assert is_regressor(regressor)
    assert clone(regressor).get_params(deep=False).keys() == regressor.get_params(deep=False).keys()
    assert len(cross_val_score(regressor, TEXTS, NUMBERS, cv=2)) == 2
    search = GridSearchCV(regressor, {"max_steps": [1, 2]}, cv=2).fit(TEXTS, NUMBERS)
    assert search.predict(TEXTS).shape == (8,)
    fitted = regressor.fit(TEXTS, NUMBERS)
    assert fitted.score(TEXTS, NUMBERS) == pytest.approx(r2_score(NUMBERS, fitted.predict(TEXTS)))


def test_a_text_of_weight_two_counts_as_two(make):
    settings = {
        "batch_size": 20,
        "max_steps": 3,
        "verbalizer": LinearVerbalizer(("0", "5"), dropout=0.0),
        "tuning": "frozen",
    }
    weighted = make(**settings).fit(TEXTS, NUMBERS, [2, 1, 1, 1, 1, 1, 1, 0])
    repeated = make(**settings).fit([TEXTS[0], *TEXTS[:7]], [NUMBERS[0], *NUMBERS[:7]])

    np.testing.assert_allclose(weighted.predict(TEXTS), repeated.predict(TEXTS), atol=1e-4)


def test_it_comes_back_from_disk_as_it_was(make, tmp_path):
    fitted = make(tuning="lora", max_steps=5).fit(TEXTS, NUMBERS)
    fitted.save_pretrained(tmp_path / "saved")

    loaded = load_any(tmp_path / "saved", model=fitted.model)

    assert isinstance(loaded, PromptRegressor)
    np.testing.assert_allclose(loaded.predict(TEXTS), fitted.predict(TEXTS), atol=1e-6)
    assert loaded.ends_.tolist() == [0, 5]


def test_examples_may_carry_their_numbers_as_text(make):
    examples = [Example({"text_a": text}, str(number)) for text, number in zip(TEXTS, NUMBERS)]

    np.testing.assert_array_equal(make().fit(examples).predict(TEXTS), make().fit(TEXTS, NUMBERS).predict(TEXTS))


# the command line


def run(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def test_numbers_are_fitted_predicted_and_evaluated_on_the_command_line(base, tmp_path):
    file = tmp_path / "train.tsv"
    file.write_text("text_a\tlabel\n" + "".join(f"{t}\t{n}\n" for t, n in zip(TEXTS, NUMBERS)))
    words = json.dumps({"0": "bad", "5": "great"})
    prompt = ("--template", TEMPLATE, "--verbalizer", words, "--estimator", "PromptRegressor")

    fitted = run(
        "fit", file, "-o", tmp_path / "out", *prompt, "--model", base, "--max-steps", 3, "--dev", file, "--json"
    )
    predicted = run("predict", tmp_path / "out", file, "--json")
    evaluated = run("evaluate", tmp_path / "out", file, "--json")

    assert fitted.exit_code == predicted.exit_code == evaluated.exit_code == 0, fitted.output + evaluated.output
    values = [json.loads(line)["value"] for line in predicted.stdout.splitlines()]
    scores = json.loads(evaluated.stdout)
    assert scores["rows"] == 8
    assert scores["pearson"] == pytest.approx(np.corrcoef(values, NUMBERS)[0, 1], abs=1e-4)
    assert scores["pearson"] == pytest.approx(json.loads(fitted.stdout)["dev_pearson"])
    assert "Spearman" in run("evaluate", tmp_path / "out", file).stdout
    assert run("predict", tmp_path / "out", file, "--proba").exit_code == 2
    assert run("fit", file, "-o", tmp_path / "x", *prompt, "--head").exit_code == 2


# what is refused


@pytest.mark.parametrize(
    ("changes", "y", "message"),
    [
        ({"verbalizer": {"bad": "bad", "good": "great"}}, NUMBERS, "needs two, called by the lowest and the highest"),
        ({"verbalizer": {5: "great", 0: "bad"}}, NUMBERS, "needs two, called by the lowest and the highest"),
        ({"verbalizer": {0: "bad", 2: "dull", 5: "great"}}, NUMBERS, "needs two, called by the lowest"),
        ({"template": InContextTemplate(TEMPLATE)}, NUMBERS, "shows answered examples"),
        ({"verbalizer": ContextualCalibration(ManualVerbalizer({"0": "bad", "5": "great"}))}, NUMBERS, "shifts"),
        ({"verbalizer": PrototypicalVerbalizer(names=("0", "5"))}, NUMBERS, "learns from classes"),
        ({"verbalizer": LinearVerbalizer(("0", "5")), "tuning": "none", "max_steps": None}, NUMBERS, "'frozen'"),
        ({}, [*NUMBERS[:7], 5.5], "row 8 has the number 5.5, which isn't from 0 to 5"),
        ({}, [*NUMBERS[:7], math.nan], "row 8 has the label nan; a regressor needs a finite number"),
        ({}, [*NUMBERS[:7], "good"], "row 8 has the label 'good'"),
        ({}, [*NUMBERS[:7], True], "row 8 has the label True"),
        ({}, NUMBERS[:7], "7 numbers for 8 texts"),
        ({}, [2.0] * 8, "all 8 numbers are 2.0"),
        ({}, None, "row 1 has the label None"),
    ],
)
def test_what_cannot_be_learnt_is_told_in_one_line(make, changes, y, message):
    with pytest.raises(PromptlabError, match=message) as told:
        make(**changes).fit(TEXTS, y)
    assert "\n" not in str(told.value)


def test_a_number_out_of_range_in_the_dev_set_is_told_with_its_row(make):
    with pytest.raises(DataError, match="row 2 of eval_set has the number -1"):
        make().fit(TEXTS, NUMBERS, eval_set=(TEXTS[:2], [0, -1]))


def test_patience_needs_a_dev_set_and_predicting_a_fit(make):
    with pytest.raises(TuningError, match="patience=2 needs dev examples"):
        make(patience=2).fit(TEXTS, NUMBERS)
    with pytest.raises(NotFittedError):
        make().predict(TEXTS)
