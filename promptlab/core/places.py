"""Where an answer stands in a prompt: what a word written there would touch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple, Protocol

Outer = Literal["start", "space", "field", "special"]


class Piece(Protocol):
    """What places have to know of a segment."""

    @property
    def kind(self) -> str: ...

    @property
    def text(self) -> str: ...

    @property
    def n(self) -> int: ...


class Place(NamedTuple):
    """Where a word would be written: what stands before it, and the template's own text that it touches.

    ``outer`` is what stands before ``before``: the ``start`` of the prompt, white ``space``, a ``field`` or another
    answer (any text at all), or a ``special`` token.
    """

    outer: Outer
    before: str = ""  # no white space in it
    after: str = ""  # likewise


class AnswerSlot(NamedTuple):
    """What a verbalizer needs to know of the place its words would fill."""

    n_masks: int
    at_start: bool  # no text stands before the mask, so a word there begins the input
    spaced: bool = True  # the template has white space before the mask
    n_places: int = 1  # stretches of masks, each written as one {{ mask }} or {{ mask(n) }}
    places: tuple[Place, ...] = ()  # of each mask

    @property
    def place(self) -> Place:
        """That of the first mask."""
        if self.places:
            return self.places[0]
        return Place("start" if self.at_start else "space" if self.spaced else "field")

    @property
    def said(self) -> str:
        """For a message."""
        outer = {"start": " at its very start", "space": " after white space", "special": " after a special token"}
        place = self.place
        where = f" after {place.before!r}" if place.before else outer.get(place.outer, "")
        return f"{self.n_masks} mask(s) in {self.n_places} place(s){where}"

    def at_mask(self, number: int) -> AnswerSlot:
        """The slot as the mask of that number has it, from 0."""
        return self.with_places(self.places[number], *self.places[number + 1 :]) if self.places else self

    def put_after(self, segment: Piece) -> AnswerSlot:
        """The slot of a prompt before which a segment is put."""
        places = tuple(_put_after(place, segment) for place in self.places or (self.place,))
        return self.with_places(*places) if self.n_masks else self

    def reads_like(self, other: AnswerSlot) -> bool:
        """Whether words stand in both slots in the same way, as far as one can tell without a tokenizer."""
        if self == other:
            return True
        return self[:4] == other[:4] and [*map(_manner, self.places)] == [*map(_manner, other.places)]

    def with_places(self, *places: Place) -> AnswerSlot:
        """The slot with other places of its masks."""
        first = places[0]
        at_start, spaced = (first.outer == kind and not first.before for kind in ("start", "space"))
        return self._replace(at_start=at_start, spaced=spaced, places=places)


def slot_of(segments: Sequence[Piece]) -> AnswerSlot:
    """The slot of a prompt of these segments."""
    kept = [segment for segment in segments if segment.text or segment.kind != "text"]
    masks = [i for i, segment in enumerate(kept) if segment.kind == "mask"]
    places: list[Place] = []
    for i in masks:
        after = _right(kept[i + 1 :])
        places += [Place(*_left(kept[:i]), after), *[Place("field", after=after)] * (kept[i].n - 1)]
    slot = AnswerSlot(len(places), at_start=False, spaced=False, n_places=len(masks))
    return slot.with_places(*places) if places else slot


def _put_after(place: Place, segment: Piece) -> Place:
    if place.outer != "start":
        return place
    outer, before = _left([segment])
    return place._replace(outer=outer, before=before + place.before)


def _manner(place: Place) -> tuple[str, bool]:
    """What stands before a word, and whether that is a letter, of which it might be the continuation."""
    last = place.before[-1:]
    return ("text" if last else place.outer, last.isalnum() and last < "\u2e80")  # no word goes on after an ideograph


def _left(segments: Sequence[Piece]) -> tuple[Outer, str]:
    """What a word after these segments stands after: ``outer`` and ``before`` of its place."""
    text = ""
    for segment in reversed(segments):
        if segment.kind != "text":
            return "special" if segment.kind in ("sep", "soft") else "field", text
        text = segment.text + text
        words = text.split()
        if not words or text[-1].isspace():
            return "space", ""
        if len(words) > 1 or text[0].isspace():
            return "space", words[-1]
    return "start", text


def _right(segments: Sequence[Piece]) -> str:
    """The text that touches a word before these segments."""
    text = ""
    for segment in segments:
        if segment.kind != "text":
            break
        text += segment.text
    return "" if text[:1].isspace() else (text.split() or [""])[0]
