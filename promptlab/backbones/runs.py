"""A prompt as stretches of text and the special tokens between them."""

from __future__ import annotations

from typing import NamedTuple

from promptlab.core.errors import TemplateError
from promptlab.core.types import Segment

SPACES = (
    "\t\n\x0b\x0c\r \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000"
)


class Run(NamedTuple):
    """Text and field segments that touch, as one string."""

    text: str
    segments: tuple[Segment, ...]

    @property
    def is_constant(self) -> bool:
        """Whether it is the template's own text, which every example repeats."""
        return all(segment.kind == "text" for segment in self.segments)


class Special(NamedTuple):
    """Ids that stand for themselves: separators, masks, soft tokens."""

    kind: str
    ids: tuple[int, ...]


def joined(segments: list[Segment]) -> Run:
    """Text and field segments as one run.

    Raises:
        TemplateError: if the text ends in half of a character.
    """
    text = "".join(segment.text for segment in segments)
    try:
        text.encode()
    except UnicodeEncodeError as error:
        near = text[max(error.start - 20, 0) : error.end]
        raise TemplateError(f"text {near!r} ends in half of a character (a lone surrogate); mend the data.") from None
    return Run(text, tuple(segments))


def stripped(run: Run, *, right: bool) -> Run:
    """The run without the white space at its end (or start); segments that become empty stay as empty ones."""
    segments = list(run.segments)
    for i in reversed(range(len(segments))) if right else range(len(segments)):
        text = segments[i].text.rstrip(SPACES) if right else segments[i].text.lstrip(SPACES)
        segments[i] = segments[i]._replace(text=text)
        if text:
            break
    return joined(segments)
