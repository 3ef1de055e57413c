from __future__ import annotations

import pytest

from promptlab import Example
from promptlab.core.errors import SearchError
from promptlab.search.templates.journal import Journal, identity_of
from promptlab.search.templates.task import SearchTask


def test_a_result_is_computed_once_and_comes_back_from_disk(tmp_path):
    calls = []

    def compute(value):
        calls.append(value)
        return {"value": (value, 0.1)}

    first = Journal(tmp_path / "new" / "x.json", {"seed": 1})
    fresh = first.once("a", compute, 3)
    again = Journal(tmp_path / "new" / "x.json", {"seed": 1}).once("a", compute, 4)

    assert fresh == again == first.once("a", compute, 5) == {"value": [3, 0.1]}
    assert calls == [3]


def test_the_state_of_another_search_and_a_damaged_one_are_refused(tmp_path):
    Journal(tmp_path / "x.json", {"model": "m", "seed": 1}).once("a", int)
    (tmp_path / "y.json").write_text("{")

    with pytest.raises(SearchError, match=r"belongs to another search \(seed differs\); choose another folder"):
        Journal(tmp_path / "x.json", {"model": "m", "seed": 2})
    with pytest.raises(SearchError, match=r"y\.json' can't be read .* delete it"):
        Journal(tmp_path / "y.json", {})


def test_what_was_put_last_is_kept(tmp_path):
    journal = Journal(tmp_path / "x.json", {})
    journal.put("step", 1)
    journal.put("step", 2)

    assert Journal(tmp_path / "x.json", {}).results == {"step": 2}
    assert [path.name for path in tmp_path.iterdir()] == ["x.json"]


def test_without_a_path_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    assert Journal(None, {}).once("one", lambda: 1) == 1
    assert not list(tmp_path.iterdir())


def test_a_piece_that_fails_leaves_those_before_it(tmp_path):
    journal = Journal(tmp_path / "x.json", {})
    journal.once("one", lambda: 1)

    with pytest.raises(ZeroDivisionError):
        journal.once("two", lambda: 1 / 0)

    assert Journal(tmp_path / "x.json", {}).results == {"one": 1}


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"identity": {}, "results": 3}', '{"identity": 3, "results": {}}']
)
def test_a_file_of_another_form_is_refused(tmp_path, content):
    (tmp_path / "x.json").write_text(content)

    with pytest.raises(SearchError, match=r"can't be read .* delete it"):
        Journal(tmp_path / "x.json", {})


def test_the_identity_of_a_task_tells_data_words_and_settings_apart(tiny_backbone):
    backbone = tiny_backbone("bert")
    rows = [Example({"text_a": "a"}, "p"), Example({"text_a": "b"}, "n")]
    words = {"p": ("good",), "n": ("bad",)}
    usual = SearchTask(rows[:1], rows[1:], words, backbone)
    others = [
        SearchTask(rows[1:], rows[1:], words, backbone),
        SearchTask(rows[:1], rows[:1], words, backbone),
        SearchTask(rows[:1], rows[1:], {"p": ("great",), "n": ("bad",)}, backbone),
        SearchTask(rows[:1], rows[1:], {"n": ("bad",), "p": ("good",)}, backbone),  # examples are drawn in this order
        SearchTask(rows[:1], rows[1:], words, backbone, seed=1),
        SearchTask(rows[:1], rows[1:], words, backbone, max_length=9),
    ]

    assert identity_of(usual, beam=2) == identity_of(SearchTask(rows[:1], rows[1:], words, backbone), beam=2)
    assert all(identity_of(other, beam=2) != identity_of(usual, beam=2) for other in others)
    assert identity_of(usual, beam=3) != identity_of(usual, beam=2)


def test_models_count_by_their_weights(tiny_backbone):
    backbone, other = tiny_backbone("bert"), tiny_backbone("bert")
    task = SearchTask([], [], {}, backbone)
    usual = identity_of(task, generator=other)

    assert identity_of(task, generator=tiny_backbone("bert")) == usual
    assert usual["generator"] == "tiny-bert" and usual["generator_weights"] == usual["model_weights"]
    other.model.get_input_embeddings().weight.data.mul_(2)
    assert identity_of(task, generator=other)["generator_weights"] != usual["generator_weights"]
