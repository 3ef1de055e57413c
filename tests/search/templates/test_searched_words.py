from __future__ import annotations

from dataclasses import replace

import pytest

from promptlab import Example
from promptlab.core.errors import SearchError
from promptlab.search.templates import searched_words
from promptlab.search.templates.ranking import Ranking, rank_templates
from promptlab.search.templates.searched_words import SearchedWords
from promptlab.search.templates.task import FoundTemplate, SearchTask
from promptlab.search.words.search import search_words

WORDS = {"p": ("good", "great"), "n": ("bad",)}
TRAIN = [
    Example({"text_a": text}, label)
    for text, label in [("the film was great", "p"), ("good story", "p"), ("a dull mess", "n"), ("awful acting", "n")]
]
DEV = [Example({"text_a": text}, label) for text, label in [("great acting", "p"), ("a lifeless film", "n")] * 3]
SOURCES = [f"{{{{ text_a }}}} {word} {{{{ mask }}}}" for word in ("was", "it was", "so")]


def found(source, score=0.0, words=WORDS):
    return FoundTemplate(source, "by-hand", score, words, {"note": source})


def task(backbone):
    return SearchTask(TRAIN, DEV, WORDS, backbone, seed=5)


def test_the_best_templates_come_with_the_label_words_that_a_search_finds_for_them(tiny_backbone):
    backbone = tiny_backbone("bert")
    ranked = rank_templates(list(map(found, SOURCES)), task(backbone), Ranking(rounds=()))

    pairs = SearchedWords(task(backbone), templates=2, assignments=3)(ranked)

    for one in ranked[:2]:
        own = [pair for pair in pairs if pair.template == one.found.template]
        words = search_words(one.found.template, TRAIN, model=backbone, top=3, device="cpu", seed=5)
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
    words = search_words(SOURCES[0], TRAIN, model=backbone, top=2, device="cpu", seed=5)
    ranked = rank_templates([found(SOURCES[0], words=words[1].label_words)], task(backbone), Ranking(rounds=()))

    pairs = SearchedWords(task(backbone), assignments=2)(ranked)

    assert [pair.label_words for pair in pairs] == [words[1].label_words, words[0].label_words]


def test_words_of_a_template_are_searched_once_however_often_it_is_among_the_best(tiny_backbone, monkeypatch):
    asked, real = [], searched_words.search_words
    monkeypatch.setattr(searched_words, "search_words", lambda *a, **o: asked.append(a[0]) or real(*a, **o))
    ranked = rank_templates(list(map(found, SOURCES)), task(tiny_backbone("bert")), Ranking(rounds=()))
    words = SearchedWords(task(tiny_backbone("bert")), templates=2, assignments=2)

    assert words(ranked) == words(ranked)
    words(ranked[::-1])

    assert sorted(asked) == sorted(SOURCES)


def test_a_search_of_words_has_the_tasks_settings(tiny_backbone, monkeypatch):
    asked = []
    monkeypatch.setattr(
        searched_words, "search_words", lambda *given, **settings: asked.append((given, settings)) or []
    )
    backbone = tiny_backbone("bert")
    some = replace(task(backbone), max_length=17)

    SearchedWords(some, templates=1, assignments=7)(rank_templates([found(SOURCES[0])], some, Ranking(rounds=())))

    settings = {"model": backbone, "top": 7, "max_length": 17, "seed": 5, "device": "cpu"}
    assert asked == [((SOURCES[0], TRAIN), settings)]


def test_numbers_below_one_are_told(tiny_backbone):
    with pytest.raises(SearchError, match="assignments=0 must be at least 1"):
        SearchedWords(task(tiny_backbone("bert")), assignments=0)
