"""Trigger slots as ids and as text."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from promptlab import load_backbone
from promptlab.core.errors import SearchError
from promptlab.core.types import Example
from promptlab.data.samples import load_sample
from promptlab.search.gradient_based.triggers import TriggerText, allowed_tokens, as_jinja, filled
from promptlab.templates.manual import ManualTemplate

EXAMPLES = [
    Example({"text_a": "The film was great, the acting terrible!", "text_b": "It was bad"}),
    Example({"text_a": "a dull mess ", "text_b": "Who wrote it ?"}),
    Example({"text_a": "café {{ mask }} </s> [MASK]", "text_b": "yes"}),
]
SOURCES = (
    "{{ text_a }} {{ trigger(3) }} {{ mask }}",
    "{{ text_a }} {{trigger}} was {{ trigger( 2 ) }} {{ mask }}",
    "{{ trigger(n=2) }} {{ text_a }} {{ text_b }} {{ trigger() }} {{ mask }}",
)


def tokens_that_hold(text, n=12):
    """Common words, put together at random: as triggers they mostly hold."""
    common = text.backbone.common_word_ids(200)
    rng = np.random.default_rng(0)
    drawn = [rng.choice(common, text.n).tolist() for _ in range(5 * n)]
    return [trigger for trigger in drawn if text.keeps(trigger)][:n]


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("family", ["bert", "roberta", "xlm-roberta", "gpt2", "t5"])
def test_a_written_trigger_encodes_to_its_own_tokens_at_the_slots(tiny_backbone, family, source):
    text = TriggerText(source, tiny_backbone(family), EXAMPLES)
    rows = text.rows(EXAMPLES, torch.zeros(3))
    triggers = tokens_that_hold(text)

    assert triggers
    for trigger in triggers:
        template = ManualTemplate(text.write(trigger))
        encoded = text.backbone.encode([template.render(e) for e in EXAMPLES], soft_ids={})
        for found, held, places in zip(encoded, rows.encoded, rows.places.numpy()):
            assert found.input_ids.tolist() == filled(held.input_ids, places, trigger).tolist()
            assert found.mask_index.tolist() == held.mask_index.tolist()
            assert found.input_ids[places].tolist() == trigger


def test_the_inside_of_a_word_holds_only_where_the_word_before_leaves_it(tiny_backbone):
    backbone = tiny_backbone()
    text = TriggerText("{{ text_a }} {{ trigger(2) }} {{ mask }}", backbone, EXAMPLES)
    d, ing, film = backbone.tokenizer.convert_tokens_to_ids(["d", "##ing", "film"])

    assert text.write([d, ing]) == "{{ text_a }} ding {{ mask }}"
    assert text.keeps([d, ing])
    assert not text.keeps([ing, film])  # at the start of a word, "ing" is other tokens


def test_pieces_that_are_one_token_together_dont_hold(tiny_backbone):
    backbone = tiny_backbone()
    text = TriggerText("{{ text_a }} {{ trigger(2) }} {{ mask }}", backbone, EXAMPLES)
    i, t, s = backbone.tokenizer.convert_tokens_to_ids(["i", "##t", "##s"])

    assert text.write([i, t]) == "{{ text_a }} it {{ mask }}"
    assert not text.keeps([i, t])  # "it" is a token
    assert text.keeps([i, s])


@pytest.mark.parametrize(
    ("source", "written"),
    [
        ("{{ text_a }} , {{- trigger(2) }} {{ mask }}", "{{ text_a }} ,film was {{ mask }}"),
        ("{{ text_a }} {{ trigger(2) -}} . {{ mask }}", "{{ text_a }} film was. {{ mask }}"),
        ("{{ text_a }} {{+ trigger(2) +}} {{ mask }}", "{{ text_a }} film was {{ mask }}"),
    ],
)
def test_a_slot_takes_away_the_white_space_that_its_signs_say(tiny_backbone, source, written):
    backbone = tiny_backbone("bert")
    text = TriggerText(source, backbone, EXAMPLES)

    assert text.write(backbone.tokenizer.convert_tokens_to_ids(["film", "was"])) == written


def test_a_slot_without_a_token_yet_stands_for_any_word(tiny_backbone):
    backbone = tiny_backbone()
    text = TriggerText("{{ text_a }} {{ trigger(2) }} {{ mask }}", backbone, EXAMPLES)
    film = backbone.tokenizer.convert_tokens_to_ids("film")

    assert text.keeps([None, film])
    assert text.keeps([film, None])


@pytest.mark.parametrize("words", ["{{ mask }}", "{% if x %}", "{# a #}", "}}", '"{" }', "{\\"])
def test_braces_of_a_trigger_are_text_and_no_code(words):
    source = f"{{{{ text_a }}}} {as_jinja(words)} {{{{ mask }}}}"

    prompt = ManualTemplate(source).render(EXAMPLES[0])

    assert [segment.kind for segment in prompt.segments] == ["field", "text", "mask"]
    assert prompt.segments[1].text == f" {words} "


def test_quotes_stay_as_they_are():
    assert as_jinja('"it\'s"') == '"it\'s"'


def test_braces_as_trigger_tokens_encode_to_themselves(tiny_backbone):
    backbone = tiny_backbone()
    text = TriggerText("{{ text_a }} {{ trigger(3) }} {{ mask }}", backbone, EXAMPLES)
    trigger = backbone.tokenizer.convert_tokens_to_ids(["{", "{", "#"])

    assert text.keeps(trigger)
    assert backbone.tokenizer.unk_token_id not in trigger


def test_a_text_too_long_keeps_all_trigger_tokens(tiny_backbone):
    long = [Example({"text_a": "film " * 200})]
    text = TriggerText("{{ text_a }} {{ trigger(3) }} {{ mask }}", tiny_backbone(), long, max_length=20)

    rows = text.rows(long, torch.zeros(1))

    assert len(rows.encoded[0].input_ids) == 20
    assert rows.places.tolist() == [[15, 16, 17]]


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("{{ text_a }} {{ mask }}", "has no trigger slot"),
        ("{{ text_a }}{{ trigger(2) }}{{ mask }}", "don't stay tokens of their own"),
        ("{{ text_a }} {# {{ trigger(2) }} #} {{ mask }}", "don't stay tokens of their own"),
        ("{{ soft(2) }} {{ text_a }} {{ trigger(2) }} {{ mask }}", "has soft tokens"),
    ],
)
def test_templates_whose_slots_cant_be_filled_are_refused(tiny_backbone, source, words):
    with pytest.raises(SearchError, match=words):
        TriggerText(source, tiny_backbone(), [Example({"text_a": "a dull film"})])


def test_an_example_that_shows_fewer_slots_is_refused(tiny_backbone):
    source = "{{ text_a }} {{ trigger }} {% if text_b == 'yes' %}{{ trigger }}{% endif %} {{ mask }}"
    same = [Example({"text_a": "a film", "text_b": "yes"})]
    text = TriggerText(source, tiny_backbone(), same)

    with pytest.raises(SearchError, match=r"shows 1 of its 2 trigger tokens for \{'text_a': 'dull'"):
        text.rows([*same, Example({"text_a": "dull", "text_b": "no"})], torch.zeros(2))


def test_no_label_word_special_token_or_capital_is_allowed(tiny_backbone):
    backbone = tiny_backbone("gpt2")
    pieces = backbone.tokenizer.convert_ids_to_tokens(list(range(len(backbone.tokenizer))))

    allowed = allowed_tokens(backbone, ["great", "the"])

    said = {piece for piece, is_allowed in zip(pieces, allowed.tolist()) if is_allowed}
    assert {"Ġfilm", "Ġbusiness", "!", "a"} <= said
    assert not {"Ġgreat", "great", "Ġthe", "the", "The", "<|endoftext|>", "ĠWorld", "W"} & said


def test_a_label_word_isnt_allowed_inside_a_word_either(tiny_backbone):
    backbone = tiny_backbone()
    inside = backbone.tokenizer.convert_tokens_to_ids("##ry")

    assert allowed_tokens(backbone, ["bad"])[inside]
    assert not allowed_tokens(backbone, ["RY"])[inside]


@pytest.mark.parametrize("model", [pytest.param(m, marks=getattr(pytest.mark, m)) for m in ("minilm", "smollm2")])
def test_tokens_of_all_kinds_are_written_or_refused_on_real_texts(model):
    backbone = load_backbone(model)
    examples = load_sample("sst2").pool[:50]
    text = TriggerText("{{ text_a }} {{ trigger(3) }} {{ mask }}", backbone, examples)
    rows = text.rows(examples, torch.zeros(50))
    allowed = torch.nonzero(allowed_tokens(backbone, ["great", "terrible"]))[:, 0].numpy()
    drawn = np.random.default_rng(0).choice(allowed, (30, 3)).tolist()

    kept = [trigger for trigger in drawn if text.keeps(trigger)]

    assert 3 < len(kept) < 30
    for trigger in kept:
        found = text.encode(trigger, examples)
        for one, held, places in zip(found, rows.encoded, rows.places.numpy()):
            assert one.input_ids.tolist() == filled(held.input_ids, places, trigger).tolist()
