from __future__ import annotations

import json

import numpy as np
import pytest
from click.testing import CliRunner
from sklearn.base import clone

from promptlab import PVP, PromptClassifier, PVPEnsemble, write_pvps
from promptlab.cli.main import main
from promptlab.core.errors import DataError, SavedModelError, TuningError
from promptlab.estimators.estimator import TrainedEstimator
from promptlab.estimators.saving import load_any
from promptlab.tuning.prompt_tuning import PromptTuning

TEXTS = ["the film was great", "a good story", "great acting", "a dull mess", "the acting was bad", "a terrible film"]
LABELS = ["positive"] * 3 + ["negative"] * 3
WORDS = {"positive": ["good", "great"], "negative": ["bad", "dull"]}
OTHER = {"negative": ["terrible"], "positive": ["great"]}
PAIRS = [("{{ text_a }} . it was {{ mask }}", WORDS), ("{{ mask }} : {{ text_a }}", OTHER)]
DEV = (TEXTS[::-1], LABELS[::-1])


@pytest.mark.parametrize("tuning", ["full", PromptTuning(length=3)])
def test_a_saved_ensemble_comes_back_whole(make_ensemble, saved_model, tmp_path, tuning):
    ensemble = make_ensemble(model=saved_model("bert"), tuning=tuning, weighting="stacked").fit(
        TEXTS, LABELS, eval_set=DEV
    )

    ensemble.save_pretrained(tmp_path / "out")
    loaded = load_any(tmp_path / "out", device="cpu")

    assert type(loaded) is PVPEnsemble
    assert loaded.predict_proba(TEXTS) == pytest.approx(ensemble.predict_proba(TEXTS), abs=1e-6)
    assert loaded.weights_ == ensemble.weights_ and loaded.member_scores_ == ensemble.member_scores_
    assert np.array_equal(loaded.agreement_, ensemble.agreement_)
    assert loaded.measured_on_ == ensemble.measured_on_ == "dev"
    first, second = (member.model_.backbone for member in loaded.members_.values())
    assert first.memory is second.memory
    again = clone(loaded).fit(TEXTS, LABELS, eval_set=DEV)
    assert again.predict_proba(TEXTS) == pytest.approx(ensemble.predict_proba(TEXTS), abs=1e-6)
    loaded.save_pretrained(tmp_path / "out")
    assert np.array_equal(PVPEnsemble.from_pretrained(tmp_path / "out").predict(TEXTS), ensemble.predict(TEXTS))


def test_where_pairs_come_from_is_saved_with_an_ensemble(make_ensemble, tmp_path):
    origin = {"engine": "heuristic", "seed": 13, "scores": [0.5]}
    found = [PVP(*PAIRS[0], "found", origin), PAIRS[1]]

    make_ensemble(pvps=found).fit(TEXTS, LABELS).save_pretrained(tmp_path / "out")

    loaded = PVPEnsemble.from_pretrained(tmp_path / "out", device="cpu", model=make_ensemble().model)
    assert [pvp.origin for pvp in loaded.pvps] == [origin, {}]


def test_saving_replaces_a_whole_ensemble_or_nothing(make_ensemble, tmp_path, monkeypatch):
    ensemble = make_ensemble().fit(TEXTS, LABELS)
    ensemble.save_pretrained(tmp_path / "out")
    before = sorted(path.name for path in tmp_path.rglob("*"))
    monkeypatch.setattr("promptlab.estimators.saving.put", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))

    with pytest.raises(KeyboardInterrupt):
        ensemble.save_pretrained(tmp_path / "out")

    assert sorted(path.name for path in tmp_path.rglob("*")) == before
    with pytest.raises(DataError, match="holds other files"):
        ensemble.save_pretrained(tmp_path)


def test_what_another_class_or_a_newer_version_saved_is_refused(make_ensemble, bert, tmp_path):
    PromptClassifier(*PAIRS[0], bert, "none", device="cpu").save_pretrained(tmp_path / "one")
    make_ensemble().fit(TEXTS, LABELS).save_pretrained(tmp_path / "many")
    settings = json.loads((tmp_path / "many" / "promptlab.json").read_text())
    settings["parameters"]["from_the_future"] = 1
    (tmp_path / "many" / "promptlab.json").write_text(json.dumps(settings))

    with pytest.raises(SavedModelError, match="holds a PromptClassifier, not a PVPEnsemble"):
        PVPEnsemble.from_pretrained(tmp_path / "one")
    with pytest.raises(SavedModelError, match="from_the_future"):
        PVPEnsemble.from_pretrained(tmp_path / "many")


@pytest.mark.parametrize(
    "damage",
    [
        {"pvps": []},
        {"pvps": [{"template": "x"}]},
        {"pvps": ["x"]},
        {"weights": {}},
        {"weights": {"1": 1.0}},
        {"weights": [1.0]},
        {"weights": {"1": "x", "2": 1.0}},
        {"agreement": [[1], [1, 2]]},
        {"stacking": [[1], ["a"]]},
        {"classes": 5},
        {"stacking": 5},
    ],
)
def test_damaged_settings_of_an_ensemble_are_told_with_their_file(make_ensemble, tmp_path, damage):
    make_ensemble().fit(TEXTS, LABELS).save_pretrained(tmp_path / "out")
    file = tmp_path / "out" / "promptlab.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | damage))

    with pytest.raises(SavedModelError, match=r"promptlab\.json.*save the model again"):
        PVPEnsemble.from_pretrained(tmp_path / "out")


def test_models_to_load_with_are_given_one_for_each_pair(make_ensemble, saved_model, tmp_path):
    base = saved_model("bert")
    ensemble = make_ensemble(model=base, repetitions=2).fit(TEXTS, LABELS)
    ensemble.save_pretrained(tmp_path / "out")

    loaded = PVPEnsemble.from_pretrained(tmp_path / "out", model=[base, base], device="cpu")

    assert np.array_equal(loaded.predict_proba(TEXTS), ensemble.predict_proba(TEXTS))
    with pytest.raises(TuningError, match="1 models for 2 pairs"):
        PVPEnsemble.from_pretrained(tmp_path / "out", model=[base])


def test_what_is_saved_are_the_pairs_that_were_fitted(make_ensemble, saved_model, tmp_path):
    write_pvps(tmp_path / "pvps.yaml", [PVP(*PAIRS[0], "plain"), PVP(*PAIRS[1], "colon")])
    ensemble = make_ensemble(tmp_path / "pvps.yaml", model=saved_model("bert")).fit(TEXTS, LABELS)
    (tmp_path / "pvps.yaml").unlink()

    ensemble.save_pretrained(tmp_path / "out")

    assert np.array_equal(load_any(tmp_path / "out", device="cpu").predict(TEXTS), ensemble.predict(TEXTS))


def test_an_ensemble_is_no_model_to_export_which_the_command_says_naming_one_that_is(make_ensemble, tmp_path):
    make_ensemble().fit(TEXTS, LABELS).save_pretrained(tmp_path / "many")

    result = CliRunner().invoke(main, ["export", str(tmp_path / "many"), "-o", str(tmp_path / "out")])

    assert not hasattr(PVPEnsemble, "export_model")
    assert result.exit_code == 2
    assert f"is several models; export {tmp_path}/many/member-0." in " ".join(result.output.split())


def test_what_training_is_kept_of_one_model_no_ensemble_inherits():
    assert TrainedEstimator not in PVPEnsemble.__mro__
    assert not {"saved_parts", "restored", "take_model", "model_tuning"} & set(dir(PVPEnsemble))
