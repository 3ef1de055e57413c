from __future__ import annotations

import math

import pytest
import torch

from promptlab import ManualVerbalizer, PromptClassifier, load_sample
from promptlab.errors import DataError, TuningError, VerbalizerError
from promptlab.search.refinement import best_cut, refine_words, relevance_scores

TEMPLATE = "{{ text_a }} it was {{ mask }}"
SUPPORT = ["the film was great", "a good story", "a dull , lifeless mess", "just awful"]
ALL = {"frequency": 0.0, "relevance": False, "device": "cpu"}


def test_a_word_of_two_classes_stays_only_where_it_is_the_name(tiny_backbone):
    words = {"bad": ["bad", "dull", "good", "story"], "good": ["good", "great", "story"]}

    refined = refine_words(words, TEMPLATE, SUPPORT, tiny_backbone("bert"), **ALL)

    assert refined.label_words == {"bad": ("bad", "dull"), "good": ("good", "great")}
    assert [(one.name, one.word, one.reason) for one in refined.dropped] == [
        ("bad", "good", "also a word of class 'good'"),
        ("bad", "story", "also a word of class 'good'"),
        ("good", "story", "also a word of class 'bad'"),
    ]


@pytest.mark.parametrize(("multi_token", "kept"), [("drop", ("bad",)), ("first", ("bad", "film"))])
def test_of_a_word_of_several_tokens_nothing_or_the_first_token_is_kept(tiny_backbone, multi_token, kept):
    words = {"bad": ["bad", "film mess", "\u2603"], "good": ["good"]}

    refined = refine_words(words, TEMPLATE, SUPPORT, tiny_backbone("bert"), multi_token=multi_token, **ALL)

    assert refined.label_words["bad"] == kept
    assert refined.dropped[-1].reason == "not in the vocabulary"


def test_rare_words_go_and_the_name_stays(tiny_backbone):
    backbone = tiny_backbone("bert")
    words = {"bad": ["bad", "dull", "awful", "mess"], "good": ["good", "great", "story", "film"]}
    prompts = [f"{text} it was [MASK]" for text in SUPPORT]
    encoded = [backbone.tokenizer(prompt, return_tensors="pt") for prompt in prompts]
    with torch.no_grad():
        at_mask = [row["input_ids"][0].tolist().index(backbone.tokenizer.mask_token_id) for row in encoded]
        logits = torch.stack([backbone.model(**row).logits[0, at] for row, at in zip(encoded, at_mask, strict=True)])
    mean = logits.mean(dim=0)
    rarer = {
        word: (mean < mean[backbone.tokenizer.convert_tokens_to_ids(word)]).float().mean().item()
        for row in words.values()
        for word in row
    }

    refined = refine_words(words, TEMPLATE, SUPPORT, backbone, **{**ALL, "frequency": 0.5})

    for name, row in words.items():
        assert refined.label_words[name] == (row[0], *(word for word in row[1:] if rarer[word] >= 0.5))
    assert {one.word for one in refined.dropped} == {w for row in words.values() for w in row[1:] if rarer[w] < 0.5}


def test_the_order_of_the_support_texts_changes_nothing(tiny_backbone):
    words = {"bad": ["bad", "dull", "awful", "mess"], "good": ["good", "great", "story", "film"]}
    settings = {"frequency": 0.3, "relevance": True, "device": "cpu"}
    backbone = tiny_backbone("bert")

    forward, backward = (refine_words(words, TEMPLATE, s, backbone, **settings) for s in (SUPPORT, SUPPORT[::-1]))

    assert forward.label_words == backward.label_words


def test_a_relevance_score_is_the_cosine_with_the_own_name_over_the_p_mean_of_the_others():
    generator = torch.Generator().manual_seed(0)
    words, names = torch.randn(6, 2, generator=generator), torch.randn(6, 3, generator=generator)

    def cosine(a, b):
        a, b = a - a.mean(), b - b.mean()
        return (a @ b / (a.norm() * b.norm())).item()

    p = 10 / (3 - 2 + 0.01) + 1
    expected = []
    for i in range(2):
        own, *others = (cosine(words[:, i], names[:, j]) for j in (1, 0, 2))
        mean = (sum(abs(other) ** p for other in others) / 2) ** (1 / p)
        expected.append(own / mean if own >= 0 else -100.0)
    assert relevance_scores(words, names, 1).tolist() == pytest.approx(expected, rel=1e-4)


def test_with_two_classes_the_other_name_alone_counts():
    names = torch.eye(4)[:, :2]
    words = torch.tensor([[2.0], [1.0], [0.0], [0.0]])

    centred = lambda v: v - v.mean()  # noqa: E731
    a, own, other = centred(words[:, 0]), centred(names[:, 0]), centred(names[:, 1])
    assert relevance_scores(words, names, 0).item() == pytest.approx((a @ own).item() / abs((a @ other).item()))


def test_the_cut_is_where_the_scores_are_nearest_to_1():
    # at a half: (1.2 - 1)^2 + (0.9 - 1)^2, anywhere else more
    assert math.ceil(4 * best_cut([[5.0, 1.2, 0.1, -100.0], [3.0, 0.9, 0.2, 0.0]])) == 2


@pytest.mark.parametrize(
    ("words", "support", "settings", "error", "message"),
    [
        (
            {"a": ["film mess"], "b": ["good"]},
            SUPPORT,
            {},
            VerbalizerError,
            "the name 'film mess' of class 'a' can't be",
        ),
        ({"a": ["good"], "b": ["good"]}, SUPPORT, {}, VerbalizerError, "the same token as 'good'"),
        ({"a": ["bad"], "b": ["good"]}, [], {}, DataError, "support is empty"),
        ({"a": ["bad"], "b": ["good"]}, SUPPORT, {"frequency": 1.0}, TuningError, "frequency=1.0 is a share"),
        ({"a": ["bad"], "b": ["good"]}, SUPPORT, {"multi_token": "x"}, TuningError, "multi_token='x' must be one of"),
    ],
)
def test_what_cannot_be_refined_is_told(tiny_backbone, words, support, settings, error, message):
    with pytest.raises(error, match=message):
        refine_words(words, TEMPLATE, support, tiny_backbone("bert"), **{**ALL, **settings})


@pytest.mark.minilm
def test_refined_words_and_calibration_beat_names_on_real_news():
    from promptlab import SupportVerbalizer

    sample = load_sample("ag_news")
    words = {
        "World": ["politics", "government", "war", "minister", "iraq", "smooth", "tribe", "president"],
        "Sports": ["sports", "football", "team", "coach", "game", "fun", "kick", "league"],
        "Business": ["business", "market", "stock", "trade", "office", "line", "profit", "deal"],
        "Sci/Tech": ["technology", "science", "software", "dolphin", "internet", "computer", "new", "space"],
    }
    template, test = "{{ mask }} news: {{ text_a }}", sample.test[:100]
    support = [example.fields["text_a"] for example in sample.pool[:60]]

    refined = refine_words(words, template, support, "minilm", frequency=0.5, device="cpu")

    names = {name: row[:1] for name, row in words.items()}
    verbalizers = (ManualVerbalizer(names), SupportVerbalizer(ManualVerbalizer(refined.label_words), support))
    plain, kpt = (
        PromptClassifier(template, verbalizer, "minilm", "none", device="cpu").score(test, [e.label for e in test])
        for verbalizer in verbalizers
    )
    assert kpt > plain + 0.2
