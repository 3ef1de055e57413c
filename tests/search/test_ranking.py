from __future__ import annotations

import json

import numpy as np
import pytest

from promptlab import Example, PromptClassifier
from promptlab.errors import SearchError, UnknownNameError
from promptlab.search import ranking as module
from promptlab.search.label_words import search_words
from promptlab.search.ranking import Ranking, rank_templates, with_searched_words
from promptlab.search.task import FoundTemplate, SearchTask

WORDS = {"p": ("good", "great"), "n": ("bad",)}
TRAIN = [
    Example({"text_a": text}, label)
    for text, label in [("the film was great", "p"), ("good story", "p"), ("a dull mess", "n"), ("awful acting", "n")]
]
DEV = [Example({"text_a": text}, label) for text, label in [("great acting", "p"), ("a lifeless film", "n")] * 3]
SOURCES = [f"{{{{ text_a }}}} {word} {{{{ mask }}}}" for word in ("was", "it was", "so", "film", "all", "news")]


def found(source, score=0.0, words=WORDS):
    return FoundTemplate(source, "by-hand", score, words, {"note": source})


def task(backbone):
    return SearchTask(TRAIN, DEV, WORDS, backbone, seed=5)


@pytest.fixture
def results(monkeypatch):
    """Dev results of fine-tuning by (template, updates) instead of real ones, and the record of what was asked for."""
    given, asked = {}, []

    def fine_tuned(one, task, ranking, updates):
        asked.append((updates, one.template))
        accuracy, loss = given.get((one.template, updates), (0.5, 1.0))
        return {"accuracy": accuracy, "loss": loss, "predictions": ["p"] * 6}

    monkeypatch.setattr(module, "_fine_tuned", fine_tuned)
    return given, asked


def test_the_zero_shot_result_is_that_of_an_untrained_classifier(tiny_backbone):
    backbone = tiny_backbone("bert")

    for one in rank_templates([found(source) for source in SOURCES], task(backbone), Ranking(rounds=())):
        classifier = PromptClassifier(one.found.template, WORDS, backbone, "none", device="cpu")
        probabilities = classifier.predict_proba(DEV)
        own = [row[classifier.classes_.tolist().index(e.label)] for row, e in zip(probabilities, DEV, strict=True)]
        assert one.result is one.zero_shot
        assert one.zero_shot.accuracy == pytest.approx(classifier.score(DEV))
        assert one.zero_shot.loss == pytest.approx(-np.log(own).mean(), abs=1e-5)
        assert list(one.zero_shot.predictions) == classifier.predict(DEV).tolist()


def test_the_model_reads_each_template_once_for_all_its_label_words(tiny_backbone, monkeypatch):
    calls, real = [], module.mask_answers
    monkeypatch.setattr(module, "mask_answers", lambda *a, **o: calls.append(a[0].source) or real(*a, **o))
    words = [{"p": (p,), "n": (n,)} for p in ("good", "great") for n in ("bad", "dull", "awful")]

    ranked = rank_templates(
        [found(source, words=w) for w in words for source in SOURCES[:2]],
        task(tiny_backbone("bert")),
        Ranking(rounds=()),
    )

    assert sorted(calls) == sorted(SOURCES[:2])
    assert len({(one.found.template, str(one.found.label_words)) for one in ranked}) == 12


def test_the_result_of_a_round_is_that_of_a_classifier_fitted_by_hand_and_the_model_stays_as_it_is(tiny_backbone):
    backbone = tiny_backbone("bert")
    before = {name: value.clone() for name, value in backbone.state_dict().items()}

    ranked = rank_templates([found(SOURCES[0])], task(backbone), Ranking(rounds=(2, 4), batch_size=2))

    for updates in (2, 4):
        classifier = PromptClassifier(
            SOURCES[0], WORDS, backbone, max_steps=updates, batch_size=2, device="cpu", seed=5
        ).fit(TRAIN)
        result = ranked[0].rounds[updates]
        assert result.accuracy == pytest.approx(classifier.score(DEV))
        assert list(result.predictions) == classifier.predict(DEV).tolist()
        own = classifier.predict_proba(DEV)[range(6), [classifier.classes_.tolist().index(e.label) for e in DEV]]
        assert result.loss == pytest.approx(-np.log(own).mean(), abs=1e-5)
    assert all(bool((backbone.state_dict()[name] == value).all()) for name, value in before.items())


def test_each_round_trains_the_better_half_of_the_one_before(tiny_backbone, results):
    given, asked = results
    given |= {(source, 2): (0.1 * number, 1.0) for number, source in enumerate(SOURCES)}
    given |= {(SOURCES[5], 4): (0.2, 1.0), (SOURCES[4], 4): (0.3, 1.0), (SOURCES[3], 4): (0.9, 1.0)}

    ranked = rank_templates(list(map(found, SOURCES)), task(tiny_backbone("bert")), Ranking((2, 4, 8), entrants=6))

    assert {source for updates, source in asked if updates == 2} == set(SOURCES)
    assert [source for updates, source in asked if updates == 4] == [SOURCES[5], SOURCES[4], SOURCES[3]]
    assert [source for updates, source in asked if updates == 8] == [SOURCES[3], SOURCES[4]]
    assert [one.found.template for one in ranked] == [SOURCES[i] for i in (3, 4, 5, 2, 1, 0)]
    assert [len(one.rounds) for one in ranked] == [3, 3, 2, 1, 1, 1]
    assert [one.placed_by for one in ranked[2:4]] == ["round", "round"]


def test_the_best_untrained_enter_the_first_round(tiny_backbone, results):
    backbone = tiny_backbone("bert")
    untrained = rank_templates(list(map(found, SOURCES)), task(backbone), Ranking(rounds=()))

    rank_templates(list(map(found, SOURCES)), task(backbone), Ranking((2,), entrants=2))

    assert results[1] == [(2, one.found.template) for one in untrained[:2]]


def test_ties_are_broken_by_loss_then_by_the_engines_score_and_it_is_recorded(tiny_backbone, results):
    given, _ = results
    given |= dict(zip([(source, 2) for source in SOURCES], [(0.6, 1), (0.7, 1), (0.7, 0.5), (0.7, 1), (0.7, 1)]))
    scores = [9.0, 1.0, 0.0, 2.0, 2.0]

    ranked = rank_templates(list(map(found, SOURCES, scores)), task(tiny_backbone("bert")), Ranking((2,), entrants=5))

    by_source = {one.found.template: one.placed_by for one in ranked}
    order = [one.found.template for one in ranked]
    assert order[0] == SOURCES[2]
    assert set(order[1:3]) == {SOURCES[3], SOURCES[4]}
    assert order[3:] == [SOURCES[1], SOURCES[0]]
    assert [by_source[source] for source in order] == ["first", "loss", "order", "score", "accuracy"]


def test_an_interrupted_ranking_goes_on_and_repeats_nothing(tiny_backbone, tmp_path, monkeypatch):
    backbone, plan = tiny_backbone("bert"), Ranking((1, 2), entrants=4)
    candidates = [found(source, number) for number, source in enumerate(SOURCES)]
    usual = rank_templates(candidates, task(backbone), plan)
    real_training, real_reading, done = module._fine_tuned, module._zero_shot, []

    def training(one, task, ranking, updates):
        if len(done) == 6 + 3:
            raise KeyboardInterrupt
        done.append((updates, one.template))
        return real_training(one, task, ranking, updates)

    def reading(source, words, task):
        done.append((0, source))
        return real_reading(source, words, task)

    monkeypatch.setattr(module, "_fine_tuned", training)
    monkeypatch.setattr(module, "_zero_shot", reading)
    with pytest.raises(KeyboardInterrupt):
        rank_templates(candidates, task(backbone), plan, state=tmp_path / "s.json")
    assert len(json.loads((tmp_path / "s.json").read_text())["results"]) == 9
    done.append("interrupted")
    again = rank_templates(candidates, task(backbone), plan, state=tmp_path / "s.json")

    assert again == usual
    assert len(done) == len(set(done)) == 6 + 4 + 2 + 1


def test_the_state_of_another_task_is_refused(tiny_backbone, tmp_path):
    backbone = tiny_backbone("bert")
    rank_templates([found(SOURCES[0])], task(backbone), Ranking(rounds=()), state=tmp_path / "s.json")

    with pytest.raises(SearchError, match=r"belongs to another search \(batch_size differs\)"):
        rank_templates([found(SOURCES[0])], task(backbone), Ranking((), batch_size=4), state=tmp_path / "s.json")


def test_the_best_templates_come_with_the_label_words_that_a_search_finds_for_them(tiny_backbone):
    backbone = tiny_backbone("bert")
    ranked = rank_templates(list(map(found, SOURCES)), task(backbone), Ranking(rounds=()))

    pairs = with_searched_words(ranked, task(backbone), templates=2, assignments=3)

    for one in ranked[:2]:
        own = [pair for pair in pairs if pair.template == one.found.template]
        words = search_words(one.found.template, TRAIN, model=backbone, n=3, device="cpu", seed=5)
        assert own[0] == one.found
        assert [pair.label_words for pair in own[1:]] == [row.label_words for row in words]
        assert own[1].origin == {
            "note": one.found.template,
            "words_engine": "lm-bff",
            "words_train_accuracy": words[0].score,
        }
    assert {pair.template for pair in pairs} == {one.found.template for one in ranked[:2]}


def test_found_label_words_that_a_template_has_already_come_once(tiny_backbone):
    backbone = tiny_backbone("bert")
    words = search_words(SOURCES[0], TRAIN, model=backbone, n=2, device="cpu", seed=5)
    ranked = rank_templates([found(SOURCES[0], words=words[1].label_words)], task(backbone), Ranking(rounds=()))

    pairs = with_searched_words(ranked, task(backbone), assignments=2)

    assert [pair.label_words for pair in pairs] == [words[1].label_words, words[0].label_words]


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"rounds": (0,)}, SearchError, r"rounds=\(0,\): a round has at least 1 update"),
        ({"rounds": (20, 20)}, SearchError, r"rounds=\(20, 20\): .* more than the one before"),
        ({"entrants": 0}, SearchError, "entrants=0 must be at least 1"),
        ({"batch_size": 0}, SearchError, "batch_size=0 must be at least 1"),
        ({"rounds": 5}, SearchError, "Ranking: rounds=5 must be a list of whole numbers"),
        ({"rounds": ("a",)}, SearchError, "must be a list of whole numbers"),
        ({"rounds": None}, SearchError, "must be a list of whole numbers"),
        ({"tuning": "ful"}, UnknownNameError, "did you mean 'full'"),
    ],
)
def test_settings_that_cannot_work_are_told(settings, error, message):
    with pytest.raises(error, match=message):
        Ranking(**settings)


def test_nothing_to_rank_is_told(tiny_backbone):
    with pytest.raises(SearchError, match="every candidate was filtered out"):
        rank_templates([], task(tiny_backbone("bert")))
    with pytest.raises(SearchError, match="assignments=0 must be at least 1"):
        with_searched_words([], task(tiny_backbone("bert")), assignments=0)
