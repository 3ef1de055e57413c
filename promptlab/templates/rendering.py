"""Jinja source → typed segments. The sandboxed environment yields objects, so no marker is ever looked for in text."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any, Concatenate, NamedTuple, ParamSpec

from jinja2 import StrictUndefined, TemplateSyntaxError, Undefined, UndefinedError, meta, nodes, pass_context
from jinja2 import Template as JinjaTemplate
from jinja2.exceptions import SecurityError, TemplateRuntimeError
from jinja2.filters import FILTERS as JINJA_FILTERS
from jinja2.nativetypes import NativeCodeGenerator
from jinja2.runtime import Context
from jinja2.sandbox import SandboxedEnvironment

from promptlab.core.errors import PluginError, TemplateError, short_repr
from promptlab.core.registry import FILTERS
from promptlab.core.types import Segment, SoftSlot
from promptlab.templates.fields import missing_field, row_of
from promptlab.templates.filters import Kept, keep
from promptlab.templates.slots import Slot, soft

P = ParamSpec("P")
SLOT_NAMES = ("mask", "sep", "soft", "trigger")
FAILURES = (
    ArithmeticError, AttributeError, LookupError, MemoryError, RuntimeError, TemplateRuntimeError, TypeError,
    ValueError,
)  # fmt: skip


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


@pass_context  # at run time only: constant expressions must not be folded into the template's own text
def _to_segment(context: Context, value: object) -> Segment | Pieces:
    if isinstance(value, Slot):
        return value.segment
    if isinstance(value, (Pieces, Segment)):  # a field that holds a list is no Pieces
        return value
    if callable(value) and not isinstance(value, Undefined):
        raise TemplateError(f"{getattr(value, '__name__', value)!r} is a function; write parentheses after its name.")
    return Segment("field", str(value), shortenable=not isinstance(value, Kept))


def _keeping(change: Callable[Concatenate[object, P], object]) -> Callable[Concatenate[object, P], object]:
    """A filter that gives kept text where it was given kept text, so that no filter has to know of it."""

    def changed(value: object, /, *arguments: P.args, **options: P.kwargs) -> object:
        result = change(value, *arguments, **options)
        return keep(result) if isinstance(value, Kept) else result

    return changed


class SegmentEnvironment(SandboxedEnvironment):
    """A sandbox whose output is a list of text and segments instead of one string."""

    code_generator_class = NativeCodeGenerator
    concat: Any = staticmethod(Pieces)

    def __init__(self) -> None:
        super().__init__(undefined=StrictUndefined, finalize=_to_segment)
        self.slots = {
            "mask": Slot(Segment("mask")),
            "sep": Slot(Segment("sep")),
            "trigger": Slot(Segment("trigger")),
            "soft": soft,
        }

    def take_up(self, filters: Iterable[str]) -> None:
        """Import those filters that the registry knows.

        Raises:
            PluginError: if one can't be used, or would take the place of one of Jinja's own.
        """
        for name in sorted(set(FILTERS.names) & set(filters)):
            if name in JINJA_FILTERS:
                owner = FILTERS.entry(name).owner
                raise PluginError(f"template filter {name!r} is given by Jinja and by {owner}; remove the latter.")
            self.filters[name] = _keeping(FILTERS.get(name))


_ENVIRONMENT = SegmentEnvironment()


class Compiled(NamedTuple):
    """A template's source, read."""

    template: JinjaTemplate
    fields: tuple[str, ...]
    soft_slots: tuple[SoftSlot, ...]
    filters: tuple[str, ...]


@lru_cache(maxsize=4096)
def _compiled(source: str) -> Compiled:
    try:
        tree = _ENVIRONMENT.parse(source)
        for output in tree.find_all(nodes.Output):
            output.nodes = [_as_text(_kept_to_the_end(node)) for node in output.nodes]
        slots = tuple(_name_soft_slots(tree, source))
        filters = {node.name for node in tree.find_all(nodes.Filter)}
        _ENVIRONMENT.take_up(filters)
        names = meta.find_undeclared_variables(tree) - set(SLOT_NAMES) - set(_ENVIRONMENT.globals)
        compiled = JinjaTemplate.from_code(_ENVIRONMENT, _ENVIRONMENT.compile(tree), _ENVIRONMENT.make_globals(None))
    except TemplateSyntaxError as error:
        raise TemplateError(
            f"template {source!r} isn't valid Jinja: {(error.message or '').rstrip('.')} (line {error.lineno}); "
            "fields and slots stand in double braces, such as {{ text_a }} It was {{ mask }}."
        ) from None
    except (RecursionError, SyntaxError, ValueError) as error:  # of Python, into which Jinja translates
        said = error.msg if isinstance(error, SyntaxError) else str(error)
        raise TemplateError(
            f"template {short_repr(source)} can't be translated: {said}; write it more simply."
        ) from None
    return Compiled(compiled, tuple(sorted(names)), slots, tuple(sorted(filters)))


def _as_text(node: nodes.Expr) -> nodes.Expr:
    """``{{ "words" }}`` are the template's own words and no field."""
    return nodes.TemplateData(node.value) if isinstance(node, nodes.Const) and isinstance(node.value, str) else node


def _kept_to_the_end(node: nodes.Expr) -> nodes.Expr:
    """``text_a | keep | upper`` → ``text_a | keep | upper | keep``, since Jinja's own filters return ordinary text."""
    filters = [f.name for f in (node, *node.find_all(nodes.Filter)) if isinstance(f, nodes.Filter)]
    return nodes.Filter(node, "keep", [], [], None, None, lineno=node.lineno) if "keep" in filters else node


def _name_soft_slots(tree: nodes.Template, source: str) -> Iterator[SoftSlot]:
    """Give every ``soft(…)`` call an id, so that its vectors don't depend on which branch of an if was taken."""
    seen: dict[str, SoftSlot] = {}
    for number, call in enumerate(c for c in tree.find_all(nodes.Call) if getattr(c.node, "name", None) == "soft"):
        if not any(keyword.key == "id" for keyword in call.kwargs):
            call.kwargs.append(nodes.Keyword("id", nodes.Const(f"#{number}")))
        try:
            arguments = [argument.as_const() for argument in call.args]
            keywords = {keyword.key: keyword.value.as_const() for keyword in call.kwargs}
            segment = soft(*arguments, **keywords).segment
        except (nodes.Impossible, TypeError):
            raise TemplateError(
                f"soft tokens of template {source!r} must be a number or words written out, "
                'such as soft(5) or soft("It was", id="p").'
            ) from None
        slot = SoftSlot(segment.key, segment.n, segment.text, keywords.get("start", "random"))
        if seen.setdefault(slot.key, slot) != slot:
            raise TemplateError(f"template {source!r} uses the soft id {slot.key!r} with different contents.")
    yield from seen.values()


def field_names(source: str) -> tuple[str, ...]:
    """Fields of an example that the template reads, sorted."""
    return _compiled(source).fields


def filter_names(source: str) -> tuple[str, ...]:
    """Filters that the template uses, Jinja's own among them, sorted."""
    return _compiled(source).filters


def soft_slots(source: str) -> tuple[SoftSlot, ...]:
    """Soft tokens that the template declares, in order of appearance."""
    return _compiled(source).soft_slots


def render_segments(source: str, fields: Mapping[str, object]) -> tuple[Segment, ...]:
    """Fill the template with an example's fields.

    Raises:
        TemplateError: if the source isn't valid, reads a field that isn't there or does something unsafe.
    """
    compiled, names = _compiled(source)[:2]
    missing = [name for name in names if name not in fields]
    try:
        context = compiled.new_context({**fields, **_ENVIRONMENT.slots})
        return tuple(_merge(compiled.root_render_func(context)))
    except SecurityError as error:
        raise TemplateError(f"template {source!r} does something that the sandbox forbids: {_said(error)}.") from None
    except FAILURES as error:
        if not (missing and isinstance(error, UndefinedError)):
            raise TemplateError(
                f"{row_of(fields)}template {source!r} failed on this example: {_said(error)}."
            ) from None
        raise missing_field(f"template {source!r} needs", missing[0], fields) from None


def _said(error: Exception) -> str:
    return str(error).rstrip(".") or type(error).__name__


def _merge(pieces: Iterable[str | Segment | Pieces]) -> Iterator[Segment]:
    """Flatten, turn the template's own text into segments, join neighbours and drop what is empty."""
    text = ""
    for piece in _flatten(pieces):
        if isinstance(piece, Segment):
            if text:
                yield Segment("text", text)
                text = ""
            yield piece
        else:
            text += piece
    if text:
        yield Segment("text", text)


def _flatten(pieces: Iterable[str | Segment | Pieces]) -> Iterator[str | Segment]:
    for piece in pieces:
        if isinstance(piece, Pieces):
            yield from _flatten(piece)
        else:
            yield piece
