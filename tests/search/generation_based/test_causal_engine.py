from __future__ import annotations

import itertools

import pytest
import torch

from promptlab import load_backbone
from promptlab.backbones.download import downloaded
from promptlab.core.errors import SearchError
from promptlab.core.types import Example
from promptlab.search.generation_based import causal_engine as generated_lm
from promptlab.search.generation_based.causal_engine import CausalSearch
from promptlab.search.generation_based.causal_reader import CausalNextTokens
from promptlab.search.generation_based.joint_beam import CLOSE, State
from promptlab.search.generation_based.writing import answered
from promptlab.search.templates.task import SearchTask
from promptlab.templates.manual import ManualTemplate

WORDS = {"bad": ("terrible",), "good": ("great",)}
ROWS = [
    Example({"text_a": "the film was a mess"}, "bad"),
    Example({"text_a": "a story"}, "good"),
    Example({"text_a": "who wrote the opera Carmen ?"}, "good"),
]
PAIRS = [Example({**row.fields, "text_b": "it was too lifeless"}, row.label) for row in ROWS]


def task(backbone, rows=ROWS, words=WORDS, **more):
    return SearchTask(rows, [], words, backbone, **more)


def log_prob(backbone, prompt, rest):
    """Log-probability of tokens after a prompt, by one plain pass over all of them."""
    ids = [*prompt, *rest]
    log_probs = backbone.model(input_ids=torch.tensor([ids])).logits[0].log_softmax(dim=-1)
    return sum(log_probs[len(prompt) + i - 1, token].item() for i, token in enumerate(rest))


def test_states_that_share_keys_and_values_are_foretold_as_in_whole_passes(causal_backbone):
    prompts, answers = [[5, 6, 7, 8], [9, 10], [11, 12, 13, 14, 15]], [20, 21, 20]
    reader = CausalNextTokens(causal_backbone, prompts, answers, 4)

    reader.read([State()], [0])
    reader.read([State((30,)), State((31,))], [0, 0])
    found = reader.read([State((31, 32)), State((30, 33)), State((31, 34))], [1, 0, 1])

    for row, tokens in zip(found, [(31, 32), (30, 33), (31, 34)]):
        for token in (3, 40):
            by_hand = [log_prob(causal_backbone, [*prompt, *tokens], [token]) for prompt in prompts]
            assert row[token].item() == pytest.approx(sum(by_hand) / 3, abs=1e-4)
        ends = [log_prob(causal_backbone, [*p, *tokens], [answer]) for p, answer in zip(prompts, answers)]
        assert row[CLOSE].item() == pytest.approx(sum(ends) / 3, abs=1e-4)


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_eager_attention_foretells_the_same(tiny_backbone, family):
    foretold = []
    for implementation in ("sdpa", "eager"):
        backbone = tiny_backbone(family)
        backbone.model.set_attn_implementation(implementation)
        reader = CausalNextTokens(backbone, [[5, 6, 7, 8], [9, 10]], [20, 21], 4)
        reader.read([State()], [0])
        reader.read([State((30,)), State((31,))], [0, 0])
        foretold.append(reader.read([State((31, 32)), State((30, 33))], [1, 0]))

    assert torch.allclose(*foretold, atol=1e-4)


def test_a_score_is_the_mean_log_probability_a_token_of_the_text_and_the_label_word(tiny_backbone):
    backbone = tiny_backbone("gpt2")

    found = CausalSearch(beam=4, longest=2).search(task(backbone))

    assert {one.origin["gap_lengths"][0] for one in found} == {0, 1, 2}
    for one in found:
        template, scores = ManualTemplate(one.template), []
        for row in ROWS:
            (prompt,) = backbone.encode([template.render(row)], soft_ids={})
            text = row.fields["text_a"][0].upper() + row.fields["text_a"][1:]
            first = backbone.tokenizer(text).input_ids
            rest = [*prompt.input_ids[len(first) :].tolist(), *backbone.token_ids(WORDS[row.label][0])]
            assert prompt.input_ids[: len(first)].tolist() == first
            scores.append(log_prob(backbone, first, rest))
        total = sum(scores) / len(scores)
        assert one.origin["log_prob"] == pytest.approx(total, abs=1e-4)
        assert one.score == pytest.approx(total / (one.origin["gap_lengths"][0] + 1), abs=1e-4)


def test_a_beam_as_wide_as_the_vocabulary_finds_the_best_two_tokens(tiny_backbone, monkeypatch):
    backbone = tiny_backbone("gpt2")
    few = [backbone.token_ids(word)[0] for word in ("film", "was", "story", "the", "it")]
    few = sorted({token for token in few if backbone.token_ids(backbone.tokenizer.decode(token).strip()) == [token]})
    mask = torch.zeros(backbone.decoder()[0].shape[0], dtype=torch.bool)
    mask[few] = True
    monkeypatch.setattr(
        "promptlab.search.generation_based.gap_vocabulary.GapVocabulary.allowed", lambda self, gap, starts: mask
    )
    prompts = [backbone.tokenizer(r.fields["text_a"][0].upper() + r.fields["text_a"][1:]).input_ids for r in ROWS]
    answers = [backbone.token_ids(WORDS[row.label][0])[0] for row in ROWS]
    scores = {
        pair: sum(log_prob(backbone, p, [*pair, answer]) for p, answer in zip(prompts, answers)) / 3
        for pair in itertools.product(few, repeat=2)
    }
    best = max(scores, key=scores.__getitem__)

    found = CausalSearch(beam=len(few) ** 2, longest=2).search(task(backbone))

    assert len(few) > 2
    first = next(one for one in found if one.origin["gap_lengths"] == [2])
    assert first.template == "{{ text_a | upper_first }}" + backbone.tokenizer.decode(best) + " {{ mask }}"
    assert first.origin["log_prob"] == pytest.approx(scores[best], abs=1e-4)


def test_what_is_found_is_read_as_it_was_written_and_without_a_gap_the_mask_follows_the_text(tiny_backbone):
    backbone = tiny_backbone("llama")

    found = CausalSearch(beam=6, longest=3, keep=99).search(task(backbone, PAIRS))

    texts = "{{ text_a | upper_first }} {{ text_b | upper_first }}"
    assert f"{texts} {{{{ mask }}}}" in [one.template for one in found]
    for one in found:
        words = one.template.removeprefix(texts).removesuffix(" {{ mask }}")
        assert len(backbone.encoder.first.encode("a" + words).ids) - 1 == one.origin["gap_lengths"][0]


def test_white_space_around_a_text_and_an_empty_one_leave_as_many_templates_as_without(tiny_backbone):
    backbone, search = tiny_backbone("gpt2"), CausalSearch(beam=4, longest=2, keep=99)
    plain = Example({"text_a": "a dull mess"}, "bad")
    odd = [Example({"text_a": " a dull mess \n"}, "bad"), Example({"text_a": " "}, "good")]

    found = search.search(task(backbone, [*ROWS, *odd]))

    assert {one.template for one in found} == {one.template for one in search.search(task(backbone, [*ROWS, plain]))}
    assert len(found) > 1


def test_if_nothing_is_read_as_it_was_written_it_is_told(tiny_backbone, monkeypatch):
    monkeypatch.setattr(
        "promptlab.search.generation_based.gap_vocabulary.GapVocabulary.text", lambda self, gap: " so" * len(gap) * 2
    )

    with pytest.raises(SearchError, match="no text that the generator 'tiny-gpt2' wrote is read as it was written"):
        CausalSearch(beam=4, longest=2).search(task(tiny_backbone("gpt2")))


@pytest.mark.parametrize(
    ("lead_in", "expected"), [("It was", " It was"), (" It was", " It was"), (". It was", ". It was"), ("(so", " (so")]
)
def test_a_lead_in_becomes_part_of_the_template(tiny_backbone, lead_in, expected):
    found = CausalSearch(lead_in=lead_in, beam=2, longest=1).search(task(tiny_backbone("gpt2")))

    assert all(one.template.startswith("{{ text_a | upper_first }}" + expected) for one in found)


def test_no_more_examples_than_asked_for_are_read(tiny_backbone):
    backbone = tiny_backbone("gpt2")

    found = CausalSearch(beam=4, longest=2, examples=2).search(task(backbone))

    drawn = [row.example for row in answered(task(backbone), 2)]
    assert len(drawn) == 2
    again = CausalSearch(beam=4, longest=2).search(task(backbone, drawn))
    assert [(one.template, one.score) for one in found] == [(one.template, one.score) for one in again]


def test_the_order_of_the_examples_and_chunks_of_them_change_nothing(tiny_backbone, monkeypatch):
    backbone, search = tiny_backbone("gpt2"), CausalSearch(beam=5, longest=2)
    found = search.search(task(backbone))

    assert search.search(task(backbone, ROWS[::-1])) == found
    monkeypatch.setattr("promptlab.search.generation_based.joint_beam.LOGITS_AT_ONCE", 1)
    again = search.search(task(backbone))
    assert [one.template for one in again] == [one.template for one in found]
    assert [one.score for one in again] == pytest.approx([one.score for one in found], abs=1e-5)


def test_texts_that_are_too_long_leave_room_for_what_is_written(tiny_backbone):
    backbone = tiny_backbone("gpt2")
    rows = [Example({"text_a": "the film was " * 30}, "bad"), *ROWS[1:]]

    assert CausalSearch(beam=2, longest=3).search(task(backbone, rows))


def test_a_finished_search_is_read_from_its_folder(tiny_backbone, tmp_path, monkeypatch):
    backbone, search = tiny_backbone("gpt2"), CausalSearch(beam=3, longest=2)
    found = search.search(task(backbone), resume_dir=tmp_path)
    monkeypatch.setattr(generated_lm, "beam_of_each_length", None)

    assert search.search(task(backbone), resume_dir=tmp_path) == found


def test_a_masked_model_cannot_go_on_after_a_text(tiny_backbone):
    with pytest.raises(SearchError, match="family 'bert', not a causal one such as smollm2; pass generator="):
        CausalSearch().search(task(tiny_backbone("bert")))


def test_label_words_of_several_tokens_are_refused(tiny_backbone):
    words = {"bad": ("unbelievable",), "good": ("great",)}

    with pytest.raises(SearchError, match="label word 'unbelievable' isn't one token for the generator 'tiny-gpt2'"):
        CausalSearch().search(task(tiny_backbone("gpt2"), words=words))


@pytest.mark.smollm2
@pytest.mark.skipif(downloaded("smollm2") is None, reason="needs: promptlab download smollm2")
def test_smollm2_says_something_of_a_review():
    rows = [
        Example({"text_a": "the acting is superb and the story moving"}, "good"),
        Example({"text_a": "a dull, lifeless mess"}, "bad"),
        Example({"text_a": "i loved every minute of this film"}, "good"),
        Example({"text_a": "the plot makes no sense at all"}, "bad"),
    ]

    found = CausalSearch(beam=5, longest=3).search(task(load_backbone("smollm2"), rows))

    assert "{{ text_a | upper_first }}. It's {{ mask }}" in [one.template for one in found[:3]]
