"""The fields of an example that know where they are from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping


class Fields(dict[str, object]):
    """The fields of an example, and where they are from, which messages say. Equal to a plain dict of them.

    Args:
        values: those of ``Fields`` bring along where they are from, as far as nothing else is said.
        row: such as ``row 7 of 'train.csv'``.
        empty: fields that have no value there → their columns.
        is_read: whether they were read from a file, so that another column can be named.
    """

    __slots__ = ("empty", "is_read", "row")

    def __init__(
        self,
        values: Mapping[str, object] | Iterable[tuple[str, object]] = (),
        row: str | None = None,
        *,
        empty: Mapping[str, str] | None = None,
        is_read: bool | None = None,
    ) -> None:
        super().__init__(values)
        self.row: str = getattr(values, "row", "") if row is None else row
        self.empty: Mapping[str, str] = getattr(values, "empty", {}) if empty is None else empty
        self.is_read: bool = getattr(values, "is_read", False) if is_read is None else is_read

    def only(self, names: Iterable[str]) -> Fields:
        """Those of some names, as far as they are there."""
        kept = {name: self[name] for name in names if name in self}
        return Fields(kept, self.row, empty=self.empty, is_read=self.is_read)
