"""What the tags of words mean: entities with a beginning and an end, or each tag for itself."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import NamedTuple

from promptlab.core.errors import DataError, short_repr

Rows = Sequence[Sequence[str]]  # the tags of every word of every sentence

OUTSIDE = "O"
PREFIXES = ("BI", "BILU", "BIES")  # of IO, IOB1 and IOB2; of BILOU; of IOBES
LAST, SINGLE = frozenset("LE"), frozenset("US")  # of an entity's last word, and of its only one
ENTITY_TAG = re.compile(r"([BILUES])(?:-(.+))?")
ALMOST = re.compile(r"[BILUES][_:./|].+|[bi][-_:./|].+|.+[-_:./|][BILUES]")  # other spellings of entities' tags


class Entity(NamedTuple):
    """The words of a sentence from ``start`` to before ``stop``."""

    start: int
    stop: int
    type: str


class TagScore(NamedTuple):
    """A share from 0 to 1, of how many things, and what it is called."""

    value: float
    n: int
    name: str


class TagScheme(ABC):
    """What a set of tags means."""

    @abstractmethod
    def check(self, rows: Rows, name: str) -> None:
        """Refuse right tags that have no meaning here.

        Args:
            name: what the message calls the rows.

        Raises:
            DataError: if one has none.
        """

    @abstractmethod
    def score(self, truth: Rows, predicted: Rows) -> TagScore:
        """How well tags were predicted, over all sentences together."""


@dataclass(frozen=True)
class PlainTags(TagScheme):
    """Tags that stand each for itself, such as parts of speech."""

    def check(self, rows: Rows, name: str) -> None:
        for number, row in enumerate(rows, start=1):
            if "" in row:
                raise DataError(f"sentence {number} of {name} has the tag ''; give every word a tag, such as 'O'.")
        _check_spelling(rows, name)

    def score(self, truth: Rows, predicted: Rows) -> TagScore:
        """The share of words whose tag is right."""
        pairs = list(zip(chain(*truth), chain(*predicted), strict=True))
        return TagScore(sum(one == other for one, other in pairs) / max(1, len(pairs)), len(pairs), "accuracy")


@dataclass(frozen=True)
class EntityTags(TagScheme):
    """Tags of entities: O outside of them, else a prefix, a hyphen and the entity's type.

    Args:
        prefixes: ``"BI"``: an entity goes on as long as I of its type follows, so that IO, IOB1 and IOB2 are read
            alike, as conlleval reads them. ``"BILU"`` and ``"BIES"``: an entity is B, any number of I, and L (or E), or
            U (or S) alone, of one type, as in seqeval's strict mode.
        typed: whether there are types; entities of one kind may go without: B, I and O alone.
    """

    prefixes: str
    typed: bool = True

    def check(self, rows: Rows, name: str) -> None:
        for number, row in enumerate(rows, start=1):
            for tag in row:
                if tag != OUTSIDE and not self._knows(tag):
                    usual = ", ".join(f"{prefix}-TYPE" if self.typed else prefix for prefix in self.prefixes)
                    raise DataError(
                        f"sentence {number} of {name} has the tag {short_repr(tag)}, but other tags are those "
                        f"of entities; write {usual} or {OUTSIDE}."
                    )
            covered = {place for entity in self.entities(row) for place in range(entity.start, entity.stop)}
            rest = [place for place, tag in enumerate(row) if tag != OUTSIDE and place not in covered]
            if rest:
                raise DataError(
                    f"sentence {number} of {name} has the tag {short_repr(row[rest[0]])} at word {rest[0] + 1}, "
                    "which is no "
                    f"part of a whole entity: {self.prefixes[0]}, {self.prefixes[1]}, {self.prefixes[2]} of one type, "
                    f"or {self.prefixes[3]} alone; mend the tags."
                )

    def score(self, truth: Rows, predicted: Rows) -> TagScore:
        """F1 of entities: one counts if its type and both of its ends are right."""
        pairs = [(self.entities(one), self.entities(other)) for one, other in zip(truth, predicted, strict=True)]
        right = sum(len(one & other) for one, other in pairs)
        count = sum(len(one) + len(other) for one, other in pairs)
        return TagScore(2 * right / max(1, count), count, "f1")

    def entities(self, tags: Sequence[str]) -> set[Entity]:
        """Those that the tags of one sentence mark."""
        return (_whole if len(self.prefixes) > 2 else _runs)([_split(tag) for tag in tags])

    def _knows(self, tag: str) -> bool:
        match = ENTITY_TAG.fullmatch(tag)
        return match is not None and match[1] in self.prefixes and (match[2] is not None) == self.typed


def scheme_of(tags: Collection[str]) -> TagScheme:
    """The scheme that tags follow: entities if they have such prefixes, else plain tags."""
    found = [match for tag in tags if (match := ENTITY_TAG.fullmatch(tag))]
    typed = any(match[2] for match in found)
    if not typed and not _are_prefixes(tags):
        return PlainTags()
    used = {match[1] for match in found if bool(match[2]) == typed}
    return EntityTags(max(PREFIXES, key=lambda own: len(used & set(own))), typed)


def checked_scheme(rows: Rows, name: str) -> TagScheme:
    """The scheme of right tags.

    Args:
        name: what messages call the rows.

    Raises:
        DataError: if a tag belongs to another scheme than the others, or to none.
    """
    scheme = scheme_of({tag for row in rows for tag in row})
    scheme.check(rows, name)
    return scheme


def _are_prefixes(tags: Collection[str]) -> bool:
    """Whether all tags are bare prefixes, by which entities begin or go on."""
    return bool({"B", "I"} & {*tags}) and any({*tags} <= {*own, OUTSIDE} for own in PREFIXES)


def _check_spelling(rows: Rows, name: str) -> None:
    """Refuse tags that look like those of entities, spelt in another way, which would count word by word."""
    if not any(tag in (OUTSIDE, OUTSIDE.lower()) for row in rows for tag in row):
        return
    for number, row in enumerate(rows, start=1):
        for tag in row:
            if ALMOST.fullmatch(tag):
                raise DataError(
                    f"sentence {number} of {name} has the tag {short_repr(tag)}; write entities' tags as a "
                    f"prefix (B, I; L, U; E, S), a hyphen and a type, such as B-PER, and {OUTSIDE} outside of them."
                )


def _split(tag: str) -> tuple[str, str]:
    """Prefix and type of an entity's tag; of others O and nothing."""
    match = ENTITY_TAG.fullmatch(tag)
    return (match[1], match[2] or "") if match else (OUTSIDE, "")


def _runs(tags: Sequence[tuple[str, str]]) -> set[Entity]:
    """Entities that end before O, B, or I of another type."""
    found, start, own = set(), 0, ""
    inside = False
    for place, (prefix, type_) in enumerate([*tags, (OUTSIDE, "")]):
        if inside and (prefix != "I" or type_ != own):
            found.add(Entity(start, place, own))
            inside = False
        if prefix != OUTSIDE and not inside:
            start, own, inside = place, type_, True
    return found


def _whole(tags: Sequence[tuple[str, str]]) -> set[Entity]:
    """Entities whose first and last words are marked."""
    found, start, own = set(), 0, ""
    inside = False
    for place, (prefix, type_) in enumerate(tags):
        if prefix in SINGLE:
            found.add(Entity(place, place + 1, type_))
        elif inside and prefix in LAST and type_ == own:
            found.add(Entity(start, place + 1, own))
        if prefix == "B":
            start, own = place, type_
        inside = prefix == "B" or (inside and prefix == "I" and type_ == own)
    return found
