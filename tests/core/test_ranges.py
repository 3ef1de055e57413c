from __future__ import annotations

import ast
import math
from dataclasses import dataclass
from pathlib import Path

import pytest

from promptlab.core.checks import check_arguments, check_types
from promptlab.core.errors import SearchError, TuningError
from promptlab.core.ranges import (
    RANGES,
    Count,
    Limit,
    NonNegative,
    PartShare,
    Positive,
    Rate,
    Share,
    Size,
    SomeShare,
    Width,
    plain_types,
    said_types,
)  # fmt: skip

PACKAGE = Path(__file__).parents[2] / "promptlab"


@dataclass
class Settings:
    count: Count = 8
    size: Size = 16
    width: Width = 0
    patience: Count | None = None
    positive: Positive = 2.0
    weight: NonNegative = 0.0
    limit: Limit = 1.0
    share: Share = 0.5
    part: PartShare = 0.1
    some: SomeShare = 1.0
    rate: Rate = 1e-3


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"count": 0}, "count=0 must be at least 1, usually 8."),
        ({"size": 10_001}, "size=10001 must be from 1 to 10,000, usually 16."),
        ({"size": 0}, "size=0 must be from 1 to 10,000, usually 16."),
        ({"width": -1}, "width=-1 must be from 0 to 10,000, usually 0."),
        ({"width": 10**30}, f"width={10**30} must be from 0 to 10,000, usually 0."),
        ({"patience": -1}, "patience=-1 must be at least 1, or None."),
        ({"positive": 0.0}, "positive=0.0 must be above 0, usually 2.0."),
        ({"positive": math.inf}, "positive=inf must be above 0, usually 2.0."),
        ({"weight": -0.1}, "weight=-0.1 must be 0 or above, usually 0.0."),
        ({"limit": 0}, "limit=0 must be above 0; infinity is no limit, usually 1.0."),
        ({"share": 1.5}, "share=1.5 must be from 0 to 1, usually 0.5."),
        ({"part": 1.0}, "part=1.0 must be from 0 to below 1, usually 0.1."),
        ({"some": 0}, "some=0 must be above 0 and at most 1, usually 1.0."),
        ({"rate": 10}, "rate=10 must be between 0 and 10, usually 1e-5 to 1e-2."),
        ({"count": 1.5}, "Settings: count=1.5 must be a whole number."),
        ({"patience": "x"}, "Settings: patience='x' must be a whole number or None."),
    ],
)
def test_a_number_out_of_its_range_is_told_with_the_range_and_what_is_usual(settings, said):
    with pytest.raises(TuningError) as told:
        check_types(Settings(**settings), TuningError)

    assert str(told.value) == said


@pytest.mark.parametrize(
    "settings",
    [{}, {"count": 1}, {"patience": 1}, {"limit": math.inf}, {"share": 0}, {"share": 1}, {"part": 0}, {"rate": 0}],
)
def test_the_ends_of_a_range_that_are_said_to_be_in_it_are(settings):
    check_types(Settings(**settings), TuningError)


def test_arguments_of_functions_have_ranges_too():
    def search(top: Count = 1, share: Share | None = None) -> None: ...

    check_arguments(search, {"top": 1, "share": None, "other": -1}, SearchError)
    with pytest.raises(SearchError, match=r"^top=0 must be at least 1\.$"):
        check_arguments(search, {"top": 0}, SearchError)


def test_the_names_of_ranges_are_those_of_their_types():
    tree = ast.parse((PACKAGE / "core" / "ranges.py").read_text(encoding="utf-8"))
    assigned = [node for node in tree.body if isinstance(node, ast.Assign) and isinstance(node.value, ast.Subscript)]

    assert {node.targets[0].id for node in assigned} == set(RANGES)


@pytest.mark.parametrize(
    ("annotation", "plain", "said"),
    [
        ("Count | None", ["int", "None"], "int at least 1 | None"),
        ("PartShare", ["float"], "float from 0 to below 1"),
        ("str | Sequence[str]", ["str", "Sequence[str]"], "str | Sequence[str]"),
    ],
)
def test_an_annotation_with_a_range_is_read_as_its_type_and_written_out(annotation, plain, said):
    assert plain_types(annotation) == plain
    assert said_types(annotation) == said
