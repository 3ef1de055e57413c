"""The shipped scripts run as they are, whatever kind of model they are given."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.mark.parametrize("family", ["bert", "llama", "t5", "bart"])
def test_one_script_runs_with_every_kind_of_model(tiny_backbone, tmp_path, monkeypatch, capsys, family):
    backbone = tiny_backbone(family)
    backbone.model.save_pretrained(tmp_path / "model")
    backbone.tokenizer.save_pretrained(tmp_path / "model")
    monkeypatch.setattr("sys.argv", ["any_model.py", str(tmp_path / "model")])

    runpy.run_path(str(EXAMPLES / "any_model.py"))

    lines = capsys.readouterr().out.splitlines()
    scores = [float(line.split()[-1]) for line in lines if "zero-shot" in line or "demonstrations" in line]
    assert len(scores) == 2
    assert all(0 <= score <= 1 for score in scores)
