"""What templates may be written with: the part of Jinja that is read, as data. All else is refused when parsed.

Templates come with models, libraries and searches, from people whom nobody knows. What isn't listed here doesn't run;
what is listed has a price that ``budget`` counts.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice

from jinja2 import nodes
from jinja2.ext import Extension
from jinja2.lexer import Token, TokenStream
from jinja2.runtime import LoopContext

from promptlab.core.errors import TemplateError, short_repr
from promptlab.core.messages import has_half_characters

CHARACTERS = 100_000  # of a source
TOKENS = 20_000  # words, numbers and signs of Jinja in it
NODES = 2_000  # of its syntax tree
DEPTH = 20  # of blocks such as if and for in one another, as many as Python has of loops
LARGEST = 2**63  # of whole numbers that are written out
SLOT_NAMES = ("mask", "sep", "soft", "trigger")

STATEMENTS = {"Template", "Output", "TemplateData", "If", "For", "Assign", "AssignBlock", "Macro", "With"}
BLOCKS = {"AssignBlock", "For", "If", "Macro", "With"}
EXPRESSIONS = {
    "Name", "Const", "List", "Tuple", "Dict", "Pair", "Getattr", "Getitem", "Slice", "Call", "Keyword", "Filter",
    "Test", "CondExpr", "Compare", "Operand", "And", "Or", "Not", "Concat", "Add", "Sub", "Mul", "Div", "FloorDiv",
    "Mod", "Pow", "Neg", "Pos",
}  # fmt: skip
BUILTIN_FILTERS = {
    "abs", "capitalize", "count", "d", "default", "dictsort", "first", "float", "format", "int", "items", "join",
    "last", "length", "list", "lower", "map", "max", "min", "reject", "rejectattr", "replace", "reverse", "round",
    "select", "selectattr", "sort", "string", "title", "trim", "truncate", "unique", "upper", "wordcount",
}  # fmt: skip
METHODS: Mapping[type, set[str]] = {
    str: {
        "capitalize", "casefold", "center", "count", "endswith", "find", "index", "isalnum", "isalpha", "isascii",
        "isdecimal", "isdigit", "islower", "isnumeric", "isspace", "istitle", "isupper", "join", "ljust", "lower",
        "lstrip", "partition", "removeprefix", "removesuffix", "replace", "rjust", "rpartition", "rsplit", "rstrip",
        "split", "splitlines", "startswith", "strip", "swapcase", "title", "upper", "zfill",
    },
    dict: {"get", "items", "keys", "values"},
    list: {"count", "index"},
    tuple: {"count", "index"},
    LoopContext: {"changed", "cycle"},
}  # fmt: skip
TAGS = {
    "Block": "block", "CallBlock": "call", "Extends": "extends", "FilterBlock": "filter", "FromImport": "from",
    "Import": "import", "Include": "include",
}  # fmt: skip
INSTEAD = "templates are written with fields, slots, if, for, set, with and macro"


class TokenLimit(Extension):
    """Ends the reading of a source that is too long, while it is read."""

    def filter_stream(self, stream: TokenStream) -> Iterator[Token]:
        yield from islice(stream, TOKENS)
        if next(iter(stream), None) is not None:
            raise TemplateError(f"a template has more than {TOKENS:,} words, numbers and signs of Jinja; shorten it.")


def check_source(source: str) -> None:
    """Refuse text that is too long to be a template, or that no file can hold.

    Raises:
        TemplateError: if it is.
    """
    if len(source) > CHARACTERS:
        raise TemplateError(
            f"template {short_repr(source)} has {len(source):,} characters; a template has at most {CHARACTERS:,}."
        )
    if has_half_characters(source):
        raise TemplateError(
            f"template {short_repr(source)} holds half of a character (a lone surrogate); leave it out."
        )


def check_language(tree: nodes.Template, source: str) -> None:
    """Refuse what isn't listed in this module.

    Raises:
        TemplateError: naming the template, the line, what stands there and what may.
    """
    for number, (node, depth) in enumerate(_walk(tree), start=1):
        reason = _too_much(number, depth) or _refusal(node)
        if reason:
            raise TemplateError(f"template {short_repr(source)} has {reason} (line {node.lineno}).")


def method_is_listed(value: object, name: str) -> bool:
    """Whether templates may call this method of a value."""
    return next((name in METHODS[kind] for kind in type(value).__mro__ if kind in METHODS), False)


def _walk(tree: nodes.Node) -> Iterator[tuple[nodes.Node, int]]:
    """Yield all nodes, each with the number of blocks around it; without recursion, which a deep tree would exhaust."""
    waiting = [(tree, 0)]
    while waiting:
        node, depth = waiting.pop()
        yield node, depth
        inside = depth + (type(node).__name__ in BLOCKS)
        waiting.extend((part, inside) for part in node.iter_child_nodes())


def _too_much(number: int, depth: int) -> str:
    if depth > DEPTH:
        return f"more than {DEPTH} blocks in one another; write it more simply"
    return f"more than {NODES:,} parts; write it more simply" if number > NODES else ""


def _refusal(node: nodes.Node) -> str:
    """What is said against a node; nothing, if it may stand there."""
    kind = type(node).__name__
    if kind not in STATEMENTS | EXPRESSIONS:
        return f"{{% {TAGS[kind]} %}}; {INSTEAD}" if kind in TAGS else f"{kind}, which isn't allowed; {INSTEAD}"
    check = _CHECKS.get(kind)
    return check(node) if check else ""


def _of_loop(node: nodes.For) -> str:
    if node.recursive:
        return f"a recursive loop; {INSTEAD}"
    return "a loop with a condition; put {% if … %} into the loop" if node.test else ""


def _of_name(node: nodes.Name) -> str:
    if node.ctx != "load" and node.name in SLOT_NAMES:
        return f"a value called {node.name!r}, which is the name of a slot; call it something else"
    return "'self', which is nothing in a template; call the field something else" if node.name == "self" else ""


def _of_macro(node: nodes.Macro) -> str:
    is_slot = node.name in SLOT_NAMES
    return f"a macro called {node.name!r}, which is the name of a slot; call it something else" if is_slot else ""


def _of_constant(node: nodes.Const) -> str:
    value = node.value
    if isinstance(value, str) and has_half_characters(value):
        return "half of a character (a lone surrogate) in a text; leave it out"
    if isinstance(value, float) and not math.isfinite(value):
        return "a number that is too large; write a smaller one"
    is_large = isinstance(value, int) and value > LARGEST
    return "a whole number that is too large; write a smaller one" if is_large else ""


def _of_arguments(node: nodes.Call | nodes.Filter | nodes.Test) -> str:
    return "* or ** before arguments; write them out" if node.dyn_args or node.dyn_kwargs else ""


_CHECKS: Mapping[str, Callable[..., str]] = {
    "For": _of_loop, "Name": _of_name, "Macro": _of_macro, "Const": _of_constant, "Call": _of_arguments,
    "Filter": _of_arguments, "Test": _of_arguments,
}  # fmt: skip


def stored_names(tree: nodes.Node) -> Iterable[str]:
    """Names that the template gives to values of its own."""
    return (name.name for name in tree.find_all(nodes.Name) if name.ctx != "load")
