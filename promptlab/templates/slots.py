"""Places for special tokens, as template code sees them."""

from __future__ import annotations

from promptlab.core.errors import TemplateError
from promptlab.core.types import Segment


class Slot:
    """A place for special tokens; prints itself as a segment, never as text."""

    def __init__(self, segment: Segment) -> None:
        self.segment = segment

    def __call__(self, n: int = 1) -> Slot:
        if not isinstance(n, int) or n < 1:
            raise TemplateError(f"{self.segment.kind}({n!r}) takes a whole number of slots of at least 1.")
        return Slot(self.segment._replace(n=n))

    def __str__(self) -> str:
        raise TemplateError(
            f"{{{{ {self.segment.kind} }}}} can't be joined to text or filtered; put it in braces of its own."
        )


def soft(what: int | str = 1, *, id: str, start: str = "random") -> Slot:
    """Soft tokens: so many, or as many as the words have tokens; ``id`` says which share their vectors.

    ``start`` says where vectors without words start: ``random``, ``vocabulary``, ``labels`` or a saved prompt's path.
    """
    if not isinstance(start, str):
        raise TemplateError(f"soft(start={start!r}) takes random, vocabulary, labels or the path of a saved prompt.")
    if isinstance(what, str):
        if not what.strip():
            raise TemplateError(f"soft({what!r}) has no words to start from; give words or a number.")
        return Slot(Segment("soft", text=what, key=str(id)))
    return Slot(Segment("soft", key=str(id)))(what)
