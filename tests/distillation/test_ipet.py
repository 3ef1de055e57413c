from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

import promptlab
from promptlab import IPET, PromptClassifier
from promptlab.core.types import Example
from promptlab.data.labeled import Labeled
from promptlab.data.labels import NAMES
from promptlab.distillation import soft_labels as annotation
from promptlab.distillation.soft_labels import DistillationRun
from promptlab.ensembles.member_jobs import classifier_of
from promptlab.jobs.workspace import Workspace

TEXTS = ["the film was great", "a good story", "a dull mess", "the acting was bad"]
LABELS = ["positive", "positive", "negative", "negative"]
WORDS = {"positive": ["good", "great"], "negative": ["bad", "dull"]}
PAIRS = [("{{ text_a }} . it was {{ mask }}", WORDS), ("{{ mask }} : {{ text_a }}", WORDS)]
ADJECTIVES = ["great", "good", "bad", "dull", "terrible"]
UNLABELLED = [f"the {noun} was {word}" for noun in ("film", "story") for word in ADJECTIVES]


def texts(examples):
    return [example.fields["text_a"] for example in examples]


def training_sets(ipet):
    """Of the members of each generation, by the jobs that trained them."""
    workspace, found = Workspace(ipet.resume_dir), {}
    for path in sorted((ipet.resume_dir / "jobs").iterdir()):
        job = json.loads((path / "job.json").read_text())
        if job["name"].startswith("member") and job["settings"]["train"] is not None:
            found[job["name"]] = workspace.examples(job["settings"]["train"])
    return found


def test_every_generation_learns_from_labeled_texts_and_balanced_draws_with_hard_labels(make_pet):
    labels = ["positive", "positive", "positive", "negative"]
    ipet = make_pet(IPET, generations=2, growth_factor=3, mlm_weight=0).fit(TEXTS, labels, unlabeled=UNLABELLED)

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
def grown(make_pet, tmp_path):
    """A function: the examples that a member of iPET learns from in a generation, if the members score rows so."""

    def examples(scores, learner, *, generation=1, labeled=(TEXTS, LABELS), weights=None, **settings):
        ipet = make_pet(IPET, pvps=[PAIRS[n % 2] for n in range(len(scores))], **settings)
        ipet.generations_ = []
        with ipet._workspace() as workspace:
            pairs = ipet._pairs()
            members = ipet._members(pairs, ipet._loaded(workspace, pairs), 0)
            chunks = workspace.store_chunks(Example({"text_a": f"row {row}"}) for row in range(len(scores[0])))
            training = labeled and Labeled.of(*labeled)
            counted = np.ones(len(scores)) if weights is None else np.array(weights, dtype=float)
            lesson = DistillationRun(workspace, members, training, None, NAMES, chunks, counted, None)
            folders = [[tmp_path / str(number)] for number in range(len(scores))]
            for (folder,), rows in zip(folders, scores, strict=True):
                folder.mkdir(exist_ok=True)
                np.save(folder / "scores.npy", np.log(rows))
            return workspace.examples(ipet._grown(lesson, folders, generation, learner).name)

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


def test_each_member_draws_for_itself_in_each_generation_by_the_seed(grown):
    alike = [np.array([[0.9, 0.1]] * 50 + [[0.1, 0.9]] * 50)] * 2

    def drawn(learner, generation, seed):
        return tuple(texts(grown(alike, learner, generation=generation, labeled=None, seed=seed)))[:20]

    turns = [(0, 1, 0), (1, 1, 0), (0, 2, 0), (0, 1, 1)]
    assert drawn(0, 1, 0) == drawn(0, 1, 0)
    assert len({drawn(*turn) for turn in turns}) == 4


def test_where_nothing_was_trained_a_class_is_learnt_from_its_best_hundred_whatever_they_say(grown):
    sure = np.concatenate([[0.9], np.linspace(0.4, 0.2, 299)])  # of "negative", as only the first row is said to be
    scores = [np.stack([sure, 1 - sure], axis=1)] * 2

    def rows(generation, seed):
        examples = grown(scores, 0, generation=generation, labeled=None, seed=seed)
        return [int(e.fields["text_a"].split()[1]) for e in examples if e.label == "negative"]

    drawn = [rows(1, seed) for seed in range(40)]

    assert all(len(set(own)) == 5 for own in drawn)
    assert 50 < max(map(max, drawn)) < 100
    assert set(rows(2, 0)) == {0}  # trained members say what they mean


def test_untrained_members_teach_with_their_best_hundred_and_nobody_hangs_on_a_class_that_is_never_said(make_pet, bert):
    with torch.no_grad():  # as no tiny model of a seed would: this word is never the likeliest
        bert.decoder()[1][bert.token_ids("terrible")[0]] = -100.0
    pairs = [(template, {"positive": "great", "negative": "bad", "never": "terrible"}) for template, _ in PAIRS]

    ipet = make_pet(IPET, pvps=pairs, generations=2, growth_factor=2, mlm_weight=0, n_most_likely=3)
    ipet.fit(unlabeled=UNLABELLED)

    sets = [examples for name, examples in training_sets(ipet).items() if "generation 2" in name]
    assert [Counter(e.label for e in examples) for examples in sets] == [{"negative": 7, "never": 7, "positive": 6}] * 2
    best = PromptClassifier(*pairs[1], bert, device="cpu")
    scores = np.array(list(best.iter_log_proba([Example({"text_a": text}) for text in UNLABELLED])))
    likeliest = {UNLABELLED[i] for i in np.argsort(-scores[:, list(best.classes_).index("never")])[:3]}
    first = next(examples for name, examples in training_sets(ipet).items() if name == "member 1, generation 1")
    assert {e.fields["text_a"] for e in first if e.label == "never"} <= likeliest


def test_teachers_that_were_never_right_before_training_count_alike(make_pet, bert):
    opposite = dict(zip(WORDS, reversed(WORDS.values())))
    pairs = [(PAIRS[0][0], WORDS), (PAIRS[0][0], opposite)]
    first = PromptClassifier(*pairs[0], bert, device="cpu")
    odds = np.diff(np.log(first.predict_proba(UNLABELLED)))[:, 0]
    with torch.no_grad():  # so that it says both classes
        bert.decoder()[1][[bert.token_ids(word)[0] for word in WORDS["positive"]]] -= float(np.median(odds))
    labels = PromptClassifier(*pairs[0], bert, device="cpu").predict(UNLABELLED).tolist()

    ipet = make_pet(IPET, pvps=pairs, generations=1, mlm_weight=0).fit(UNLABELLED, labels, unlabeled=UNLABELLED)

    assert list(ipet.weights_.values()) == [1.0, 0.0]
    assert sorted(one["teachers"] for one in ipet.generations_) == [["1"], ["2"]]


@pytest.mark.parametrize(("kept", "n_models"), [(False, 2), (True, 6)])
def test_models_of_earlier_generations_take_no_room_in_a_temporary_folder(
    make_pet, tmp_path, monkeypatch, kept, n_models
):
    seen = []

    def count(settings, workspace):
        seen.append(len(list(workspace.work.folder.glob("jobs/*/model"))))
        return classifier_of(settings, workspace)

    monkeypatch.setattr(annotation, "classifier_of", count)

    make_pet(IPET, generations=2, resume_dir=tmp_path / "kept" if kept else None).fit(
        TEXTS, LABELS, unlabeled=UNLABELLED
    )

    assert seen == [n_models]


DRIVER = """
import json, os, random, signal, sys, time
import promptlab.ensembles.ensemble  # before any fork, and without running a model

from promptlab import IPET

base, cache, kills = sys.argv[1], sys.argv[2], int(sys.argv[3])
words = {"positive": ["good", "great"], "negative": ["bad", "dull"]}
pairs = [("{{ text_a }} . it was {{ mask }}", words), ("{{ mask }} : {{ text_a }}", words)]
texts = ["the film was great", "a good story", "a dull mess", "the acting was bad"]
rows = [f"the {noun} was {word}" for noun in ("film", "story") for word in ("great", "good", "bad", "dull")]

def fit():
    ipet = IPET(pairs, base, repetitions=1, max_steps=3, student_steps=4, generations=2, device="cpu", resume_dir=cache)
    ipet.fit(texts, ["positive", "positive", "negative", "negative"], unlabeled=rows)
    return ipet.predict_proba(texts).tolist()

def finished():
    folder = os.path.join(cache, "jobs")
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


def test_a_run_killed_three_times_ends_as_if_it_had_not_been_and_repeats_nothing(make_pet, saved_model, tmp_path):
    base = saved_model("bert")
    (tmp_path / "driver.py").write_text(DRIVER)
    settings = {"PYTHONPATH": str(Path(promptlab.__file__).parents[1]), "OMP_NUM_THREADS": "1"}

    done = subprocess.run(
        [sys.executable, tmp_path / "driver.py", base, tmp_path / "killed", "3"],
        capture_output=True, text=True, env={**os.environ, **settings}, check=True,
    )  # fmt: skip

    report = json.loads(done.stdout.splitlines()[-1])
    here = make_pet(IPET, model=base, max_steps=3, student_steps=4, generations=2, learning_rate=None)
    here.fit(TEXTS, LABELS, unlabeled=[text for text in UNLABELLED if not text.endswith("terrible")])
    assert here.predict_proba(TEXTS) == pytest.approx(np.array(report["result"]), abs=1e-6)
    assert report["repeated"] == []
    assert 3 <= report["kept"] < report["all"] == 2 + 3 * (2 + 2) + 1 + 1
