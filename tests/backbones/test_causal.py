from __future__ import annotations

import pytest
import torch

from promptlab import PromptClassifier
from promptlab.errors import TemplateError
from promptlab.templates.demonstrations import DemonstrationTemplate
from promptlab.templates.manual import ManualTemplate
from promptlab.types import Example

EXAMPLE = Example({"text_a": "the film was great"})


def encode(backbone, source, example=EXAMPLE, **options):
    return backbone.encode([ManualTemplate(source).render(example)], soft_ids={}, **options)[0]


@torch.no_grad()
def test_the_answer_is_the_models_next_token(causal_backbone):
    row = encode(causal_backbone, "{{ text_a }} it was {{ mask }}")

    states = causal_backbone.mask_states(causal_backbone.collate([row]))

    ids = torch.tensor([causal_backbone.tokenizer("the film was great it was").input_ids])
    assert row.input_ids.tolist() == ids[0].tolist()
    torch.testing.assert_close(states.logits()[0, 0], causal_backbone.model(ids).logits[0, -1], atol=1e-5, rtol=0)


def test_the_space_before_the_mask_goes_to_the_answer(tiny_backbone):
    backbone = tiny_backbone("gpt2")

    spaced, line = (ManualTemplate(source).slot for source in ("a {{ mask }}", "a:{{ mask }}"))

    assert backbone.tokenizer.convert_ids_to_tokens(backbone.answer_ids("great", spaced)) == ["Ġgreat"]
    assert "".join(backbone.tokenizer.convert_ids_to_tokens(backbone.answer_ids("great", line))) == "great"
    assert backbone.tokenizer.decode(encode(backbone, "{{ text_a }}  \n {{ mask }}").input_ids) == "the film was great"


@pytest.mark.parametrize(
    "source",
    ["{{ text_a }} {{ mask }} .", "{{ mask }} {{ text_a }}", "{{ text_a }} {{ mask }} {{ mask }}", "{{ mask }} x"],
)
def test_text_after_the_mask_is_an_error(tiny_backbone, source):
    with pytest.raises(TemplateError, match="goes on after its mask"):
        encode(tiny_backbone("gpt2"), source)


def test_nothing_before_the_mask_is_an_error(tiny_backbone):
    with pytest.raises(TemplateError, match="nothing before its mask"):
        encode(tiny_backbone("gpt2"), "{{ mask }}")


def test_a_separator_is_an_error(tiny_backbone):
    with pytest.raises(TemplateError, match="has no separator"):
        encode(tiny_backbone("gpt2"), "{{ text_a }} {{ sep }} {{ mask }}")


def test_demonstrations_after_the_query_are_an_error(tiny_backbone):
    classifier = PromptClassifier(
        DemonstrationTemplate("{{ text_a }} {{ mask }}", sets=1), {"n": "dull", "p": "great"}, tiny_backbone("gpt2")
    )

    with pytest.raises(TemplateError, match="goes on after its mask"):
        classifier.fit(["a", "b"], ["n", "p"])


def test_special_tokens_in_a_text_are_plain_text(tiny_backbone):
    backbone = tiny_backbone("gpt2")

    row = encode(backbone, "{{ text_a }} {{ mask }}", Example({"text_a": "a <|endoftext|> b"}))

    assert backbone.tokenizer.eos_token_id not in row.input_ids
    assert backbone.tokenizer.decode(row.input_ids) == "a <|endoftext|> b"


def test_long_texts_leave_room_for_the_answer(tiny_backbone):
    backbone = tiny_backbone("gpt2")
    long = Example({"text_a": "film " * 200})

    assert len(encode(backbone, "{{ text_a }} was {{ mask }}", long).input_ids) == backbone.max_length
    row = encode(backbone, "{{ text_a }} was {{ mask }}", long, answer_length=4)
    assert len(row.input_ids) == backbone.max_length - 3
    assert backbone.tokenizer.decode(row.input_ids).endswith(" was")


def test_a_failure_inside_sharing_leaves_no_prefix_behind(tiny_backbone):
    backbone = tiny_backbone("gpt2")
    rows = [encode(backbone, "{{ text_a }} {{ mask }}", Example({"text_a": "film " * 30 + end})) for end in "ab"]

    with pytest.raises(KeyError), torch.no_grad(), backbone.sharing(rows):
        assert backbone.prefix is not None
        raise KeyError

    assert backbone.prefix is None
