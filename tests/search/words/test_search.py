from __future__ import annotations

import numpy as np
import pytest

from promptlab import Example, InContextTemplate, PromptClassifier, load_sample
from promptlab.core.errors import DataError, TuningError, UnknownNameError, VerbalizerError
from promptlab.evaluation.cross_validation import parted
from promptlab.search.words import search as module
from promptlab.search.words.search import rank_by_training, search_words


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


TEXTS, LABELS = ["good film", "great story", "dull mess", "awful acting"], ["p", "p", "n", "n"]
DEV = (["good story", "great film", "dull acting", "awful mess", "a good film", "a dull mess"], list("ppnnpn"))
TEMPLATE = "{{ text_a }} {{ mask }}"


def test_ranking_by_training_scores_on_dev_what_was_trained_without_it(tiny_backbone):
    backbone = tiny_backbone("bert")
    found = search_words(TEMPLATE, TEXTS, LABELS, backbone, top=3, device="cpu")

    settings = {"max_steps": 3, "device": "cpu", "seed": 4}
    ranked = rank_by_training(found, TEMPLATE, (TEXTS, LABELS), DEV, backbone, **settings)

    assert {str(one.label_words) for one in ranked} == {str(one.label_words) for one in found}
    assert [one.measure for one in (*found, *ranked)] == ["train accuracy"] * 3 + ["dev accuracy"] * 3
    rights = []
    for one in ranked:
        classifier = PromptClassifier(TEMPLATE, one.label_words, backbone, **settings)
        rights.append((classifier.fit(TEXTS, LABELS).predict(DEV[0]) == np.array(DEV[1])).tolist())
    assert [one.score for one in ranked] == [sum(right) / 6 for right in rights]
    assert [one.score for one in ranked] == sorted([one.score for one in ranked], reverse=True)
    hits = []
    for repeat in range(10):
        for fold in parted(DEV[1], 3, seed=4 + repeat):
            rest = [row for row in range(6) if row not in fold]
            number = {str(one.label_words): i for i, one in enumerate(ranked)}
            best = max((number[str(one.label_words)] for one in found), key=lambda i: sum(rights[i][r] for r in rest))
            hits += [rights[best][row] for row in fold]
    assert ranked[0].estimate.accuracy == pytest.approx(sum(hits) / 60)


def test_dev_rows_whose_texts_are_training_rows_choose_nothing(tiny_backbone):
    backbone = tiny_backbone("bert")
    found = search_words(TEMPLATE, TEXTS, LABELS, backbone, top=2, device="cpu")
    settings = {"max_steps": 2, "device": "cpu"}

    more = ([*DEV[0], TEXTS[0], TEXTS[2]], [*DEV[1], "n", "n"])
    ranked = rank_by_training(found, TEMPLATE, (TEXTS, LABELS), more, backbone, **settings)

    assert ranked == rank_by_training(found, TEMPLATE, (TEXTS, LABELS), DEV, backbone, **settings)
    with pytest.raises(DataError, match="all 4 dev rows are training rows"):
        rank_by_training(found, TEMPLATE, (TEXTS, LABELS), (TEXTS, LABELS), backbone, **settings)


def test_a_search_reads_no_more_tokens_than_it_is_told(tiny_backbone):
    """The texts end in other words, which only a search of long prompts sees."""
    backbone, long = tiny_backbone("bert"), " ".join(["the film was great and so good a story"] * 3)
    ends = [[f"{text} {long} {end}" for text in TEXTS] for end in ("bad", "dull")]

    def score(texts, max_length):
        settings = {"engine": "petal", "max_length": max_length, "device": "cpu"}
        return search_words(TEMPLATE, texts, LABELS, backbone, **settings)[0].score

    assert score(ends[0], 20) == pytest.approx(score(ends[1], 20), abs=1e-5)
    assert abs(score(ends[0], 60) - score(ends[1], 60)) > 1e-4


def test_of_a_template_that_makes_several_prompts_the_mean_state_counts(tiny_backbone, monkeypatch):
    backbone, seen = tiny_backbone("bert"), []
    monkeypatch.setattr(module.WORD_SEARCHES, "get", lambda engine: lambda evidence: seen.append(evidence) or [])
    shown = [Example({"text_a": text}, label) for text, label in [("good news", "p"), ("so awful", "n")]]
    template = InContextTemplate(TEMPLATE, k=1, sets=2, examples=shown, answers={"p": "good", "n": "bad"})

    search_words(template, TEXTS, LABELS, backbone, device="cpu")

    for row, text in enumerate(TEXTS):
        states = []
        for example, answer in zip(shown, ("good", "bad"), strict=True):
            prompt = f"{example.fields['text_a']} {answer}\n\n{text} [MASK]"
            ids = backbone.tokenizer(prompt, return_tensors="pt")
            hidden = backbone.model(**ids, output_hidden_states=True).hidden_states[-1]
            at = (ids["input_ids"][0] == backbone.tokenizer.mask_token_id).nonzero()[0, 0]
            states.append(backbone.model.cls.predictions.transform(hidden[0, at]))
        assert seen[0].hidden[row].tolist() == pytest.approx(sum(states).div(2).tolist(), abs=1e-5)


def test_a_search_tries_as_many_of_the_commonest_words_as_it_is_told(tiny_backbone):
    settings = {"engine": "petal", "settings": {"words": 1000}, "device": "cpu"}

    few, more = (
        search_words(TEMPLATE, TEXTS, LABELS, tiny_backbone("bert"), candidates=n, **settings)[0].label_words
        for n in (6, 12)
    )

    tried = [{word for row in found.values() for word in row} for found in (few, more)]
    assert list(map(len, tried)) == [6, 12] and tried[0] < tried[1]


@pytest.mark.parametrize("engine", ["lm-bff", "autoprompt"])
def test_a_score_that_is_called_train_accuracy_is_that_of_the_untrained_model(tiny_backbone, engine):
    backbone = tiny_backbone("bert")

    for one in search_words(TEMPLATE, TEXTS, LABELS, backbone, engine=engine, top=3, device="cpu"):
        classifier = PromptClassifier(TEMPLATE, one.label_words, backbone, "none", device="cpu")
        assert one.measure == "train accuracy"
        assert one.score == pytest.approx(np.mean(classifier.predict(TEXTS) == np.array(LABELS)))


@pytest.mark.parametrize(
    ("labels", "settings", "error", "message"),
    [
        (["p", "p", "n", "m"], {}, DataError, "class 'm' has 1 example"),
        (["p"] * 4, {}, DataError, "all labels are 'p'"),
        (["p", "p", "n", "n"], {"engine": "lmbff"}, UnknownNameError, "did you mean 'lm-bff'"),
        (
            ["p", "p", "n", "n"],
            {"engine": "petal", "settings": {"word": 3}},
            UnknownNameError,
            "unknown setting of the engine 'petal' 'word'; did you mean 'words'",
        ),
        (["p", "p", "n", "n"], {"top": 0}, TuningError, "top=0 must be at least 1"),
    ],
)
def test_what_cannot_be_searched_is_told(tiny_backbone, labels, settings, error, message):
    with pytest.raises(error, match=message):
        search_words("{{ text_a }} {{ mask }}", ["a", "b", "c", "d"], labels, tiny_backbone("bert"), **settings)


def test_a_template_with_two_masks_is_refused(tiny_backbone):
    with pytest.raises(VerbalizerError, match="has 2 masks"):
        search_words("{{ text_a }} {{ mask(2) }}", ["a", "b", "c", "d"], list("ppnn"), tiny_backbone("bert"))
