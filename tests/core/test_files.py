from __future__ import annotations

import os

import pytest
import torch
from safetensors.torch import save_file

from promptlab.core.errors import DataError
from promptlab.core.files import atomic_file, atomic_folder, check_writable


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


def test_a_file_that_cannot_be_written_is_told_beforehand_and_one_that_can_is_left_as_it_is(tmp_path):
    (tmp_path / "out.txt").write_text("old")

    check_writable(tmp_path / "out.txt")
    with pytest.raises(DataError, match="is a folder; choose an ordinary file"):
        check_writable(tmp_path)
    with pytest.raises(DataError, match=r"can't write to .*choose another place"):
        check_writable(tmp_path / "out.txt" / "below.txt")

    assert (tmp_path / "out.txt").read_text() == "old"
    assert left(tmp_path) == ["out.txt"]


def test_a_crash_while_a_folder_is_written_leaves_the_old_one_and_nothing_else(tmp_path):
    with atomic_folder(tmp_path / "out", marker_file="state.json") as folder:
        (folder / "state.json").write_text("old")

    with pytest.raises(KeyError), atomic_folder(tmp_path / "out", marker_file="state.json") as folder:
        (folder / "state.json").write_text("half of the n")
        assert (tmp_path / "out" / "state.json").read_text() == "old"
        raise KeyError

    assert (tmp_path / "out" / "state.json").read_text() == "old"
    assert left(tmp_path) == ["out"]


def test_a_folder_that_cannot_be_put_in_place_leaves_the_old_one(tmp_path, monkeypatch):
    with atomic_folder(tmp_path / "out", marker_file="state.json") as folder:
        (folder / "state.json").write_text("old")
    rename = os.rename

    def refused(source, target):
        if source.name == "new":
            raise PermissionError
        rename(source, target)

    monkeypatch.setattr(os, "rename", refused)
    with pytest.raises(PermissionError), atomic_folder(tmp_path / "out", marker_file="state.json") as folder:
        (folder / "state.json").write_text("new")

    assert (tmp_path / "out" / "state.json").read_text() == "old"


def write_file(path):
    with atomic_file(path) as file:
        file.write_text("new")


def write_folder(path):
    with atomic_folder(path, marker_file="mark.json") as folder:
        (folder / "mark.json").write_text("new")


@pytest.mark.parametrize("write", [write_file, write_folder])
def test_a_pipe_or_device_is_not_replaced(tmp_path, write):
    os.mkfifo(tmp_path / "pipe")

    with pytest.raises(DataError, match="is a device or pipe; choose"):
        write(tmp_path / "pipe")
    assert (tmp_path / "pipe").is_fifo()


def test_a_file_does_not_replace_a_folder_nor_a_folder_a_file(tmp_path):
    (tmp_path / "file").write_text("old")

    with pytest.raises(DataError, match="is a folder; choose an ordinary file"):
        write_file(tmp_path)
    with pytest.raises(DataError, match="is a file; choose a folder"):
        write_folder(tmp_path / "file")
    assert (tmp_path / "file").read_text() == "old"


def test_a_link_is_followed(tmp_path):
    (tmp_path / "file").write_text("old")
    (tmp_path / "link").symlink_to(tmp_path / "file")

    write_file(tmp_path / "link")

    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "file").read_text() == "new"


def test_only_a_folder_with_the_mark_is_replaced(tmp_path):
    write_folder(tmp_path / "own")
    write_folder(tmp_path / "own")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "config.json").write_text("a language model")

    with pytest.raises(DataError, match="holds other files"):
        write_folder(tmp_path / "other")
    assert (tmp_path / "other" / "config.json").read_text() == "a language model"


@pytest.mark.parametrize("path", ["a\0b", "x" * 300, "~nobody-of-this-name/x", None])
@pytest.mark.parametrize("write", [write_file, write_folder])
def test_a_name_that_no_file_can_have_is_one_clear_line(tmp_path, monkeypatch, write, path):
    monkeypatch.chdir(tmp_path)

    with pytest.raises(DataError, match="can't write to") as caught:
        write(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o007, 0o660), (0o077, 0o600)])
def test_what_is_written_is_open_to_whom_the_mask_says_whatever_its_writer_does(tmp_path, mask, mode):
    before = os.umask(mask)
    try:
        with atomic_folder(tmp_path / "out") as folder:
            for path in (folder / "a.safetensors", folder / "deeper" / "b"):
                path.parent.mkdir(exist_ok=True)
                save_file({"x": torch.ones(1)}, path)
        with atomic_file(tmp_path / "c") as path:
            save_file({"x": torch.ones(1)}, path)
    finally:
        os.umask(before)

    for name in ("out/a.safetensors", "out/deeper/b", "c"):
        assert (tmp_path / name).stat().st_mode & 0o777 == mode
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.safetensors", "deeper"]
