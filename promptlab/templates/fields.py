"""What is said of a field that a template reads and an example hasn't."""

from __future__ import annotations

from collections.abc import Mapping

from promptlab.core.errors import TemplateError
from promptlab.core.fields import Fields


def row_of(fields: Mapping[str, object]) -> str:
    """The beginning of a message about an example: where it stands, if that is known."""
    return f"{fields.row}: " if isinstance(fields, Fields) and fields.row else ""


def missing_field(reads: str, name: str, fields: Mapping[str, object]) -> TemplateError:
    """The error about a field that isn't there.

    Args:
        reads: who needs the field, such as ``the model reads``.
        name: of the field.
        fields: those of the example.
    """
    place = fields if isinstance(fields, Fields) else Fields()
    if name in place.empty:
        column = "" if place.empty[name] == name else f" (column {place.empty[name]!r})"
        where = place.row or "the example"
        return TemplateError(
            f"{where} has no value in field {name!r}{column}, which the template reads; fill it in, or leave the row "
            "out."
        )
    known = ", ".join(map(repr, fields)) or "no fields"
    remedy = f"name its column by columns={{{name!r}: …}}" if place.is_read else "rename the column"
    return TemplateError(
        f"{row_of(fields)}{reads} field {name!r}, but the example has {known}; {remedy} or change the template."
    )
