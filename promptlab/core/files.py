"""Reading that says what is wrong; writing that leaves the old file or the new one, never half of either."""

from __future__ import annotations

import errno
import glob
import hashlib
import json
import os
import shutil
import socket
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from promptlab.core.errors import DataError, PromptlabError, SavedModelError, short_repr

LONGEST_TEXT = 20_000_000  # characters; a device has no end


def read_text(path: str | Path) -> str:
    """The text of a file in UTF-8.

    Raises:
        DataError: if there is none, or it can't be read.
    """
    try:
        with open(path, encoding="utf-8-sig") as file:
            text = file.read(LONGEST_TEXT + 1)
    except FileNotFoundError:
        raise DataError(f"no file {str(path)!r}; check the path.") from None
    except OSError as error:
        raise DataError(f"file {str(path)!r} can't be read: {error.strerror}; check the file.") from None
    except UnicodeDecodeError as error:
        raise DataError(f"file {str(path)!r} can't be read: {error}; write it in UTF-8.") from None
    except ValueError as error:  # of a name that no file can have
        raise DataError(f"no file can be called {short_repr(str(path))}: {error}; check the path.") from None
    if len(text) > LONGEST_TEXT:
        raise DataError(f"file {str(path)!r} has more than {LONGEST_TEXT:,} characters; check the file.")
    return text


def check_path(path: str | Path, error: type[PromptlabError] = DataError) -> Path:
    """Refuse a path that can't be looked up: too long, with NUL, of half a character, in somebody else's folder.

    Raises:
        PromptlabError: of the class ``error``.
    """
    try:
        os.lstat(Path(path).expanduser())
    except (FileNotFoundError, NotADirectoryError):
        pass
    except (OSError, RuntimeError, TypeError, ValueError) as cause:
        said = str(getattr(cause, "strerror", None) or cause).rstrip(".")
        raise error(
            f"no file or folder {short_repr(str(path) if isinstance(path, Path) else path)}: {said}; check the path."
        ) from None
    return Path(path)


@contextmanager
def atomic_file(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; it becomes ``path`` if the block ends without an error.

    Raises:
        DataError: if ``path`` is no ordinary file, or its folder can't be written.
    """
    target = _file_target(path)
    with _temporary_folder(target) as folder:
        yield folder / target.name
        _open_to_others(folder)
        os.replace(folder / target.name, target)


def check_writable(path: str | Path) -> None:
    """Refuse a file that ``atomic_file`` couldn't write, before the work whose result it is for; makes its folder.

    Raises:
        DataError: as ``atomic_file`` does.
    """
    with _temporary_folder(_file_target(path)):
        pass


@contextmanager
def atomic_folder(path: str | Path, *, marker_file: str = "") -> Iterator[Path]:
    """Yield an empty temporary folder beside ``path``; it replaces ``path`` if the block ends without an error.

    A crash in the block leaves the old folder.

    Args:
        marker_file: as for ``check_replaceable``.

    Raises:
        DataError: as ``check_replaceable`` does, or if the parent folder can't be written.
    """
    target = check_replaceable(path, marker_file=marker_file)
    with _temporary_folder(target) as folder:
        fresh, old = folder / "new", folder / "old"
        fresh.mkdir()
        yield fresh
        _open_to_others(fresh)
        if target.exists():
            os.rename(target, old)
        try:
            os.rename(fresh, target)
        except OSError:
            if old.exists():
                os.rename(old, target)
            raise


def check_replaceable(path: str | Path, *, marker_file: str = "") -> Path:
    """The whole path of a folder that may be written anew: it isn't there, is empty, or holds the file ``marker_file``.

    Args:
        marker_file: name of a file that only folders of the same kind hold.

    Raises:
        DataError: if it is a file or a device, or a folder with other contents, which would be lost.
    """
    target = _whole_path(path)
    if target.exists() and not target.is_dir():
        raise DataError(f"{str(path)!r} is a {_kind(target)}; choose a folder to save into.")
    if target.is_dir() and any(target.iterdir()) and not (target / marker_file).is_file():
        raise DataError(
            f"folder {str(path)!r} holds other files, which saving would delete; choose an empty or a new one."
        )
    return target


def check_folder(path: str | Path) -> Path:
    """The whole path of a folder in which files may be written, whatever else it holds.

    Raises:
        DataError: if it is a file or a device, or can't be written.
    """
    target = _whole_path(path)
    if target.exists() and not target.is_dir():
        raise DataError(f"{str(path)!r} is a {_kind(target)}; choose a folder.")
    with _temporary_folder(target / "new"):
        return target


def check_savable(path: str | Path, *, marker_file: str = "") -> None:
    """Refuse a folder that ``atomic_folder`` couldn't write, before the work whose result it is for.

    Args:
        marker_file: as for ``check_replaceable``.

    Raises:
        DataError: as ``atomic_folder`` does.
    """
    with _temporary_folder(check_replaceable(path, marker_file=marker_file)):
        pass


def _file_target(path: str | Path) -> Path:
    target = _whole_path(path)
    if target.exists() and not target.is_file():
        raise DataError(f"{str(path)!r} is a {_kind(target)}; choose an ordinary file.")
    return target


def _whole_path(path: str | Path) -> Path:
    try:
        target = Path(path).expanduser().resolve()
        target.exists()  # tells names that no file can have
    except (OSError, RuntimeError, TypeError, ValueError) as error:
        said = getattr(error, "strerror", None) or error
        raise DataError(
            f"can't write to {short_repr(str(path))}: {str(said).rstrip('.')}; choose another place."
        ) from None
    return target


def _kind(path: Path) -> str:
    return "folder" if path.is_dir() else "file" if path.is_file() else "device or pipe"


@contextmanager
def _temporary_folder(target: Path) -> Iterator[Path]:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        writer = f"{socket.gethostname()}-{os.getpid()}"
        folder = Path(tempfile.mkdtemp(prefix=f".{target.name}.{writer}.", dir=target.parent))
    except OSError as error:
        raise DataError(f"can't write to {str(target)!r}: {error.strerror or error}; choose another place.") from None
    try:
        yield folder
    except Exception as error:
        if _is_full(error):
            raise DataError(f"can't write to {str(target)!r}: no space is left; make room and try again.") from error
        raise
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def leftovers(target: Path) -> list[Path]:
    """Return the temporary folders beside a target, of those who write it and of those who were killed at it."""
    return list(target.parent.glob(f".{glob.escape(target.name)}.*-*.*"))


def remove_leftovers(target: Path) -> None:
    """Remove what processes of this machine that are no more have left of a target, half-written."""
    import psutil

    for folder in leftovers(target):
        host, _, pid = folder.name.removeprefix(f".{target.name}.").rpartition(".")[0].rpartition("-")
        if host == socket.gethostname() and pid.isdigit() and not psutil.pid_exists(int(pid)):
            shutil.rmtree(folder, ignore_errors=True)


def _open_to_others(folder: Path) -> None:
    """Give every file the mode that new ones have by the process's mask; some writers keep theirs to the owner."""
    probe = folder / ".mode"
    probe.touch()
    mode = stat.S_IMODE(probe.stat().st_mode)
    probe.unlink()
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink():
            path.chmod(mode)


def _is_full(error: Exception) -> bool:
    """Whether a disk is full, as Python, safetensors and NumPy tell it."""
    return getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT) or any(
        said in str(error) for said in ("os error 28", "requested and 0 written")
    )


def sha256(path: str | Path) -> str:
    """Hex digest of a file's bytes."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def library_folder(kind: str) -> Path:
    """Where the shipped files of one kind are: inside an installed package, or at the root of a checkout.

    Args:
        kind: the folder's name, such as ``data``, ``templates`` or ``verbalizers``.
    """
    package = Path(__file__).parents[1]
    installed = package / "library_files" / kind
    return installed if installed.is_dir() else package.parent / kind


def to_json(value: object, *, indent: int | None = None, ensure_ascii: bool = True) -> str:
    """A value as JSON.

    Args:
        indent: spaces of a level; None: all in one line.
        ensure_ascii: whether other characters are escaped.

    Raises:
        SavedModelError: if a part of it is a function, has a key that is no text or number, or holds itself.
    """
    try:
        return json.dumps(value, default=_json_value, indent=indent, ensure_ascii=ensure_ascii)
    except (TypeError, ValueError) as error:
        raise SavedModelError(f"JSON can't hold a setting: {error}; give names, texts and numbers.") from None


def _json_value(value: object) -> object:
    """What JSON doesn't know: numbers of NumPy, and values that are used as text anyway."""
    if hasattr(value, "item"):
        return value.item()
    if callable(value):
        name = getattr(value, "__name__", value)
        raise SavedModelError(f"the function {name!r} can't be saved; save a classifier whose parts hold no function.")
    return str(value)
