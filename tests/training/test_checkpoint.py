from __future__ import annotations

import json
import random
from functools import partial

import numpy as np
import pytest
import torch
from joblib.externals.loky import get_reusable_executor
from sklearn.model_selection import GridSearchCV, StratifiedKFold, cross_val_score

from promptlab import (
    Example,
    HeadClassifier,
    JointClassifier,
    MultiLabelClassifier,
    PromptClassifier,
    PromptGenerator,
    TokenClassifier,
)
from promptlab.core.seeding import random_states, seeded, set_random_states
from promptlab.data.labeled import SoftLabeled
from promptlab.training.checkpoint import Checkpoint
from promptlab.training.objectives import Distillation
from promptlab.tuning.lora import LoRA
from promptlab.tuning.prompt_tuning import PromptTuning
from promptlab.verbalizers.soft import SoftVerbalizer

SOURCE, WORDS = "{{ text_a }} was {{ mask }}.", {"-": ["bad"], "+": ["good"]}
NOISE = [f"note {37 * i % 10} {91 * i % 7}" for i in range(16)]
LABELS = ["+", "-"] * 8
USUAL = {"max_steps": 4, "learning_rate": 1e-2, "eval_every": 2, "device": "cpu"}


def prompt(model, **changes):
    template, words = changes.pop("template", SOURCE), changes.pop("verbalizer", WORDS)
    return PromptClassifier(template, words, model, **{"tuning": "bitfit", **USUAL, **changes})


def states(folder):
    return sorted(folder.glob("runs/*.safetensors"))


@pytest.mark.parametrize("estimator", [prompt, lambda model, **more: HeadClassifier(model, "frozen", **USUAL, **more)])
def test_cross_validation_with_one_folder_gives_the_figures_of_none(bert, tmp_path, estimator):
    def scores(**more):
        some = cross_val_score(estimator(bert, **more), NOISE, LABELS, cv=StratifiedKFold(3), scoring="neg_log_loss")
        return some.tolist()

    without = scores()

    assert scores(resume_dir=tmp_path) == without
    assert len(states(tmp_path)) == len(set(without)) == 3
    assert scores(resume_dir=tmp_path) == without


def test_a_grid_search_by_two_processes_with_one_folder_gives_the_figures_of_none(base, tmp_path):
    grid = {"learning_rate": [1e-3, 1e-2]}
    searches = [
        GridSearchCV(prompt(base, resume_dir=folder), grid, cv=StratifiedKFold(2), scoring="neg_log_loss", n_jobs=n)
        for folder, n in ((None, None), (tmp_path / "run", 2))
    ]

    without, kept = (search.fit(NOISE, LABELS) for search in searches)
    get_reusable_executor().shutdown()  # other tests need workers that begin in their folders

    for split in ("split0_test_score", "split1_test_score"):
        assert kept.cv_results_[split].tolist() == without.cv_results_[split].tolist()
    assert kept.best_params_ == without.best_params_
    assert len(set(without.cv_results_["split0_test_score"])) == 2


DEV = {"eval_set": (NOISE[:4], LABELS[:4])}
CHANGES = {
    "texts": ({}, [f"{text} !" for text in NOISE], LABELS, DEV),
    "one text": ({}, [*NOISE[:-1], "note"], LABELS, DEV),
    "labels": ({}, NOISE, LABELS[::-1], DEV),
    "dev texts": ({}, NOISE, LABELS, {"eval_set": (NOISE[4:8], LABELS[:4])}),
    "dev labels": ({}, NOISE, LABELS, {"eval_set": (NOISE[:4], LABELS[1:5])}),
    "no dev set": ({}, NOISE, LABELS, {}),
    "template": ({"template": "{{ text_a }} is {{ mask }}."}, NOISE, LABELS, DEV),
    "label words": ({"verbalizer": {"-": ["dull"], "+": ["good"]}}, NOISE, LABELS, DEV),
    "words of the classes": ({"verbalizer": {"+": ["bad"], "-": ["good"]}}, NOISE, LABELS, DEV),
    "seed": ({"seed": 1}, NOISE, LABELS, DEV),
    "alpha": ({"tuning": LoRA(alpha=64)}, NOISE, LABELS, DEV),
    "dropout": ({"tuning": LoRA(alpha=1, dropout=0.5)}, NOISE, LABELS, DEV),
    "length": ({"max_length": 8}, NOISE, LABELS, DEV),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_run_that_differs_in_one_thing_is_not_taken_up(bert, tmp_path, change):
    settings, texts, labels, more = CHANGES[change]
    settings = {"tuning": LoRA(alpha=1), **settings}
    prompt(bert, tuning=LoRA(alpha=1), resume_dir=tmp_path).fit(NOISE, LABELS, **DEV)

    alone = prompt(bert, **settings).fit(texts, labels, **more)
    beside = prompt(bert, **settings, resume_dir=tmp_path).fit(texts, labels, **more)

    assert beside.history_ == alone.history_
    assert np.array_equal(beside.predict_proba(NOISE), alone.predict_proba(NOISE))
    assert len(states(tmp_path)) == 2


@pytest.mark.parametrize("make", [prompt, lambda model, **more: HeadClassifier(model, "frozen", **USUAL, **more)])
def test_another_model_of_the_same_shape_is_not_taken_up(tiny_backbone, tmp_path, make):
    usual, other = tiny_backbone("bert"), tiny_backbone("bert")
    with torch.no_grad():
        next(other.parameters())[7] += 0.1
    make(usual, resume_dir=tmp_path).fit(NOISE, LABELS)

    make(other, resume_dir=tmp_path).fit(NOISE, LABELS)
    make(tiny_backbone("bert"), resume_dir=tmp_path).fit(NOISE, LABELS)

    assert len(states(tmp_path)) == 2


def test_what_is_minimised_is_part_of_a_run(bert, tmp_path):
    log_probs = torch.tensor([[0.2, 0.8], [0.7, 0.3]] * 8).log()
    teacher = SoftLabeled([Example({"text_a": text}) for text in NOISE], ["-", "+"], log_probs)
    for temperature in (2.0, 4.0, 2.0):
        prompt(bert, resume_dir=tmp_path).fit_labeled(teacher, objective=partial(Distillation, temperature=temperature))

    assert len(states(tmp_path)) == 2


def test_a_prompt_that_starts_from_a_file_counts_by_what_the_file_holds(bert, tmp_path):
    tuning = PromptTuning(length=2, start=str(tmp_path / "start.safetensors"))
    for seed in (0, 1, 1):
        prompt(bert, tuning=PromptTuning(length=2), seed=seed).fit(NOISE, LABELS).save_prompt(tuning.start)
        prompt(bert, tuning=tuning, resume_dir=tmp_path / "run").fit(NOISE, LABELS)

    assert len(states(tmp_path / "run")) == 2


SENTENCES = [text.split() for text in NOISE]
TAGS = [["O"] * (len(words) - 1) + [label] for words, label in zip(SENTENCES, ["B-X", "B-Y"] * 8)]
SETS = [[label] for label in LABELS]
TEXTS = ["good", "bad story"] * 8
ESTIMATORS = {
    "prompt": (prompt, NOISE, LABELS, LABELS[::-1]),
    "soft words": (lambda m, **more: prompt(m, verbalizer=SoftVerbalizer(WORDS), **more), NOISE, LABELS, LABELS[::-1]),
    "head": (lambda m, **more: HeadClassifier(m, **USUAL, **more), NOISE, LABELS, LABELS[::-1]),
    "linear probe": (lambda m, **more: HeadClassifier(m, "frozen", **USUAL, **more), NOISE, LABELS, LABELS[::-1]),
    "several labels": (
        lambda m, **more: MultiLabelClassifier(SOURCE, WORDS, m, **USUAL, **more), NOISE, SETS, SETS[::-1]
    ),
    "tagger": (lambda m, **more: TokenClassifier(m, **USUAL, **more), SENTENCES, TAGS, TAGS[::-1]),
    "generator": (
        lambda m, **more: PromptGenerator("{{ text_a }} : {{ mask }}", m, "bitfit", max_new_tokens=4, **USUAL, **more),
        NOISE, TEXTS, TEXTS[::-1],
    ),
    "joint": (
        lambda m, **more: JointClassifier({name: prompt(None, tuning="lora", **more) for name in "ab"}, m),
        {"a": NOISE, "b": NOISE[::-1]}, {"a": LABELS, "b": LABELS}, {"a": LABELS, "b": LABELS[::-1]},
    ),
}  # fmt: skip


def trained(estimator):
    return {name: weight.tolist() for name, weight in estimator.model_.named_parameters()}


@pytest.mark.parametrize("name", ESTIMATORS)
@pytest.mark.parametrize("with_dev", [True, False])
def test_every_estimator_goes_on_where_it_was_killed_and_takes_up_no_other_run(
    tiny_backbone, tmp_path, monkeypatch, name, with_dev
):
    make, X, y, others = ESTIMATORS[name]
    model = tiny_backbone("gpt2" if name == "generator" else "bert")
    dev = {"eval_set": (X, y)} if with_dev else {}
    whole, other = trained(make(model).fit(X, y, **dev)), trained(make(model).fit(X, others, **dev))
    save, steps = Checkpoint.save, []

    def killed(self, step):
        save(self, step)
        steps.append(step)
        if len(steps) == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(Checkpoint, "save", killed)
    with pytest.raises(KeyboardInterrupt):
        make(model, resume_dir=tmp_path).fit(X, y, **dev)
    rest = make(model, resume_dir=tmp_path).fit(X, y, **dev)

    assert steps == [2, 4]
    assert trained(rest) == whole
    assert trained(make(model, resume_dir=tmp_path).fit(X, others, **dev)) == other
    assert steps == [2, 4, 2, 4]


def test_a_checkpoint_brings_back_all_random_states():
    with seeded(3):
        states = random_states()
        first = [np.random.rand(), torch.rand(()).item(), random.random()]
        set_random_states(json.loads(json.dumps(states)))
        assert [np.random.rand(), torch.rand(()).item(), random.random()] == first
