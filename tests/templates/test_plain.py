from __future__ import annotations

import pytest

from promptlab.core.errors import TemplateError
from promptlab.core.types import Example, Segment
from promptlab.templates.plain import InputTemplate


def test_the_plain_input_is_its_field_and_may_be_shortened():
    prompt = InputTemplate().render(Example({"text_a": "{{ mask }} a film", "text_b": "b"}))

    assert prompt.segments == (Segment("field", "{{ mask }} a film", shortenable=True),)


def test_the_plain_input_puts_a_separator_between_its_fields():
    prompt = InputTemplate(("text_b", "text_a")).render(Example({"text_a": "a", "text_b": "b"}))

    assert [(s.kind, s.text) for s in prompt.segments] == [("field", "b"), ("sep", ""), ("field", "a")]


def test_the_plain_input_has_no_answer_slot():
    assert InputTemplate().slot.n_masks == InputTemplate().slot.n_places == 0
    assert InputTemplate().render(Example({"text_a": "a"})).n_masks == 0


def test_the_plain_input_writes_numbers_as_text():
    (segment,) = InputTemplate(("stars",)).render(Example({"stars": 4})).segments

    assert segment.text == "4"


@pytest.mark.parametrize(("fields", "has"), [({"text_a": "a"}, "'text_a'"), ({}, "no fields")])
def test_the_plain_input_names_the_field_it_misses(fields, has):
    with pytest.raises(TemplateError, match=f"reads field 'text_b', but the example has {has}"):
        InputTemplate(("text_b",)).render(Example(fields))


def test_no_field_at_all_is_refused():
    with pytest.raises(TemplateError, match="fields is empty"):
        InputTemplate(())


def test_a_list_of_fields_equals_a_tuple_of_them():
    assert InputTemplate(["text_a", "text_b"]) == InputTemplate(("text_a", "text_b"))
