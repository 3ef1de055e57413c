from __future__ import annotations

import json
import os
import subprocess
import sys
from multiprocessing import get_context

import pytest

from promptlab.core import finished_work
from promptlab.core.errors import DataError
from promptlab.core.finished_work import FinishedWork, Results, reading, work_key


def test_a_folder_is_marked_once_and_its_entries_are_found_again(tmp_path):
    with FinishedWork(tmp_path / "new").entry("runs", "a").writing() as file:
        file.write_text("done")

    again = FinishedWork(tmp_path / "new")

    assert again.entry("runs", "a").path.read_text() == "done"
    assert not again.entry("runs", "b").exists
    assert sorted(path.name for path in again.folder.iterdir()) == ["finished-work.json", "runs"]


def test_other_files_in_the_folder_are_left_alone(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")

    FinishedWork(tmp_path)

    assert (tmp_path / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize("former", ["state.safetensors", "results/3f/job.json"])
def test_work_of_version_0_1_is_refused_in_one_line_and_left_alone(tmp_path, former):
    (tmp_path / former).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / former).write_text("{}")

    with pytest.raises(DataError, match=rf"holds work of promptlab 0\.1 \({former}\), .*; delete it, or") as caught:
        FinishedWork(tmp_path)

    assert "\n" not in str(caught.value)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [tmp_path / former]


def test_work_in_another_format_is_refused_and_a_damaged_marker_is_told(tmp_path):
    FinishedWork(tmp_path)
    (tmp_path / "finished-work.json").write_text('{"format": 0}')
    with pytest.raises(DataError, match=r"of another version of promptlab \(format 0, not 1\)"):
        FinishedWork(tmp_path)

    (tmp_path / "finished-work.json").write_text("")
    with pytest.raises(DataError, match="can't be read"):
        FinishedWork(tmp_path)


def claim(folder):
    return str(FinishedWork(folder).folder)


def test_processes_that_begin_at_once_share_the_folder(tmp_path):
    with get_context("fork").Pool(4) as pool:
        assert set(pool.map(claim, [tmp_path / "new"] * 40)) == {str(tmp_path / "new")}

    assert [path.name for path in (tmp_path / "new").iterdir()] == ["finished-work.json"]


def test_a_name_depends_on_all_values_and_their_order():
    keys = [work_key(1, 2), work_key(2, 1), work_key([1, 2]), work_key(1, 2, None), work_key({"a": 1}, 2)]

    assert len(set(keys)) == len(keys)
    assert work_key({"a": 1}, 2) == keys[-1]


def test_work_of_another_version_has_another_name(monkeypatch):
    here = work_key(1)
    monkeypatch.setattr(finished_work, "__version__", "99.0")

    assert work_key(1) != here


def test_each_key_has_a_result_of_its_own():
    results = Results()

    assert [results.once(key, lambda value: value, value) for key, value in (("a", 1), ("b", 2), ("a", 3))] == [1, 2, 1]


def killed_at(path):
    """A process that was killed while it wrote an entry."""
    code = f"""
import os, pathlib, signal
from promptlab.core.finished_work import Entry
with Entry(pathlib.Path({str(path)!r})).writing() as file:
    file.write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""
    subprocess.run([sys.executable, "-c", code], check=False)


def test_what_a_killed_process_left_is_known_and_removed_by_the_next(tmp_path):
    entry = FinishedWork(tmp_path).entry("runs", "a")
    killed_at(entry.path)
    assert entry.is_begun and not entry.exists

    with entry.writing() as file:
        file.write_text("whole")

    assert entry.path.read_text() == "whole" and not entry.is_begun
    assert [path.name for path in entry.path.parent.iterdir()] == ["a"]


@pytest.mark.parametrize(
    "writer",
    [f"{os.uname().nodename}-{os.getpid()}", "another-machine-1", "no number"],
    ids=["this process", "another machine", "no number"],
)
def test_what_others_may_be_writing_is_left_alone(tmp_path, writer):
    entry = FinishedWork(tmp_path).entry("runs", "a")
    half = entry.path.with_name(f".a.{writer}.xyz")
    half.mkdir(parents=True)

    with entry.writing() as file:
        file.write_text("whole")

    assert half.is_dir()


def test_a_folder_appears_whole_or_not_at_all(tmp_path):
    entry = FinishedWork(tmp_path).entry("jobs", "a")

    with pytest.raises(KeyError), entry.filling("job.json") as folder:
        (folder / "half").write_text("half")
        raise KeyError
    assert not entry.exists and not entry.is_begun

    with entry.filling("job.json") as folder:
        (folder / "job.json").write_text("{}")
    assert [path.name for path in entry.path.iterdir()] == ["job.json"]


@pytest.mark.parametrize("error", [OSError("gone"), ValueError("no JSON"), KeyError("key"), EOFError()])
def test_whatever_is_wrong_with_an_entry_its_path_is_told_in_one_line(tmp_path, error):
    message = rf"finished work '{tmp_path}/a' can't be read \(.+\); delete it and run again"
    with pytest.raises(DataError, match=message), reading(tmp_path / "a"):
        raise error


def test_a_result_is_computed_once_and_comes_back_from_disk(tmp_path):
    calls = []

    def compute(value):
        calls.append(value)
        return {"value": (value, 0.1)}

    first = FinishedWork(tmp_path).results("searches", "x")
    fresh = first.once("a/b\ud800", compute, 3)  # any text is a key
    again = FinishedWork(tmp_path).results("searches", "x").once("a/b\ud800", compute, 4)

    assert fresh == again == first.once("a/b\ud800", compute, 5) == {"value": [3, 0.1]}
    assert calls == [3]
    assert FinishedWork(tmp_path).results("searches", "y").by_key == {}


def test_results_of_two_processes_are_both_kept(tmp_path):
    one, other = Results(tmp_path), Results(tmp_path)
    one.store("a", 1)
    other.store("b", 2)

    assert Results(tmp_path).by_key == {"a": 1, "b": 2}


def test_the_result_that_was_stored_last_is_kept(tmp_path):
    results = Results(tmp_path)
    results.store("step", 1)
    results.store("step", 2)

    assert results.by_key == Results(tmp_path).by_key == {"step": 2}
    assert len(list(tmp_path.iterdir())) == 1


def test_a_piece_that_fails_leaves_those_before_it(tmp_path):
    results = Results(tmp_path)
    results.once("one", lambda: 1)

    with pytest.raises(ZeroDivisionError):
        results.once("two", lambda: 1 / 0)

    assert Results(tmp_path).by_key == {"one": 1}


def test_a_result_that_json_cannot_hold_is_not_known_afterwards(tmp_path):
    results = Results(tmp_path)

    with pytest.raises(TypeError):
        results.store("one", object())

    assert results.by_key == Results(tmp_path).by_key == {}


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"key": "a"}', json.dumps({"key": [], "result": 1})])
def test_a_result_of_another_form_is_refused(tmp_path, content):
    (tmp_path / "x.json").write_text(content)

    with pytest.raises(DataError, match=r"x\.json' can't be read .*; delete it"):
        Results(tmp_path)
