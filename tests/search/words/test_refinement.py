from __future__ import annotations

import numpy as np
import pytest
import torch

from promptlab import ManualVerbalizer, PromptClassifier, load_sample
from promptlab.core.errors import DataError, TuningError, VerbalizerError
from promptlab.search.words.refinement import best_cut, n_kept, refine_words, relevance_scores

TEMPLATE = "{{ text_a }} it was {{ mask }}"
SUPPORT = ["the film was great", "a good story", "a dull , lifeless mess", "just awful"]
POOL = (
    "bad", "dull", "awful", "mess", "good", "great", "story", "film", "world", "news", "sports", "opera", "year",
    "acting",
)  # fmt: skip
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

    centered = lambda v: v - v.mean()  # noqa: E731
    a, own, other = centered(words[:, 0]), centered(names[:, 0]), centered(names[:, 1])
    assert relevance_scores(words, names, 0).item() == pytest.approx((a @ own).item() / abs((a @ other).item()))


def kpt_cut(ranked):
    """The share and the words kept of each class, as KPT's code finds them: each cut in turn, the first best counts."""
    longest, found = max(len(row) for row in ranked), []
    for cut in range(longest):
        share, loss = cut / longest, 0.0
        for row in ranked:
            here = int(share * len(row))
            loss += ((row[-1] if len(row) <= here else row[here]) - 1) ** 2
        found.append((loss, share))
    best = sorted(found, key=lambda pair: pair[0])[0][1]
    return best, [int(len(row) * best) or 1 for row in ranked]


@pytest.mark.parametrize(
    ("ranked", "share", "kept"),
    [
        ([[2.0, 1.0], [-100.0]], 0.5, [1, 1]),  # losses 1 + 101^2 and 0 + 101^2
        ([[2.0, -100.0], [1.5]], 0.0, [1, 1]),  # 1 + .25 against 101^2 + .25: nothing but one word each
        ([[5.0, 1.2, 0.1, -100.0], [3.0, 0.9, 0.2, 0.0]], 0.25, [1, 1]),  # .04 + .01
        ([[3.0], [2.0]], 0.0, [1, 1]),
        ([[4.0, 3.0, 2.0, 1.0, 0.0, -1.0], [1.0, 1.0]], 0.5, [3, 1]),
    ],
)
def test_the_cut_is_where_the_first_words_to_go_are_nearest_to_1(ranked, share, kept):
    assert best_cut(ranked) == share
    assert [n_kept(share, len(row)) for row in ranked] == kept
    assert kpt_cut(ranked) == (share, kept)


def test_the_cut_is_kpts_for_lists_of_any_length():
    generator = np.random.default_rng(0)
    for _ in range(200):
        sizes = generator.integers(1, 60, size=generator.integers(2, 6))
        ranked = [sorted(generator.normal(1, 1, size).tolist(), reverse=True) for size in sizes]
        share = best_cut(ranked)
        assert (share, [n_kept(share, len(row)) for row in ranked]) == kpt_cut(ranked)


def kpt_relevance(words, logits, ids):
    """Which words KPT's code keeps, from the logits of the whole vocabulary, (texts, vocabulary); names stay."""
    names = [row[0] for row in words.values()]
    column = lambda word: logits[:, ids[word]] - logits[:, ids[word]].mean()  # noqa: E731
    cosine = lambda a, b: float(column(a) @ column(b) / np.linalg.norm(column(a)) / np.linalg.norm(column(b)))  # noqa: E731
    power, ranked = 10 / (len(words) - 2 + 1e-2) + 1, []
    for number, row in enumerate(words.values()):
        scored = []
        for word in row:
            tf, others = cosine(word, row[0]), [cosine(word, n) for i, n in enumerate(names) if i != number]
            mean = np.mean(np.abs(others) ** power) ** (1 / power)
            scored.append((word, -100.0 if tf < 0 else tf / mean))
        ranked.append(sorted(scored, key=lambda pair: -pair[1]))
    _, kept = kpt_cut([[score for _, score in row] for row in ranked])
    return {
        name: {row[0], *(word for word, _ in scored[:n])}
        for (name, row), scored, n in zip(words.items(), ranked, kept, strict=True)
    }


@pytest.mark.parametrize("seed", range(4))
def test_relevance_keeps_the_words_that_kpts_code_keeps(tiny_backbone, seed):
    backbone, texts = tiny_backbone("bert"), [*SUPPORT, "world news", "the opera", "sports and technology", "a story"]
    rng = np.random.default_rng(seed)
    pool = rng.permutation(POOL)
    words = {"a": pool[:2].tolist(), "b": pool[2:7].tolist(), "c": pool[7:].tolist()}
    with torch.no_grad():
        encoded = [backbone.tokenizer(f"{text} it was [MASK]", return_tensors="pt") for text in texts]
        at_mask = [row["input_ids"][0].tolist().index(backbone.tokenizer.mask_token_id) for row in encoded]
        logits = torch.stack([backbone.model(**row).logits[0, at] for row, at in zip(encoded, at_mask, strict=True)])
    ids = {word: backbone.tokenizer.convert_tokens_to_ids(word) for row in words.values() for word in row}

    refined = refine_words(words, TEMPLATE, texts, backbone, **{**ALL, "relevance": True})

    expected = kpt_relevance(words, logits.double().numpy(), ids)
    assert {name: set(row) for name, row in refined.label_words.items()} == expected
    assert all(refined.label_words[name][0] == row[0] for name, row in words.items())


def test_a_word_that_goes_against_its_class_leaves_the_name_alone():
    names = torch.tensor([[1.0, 0.0], [-1.0, 1.0], [0.0, -1.0]])
    own = torch.cat([names[:, :1], -names[:, :1]], dim=1)  # the name, and a word that says the contrary

    assert relevance_scores(own, names, 0)[1].item() == -100.0
    ranked = sorted(relevance_scores(own, names, 0).tolist(), reverse=True)
    assert n_kept(best_cut([ranked, [2.0, 1.0]]), 2) == 1


@pytest.mark.parametrize(
    ("words", "kept", "dropped"),
    [
        (
            {"world": ["world", "Film"], "sports": ["sports", "film"]},
            {"world": ("world",), "sports": ("sports",)},
            [
                ("world", "Film", "also a word of class 'sports', there spelt 'film'"),
                ("sports", "film", "also a word of class 'world', there spelt 'Film'"),
            ],
        ),
        (
            {"world": ["world", "café", "news"], "sports": ["sports", "CAFE", "film"]},
            {"world": ("world", "news"), "sports": ("sports", "film")},
            [
                ("world", "café", "also a word of class 'sports', there spelt 'CAFE'"),
                ("sports", "CAFE", "also a word of class 'world', there spelt 'café'"),
            ],
        ),
        (
            {"world": ["world", "Film", "film", "FILM"], "sports": ["sports", "Sports"]},
            {"world": ("world", "Film"), "sports": ("sports",)},
            [
                ("world", "film", "the same token as 'Film'"),
                ("world", "FILM", "the same token as 'Film'"),
                ("sports", "Sports", "the same token as 'sports'"),
            ],
        ),
        (
            {"world": ["world", "Sports", "film"], "sports": ["sports", "film"]},
            {"world": ("world",), "sports": ("sports",)},
            [
                ("world", "Sports", "also a word of class 'sports', there spelt 'sports'"),
                ("world", "film", "also a word of class 'sports'"),
                ("sports", "film", "also a word of class 'world'"),
            ],
        ),
    ],
    ids=["case", "accents", "one-class", "name"],
)
def test_a_token_is_one_word_however_it_is_spelt(tiny_backbone, words, kept, dropped):
    refined = refine_words(words, TEMPLATE, SUPPORT, tiny_backbone("bert"), **ALL)

    assert refined.label_words == kept
    assert [tuple(one) for one in refined.dropped] == dropped


def test_first_tokens_of_two_classes_are_dropped_from_both(tiny_backbone):
    words = {"world": ["world", "film mess"], "sports": ["sports", "Film story", "dull film", "dull mess"]}

    refined = refine_words(words, TEMPLATE, SUPPORT, tiny_backbone("bert"), multi_token="first", **ALL)

    assert refined.label_words == {"world": ("world",), "sports": ("sports", "dull")}
    assert [one.word for one in refined.dropped] == ["dull mess", "film", "film"]


def test_a_first_token_that_is_only_white_space_is_no_word(tiny_backbone):
    backbone = tiny_backbone("xlm-roberta")
    words = {"world": ["World", "\u65e5"], "sports": ["sports", "film"]}
    pieces = backbone.tokenizer.tokenize("it was \u65e5")
    assert pieces[-2:] == ["\u2581", "\u65e5"]

    refined = refine_words(words, TEMPLATE, SUPPORT, backbone, multi_token="first", **ALL)

    assert refined.label_words == {"world": ("World",), "sports": ("sports", "film")}
    assert refined.dropped == [("world", "\u65e5", "'\u2581', its first token, is no word")]
    with pytest.raises(VerbalizerError, match="its first token, is no word"):
        refine_words({"a": ["\u65e5"], "b": ["film"]}, TEMPLATE, SUPPORT, backbone, multi_token="first", **ALL)


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
        ({"a": ["Good"], "b": ["good"]}, SUPPORT, {}, VerbalizerError, "the same token as 'good', the name of 'b'"),
        ({"a": ["bad"], "b": ["good"]}, [], {}, DataError, "support is empty"),
        ({"a": ["bad"], "b": ["good"]}, SUPPORT, {"frequency": 1.0}, TuningError, "frequency=1.0 must be from 0"),
        ({"a": ["bad"], "b": ["good"]}, SUPPORT, {"multi_token": "x"}, TuningError, "multi_token='x' must be one of"),
    ],
)
def test_what_cannot_be_refined_is_told(tiny_backbone, words, support, settings, error, message):
    with pytest.raises(error, match=message):
        refine_words(words, TEMPLATE, support, tiny_backbone("bert"), **{**ALL, **settings})


@pytest.mark.minilm
def test_refined_words_and_calibration_beat_names_on_real_news():
    from promptlab import SupportCalibration

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
    verbalizers = (ManualVerbalizer(names), SupportCalibration(ManualVerbalizer(refined.label_words), support))
    plain, kpt = (
        PromptClassifier(template, verbalizer, "minilm", "none", device="cpu").score(test, [e.label for e in test])
        for verbalizer in verbalizers
    )
    assert kpt > plain + 0.2
