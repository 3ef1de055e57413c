"""What an interrupted search goes on from."""

from __future__ import annotations

import pytest

from promptlab.errors import SearchError
from promptlab.search.state import SearchState

SEARCH = {"seed": 1, "words": {"good": ("great",)}}


def test_what_was_saved_last_is_loaded(tmp_path):
    SearchState(tmp_path / "new", "engine", SEARCH).save({"step": 1})
    SearchState(tmp_path / "new", "engine", SEARCH).save({"step": 2})

    assert SearchState(tmp_path / "new", "engine", SEARCH).load() == {"step": 2}
    assert SearchState(tmp_path / "new", "other", SEARCH).load() is None
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["engine.json"]


def test_without_a_folder_nothing_is_kept():
    state = SearchState(None, "engine", SEARCH)

    state.save({"step": 1})

    assert state.load() is None


def test_another_search_is_refused_by_what_differs(tmp_path):
    SearchState(tmp_path, "engine", SEARCH).save({})

    with pytest.raises(SearchError, match="of a search with another seed; choose another folder"):
        SearchState(tmp_path, "engine", {**SEARCH, "seed": 2}).load()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"search": 3, "progress": 1}', '{"search": {}}'])
def test_a_file_that_is_no_state_is_refused(tmp_path, text):
    (tmp_path / "engine.json").write_text(text)

    with pytest.raises(SearchError, match=r"can't be read .*; delete it to begin anew"):
        SearchState(tmp_path, "engine", SEARCH).load()
