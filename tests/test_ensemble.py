from __future__ import annotations

import datetime
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import save_file
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from promptlab import PVP, Example, InContextTemplate, PromptClassifier, PVPEnsemble, write_pvps
from promptlab.backbones.catalog import load_backbone
from promptlab.errors import (
    BackboneError,
    DataError,
    JobError,
    SavedModelError,
    TemplateError,
    TuningError,
    UnknownNameError,
    VerbalizerError,
)
from promptlab.merging import Stacking
from promptlab.saving import load_any
from promptlab.tuning.adapter import Adapter
from promptlab.tuning.lora import LoRA
from promptlab.tuning.prefix import PTuningV2
from promptlab.tuning.prompt_tuning import PromptTuning
from promptlab.verbalizers.calibrated import ContextualVerbalizer
from promptlab.verbalizers.manual import ManualVerbalizer
from promptlab.verbalizers.rules import RuleVerbalizer
from promptlab.verbalizers.strings import StringVerbalizer
from promptlab.workspace import identity

TEXTS = ["the film was great", "a good story", "great acting", "a dull mess", "the acting was bad", "a terrible film"]
LABELS = ["positive"] * 3 + ["negative"] * 3
WORDS = {"positive": ["good", "great"], "negative": ["bad", "dull"]}
OTHER = {"negative": ["terrible"], "positive": ["great"]}
PAIRS = [("{{ text_a }} . it was {{ mask }}", WORDS), ("{{ mask }} : {{ text_a }}", OTHER)]
DEV = (TEXTS[::-1], LABELS[::-1])


@pytest.fixture
def bert(tiny_backbone):
    return tiny_backbone("bert")


@pytest.fixture
def make(bert):
    """A function that makes an unfitted ensemble of two pairs."""
    common = {"repetitions": 1, "weighting": "uniform", "max_steps": 3, "learning_rate": 1e-3, "device": "cpu"}
    return lambda pvps=PAIRS, model=bert, **settings: PVPEnsemble(pvps, model, **{**common, **settings})


def softmax(rows):
    return np.exp(rows) / np.exp(rows).sum(axis=-1, keepdims=True)


def test_probabilities_are_the_softmax_of_the_mean_score(make):
    ensemble = make(repetitions=2).fit(TEXTS, LABELS)
    each = [member.predict_proba(TEXTS) for member in ensemble.members_.values()]

    assert list(ensemble.members_) == ["1/1", "1/2", "2/1", "2/2"]
    assert ensemble.classes_.tolist() == ["negative", "positive"]
    expected = softmax(np.mean([np.log(rows) for rows in each], axis=0))
    assert ensemble.predict_proba(TEXTS) == pytest.approx(expected, abs=1e-6)
    assert np.allclose(ensemble.member_proba(TEXTS), each, atol=1e-6)
    assert ensemble.score(TEXTS, LABELS) == np.mean(ensemble.predict(TEXTS) == LABELS)
    assert ensemble.member_proba([]).shape == (4, 0, 2) and ensemble.predict([]).tolist() == []
    assert not np.allclose(each[0], each[1]) and not np.allclose(each[0], each[2])


def test_one_pair_alone_is_the_ordinary_classifier(make, bert):
    alone = PromptClassifier(*PAIRS[0], bert, max_steps=3, learning_rate=1e-3, device="cpu", seed=5).fit(TEXTS, LABELS)

    ensemble = make(PAIRS[:1], seed=5).fit(TEXTS, LABELS)

    assert ensemble.predict_proba(TEXTS) == pytest.approx(alone.predict_proba(TEXTS), abs=1e-6)


def test_weights_before_training_are_the_zero_shot_accuracies(make, bert):
    ensemble = make(weighting="before").fit(TEXTS, LABELS)

    expected = [
        PromptClassifier(*pair, bert, "none", device="cpu").fit(TEXTS, LABELS).score(TEXTS, LABELS) for pair in PAIRS
    ]
    assert list(ensemble.weights_.values()) == (expected if sum(expected) else [1.0, 1.0])
    scores = np.log([member.predict_proba(TEXTS) for member in ensemble.members_.values()])
    merged = np.average(scores, axis=0, weights=list(ensemble.weights_.values()))
    assert ensemble.predict_proba(TEXTS) == pytest.approx(softmax(merged), abs=1e-6)


def test_weights_after_training_are_the_accuracies_on_dev(make):
    dev = (TEXTS[:3] + TEXTS[3:5], LABELS[:5])

    ensemble = make(weighting="after").fit(TEXTS, LABELS, eval_set=dev)

    expected = {name: member.score(*dev) for name, member in ensemble.members_.items()}
    assert ensemble.member_scores_ == expected
    assert ensemble.weights_ == (expected if any(expected.values()) else dict.fromkeys(expected, 1.0))
    chosen = [member.predict(dev[0]) for member in ensemble.members_.values()]
    assert ensemble.agreement_[0, 1] == np.mean(chosen[0] == chosen[1])


def test_stacking_is_learnt_on_dev(make):
    dev, wrong = ["a great opera", "awful", "a good film"], ["negative", "positive", "negative"]

    ensemble = make(weighting="stacked").fit(TEXTS, LABELS, eval_set=(dev, wrong))

    scores = np.log(ensemble.member_proba(TEXTS))
    again = Stacking.fitted(np.log(ensemble.member_proba(dev)), np.array([0, 1, 0]), seed=0)
    assert ensemble.predict_proba(TEXTS) == pytest.approx(np.exp(again(scores)), abs=1e-5)

    assert ensemble.predict_proba(TEXTS) == pytest.approx(np.exp(ensemble.stacking_(scores)), abs=1e-6)
    assert ensemble.stacking_.coefficients.shape == (2, 4)


def test_a_hard_vote_is_the_majoritys(make):
    ensemble = make([*PAIRS, ("{{ text_a }} {{ mask }}", WORDS)], voting="hard").fit(TEXTS, LABELS)
    chosen = [member.predict(TEXTS).tolist() for member in ensemble.members_.values()]

    expected = [max(LABELS, key=[row[i] for row in chosen].count) for i in range(len(TEXTS))]
    assert ensemble.predict(TEXTS).tolist() == expected


@pytest.mark.parametrize("tuning", ["full", PromptTuning(length=3)])
def test_a_saved_ensemble_comes_back_whole(make, saved_model, tmp_path, tuning):
    ensemble = make(model=saved_model("bert"), tuning=tuning, weighting="stacked").fit(TEXTS, LABELS, eval_set=DEV)

    ensemble.save_pretrained(tmp_path / "out")
    loaded = load_any(tmp_path / "out", device="cpu")

    assert type(loaded) is PVPEnsemble
    assert loaded.predict_proba(TEXTS) == pytest.approx(ensemble.predict_proba(TEXTS), abs=1e-6)
    assert loaded.weights_ == ensemble.weights_ and loaded.member_scores_ == ensemble.member_scores_
    assert np.array_equal(loaded.agreement_, ensemble.agreement_)
    first, second = (member.model_.backbone for member in loaded.members_.values())
    assert first.memory is second.memory
    again = clone(loaded).fit(TEXTS, LABELS, eval_set=DEV)
    assert again.predict_proba(TEXTS) == pytest.approx(ensemble.predict_proba(TEXTS), abs=1e-6)
    loaded.save_pretrained(tmp_path / "out")
    assert np.array_equal(PVPEnsemble.from_pretrained(tmp_path / "out").predict(TEXTS), ensemble.predict(TEXTS))


def test_where_pairs_come_from_is_saved_with_an_ensemble(make, tmp_path):
    origin = {"engine": "heuristic", "seed": 13, "scores": [0.5]}
    found = [PVP(*PAIRS[0], "found", origin), PAIRS[1]]

    make(pvps=found).fit(TEXTS, LABELS).save_pretrained(tmp_path / "out")

    loaded = PVPEnsemble.from_pretrained(tmp_path / "out", device="cpu", model=make().model)
    assert [pvp.origin for pvp in loaded.pvps] == [origin, {}]


def test_saving_replaces_a_whole_ensemble_or_nothing(make, tmp_path, monkeypatch):
    ensemble = make().fit(TEXTS, LABELS)
    ensemble.save_pretrained(tmp_path / "out")
    before = sorted(path.name for path in tmp_path.rglob("*"))
    monkeypatch.setattr("promptlab.saving.put", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))

    with pytest.raises(KeyboardInterrupt):
        ensemble.save_pretrained(tmp_path / "out")

    assert sorted(path.name for path in tmp_path.rglob("*")) == before
    with pytest.raises(DataError, match="holds other files"):
        ensemble.save_pretrained(tmp_path)


def test_what_another_class_or_a_newer_version_saved_is_refused(make, bert, tmp_path):
    PromptClassifier(*PAIRS[0], bert, "none", device="cpu").save_pretrained(tmp_path / "one")
    make().fit(TEXTS, LABELS).save_pretrained(tmp_path / "many")
    settings = json.loads((tmp_path / "many" / "promptlab.json").read_text())
    settings["parameters"]["from_the_future"] = 1
    (tmp_path / "many" / "promptlab.json").write_text(json.dumps(settings))

    with pytest.raises(SavedModelError, match="holds a PromptClassifier, not a PVPEnsemble"):
        PVPEnsemble.from_pretrained(tmp_path / "one")
    with pytest.raises(SavedModelError, match="from_the_future"):
        PVPEnsemble.from_pretrained(tmp_path / "many")


@pytest.mark.parametrize("tuning", [PromptTuning(length=3), PTuningV2(length=2), Adapter(size=4), LoRA(rank=2)])
def test_members_that_train_little_share_the_models_memory_and_a_batch(make, bert, tuning):
    ensemble = make(tuning=tuning).fit(TEXTS, LABELS)
    before = bert.embedding_weight().data_ptr()
    alone = [member.predict_proba(TEXTS) for member in ensemble.members_.values()]

    (joint,) = ensemble._scores.joint

    assert list(joint.classifiers) == list(ensemble.members_)
    for member in ensemble.members_.values():
        own = [w.data_ptr() for w in member.model_.backbone.model.parameters() if not w.requires_grad]
        assert before in own
    assert np.allclose(ensemble.member_proba(TEXTS), alone, atol=1e-6)


STRINGS = [
    StringVerbalizer({"positive": "good", "negative": "bad"}),
    StringVerbalizer({"positive": "bad", "negative": "good"}),
    StringVerbalizer({"positive": "a great film", "negative": "dull"}),
]
MANUAL = ManualVerbalizer(WORDS)
RULES = RuleVerbalizer({"positive": ["good", "film"], "negative": ["bad", "story"]})


@pytest.mark.parametrize(
    ("verbalizers", "n_joined"),
    [
        (STRINGS[:2], 0),
        ([STRINGS[0], STRINGS[2]], 0),
        ([STRINGS[0], STRINGS[0]], 2),
        ([MANUAL, ContextualVerbalizer(MANUAL), STRINGS[0]], 2),
        ([MANUAL, ContextualVerbalizer(MANUAL)], 2),
        ([MANUAL, RULES], 0),
    ],
)
def test_members_whose_heads_read_another_thing_answer_as_they_do_alone(make, verbalizers, n_joined):
    masks = [" and ".join(["{{ mask }}"] * (2 if verbalizer is RULES else 1)) for verbalizer in verbalizers]
    pairs = [(f"{{{{ text_a }}}} was {mask}", verbalizer) for mask, verbalizer in zip(masks, verbalizers)]

    ensemble = make(pairs, tuning=PromptTuning(length=2)).fit(TEXTS, LABELS)

    alone = [member.predict_proba(TEXTS) for member in ensemble.members_.values()]
    assert np.allclose(ensemble.member_proba(TEXTS), alone, atol=1e-6)
    assert sum(len(joint.classifiers) for joint in ensemble._scores.joint) == n_joined


def test_the_report_has_every_member_and_the_ensemble_and_leaves_rows_without_a_label_out(make):
    ensemble = make(weighting="before").fit(TEXTS, LABELS)
    known, truth = TEXTS[:2] + TEXTS[3:], LABELS[:2] + LABELS[3:]

    found = ensemble.report(TEXTS, [*LABELS[:2], -1, *LABELS[3:]])

    assert found == [
        *((name, member.score(known, truth)) for name, member in ensemble.members_.items()),
        ("ensemble", ensemble.score(known, truth)),
    ]
    with pytest.raises(DataError, match="no row has a label"):
        ensemble.report(TEXTS, [-1] * len(TEXTS))


def test_what_cannot_be_reported_on_is_told_without_any_training(make):
    ensemble = make(pvps=[*PAIRS, ("{{ text_b }} {{ mask }}", WORDS)])

    ensemble.check([(text, text) for text in TEXTS], LABELS)
    with pytest.raises(UnknownNameError, match="unknown label 'neutral'"):
        ensemble.check(TEXTS, ["neutral", *LABELS[1:]])
    with pytest.raises(TemplateError, match=r"member '3': .* needs field 'text_b'"):
        ensemble.check(TEXTS, LABELS)
    with pytest.raises(DataError, match="no row has a label"):
        ensemble.check(TEXTS, [-1] * len(TEXTS))
    with pytest.raises(TemplateError, match=r"member '1': .* of \d+ that fit"):
        make(pvps=[("{{ text_a | keep }} {{ mask }}", WORDS)]).check(["a b c d e f g h " * 20], ["positive"])


def test_templates_with_demonstrations_are_checked_with_those_that_they_will_show(make):
    shown = [Example({"text_a": text}, label) for text, label in zip(TEXTS, LABELS, strict=True)]
    ensemble = make(pvps=[(InContextTemplate("{{ text_a }} {{ mask }}", k=2), WORDS)])

    ensemble.check(TEXTS, LABELS, shown=shown)
    with pytest.raises(TemplateError, match="member '1': k=2 demonstrations are asked for"):
        ensemble.check(TEXTS, LABELS)


@pytest.mark.parametrize("origin", [None, "a search", 5])
def test_an_origin_that_is_no_mapping_is_told_before_anything_is_trained(make, monkeypatch, origin):
    monkeypatch.setattr(PromptClassifier, "learn", lambda *_, **__: pytest.fail("trained"))

    with pytest.raises(DataError, match="pair 1 has the origin"):
        make(pvps=[PVP(*PAIRS[0], "n", origin)]).fit(TEXTS, LABELS)


def test_a_voting_that_is_set_after_fitting_is_checked(make):
    ensemble = make().fit(TEXTS, LABELS).set_params(voting="mostly")

    with pytest.raises(UnknownNameError, match="unknown voting 'mostly'"):
        ensemble.predict(TEXTS)


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
def test_damaged_settings_of_an_ensemble_are_told_with_their_file(make, tmp_path, damage):
    make().fit(TEXTS, LABELS).save_pretrained(tmp_path / "out")
    file = tmp_path / "out" / "promptlab.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | damage))

    with pytest.raises(SavedModelError, match=r"promptlab\.json.*save the model again"):
        PVPEnsemble.from_pretrained(tmp_path / "out")


def test_a_damaged_member_in_the_cache_is_told_with_its_folder(make, tmp_path):
    make(cache_dir=tmp_path / "cache").fit(TEXTS, LABELS)
    weights = sorted((tmp_path / "cache" / "results").glob("*/model/weights.safetensors"))
    weights[0].write_bytes(b"")

    with pytest.raises(DataError, match=rf"result '{weights[0].parents[1]}' is damaged .*; delete it and run again"):
        make(cache_dir=tmp_path / "cache").fit(TEXTS, LABELS)


def test_a_member_that_starts_from_a_changed_file_is_trained_anew(make, bert, tmp_path):
    def saved(label_texts):
        start = PromptClassifier(*PAIRS[0], bert, PromptTuning(length=2), max_steps=1, device="cpu")
        start.fit(label_texts, LABELS).save_prompt(tmp_path / "start.safetensors")

    def fitted(cache):
        settings = {"tuning": PromptTuning(length=2, start=str(tmp_path / "start.safetensors")), "cache_dir": cache}
        return make(**settings).fit(TEXTS, LABELS).predict_proba(TEXTS)

    saved(TEXTS)
    first = fitted(tmp_path / "cache")
    saved(TEXTS[::-1])

    assert np.array_equal(fitted(tmp_path / "cache"), fitted(None))
    assert not np.array_equal(fitted(tmp_path / "cache"), first)


def test_a_member_whose_template_starts_from_a_changed_file_is_trained_anew(make, bert, tmp_path):
    file = tmp_path / "start.safetensors"
    width = bert.embedding_weight().shape[1]

    def fitted(cache):
        pairs = [(f"{{{{ soft(2, start='{file}') }}}} {{{{ text_a }}}} {{{{ mask }}}}", WORDS)]
        return make(pairs, cache_dir=cache).fit(TEXTS, LABELS).predict_proba(TEXTS)

    save_file({"prompt": torch.zeros(2, width)}, file)
    first = fitted(tmp_path / "cache")
    save_file({"prompt": torch.ones(2, width)}, file)

    assert np.array_equal(fitted(tmp_path / "cache"), fitted(None))
    assert not np.array_equal(fitted(tmp_path / "cache"), first)


def edited(file, change):
    settings = json.loads(file.read_text())
    change(settings)
    file.write_text(json.dumps(settings))


@pytest.mark.parametrize(
    ("file", "change"),
    [
        ("config.json", lambda settings: settings.update(hidden_act="relu")),
        ("tokenizer.json", lambda settings: settings.update(pre_tokenizer={"type": "WhitespaceSplit"})),
    ],
)
def test_members_are_trained_anew_where_the_models_settings_or_tokenizer_have_changed(
    make, base, tmp_path, file, change
):
    punctuated = [f"{text}." for text in TEXTS]

    def fitted(cache):
        return make(model=base, cache_dir=cache).fit(punctuated, LABELS).predict_proba(punctuated)

    first = fitted(tmp_path / "cache")
    edited(Path(base) / file, change)

    assert np.array_equal(fitted(tmp_path / "cache"), fitted(None))
    assert not np.allclose(fitted(tmp_path / "cache"), first, atol=1e-6)


def test_models_of_equal_weights_and_other_settings_stay_apart(make, base):
    one = load_backbone(base)
    edited(Path(base) / "config.json", lambda settings: settings.update(hidden_act="relu"))
    other = load_backbone(base)

    ensemble = make([PAIRS[0], PAIRS[0]], [one, other]).fit(TEXTS, LABELS)

    alone = make(PAIRS[:1], other).fit(TEXTS, LABELS)
    first, second = ensemble.member_proba(TEXTS)
    assert second == pytest.approx(alone.member_proba(TEXTS)[0], abs=1e-6)
    assert not np.allclose(first, second, atol=1e-4)


def test_training_leaves_the_identity_of_a_model(make, bert):
    before = identity(bert)

    make(gradient_checkpointing=True, max_length=20).fit(TEXTS, LABELS)

    assert identity(bert) == before


def test_a_member_that_starts_from_the_classes_words_is_trained_anew_where_their_order_is_another(make, tmp_path):
    def fitted(words, cache):
        settings = {"tuning": PromptTuning(length=2, start="labels"), "cache_dir": cache}
        return make([(PAIRS[0][0], words)], **settings).fit(TEXTS, LABELS).predict_proba(TEXTS)

    fitted(WORDS, tmp_path / "cache")
    turned = dict(reversed(WORDS.items()))

    assert np.array_equal(fitted(turned, tmp_path / "cache"), fitted(turned, None))
    assert not np.array_equal(fitted(turned, None), fitted(WORDS, None))


def test_a_pair_that_reads_one_more_field_leaves_the_other_members_as_they_are(make, monkeypatch, tmp_path):
    rows = [{"text_a": text, "text_b": "good"} for text in TEXTS]
    make(cache_dir=tmp_path / "cache").fit(rows, LABELS, eval_set=(rows, LABELS))
    learn, calls = PromptClassifier.learn, []
    monkeypatch.setattr(PromptClassifier, "learn", lambda self, *a, **k: calls.append(1) or learn(self, *a, **k))

    more = [*PAIRS, ("{{ text_a }} {{ text_b }} {{ mask }}", WORDS)]
    make(more, cache_dir=tmp_path / "cache").fit(rows, LABELS, eval_set=(rows, LABELS))

    assert len(calls) == 1


def test_members_see_numbers_as_the_ordinary_classifier_does_and_what_would_change_is_told(make, bert):
    pair = ("{{ text_a }} {{ share }} {{ mask }}", WORDS)
    rows = [{"text_a": text, "share": np.float32(0.1)} for text in TEXTS]
    settings = {"max_steps": 3, "learning_rate": 1e-3, "device": "cpu"}

    alone = PromptClassifier(*pair, bert, **settings).fit(rows, LABELS)

    assert make([pair]).fit(rows, LABELS).predict_proba(rows) == pytest.approx(alone.predict_proba(rows), abs=1e-6)
    for value, kind in (((1, 2), "tuple"), (datetime.date(2026, 1, 2), "date"), ({1: 2}, "dict")):
        with pytest.raises(DataError, match=f"field 'share' of row 2 is .*, of type {kind}, .*; pass it as a text"):
            make([pair]).fit([rows[0], *({**row, "share": value} for row in rows[1:])], LABELS)


def test_members_with_weights_of_their_own_run_one_after_the_other(make):
    assert make().fit(TEXTS, LABELS)._scores.joint == []


def test_pairs_may_have_models_of_their_own(make, bert, tiny_backbone):
    roberta = tiny_backbone("roberta")
    words = {"positive": ["a"], "negative": ["b"]}

    ensemble = make([("{{ text_a }} {{ mask }}", WORDS), ("{{ text_a }} {{ mask }}", words)], [bert, roberta])
    ensemble.fit(TEXTS, LABELS)

    assert [m.model_.backbone.name for m in ensemble.members_.values()] == ["tiny-bert", "tiny-roberta"]
    with pytest.raises(TuningError, match="3 models for 2 pairs"):
        make(model=[bert, bert, roberta]).fit(TEXTS, LABELS)


def test_loaded_models_of_one_architecture_are_told_apart(make, tiny_backbone, tmp_path):
    """Loaded models print alike; only their weights differ."""
    one, other = tiny_backbone("bert"), tiny_backbone("bert")
    with torch.no_grad():
        for weight in other.parameters():
            weight *= 1.5
    same = [PAIRS[0]] * 2

    ensemble = make(same, model=[one, other], learning_rate=0.0).fit(TEXTS, LABELS)

    expected = [PromptClassifier(*PAIRS[0], model, device="cpu").predict_proba(TEXTS) for model in (one, other)]
    assert ensemble.member_proba(TEXTS) == pytest.approx(np.array(expected), abs=1e-6)
    assert not np.allclose(*expected)


def test_a_model_whose_weights_changed_is_trained_anew(make, bert, tmp_path):
    make(cache_dir=tmp_path / "cache").fit(TEXTS, LABELS)
    with torch.no_grad():
        for weight in bert.parameters():
            weight *= 1.5

    again = make(cache_dir=tmp_path / "cache").fit(TEXTS, LABELS)

    assert np.array_equal(again.predict_proba(TEXTS), make().fit(TEXTS, LABELS).predict_proba(TEXTS))


def test_models_to_load_with_are_given_one_for_each_pair(make, saved_model, tmp_path):
    base = saved_model("bert")
    ensemble = make(model=base, repetitions=2).fit(TEXTS, LABELS)
    ensemble.save_pretrained(tmp_path / "out")

    loaded = PVPEnsemble.from_pretrained(tmp_path / "out", model=[base, base], device="cpu")

    assert np.array_equal(loaded.predict_proba(TEXTS), ensemble.predict_proba(TEXTS))
    with pytest.raises(TuningError, match="1 models for 2 pairs"):
        PVPEnsemble.from_pretrained(tmp_path / "out", model=[base])


def test_what_is_saved_are_the_pairs_that_were_fitted(make, saved_model, tmp_path):
    write_pvps(tmp_path / "pvps.yaml", [PVP(*PAIRS[0], "plain"), PVP(*PAIRS[1], "colon")])
    ensemble = make(tmp_path / "pvps.yaml", model=saved_model("bert")).fit(TEXTS, LABELS)
    (tmp_path / "pvps.yaml").unlink()

    ensemble.save_pretrained(tmp_path / "out")

    assert np.array_equal(load_any(tmp_path / "out", device="cpu").predict(TEXTS), ensemble.predict(TEXTS))


def test_columns_that_no_template_reads_may_hold_anything(make):
    rows = [{"text_a": text, "vector": np.zeros(3), "day": pd.Timestamp("2020-01-01")} for text in TEXTS]

    ensemble = make().fit(rows, LABELS, eval_set=(rows, LABELS))

    assert ensemble.predict_proba(rows) == pytest.approx(make().fit(TEXTS, LABELS).predict_proba(TEXTS), abs=1e-6)


def test_dev_decides_which_weights_of_a_member_are_kept(make):
    """A dev set whose labels are turned round is the worse, the more is learnt."""
    settings, dev = {"max_steps": 20, "eval_every": 1, "learning_rate": 1e-3}, (TEXTS, LABELS[::-1])
    ensemble = make(**settings).fit(TEXTS, LABELS, eval_set=dev)

    alone = [
        PromptClassifier(*pair, ensemble.model, device="cpu", **settings).fit(TEXTS, LABELS, eval_set=dev)
        for pair in PAIRS
    ]
    blind = make(**settings).fit(TEXTS, LABELS)

    expected = np.array([classifier.predict_proba(TEXTS) for classifier in alone])
    assert ensemble.member_proba(TEXTS) == pytest.approx(expected, abs=1e-5)
    assert not np.allclose(blind.member_proba(TEXTS), expected, atol=1e-3)


def test_classes_ten_and_nine_are_scored_as_numbers(make):
    """As texts 10 comes before 9, as numbers after it."""
    pairs = [(template, {"10": ["good", "great"], "9": ["bad", "dull"]}) for template, _ in PAIRS]
    y = [10 if label == "positive" else 9 for label in LABELS]

    ensemble = make(pairs, max_steps=100, learning_rate=3e-3).fit(TEXTS, y)

    assert ensemble.classes_.tolist() == [9, 10]
    assert ensemble.predict(TEXTS).tolist() == y
    assert set(ensemble.member_scores_.values()) == {1.0}


def test_labels_come_back_as_whole_numbers(make, tmp_path):
    words = {"10": ["good", "great"], "9": ["bad", "dull"]}
    ensemble = make([("{{ text_a }} {{ mask }}", words)] * 2).fit(TEXTS, [10, 10, 10, 9, 9, 9])

    assert ensemble.classes_.tolist() == [9, 10]
    assert ensemble.member_proba(TEXTS).mean(axis=0)[0] == pytest.approx(ensemble.predict_proba(TEXTS)[0], abs=0.05)
    assert ensemble.score(TEXTS, [10, 10, 10, 9, 9, 9]) == np.mean(ensemble.predict(TEXTS) == [10, 10, 10, 9, 9, 9])


def test_pairs_come_from_a_file_and_keep_their_names(make, tmp_path):
    write_pvps(tmp_path / "pvps.yaml", [PVP(*PAIRS[0], "plain"), PVP(*PAIRS[1], "colon"), PVP(*PAIRS[1], "colon")])

    ensemble = make(tmp_path / "pvps.yaml").fit(TEXTS, LABELS)

    assert list(ensemble.members_) == ["plain", "colon", "colon (3)"]
    named = [PVP(*PAIRS[0], name) for name in ("a", "a (3)", "a")]
    assert list(make(named).fit(TEXTS, LABELS).members_) == ["a", "a (3)", "a (3) (3)"]


def test_members_without_a_name_are_called_as_their_template_in_the_library_or_by_number(make):
    (_, words), *_ = PAIRS

    ensemble = make([("sst2/it-was", words), (*PAIRS[0],), ("sst2/it-was", words)]).fit(TEXTS, LABELS)

    assert list(ensemble.members_) == ["sst2/it-was", "2", "sst2/it-was (3)"]


def test_finished_members_are_not_trained_again(make, tmp_path, monkeypatch):
    first = make(cache_dir=tmp_path / "cache").fit(TEXTS, LABELS)
    monkeypatch.setattr(PromptClassifier, "learn", lambda *_, **__: pytest.fail("trained again"))

    again = make(cache_dir=tmp_path / "cache", voting="hard").fit(TEXTS, LABELS)

    assert np.array_equal(again.member_proba(TEXTS), first.member_proba(TEXTS))
    with pytest.raises(pytest.fail.Exception):
        make(cache_dir=tmp_path / "cache").fit(TEXTS[::-1], LABELS[::-1])


def test_it_clones_and_is_not_fitted_before_fit(make):
    ensemble = make(voting="hard")

    assert clone(ensemble).get_params()["voting"] == "hard"
    with pytest.raises(NotFittedError, match="PVPEnsemble isn't fitted"):
        ensemble.predict(TEXTS)


def test_a_failing_member_is_named_and_the_finished_ones_are_kept(make, tmp_path, monkeypatch):
    learn, calls = PromptClassifier.learn, []

    def full_at_the_second(self, *data, **more):
        calls.append(self.seed)
        if len(calls) == 2:
            raise OSError(28, "No space left on device")
        return learn(self, *data, **more)

    monkeypatch.setattr(PromptClassifier, "learn", full_at_the_second)
    ensemble = make(cache_dir=tmp_path / "cache", repetitions=2)

    with pytest.raises(JobError, match=r"member 1/2 failed: .*no space is left; make room"):
        ensemble.fit(TEXTS, LABELS)

    ensemble.fit(TEXTS, LABELS)
    assert len(calls) == 5  # the first one isn't trained again


@pytest.mark.parametrize(
    ("pvps", "settings", "error", "message"),
    [
        ([], {}, DataError, r"pvps=\[\]"),
        (PAIRS[0], {}, DataError, "pair 1 is '{{ text_a"),
        ([PAIRS[0], ("{{ text_a }} {{ mask }}", {"negative": "bad", "neutral": "dull"})], {}, VerbalizerError,
         "'1' has positive, negative and '2' has negative, neutral"),
        ([PAIRS[0], ("{{ text_a }} {{ mask }}", {"negative": "unheardof", "positive": "good"})], {}, VerbalizerError,
         "member '2': label word 'unheardof'"),
        (PAIRS, {"weighting": "best"}, UnknownNameError, "unknown weighting 'best'"),
        (PAIRS, {"voting": "loud"}, UnknownNameError, "unknown voting 'loud'"),
        (PAIRS, {"weighting": "after"}, TuningError, "weighting='after' is learnt on dev examples"),
        (PAIRS, {"weighting": "stacked"}, TuningError, "weighting='stacked' is learnt on dev examples"),
        (PAIRS, {"repetitions": 0}, TuningError, "repetitions=0"),
        (PAIRS, {"repetitions": 2, "seed": 2**32 - 1}, TuningError, "seed=4294967296"),
        (PAIRS, {"batch_size": 0}, TuningError, "member '1': batch_size=0"),
        (PAIRS, {"epochs": 2}, TuningError, "member '1': max_steps=3 and epochs=2"),
        (PAIRS, {"model": {"a": 1}}, BackboneError, "model is {'a': 1}; pass a name"),
        ([PAIRS[0], ("{{ text_b }} {{ mask }}", WORDS)], {}, TemplateError, "member '2': .*text_b"),
        (PAIRS, {"executor": "slurm"}, UnknownNameError, "unknown executor 'slurm'"),
        (PAIRS, {"workers": 4}, JobError, "workers=4 has no use with executor 'serial'"),
        (PAIRS, {"checkpoint_dir": "x"}, TuningError, "set cache_dir"),
        (PAIRS, {"optimizer": "sgd"}, UnknownNameError, "member '1': unknown optimizer 'sgd'"),
        (PAIRS, {"precision": "float16"}, UnknownNameError, "member '1': unknown precision 'float16'"),
        (PAIRS, {"tuning": "none"}, TuningError, "member '1': tuning 'none' trains nothing, so that max_steps=3"),
        ([PVP(*PAIRS[0], origin={"f": len})], {}, SavedModelError, "origin of pair 1: the function 'len' can't be"),
        (PAIRS, {"patience": 2}, TuningError, "patience=2"),
    ],
)  # fmt: skip
def test_what_cannot_work_is_told_before_anything_is_trained(make, monkeypatch, pvps, settings, error, message):
    monkeypatch.setattr(PromptClassifier, "learn", lambda *_, **__: pytest.fail("trained"))

    with pytest.raises(error, match=message):
        make(pvps, **settings).fit(TEXTS, LABELS)


def test_labels_that_no_member_knows_are_told(make):
    with pytest.raises(UnknownNameError, match="unknown label 'neutral'"):
        make().fit(TEXTS, ["neutral"] * 3 + LABELS[3:])
    with pytest.raises(DataError, match="all 6 labels are 'positive'"):
        make().fit(TEXTS, ["positive"] * 6)


def test_stacking_needs_dev_examples_of_every_class_before_anything_is_trained(make, monkeypatch):
    monkeypatch.setattr(PromptClassifier, "learn", lambda *_, **__: pytest.fail("trained"))

    with pytest.raises(DataError, match="no dev example is of class 'negative'"):
        make(weighting="stacked").fit(TEXTS, LABELS, eval_set=(TEXTS[:3], LABELS[:3]))


def test_a_hard_vote_has_no_use_for_stacking(make):
    with pytest.raises(TuningError, match="voting='hard' has no use"):
        make(weighting="stacked", voting="hard").fit(TEXTS, LABELS, eval_set=DEV)


def test_an_ensemble_is_no_model_to_export(make, tmp_path):
    with pytest.raises(TuningError, match="several models"):
        make().export_model(tmp_path / "x")
