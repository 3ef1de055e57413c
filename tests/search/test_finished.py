from __future__ import annotations

import json

import pytest

from promptlab.errors import SearchError
from promptlab.search.finished import NAME, Finished, fingerprint
from promptlab.search.task import SearchTask
from promptlab.types import Example

ROWS = [Example({"text_a": "a"}, "good"), Example({"text_a": "b"}, "bad")]
WORDS = {"bad": ("terrible",), "good": ("great",)}


def test_a_part_is_computed_once_and_read_from_the_folder_afterwards(tmp_path):
    first = Finished(tmp_path / "search", {"beam": 2}).get("one", lambda: [(1, -0.1 - 0.2)])

    again = Finished(tmp_path / "search", {"beam": 2})

    assert again.get("one", lambda: pytest.fail("computed again")) == first == [[1, -0.1 - 0.2]]
    assert json.loads((tmp_path / "search" / NAME).read_text())["parts"] == {"one": [[1, -0.1 - 0.2]]}


def test_without_a_folder_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    assert Finished(None, {}).get("one", lambda: 1) == 1
    assert not list(tmp_path.iterdir())


def test_a_part_that_fails_leaves_those_before_it(tmp_path):
    finished = Finished(tmp_path, {})
    finished.get("one", lambda: 1)

    with pytest.raises(ZeroDivisionError):
        finished.get("two", lambda: 1 / 0)

    assert Finished(tmp_path, {}).parts == {"one": 1}


def test_the_folder_of_another_search_is_refused(tmp_path):
    Finished(tmp_path, {"beam": 2, "engine": "t5"}).get("one", lambda: 1)

    with pytest.raises(SearchError, match="holds a search with another beam; choose another folder"):
        Finished(tmp_path, {"beam": 3, "engine": "t5"})


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"about": {}, "parts": 3}'])
def test_a_damaged_file_is_refused(tmp_path, content):
    (tmp_path / NAME).write_text(content)

    with pytest.raises(SearchError, match="isn't what a search left"):
        Finished(tmp_path, {})


def test_a_fingerprint_depends_on_examples_and_words_but_not_on_their_order():
    whole = fingerprint(SearchTask(ROWS, [], WORDS, None))

    assert fingerprint(SearchTask(ROWS[::-1], [], dict(reversed(WORDS.items())), None)) == whole
    assert fingerprint(SearchTask(ROWS[:1], [], WORDS, None)) != whole
    assert fingerprint(SearchTask(ROWS, [], {**WORDS, "good": ("fine",)}, None)) != whole
    assert fingerprint(SearchTask(ROWS, [], WORDS, None, max_length=9)) != whole
