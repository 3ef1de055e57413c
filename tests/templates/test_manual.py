from __future__ import annotations

import pytest

from promptlab.core.errors import TemplateError
from promptlab.core.types import Example, Segment, SoftSlot
from promptlab.templates.manual import ManualTemplate


def test_a_template_without_a_mask_says_where_to_put_one():
    with pytest.raises(TemplateError, match=r"put \{\{ mask \}\} where the label word goes"):
        ManualTemplate("{{ text_a }}").render(Example({"text_a": "a"}))


def test_the_slot_says_how_many_masks_and_whether_one_begins_the_prompt():
    assert ManualTemplate("{{ mask(2) }}: {{ text_a }}").slot[:2] == (2, True)
    assert ManualTemplate("{{ text_a }} {{ mask }}").slot[:2] == (1, False)


def test_a_prompt_prints_itself_with_long_fields_cut():
    prompt = ManualTemplate('{{ text_a }} {{ soft("It was") }} {{ mask(2) }}').render(Example({"text_a": "long " * 20}))

    assert str(prompt) == "long long long long long long long lo... {{ soft('It was') }} {{ mask(2) }}"


def test_equal_sources_are_equal_templates():
    assert ManualTemplate("{{ mask }}") == ManualTemplate("{{ mask }}")


def test_a_template_tells_the_fields_and_soft_tokens_it_uses():
    template = ManualTemplate('{{ text_b }} {{ soft(3, id="p") }} {{ text_a }} {{ mask }}')

    assert template.fields == ("text_a", "text_b")
    assert template.soft_slots == (SoftSlot("p", 3),)


def test_an_empty_field_before_the_mask_is_still_text_before_it():
    template = ManualTemplate("{{ text_a }}{{ mask }}")

    assert template.render(Example({"text_a": ""})).slot[:4] == template.slot[:4] == (1, False, False, 1)


def test_the_number_of_masks_is_that_of_all_mask_slots():
    assert ManualTemplate("{{ mask }} and {{ mask(3) }} {{ text_a }}").slot.n_masks == 1 + 3


def test_expressions_of_numbers_lists_and_records_do_not_hide_the_slot():
    source = "{% if stars + 1 > 3 %}{{ tags[0] }} {{ meta.author }} {{ 2 * stars }}{% endif %} {{ text_a }} {{ mask }}"

    assert ManualTemplate(source).slot[:4] == (1, False, True, 1)


def test_quoted_words_are_the_templates_own_and_are_never_shortened():
    (text, field, *_) = (
        ManualTemplate('{{ "It was" }} {{ text_a }} {{ mask }}').render(Example({"text_a": "x"})).segments
    )

    assert text == Segment("text", "It was ")
    assert field.shortenable


def test_the_slot_says_whether_white_space_stands_before_the_mask_and_how_many_places_there_are():
    assert ManualTemplate("{{ text_a }}\n{{ mask }}").slot.spaced
    assert not ManualTemplate("{{ text_a }}({{ mask }})").slot.spaced
    assert ManualTemplate("{{ mask(2) }} {{ text_a }} {{ mask }}").slot.n_places == 2
