from __future__ import annotations

import pytest

from promptlab.errors import TemplateError
from promptlab.templates.rendering import field_names, render_segments, soft_slots
from promptlab.types import Segment, SoftSlot


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


def test_kept_fields_are_not_shortenable_whatever_filter_comes_after():
    (segment,) = render_segments("{{ text_a | keep | upper_first }}", {"text_a": "nice"})

    assert segment == Segment("field", "Nice", shortenable=False)


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
        ("{{ mask(0) }}", "at least 1"),
        ("{{ soft(text_a) }}", "must be a number or words"),
        ('{{ soft("") }}', "no words"),
        ('{{ soft(2, id="p") }}{{ soft(3, id="p") }}', "different contents"),
        ("{% include 'x' %}", "failed on this example"),
        ("{{ text_a / 0 }}", "failed on this example"),
    ],
)
def test_what_cannot_be_rendered_is_one_clear_error(source, message):
    with pytest.raises(TemplateError, match=message) as caught:
        render_segments(source, {"text_a": "a film"})
    assert "\n" not in str(caught.value)
