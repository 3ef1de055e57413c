"""Jinja with a short list of what may be written, a budget for what it does, and objects for output."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from jinja2 import StrictUndefined, Undefined, nodes, pass_context
from jinja2.compiler import Frame, MacroRef
from jinja2.exceptions import SecurityError
from jinja2.filters import FILTERS as JINJA_FILTERS
from jinja2.nativetypes import NativeCodeGenerator
from jinja2.runtime import Context, Macro
from jinja2.sandbox import SandboxedEnvironment

from promptlab.core.errors import PluginError, TemplateError
from promptlab.core.registry import FILTERS
from promptlab.core.types import Segment
from promptlab.templates.budget import STEP, Budget
from promptlab.templates.filters import Kept, keep
from promptlab.templates.language import BUILTIN_FILTERS, TokenLimit, method_is_listed, stored_names
from promptlab.templates.operations import OF_FILTERS, OF_METHODS, OF_OPERATORS, check_arguments
from promptlab.templates.slots import Separator, Slot, soft
from promptlab.templates.values import AnyValue, Pieces


class BudgetedCode(NativeCodeGenerator):
    """Writes Python that pays for what it repeats and for what it makes."""

    depth = 0  # of the loops and macros around what is written
    own: frozenset[str] = frozenset()

    def visit_Template(self, node: nodes.Template, frame: Frame | None = None) -> None:
        self.own = frozenset(stored_names(node))
        super().visit_Template(node, frame)

    def visit_For(self, node: nodes.For, frame: Frame) -> None:
        self.depth += 1
        super().visit_For(node, frame)
        self.depth -= 1

    def macro_body(self, node: nodes.Macro | nodes.CallBlock, frame: Frame) -> tuple[Frame, MacroRef]:
        self.depth += 1
        body = super().macro_body(node, frame)
        self.depth -= 1
        return body

    def blockvisit(self, nodes: Iterable[nodes.Node], frame: Frame) -> None:
        nodes = list(nodes)
        if self.depth:
            self.writeline(f"context.spend({_price(nodes)})")
        super().blockvisit(nodes, frame)

    def visit_Name(self, node: nodes.Name, frame: Frame) -> None:
        if node.ctx == "load" and (self.depth or node.name in self.own):
            self._paid("read", super().visit_Name, node, frame)
        else:
            super().visit_Name(node, frame)

    def visit_List(self, node: nodes.List, frame: Frame) -> None:
        self._paid("read", super().visit_List, node, frame)

    def visit_Dict(self, node: nodes.Dict, frame: Frame) -> None:
        self._paid("read", super().visit_Dict, node, frame)

    def visit_Tuple(self, node: nodes.Tuple, frame: Frame) -> None:
        if node.ctx == "load" and not all(isinstance(item, nodes.Const) for item in node.items):
            self._paid("read", super().visit_Tuple, node, frame)
        else:
            super().visit_Tuple(node, frame)

    def visit_Concat(self, node: nodes.Concat, frame: Frame) -> None:
        self.write("context.joined((")
        self._listed(node.nodes, frame)
        self.write("))")

    def visit_Getitem(self, node: nodes.Getitem, frame: Frame) -> None:
        if isinstance(node.arg, nodes.Slice):
            bounds = (node.arg.start, node.arg.stop, node.arg.step)
            self.write("context.sliced(")
            self._listed([node.node, *(bound or nodes.Const(None) for bound in bounds)], frame)
            self.write(")")
        else:
            super().visit_Getitem(node, frame)

    def visit_Call(self, node: nodes.Call, frame: Frame, forward_caller: bool = False) -> None:
        if not isinstance(node.node, nodes.Getattr):
            return super().visit_Call(node, frame, forward_caller=forward_caller)
        self.write("environment.call_method(context, ")
        self.visit(node.node.node, frame)
        self.write(f", {node.node.attr!r}")
        self.signature(node, frame)
        self.write(")")

    def _listed(self, items: Iterable[nodes.Node], frame: Frame) -> None:
        for item in items:
            self.visit(item, frame)
            self.write(", ")

    def _paid(self, how: str, write: Callable[..., None], node: nodes.Node, frame: Frame) -> None:
        self.write(f"context.{how}(")
        write(node, frame)
        self.write(")")


def _price(block: Iterable[nodes.Node]) -> int:
    """What running a block costs: its parts, and the characters that it holds."""
    parts = [part for node in block for part in (node, *node.find_all(nodes.Node))]
    texts = [part.value for part in parts if isinstance(part, nodes.Const) and isinstance(part.value, str)]
    texts += [part.data for part in parts if isinstance(part, nodes.TemplateData)]
    return STEP * (len(parts) + 1) + sum(map(len, texts))


@pass_context  # at run time only: constant expressions must not be folded into the template's own text
def _to_segment(context: Context, value: object) -> Segment | Pieces:
    if isinstance(value, Slot):
        return value.segment
    if isinstance(value, (Pieces, Segment)):  # a field that holds a list is no Pieces
        return value
    if callable(value) and not isinstance(value, Undefined):
        raise TemplateError(f"{getattr(value, '__name__', value)!r} is a function; write parentheses after its name.")
    return Segment("field", str(value), shortenable=not isinstance(value, Kept))


def _keeping(change: Callable[..., object]) -> Callable[..., object]:
    """A filter that gives kept text where it was given kept text, so that no filter has to know of it."""

    @pass_context
    def changed(context: Budget, value: object, *arguments: object, **options: object) -> object:
        result = context.read(change(value, *arguments, **options))
        return keep(result) if isinstance(value, Kept) else result

    return changed


def _bounded(name: str, change: Callable[..., object]) -> Callable[..., object]:
    """A filter of Jinja that refuses what would take long, and whose result is paid for."""
    takes = _TAKES[getattr(getattr(change, "jinja_pass_arg", None), "name", "")]
    size_of = OF_FILTERS.get(name, lambda *values, **options: 0)

    @pass_context
    def changed(context: Budget, value: object, *arguments: object, **options: object) -> object:
        check_arguments(name, arguments, options)
        context.spend(size_of(value, *arguments, **options))
        return context.made(change(*takes(context), value, *arguments, **options))

    return changed


_TAKES: Mapping[str, Callable[[Context], tuple[object, ...]]] = {  # what Jinja's own filters take before the value
    "": lambda context: (),
    "context": lambda context: (context,),
    "eval_context": lambda context: (context.eval_ctx,),
    "environment": lambda context: (context.environment,),
}


def _few(*bounds: int) -> range:
    """``range``, with so many numbers that a loop over them ends soon."""
    check_arguments("range", bounds, {})
    return range(*bounds)


_few.__name__ = "range"  # as messages call it


class SegmentEnvironment(SandboxedEnvironment):
    """A sandbox whose output is a list of text and segments instead of one string."""

    code_generator_class = BudgetedCode
    context_class = Budget
    intercepted_binops = frozenset(OF_OPERATORS)
    concat: Any = staticmethod(Pieces)

    def __init__(self) -> None:
        super().__init__(undefined=StrictUndefined, finalize=_to_segment, optimized=False, extensions=[TokenLimit])
        self.globals: dict[str, object] = {"range": _few}
        self.filters = {name: _bounded(name, JINJA_FILTERS[name]) for name in BUILTIN_FILTERS}
        self.slots = {
            "mask": Slot(Segment("mask")),
            "sep": Separator(Segment("sep")),
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

    def is_safe_attribute(self, obj: object, attr: str, value: object) -> bool:
        if isinstance(obj, (Slot, Macro)) or (callable(value) and not method_is_listed(obj, attr)):
            return False
        return super().is_safe_attribute(obj, attr, value)

    def call_binop(self, context: Context, operator: str, left: object, right: object) -> object:
        if isinstance(context, Budget) and not isinstance(left, AnyValue) and not isinstance(right, AnyValue):
            context.spend(OF_OPERATORS[operator](left, right))
        return super().call_binop(context, operator, left, right)

    def call(__self, __context: Context, __obj: object, *args: Any, **kwargs: Any) -> object:  # as Jinja names them
        if callable(__obj) and (isinstance(__obj, Slot) or __obj is soft):
            kwargs.pop("_loop_vars", None)  # Jinja's own
            return __obj(*args, **kwargs)
        if callable(__obj) and not (isinstance(__obj, (Macro, Undefined)) or __obj is _few):
            raise SecurityError(f"{getattr(__obj, '__name__', type(__obj).__name__)!r} can't be called like this")
        if not callable(__obj):
            raise TypeError(f"{type(__obj).__name__!r} object is not callable")
        assert isinstance(__context, Budget)
        return __context.read(__context.call(__obj, *args, **kwargs))

    def call_method(__self, __context: Budget, __owner: object, __name: str, *args: Any, **kwargs: Any) -> object:
        """Call a method by its name, as in ``text_a.lower()``, and pay for what it makes."""
        if not method_is_listed(__owner, __name):
            return __self.call(__context, __self.getattr(__owner, __name), *args, **kwargs)
        check_arguments(__name, args, kwargs)
        if __name in OF_METHODS and isinstance(__owner, str):
            __context.spend(OF_METHODS[__name](__owner, *args))
        return __context.made(getattr(__owner, __name)(*args, **kwargs))
