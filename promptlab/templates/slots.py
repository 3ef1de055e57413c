"""Places for special tokens, as template code sees them."""

from __future__ import annotations

from promptlab.core.errors import TemplateError, short_repr
from promptlab.core.types import Segment

MOST = 10_000  # slots of one place, and of a prompt


class Slot:
    """A place for special tokens; prints itself as a segment, never as text."""

    def __init__(self, segment: Segment) -> None:
        self.segment = segment

    def __call__(self, n: int = 1) -> Slot:
        if not isinstance(n, int) or isinstance(n, bool) or not 1 <= n <= MOST:
            raise TemplateError(
                f"{self.segment.kind}({short_repr(n)}) takes a whole number of at least 1 and at most {MOST:,}."
            )
        return Slot(self.segment._replace(n=n))

    def __str__(self) -> str:
        raise TemplateError(
            f"{{{{ {self.segment.kind} }}}} can't be joined to text or filtered; put it in braces of its own."
        )

    __repr__ = __str__  # in a list


class Separator(Slot):
    """The model's separator, which stands once."""

    def __call__(self, *n: object) -> Slot:
        if n:
            raise TemplateError("sep is one separator and takes no number; write {{ sep }}.")
        return self


def soft(what: int | str = 1, *, id: str, start: str = "random") -> Slot:
    """Soft tokens: so many, or as many as the words have tokens; ``id`` says which share their vectors.

    ``start`` says where vectors without words start: ``random``, ``vocabulary``, ``labels`` or a saved prompt's path.
    """
    if not isinstance(start, str):
        raise TemplateError(
            f"soft(start={short_repr(start)}) takes random, vocabulary, labels or the path of a saved prompt."
        )
    if isinstance(what, str):
        if not what.strip():
            raise TemplateError(f"soft({short_repr(what)}) has no words to start from; give words or a number.")
        if len(what) > MOST:
            raise TemplateError(f"soft({short_repr(what)}) has more than {MOST:,} characters; give fewer words.")
        return Slot(Segment("soft", text=what, key=str(id)))
    return Slot(Segment("soft", key=str(id)))(what)
