from __future__ import annotations

import pytest

from promptlab.errors import TemplateError
from promptlab.templates.manual import ManualTemplate
from promptlab.templates.plain import InputTemplate
from promptlab.types import Example


def test_a_template_without_a_mask_says_where_to_put_one():
    with pytest.raises(TemplateError, match=r"put \{\{ mask \}\} where the label word goes"):
        ManualTemplate("{{ text_a }}").render(Example({"text_a": "a"}))


def test_the_slot_says_how_many_masks_and_whether_one_begins_the_prompt():
    assert ManualTemplate("{{ mask(2) }}: {{ text_a }}").slot == (2, True)
    assert ManualTemplate("{{ text_a }} {{ mask }}").slot == (1, False)


def test_a_prompt_prints_itself_with_long_fields_cut():
    prompt = ManualTemplate('{{ text_a }} {{ soft("It was") }} {{ mask(2) }}').render(Example({"text_a": "long " * 20}))

    assert str(prompt) == "long long long long long long long lo... {{ soft('It was') }} {{ mask(2) }}"


def test_equal_sources_are_equal_templates():
    assert ManualTemplate("{{ mask }}") == ManualTemplate("{{ mask }}")


def test_the_plain_input_puts_a_separator_between_its_fields():
    prompt = InputTemplate(("text_a", "text_b")).render(Example({"text_a": "a", "text_b": "b"}))

    assert [(s.kind, s.text) for s in prompt.segments] == [("field", "a"), ("sep", ""), ("field", "b")]


def test_the_plain_input_names_the_field_it_misses():
    with pytest.raises(TemplateError, match="reads field 'text_b', but the example has 'text_a'"):
        InputTemplate(("text_a", "text_b")).render(Example({"text_a": "a"}))
