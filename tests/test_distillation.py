from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import types
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

import promptlab
from promptlab import IPET, PET, HeadClassifier, PromptClassifier, annotation
from promptlab.annotation import Lesson, load_scores, stream
from promptlab.errors import (
    DataError,
    JobError,
    PromptlabError,
    SavedModelError,
    TemplateError,
    TuningError,
    UnknownNameError,
)
from promptlab.labelled import Labelled, split_unlabelled
from promptlab.member_jobs import classifier_of
from promptlab.registry import ESTIMATORS
from promptlab.saving import load_any
from promptlab.types import Example
from promptlab.verbalizers.strings import StringVerbalizer
from promptlab.workspace import Workspace

TEXTS = ["the film was great", "a good story", "a dull mess", "the acting was bad"]
LABELS = ["positive", "positive", "negative", "negative"]
WORDS = {"positive": ["good", "great"], "negative": ["bad", "dull"]}
PAIRS = [("{{ text_a }} . it was {{ mask }}", WORDS), ("{{ mask }} : {{ text_a }}", WORDS)]
ADJECTIVES = ["great", "good", "bad", "dull", "terrible"]
UNLABELLED = [f"the {noun} was {word}" for noun in ("film", "story") for word in ADJECTIVES]


GIVEN = {"student_steps": None}  # where a student is given


class OwnHead(HeadClassifier):
    """Somebody's own student."""


@pytest.fixture
def bert(tiny_backbone):
    return tiny_backbone("bert")


@pytest.fixture
def make(bert, tmp_path):
    """A function that makes an unfitted PET of two members, or iPET."""
    common = {
        "repetitions": 1, "max_steps": 2, "learning_rate": 1e-3, "student_steps": 2, "device": "cpu",
        "cache_dir": tmp_path / "cache",
    }  # fmt: skip
    return lambda cls=PET, pvps=PAIRS, model=bert, **settings: cls(pvps, model, **{**common, **settings})


def texts(examples):
    return [example.fields["text_a"] for example in examples]


@pytest.mark.parametrize(
    "labels",
    [
        ["a", None, "b", None],
        np.array(["a", None, "b", None], dtype=object),
        pd.Series(["a", None, "b", None]),
        pd.Series(["a", None, "b", None], dtype="string"),
        ["a", float("nan"), "b", -1],
        np.array(["a", "-1", "b", "-1"]),
    ],
)
def test_rows_whose_label_is_missing_or_minus_one_are_unlabelled(labels):
    training, rest = split_unlabelled(TEXTS, labels, ["a", "b"])

    assert texts(training.examples) == [TEXTS[0], TEXTS[2]]
    assert training.labels == ["a", "b"]
    assert texts(rest) == [TEXTS[1], TEXTS[3]]


def test_whole_numbers_stay_such_and_minus_one_is_a_label_where_a_class_is_called_so():
    training, rest = split_unlabelled(TEXTS, np.array([0, -1, 1, -1]), ["0", "1"])
    assert training.whole and training.labels == ["0", "1"] and len(rest) == 2

    training, rest = split_unlabelled(TEXTS, [1, -1, 1, -1], ["-1", "1"])
    assert training.labels == ["1", "-1", "1", "-1"] and rest == []


@pytest.mark.parametrize("labels", [pd.Series([1, None, 0, None]), pd.Series([1, None, 0, None], dtype="Int64")])
def test_whole_numbers_with_gaps_stay_whole_numbers(labels):
    training, rest = split_unlabelled(TEXTS, labels, ["0", "1"])

    assert training.whole and training.labels == ["1", "0"] and len(rest) == 2


def test_labels_that_are_no_list_are_told():
    with pytest.raises(DataError, match="y is 3; pass a list of labels"):
        split_unlabelled(TEXTS, 3, ["0", "1"])


def test_examples_carry_their_labels_or_none():
    examples = [Example({"text_a": "x"}, "a"), Example({"text_a": "y"})]

    training, rest = split_unlabelled(examples, None, ["a"])

    assert (texts(training.examples), texts(rest)) == (["x"], ["y"])
    assert split_unlabelled(TEXTS, [None] * 4, ["a"])[0] is None
    assert split_unlabelled(None, None, ["a"]) == (None, [])
    with pytest.raises(DataError, match="3 labels for 4 rows"):
        split_unlabelled(TEXTS, ["a"] * 3, ["a"])


def test_labels_that_were_forgotten_and_texts_that_were_are_told():
    with pytest.raises(DataError, match="none of the 4 texts of X has a label; pass y"):
        split_unlabelled(TEXTS, None, ["a"])
    with pytest.raises(DataError, match="labels y, but no texts; pass X"):
        split_unlabelled(None, ["a"], ["a"])
    minus_ones = [Example({"text_a": text}, "-1") for text in TEXTS]
    assert split_unlabelled(minus_ones, None, ["a"])[1] == minus_ones


def test_unlabelled_texts_come_from_lists_files_and_iterators(tmp_path):
    (tmp_path / "rows.tsv").write_text("text_a\nin a file\n")

    sources = {
        "list": [Example({"text_a": "with a label"}, "a")],
        "nothing": None,
        "file": tmp_path / "rows.tsv",
        "iterator": iter(["from", "an iterator"]),
    }
    found = stream(sources, fields=["text_a"], check=lambda examples: None)

    assert [(example.fields["text_a"], example.label) for example in found] == [
        ("with a label", None), ("in a file", None), ("from", None), ("an iterator", None),
    ]  # fmt: skip


def test_columns_that_nobody_reads_may_be_empty(tmp_path):
    (tmp_path / "rows.jsonl").write_text('{"text_a": "x", "label": null}\n{"text_a": "y", "label": "a"}\n')
    frame = pd.DataFrame({"text_a": ["z"], "label": [None], "day": [pd.NaT]})

    found = list(
        stream({"file": tmp_path / "rows.jsonl", "frame": frame}, fields=["text_a"], check=lambda examples: None)
    )

    assert found == [Example({"text_a": text}) for text in "xyz"]


def test_an_unlabelled_row_that_cannot_be_shown_is_told_by_its_number_before_anything_is_trained(make, monkeypatch):
    monkeypatch.setattr(PromptClassifier, "learn", lambda *_, **__: pytest.fail("trained"))
    rows = [{"text_a": "x", "title": "t"}, {"text_a": "y", "title": "t"}, {"text_a": "z"}]
    texts = [{"text_a": text, "title": "t"} for text in TEXTS]
    pairs = [*PAIRS, ("{{ title }}: {{ text_a }} {{ mask }}", WORDS)]

    with pytest.raises(TemplateError, match=r"unlabelled row 3 of unlabeled: member '3': .* needs field 'title'"):
        make(pvps=pairs).fit(texts, LABELS, unlabeled=rows)
    with pytest.raises(TemplateError, match=r"unlabelled row 1 of X: member '3': .* needs field 'title'"):
        make(pvps=pairs).fit([*texts, {"text_a": "z"}], [*LABELS, -1], unlabeled=rows[:2])
    with pytest.raises(TemplateError, match=r"member '3': .* needs field 'title'"):
        make(pvps=pairs).fit(texts, LABELS, unlabeled=rows[:2], eval_set=([{"text_a": "z"}], ["positive"]))


def test_an_unlabelled_text_that_leaves_no_room_is_told_before_anything_is_trained(make, monkeypatch):
    monkeypatch.setattr(PromptClassifier, "learn", lambda *_, **__: pytest.fail("trained"))
    pairs = [("{{ text_a | keep }} {{ mask }}", WORDS)]

    with pytest.raises(TemplateError, match=r"unlabelled row 2 of unlabeled: member '1': .* of \d+ that fit"):
        make(pvps=pairs).fit(TEXTS, LABELS, unlabeled=["a film", "a b c d e f g h " * 20])


def test_a_data_set_on_disk_is_read_in_parts(monkeypatch):
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr("promptlab.annotation.PART", 3)
    rows = datasets.Dataset.from_dict({"text_a": [str(i) for i in range(8)]})
    sizes = []
    real = annotation.as_examples
    monkeypatch.setattr(annotation, "as_examples", lambda X, **o: sizes.append(len(X)) or real(X, **o))

    found = list(stream({"rows": rows}, fields=["text_a"], check=lambda examples: None))

    assert [example.fields["text_a"] for example in found] == [str(i) for i in range(8)]
    assert sizes == [3, 3, 2]


class Endless:
    """A data set that is streamed: it has no length, and isn't an iterator."""

    def __init__(self, read):
        self.read = read

    def __iter__(self):
        return ({"text_a": str(self.read.append(i) or i)} for i in range(100))


@pytest.mark.parametrize("kind", [iter, lambda stream: stream])
def test_a_stream_is_read_in_parts(monkeypatch, kind):
    monkeypatch.setattr("promptlab.annotation.PART", 3)
    read = []

    found = stream({"X": kind(Endless(read))}, fields=["text_a"], check=lambda examples: None)

    assert [next(found).fields["text_a"] for _ in range(4)] == ["0", "1", "2", "3"]
    assert len(read) == 6


def test_the_student_learns_the_members_merged_scores(make):
    """Soft labels are the weighted mean of the members' scores, and a student without an MLM loss learns just these."""
    pet = make(mlm_weight=0, student_steps=150, student=None).fit(TEXTS, LABELS, unlabeled=UNLABELLED)
    workspace = Workspace(pet.cache_dir)
    scores = []
    for job in pet.teachers_.values():
        member = PromptClassifier.from_pretrained(workspace.result(job.key) / "model", model=pet.model, device="cpu")
        scores.append(np.log(member.predict_proba(UNLABELLED)))
    mean = np.average(scores, axis=0, weights=list(pet.weights_.values()))

    soft = [path for path in (pet.cache_dir / "results").iterdir() if "weights" in settings_in(path)]

    assert len(soft) == 1
    expected = np.exp(mean) / np.exp(mean).sum(axis=1, keepdims=True)
    assert np.exp(load_scores(soft)) == pytest.approx(expected, abs=1e-5)
    assert isinstance(pet.student_, HeadClassifier)
    assert pet.predict_proba(UNLABELLED) == pytest.approx(expected, abs=0.1)
    zero_shot = [
        PromptClassifier(*p, pet.model, "none", device="cpu").fit(TEXTS, LABELS).score(TEXTS, LABELS) for p in PAIRS
    ]
    assert list(pet.weights_.values()) == (zero_shot if sum(zero_shot) else [1.0, 1.0])


def settings_in(folder):
    return json.loads((folder / "job.json").read_text())["settings"]


def test_parts_of_the_unlabelled_set_make_no_difference(make, tmp_path, monkeypatch):
    settings = {"mlm_weight": 0.1, "weighting": "uniform"}
    whole = make(**settings).fit(TEXTS, LABELS, unlabeled=UNLABELLED)
    for place in ("annotation", "workspace"):
        monkeypatch.setattr(f"promptlab.{place}.PART", 4)

    parts = make(cache_dir=tmp_path / "parts", **settings).fit(TEXTS, LABELS, unlabeled=iter(UNLABELLED))

    assert len(list((tmp_path / "parts" / "data").iterdir())) == 1 + 3
    assert parts.predict_proba(TEXTS) == pytest.approx(whole.predict_proba(TEXTS), abs=1e-6)


def test_labelled_and_unlabelled_rows_may_come_together(make):
    labels = [1, 1, 0, 0] + [-1] * len(UNLABELLED)
    words = {"1": ["good", "great"], "0": ["bad", "dull"]}
    pairs = [(template, words) for template, _ in PAIRS]

    pet = make(pvps=pairs).fit(TEXTS + UNLABELLED, labels)

    assert pet.classes_.tolist() == [0, 1]
    assert set(pet.predict(TEXTS)) <= {0, 1}
    assert pet.score(TEXTS, [1, 1, 0, 0]) == np.mean(pet.predict(TEXTS) == [1, 1, 0, 0])


def test_the_report_has_every_member_the_ensemble_and_the_student(make, tmp_path):
    pet = make(repetitions=2).fit(TEXTS, LABELS, unlabeled=UNLABELLED)

    report = dict(pet.report(TEXTS, LABELS))

    assert list(report) == ["1/1", "1/2", "2/1", "2/2", "ensemble", "student"]
    assert report["student"] == pet.score(TEXTS, LABELS)
    first = Workspace(pet.cache_dir).result(next(iter(pet.teachers_.values())).key) / "model"
    member = PromptClassifier.from_pretrained(first, model=pet.model, device="cpu")
    assert report["1/1"] == member.score(TEXTS, LABELS)
    assert dict(pet.report([*TEXTS, "a story"], [*LABELS, -1])) == report
    with pytest.raises(DataError, match="no row has a label"):
        pet.report(TEXTS, [-1] * len(TEXTS))
    with pytest.raises(TuningError, match="cache_dir"):
        make(cache_dir=None).fit(TEXTS, LABELS, unlabeled=UNLABELLED).report(TEXTS, LABELS)


@pytest.fixture
def lessons(monkeypatch):
    """Class → what its ``learn`` was called with, while it goes on to learn."""
    seen = {PromptClassifier: [], HeadClassifier: []}
    for kind, calls in seen.items():

        def learn(self, training, dev=None, *, objective=None, _learn=kind.learn, _calls=calls):
            _calls.append((training, dev, objective))
            return _learn(self, training, dev, objective=objective)

        monkeypatch.setattr(kind, "learn", learn)
    return seen


def test_the_student_learns_from_so_many_texts_and_dev_selects_members_and_student(make, lessons):
    make(max_distilled=3, weighting="uniform").fit(
        TEXTS, LABELS, unlabeled=UNLABELLED, eval_set=(TEXTS[:2], LABELS[:2])
    )

    ((distilled, dev, objective),) = lessons[HeadClassifier]
    assert len(distilled.examples) == 3 and set(texts(distilled.examples)) <= set(UNLABELLED)
    assert objective is not None
    for data in (dev, *(dev for _, dev, _ in lessons[PromptClassifier])):
        assert (texts(data.examples), data.labels) == (TEXTS[:2], LABELS[:2])
    assert len(lessons[PromptClassifier]) == 2


@pytest.mark.parametrize("setting", [{"temperature": 8.0}, {"mlm_weight": 0.0}, {"mlm_weight": 0.9}, {"mlm_ratio": 1}])
def test_no_setting_of_the_losses_is_without_effect(make, setting):
    common = {"mlm_weight": 0.5, "student_steps": 10, "weighting": "uniform"}

    usual, other = (
        make(**{**common, **more}).fit(TEXTS, LABELS, unlabeled=UNLABELLED).predict_proba(TEXTS)
        for more in ({}, setting)
    )

    assert not np.allclose(usual, other, atol=1e-6)


def test_members_count_by_their_accuracy_before_training(make, bert):
    """Two members that contradict each other are of one mind only if one of them counts more."""
    contrary = {"positive": WORDS["negative"], "negative": WORDS["positive"]}
    pairs = [(PAIRS[0][0], WORDS), (PAIRS[0][0], contrary)]
    first = PromptClassifier(*pairs[0], bert, device="cpu")
    labels = first.predict(UNLABELLED).tolist()
    labels[0] = "negative" if labels[0] == "positive" else "positive"  # the only one that the first gets wrong
    settings = {"pvps": pairs, "mlm_weight": 0, "learning_rate": 0.0}

    pets = {
        weighting: make(weighting=weighting, **settings).fit(UNLABELLED, labels, unlabeled=TEXTS)
        for weighting in ("before", "uniform")
    }

    assert list(pets["before"].weights_.values()) == pytest.approx([0.9, 0.1])
    assert list(pets["uniform"].weights_.values()) == [1.0, 1.0]
    apart = np.log(first.predict_proba(TEXTS)) @ [1.0, -1.0]
    for weighting, expected in (("before", 0.8 * apart), ("uniform", 0 * apart)):
        soft = load_scores([Workspace(pets[weighting].cache_dir).result(soft_labels(pets[weighting]))])
        assert soft @ [1.0, -1.0] == pytest.approx(expected, abs=1e-5)


def soft_labels(pet):
    """The key of the job that merged the members' scores with the weights that they have."""
    weights = list(pet.weights_.values())
    (folder,) = [path for path in (pet.cache_dir / "results").iterdir() if settings_in(path).get("weights") == weights]
    return folder.name


def test_the_usual_student_has_the_members_settings(make):
    pet = make(seed=3, max_length=16, precision="no").fit(TEXTS, LABELS, unlabeled=UNLABELLED)

    assert (pet.student_.seed, pet.student_.max_length, pet.student_.precision) == (3, 16, "no")


def test_the_usual_student_takes_five_thousand_updates_at_most(make, monkeypatch):
    monkeypatch.setattr("promptlab.distillation.STUDENT_STEPS", 7)

    pet = make(student_steps=None).fit(TEXTS, LABELS, unlabeled=UNLABELLED)

    assert pet.student_.max_steps == 7


def test_classes_ten_and_nine_keep_their_columns(make):
    """As texts 10 comes before 9, as numbers after it."""
    pairs = [(template, {"10": ["good", "great"], "9": ["bad", "dull"]}) for template, _ in PAIRS]
    y = [10 if label == "positive" else 9 for label in LABELS]
    settings = {"max_steps": 100, "learning_rate": 3e-3, "mlm_weight": 0, "student_steps": 100}

    pet = make(pvps=pairs, **settings).fit(TEXTS, y, unlabeled=TEXTS * 3)

    assert pet.classes_.tolist() == [9, 10]
    assert pet.predict(TEXTS).tolist() == y
    assert [accuracy for _, accuracy in pet.report(TEXTS, y)] == [1.0] * 4


def test_what_is_saved_is_the_student(make, saved_model, tmp_path):
    pet = make(model=saved_model("bert")).fit(TEXTS, LABELS, unlabeled=UNLABELLED)

    pet.save_pretrained(tmp_path / "out")
    loaded = load_any(tmp_path / "out", device="cpu")

    assert type(loaded) is HeadClassifier
    assert np.array_equal(loaded.predict_proba(TEXTS), pet.predict_proba(TEXTS))
    with pytest.raises(SavedModelError, match="holds a HeadClassifier, not a PET"):
        PET.from_pretrained(tmp_path / "out")


def test_a_student_has_the_settings_it_was_given(make, tiny_backbone):
    student = HeadClassifier(tiny_backbone("roberta"), "frozen", max_steps=3, pooling="first", device="cpu")

    pet = make(student=student, student_steps=None).fit(TEXTS, LABELS, unlabeled=UNLABELLED)

    assert pet.student_.model_.backbone.name == "tiny-roberta"
    assert (pet.student_.pooling, pet.student_.max_steps) == ("first", 3)
    assert not hasattr(student, "model_")


def test_a_student_may_be_of_a_class_of_its_own(make, monkeypatch):
    monkeypatch.setitem(ESTIMATORS.entries, "OwnHead", f"{__name__}:OwnHead")
    monkeypatch.setitem(sys.modules, __name__, types.SimpleNamespace(OwnHead=OwnHead))

    pet = make(student=OwnHead(max_steps=2), **GIVEN).fit(TEXTS, LABELS, unlabeled=UNLABELLED)

    assert type(pet.student_) is OwnHead and pet.student_.max_steps == 2


def test_without_labelled_texts_the_members_stay_untrained(make, bert):
    pet = make(repetitions=2).fit(unlabeled=UNLABELLED)

    alone = [PromptClassifier(*pair, bert, device="cpu").predict(TEXTS) for pair in PAIRS for _ in range(2)]
    expected = [np.mean(chosen == LABELS) for chosen in alone]
    assert [accuracy for _, accuracy in pet.report(TEXTS, LABELS)[:4]] == expected
    assert set(pet.weights_.values()) == {1.0}


def test_classes_given_as_whole_numbers_stay_such_without_labels(make):
    pairs = [(template, {1: ["good", "great"], 0: ["bad", "dull"]}) for template, _ in PAIRS]

    pet = make(pvps=pairs).fit(unlabeled=UNLABELLED)

    assert pet.classes_.tolist() == [0, 1]
    assert pet.score(TEXTS, [1, 1, 0, 0]) == np.mean(pet.predict(TEXTS) == [1, 1, 0, 0])


def test_the_student_reads_all_fields_that_some_member_reads(make):
    pairs = [PAIRS[0], ("{{ text_b }} {{ mask }} {{ text_a }}", WORDS)]
    rows = [(text, "or not") for text in TEXTS]

    pet = make(pvps=pairs).fit(rows, LABELS, unlabeled=[(text, "maybe") for text in UNLABELLED])

    assert list(pet.student_.fields) == ["text_a", "text_b"]
    given = make(pvps=pairs, student=HeadClassifier(max_steps=1), **GIVEN)
    assert list(given.fit(rows, LABELS, unlabeled=rows).student_.fields) == ["text_a", "text_b"]
    assert not np.allclose(pet.predict_proba(rows), pet.predict_proba([(text, "good story") for text in TEXTS]))


@pytest.mark.parametrize(
    ("settings", "data", "error", "message"),
    [
        ({}, {}, DataError, "PET learns from unlabelled texts.*use PVPEnsemble"),
        ({}, {"unlabeled": iter([])}, DataError, "PET learns from unlabelled texts"),
        ({"weighting": "stacked"}, {}, UnknownNameError, "unknown weighting 'stacked'"),
        ({"temperature": 0}, {}, TuningError, "temperature=0"),
        ({"mlm_weight": -1e-4}, {}, TuningError, "mlm_weight=-0.0001"),
        ({"mlm_ratio": 0}, {}, TuningError, "mlm_ratio=0"),
        ({"max_distilled": 0}, {}, TuningError, "max_distilled=0"),
        ({"student": "minilm"}, {}, TuningError, "student is a str"),
        ({"student": HeadClassifier()}, {}, TuningError, "student_steps=2"),
        ({"student_steps": 0}, {}, TuningError, "student: max_steps=0"),
        ({"student": HeadClassifier(tuning="none"), **GIVEN}, {}, TuningError, "student: tuning='none' trains nothing"),
        ({"student": HeadClassifier(patience=2), **GIVEN}, {}, TuningError, "student: patience=2 needs dev"),
        ({"student": HeadClassifier(checkpoint_dir="x"), **GIVEN}, {}, TuningError, "student: checkpoint_dir='x'"),
        ({"student": HeadClassifier(device="cuda"), **GIVEN}, {}, TuningError, "student: device='cuda' isn't 'cpu'"),
        ({"student": HeadClassifier(learning_rate=100), **GIVEN}, {}, TuningError, "student: learning_rate=100"),
        (
            {"student": HeadClassifier(fields=("sentence",)), **GIVEN},
            {"unlabeled": UNLABELLED},
            TemplateError,
            "student: .*sentence",
        ),
        (
            {"pvps": [(PAIRS[0][0], WORDS), ("{{ text_b }} {{ mask }}", WORDS)]},
            {"unlabeled": UNLABELLED},
            TemplateError,
            "member '2': .*text_b",
        ),
        ({"student": HeadClassifier(pooling="max"), **GIVEN}, {}, PromptlabError, "student: .*'max'"),
        ({"student": HeadClassifier(precision="float16"), **GIVEN}, {}, UnknownNameError, "student: .*'float16'"),
        ({"student": HeadClassifier(tuning="p-tuning"), **GIVEN}, {}, TuningError, "student: P-Tuning trains the soft"),
        ({"student": HeadClassifier(optimizer="sgd"), **GIVEN}, {}, UnknownNameError, "student: .*'sgd'"),
        (
            {"student": HeadClassifier(max_length=1), **GIVEN},
            {"unlabeled": UNLABELLED},
            TemplateError,
            "unlabelled row 1 of unlabeled: student: .* of 0 that fit",
        ),
        ({"student": OwnHead(), **GIVEN}, {}, TuningError, "student is a OwnHead, which isn't registered"),
        (
            {"cls": IPET, "generations": 10},
            {"unlabeled": UNLABELLED},
            TuningError,
            "4 examples that grow 10 times by growth_factor=5.0 are more than 1,000,000",
        ),
        ({"cls": IPET, "generations": 0}, {}, TuningError, "generations=0"),
        ({"cls": IPET, "growth_factor": 1.0}, {}, TuningError, "growth_factor=1.0"),
        ({"cls": IPET, "teacher_share": 0.0}, {}, TuningError, "teacher_share=0.0"),
        ({"cls": IPET, "n_most_likely": 0}, {}, TuningError, "n_most_likely=0"),
        ({"cls": IPET, "pvps": PAIRS[:1]}, {}, TuningError, "two members or more"),
        ({"cls": IPET, "tuning": "none"}, {}, TuningError, "tuning='none' trains nothing, .*; use PET"),
        ({"device": "gpu"}, {}, TuningError, "device"),
    ],
)
def test_what_cannot_work_is_told_before_anything_is_trained(make, monkeypatch, settings, data, error, message):
    monkeypatch.setattr(PromptClassifier, "learn", lambda *_, **__: pytest.fail("trained"))

    with pytest.raises(error, match=message):
        make(**settings).fit(TEXTS, LABELS, **data)


def test_unlabelled_texts_that_a_template_cannot_show_are_told_before_anything_is_trained(make, monkeypatch):
    monkeypatch.setattr(PromptClassifier, "learn", lambda *_, **__: pytest.fail("trained"))
    pairs = [("{{ text_a }} {{ text_b }} {{ mask }}", WORDS)]

    with pytest.raises(TemplateError, match=r"unlabelled row 1 of unlabeled: member '1': .*text_b"):
        make(pvps=pairs).fit([(text, "x") for text in TEXTS], LABELS, unlabeled=UNLABELLED)


def test_a_damaged_result_is_told_with_its_folder(make):
    pet = make().fit(TEXTS, LABELS, unlabeled=UNLABELLED)
    (scores,) = [path for path in (pet.cache_dir / "results").iterdir() if "weights" in settings_in(path)]
    (scores / "scores.npy").write_bytes(b"")
    (student,) = [path for path in (pet.cache_dir / "results").iterdir() if "temperature" in settings_in(path)]
    shutil.rmtree(student)

    with pytest.raises(JobError, match=rf"result '{scores}' is damaged .*; delete it"):
        pet.fit(TEXTS, LABELS, unlabeled=UNLABELLED)


@pytest.mark.parametrize("damage", ["weights.safetensors", "promptlab.json"])
def test_a_damaged_student_is_told_with_its_folder(make, damage):
    pet = make().fit(TEXTS, LABELS, unlabeled=UNLABELLED)
    (student,) = [path for path in (pet.cache_dir / "results").iterdir() if "temperature" in settings_in(path)]
    (student / "model" / damage).write_bytes(b"")

    with pytest.raises(DataError, match=rf"result '{student}' is damaged .*; delete it"):
        pet.fit(TEXTS, LABELS, unlabeled=UNLABELLED)


def test_a_damaged_accuracy_is_told_with_its_folder(make):
    pet = make(weighting="before").fit(TEXTS, LABELS, unlabeled=UNLABELLED)
    (file, *_) = (pet.cache_dir / "results").glob("*/result.json")
    file.write_text("")

    with pytest.raises(DataError, match=r"is damaged .*; delete it and run again"):
        pet.fit(TEXTS, LABELS, unlabeled=UNLABELLED)


def test_masked_words_are_refused_for_a_causal_model(make, tiny_backbone):
    pairs = [("{{ text_a }} was {{ mask }}", StringVerbalizer({"negative": "bad", "positive": "good"}))]
    causal = tiny_backbone("gpt2")

    with pytest.raises(TuningError, match=r"isn't a masked language model.*mlm_weight=0"):
        make(pvps=pairs, model=causal).fit(TEXTS, LABELS, unlabeled=UNLABELLED)

    pet = make(pvps=pairs, model=causal, mlm_weight=0).fit(TEXTS, LABELS, unlabeled=UNLABELLED)
    assert pet.predict_proba(TEXTS).shape == (4, 2)


def test_members_that_are_not_trained_need_no_masked_words_and_their_settings_repeat_no_work(
    make, tiny_backbone, monkeypatch
):
    pairs = [("{{ text_a }} was {{ mask }}", StringVerbalizer({"negative": "bad", "positive": "good"}))]
    causal = tiny_backbone("gpt2")
    make(pvps=pairs, model=causal).fit(unlabeled=UNLABELLED)
    monkeypatch.setattr(HeadClassifier, "learn", lambda *_, **__: pytest.fail("trained"))

    make(pvps=pairs, model=causal, mlm_ratio=5).fit(unlabeled=UNLABELLED)


def test_it_clones_and_is_not_fitted_before_fit(make):
    ipet = make(IPET, teacher_share=0.5)

    assert clone(ipet).get_params(deep=False) == ipet.get_params(deep=False)
    with pytest.raises(NotFittedError, match="IPET isn't fitted"):
        ipet.predict(TEXTS)


def training_sets(ipet):
    """Of the members of each generation, by the jobs that trained them."""
    workspace, found = Workspace(ipet.cache_dir), {}
    for path in sorted((ipet.cache_dir / "results").iterdir()):
        job = json.loads((path / "job.json").read_text())
        if job["name"].startswith("member") and job["settings"]["train"] is not None:
            found[job["name"]] = workspace.examples(job["settings"]["train"])
    return found


def test_every_generation_learns_from_labelled_texts_and_balanced_draws_with_hard_labels(make):
    labels = ["positive", "positive", "positive", "negative"]
    ipet = make(IPET, generations=2, growth_factor=3, mlm_weight=0).fit(TEXTS, labels, unlabeled=UNLABELLED)

    sets = training_sets(ipet)

    assert len(sets) == 2 + 2 * 2
    for name, examples in sets.items():
        grown = 3 ** int(name[-1]) if "generation" in name else 1
        assert Counter(example.label for example in examples) == {"positive": 3 * grown, "negative": grown}
        assert [(e.fields["text_a"], e.label) for e in examples[:4]] == list(zip(TEXTS, labels, strict=True))
        assert set(texts(examples[4:])) <= set(UNLABELLED)
    assert [row["generation"] for row in ipet.generations_] == [1, 1, 2, 2]
    assert [row["member"] for row in ipet.generations_] == ["1", "2", "1", "2"]
    assert [row["teachers"] for row in ipet.generations_] == [["2"], ["1"]] * 2
    assert list(ipet.teachers_) == ["1, generation 2", "2, generation 2"]


@pytest.fixture
def grown(make, tmp_path):
    """A function: the examples that a member of iPET learns from in a generation, if the members score rows so."""

    def examples(scores, learner, *, generation=1, labelled=(TEXTS, LABELS), weights=None, **settings):
        ipet = make(IPET, pvps=[PAIRS[n % 2] for n in range(len(scores))], **settings)
        ipet.generations_ = []
        with ipet._workspace() as workspace:
            pairs = ipet._pairs()
            members = ipet._members(pairs, ipet._loaded(workspace, pairs), 0)
            chunks = workspace.put_chunks(Example({"text_a": f"row {row}"}) for row in range(len(scores[0])))
            training = labelled and Labelled.of(*labelled)
            counted = np.ones(len(scores)) if weights is None else np.array(weights, dtype=float)
            lesson = Lesson(workspace, members, training, None, False, chunks, counted, None)
            folders = [[tmp_path / str(number)] for number in range(len(scores))]
            for (folder,), rows in zip(folders, scores, strict=True):
                folder.mkdir(exist_ok=True)
                np.save(folder / "scores.npy", np.log(rows))
            return workspace.examples(ipet._grown(lesson, folders, generation, learner))

    return examples


ONE, OTHER = np.array([[0.9, 0.1]] * 5 + [[0.2, 0.8]] * 5), np.array([[0.3, 0.7]] * 5 + [[0.6, 0.4]] * 5)


def test_what_a_member_learns_from_does_not_depend_on_its_own_scores(grown):
    assert grown([ONE, ONE], 0) == grown([OTHER, ONE], 0)
    assert grown([ONE, ONE], 0) != grown([ONE, OTHER], 0)
    assert grown([ONE, ONE], 1) == grown([ONE, OTHER], 1)


def test_teachers_count_by_their_accuracy_before_training(grown):
    def learnt(*scores, weights=(1, 1, 0)):
        return grown([ONE, *scores], 0, weights=weights, teacher_share=1.0)

    assert learnt(ONE, OTHER) == learnt(ONE, ONE) == learnt(ONE, ONE, weights=(0, 1, 3))
    assert learnt(ONE, OTHER) != learnt(OTHER, ONE)
    assert learnt(ONE, OTHER) != learnt(ONE, OTHER, weights=(1, 0, 1))


def test_where_nothing_was_trained_a_class_is_learnt_from_its_best_hundred_whatever_they_say(grown):
    sure = np.concatenate([[0.9], np.linspace(0.4, 0.2, 299)])  # of "negative", as only the first row is said to be
    scores = [np.stack([sure, 1 - sure], axis=1)] * 2

    def rows(generation, seed):
        examples = grown(scores, 0, generation=generation, labelled=None, seed=seed)
        return [int(e.fields["text_a"].split()[1]) for e in examples if e.label == "negative"]

    drawn = [rows(1, seed) for seed in range(40)]

    assert all(len(set(own)) == 5 for own in drawn)
    assert 50 < max(map(max, drawn)) < 100
    assert set(rows(2, 0)) == {0}  # trained members say what they mean


def test_untrained_members_teach_with_their_best_hundred_and_nobody_hangs_on_a_class_that_is_never_said(make, bert):
    with torch.no_grad():  # as no tiny model of a seed would: this word is never the likeliest
        bert.decoder()[1][bert.token_ids("terrible")[0]] = -100.0
    pairs = [(template, {"positive": "great", "negative": "bad", "never": "terrible"}) for template, _ in PAIRS]

    ipet = make(IPET, pvps=pairs, generations=2, growth_factor=2, mlm_weight=0, n_most_likely=3)
    ipet.fit(unlabeled=UNLABELLED)

    sets = [examples for name, examples in training_sets(ipet).items() if "generation 2" in name]
    assert [Counter(e.label for e in examples) for examples in sets] == [{"positive": 6, "negative": 6, "never": 6}] * 2
    best = PromptClassifier(*pairs[1], bert, device="cpu")
    scores = np.array(list(best.iter_log_proba([Example({"text_a": text}) for text in UNLABELLED])))
    likeliest = {UNLABELLED[i] for i in np.argsort(-scores[:, list(best.classes_).index("never")])[:3]}
    first = next(examples for name, examples in training_sets(ipet).items() if name == "member 1, generation 1")
    assert {e.fields["text_a"] for e in first if e.label == "never"} <= likeliest


def test_teachers_that_were_never_right_before_training_count_alike(make, bert):
    opposite = dict(zip(WORDS, reversed(WORDS.values())))
    pairs = [(PAIRS[0][0], WORDS), (PAIRS[0][0], opposite)]
    first = PromptClassifier(*pairs[0], bert, device="cpu")
    odds = np.diff(np.log(first.predict_proba(UNLABELLED)))[:, 0]
    with torch.no_grad():  # so that it says both classes
        bert.decoder()[1][[bert.token_ids(word)[0] for word in WORDS["positive"]]] -= float(np.median(odds))
    labels = PromptClassifier(*pairs[0], bert, device="cpu").predict(UNLABELLED).tolist()

    ipet = make(IPET, pvps=pairs, generations=1, mlm_weight=0).fit(UNLABELLED, labels, unlabeled=UNLABELLED)

    assert list(ipet.weights_.values()) == [1.0, 0.0]
    assert sorted(one["teachers"] for one in ipet.generations_) == [["1"], ["2"]]


@pytest.mark.parametrize(("kept", "n_models"), [(False, 2), (True, 6)])
def test_models_of_earlier_generations_take_no_room_in_a_temporary_folder(make, tmp_path, monkeypatch, kept, n_models):
    seen = []

    def count(settings, workspace):
        seen.append(len(list(workspace.folder.glob("results/*/model"))))
        return classifier_of(settings, workspace)

    monkeypatch.setattr(annotation, "classifier_of", count)

    make(IPET, generations=2, cache_dir=tmp_path / "kept" if kept else None).fit(TEXTS, LABELS, unlabeled=UNLABELLED)

    assert seen == [n_models]


def test_settings_may_be_numbers_of_numpy(make):
    numbers = {"temperature": np.float32(2), "max_distilled": np.int64(5), "mlm_ratio": np.int64(1)}

    pet = make(**numbers, mlm_weight=np.float32(0.25)).fit(TEXTS, LABELS, unlabeled=UNLABELLED)

    same = {name: number.item() for name, number in numbers.items()}
    again = make(**same, mlm_weight=0.25).fit(TEXTS, LABELS, unlabeled=UNLABELLED)
    assert np.array_equal(pet.predict_proba(TEXTS), again.predict_proba(TEXTS))


DRIVER = """
import json, os, random, signal, sys, time
import promptlab.ensemble  # before any fork, and without running a model

from promptlab import IPET

base, cache, kills = sys.argv[1], sys.argv[2], int(sys.argv[3])
words = {"positive": ["good", "great"], "negative": ["bad", "dull"]}
pairs = [("{{ text_a }} . it was {{ mask }}", words), ("{{ mask }} : {{ text_a }}", words)]
texts = ["the film was great", "a good story", "a dull mess", "the acting was bad"]
rows = [f"the {noun} was {word}" for noun in ("film", "story") for word in ("great", "good", "bad", "dull")]

def fit():
    ipet = IPET(pairs, base, repetitions=1, max_steps=3, student_steps=4, generations=2, device="cpu", cache_dir=cache)
    ipet.fit(texts, ["positive", "positive", "negative", "negative"], unlabeled=rows)
    return ipet.predict_proba(texts).tolist()

def finished():
    folder = os.path.join(cache, "results")
    names = [name for name in os.listdir(folder) if not name.startswith(".")] if os.path.isdir(folder) else []
    return {name: os.stat(os.path.join(folder, name, "job.json")).st_mtime_ns for name in names}

rng, seen = random.Random(0), {}
for turn in range(kills):
    pid = os.fork()
    if not pid:
        os.environ["TQDM_DISABLE"] = "1"
        fit()
        os._exit(0)
    done = len(finished())
    while len(finished()) < done + 1 and not os.waitpid(pid, os.WNOHANG)[0]:
        time.sleep(0.002)
    time.sleep(rng.random() * 0.03)  # about as long as a job takes
    try:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    except (ProcessLookupError, ChildProcessError):
        pass
    seen |= {name: time_ for name, time_ in finished().items() if name not in seen}
result = fit()
after = finished()
print(json.dumps({"result": result, "repeated": [n for n, t in seen.items() if after[n] != t], "kept": len(seen),
                  "all": len(after)}))
"""


def test_a_run_killed_three_times_ends_as_if_it_had_not_been_and_repeats_nothing(make, saved_model, tmp_path):
    base = saved_model("bert")
    (tmp_path / "driver.py").write_text(DRIVER)
    settings = {"PYTHONPATH": str(Path(promptlab.__file__).parents[1]), "OMP_NUM_THREADS": "1"}

    done = subprocess.run(
        [sys.executable, tmp_path / "driver.py", base, tmp_path / "killed", "3"],
        capture_output=True, text=True, env={**os.environ, **settings}, check=True,
    )  # fmt: skip

    report = json.loads(done.stdout.splitlines()[-1])
    here = make(IPET, model=base, max_steps=3, student_steps=4, generations=2, learning_rate=None)
    here.fit(TEXTS, LABELS, unlabeled=[text for text in UNLABELLED if not text.endswith("terrible")])
    assert here.predict_proba(TEXTS) == pytest.approx(np.array(report["result"]), abs=1e-6)
    assert report["repeated"] == []
    assert 3 <= report["kept"] < report["all"] == 2 + 3 * (2 + 2) + 1 + 1


def test_a_full_disk_leaves_what_is_finished(make, monkeypatch, tmp_path):
    save, calls = np.save, []

    def full_at_the_second(*arguments, **more):
        calls.append(1)
        if len(calls) == 2:
            raise OSError(28, "No space left on device")
        return save(*arguments, **more)

    monkeypatch.setattr("promptlab.member_jobs.np.save", full_at_the_second)
    pet = make()
    with pytest.raises(JobError, match=r"scores of member 2, part 1 failed: .*no space is left"):
        pet.fit(TEXTS, LABELS, unlabeled=UNLABELLED)
    finished = {path.name: path.stat().st_ino for path in (pet.cache_dir / "results").iterdir()}

    pet.fit(TEXTS, LABELS, unlabeled=UNLABELLED)

    assert len(finished) == 2 + 2 + 1
    assert all((pet.cache_dir / "results" / name).stat().st_ino == inode for name, inode in finished.items())
