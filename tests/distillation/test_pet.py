from __future__ import annotations

import json
import shutil
import sys
import types

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from promptlab import IPET, PET, HeadClassifier, PromptClassifier
from promptlab.core.entries import Entry
from promptlab.core.errors import (
    DataError,
    JobError,
    PromptlabError,
    TemplateError,
    TuningError,
    UnknownNameError,
)
from promptlab.core.registry import ESTIMATORS
from promptlab.distillation.soft_labels import load_scores
from promptlab.ensembles import member_jobs
from promptlab.estimators.saving import load_any
from promptlab.jobs.workspace import Workspace
from promptlab.verbalizers.strings import MultiTokenVerbalizer

TEXTS = ["the film was great", "a good story", "a dull mess", "the acting was bad"]
LABELS = ["positive", "positive", "negative", "negative"]
WORDS = {"positive": ["good", "great"], "negative": ["bad", "dull"]}
PAIRS = [("{{ text_a }} . it was {{ mask }}", WORDS), ("{{ mask }} : {{ text_a }}", WORDS)]
ADJECTIVES = ["great", "good", "bad", "dull", "terrible"]
UNLABELLED = [f"the {noun} was {word}" for noun in ("film", "story") for word in ADJECTIVES]
GIVEN = {"student_steps": None}  # where a student is given


class OwnHead(HeadClassifier):
    """Somebody's own student."""


def texts(examples):
    return [example.fields["text_a"] for example in examples]


def test_the_student_learns_the_members_merged_scores(make_pet):
    """Soft labels are the weighted mean of the members' scores, and a student without an MLM loss learns just these."""
    pet = make_pet(mlm_weight=0, student_steps=150, student=None).fit(TEXTS, LABELS, unlabeled=UNLABELLED)
    workspace = Workspace(pet.resume_dir)
    scores = []
    for job in pet.teachers_.values():
        member = PromptClassifier.from_pretrained(workspace.result(job.key) / "model", model=pet.model, device="cpu")
        scores.append(np.log(member.predict_proba(UNLABELLED)))
    mean = np.average(scores, axis=0, weights=list(pet.weights_.values()))

    soft = [path for path in (pet.resume_dir / "jobs").iterdir() if "weights" in settings_in(path)]

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


def test_labeled_and_unlabeled_rows_may_come_together(make_pet):
    labels = [1, 1, 0, 0] + [-1] * len(UNLABELLED)
    words = {"1": ["good", "great"], "0": ["bad", "dull"]}
    pairs = [(template, words) for template, _ in PAIRS]

    pet = make_pet(pvps=pairs).fit(TEXTS + UNLABELLED, labels)

    assert pet.classes_.tolist() == [0, 1]
    assert set(pet.predict(TEXTS)) <= {0, 1}
    assert pet.score(TEXTS, [1, 1, 0, 0]) == np.mean(pet.predict(TEXTS) == [1, 1, 0, 0])


def test_the_report_has_every_member_the_ensemble_and_the_student(make_pet, tmp_path):
    pet = make_pet(repetitions=2).fit(TEXTS, LABELS, unlabeled=UNLABELLED)

    report = dict(pet.report(TEXTS, LABELS))

    assert list(report) == ["1/1", "1/2", "2/1", "2/2", "ensemble", "student"]
    assert report["student"] == pet.score(TEXTS, LABELS)
    first = Workspace(pet.resume_dir).result(next(iter(pet.teachers_.values())).key) / "model"
    member = PromptClassifier.from_pretrained(first, model=pet.model, device="cpu")
    assert report["1/1"] == member.score(TEXTS, LABELS)
    assert dict(pet.report([*TEXTS, "a story"], [*LABELS, -1])) == report
    with pytest.raises(DataError, match="no row has a label"):
        pet.report(TEXTS, [-1] * len(TEXTS))
    with pytest.raises(TuningError, match="resume_dir"):
        make_pet(resume_dir=None).fit(TEXTS, LABELS, unlabeled=UNLABELLED).report(TEXTS, LABELS)


@pytest.fixture
def lessons(monkeypatch):
    """Class → what its ``fit_labeled`` was called with, while it goes on to learn."""
    seen = {PromptClassifier: [], HeadClassifier: []}
    for kind, calls in seen.items():

        def learn(self, training, dev=None, *, objective=None, _learn=kind.fit_labeled, _calls=calls):
            _calls.append((training, dev, objective))
            return _learn(self, training, dev, objective=objective)

        monkeypatch.setattr(kind, "fit_labeled", learn)
    return seen


def test_the_student_learns_from_so_many_texts_and_dev_selects_members_and_student(make_pet, lessons):
    make_pet(max_distilled=3, weighting="uniform").fit(
        TEXTS, LABELS, unlabeled=UNLABELLED, eval_set=(TEXTS[:2], LABELS[:2])
    )

    ((distilled, dev, objective),) = lessons[HeadClassifier]
    assert len(distilled.examples) == 3 and set(texts(distilled.examples)) <= set(UNLABELLED)
    assert objective is not None
    for data in (dev, *(dev for _, dev, _ in lessons[PromptClassifier])):
        assert (texts(data.examples), data.labels) == (TEXTS[:2], LABELS[:2])
    assert len(lessons[PromptClassifier]) == 2


def test_each_text_that_the_student_learns_from_has_the_labels_that_the_members_gave_it(make_pet, lessons):
    pet = make_pet(max_distilled=4, weighting="uniform", mlm_weight=0, learning_rate=3e-3, max_steps=20, seed=1)
    pet.fit(TEXTS, LABELS, unlabeled=UNLABELLED)

    ((distilled, _, _),) = lessons[HeadClassifier]
    drawn = texts(distilled.examples)
    assert drawn == [UNLABELLED[i] for i in sorted(np.random.default_rng(1).choice(10, 4, replace=False))]
    workspace, total = Workspace(pet.resume_dir), 0.0
    for job in pet.teachers_.values():
        member = PromptClassifier.from_pretrained(workspace.result(job.key) / "model", model=pet.model, device="cpu")
        order = [list(member.class_names_).index(name) for name in distilled.classes]
        total = total + np.log(member.predict_proba(drawn))[:, order]
    expected = np.exp(total / 2) / np.exp(total / 2).sum(axis=1, keepdims=True)
    assert distilled.log_probs.exp().numpy() == pytest.approx(expected, abs=1e-5)
    assert np.ptp(expected[:, 0]) > 0.01  # labels of other texts would be noticed


@pytest.mark.parametrize("setting", [{"temperature": 8.0}, {"mlm_weight": 0.0}, {"mlm_weight": 0.9}, {"mlm_ratio": 1}])
def test_no_setting_of_the_losses_is_without_effect(make_pet, setting):
    common = {"mlm_weight": 0.5, "student_steps": 10, "weighting": "uniform"}

    usual, other = (
        make_pet(**{**common, **more}).fit(TEXTS, LABELS, unlabeled=UNLABELLED).predict_proba(TEXTS)
        for more in ({}, setting)
    )

    assert not np.allclose(usual, other, atol=1e-6)


LONG = [f"{text} {' '.join(['so good a story'] * 5)} {end}" for text in UNLABELLED for end in ("bad", "great")]


@pytest.mark.filterwarnings("ignore::promptlab.core.errors.PromptlabWarning")
def test_masked_words_are_learnt_as_the_settings_say_and_from_other_texts_by_every_seed(make_pet, monkeypatch):
    """2 updates of 1 text and 3 unlabeled ones each, 6 of 20, cut to 12 tokens."""
    seen, real = [], member_jobs.AuxiliaryMLM

    def spy(model, encoded, *, weight, ratio):
        seen.append(([row.input_ids.tolist() for row in encoded], weight, ratio))
        return real(model, encoded, weight=weight, ratio=ratio)

    monkeypatch.setattr(member_jobs, "AuxiliaryMLM", spy)
    settings = {"mlm_weight": 0.3, "mlm_ratio": 3, "max_length": 12, "batch_size": 1, "weighting": "uniform"}
    make_pet(pvps=PAIRS[:1], repetitions=2, **settings).fit(TEXTS, LABELS, unlabeled=LONG)

    assert [(len(rows), weight, ratio) for rows, weight, ratio in seen] == [(6, 0.3, 3)] * 2
    assert {len(row) for rows, _, _ in seen for row in rows} == {12}
    assert seen[0][0] != seen[1][0]


@pytest.mark.filterwarnings("ignore::promptlab.core.errors.PromptlabWarning")
def test_accuracy_before_training_is_that_of_prompts_of_the_length_that_is_set(make_pet, bert):
    odds = np.diff(np.log(PromptClassifier(*PAIRS[1], bert, max_length=20, device="cpu").predict_proba(LONG)))
    with torch.no_grad():  # so that it says both classes
        bert.decoder()[1][[bert.token_ids(word)[0] for word in WORDS["positive"]]] -= float(np.median(odds))
    untrained = [PromptClassifier(*pair, bert, max_length=20, device="cpu") for pair in PAIRS]
    labels = untrained[1].predict(LONG).tolist()

    pet = make_pet(max_length=20, learning_rate=0.0, mlm_weight=0).fit(LONG, labels, unlabeled=TEXTS)

    assert list(pet.weights_.values()) == [one.score(LONG, labels) for one in untrained]
    whole = PromptClassifier(*PAIRS[1], bert, device="cpu").score(LONG, labels)
    assert pet.weights_["2"] == 1.0 > whole


def test_members_count_by_their_accuracy_before_training(make_pet, bert):
    """Two members that contradict each other are of one mind only if one of them counts more."""
    contrary = {"positive": WORDS["negative"], "negative": WORDS["positive"]}
    pairs = [(PAIRS[0][0], WORDS), (PAIRS[0][0], contrary)]
    first = PromptClassifier(*pairs[0], bert, device="cpu")
    labels = first.predict(UNLABELLED).tolist()
    labels[0] = "negative" if labels[0] == "positive" else "positive"  # the only one that the first gets wrong
    settings = {"pvps": pairs, "mlm_weight": 0, "learning_rate": 0.0}

    pets = {
        weighting: make_pet(weighting=weighting, **settings).fit(UNLABELLED, labels, unlabeled=TEXTS)
        for weighting in ("untrained-accuracy", "uniform")
    }

    assert list(pets["untrained-accuracy"].weights_.values()) == pytest.approx([0.9, 0.1])
    assert list(pets["uniform"].weights_.values()) == [1.0, 1.0]
    said = dict(pets["untrained-accuracy"].report(UNLABELLED, first.predict(UNLABELLED).tolist()))
    assert said["ensemble"] == said["1"] == 1.0 and said["2"] == 0.0  # counted alike they would be undecided
    apart = np.log(first.predict_proba(TEXTS)) @ [1.0, -1.0]
    for weighting, expected in (("untrained-accuracy", 0.8 * apart), ("uniform", 0 * apart)):
        soft = load_scores([Workspace(pets[weighting].resume_dir).result(soft_labels(pets[weighting]))])
        assert soft @ [1.0, -1.0] == pytest.approx(expected, abs=1e-5)


def soft_labels(pet):
    """The key of the job that merged the members' scores with the weights that they have."""
    weights = list(pet.weights_.values())
    (folder,) = [path for path in (pet.resume_dir / "jobs").iterdir() if settings_in(path).get("weights") == weights]
    return folder.name


def test_the_usual_student_has_the_members_settings(make_pet):
    pet = make_pet(seed=3, max_length=16, precision="no").fit(TEXTS, LABELS, unlabeled=UNLABELLED)

    assert (pet.student_.seed, pet.student_.max_length, pet.student_.precision) == (3, 16, "no")


def test_the_usual_student_takes_five_thousand_updates_at_most(make_pet, monkeypatch):
    monkeypatch.setattr("promptlab.distillation.pet.STUDENT_STEPS", 7)

    pet = make_pet(student_steps=None).fit(TEXTS, LABELS, unlabeled=UNLABELLED)

    assert pet.student_.max_steps == 7


def test_classes_ten_and_nine_keep_their_columns(make_pet):
    """As texts 10 comes before 9, as numbers after it."""
    pairs = [(template, {"10": ["good", "great"], "9": ["bad", "dull"]}) for template, _ in PAIRS]
    y = [10 if label == "positive" else 9 for label in LABELS]
    settings = {"max_steps": 100, "learning_rate": 3e-3, "mlm_weight": 0, "student_steps": 100}

    pet = make_pet(pvps=pairs, **settings).fit(TEXTS, y, unlabeled=TEXTS * 3)

    assert pet.classes_.tolist() == [9, 10]
    assert pet.predict(TEXTS).tolist() == y
    assert [accuracy for _, accuracy in pet.report(TEXTS, y)] == [1.0] * 4


def test_what_is_saved_is_the_student(make_pet, saved_model, tmp_path):
    pet = make_pet(model=saved_model("bert")).fit(TEXTS, LABELS, unlabeled=UNLABELLED)

    pet.save_pretrained(tmp_path / "out")
    loaded = load_any(tmp_path / "out", device="cpu")

    assert type(loaded) is HeadClassifier
    assert np.array_equal(loaded.predict_proba(TEXTS), pet.predict_proba(TEXTS))
    assert not hasattr(PET, "from_pretrained")


def test_a_student_has_the_settings_it_was_given(make_pet, tiny_backbone):
    student = HeadClassifier(tiny_backbone("roberta"), "frozen", max_steps=3, pooling="first", device="cpu")

    pet = make_pet(student=student, student_steps=None).fit(TEXTS, LABELS, unlabeled=UNLABELLED)

    assert pet.student_.model_.backbone.name == "tiny-roberta"
    assert (pet.student_.pooling, pet.student_.max_steps) == ("first", 3)
    assert not hasattr(student, "model_")


def test_a_student_may_be_of_a_class_of_its_own(make_pet, monkeypatch):
    monkeypatch.setitem(ESTIMATORS.entries, "OwnHead", Entry(f"{__name__}:OwnHead"))
    monkeypatch.setitem(sys.modules, __name__, types.SimpleNamespace(OwnHead=OwnHead))

    pet = make_pet(student=OwnHead(max_steps=2), **GIVEN).fit(TEXTS, LABELS, unlabeled=UNLABELLED)

    assert type(pet.student_) is OwnHead and pet.student_.max_steps == 2


def test_without_labeled_texts_the_members_stay_untrained(make_pet, bert):
    pet = make_pet(repetitions=2).fit(unlabeled=UNLABELLED)

    alone = [PromptClassifier(*pair, bert, device="cpu").predict(TEXTS) for pair in PAIRS for _ in range(2)]
    expected = [np.mean(chosen == LABELS) for chosen in alone]
    assert [accuracy for _, accuracy in pet.report(TEXTS, LABELS)[:4]] == expected
    assert set(pet.weights_.values()) == {1.0}


def test_classes_given_as_whole_numbers_stay_such_without_labels(make_pet):
    pairs = [(template, {1: ["good", "great"], 0: ["bad", "dull"]}) for template, _ in PAIRS]

    pet = make_pet(pvps=pairs).fit(unlabeled=UNLABELLED)

    assert pet.classes_.tolist() == [0, 1]
    assert pet.score(TEXTS, [1, 1, 0, 0]) == np.mean(pet.predict(TEXTS) == [1, 1, 0, 0])


def test_the_student_reads_all_fields_that_some_member_reads(make_pet):
    pairs = [PAIRS[0], ("{{ text_b }} {{ mask }} {{ text_a }}", WORDS)]
    rows = [(text, "or not") for text in TEXTS]

    pet = make_pet(pvps=pairs).fit(rows, LABELS, unlabeled=[(text, "maybe") for text in UNLABELLED])

    assert list(pet.student_.fields) == ["text_a", "text_b"]
    given = make_pet(pvps=pairs, student=HeadClassifier(max_steps=1), **GIVEN)
    assert list(given.fit(rows, LABELS, unlabeled=rows).student_.fields) == ["text_a", "text_b"]
    assert not np.allclose(pet.predict_proba(rows), pet.predict_proba([(text, "good story") for text in TEXTS]))


@pytest.mark.parametrize(
    ("settings", "data", "error", "message"),
    [
        ({}, {}, DataError, "PET learns from unlabeled texts.*use PVPEnsemble"),
        ({}, {"unlabeled": iter([])}, DataError, "PET learns from unlabeled texts"),
        ({"weighting": "stacked"}, {}, UnknownNameError, "unknown weighting 'stacked'"),
        ({"temperature": 0}, {}, TuningError, "temperature=0"),
        ({"mlm_weight": -1e-4}, {}, TuningError, "mlm_weight=-0.0001"),
        ({"mlm_ratio": 0}, {}, TuningError, "mlm_ratio=0"),
        ({"max_distilled": 0}, {}, TuningError, "max_distilled=0"),
        ({"student": "minilm"}, {}, TuningError, "student is a str"),
        ({"student": HeadClassifier()}, {}, TuningError, "student_steps=2"),
        ({"student_steps": 0}, {}, TuningError, "student_steps=0"),
        ({"student": HeadClassifier(tuning="none"), **GIVEN}, {}, TuningError, "student: tuning='none' trains nothing"),
        ({"student": HeadClassifier(patience=2), **GIVEN}, {}, TuningError, "student: patience=2 needs dev"),
        ({"student": HeadClassifier(resume_dir="x"), **GIVEN}, {}, TuningError, "student: resume_dir='x'"),
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
            "unlabeled row 1 of unlabeled: student: .* of 0 that fit",
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
def test_what_cannot_work_is_told_before_anything_is_trained(make_pet, monkeypatch, settings, data, error, message):
    monkeypatch.setattr(PromptClassifier, "fit_labeled", lambda *_, **__: pytest.fail("trained"))

    with pytest.raises(error, match=message):
        make_pet(**settings).fit(TEXTS, LABELS, **data)


def test_a_damaged_result_is_told_with_its_folder(make_pet):
    pet = make_pet().fit(TEXTS, LABELS, unlabeled=UNLABELLED)
    (scores,) = [path for path in (pet.resume_dir / "jobs").iterdir() if "weights" in settings_in(path)]
    (scores / "scores.npy").write_bytes(b"")
    (student,) = [path for path in (pet.resume_dir / "jobs").iterdir() if "temperature" in settings_in(path)]
    shutil.rmtree(student)

    with pytest.raises(JobError, match=rf"finished work '{scores}' can't be read .*; delete it"):
        pet.fit(TEXTS, LABELS, unlabeled=UNLABELLED)


@pytest.mark.parametrize("damage", ["weights.safetensors", "promptlab.json"])
def test_a_damaged_student_is_told_with_its_folder(make_pet, damage):
    pet = make_pet().fit(TEXTS, LABELS, unlabeled=UNLABELLED)
    (student,) = [path for path in (pet.resume_dir / "jobs").iterdir() if "temperature" in settings_in(path)]
    (student / "model" / damage).write_bytes(b"")

    with pytest.raises(DataError, match=rf"finished work '{student}' can't be read .*; delete it"):
        pet.fit(TEXTS, LABELS, unlabeled=UNLABELLED)


def test_a_damaged_accuracy_is_told_with_its_folder(make_pet):
    pet = make_pet(weighting="untrained-accuracy").fit(TEXTS, LABELS, unlabeled=UNLABELLED)
    (file, *_) = (pet.resume_dir / "jobs").glob("*/result.json")
    file.write_text("")

    with pytest.raises(DataError, match=r"can't be read .*; delete it and run again"):
        pet.fit(TEXTS, LABELS, unlabeled=UNLABELLED)


def test_masked_words_are_refused_for_a_causal_model(make_pet, tiny_backbone):
    pairs = [("{{ text_a }} was {{ mask }}", MultiTokenVerbalizer({"negative": "bad", "positive": "good"}))]
    causal = tiny_backbone("gpt2")

    with pytest.raises(TuningError, match=r"isn't a masked language model.*mlm_weight=0"):
        make_pet(pvps=pairs, model=causal).fit(TEXTS, LABELS, unlabeled=UNLABELLED)

    pet = make_pet(pvps=pairs, model=causal, mlm_weight=0).fit(TEXTS, LABELS, unlabeled=UNLABELLED)
    assert pet.predict_proba(TEXTS).shape == (4, 2)


def test_members_that_are_not_trained_need_no_masked_words_and_their_settings_repeat_no_work(
    make_pet, tiny_backbone, monkeypatch
):
    pairs = [("{{ text_a }} was {{ mask }}", MultiTokenVerbalizer({"negative": "bad", "positive": "good"}))]
    causal = tiny_backbone("gpt2")
    make_pet(pvps=pairs, model=causal).fit(unlabeled=UNLABELLED)
    monkeypatch.setattr(HeadClassifier, "fit_labeled", lambda *_, **__: pytest.fail("trained"))

    make_pet(pvps=pairs, model=causal, mlm_ratio=5).fit(unlabeled=UNLABELLED)


def test_it_clones_and_is_not_fitted_before_fit(make_pet):
    ipet = make_pet(IPET, teacher_share=0.5)

    assert clone(ipet).get_params(deep=False) == ipet.get_params(deep=False)
    with pytest.raises(NotFittedError, match="IPET isn't fitted"):
        ipet.predict(TEXTS)


def test_settings_may_be_numbers_of_numpy(make_pet):
    numbers = {"temperature": np.float32(2), "max_distilled": np.int64(5), "mlm_ratio": np.int64(1)}

    pet = make_pet(**numbers, mlm_weight=np.float32(0.25)).fit(TEXTS, LABELS, unlabeled=UNLABELLED)

    same = {name: number.item() for name, number in numbers.items()}
    again = make_pet(**same, mlm_weight=0.25).fit(TEXTS, LABELS, unlabeled=UNLABELLED)
    assert np.array_equal(pet.predict_proba(TEXTS), again.predict_proba(TEXTS))


def test_a_full_disk_leaves_what_is_finished(make_pet, monkeypatch, tmp_path):
    save, calls = np.save, []

    def full_at_the_second(*arguments, **more):
        calls.append(1)
        if len(calls) == 2:
            raise OSError(28, "No space left on device")
        return save(*arguments, **more)

    monkeypatch.setattr("promptlab.ensembles.member_jobs.np.save", full_at_the_second)
    pet = make_pet()
    with pytest.raises(JobError, match=r"scores of member 2, part 1 failed: .*no space is left"):
        pet.fit(TEXTS, LABELS, unlabeled=UNLABELLED)
    finished = {path.name: path.stat().st_ino for path in (pet.resume_dir / "jobs").iterdir()}

    pet.fit(TEXTS, LABELS, unlabeled=UNLABELLED)

    assert len(finished) == 2 + 2 + 1
    assert all((pet.resume_dir / "jobs" / name).stat().st_ino == inode for name, inode in finished.items())
