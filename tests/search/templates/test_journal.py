from __future__ import annotations

from promptlab import Example
from promptlab.search.templates.journal import identity_of, journal_of
from promptlab.search.templates.task import SearchTask


def test_without_a_folder_nothing_is_written_and_no_weights_are_hashed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    assert journal_of(None, "work", SearchTask([], [], {}, None)).once("one", lambda: 1) == 1
    assert not list(tmp_path.iterdir())


def test_two_works_of_one_task_have_places_of_their_own(tiny_backbone, tmp_path):
    task = SearchTask([], [], {}, tiny_backbone("bert"))
    journal_of(tmp_path, "one", task).once("key", lambda: 1)

    assert journal_of(tmp_path, "other", task).by_key == {}
    assert journal_of(tmp_path, "one", task, beam=2).by_key == {}
    assert journal_of(tmp_path, "one", task).by_key == {"key": 1}


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
