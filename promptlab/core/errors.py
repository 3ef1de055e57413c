"""Errors that name the value, the expectation and the remedy. Every one is a ``PromptlabError``."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager


class PromptlabError(Exception):
    """Something the user can mend. The command line prints it as one line and exits with 1."""


class TemplateError(PromptlabError):
    """A template that can't be read, rendered or fitted into the model."""


class VerbalizerError(PromptlabError):
    """Label words or classes that don't fit the model or the data."""


class DataError(PromptlabError):
    """A file, column, row or label that isn't as expected."""


class BackboneError(PromptlabError):
    """A model that is missing, unreadable or of a family that isn't supported."""


class TuningError(PromptlabError):
    """A tuning or training setting that can't work."""


class SavedModelError(PromptlabError):
    """A saved model that is missing, damaged or made by a newer version."""


class SearchError(PromptlabError):
    """A search that can't begin, or that finds nothing."""


class JobError(PromptlabError):
    """Independent work that failed; what was finished before is kept."""


class PluginError(PromptlabError):
    """A part of another package, or of your own, that can't be used under its name."""


class UnsupportedError(PromptlabError):
    """Something that an estimator can't do. The command line exits with 2, as for any wrong use."""


class UnknownNameError(PromptlabError):
    """A name that isn't in its registry or library.

    Args:
        kind: what the name should have been.
        known: the names that are known.
        where: the place in which it stands, such as ``"row 3"``.
        whose: what the known names are, where ``kind`` doesn't say so.
        more: what else a name may be, one sentence.
    """

    def __init__(
        self, kind: str, name: object, known: Iterable[str], *, where: str = "", whose: str = "", more: str = ""
    ) -> None:
        names = sorted(known)
        close = [other for other in names if f"{other}.0" == name] or difflib.get_close_matches(str(name), names, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else "."
        place, owner = f" in {where}" if where else "", f" ({whose})" if whose else ""
        end = f" {more}" if more else ""
        super().__init__(
            f"unknown {kind} {short_repr(name)}{place}{hint} Known{owner}: {', '.join(names) or 'none'}.{end}"
        )


class PromptlabWarning(UserWarning):
    """What the user should know though the work goes on. The command line prints it as one line."""


def short_repr(value: object) -> str:
    """A value as one line of a message, cut if it is long."""
    text = " ".join(repr(value).split())
    return text if len(text) <= 80 else f"{text[:77]}..."


@contextmanager
def error_context(who: str) -> Iterator[None]:
    """Say in every error whose it is."""
    try:
        yield
    except PromptlabError as error:
        error.args = (f"{who}: {error}",)
        raise
