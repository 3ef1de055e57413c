from __future__ import annotations

import datetime
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import save_file

from promptlab import PVP, Example, InContextTemplate, PromptClassifier, write_pvps
from promptlab.backbones.catalog import load_backbone
from promptlab.core.errors import DataError, JobError, SavedModelError, TemplateError, TuningError, UnknownNameError
from promptlab.core.identity import fingerprint
from promptlab.tuning.prompt_tuning import PromptTuning

TEXTS = ["the film was great", "a good story", "great acting", "a dull mess", "the acting was bad", "a terrible film"]
LABELS = ["positive"] * 3 + ["negative"] * 3
WORDS = {"positive": ["good", "great"], "negative": ["bad", "dull"]}
OTHER = {"negative": ["terrible"], "positive": ["great"]}
PAIRS = [("{{ text_a }} . it was {{ mask }}", WORDS), ("{{ mask }} : {{ text_a }}", OTHER)]


def test_what_cannot_be_reported_on_is_told_without_any_training(make_ensemble):
    ensemble = make_ensemble(pvps=[*PAIRS, ("{{ text_b }} {{ mask }}", WORDS)])

    ensemble.check([(text, text) for text in TEXTS], LABELS)
    with pytest.raises(UnknownNameError, match="unknown label 'neutral'"):
        ensemble.check(TEXTS, ["neutral", *LABELS[1:]])
    with pytest.raises(TemplateError, match=r"member '3': .* needs field 'text_b'"):
        ensemble.check(TEXTS, LABELS)
    with pytest.raises(DataError, match="no row has a label"):
        ensemble.check(TEXTS, [-1] * len(TEXTS))
    with pytest.raises(TemplateError, match=r"member '1': .* of \d+ that fit"):
        make_ensemble(pvps=[("{{ text_a | keep }} {{ mask }}", WORDS)]).check(["a b c d e f g h " * 20], ["positive"])


def test_templates_with_demonstrations_are_checked_with_those_that_they_will_show(make_ensemble):
    shown = [Example({"text_a": text}, label) for text, label in zip(TEXTS, LABELS, strict=True)]
    ensemble = make_ensemble(pvps=[(InContextTemplate("{{ text_a }} {{ mask }}", k=2), WORDS)])

    ensemble.check(TEXTS, LABELS, shown=shown)
    with pytest.raises(TemplateError, match="member '1': k=2 demonstrations are asked for"):
        ensemble.check(TEXTS, LABELS)


@pytest.mark.parametrize(
    ("origin", "error", "message"),
    [
        (None, DataError, "pair 1 has the origin None"),
        ("a search", DataError, "pair 1 has the origin 'a search'"),
        ({("seed", 1): 2}, SavedModelError, "origin of pair 1: JSON can't hold a setting: keys must be"),
        ({"f": len}, SavedModelError, "origin of pair 1: the function 'len' can't be"),
    ],
)
def test_an_origin_that_cannot_be_saved_is_told_before_anything_is_trained(
    make_ensemble, monkeypatch, origin, error, message
):
    monkeypatch.setattr(PromptClassifier, "fit_labeled", lambda *_, **__: pytest.fail("trained"))

    with pytest.raises(error, match=message):
        make_ensemble(pvps=[PVP(*PAIRS[0], "n", origin)]).fit(TEXTS, LABELS)


def test_a_damaged_member_in_the_cache_is_told_with_its_folder(make_ensemble, tmp_path):
    make_ensemble(resume_dir=tmp_path / "cache").fit(TEXTS, LABELS)
    weights = sorted((tmp_path / "cache" / "jobs").glob("*/model/weights.safetensors"))
    weights[0].write_bytes(b"")

    with pytest.raises(DataError, match=rf"'{weights[0].parents[1]}' can't be read .*; delete it and run again"):
        make_ensemble(resume_dir=tmp_path / "cache").fit(TEXTS, LABELS)


def test_a_member_that_starts_from_a_changed_file_is_trained_anew(make_ensemble, bert, tmp_path):
    def saved(label_texts):
        start = PromptClassifier(*PAIRS[0], bert, PromptTuning(length=2), max_steps=1, device="cpu")
        start.fit(label_texts, LABELS).save_prompt(tmp_path / "start.safetensors")

    def fitted(cache):
        settings = {"tuning": PromptTuning(length=2, start=str(tmp_path / "start.safetensors")), "resume_dir": cache}
        return make_ensemble(**settings).fit(TEXTS, LABELS).predict_proba(TEXTS)

    saved(TEXTS)
    first = fitted(tmp_path / "cache")
    saved(TEXTS[::-1])

    assert np.array_equal(fitted(tmp_path / "cache"), fitted(None))
    assert not np.array_equal(fitted(tmp_path / "cache"), first)


def test_a_member_whose_template_starts_from_a_changed_file_is_trained_anew(make_ensemble, bert, tmp_path):
    file = tmp_path / "start.safetensors"
    width = bert.embedding_weight().shape[1]

    def fitted(cache):
        pairs = [(f"{{{{ soft(2, start='{file}') }}}} {{{{ text_a }}}} {{{{ mask }}}}", WORDS)]
        return make_ensemble(pairs, resume_dir=cache).fit(TEXTS, LABELS).predict_proba(TEXTS)

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
    make_ensemble, base, tmp_path, file, change
):
    punctuated = [f"{text}." for text in TEXTS]

    def fitted(cache):
        return make_ensemble(model=base, resume_dir=cache).fit(punctuated, LABELS).predict_proba(punctuated)

    first = fitted(tmp_path / "cache")
    edited(Path(base) / file, change)

    assert np.array_equal(fitted(tmp_path / "cache"), fitted(None))
    assert not np.allclose(fitted(tmp_path / "cache"), first, atol=1e-6)


def test_models_of_equal_weights_and_other_settings_stay_apart(make_ensemble, base):
    one = load_backbone(base)
    edited(Path(base) / "config.json", lambda settings: settings.update(hidden_act="relu"))
    other = load_backbone(base)

    ensemble = make_ensemble([PAIRS[0], PAIRS[0]], [one, other]).fit(TEXTS, LABELS)

    alone = make_ensemble(PAIRS[:1], other).fit(TEXTS, LABELS)
    first, second = ensemble.member_proba(TEXTS)
    assert second == pytest.approx(alone.member_proba(TEXTS)[0], abs=1e-6)
    assert not np.allclose(first, second, atol=1e-4)


def test_training_leaves_the_identity_of_a_model(make_ensemble, bert):
    before = fingerprint(bert)

    make_ensemble(gradient_checkpointing=True, max_length=20).fit(TEXTS, LABELS)

    assert fingerprint(bert) == before


def test_a_member_that_starts_from_the_classes_words_is_trained_anew_where_their_order_is_another(
    make_ensemble, tmp_path
):
    def fitted(words, cache):
        settings = {"tuning": PromptTuning(length=2, start="labels"), "resume_dir": cache}
        return make_ensemble([(PAIRS[0][0], words)], **settings).fit(TEXTS, LABELS).predict_proba(TEXTS)

    fitted(WORDS, tmp_path / "cache")
    turned = dict(reversed(WORDS.items()))

    assert np.array_equal(fitted(turned, tmp_path / "cache"), fitted(turned, None))
    assert not np.array_equal(fitted(turned, None), fitted(WORDS, None))


def test_a_pair_that_reads_one_more_field_leaves_the_other_members_as_they_are(make_ensemble, monkeypatch, tmp_path):
    rows = [{"text_a": text, "text_b": "good"} for text in TEXTS]
    make_ensemble(resume_dir=tmp_path / "cache").fit(rows, LABELS, eval_set=(rows, LABELS))
    learn, calls = PromptClassifier.fit_labeled, []
    monkeypatch.setattr(PromptClassifier, "fit_labeled", lambda self, *a, **k: calls.append(1) or learn(self, *a, **k))

    more = [*PAIRS, ("{{ text_a }} {{ text_b }} {{ mask }}", WORDS)]
    make_ensemble(more, resume_dir=tmp_path / "cache").fit(rows, LABELS, eval_set=(rows, LABELS))

    assert len(calls) == 1


def test_members_see_numbers_as_the_ordinary_classifier_does_and_what_would_change_is_told(make_ensemble, bert):
    pair = ("{{ text_a }} {{ share }} {{ mask }}", WORDS)
    rows = [{"text_a": text, "share": np.float32(0.1)} for text in TEXTS]
    settings = {"max_steps": 3, "learning_rate": 1e-3, "device": "cpu"}

    alone = PromptClassifier(*pair, bert, **settings).fit(rows, LABELS)

    assert make_ensemble([pair]).fit(rows, LABELS).predict_proba(rows) == pytest.approx(
        alone.predict_proba(rows), abs=1e-6
    )
    for value, kind in (((1, 2), "tuple"), (datetime.date(2026, 1, 2), "date"), ({1: 2}, "dict")):
        with pytest.raises(DataError, match=f"field 'share' of row 2 is .*, of type {kind}, .*; pass it as a text"):
            make_ensemble([pair]).fit([rows[0], *({**row, "share": value} for row in rows[1:])], LABELS)


def test_pairs_may_have_models_of_their_own(make_ensemble, bert, tiny_backbone):
    roberta = tiny_backbone("roberta")
    words = {"positive": ["a"], "negative": ["b"]}

    ensemble = make_ensemble([("{{ text_a }} {{ mask }}", WORDS), ("{{ text_a }} {{ mask }}", words)], [bert, roberta])
    ensemble.fit(TEXTS, LABELS)

    assert [m.model_.backbone.name for m in ensemble.members_.values()] == ["tiny-bert", "tiny-roberta"]
    with pytest.raises(TuningError, match="3 models for 2 pairs"):
        make_ensemble(model=[bert, bert, roberta]).fit(TEXTS, LABELS)


def test_loaded_models_of_one_architecture_are_told_apart(make_ensemble, tiny_backbone, tmp_path):
    """Loaded models print alike; only their weights differ."""
    one, other = tiny_backbone("bert"), tiny_backbone("bert")
    with torch.no_grad():
        for weight in other.parameters():
            weight *= 1.5
    same = [PAIRS[0]] * 2

    ensemble = make_ensemble(same, model=[one, other], learning_rate=0.0).fit(TEXTS, LABELS)

    expected = [PromptClassifier(*PAIRS[0], model, device="cpu").predict_proba(TEXTS) for model in (one, other)]
    assert ensemble.member_proba(TEXTS) == pytest.approx(np.array(expected), abs=1e-6)
    assert not np.allclose(*expected)


def test_a_model_whose_weights_changed_is_trained_anew(make_ensemble, bert, tmp_path):
    make_ensemble(resume_dir=tmp_path / "cache").fit(TEXTS, LABELS)
    with torch.no_grad():
        for weight in bert.parameters():
            weight *= 1.5

    again = make_ensemble(resume_dir=tmp_path / "cache").fit(TEXTS, LABELS)

    assert np.array_equal(again.predict_proba(TEXTS), make_ensemble().fit(TEXTS, LABELS).predict_proba(TEXTS))


def test_columns_that_no_template_reads_may_hold_anything(make_ensemble):
    rows = [{"text_a": text, "vector": np.zeros(3), "day": pd.Timestamp("2020-01-01")} for text in TEXTS]

    ensemble = make_ensemble().fit(rows, LABELS, eval_set=(rows, LABELS))

    assert ensemble.predict_proba(rows) == pytest.approx(
        make_ensemble().fit(TEXTS, LABELS).predict_proba(TEXTS), abs=1e-6
    )


def test_dev_decides_which_weights_of_a_member_are_kept(make_ensemble):
    """A dev set whose labels are turned round is the worse, the more is learnt."""
    settings, dev = {"max_steps": 20, "eval_every": 1, "learning_rate": 1e-3}, (TEXTS, LABELS[::-1])
    ensemble = make_ensemble(**settings).fit(TEXTS, LABELS, eval_set=dev)

    alone = [
        PromptClassifier(*pair, ensemble.model, device="cpu", **settings).fit(TEXTS, LABELS, eval_set=dev)
        for pair in PAIRS
    ]
    blind = make_ensemble(**settings).fit(TEXTS, LABELS)

    expected = np.array([classifier.predict_proba(TEXTS) for classifier in alone])
    assert ensemble.member_proba(TEXTS) == pytest.approx(expected, abs=1e-5)
    assert not np.allclose(blind.member_proba(TEXTS), expected, atol=1e-3)


def test_pairs_come_from_a_file_and_keep_their_names(make_ensemble, tmp_path):
    write_pvps(tmp_path / "pvps.yaml", [PVP(*PAIRS[0], "plain"), PVP(*PAIRS[1], "colon"), PVP(*PAIRS[1], "colon")])

    ensemble = make_ensemble(tmp_path / "pvps.yaml").fit(TEXTS, LABELS)

    assert list(ensemble.members_) == ["plain", "colon", "colon (3)"]
    named = [PVP(*PAIRS[0], name) for name in ("a", "a (3)", "a")]
    assert list(make_ensemble(named).fit(TEXTS, LABELS).members_) == ["a", "a (3)", "a (3) (3)"]


def test_members_without_a_name_are_called_as_their_template_in_the_library_or_by_number(make_ensemble):
    (_, words), *_ = PAIRS

    ensemble = make_ensemble([("sst2/it-was", words), (*PAIRS[0],), ("sst2/it-was", words)]).fit(TEXTS, LABELS)

    assert list(ensemble.members_) == ["sst2/it-was", "2", "sst2/it-was (3)"]


def test_finished_members_are_not_trained_again(make_ensemble, tmp_path, monkeypatch):
    first = make_ensemble(resume_dir=tmp_path / "cache").fit(TEXTS, LABELS)
    monkeypatch.setattr(PromptClassifier, "fit_labeled", lambda *_, **__: pytest.fail("trained again"))

    again = make_ensemble(resume_dir=tmp_path / "cache", voting="hard").fit(TEXTS, LABELS)

    assert np.array_equal(again.member_proba(TEXTS), first.member_proba(TEXTS))
    with pytest.raises(pytest.fail.Exception):
        make_ensemble(resume_dir=tmp_path / "cache").fit(TEXTS[::-1], LABELS[::-1])


def test_a_failing_member_is_named_and_the_finished_ones_are_kept(make_ensemble, tmp_path, monkeypatch):
    learn, calls = PromptClassifier.fit_labeled, []

    def full_at_the_second(self, *data, **more):
        calls.append(self.seed)
        if len(calls) == 2:
            raise OSError(28, "No space left on device")
        return learn(self, *data, **more)

    monkeypatch.setattr(PromptClassifier, "fit_labeled", full_at_the_second)
    ensemble = make_ensemble(resume_dir=tmp_path / "cache", repetitions=2)

    with pytest.raises(JobError, match=r"member 1/2 failed: .*no space is left; make room"):
        ensemble.fit(TEXTS, LABELS)

    ensemble.fit(TEXTS, LABELS)
    assert len(calls) == 5  # the first one isn't trained again
