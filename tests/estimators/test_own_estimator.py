"""An estimator of one's own is one file and a row of the registry: what it learns, answers and saves."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from sklearn.base import RegressorMixin

from promptlab.cli.main import main
from promptlab.core.registry import ESTIMATORS
from promptlab.data.labeled import SoftLabeled
from promptlab.data.readers import as_examples
from promptlab.estimators.saving import load_any
from promptlab.estimators.table_scores import TableScores
from promptlab.estimators.text_estimator import TextEstimator
from promptlab.library.resolve import resolve_template, resolve_verbalizer
from promptlab.models.prompt_model import PromptModel
from promptlab.training.dev_score import DevScore
from promptlab.verbalizers.independent import IndependentHead

ENDS = {"low": ["bad"], "high": ["good"]}
TEXTS = ["a good film", "a bad film", "a great story", "a dull story"] * 4
SHARES = [0.9, 0.1, 0.7, 0.2] * 4


class ShareHead(IndependentHead):
    """Two words that share one text; the loss is the cross-entropy of their shares."""

    def forward(self, outputs):
        return self.log_odds(outputs).log_softmax(dim=-1)

    def losses(self, outputs, labels):
        return -(labels.exp() * self(outputs)).sum(dim=-1)


class ShareModel(PromptModel):
    def __init__(self, template, verbalizer, backbone, head, soft):
        super().__init__(template, verbalizer, backbone, ShareHead(head, 2), soft)


def share_error(log_probs, targets):
    """One less the mean distance of the shares, as what should be high."""
    distance = (log_probs.exp() - targets.exp()).abs().mean().item()
    return DevScore(1 - distance, distance, len(targets), metric="closeness")


def table_closeness(regressor, examples):
    labeled = list(examples)
    truth = [float(example.label) for example in labeled]
    return {"rows": len(truth), "closeness": 1 - float(np.abs(regressor.predict(labeled) - truth).mean())}


@dataclass(eq=False, repr=False)
class ShareRegressor(RegressorMixin, TextEstimator):
    """How much of a text is good, from 0 to 1."""

    template: Any = None
    verbalizer: Any = None
    model: Any = None
    tuning: Any = "full"

    model_class: ClassVar[type[PromptModel]] = ShareModel
    dev_scorer: ClassVar[Any] = staticmethod(share_error)
    table_scores: ClassVar[Any] = TableScores(table_closeness, "closeness", {"closeness": "closeness"})
    shares_batches: ClassVar[bool] = False

    def make_template(self):
        return resolve_template(self.template)

    def make_verbalizer(self, names):
        return resolve_verbalizer(self.verbalizer)

    def read_labels(self, X, y, eval_set, sample_weight):
        return shares(X, y), None if eval_set is None else shares(*eval_set)

    def table_rows(self, examples, *, proba=False, separator=None):
        for number, row in enumerate(self.iter_log_proba(examples), start=1):
            yield {"row": number, "share": float(np.exp(row[1]))}

    def predict(self, X):
        rows = np.stack(list(self.iter_log_proba(as_examples(X))))
        return np.exp(rows[:, self.class_names_.index("high")])


def shares(X, y):
    examples = as_examples(X)
    high = torch.tensor([float(example.label) for example in examples] if y is None else y)
    return SoftLabeled(examples, ["low", "high"], torch.stack([1 - high, high], dim=1).log())


@pytest.fixture
def regressor(saved_model):
    settings = {"max_steps": 60, "learning_rate": 3e-3, "device": "cpu"}
    return ShareRegressor(template="{{ text_a }} {{ mask }}", verbalizer=ENDS, model=saved_model("bert"), **settings)


def test_it_learns_what_its_head_is_trained_on(regressor):
    regressor.fit(TEXTS, SHARES, eval_set=(TEXTS, SHARES))

    assert regressor.predict(TEXTS[:4]) == pytest.approx(SHARES[:4], abs=0.1)
    assert regressor.history_[-1]["dev_closeness"] > 0.9
    assert not hasattr(regressor, "classes_") and not hasattr(regressor, "predict_proba")


@pytest.fixture
def registered(monkeypatch):
    monkeypatch.setattr(ESTIMATORS, "entries", dict(ESTIMATORS.entries))
    ESTIMATORS.register("ShareRegressor", f"{__name__}:ShareRegressor", "a share of 1 for each text")


@pytest.mark.usefixtures("registered")
def test_it_is_saved_and_loaded_by_its_row_of_the_registry(regressor, tmp_path):
    regressor.fit(TEXTS, SHARES)

    regressor.save_pretrained(tmp_path / "saved")
    loaded = load_any(tmp_path / "saved", device="cpu")

    assert type(loaded) is ShareRegressor
    assert np.array_equal(loaded.predict(TEXTS), regressor.predict(TEXTS))
    assert "ShareRegressor.from_pretrained" in (tmp_path / "saved" / "README.md").read_text()


@pytest.mark.usefixtures("registered")
def test_the_command_line_trains_scores_and_runs_it_by_its_name(saved_model, tmp_path):
    rows = "".join(f"{text}\t{share}\n" for text, share in zip(TEXTS, SHARES))
    (tmp_path / "train.tsv").write_text("text_a\tlabel\n" + rows, encoding="utf-8")
    train, out = str(tmp_path / "train.tsv"), str(tmp_path / "out")
    prompt = ("--template", "{{ text_a }} {{ mask }}", "--verbalizer", json.dumps(ENDS))
    quick = ("--model", str(saved_model("bert")), "--max-steps", "2", "--device", "cpu", "--dev", train, "--json")

    def run(*arguments):
        result = CliRunner().invoke(main, arguments)
        assert result.exit_code == 0, result.output
        return [json.loads(line) for line in result.stdout.splitlines()]

    (fitted,) = run("fit", train, "-o", out, "--estimator", "ShareRegressor", *prompt, *quick)
    (scores,) = run("evaluate", out, train, "--json")
    predicted = run("predict", out, train, "--json")

    assert fitted["dev_closeness"] == scores["closeness"]
    assert [row["share"] for row in predicted] == pytest.approx(load_any(out, device="cpu").predict(TEXTS).tolist())
