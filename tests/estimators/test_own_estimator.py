"""An estimator of one's own is one file and a row of the registry: what it learns, answers and saves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from sklearn.base import RegressorMixin

from promptlab.core.registry import ESTIMATORS
from promptlab.data.labeled import SoftLabeled
from promptlab.data.readers import as_examples
from promptlab.estimators.saving import load_any
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


@dataclass(eq=False, repr=False)
class ShareRegressor(RegressorMixin, TextEstimator):
    """How much of a text is good, from 0 to 1."""

    template: Any = None
    verbalizer: Any = None
    model: Any = None
    tuning: Any = "full"

    model_class: ClassVar[type[PromptModel]] = ShareModel
    dev_scorer: ClassVar[Any] = staticmethod(share_error)
    shares_batches: ClassVar[bool] = False

    def make_template(self):
        return resolve_template(self.template)

    def make_verbalizer(self, names):
        return resolve_verbalizer(self.verbalizer)

    def read_labels(self, X, y, eval_set, sample_weight):
        return shares(X, y), None if eval_set is None else shares(*eval_set)

    def predict(self, X):
        rows = np.stack(list(self.iter_log_proba(as_examples(X))))
        return np.exp(rows[:, self.class_names_.index("high")])


def shares(X, y):
    high = torch.tensor(y, dtype=torch.float)
    return SoftLabeled(as_examples(X), ["low", "high"], torch.stack([1 - high, high], dim=1).log())


@pytest.fixture
def regressor(saved_model):
    settings = {"max_steps": 60, "learning_rate": 3e-3, "device": "cpu"}
    return ShareRegressor(template="{{ text_a }} {{ mask }}", verbalizer=ENDS, model=saved_model("bert"), **settings)


def test_it_learns_what_its_head_is_trained_on(regressor):
    regressor.fit(TEXTS, SHARES, eval_set=(TEXTS, SHARES))

    assert regressor.predict(TEXTS[:4]) == pytest.approx(SHARES[:4], abs=0.1)
    assert regressor.history_[-1]["dev_closeness"] > 0.9
    assert not hasattr(regressor, "classes_") and not hasattr(regressor, "predict_proba")


def test_it_is_saved_and_loaded_by_its_row_of_the_registry(regressor, tmp_path, monkeypatch):
    monkeypatch.setattr(ESTIMATORS, "entries", dict(ESTIMATORS.entries))
    ESTIMATORS.register("ShareRegressor", f"{__name__}:ShareRegressor", "a share of 1 for each text")
    regressor.fit(TEXTS, SHARES)

    regressor.save_pretrained(tmp_path / "saved")
    loaded = load_any(tmp_path / "saved", device="cpu")

    assert type(loaded) is ShareRegressor
    assert np.array_equal(loaded.predict(TEXTS), regressor.predict(TEXTS))
    assert "ShareRegressor.from_pretrained" in (tmp_path / "saved" / "README.md").read_text()
