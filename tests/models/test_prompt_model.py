from __future__ import annotations

import pytest

from promptlab.core.errors import BackboneError, TemplateError
from promptlab.core.types import Example
from promptlab.models.prompt_model import PromptModel
from promptlab.templates.manual import ManualTemplate
from promptlab.templates.plain import InputTemplate
from promptlab.tuning.full import Full
from promptlab.verbalizers.linear import LinearVerbalizer
from promptlab.verbalizers.manual import ManualVerbalizer

WORDS = ManualVerbalizer({"n": ["bad"], "p": ["good"]})


def test_a_branch_with_another_number_of_masks_is_an_error(tiny_backbone):
    template = ManualTemplate("{% if text_a == 'odd' %}{{ mask(2) }}{% else %}{{ mask }}{% endif %} {{ text_a }}")
    model = PromptModel.build(template, WORDS, tiny_backbone("bert"), Full())

    assert len(model.encode([Example({"text_a": "even"})])) == 1
    with pytest.raises(TemplateError, match=r"has 2 mask\(s\) .* at its very start, but the template usually has 1"):
        model.encode([Example({"text_a": "odd"})])


def test_a_head_on_hidden_states_leaves_the_language_model_head_alone(any_backbone):
    model = PromptModel.build(InputTemplate(), LinearVerbalizer(("a", "b")), any_backbone, Full())
    model.head.linear.weight.data.normal_()

    batch = any_backbone.collate(model.encode([Example({"text_a": "a film"})]))
    model.train().log_probs(batch).sum().backward()

    trained = dict(model.trained_parameters())
    assert any(name.startswith("backbone.") for name in trained)
    unused = {name for name, weight in trained.items() if weight.grad is None}
    assert all("pooler" in name for name in unused)


def test_a_model_without_a_language_model_head_takes_no_label_words(tiny_backbone):
    backbone = tiny_backbone("bert")
    backbone.has_lm_head = False

    with pytest.raises(BackboneError, match="saved without a language-model head"):
        PromptModel.build(ManualTemplate("{{ text_a }} {{ mask }}"), WORDS, backbone, Full())
    PromptModel.build(InputTemplate(), LinearVerbalizer(("a", "b")), backbone, Full())
