from __future__ import annotations

import pytest

from promptlab.core.errors import TemplateError
from promptlab.core.registry import FILTERS
from promptlab.core.types import Segment, SoftSlot
from promptlab.templates.manual import ManualTemplate
from promptlab.templates.rendering import field_names, render_segments, soft_slots


def kinds(source, **fields):
    return [(segment.kind, segment.text) for segment in render_segments(source, fields)]


def test_text_fields_and_masks_become_segments_of_their_kinds():
    assert render_segments("{{ text_a }} It was {{ mask }}.", {"text_a": "Nice"}) == (
        Segment("field", "Nice", shortenable=True),
        Segment("text", " It was "),
        Segment("mask"),
        Segment("text", "."),
    )


def test_slots_take_a_number():
    segments = render_segments("{{ mask(3) }}{{ trigger(2) }}{{ soft(5) }}{{ sep }}", {})

    assert [(s.kind, s.n) for s in segments] == [("mask", 3), ("trigger", 2), ("soft", 5), ("sep", 1)]


@pytest.mark.parametrize(
    ("expression", "result"),
    [
        ("text_a | keep", "nice"),
        ("text_a | keep | upper_first", "Nice"),
        ("text_a | keep | upper", "NICE"),
        ("text_a | upper | keep", "NICE"),
        ("(text_a | keep)[:2]", "ni"),
    ],
)
def test_kept_fields_are_not_shortenable_whatever_comes_after(expression, result):
    assert render_segments("{{ " + expression + " }}", {"text_a": "nice"}) == (Segment("field", result),)


@pytest.mark.parametrize("name", FILTERS.names)
def test_every_filter_leaves_kept_text_kept_and_works_before_a_value_is_known(name):
    source = "{% set text = text_a | keep %}{{ text | " + name + " }} {{ mask }}"

    assert not render_segments(source, {"text_a": "A film."})[0].shortenable
    assert ManualTemplate(source).slot.n_masks == 1


def test_keeping_one_field_keeps_no_other():
    first, second = render_segments("{{ text_a | keep }}{{ text_b }}", {"text_a": "a", "text_b": "b"})

    assert (first.shortenable, second.shortenable) == (False, True)


def test_a_field_that_holds_a_list_stays_one_field():
    assert render_segments("{{ choices }}", {"choices": ["a", "b"]}) == (
        Segment("field", "['a', 'b']", shortenable=True),
    )


def test_a_loop_makes_a_field_of_every_item():
    assert kinds("{% for c in choices %}{{ c }}, {% endfor %}", choices=["a", "b"]) == [
        ("field", "a"),
        ("text", ", "),
        ("field", "b"),
        ("text", ", "),
    ]


def test_a_macro_holds_slots_and_fields():
    source = "{% macro ask(text) %}{{ text }}: {{ mask }}{% endmacro %}{{ ask(text_a) }}."

    assert kinds(source, text_a="a") == [("field", "a"), ("text", ": "), ("mask", ""), ("text", ".")]


def test_raw_blocks_are_text():
    assert kinds("{% raw %}{{ mask }}{% endraw %}{{ mask }}") == [("text", "{{ mask }}"), ("mask", "")]


def test_a_separator_is_a_segment_of_its_own():
    assert kinds("{{ text_a }} {{ sep }} {{ mask }}", text_a="a") == [
        ("field", "a"),
        ("text", " "),
        ("sep", ""),
        ("text", " "),
        ("mask", ""),
    ]


def test_an_optional_field_may_be_absent():
    source = "{% if text_b is defined %}{{ text_b }}{% endif %}{{ text_a }}"

    assert kinds(source, text_a="a") == [("field", "a")]
    assert kinds(source, text_a="a", text_b="b") == [("field", "b"), ("field", "a")]


def test_the_number_of_slots_may_come_from_a_field():
    assert render_segments("{{ mask(n) }}", {"n": 2}) == (Segment("mask", n=2),)


@pytest.mark.parametrize(
    ("expression", "result"),
    [
        ("text_a | lower_first", "a Film?!"),
        ("text_a | upper_first", "A Film?!"),
        ("text_a | strip_punctuation", "A Film"),
        ("text_a[:-2]", "A Film"),
        ("text_a | upper", "A FILM?!"),
        ("stars + 1", "4"),
    ],
)
def test_filters_and_slices_change_a_field(expression, result):
    assert kinds("{{ " + expression + " }}", text_a="A Film?!", stars=3) == [("field", result)]


def test_strip_punctuation_never_takes_a_letter():
    assert kinds("{{ text_a | strip_punctuation }}", text_a="no stop") == [("field", "no stop")]


def test_if_chooses_by_a_field():
    source = "{% if text_b %}{{ text_b }}{% else %}none{% endif %}"

    assert kinds(source, text_b="yes") == [("field", "yes")]
    assert kinds(source, text_b="") == [("text", "none")]


def test_blocks_and_macros_keep_slots_as_slots():
    source = "{% set end %}It was {{ mask }}{% endset %}{{ text_a }} {{ end }}."

    assert [kind for kind, _ in kinds(source, text_a="a")] == ["field", "text", "mask", "text"]


@pytest.mark.parametrize("text", ["{{ mask }}", "[MASK]", "</s>", "{% if x %}", "<mask>"])
def test_what_a_text_contains_is_only_text(text):
    assert kinds("{{ text_a }} {{ mask }}", text_a=text) == [("field", text), ("text", " "), ("mask", "")]


def test_a_field_called_mask_does_not_replace_the_slot():
    assert kinds("{{ mask }}", mask="evil") == [("mask", "")]


def test_soft_tokens_of_one_id_are_one_slot():
    source = '{{ soft(3, id="p") }} {{ mask }} {{ soft(3, id="p") }} {{ soft("It was") }}'

    assert soft_slots(source) == (SoftSlot("p", 3), SoftSlot("#2", 1, "It was"))


def test_a_soft_token_has_the_same_key_in_whichever_branch_it_stands():
    source = "{% if text_b %}{{ soft(1) }}{% else %}{{ soft(2) }}{% endif %}{{ soft(3) }}"

    with_b, without_b = (render_segments(source, {"text_b": text}) for text in ("b", ""))

    assert with_b[-1].key == without_b[-1].key == "#2"
    assert {with_b[0].key, without_b[0].key} == {"#0", "#1"}


def test_field_names_are_what_the_template_reads():
    assert field_names("{{ text_b }}{% if stars %}{{ mask }}{% endif %}{{ soft(2) }}") == ("stars", "text_b")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("{{ text_a }", "isn't valid Jinja"),
        ("{{ text_a | lowerfirst }}", "No filter named 'lowerfirst'"),
        ("{{ text_c }}", "needs field 'text_c', but the example has 'text_a'"),
        ("{{ text_a.__class__.__mro__ }}", "sandbox forbids"),
        ("{{ text_a ~ mask }}", "can't be joined"),
        ("{{ mask | upper }}", "can't be joined"),
        ("{% filter upper %}{{ mask }}{% endfilter %}", "has {% filter %}; templates are written with"),
        ("{% set end %}{{ mask }}{% endset %}{{ text_a ~ end }}", "can't be joined"),
        ("{{ soft }}", "'soft' is a function; write parentheses"),
        ("{{ text_a.upper }}", "'upper' is a function; write parentheses"),
        ("{{ text_a | attr('__class__') }}", "No filter named 'attr'"),
        ("{{ mask.__init__.__globals__ }}", "sandbox forbids"),
        ("{{ soft.__globals__ }}", "'soft' is a function; write parentheses"),
        ("{{ text_a.title_of }}", "failed on this example: 'str object' has no attribute 'title_of'"),
        ("{{ [].pop() }}", "sandbox forbids"),
        ("{{ {}.popitem() }}", "sandbox forbids"),
        ("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "failed on this example"),
        ("{{ soft(id=text_a) }}", "must be a number or words"),
        ("{{ mask(2.5) }}", "at least 1"),
        ("{{ mask(0) }}", "at least 1"),
        ("{{ soft(text_a) }}", "must be a number or words"),
        ('{{ soft("") }}', "no words"),
        ('{{ soft(2, id="p") }}{{ soft(3, id="p") }}', "different contents"),
        ("{% include 'x' %}", "has {% include %}; templates are written with"),
        ("{{ text_a / 0 }}", "failed on this example"),
        ("{{ text_a * 10**15 }}", "more than 1,000,000 characters, items and steps"),
        ("{{ soft(2, start=3) }}", "takes random, vocabulary, labels or the path"),
        ("{{ soft(2, id='p', id='q') }}", "can't be translated: keyword argument repeated"),
        ("{{ " + "(" * 2000 + "text_a" + ")" * 2000 + " }}", "can't be translated: maximum recursion depth"),
        ("{% if true %}" * 150 + "{{ mask }}" + "{% endif %}" * 150, "more than 20 blocks in one another"),
        ("{{ " + "9" * 5000 + " }}", "can't be translated: Exceeds the limit"),
    ],
)
def test_what_cannot_be_rendered_is_one_clear_error(source, message):
    with pytest.raises(TemplateError, match=message) as caught:
        render_segments(source, {"text_a": "a film"})
    assert "\n" not in str(caught.value)
