from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from promptlab import Example, PromptClassifier
from promptlab.core.errors import PromptlabWarning, SearchError, UnknownNameError
from promptlab.search.templates import ranking as module
from promptlab.search.templates.ranking import Contest, Ranking, rank_templates
from promptlab.search.templates.task import FoundTemplate, SearchTask

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
    """Dev results by (template, updates), right rows and loss, instead of real ones, and what was trained."""
    given, asked = {}, []

    def result(source, updates, usual):
        n_right, loss = given.get((source, updates), usual)
        return {"right": [row < n_right for row in range(6)], "losses": [loss] * 6, "predictions": ["p"] * 6}

    def fine_tuned(one, task, ranking, updates):
        asked.append((updates, one.template))
        return result(one.template, updates, (3, 1.0))

    monkeypatch.setattr(module, "_fine_tuned", fine_tuned)
    monkeypatch.setattr(module, "_zero_shot", lambda source, words, task: [result(source, 0, (0, 1.0)) for _ in words])
    return given, asked


def test_the_zero_shot_result_is_that_of_an_untrained_classifier(tiny_backbone):
    backbone = tiny_backbone("bert")

    for one in rank_templates([found(source) for source in SOURCES], task(backbone), Ranking(rounds=())):
        classifier = PromptClassifier(one.found.template, WORDS, backbone, "none", device="cpu")
        probabilities = classifier.predict_proba(DEV)
        own = [row[classifier.classes_.tolist().index(e.label)] for row, e in zip(probabilities, DEV, strict=True)]
        assert (one.result, one.updates) == (one.zero_shot, 0)
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


@pytest.mark.filterwarnings("ignore::promptlab.core.errors.PromptlabWarning")
@pytest.mark.parametrize("updates", [0, 2])
def test_prompts_of_a_ranking_are_as_long_as_the_task_says(tiny_backbone, updates):
    """Of a long text all but the first words count for nothing, trained or not."""
    backbone, long = tiny_backbone("bert"), " ".join(["the film was great and so good a story"] * 4)
    cut = [[Example({"text_a": f"{e.fields['text_a']} {long} {end}"}, e.label) for e in DEV] for end in ("bad", "dull")]
    plan = Ranking(rounds=(updates,) if updates else ())

    def losses(dev, max_length):
        some = replace(task(backbone), dev=dev, max_length=max_length)
        return rank_templates([found(SOURCES[0])], some, plan)[0].results[updates].losses

    assert losses(cut[0], 20) == pytest.approx(losses(cut[1], 20), abs=1e-5)
    assert losses(cut[0], 60) != pytest.approx(losses(cut[1], 60), abs=1e-5)


def test_texts_that_are_too_long_are_told_once_not_for_every_template(tiny_backbone):
    long = [Example({"text_a": f"{e.fields['text_a']} {'the film was ' * 10}"}, e.label) for e in TRAIN]
    some = replace(task(tiny_backbone("bert")), train=long, max_length=20)

    with pytest.warns(PromptlabWarning) as told:
        rank_templates(list(map(found, SOURCES)), some, Ranking(rounds=(1, 2)))

    assert len(told) == 1 and "4 of 4 prompts are longer than the 20 tokens" in str(told[0].message)


def test_a_ranking_trains_by_its_method_and_the_tasks_seed(tiny_backbone):
    backbone = tiny_backbone("bert")
    plan = Ranking(rounds=(2,), batch_size=2, tuning="bitfit")

    (one,) = rank_templates([found(SOURCES[0])], task(backbone), plan)

    settings = {"max_steps": 2, "batch_size": 2, "device": "cpu"}
    alone = PromptClassifier(SOURCES[0], WORDS, backbone, "bitfit", seed=5, **settings).fit(TRAIN).predict_proba(DEV)
    other = PromptClassifier(SOURCES[0], WORDS, backbone, "full", seed=5, **settings).fit(TRAIN).predict_proba(DEV)
    own = -np.log(alone[range(6), [0 if e.label == "n" else 1 for e in DEV]])
    assert one.rounds[2].losses == pytest.approx(own, abs=1e-5)
    assert not np.allclose(alone, other, atol=1e-5)


def test_each_round_trains_the_better_half_of_the_one_before(tiny_backbone, results):
    given, asked = results
    given |= {(source, 2): (number, 1.0) for number, source in enumerate(SOURCES)}
    given |= {(SOURCES[5], 4): (1, 1.0), (SOURCES[4], 4): (2, 1.0), (SOURCES[3], 4): (6, 1.0)}

    ranked = rank_templates(list(map(found, SOURCES)), task(tiny_backbone("bert")), Ranking((2, 4, 8), entrants=6))

    assert {source for updates, source in asked if updates == 2} == set(SOURCES)
    assert [source for updates, source in asked if updates == 4] == [SOURCES[5], SOURCES[4], SOURCES[3]]
    assert [source for updates, source in asked if updates == 8] == [SOURCES[3], SOURCES[4]]
    assert [(one.found.template, one.updates) for one in ranked] == [
        (SOURCES[3], 4), (SOURCES[5], 2), (SOURCES[4], 2), (SOURCES[2], 2), (SOURCES[1], 2), (SOURCES[0], 0),
    ]  # fmt: skip
    assert [len(one.rounds) for one in ranked] == [3, 2, 3, 1, 1, 1]


def test_a_template_that_training_ruined_stands_where_it_stands_untrained(tiny_backbone, results):
    """5 of 6 right untrained, 2 after training: no better than one that has 3, but by training, and not the best."""
    given, _ = results
    given |= {
        (SOURCES[0], 0): (5, 1.0),
        (SOURCES[1], 0): (4, 1.0),
        (SOURCES[2], 0): (4, 2.0),
        (SOURCES[3], 0): (3, 1.0),
    }
    given |= {(SOURCES[0], 2): (2, 1.0), (SOURCES[1], 2): (1, 1.0), (SOURCES[2], 2): (6, 1.0)}

    ranked = rank_templates(list(map(found, SOURCES)), task(tiny_backbone("bert")), Ranking((2,), entrants=3))

    order = [(one.found.template, one.updates, one.result.accuracy) for one in ranked[:4]]
    assert order == [(SOURCES[2], 2, 1.0), (SOURCES[0], 0, 5 / 6), (SOURCES[1], 0, 4 / 6), (SOURCES[3], 0, 0.5)]
    assert [one.placed_by for one in ranked[:4]] == ["first", "accuracy", "accuracy", "accuracy"]


def test_of_equally_many_right_the_smaller_loss_says_how_long_to_train(tiny_backbone, results):
    given, _ = results
    given |= {(SOURCES[0], 0): (4, 1.0), (SOURCES[0], 2): (4, 0.5), (SOURCES[0], 4): (4, 0.5)}

    (one,) = rank_templates([found(SOURCES[0])], task(tiny_backbone("bert")), Ranking((2, 4)))

    assert one.updates == 2 and one.result.loss == 0.5


def test_other_rows_rank_anew_and_only_what_they_bring_up_is_trained(tiny_backbone, monkeypatch):
    """By rows 0 to 2 the first template is the best, by rows 3 to 5 the second; each is run once for all rows."""
    trained, read = [], []

    def result(name):
        right = [(row < 3) == (name == SOURCES[0]) for row in range(6)]
        return {"right": right, "losses": [1.0 - one for one in right], "predictions": ["p"] * 6}

    monkeypatch.setattr(module, "_fine_tuned", lambda one, *_: trained.append(one.template) or result(one.template))
    monkeypatch.setattr(module, "_zero_shot", lambda source, words, task: read.append(source) or [result(source)])
    contest = Contest(task(tiny_backbone("bert")), Ranking((2,), entrants=1))
    both = [found(source) for source in SOURCES[:2]]

    ranked = {rows: contest.ranked(both, rows) for rows in ((0, 1, 2), (3, 4, 5), (0, 1), (0, 1, 2))}

    assert [rows[0].found.template for rows in ranked.values()] == [SOURCES[0], SOURCES[1], SOURCES[0]]
    assert all(rows[0].result.accuracy == 1.0 for rows in ranked.values())
    assert contest.right(ranked[3, 4, 5][0]) == [False] * 3 + [True] * 3
    assert read == SOURCES[:2] and trained == SOURCES[:2]


def test_the_best_untrained_enter_the_first_round(tiny_backbone, results):
    given, asked = results
    given |= {(source, 0): (number, 1.0) for number, source in enumerate(SOURCES)}

    rank_templates(list(map(found, SOURCES)), task(tiny_backbone("bert")), Ranking((2,), entrants=2))

    assert asked == [(2, SOURCES[5]), (2, SOURCES[4])]


def test_ties_are_broken_by_loss_then_by_the_engines_score_and_it_is_recorded(tiny_backbone, results):
    given, _ = results
    given |= dict(zip([(source, 2) for source in SOURCES], [(3, 1), (4, 1), (4, 0.5), (4, 1), (4, 1)]))
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
        rank_templates(candidates, task(backbone), plan, resume_dir=tmp_path)
    assert len(list(tmp_path.glob("searches/*/*.json"))) == 9
    done.append("interrupted")
    again = rank_templates(candidates, task(backbone), plan, resume_dir=tmp_path)

    assert again == usual
    assert len(done) == len(set(done)) == 6 + 4 + 2 + 1


def test_another_ranking_in_the_same_folder_is_not_taken_up(tiny_backbone, tmp_path):
    backbone, candidates = tiny_backbone("bert"), [found(SOURCES[0])]
    rank_templates(candidates, task(backbone), Ranking((2,)), resume_dir=tmp_path)

    other = rank_templates(candidates, task(backbone), Ranking((2,), batch_size=4), resume_dir=tmp_path)

    assert other == rank_templates(candidates, task(backbone), Ranking((2,), batch_size=4))
    assert len(list(tmp_path.glob("searches/*"))) == 2


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"rounds": (0,)}, SearchError, r"rounds=\(0,\): a round has at least 1 update"),
        ({"rounds": (20, 20)}, SearchError, r"rounds=\(20, 20\): .* more than the one before"),
        ({"entrants": 0}, SearchError, "entrants=0 must be at least 1"),
        ({"batch_size": 0}, SearchError, "batch_size=0 must be at least 1"),
        ({"folds": -1}, SearchError, "folds=-1 must be 0"),
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
