"""What earlier versions saved is still read, and answers as it did; see tests/saved/README.md."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from promptlab.estimators.saving import load_any

pytestmark = pytest.mark.minilm
SAVED = sorted(path.parent for path in Path(__file__).parent.glob("saved/*/*/expected.json"))


@pytest.mark.parametrize("folder", SAVED, ids=lambda folder: f"{folder.parent.name}/{folder.name}")
def test_a_classifier_saved_by_an_earlier_version_answers_as_it_did(folder):
    expected = json.loads((folder / "expected.json").read_text())

    loaded = load_any(folder, device="cpu")

    if "tags" in expected:
        assert loaded.predict(expected["texts"]) == expected["tags"]
    else:
        np.testing.assert_allclose(loaded.predict_proba(expected["texts"]), expected["proba"], atol=2e-5)


def test_there_are_such_classifiers():
    assert len(SAVED) == 13
