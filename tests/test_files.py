from __future__ import annotations

import os

import pytest

from promptlab.errors import DataError
from promptlab.files import atomic_file, atomic_folder


def left(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_crash_while_a_file_is_written_leaves_the_old_one_and_nothing_else(tmp_path):
    (tmp_path / "out.txt").write_text("old")

    with pytest.raises(KeyError), atomic_file(tmp_path / "out.txt") as path:
        path.write_text("half of the n")
        raise KeyError

    assert (tmp_path / "out.txt").read_text() == "old"
    assert left(tmp_path) == ["out.txt"]


def test_a_file_is_there_only_when_it_is_whole(tmp_path):
    with atomic_file(tmp_path / "new" / "out.txt") as path:
        path.write_text("new")
        assert not (tmp_path / "new" / "out.txt").exists()

    assert (tmp_path / "new" / "out.txt").read_text() == "new"
    assert left(tmp_path / "new") == ["out.txt"]


def test_a_crash_while_a_folder_is_written_leaves_the_old_one_and_nothing_else(tmp_path):
    with atomic_folder(tmp_path / "out") as folder:
        (folder / "state.json").write_text("old")

    with pytest.raises(KeyError), atomic_folder(tmp_path / "out") as folder:
        (folder / "state.json").write_text("half of the n")
        assert (tmp_path / "out" / "state.json").read_text() == "old"
        raise KeyError

    assert (tmp_path / "out" / "state.json").read_text() == "old"
    assert left(tmp_path) == ["out"]


def test_a_folder_that_cannot_be_put_in_place_leaves_the_old_one(tmp_path, monkeypatch):
    with atomic_folder(tmp_path / "out") as folder:
        (folder / "state.json").write_text("old")
    rename = os.rename

    def refused(source, target):
        if source.name == "new":
            raise PermissionError
        rename(source, target)

    monkeypatch.setattr(os, "rename", refused)
    with pytest.raises(PermissionError), atomic_folder(tmp_path / "out") as folder:
        (folder / "state.json").write_text("new")

    assert (tmp_path / "out" / "state.json").read_text() == "old"


@pytest.mark.parametrize(("write", "message"), [(atomic_file, "no ordinary file"), (atomic_folder, "is a file")])
def test_a_pipe_or_device_is_not_replaced(tmp_path, write, message):
    os.mkfifo(tmp_path / "pipe")

    with pytest.raises(DataError, match=message), write(tmp_path / "pipe"):
        pass

    assert (tmp_path / "pipe").is_fifo()
