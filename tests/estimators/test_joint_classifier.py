from __future__ import annotations

import json
from collections import Counter

import numpy as np
import pytest
import torch

from promptlab import (
    HeadClassifier,
    InContextTemplate,
    JointClassifier,
    MultiLabelClassifier,
    PromptClassifier,
    TokenClassifier,
)
from promptlab.core.errors import DataError, TuningError, UnknownNameError
from promptlab.core.registry import TUNINGS
from promptlab.core.seeding import seeded
from promptlab.core.types import Example
from promptlab.models.joint_model import JointModel, MemberRow
from promptlab.models.prompt_model import PromptModel
from promptlab.templates.manual import ManualTemplate
from promptlab.tuning.adapter import Adapter
from promptlab.tuning.lora import IA3, LoRA
from promptlab.tuning.prefix import PTuningV2
from promptlab.tuning.prompt_tuning import PromptTuning, PTuning
from promptlab.verbalizers.manual import ManualVerbalizer
from promptlab.verbalizers.prototypical import PrototypicalVerbalizer
from promptlab.verbalizers.strings import MultiTokenVerbalizer

TEXTS = ["the film was great", "a good story", "a dull , lifeless mess of a story", "just awful"]
LABELS = ["positive", "positive", "negative", "negative"]
WORDS = {"positive": ["good", "great"], "negative": ["awful", "dull"]}
TOPICS = {"world": "World", "sports": "sports", "news": "news"}
SOURCE = "{{ text_a }} it was {{ mask }}"
MIXTURES = {
    "prompts": [PromptTuning(length=3), PromptTuning(length=5), PromptTuning(length=1)],
    "prefixes": [PTuningV2(length=3), PTuningV2(length=5), TUNINGS.get("none")()],
    "adapters": [Adapter(size=4), Adapter(size=6, place="pfeiffer"), Adapter(size=2)],
    "lora": [LoRA(rank=2), LoRA(rank=3, targets="all-linear"), IA3()],
    "all kinds": [LoRA(rank=2), PTuningV2(length=2), PromptTuning(length=2)],
    "whole models": [TUNINGS.get("full")(), TUNINGS.get("layer-norm")(), TUNINGS.get("full")()],
}


def member(origin, tuning, words=WORDS, seed=0):
    """A model with every trained weight moved, so that each answers differently."""
    template = tuning.edit(ManualTemplate(SOURCE))
    with seeded(seed):
        model = PromptModel.build(template, ManualVerbalizer(words), origin.copy(), tuning)
        with torch.no_grad():
            for _, weight in model.trained_parameters():
                weight.add_(0.2 * torch.randn_like(weight))
    return model.eval()


def rows_of(models, texts=TEXTS):
    """Every text through every model, mixed."""
    encoded = [model.encode([Example({"text_a": text}) for text in texts]) for model in models]
    return [MemberRow(number, encoded[number][i]) for i in range(len(texts)) for number in range(len(models))]


def alone(model, encoded):
    return model.log_probs(model.backbone.collate([encoded]))[0]


@pytest.mark.parametrize("mixture", sorted(MIXTURES))
@torch.no_grad()
def test_rows_of_one_batch_go_each_through_their_own_model(any_backbone, mixture):
    members = [member(any_backbone, tuning, seed=seed) for seed, tuning in enumerate(MIXTURES[mixture])]
    try:
        joint = JointModel(any_backbone, members).eval()
    except TuningError as error:  # positions, and what DeBERTa applies to relative positions, belong to no row
        assert "run them one after the other" in str(error)
        assert mixture == "whole models" or (mixture == "lora" and "deberta" in any_backbone.name)
        return
    rows = rows_of(members)

    scores = joint.log_probs(joint.collate(rows))

    for number, model in enumerate(members):
        own = [row for row in rows if row.member == number]
        for row, score in zip(own, scores[number], strict=True):
            torch.testing.assert_close(score, alone(model, row.encoded), atol=1e-5, rtol=1e-4)
    assert not torch.allclose(scores[0], scores[1], atol=1e-3)


@torch.no_grad()
def test_what_the_models_share_runs_once(tiny_backbone):
    origin = tiny_backbone("bert")
    members = [member(origin, LoRA(rank=2), seed=seed) for seed in range(3)]
    joint = JointModel(origin, members).eval()
    seen = []
    for part in (joint, *members):
        layer = part.backbone.layers()[0]
        layer.intermediate.register_forward_hook(lambda _, inputs, __: seen.append(len(inputs[0])))

    joint.log_probs(joint.collate(rows_of(members)))

    assert seen == [3 * len(TEXTS)]


@torch.no_grad()
def test_a_model_without_rows_in_a_batch_is_passed_over(tiny_backbone):
    origin = tiny_backbone("bert")
    members = [member(origin, tuning) for tuning in MIXTURES["all kinds"]]
    joint = JointModel(origin, members).eval()
    rows = [row for row in rows_of(members) if row.member == 1]

    scores = joint.log_probs(joint.collate(rows))

    assert [len(part) for part in scores] == [0, len(TEXTS), 0]
    torch.testing.assert_close(scores[1][0], alone(members[1], rows[0].encoded), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("mixture", ["prompts", "prefixes", "adapters", "lora"])
def test_each_model_gets_the_gradient_it_would_get_alone(tiny_backbone, mixture):
    for family in ("bert", "llama", "t5", "electra"):
        origin = tiny_backbone(family)
        members = [member(origin, tuning, seed=seed) for seed, tuning in enumerate(MIXTURES[mixture])]
        joint = JointModel(origin, members).eval()
        rows = [row._replace(target=i // len(members) % 2) for i, row in enumerate(rows_of(members))]
        joint.loss(joint.collate(rows)).sum().backward()
        found = [{n: w.grad for n, w in model.trained_parameters()} for model in members]

        for number, model in enumerate(members):
            model.zero_grad()
            own = [row for row in rows if row.member == number]
            batch = model.backbone.collate([row.encoded for row in own])
            batch.labels = torch.tensor([row.target for row in own])
            loss = model.loss(batch)
            if loss.requires_grad:
                loss.backward()
            for name, weight in model.trained_parameters():
                torch.testing.assert_close(found[number][name], weight.grad, atol=1e-5, rtol=1e-3)


def prompts(**changes):
    settings = {"max_steps": 6, "learning_rate": 0.05, "device": "cpu", "batch_size": 4, **changes}
    return {
        f"prompt {seed}": PromptClassifier(SOURCE, WORDS, tuning=PromptTuning(length=3), seed=seed, **settings)
        for seed in range(3)
    }


def test_prompts_trained_in_one_batch_end_as_if_trained_alone(base):
    same = {"warmup_ratio": 0.0, "max_grad_norm": 1e-8}  # so small beside AdamW's epsilon that what is clipped counts
    joint = JointClassifier(prompts(**same), base).fit(
        {name: TEXTS for name in prompts()}, {name: LABELS for name in prompts()}
    )

    tables = [classifier.model_.soft.table for classifier in joint.classifiers_.values()]
    assert not torch.allclose(tables[0], tables[1])
    for name, classifier in prompts(**same).items():
        classifier.model = base
        separate = classifier.fit(TEXTS, LABELS)
        together = joint.predict_proba(TEXTS, [name] * len(TEXTS))
        torch.testing.assert_close(
            torch.tensor(separate.predict_proba(TEXTS)), torch.stack([*map(torch.tensor, together)]), atol=1e-4, rtol=0
        )


def test_classifiers_trained_together_are_saved_one_by_one_and_run_together_again(base, tmp_path, tiny_backbone):
    data = {name: TEXTS for name in prompts()}
    joint = JointClassifier(prompts(), base).fit(
        data, {name: LABELS for name in data}, eval_set=(data, {name: LABELS for name in data})
    )
    names = ["prompt 0", "prompt 2", "prompt 1", "prompt 0"]
    expected = joint.predict_proba(TEXTS, names)
    for name, classifier in joint.classifiers_.items():
        classifier.save_pretrained(tmp_path / name)

    from promptlab import load_backbone

    backbone = load_backbone(base)
    back = {name: PromptClassifier.from_pretrained(tmp_path / name, model=backbone) for name in data}

    for row, wanted in zip(JointClassifier(back, backbone).predict_proba(TEXTS, names), expected, strict=True):
        torch.testing.assert_close(torch.tensor(row), torch.tensor(wanted))


def test_one_encoder_serves_several_tasks_and_each_exports_its_own_rows(base, tmp_path):
    source = "{{ soft(2) }} {{ text_a }} {{ soft(1) }} {{ mask }}"
    more = {"tuning": PTuning(train_model=False), "max_steps": 3, "device": "cpu"}
    tasks = {
        "opinion": PromptClassifier(source, WORDS, **more),
        "topic": PromptClassifier(source, TOPICS, seed=1, **more),
    }
    encoders = set()
    original = PromptModel.export

    def export(self):
        encoders.add(id(self.soft.encoder))
        return original(self)

    PromptModel.export = export
    try:
        joint = JointClassifier(tasks, base, share_encoder=True).fit(
            {"opinion": TEXTS, "topic": TEXTS[:3]}, {"opinion": LABELS, "topic": ["world", "sports", "news"]}
        )
    finally:
        PromptModel.export = original

    assert len(encoders) == 1
    opinion, topic = (joint.classifiers_[name] for name in tasks)
    assert opinion.model_.soft.encoder is None
    assert opinion.model_.soft.table.shape == topic.model_.soft.table.shape == (3, 32)
    assert not torch.equal(opinion.model_.soft.table, topic.model_.soft.table)
    assert joint.predict(TEXTS[:2], ["opinion", "topic"])[1] in TOPICS


def test_weights_are_chosen_by_the_mean_accuracy_of_all_classifiers(base):
    data = {name: TEXTS for name in prompts()}
    labels = {"prompt 0": LABELS, "prompt 1": [*LABELS[:3], "positive"], "prompt 2": ["positive"] * 4}

    joint = JointClassifier(prompts(), base).fit(data, {name: LABELS for name in data}, eval_set=(data, labels))

    right = [
        predicted == wanted
        for name in data
        for predicted, wanted in zip(joint.classifiers_[name].predict(TEXTS), labels[name])
    ]
    assert joint.classifiers_["prompt 1"].history_[-1]["dev_accuracy"] == pytest.approx(sum(right) / 12)


def test_the_smaller_set_is_gone_through_more_often(base, monkeypatch):
    seen = []
    original = JointModel.collate
    monkeypatch.setattr(JointModel, "collate", lambda self, rows: seen.extend(rows) or original(self, rows))
    classifiers = {name: prompts(max_steps=1)[name] for name in ("prompt 0", "prompt 1")}
    small = [TEXTS[0], TEXTS[3]]

    JointClassifier(classifiers, base).fit(
        {"prompt 0": TEXTS, "prompt 1": small}, {"prompt 0": LABELS, "prompt 1": [LABELS[0], LABELS[3]]}
    )

    counts = Counter((row.member, tuple(row.encoded.input_ids.tolist())) for row in seen)
    large, little = ([n for (number, _), n in counts.items() if number == member] for member in (0, 1))
    assert len(large) == 4 and len(set(large)) == 1
    assert little == [2 * large[0]] * 2


def test_several_prompts_of_one_text_are_averaged_as_they_are_alone(tiny_backbone):
    backbone = tiny_backbone("bert")
    template = InContextTemplate(SOURCE, k=2, sets=2, separator=" ; ")
    fitted = {
        name: PromptClassifier(given, WORDS, backbone, PromptTuning(length=2), max_steps=1, device="cpu").fit(
            TEXTS, LABELS
        )
        for name, given in (("plain", SOURCE), ("shown", template))
    }

    rows = JointClassifier(fitted, backbone).predict_proba(TEXTS[:2], ["plain", "shown"])

    for text, (_, classifier), row in zip(TEXTS, fitted.items(), rows, strict=False):
        torch.testing.assert_close(torch.tensor(row), torch.tensor(classifier.predict_proba([text])[0]))


def test_the_majority_is_right_and_of_equal_votes_the_first_counts(base):
    data = {name: TEXTS for name in prompts()}
    joint = JointClassifier(prompts(), base).fit(data, {name: LABELS for name in data})
    votes = iter([["a", "b", "b"], ["b", "a", "c"]])
    joint.predict = lambda X, names: [vote for row in votes for vote in row]

    assert joint.vote(["x", "y"]) == ["b", "b"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: {"a": c()["prompt 0"], "b": PromptClassifier(SOURCE, WORDS, tuning="lora")}, "have one "),
        (lambda c: {"a": c(max_steps=1)["prompt 0"], "b": c(max_steps=2)["prompt 1"]}, "have one max_steps"),
        (lambda c: {"a": PromptClassifier(SOURCE, WORDS, "other")}, "has a model of its own"),
        (lambda c: {}, "there are no classifiers"),
    ],
)
def test_what_cannot_be_trained_together_is_told(base, change, message):
    with pytest.raises(TuningError, match=message):
        classifiers = change(prompts)
        data = {name: TEXTS for name in classifiers}
        JointClassifier(classifiers, base).fit(data, {name: LABELS for name in data})


def test_other_things_than_mappings_are_one_clear_line(base):
    with pytest.raises(TuningError, match="give a mapping from names to classifiers"):
        JointClassifier([PromptClassifier(SOURCE, WORDS)], base)
    for other in ("sst2", MultiLabelClassifier(SOURCE, WORDS), TokenClassifier()):
        with pytest.raises(TuningError, match=f"classifier 'm' is a {type(other).__name__}, which can't share a batch"):
            JointClassifier({"a": PromptClassifier(SOURCE, WORDS), "m": other}, base)
    joint = JointClassifier({"a": PromptClassifier(SOURCE, WORDS, tuning="prompt-tuning", max_steps=1)}, base)
    with pytest.raises(DataError, match="X or y is None; give a mapping"):
        joint.fit(None)
    with pytest.raises(DataError, match="names are None; give a list"):
        joint.fit({"a": TEXTS}, {"a": LABELS}).predict(TEXTS, None)


def test_what_cannot_share_a_batch_is_told(base):
    fitted = PromptClassifier(SOURCE, WORDS, base, "lora", max_steps=1).fit(TEXTS, LABELS)
    with pytest.raises(TuningError, match="has a backbone of its own"):
        JointClassifier({"a": fitted}, base)
    with pytest.raises(TuningError, match="is fitted and others aren't"):
        JointClassifier({"a": fitted, "b": PromptClassifier(SOURCE, WORDS)}, base)
    both = {"a": PromptClassifier(SOURCE, WORDS, max_steps=1), "b": HeadClassifier(max_steps=1)}
    with pytest.raises(TuningError, match="read the model in different ways"):
        JointClassifier(both, base).fit({"a": TEXTS, "b": TEXTS}, {"a": LABELS, "b": LABELS})
    strings = {"a": PromptClassifier(SOURCE, MultiTokenVerbalizer({"x": "very good", "y": "bad"}), max_steps=1)}
    with pytest.raises(TuningError, match="answers of several tokens"):
        JointClassifier(strings, base).fit({"a": TEXTS}, {"a": ["x", "x", "y", "y"]})
    with pytest.raises(DataError, match="all 4 labels are 'positive'; a classifier needs examples of 2 classes"):
        JointClassifier({"a": PromptClassifier(SOURCE, WORDS)}, base).fit({"a": TEXTS}, {"a": ["positive"] * 4})
    alone = {"a": PromptClassifier(SOURCE, PrototypicalVerbalizer(WORDS), tuning="lora", max_steps=1)}
    with pytest.raises(TuningError, match="PrototypicalVerbalizer is learnt from a finished language model"):
        JointClassifier(alone, base).fit({"a": TEXTS}, {"a": LABELS})
    with pytest.raises(TuningError, match="no encoder of soft tokens to share"):
        JointClassifier(prompts(), base, share_encoder=True).fit(
            {name: TEXTS for name in prompts()}, {name: LABELS for name in prompts()}
        )


@pytest.mark.parametrize("tuning", ["p-tuning", "full", "bitfit"])
def test_what_helps_where_rows_cannot_be_kept_apart_is_told(base, tuning):
    source = "{{ soft(2) }} " + SOURCE
    tasks = {name: PromptClassifier(source, WORDS, tuning=tuning, max_steps=1, device="cpu") for name in "ab"}

    with pytest.raises(TuningError, match=r"these classifiers changed a part .*PTuning\(train_model=False\)"):
        JointClassifier(tasks, base).fit({n: TEXTS for n in "ab"}, {n: LABELS for n in "ab"})


def fitted_on(base, words, labels, **changes):
    settings = {"tuning": PromptTuning(length=2), "max_steps": 1, "device": "cpu", **changes}
    return PromptClassifier(SOURCE, words, base, **settings).fit(TEXTS, labels)


def test_only_classifiers_of_the_same_classes_vote(tiny_backbone):
    backbone = tiny_backbone("bert")
    topics = {"world": ["world"], "sports": ["sports"]}
    first = fitted_on(backbone, WORDS, LABELS)
    second = fitted_on(backbone, dict(reversed(WORDS.items())), LABELS)
    other = fitted_on(backbone, topics, ["world", "sports"] * 2)
    more = fitted_on(backbone, WORDS | topics, ["world", "sports"] * 2)

    assert set(JointClassifier({"a": first, "b": second}, backbone).vote(TEXTS)) <= set(WORDS)
    for last, said in ((other, r"\['sports', 'world'\]"), (more, r"\['negative', 'positive', 'sports', 'world'\]")):
        joint = JointClassifier({"a": first, "b": second, "c": last}, backbone)
        with pytest.raises(DataError, match=rf"'a' has the classes \['negative', 'positive'\] and 'c' has {said}"):
            joint.vote(TEXTS)
        assert len(joint.predict(TEXTS, ["a", "b", "c", "c"])) == 4


def test_classes_that_are_numbers_come_back_as_plain_ones(tiny_backbone):
    backbone = tiny_backbone("bert")
    joint = JointClassifier({"a": fitted_on(backbone, {0: ["bad"], 1: ["good"]}, [0, 1, 0, 1])}, backbone)

    found = joint.predict(TEXTS, ["a"] * 4)

    assert json.loads(json.dumps(found)) == found
    assert set(found) | set(joint.vote(TEXTS)) <= {0, 1}


def test_whole_models_that_can_share_a_batch_are_trained_together(tiny_backbone):
    words = {"positive": ["good"], "negative": ["awful"]}
    classifiers = {n: PromptClassifier(SOURCE, words, tuning="full", max_steps=1, seed=i) for i, n in enumerate("ab")}

    joint = JointClassifier(classifiers, tiny_backbone("llama")).fit(
        {n: TEXTS for n in "ab"}, {n: LABELS for n in "ab"}
    )

    assert len(joint.vote(TEXTS)) == len(TEXTS)


def test_settings_that_cannot_be_are_told_before_training(base):
    with pytest.raises(TuningError, match="patience=2 needs dev examples"):
        JointClassifier(prompts(patience=2), base).fit({n: TEXTS for n in prompts()}, {n: LABELS for n in prompts()})
    with pytest.raises(TuningError, match="trains nothing"):
        JointClassifier({"a": PromptClassifier(SOURCE, WORDS, tuning="none")}, base).fit({"a": TEXTS}, {"a": LABELS})
    with pytest.raises(TuningError, match="aren't fitted yet"):
        JointClassifier(prompts(), base).vote(TEXTS)


def test_bad_requests_are_one_clear_line(base):
    joint = JointClassifier({"a": PromptClassifier(SOURCE, WORDS, tuning="lora", max_steps=1)}, base)
    with pytest.raises(TuningError, match="aren't fitted yet"):
        joint.predict(TEXTS, ["a"] * 4)
    with pytest.raises(DataError, match="no data for classifier 'a', only for b"):
        joint.fit({"b": TEXTS}, {"b": LABELS})
    joint.fit({"a": TEXTS}, {"a": LABELS})
    with pytest.raises(UnknownNameError, match="classifier 'b'"):
        joint.predict(TEXTS, ["b"] * 4)
    with pytest.raises(DataError, match="4 texts, but 1 names"):
        joint.predict(TEXTS, ["a"])


def test_fitted_classifiers_of_different_tunings_and_limits_run_together(bert):
    texts, labels = ["a good film", "a dull mess"] * 2, ["p", "n"] * 2
    words = {"n": ["bad"], "p": ["good"]}
    members = {
        name: PromptClassifier(
            "{{ text_a }} {{ mask }}", words, bert, name, max_steps=1, max_length=limit, device="cpu"
        ).fit(texts, labels)
        for name, limit in (("lora", None), ("prompt-tuning", 40))
    }

    answers = JointClassifier(members, bert).predict_proba(texts[:2], list(members))

    for name, text, answer in zip(members, texts, answers):
        np.testing.assert_allclose(answer, members[name].predict_proba([text])[0], atol=1e-5)
