"""Grammars of strangers: a few lines of JSON that would make more templates than there is memory."""

from __future__ import annotations

import time

import pytest

from promptlab.core.errors import SearchError
from promptlab.search.rule_based.grammar import Grammar

TEN = [f"{n} " for n in range(10)]


def doubled(end, levels=60):
    """Each part twice the next, to ``end``."""
    return {f"p{n}": [f"<p{n + 1}><p{n + 1}>"] for n in range(levels)} | {f"p{levels}": [end]}


@pytest.mark.parametrize(
    ("rule", "parts"),
    [
        ("<a>" * 12, {"a": TEN}),
        ("<a>" * 5_000, {"a": TEN}),
        ("<p0>", doubled("x")),
        ("<p0>", doubled("")),
        ("<p0>", {f"p{n}": [f"<p{n + 1}>"] * 2 for n in range(40)} | {"p40": ["x"]}),
        ("<p0>", {f"p{n}": [f"<p{n + 1}>"] for n in range(3_000)} | {"p3000": ["x"]}),
        ("<a><b><c>", {"a": TEN * 4, "b": TEN * 4, "c": ["x" * 1_000] * 40}),
        ("<a>", {"a": ["<a>"]}),
        ("<a>" * 30, {"a": ["<b>" * 30], "b": ["<a>"]}),
    ],
)
def test_a_grammar_that_makes_too_much_is_refused_before_it_does(rule, parts):
    start = time.process_time()

    with pytest.raises(SearchError) as caught:
        Grammar({"rule": rule}, parts).templates()

    assert time.process_time() - start < 1
    assert len(str(caught.value)) <= 500


def test_a_hundred_thousand_templates_are_made():
    made = Grammar({"rule": "<a>" * 5}, {"a": TEN}).templates()["rule"]

    assert len(made) == 10**5
    assert made[:2] == ["0 0 0 0 0", "0 0 0 0 1"]
