from __future__ import annotations

import pytest

from promptlab import PromptClassifier, load_sample
from promptlab.errors import DataError, TuningError, UnknownNameError, VerbalizerError
from promptlab.search.label_words import rank_by_training, search_words


@pytest.mark.minilm
@pytest.mark.parametrize("engine", ["lm-bff", "petal", "autoprompt"])
def test_found_words_classify_real_reviews(engine):
    sample = load_sample("sst2")
    train, _ = sample.few_shot(21)
    test = sample.test[:100]

    found = search_words("{{ text_a }} It was {{ mask }}.", train, model="minilm", engine=engine, device="cpu")

    classifier = PromptClassifier(
        "{{ text_a }} It was {{ mask }}.", found[0].label_words, "minilm", "none", device="cpu"
    )
    assert classifier.score(test, [example.label for example in test]) > 0.58
    assert len(found) == 1


def test_ranking_by_training_scores_on_dev(tiny_backbone):
    texts, labels = ["good film", "great story", "dull mess", "awful acting"], ["p", "p", "n", "n"]
    backbone = tiny_backbone("bert")
    found = search_words("{{ text_a }} {{ mask }}", texts, labels, backbone, n=2, device="cpu")

    ranked = rank_by_training(
        found, "{{ text_a }} {{ mask }}", (texts, labels), (texts, labels), backbone, max_steps=3, device="cpu"
    )

    assert {str(one.label_words) for one in ranked} == {str(one.label_words) for one in found}
    assert ranked[0].score >= ranked[1].score
    first = PromptClassifier("{{ text_a }} {{ mask }}", ranked[0].label_words, backbone, max_steps=3, device="cpu")
    assert first.fit(texts, labels, eval_set=(texts, labels)).score(texts, labels) == ranked[0].score


@pytest.mark.parametrize(
    ("labels", "settings", "error", "message"),
    [
        (["p", "p", "n", "m"], {}, DataError, "class 'm' has 1 example"),
        (["p"] * 4, {}, DataError, "all labels are 'p'"),
        (["p", "p", "n", "n"], {"engine": "lmbff"}, UnknownNameError, "did you mean 'lm-bff'"),
        (["p", "p", "n", "n"], {"n": 0}, TuningError, "n=0 must be at least 1"),
    ],
)
def test_what_cannot_be_searched_is_told(tiny_backbone, labels, settings, error, message):
    with pytest.raises(error, match=message):
        search_words("{{ text_a }} {{ mask }}", ["a", "b", "c", "d"], labels, tiny_backbone("bert"), **settings)


def test_a_template_with_two_masks_is_refused(tiny_backbone):
    with pytest.raises(VerbalizerError, match="has 2 masks"):
        search_words("{{ text_a }} {{ mask(2) }}", ["a", "b", "c", "d"], list("ppnn"), tiny_backbone("bert"))
