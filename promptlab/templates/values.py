"""Values that template code meets beside fields and slots."""

from __future__ import annotations

from promptlab.core.errors import TemplateError
from promptlab.core.types import Segment


class Pieces(list["str | Segment | Pieces"]):
    """What a macro or a ``{% set %}`` block made: text and segments, never to be printed as one text."""

    def __str__(self) -> str:
        raise TemplateError("a macro or a block can't be joined to text or filtered; put it in braces of its own.")


class AnyValue(str):
    """Stands for a field whose value isn't known yet: text that can also be counted with, compared and looked into."""

    def _same(self, *other: object) -> AnyValue:
        return self

    def _yes(self, other: object) -> bool:
        return True

    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __mod__ = __rmod__ = _same
    __truediv__ = __rtruediv__ = __floordiv__ = __rfloordiv__ = __pow__ = __rpow__ = __neg__ = _same
    __lt__ = __le__ = __gt__ = __ge__ = _yes
    __getitem__ = __getattr__ = _same
