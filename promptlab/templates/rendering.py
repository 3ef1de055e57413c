"""Jinja source → typed segments. The sandboxed environment yields objects, so no marker is ever looked for in text."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any, NamedTuple

from jinja2 import Template as JinjaTemplate
from jinja2 import TemplateSyntaxError, UndefinedError, meta, nodes
from jinja2.exceptions import SecurityError, TemplateRuntimeError

from promptlab.core.errors import TemplateError, short_repr
from promptlab.core.types import Segment, SoftSlot
from promptlab.templates.budget import PRINTED, PRINTED_PER_CHARACTER, STEP, Budget
from promptlab.templates.fields import missing_field, row_of
from promptlab.templates.language import SLOT_NAMES, check_language, check_source
from promptlab.templates.sandbox import SegmentEnvironment
from promptlab.templates.slots import MOST, soft
from promptlab.templates.values import AnyValue, Pieces

FAILURES = (
    ArithmeticError, AttributeError, LookupError, MemoryError, RuntimeError, TemplateRuntimeError, TypeError,
    ValueError,
)  # fmt: skip


_ENVIRONMENT = SegmentEnvironment()


class Compiled(NamedTuple):
    """A template's source, read."""

    template: JinjaTemplate
    fields: tuple[str, ...]
    soft_slots: tuple[SoftSlot, ...]
    filters: tuple[str, ...]


@lru_cache(maxsize=4096)
def _compiled(source: str) -> Compiled:
    check_source(source)
    try:
        tree = _ENVIRONMENT.parse(source)
        check_language(tree, source)
        for output in tree.find_all(nodes.Output):
            output.nodes = [_as_text(_kept_to_the_end(node)) for node in output.nodes]
        slots = tuple(_name_soft_slots(tree, source))
        filters = {node.name for node in tree.find_all(nodes.Filter)}
        _ENVIRONMENT.take_up(filters)
        names = _names(tree) - set(SLOT_NAMES) - set(_ENVIRONMENT.globals)
        compiled = JinjaTemplate.from_code(_ENVIRONMENT, _ENVIRONMENT.compile(tree), _ENVIRONMENT.make_globals(None))
    except TemplateSyntaxError as error:
        raise TemplateError(
            f"template {short_repr(source)} isn't valid Jinja: {(error.message or '').rstrip('.')} (line "
            f"{error.lineno}); fields and slots stand in double braces, such as {{{{ text_a }}}} It was {{{{ mask }}}}."
        ) from None
    except (MemoryError, RecursionError, SyntaxError, ValueError) as error:  # of Python, into which Jinja translates
        said = error.msg if isinstance(error, SyntaxError) else _said(error)
        raise TemplateError(
            f"template {short_repr(source)} can't be translated: {said}; write it more simply."
        ) from None
    return Compiled(compiled, tuple(sorted(names)), slots, tuple(sorted(filters)))


def _names(tree: nodes.Template) -> set[str]:
    """Names that the template reads and doesn't set."""
    tracker = meta.TrackingCodeGenerator(_ENVIRONMENT)
    tracker.optimizer = None  # which would compute what is constant
    tracker.visit(tree)
    return tracker.undeclared_identifiers


def _as_text(node: nodes.Expr) -> nodes.Expr:
    """``{{ "words" }}`` are the template's own words and no field."""
    return nodes.TemplateData(node.value) if isinstance(node, nodes.Const) and isinstance(node.value, str) else node


def _kept_to_the_end(node: nodes.Expr) -> nodes.Expr:
    """``text_a | keep | upper`` → ``text_a | keep | upper | keep``, since Jinja's own filters return ordinary text."""
    filters = [f.name for f in (node, *node.find_all(nodes.Filter)) if isinstance(f, nodes.Filter)]
    return nodes.Filter(node, "keep", [], [], None, None, lineno=node.lineno) if "keep" in filters else node


def _name_soft_slots(tree: nodes.Template, source: str) -> Iterator[SoftSlot]:
    """Give every ``soft(…)`` call an id, so that its vectors don't depend on which branch of an if was taken."""
    calls = [call for call in tree.find_all(nodes.Call) if getattr(call.node, "name", None) == "soft"]
    if len(calls) < sum(name.name == "soft" for name in tree.find_all(nodes.Name)):
        raise TemplateError(
            f"template {short_repr(source)}: 'soft' is a function; write parentheses after its name, such as soft(5)."
        )
    seen: dict[str, SoftSlot] = {}
    for number, call in enumerate(calls):
        slot = _soft_slot(call, number, source)
        if seen.setdefault(slot.key, slot) != slot:
            raise TemplateError(f"template {short_repr(source)} uses the soft id {slot.key!r} with different contents.")
    if sum(slot.n for slot in seen.values()) > MOST:
        raise TemplateError(f"template {short_repr(source)} has more than {MOST:,} soft tokens; take fewer.")
    yield from seen.values()


def _soft_slot(call: nodes.Call, number: int, source: str) -> SoftSlot:
    if not any(keyword.key == "id" for keyword in call.kwargs):
        call.kwargs.append(nodes.Keyword("id", nodes.Const(f"#{number}")))
    try:
        arguments = [_written_out(argument) for argument in call.args]
        keywords = {keyword.key: _written_out(keyword.value) for keyword in call.kwargs}
        segment = soft(*arguments, **keywords).segment
    except TypeError:
        raise TemplateError(
            f"soft tokens of template {short_repr(source)} must be a number or words written out, "
            'such as soft(5) or soft("It was", id="p").'
        ) from None
    return SoftSlot(segment.key, segment.n, segment.text, keywords.get("start", "random"))


def _written_out(node: nodes.Expr) -> Any:
    """The value of a constant, none of which is computed."""
    if isinstance(node, nodes.Const):
        return node.value
    raise TypeError


def field_names(source: str) -> tuple[str, ...]:
    """Fields of an example that the template reads, sorted."""
    return _compiled(source).fields


def filter_names(source: str) -> tuple[str, ...]:
    """Filters that the template uses, Jinja's own among them, sorted."""
    return _compiled(source).filters


def soft_slots(source: str) -> tuple[SoftSlot, ...]:
    """Soft tokens that the template declares, in order of appearance."""
    return _compiled(source).soft_slots


def unknown_fields(source: str) -> dict[str, AnyValue]:
    """A value for each field that stands for any, which shows the slots that the template has."""
    return dict.fromkeys(field_names(source), AnyValue("text"))


def render_segments(source: str, fields: Mapping[str, object]) -> tuple[Segment, ...]:
    """Fill the template with an example's fields.

    Raises:
        TemplateError: if the source isn't valid, reads a field that isn't there, does something unsafe or too much.
    """
    compiled, names = _compiled(source)[:2]
    try:
        context = compiled.new_context({**fields, **_ENVIRONMENT.slots})
        assert isinstance(context, Budget)
        return tuple(_merged(compiled.root_render_func(context), context))
    except SecurityError as error:
        raise TemplateError(
            f"template {short_repr(source)} does something that the sandbox forbids: {_said(error)}."
        ) from None
    except FAILURES as error:
        missing = [name for name in names if name not in fields]
        if not (missing and isinstance(error, UndefinedError)):
            raise TemplateError(
                f"{row_of(fields)}template {short_repr(source)} failed on this example: {_said(error)}."
            ) from None
        raise missing_field(f"template {short_repr(source)} needs", missing[0], fields) from None


def _said(error: BaseException) -> str:
    return str(error).rstrip(".") or type(error).__name__


def _merged(pieces: Iterable[str | Segment | Pieces], context: Budget) -> list[Segment]:
    """Flatten, turn the template's own text into segments, join neighbours and drop what is empty."""
    segments: list[Segment] = []
    text = ""
    for piece in _flat(pieces, context):
        if isinstance(piece, Segment):
            if text:
                segments.append(Segment("text", text))
                text = ""
            segments.append(piece)
        else:
            text += piece
    if text:
        segments.append(Segment("text", text))
    _check_printed(segments, context)
    return segments


def _flat(pieces: Iterable[str | Segment | Pieces], context: Budget) -> Iterator[str | Segment]:
    for piece in pieces:
        if isinstance(piece, Pieces):
            context.spend(STEP * (len(piece) + 1))
            yield from _flat(piece, context)
        else:
            yield piece


def _check_printed(segments: Iterable[Segment], context: Budget) -> None:
    """Refuse a prompt that no tokenizer should be given."""
    characters = more_slots = 0
    for segment in segments:
        characters += len(segment.text)
        more_slots += segment.n - 1
    if characters > PRINTED and characters > PRINTED + PRINTED_PER_CHARACTER * context.size_of_fields():
        raise SecurityError(f"it makes a prompt of {characters:,} characters, more than {PRINTED:,}")
    if more_slots > MOST:
        raise SecurityError(f"it makes a prompt of more than {MOST:,} slots")
