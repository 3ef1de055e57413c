from __future__ import annotations

import pytest

from promptlab import ManualTemplate
from promptlab.core.errors import SearchError
from promptlab.search.rule_based.grammar import Grammar, grammars


def test_a_rule_is_expanded_to_every_combination_none_twice():
    grammar = Grammar(
        {"r": "{{ text_a }} <link> {{ mask }}<end>"},
        {"link": ("It <was>", "So"), "was": ("was", "is"), "end": ("", "."), "unused": ("x",)},
    )

    assert sorted(grammar.templates()["r"]) == sorted(
        f"{{{{ text_a }}}} {link} {{{{ mask }}}}{end}" for link in ("It was", "It is", "So") for end in ("", ".")
    )
    assert Grammar({"r": "a <x> {{ mask }}"}, {"x": ("", "b", "b")}).templates() == {
        "r": ["a {{ mask }}", "a b {{ mask }}"]
    }


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"y": ("a",)}, "placeholder <x> of the grammar has no alternatives"),
        ({"x": ("a <y>",), "y": ("b <x>",)}, "placeholder <x> of the grammar comes back to itself"),
    ],
)
def test_a_grammar_that_cannot_be_expanded_is_told(parts, message):
    with pytest.raises(SearchError, match=message):
        Grammar({"r": "<x> {{ mask }}"}, parts).templates()


@pytest.mark.parametrize(
    ("rules", "parts", "message"),
    [
        ("{{ mask }}", {}, "rules='{{ mask }}' of the grammar must be a mapping"),
        ({"r": "<x>"}, [("x", ["a"])], "parts=.* of the grammar must be a mapping"),
        ({"r": ["<x>"]}, {}, r"rule 'r' of the grammar is \['<x>'\]; give a name and Jinja source"),
        ({1: "<x>"}, {}, "rule 1 of the grammar is '<x>'"),
        ({"r": "<x>"}, {"x": "word"}, "part 'x' of the grammar is 'word'; give a name and a list of texts"),
        ({"r": "<x>"}, {"x": None}, "part 'x' of the grammar is None"),
        ({"r": "<x>"}, {"x": ["a", 1]}, r"part 'x' of the grammar is \['a', 1\]"),
        ({"r": "<x>"}, {2: ["a"]}, "part 2 of the grammar is"),
    ],
)
def test_rules_and_parts_of_another_form_are_told(rules, parts, message):
    with pytest.raises(SearchError, match=message):
        Grammar(rules, parts)


@pytest.mark.parametrize("fields", [("text_a",), ("text_a", "text_b")])
def test_every_template_of_our_grammars_has_one_mask_and_reads_all_fields(fields):
    made = [source for grammar in grammars(fields) for row in grammar.templates().values() for source in row]

    assert 200 < len(made) == len(set(made))
    for source in made:
        template = ManualTemplate(source)
        assert (template.slot.n_masks, template.fields) == (1, fields)


def test_pairs_are_put_in_either_order():
    first, second = grammars(("text_a", "text_b"))

    assert first.templates()["bridge (text_a first)"][0].startswith("{{ text_a")
    assert second.templates()["bridge (text_b first)"][0].startswith("{{ text_b")
