from __future__ import annotations

import itertools
import re
from dataclasses import replace

import pytest
import torch

from promptlab import load_backbone
from promptlab.core.errors import SearchError
from promptlab.core.types import Example
from promptlab.search.generation_based.gap_filler import GapFiller
from promptlab.search.generation_based.masked_engine import MaskedSearch
from promptlab.search.generation_based.writing import answered
from promptlab.search.templates.task import SearchTask
from promptlab.templates.manual import ManualTemplate

WORDS = {"bad": ("terrible",), "good": ("great",)}
ROWS = [
    Example({"text_a": "the film was a mess"}, "bad"),
    Example({"text_a": "a story"}, "good"),
    Example({"text_a": "who wrote the opera Carmen ?"}, "good"),
]
PAIRS = [Example({**row.fields, "text_b": "It was too lifeless"}, row.label) for row in ROWS]
BARE = "{{ mask }} {{ text_a | upper_first }}"
SMALL = MaskedSearch(beam=4, before=2, after=1, survivors=99, keep=99)


def task(backbone, rows=ROWS, words=WORDS, **more):
    return SearchTask(rows, [], words, backbone, **more)


def log_prob(backbone, ids, place, token):
    """Of a token at a mask, by the plain model on one text."""
    logits = backbone.model(input_ids=torch.tensor([ids])).logits[0, place]
    return logits.log_softmax(dim=-1)[token].item()


def prompt_of(backbone, row, n_masks):
    source = f"{{{{ text_a | upper_first }}}} {{{{ mask({n_masks}) }}}}"
    (encoded,) = backbone.encode([ManualTemplate(source).render(row)], soft_ids={})
    return encoded


def filler_of(backbone, rows, gaps):
    words = [backbone.token_ids(WORDS[row.label][0])[0] for row in rows]
    return GapFiller(backbone, [prompt_of(backbone, row, sum(gaps) + 1) for row in rows], words, gaps)


def left_to_right(backbone, row, tokens, gaps):
    """Log-probabilities of tokens written into the masks one after the other, the later masks open."""
    encoded = prompt_of(backbone, row, sum(gaps) + 1)
    ids, places = encoded.input_ids.tolist(), encoded.mask_index.tolist()
    ids[places.pop(gaps[0])] = backbone.token_ids(WORDS[row.label][0])[0]
    scores = []
    for place, token in zip(places, tokens):
        scores.append(log_prob(backbone, ids, place, token))
        ids[place] = token
    return scores


@pytest.mark.parametrize("gaps", [(2, 0), (1, 1), (0, 2)])
def test_a_beam_as_wide_as_the_vocabulary_finds_what_brute_force_finds(tiny_backbone, gaps):
    backbone = tiny_backbone("bert")
    few = [backbone.token_ids(word)[0] for word in ("film", "was", "it", "story")]
    mask = torch.zeros(backbone.decoder()[0].shape[0], dtype=torch.bool)
    mask[few] = True
    scores = {
        pair: sum(sum(left_to_right(backbone, row, pair, gaps)) for row in ROWS) / len(ROWS)
        for pair in itertools.product(few, repeat=2)
    }

    found = filler_of(backbone, ROWS, gaps).fill(lambda tokens: mask, len(few) ** 2)

    assert [state.tokens for state in found] == sorted(scores, key=lambda pair: -scores[pair])
    assert [state.score for state in found] == pytest.approx(sorted(scores.values(), reverse=True), abs=1e-5)


@pytest.mark.parametrize("family", ["bert", "roberta", "albert", "modernbert", "deberta-v2"])
def test_a_score_is_the_mean_log_probability_of_each_token_masked_in_turn(tiny_backbone, family):
    backbone = tiny_backbone(family)
    word, tokens = backbone.token_ids("great")[0], [7, 9, 11]
    encoded = prompt_of(backbone, ROWS[1], 4)
    places = encoded.mask_index.tolist()
    full = encoded.input_ids.copy()
    full[places] = [7, 9, word, 11]
    by_hand = []
    for place in places:
        ids = full.copy()
        ids[place] = backbone.encoder.mask_id
        by_hand.append(log_prob(backbone, ids.tolist(), place, full[place]))

    found = filler_of(backbone, [ROWS[1]], (2, 1)).pseudo_log_prob(tokens)

    assert found == pytest.approx(sum(by_hand) / 4, abs=1e-4)


def test_of_one_example_the_score_is_its_own_and_of_several_their_mean(tiny_backbone):
    backbone = tiny_backbone("bert")
    alone = [filler_of(backbone, [row], (1, 1)).pseudo_log_prob([7, 9]) for row in ROWS]

    assert filler_of(backbone, ROWS, (1, 1)).pseudo_log_prob([7, 9]) == pytest.approx(sum(alone) / 3, abs=1e-5)


@pytest.mark.parametrize("family", ["bert", "roberta", "albert"])
def test_every_template_is_read_as_it_was_written(tiny_backbone, family):
    backbone = tiny_backbone(family)

    found = replace(SMALL, beam=12).search(task(backbone))

    assert {one.origin["layout"] for one in found} == {"text-first", "answer-first"}
    assert len({tuple(one.origin["gap_lengths"]) for one in found}) >= 4
    for one in found:
        template = ManualTemplate(one.template)
        (plain,) = backbone.encode([template.render(ROWS[0])], soft_ids={})
        bare = "{{ text_a | upper_first }} {{ mask }}" if one.origin["layout"] == "text-first" else BARE
        (without,) = backbone.encode([ManualTemplate(bare).render(ROWS[0])], soft_ids={})
        assert template.slot.n_masks == 1
        assert len(plain.input_ids) == len(without.input_ids) + sum(one.origin["gap_lengths"])


@pytest.mark.parametrize("family", ["bert", "roberta"])
def test_white_space_around_a_text_and_an_empty_one_leave_as_many_templates_as_without(tiny_backbone, family):
    backbone = tiny_backbone(family)
    plain = Example({"text_a": "a dull mess"}, "bad")
    odd = [Example({"text_a": " a dull mess \n"}, "bad"), Example({"text_a": " "}, "good")]

    found = SMALL.search(task(backbone, [*ROWS, *odd]))

    assert {one.template for one in found} == {one.template for one in SMALL.search(task(backbone, [*ROWS, plain]))}
    assert len(found) > 2


def test_if_nothing_is_read_as_it_was_written_it_is_told(tiny_backbone, monkeypatch):
    monkeypatch.setattr(
        "promptlab.search.generation_based.gap_vocabulary.GapVocabulary.text", lambda self, gap: " so" * len(gap) * 2
    )

    with pytest.raises(SearchError, match="no text that the generator 'tiny-bert' wrote is read as it was written"):
        SMALL.search(task(tiny_backbone("bert")))


def test_without_gaps_there_is_the_text_and_the_mask(tiny_backbone):
    found = MaskedSearch(before=0, after=0).search(task(tiny_backbone("bert")))

    assert {one.template for one in found} == {
        "{{ text_a | upper_first }} {{ mask }}",
        "{{ mask }} {{ text_a | upper_first }}",
    }


def test_pairs_stand_around_the_answer(tiny_backbone):
    found = MaskedSearch(beam=3, before=1, after=1).search(task(tiny_backbone("bert"), PAIRS))

    assert all(one.template.startswith("{{ text_a | strip_punctuation }}") for one in found)
    assert all(one.template.endswith("{{ text_b | lower_first }}") for one in found)


def test_gaps_of_several_tokens_hold_a_word(tiny_backbone):
    backbone = tiny_backbone("bert")
    marks = [backbone.tokenizer.convert_tokens_to_ids(sign) for sign in ".,!?"]
    backbone.decoder()[1].data[marks] += 20.0  # which would otherwise be all that is written

    found = MaskedSearch(beam=8, before=2, after=0, survivors=99).search(task(backbone))

    written = [re.sub(r"{{.*?}}", "", one.template) for one in found if one.origin["gap_lengths"] == [2, 0]]
    assert written
    assert all(any(map(str.isalnum, text)) for text in written)


def test_no_more_examples_than_asked_for_are_read(tiny_backbone):
    backbone = tiny_backbone("bert")

    found = MaskedSearch(beam=2, before=1, after=0, examples=2).search(task(backbone))

    drawn = [row.example for row in answered(task(backbone), 2)]
    assert len(drawn) == 2
    again = MaskedSearch(beam=2, before=1, after=0).search(task(backbone, drawn))
    assert [(one.template, one.score) for one in found] == [(one.template, one.score) for one in again]


def test_the_order_of_the_examples_and_chunks_of_them_change_nothing(tiny_backbone, monkeypatch):
    backbone = tiny_backbone("bert")
    found = SMALL.search(task(backbone))

    assert SMALL.search(task(backbone, ROWS[::-1])) == found
    monkeypatch.setattr("promptlab.search.generation_based.joint_beam.LOGITS_AT_ONCE", 1)
    again = SMALL.search(task(backbone))
    assert [one.template for one in again] == [one.template for one in found]
    assert [one.score for one in again] == pytest.approx([one.score for one in found], abs=1e-5)


@pytest.mark.parametrize("killed_at", [2, 9, 14])
def test_an_interrupted_search_goes_on_and_ends_the_same(tiny_backbone, tmp_path, monkeypatch, killed_at):
    backbone = tiny_backbone("bert")
    search = MaskedSearch(beam=2, before=1, after=1, survivors=3)
    whole = search.search(task(backbone))
    calls = itertools.count(1)
    for name in ("fill", "pseudo_log_prob"):
        plain = getattr(GapFiller, name)

        def counted(*arguments, plain=plain):
            if next(calls) == killed_at:
                raise KeyboardInterrupt
            return plain(*arguments)

        monkeypatch.setattr(GapFiller, name, counted)

    with pytest.raises(KeyboardInterrupt):
        search.search(task(backbone), resume_dir=tmp_path)

    assert search.search(task(backbone), resume_dir=tmp_path) == whole
    assert next(calls) == 2 * (4 + 3) + 2  # what was done wasn't done again: 4 lengths and 3 scores a layout


def test_a_causal_model_fills_no_gaps(tiny_backbone):
    with pytest.raises(SearchError, match="family 'gpt2', not a masked one such as minilm; pass generator="):
        MaskedSearch().search(task(tiny_backbone("gpt2")))


def test_gaps_of_less_than_nothing_are_refused():
    with pytest.raises(SearchError, match="before=-1 must be 0 or above"):
        MaskedSearch(before=-1)


@pytest.mark.minilm
def test_minilm_says_something_of_a_review():
    rows = [
        Example({"text_a": "the acting is superb and the story moving"}, "good"),
        Example({"text_a": "a dull, lifeless mess"}, "bad"),
        Example({"text_a": "i loved every minute of this film"}, "good"),
        Example({"text_a": "the plot makes no sense at all"}, "bad"),
    ]

    found = MaskedSearch(beam=2, before=2, after=1, survivors=3).search(task(load_backbone("minilm"), rows))

    assert found[0].template == "is {{ mask }}. {{ text_a | upper_first }}"
    bare = [BARE, "{{ text_a | upper_first }} {{ mask }}"]
    assert [one.template for one in found[-2:]] == bare
