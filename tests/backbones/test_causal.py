from __future__ import annotations

import pytest
import torch

from promptlab import PromptClassifier
from promptlab.core.errors import TemplateError
from promptlab.core.types import Batch, Example
from promptlab.templates.demonstrations import DemonstrationTemplate
from promptlab.templates.manual import ManualTemplate

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


@torch.no_grad()
@pytest.mark.parametrize(("source", "text"), [("{{ mask }}", "x"), ("{{ text_a }} {{ mask }}", "")])
def test_a_prompt_without_a_token_begins_with_the_start_token_or_is_an_error(tiny_backbone, source, text):
    backbone = tiny_backbone("gpt2")
    rows = backbone.encode([ManualTemplate(source).render(Example({"text_a": t})) for t in (text, text)], soft_ids={})
    assert rows[0].input_ids.tolist() == [backbone.tokenizer.bos_token_id]
    assert backbone.mask_states(backbone.collate(rows)).logits().isfinite().all()

    backbone.encoder.start_id = None
    with pytest.raises(TemplateError, match="nothing before its mask"):
        encode(backbone, source, Example({"text_a": text}))


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


@torch.no_grad()
def test_a_window_of_attention_counts_no_padding(tiny_backbone):
    backbone = tiny_backbone("mistral")
    backbone.model.config.sliding_window = 8
    for layer in backbone.model.model.layers:
        layer.self_attn.sliding_window = 8
    texts, answer = ["the film", "the film was great and the story was a dull , lifeless mess"], [[21, 35, 40]]
    rows = [encode(backbone, "{{ text_a }} was {{ mask }}", Example({"text_a": text})) for text in texts]

    together = backbone.string_log_probs(backbone.collate(rows), answer, decoding="left-to-right")

    for row, encoded in enumerate(rows):
        ids = torch.tensor([[*encoded.input_ids.tolist(), *answer[0]]])
        log_probs = backbone.model(ids).logits[0].log_softmax(dim=-1)
        start = len(encoded.input_ids) - 1
        expected = sum(log_probs[start + i, token].item() for i, token in enumerate(answer[0]))
        assert together[row, 0].item() == pytest.approx(expected, abs=1e-4)


def test_prompts_with_the_same_beginning_form_a_group_whatever_else_is_there(tiny_backbone):
    backbone = tiny_backbone("gpt2")
    first, second = "the film was great " * 4, "a dull mess of a story " * 4
    texts = [
        first + "x",
        second + "y",
        "no",
        first + "good",
        first + "a",
        second + "z",
        first + "b",
        second + "q",
        second,
    ]

    groups = backbone.alike([encode(backbone, "{{ text_a }} {{ mask }}", Example({"text_a": t})) for t in texts])

    assert sorted(map(sorted, groups)) == [[0, 3, 4, 6], [1, 5, 7, 8], [2]]


def batch_of(backbone, source="{{ text_a }} film was {{ mask }}", texts=("the story", "a", "a dull , lifeless mess")):
    prompts = [ManualTemplate(source).render(Example({"text_a": text})) for text in texts]
    return backbone.collate(backbone.encode(prompts, soft_ids={}))


def one_by_one(backbone, batch, places, tokens):
    """States of every prompt with every row of tokens, each in a pass of its own."""
    states = []
    for row, at in enumerate(places.tolist()):
        length = int(batch.attention_mask[row].sum())
        for written in tokens:
            ids = batch.input_ids[row : row + 1, :length].clone()
            ids[0, at] = written
            one = Batch(ids, torch.ones_like(ids), torch.zeros_like(ids), batch.mask_index[row : row + 1])
            states.append(backbone.mask_states(one).hidden)
    return torch.cat(states)


@torch.no_grad()
@pytest.mark.parametrize("before", [0, 1])
def test_tokens_written_into_prompts_give_the_states_of_whole_prompts(causal_backbone, before):
    batch = batch_of(causal_backbone)
    places = batch.mask_index - torch.tensor([[before + 1, before]])  # the two at or near the end
    tokens = torch.tensor([[20, 21], [30, 20], [40, 41], [21, 21]])

    states = causal_backbone.mask_states_with(batch, places, tokens).hidden

    torch.testing.assert_close(states, one_by_one(causal_backbone, batch, places, tokens), atol=1e-5, rtol=0)


@torch.no_grad()
def test_what_stands_before_written_tokens_is_read_once(tiny_backbone):
    backbone, lengths = tiny_backbone("llama"), []
    batch = batch_of(backbone)
    places = batch.mask_index - 1
    handle = backbone.model.get_input_embeddings().register_forward_hook(lambda _, inputs, out: lengths.append(inputs))

    backbone.mask_states_with(batch, places, torch.tensor([[20], [21], [22], [23]]))

    handle.remove()
    assert [tuple(ids.shape) for (ids,) in lengths] == [(3, int(places.max())), (12, 2)]


@torch.no_grad()
@pytest.mark.parametrize("window", [None, 4])
def test_tokens_at_the_very_start_or_in_a_sliding_window_are_read_with_whole_prompts(tiny_backbone, window):
    backbone = tiny_backbone("mistral")
    backbone.model.config.sliding_window = window
    batch = batch_of(backbone)
    places = torch.zeros_like(batch.mask_index) if window is None else batch.mask_index - 1
    tokens = torch.tensor([[20], [21]])

    states = backbone.mask_states_with(batch, places, tokens).hidden

    torch.testing.assert_close(states, one_by_one(backbone, batch, places, tokens), atol=1e-5, rtol=0)
