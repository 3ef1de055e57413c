"""YAML as safe values, with bounds on what it says and what it stands for."""

from __future__ import annotations

import re
from collections.abc import Hashable
from typing import Any, NamedTuple

import yaml

from promptlab.core.json_loader import DEPTH, first_repeated
from promptlab.core.messages import has_half_characters, short_repr

CHARACTERS = 2_000_000  # of a file
VALUES = 100_000  # of a file
EXPANDED = 10_000_000  # characters, once every alias is written out
NUMBER = 400  # characters of a number
STR, INT, BOOL, MERGE = (f"tag:yaml.org,2002:{name}" for name in ("str", "int", "bool", "merge"))
WHOLE = re.compile(r"-?(0|[1-9][0-9]*)")
TRUTH = ("true", "false")


def load(text: str) -> object:
    """Return what a YAML text says.

    Raises:
        ValueError: saying what is wrong and in which line.
    """
    if len(text) > CHARACTERS:
        raise ValueError(f"it has {len(text):,} characters, more than {CHARACTERS:,}")
    try:
        return yaml.load(text, Loader=_Loader)  # a SafeLoader
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f" (line {mark.line + 1})" if mark else ""
        raise ValueError(f"{error.problem or error.context}{line}") from None
    except (yaml.YAMLError, OverflowError, ValueError) as error:
        raise ValueError(str(error).splitlines()[0]) from None
    except RecursionError:
        raise ValueError(f"it is more than {DEPTH} levels deep") from None


class _Extent(NamedTuple):
    """What a node stands for: its characters with all aliases written out, and its levels."""

    characters: int
    levels: int


class _Loader(yaml.SafeLoader):
    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self.open = 0
        self.extents: dict[yaml.Node, _Extent] = {}  # of all nodes that are complete; nodes are themselves

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        self.open += 1
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if self.open > DEPTH or len(self.extents) > VALUES:
            raise _refusal(event, f"more than {DEPTH} levels or {VALUES:,} values")
        node = super().compose_node(parent, index)
        self.open -= 1
        if node is not None and node not in self.extents:
            self._measure(node, event)
        return node

    def _measure(self, node: yaml.Node, event: yaml.Event) -> None:
        if isinstance(event, yaml.AliasEvent):
            raise _refusal(event, f"*{event.anchor} stands inside itself")
        parts = [self.extents[part] for part in _parts(node)]
        own = len(node.value) if isinstance(node, yaml.ScalarNode) else 0
        extent = _Extent(1 + own + sum(p.characters for p in parts), 1 + max((p.levels for p in parts), default=0))
        if extent.characters > EXPANDED or extent.levels > DEPTH:
            raise _refusal(event, f"aliases (*) stand for more than {EXPANDED:,} characters or {DEPTH} levels")
        self.extents[node] = extent

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, object]:
        if isinstance(node, yaml.MappingNode):
            keys = [key for key, _ in node.value if key.tag != MERGE]
            for key in keys:
                _check_key(key)
            repeated = first_repeated(str(key.value) for key in keys)
            if repeated:
                raise _refusal(node, f"the key {short_repr(repeated)} stands twice")
        return super().construct_mapping(node, deep)

    def construct_object(self, node: yaml.Node, deep: bool = False) -> object:
        kind = node.tag.rpartition(":")[2]
        if kind in ("int", "float") and len(node.value) > NUMBER:
            raise _refusal(node, f"{short_repr(node.value)} is too long for a number")
        if kind == "str" and isinstance(node.value, str) and has_half_characters(node.value):
            raise _refusal(node, "half of a character (a lone surrogate); leave it out")
        try:
            return super().construct_object(node, deep)
        except (ValueError, LookupError, AttributeError, OverflowError, TypeError):
            raise _refusal(node, f"{short_repr(node.value)} is no {kind}; put it in quotes") from None


def _parts(node: yaml.Node) -> list[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        return [part for pair in node.value for part in pair]
    return list(node.value) if isinstance(node, yaml.SequenceNode) else []


def _check_key(key: yaml.Node) -> None:
    """Refuse a key that isn't what it looks like, such as ``no`` or ``1:30``."""
    is_plain = key.tag == STR or (key.tag == INT and WHOLE.fullmatch(key.value))
    if not (is_plain or (key.tag == BOOL and key.value.lower() in TRUTH)):
        kind = key.tag.rpartition(":")[2]
        raise _refusal(key, f"the key {short_repr(key.value)} is read as {kind}, not as text; put it in quotes")


def _refusal(place: Any, problem: str) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=place.start_mark)
