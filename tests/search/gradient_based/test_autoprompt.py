"""AutoPrompt's search on tiny models and on minilm."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from promptlab import PromptClassifier, load_backbone, load_sample
from promptlab.core.errors import DataError, SearchError
from promptlab.core.finished_work import Results
from promptlab.core.registry import TEMPLATE_SEARCHES
from promptlab.core.types import Example
from promptlab.search.gradient_based.autoprompt import AutoPromptSearch, RunningSearch
from promptlab.search.gradient_based.trigger_scores import class_losses, errors
from promptlab.search.gradient_based.triggers import filled
from promptlab.search.templates.task import SearchTask
from promptlab.templates.manual import ManualTemplate

WORDS = {"negative": ("world",), "positive": ("wrote",)}  # which the tiny model takes about equally often
PIECES = ["the film was great", "a dull mess", "just awful", "the story and the acting", "yes", "no , maybe"]
SMALL = AutoPromptSearch(iterations=12, candidates=4, examples=16)


def examples(n, seed):
    rng = np.random.default_rng(seed)
    texts = [" ".join(rng.choice(PIECES, 2)) for _ in range(n)]
    return [Example({"text_a": text}, ("negative", "positive")[i % 2]) for i, text in enumerate(texts)]


@pytest.fixture
def task(tiny_backbone):
    backbone = tiny_backbone()
    with torch.no_grad():
        for weight in backbone.model.bert.parameters():  # so that words make a difference
            weight.mul_(4 if weight.ndim == 2 else 1)
    return SearchTask(examples(40, 0), examples(20, 1), WORDS, backbone, seed=3)


def test_it_is_registered():
    assert TEMPLATE_SEARCHES.get("autoprompt") is AutoPromptSearch


def test_the_score_is_the_dev_accuracy_of_a_classifier_with_the_template(task):
    found = SMALL.search(task)

    for one in found[:3]:
        classifier = PromptClassifier(one.template, one.label_words, task.backbone, "none", device="cpu")
        right = classifier.predict(task.dev) == [example.label for example in task.dev]
        assert one.score == pytest.approx(right.mean())


def test_the_words_of_a_class_count_as_they_do_where_the_template_is_used(task):
    words = {"negative": ("world", "dull"), "positive": ("wrote", "news")}

    for one in SMALL.search(replace(task, label_words=words))[:3]:
        classifier = PromptClassifier(one.template, words, task.backbone, "none", device="cpu")
        right = classifier.predict(task.dev) == [example.label for example in task.dev]
        assert one.score == pytest.approx(right.mean())
    with pytest.raises(SearchError, match="has no setting 'aggregate'"):
        AutoPromptSearch.of_budget("small", aggregate="sum-prob")


def test_a_search_of_short_prompts_sees_nothing_of_what_is_cut(task):
    """Texts that end in other words beyond the task's length have the same triggers, with the same scores."""

    def found(end, max_length):
        sets = [
            [Example({"text_a": f"{e.fields['text_a']} {'so good a story ' * 5} {end}"}, e.label) for e in rows]
            for rows in (task.train, task.dev)
        ]
        some = replace(task, train=sets[0], dev=sets[1], max_length=max_length)
        search = AutoPromptSearch(iterations=6, candidates=4, examples=16, metric="loss")
        return [(o.template, o.origin["dev_loss"], o.origin["train_penalty"]) for o in search.search(some)]

    for one, other in zip(found("world", 20), found("news", 20), strict=True):
        assert one[0] == other[0] and one[1:] == pytest.approx(other[1:], abs=1e-4)
    assert found("world", 60) != found("news", 60)


def test_results_are_distinct_ordinary_templates_the_best_first(task):
    found = SMALL.search(task)

    assert len({one.template for one in found}) == len(found) > 1
    assert [one.score for one in found] == sorted((one.score for one in found), reverse=True)
    assert all(one.template.startswith("{{ text_a }} ") and one.template.endswith(" {{ mask }}.") for one in found)
    assert all("trigger" not in one.template for one in found)
    assert json.loads(json.dumps(found[0].origin))["model"] == "tiny-bert"


def test_no_returned_token_is_a_label_word_or_special_or_capitalised(tiny_backbone):
    for family in ("bert", "gpt2"):
        backbone = tiny_backbone(family)
        words = {"negative": ("e",), "positive": ("t",)}
        found = SMALL.search(SearchTask(examples(40, 0), examples(20, 1), words, backbone))
        tokens = {token for one in found for token in one.origin["tokens"] if one.origin["train_penalty"] is not None}
        said = [backbone.tokenizer.convert_tokens_to_string([token]).strip() for token in tokens]
        assert said
        assert not set(said) & {"e", "t", "E", "T", "[MASK]", "[UNK]", "[CLS]", "<|endoftext|>"}
        assert not any(word[0].isupper() for word in said)


@pytest.mark.parametrize("family", ["bert", "roberta", "gpt2", "llama", "t5", "bart"])
def test_every_kind_of_model_can_be_searched(tiny_backbone, family):
    words = {"negative": ("e",), "positive": ("t",)}
    backbone = tiny_backbone(family)
    before = {name: weight.clone() for name, weight in backbone.named_parameters()}

    found = SMALL.search(SearchTask(examples(30, 0), examples(10, 1), words, backbone))

    assert found
    for one in found:
        template, trigger = ManualTemplate(one.template), one.origin["trigger"]
        for row in backbone.encode([template.render(e) for e in examples(30, 0)], soft_ids={}):
            ids = row.input_ids.tolist()
            assert trigger in [ids[i : i + len(trigger)] for i in range(len(ids))]
    assert all(torch.equal(weight, before[name]) for name, weight in backbone.named_parameters())
    assert all(weight.requires_grad and weight.grad is None for weight in backbone.parameters())


def test_two_texts_have_the_trigger_before_the_second(tiny_backbone):
    pairs = [replace(example, fields={**example.fields, "text_b": "maybe"}) for example in examples(20, 0)]

    found = SMALL.search(SearchTask(pairs, pairs[:4], WORDS, tiny_backbone()))

    assert found[0].template.startswith("{{ text_a }} {{ mask }} ")
    assert found[0].template.endswith(" {{ text_b }}")


@pytest.mark.parametrize(("metric", "penalty"), [("accuracy", errors), ("loss", class_losses)])
def test_one_step_takes_what_a_plain_loop_takes(task, metric, penalty):
    problem = RunningSearch(replace(SMALL, start="just it film", loss="classes", metric=metric), task)
    progress, rows = problem.beginning(), problem.scores.rows

    def wrong(trigger, some):
        total = 0.0
        for row in some:
            one = rows.encoded[row]
            one = one._replace(input_ids=filled(one.input_ids, rows.places[row].numpy(), trigger))
            states = problem.backbone.mask_states(problem.backbone.collate([one]))
            total += float(penalty(problem.head, states, rows.targets[row : row + 1]))
        return total

    for number in range(10):
        rng = np.random.default_rng([task.seed, number])
        order, trigger = rng.permutation(40).tolist(), progress["trigger"]
        slot = int(rng.choice(range(3)))
        fresh = order[-16:]
        assert not set(fresh) & set(order[:16])
        gradient = problem.scores.gradient(trigger, order[:16], class_losses)[slot]
        best, least = trigger, wrong(trigger, fresh)
        for token in problem.candidates(trigger, slot, gradient):
            tried = [*trigger[:slot], token, *trigger[slot + 1 :]]
            if wrong(tried, fresh) < least:
                best, least = tried, wrong(tried, fresh)

        progress = problem.step(progress, np.random.default_rng([task.seed, number]))

        assert progress["trigger"] == best
    assert len(progress["taken"]) > 2


def test_on_few_examples_a_step_scores_on_others_than_those_of_the_gradient(task, monkeypatch):
    problem, seen = RunningSearch(replace(SMALL, start="just it film", examples=100), task), {}

    def spied(name, call):
        def spy(trigger, rows, loss):
            seen[name] = set(rows)
            return call(trigger, rows, loss)

        return spy

    for name in ("gradient", "examine"):
        monkeypatch.setattr(problem.scores, name, spied(name, getattr(problem.scores, name)))

    problem.step(problem.beginning(), np.random.default_rng(0))

    assert len(seen["gradient"]) == len(seen["examine"]) == 20
    assert not seen["gradient"] & seen["examine"]


def test_every_step_draws_from_a_generator_of_its_own(task):
    problem = RunningSearch(SMALL, task)
    progress = problem.beginning()
    for number in range(SMALL.iterations):
        progress = problem.step(progress, np.random.default_rng([task.seed, number]))

    found = SMALL.search(task)

    assert {tuple(one.origin["trigger"]) for one in found} == {tuple(one["trigger"]) for one in progress["taken"]}


def test_slots_that_hold_the_mask_token_are_filled_first(task):
    problem = RunningSearch(SMALL, task)
    progress, mask = problem.beginning(), task.backbone.tokenizer.mask_token_id
    assert progress["trigger"] == [mask] * 3

    for left in (2, 1, 0):
        progress = problem.step(progress, np.random.default_rng([0, left]))
        assert progress["trigger"].count(mask) == left
        assert len(progress["taken"]) == (left == 0)


def test_a_start_of_words_is_among_the_results(task):
    found = replace(SMALL, start="it was just", iterations=1).search(task)

    assert "{{ text_a }} it was just {{ mask }}." in {one.template for one in found}


def test_the_result_depends_on_the_seed_alone(task):
    assert SMALL.search(task) == SMALL.search(task)
    assert SMALL.search(task) != SMALL.search(replace(task, seed=4))


class Killed(Exception):
    pass


@pytest.mark.parametrize("steps", [1, 4, 11])
def test_a_search_killed_after_some_steps_ends_with_the_same_result(task, tmp_path, monkeypatch, steps):
    store, count = Results.store, -1  # the beginning is kept, too

    def store_and_die(self, key, progress):
        nonlocal count
        store(self, key, progress)
        count += 1
        if count == steps:
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(Results, "store", store_and_die)
        with pytest.raises(Killed):
            SMALL.search(task, resume_dir=tmp_path)
    assert json.loads(finished(tmp_path).read_text())["result"]["iteration"] == steps
    tried = []
    step = RunningSearch.step
    monkeypatch.setattr(RunningSearch, "step", lambda *args: tried.append(1) or step(*args))

    assert SMALL.search(task, resume_dir=tmp_path) == SMALL.search(task)
    assert len(tried) == 12 - steps + 12


def test_more_iterations_go_on_where_fewer_ended(task, tmp_path):
    few = replace(SMALL, iterations=6).search(task, resume_dir=tmp_path)

    many = SMALL.search(task, resume_dir=tmp_path)

    assert [one.template for one in many] == [one.template for one in SMALL.search(task)]
    assert [one.template for one in replace(SMALL, iterations=6).search(task, resume_dir=tmp_path)] == [
        one.template for one in few
    ]


def test_other_searches_in_the_same_folder_are_not_taken_up(task, tmp_path):
    replace(SMALL, iterations=3).search(task, resume_dir=tmp_path)
    others = [(SMALL, replace(task, seed=5)), (replace(SMALL, candidates=5), replace(task, dev=task.dev[:5]))]

    for search, other in others:
        assert search.search(other, resume_dir=tmp_path) == search.search(other)


def test_half_a_result_is_refused(task, tmp_path):
    replace(SMALL, iterations=3).search(task, resume_dir=tmp_path)
    finished(tmp_path).write_text('{"key": ')

    with pytest.raises(DataError, match="can't be read"):
        SMALL.search(task, resume_dir=tmp_path)


def finished(folder):
    """The file of the only search, which keeps one result."""
    (file,) = folder.glob("searches/*/*.json")
    return file


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"dev": []}, "dev is empty"),
        ({"train": []}, "train is empty"),
        ({"train": [Example({"text_a": "x"})]}, "row 1 of train has no label"),
        ({"dev": [Example({"text_a": "x"}, "neutral")]}, "row 1 of dev is 'neutral', which has no label words"),
        ({"train": [Example({"text": "x"}, "negative")]}, "no text_a"),
        ({"seed": -1}, "seed=-1"),
    ],
)
def test_tasks_that_cant_be_searched_are_refused(task, change, words):
    with pytest.raises(SearchError, match=words):
        SMALL.search(replace(task, **change))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"iterations": 2}, "can't fill 3 trigger slots"),
        ({"start": "it was"}, "is 2 tokens"),
        ({"template": "{{ text_a }} {{ mask }}"}, "no trigger slot"),
    ],
)
def test_settings_that_dont_fit_the_task_are_refused(task, change, words):
    with pytest.raises(SearchError, match=words):
        replace(SMALL, **change).search(task)


@pytest.mark.parametrize(
    "change",
    [{"iterations": 0}, {"candidates": 0}, {"examples": 0}, {"loss": "x"}, {"metric": "x"}],
)
def test_settings_out_of_range_are_refused(change):
    with pytest.raises(SearchError, match=next(iter(change))):
        replace(SMALL, **change)


def test_a_vocabulary_of_which_nothing_may_be_taken_is_refused(task, monkeypatch):
    monkeypatch.setattr(
        "promptlab.search.gradient_based.autoprompt.allowed_tokens", lambda *_: torch.zeros(1, dtype=torch.bool)
    )

    with pytest.raises(SearchError, match="no token of the vocabulary may become a trigger"):
        SMALL.search(task)


@pytest.mark.minilm
def test_minilm_reads_reviews_better_with_a_found_trigger_than_with_the_one_it_began_with():
    train, dev = load_sample("sst2").few_shot(13)
    task = SearchTask(train, dev, {"negative": ("terrible",), "positive": ("great",)}, load_backbone("minilm"))

    found = AutoPromptSearch(start="the", iterations=3, candidates=4, examples=16).search(task)

    start = next(one for one in found if one.origin["iteration"] == 0)
    assert found[0].score > start.score
