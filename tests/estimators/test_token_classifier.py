from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

import promptlab.estimators.token_classifier
from promptlab import Adapter, LoRA, PromptTuning, PTuningV2, TokenClassifier
from promptlab.core.errors import DataError, SavedModelError, TuningError
from promptlab.estimators.saving import load_any
from promptlab.models.tagger_model import TaggerModel, _stretches
from promptlab.tuning.frozen import Frozen

SENTENCES = [
    ["the", "opera", "Carmen", "was", "great"],
    ["news", "of", "World", "sports"],
    ["who", "wrote", "the", "opera", "?"],
    ["a", "dull", "film"],
]
TAGS = [
    ["O", "B-work", "I-work", "O", "O"],
    ["O", "O", "B-group", "I-group"],
    ["O", "O", "O", "B-work", "O"],
    ["O", "O", "B-work"],
]


def tagger(base, tuning="full", **changes):
    settings = {"max_steps": 60, "learning_rate": 5e-3, "head_learning_rate": 2e-2, "device": "cpu", **changes}
    return TokenClassifier(base, tuning, **settings)


@pytest.mark.parametrize(
    "tuning", ["full", PTuningV2(length=4), LoRA(rank=4), Adapter(size=8)], ids=lambda t: str(t)[:8]
)
def test_training_fits_the_training_set_and_comes_back_from_disk(base, tmp_path, tuning):
    fitted = tagger(base, tuning, learning_rate=1e-2).fit(SENTENCES, TAGS, eval_set=(SENTENCES, TAGS))

    fitted.save_pretrained(tmp_path / "out")

    assert fitted.predict(SENTENCES) == TAGS
    assert fitted.score(SENTENCES, TAGS) == 1.0
    assert TokenClassifier.from_pretrained(tmp_path / "out", device="cpu").predict(SENTENCES) == TAGS
    assert load_any(tmp_path / "out").predict(SENTENCES) == TAGS


@pytest.mark.parametrize("family", ["bert", "roberta"])  # RoBERTa's later words begin with a space
def test_a_word_is_read_at_its_first_token(tiny_backbone, family):
    model = TaggerModel.build(tiny_backbone(family), 2, 0.0, Frozen()).eval()

    (window,) = model.windows([["naïvely", "film"]], None, None)

    ids = model.backbone.tokenizer("naïvely film").input_ids
    assert window.encoded.input_ids.tolist() == ids
    n_first = len(model.backbone.token_ids("naïvely", at_start=True))
    assert n_first > 1
    assert window.encoded.mask_index.tolist() == [1, 1 + n_first]


def test_a_stretch_has_as_many_whole_words_as_fit():
    assert list(_stretches([2, 2, 2, 1, 3, 1, 4], 4)) == [(0, 2), (2, 4), (4, 6), (6, 7)]


def test_long_sentences_are_cut_between_words_and_every_word_gets_its_tag(base):
    fitted = tagger(base, max_steps=3).fit(SENTENCES, TAGS)
    long = ["film", "great"] * 200

    (tags,) = fitted.predict([long])

    windows = fitted.model_.windows([long], None, None)
    assert len(windows) > 1
    assert all(len(window.encoded.input_ids) <= fitted.model_.backbone.max_length for window in windows)
    assert len(tags) == len(long)


def test_the_parts_of_a_long_sentence_keep_their_order(base):
    fitted = tagger(base, learning_rate=1e-2).fit(SENTENCES, TAGS)
    long = [word for sentence in SENTENCES for word in sentence] * 12

    (tags,) = fitted.predict([long])

    alone, start = [], 0
    for window in fitted.model_.windows([long], None, None):
        stop = start + len(window.encoded.mask_index)
        alone.append(fitted.predict([long[start:stop]])[0])
        start = stop
    assert len(alone) > 2 and alone[0] != alone[1]
    assert tags == [tag for part in alone for tag in part]


@torch.no_grad()
def test_a_padded_sentence_is_the_sentence_alone(any_backbone):
    model = TaggerModel.build(any_backbone, 3, 0.0, Frozen()).eval()
    model.linear.weight.normal_()
    windows = model.windows(SENTENCES, None, None)

    together = model.log_probs(model.collate(windows))

    for row, window in enumerate(windows):
        alone = model.log_probs(model.collate([window]))[0]
        torch.testing.assert_close(together[row, : len(alone)], alone, atol=1e-5, rtol=1e-5)


def test_padding_has_no_part_in_the_loss(tiny_backbone):
    model = TaggerModel.build(tiny_backbone("bert"), 2, 0.0, Frozen()).eval()
    model.linear.weight.data.normal_()
    sentences, targets = [["the", "film"], ["a", "dull", "great", "story"]], [[0, 1], [1, 0, 0, 1]]
    windows = model.windows(sentences, targets, None)

    loss = model.loss(model.collate(windows)).item()

    total = [model.loss(model.collate([window])).item() * len(window.targets) for window in windows]
    assert loss == pytest.approx(sum(total) / 6, rel=1e-6)


def test_special_tokens_and_empty_words_are_words_like_any_other(base):
    fitted = tagger(base, max_steps=2).fit(SENTENCES, TAGS)

    (tags,) = fitted.predict([["[MASK]", "", "\u200b", "[SEP]", "film"]])

    assert len(tags) == 5
    (window,) = fitted.model_.windows([["[SEP]", "[MASK]"]], None, None)
    assert fitted.model_.backbone.tokenizer.mask_token_id not in window.encoded.input_ids
    assert (window.encoded.input_ids == fitted.model_.backbone.tokenizer.sep_token_id).sum() == 1


def told(fitted, monkeypatch, tags):
    """Let a fitted tagger say these tags."""
    monkeypatch.setattr(fitted, "predict", lambda X: tags)
    return fitted


TWO = [["the", "opera", "Carmen", "news"], ["World"]]


@pytest.mark.parametrize(
    ("truth", "said", "expected"),
    [
        # of 3 true and 3 found entities 2 are right: the first is cut short
        ([["B-a", "I-a", "O", "B-b"], ["B-a"]], [["B-a", "O", "O", "B-b"], ["B-a"]], 2 / 3),
        ([["B-a", "L-a", "O", "U-b"], ["U-a"]], [["U-a", "O", "O", "U-b"], ["U-a"]], 2 / 3),
        # 2 of 3 found, none wrong: precision 1, recall 2/3
        ([["B-a", "E-a", "O", "S-b"], ["S-a"]], [["B-a", "E-a", "O", "S-b"], ["O"]], 0.8),
        ([["I-a", "I-a", "O", "I-b"], ["I-a"]], [["I-a", "I-a", "O", "I-b"], ["O"]], 0.8),
        ([["NOUN", "VERB", "NOUN", "NOUN"], ["VERB"]], [["NOUN", "VERB", "VERB", "NOUN"], ["VERB"]], 4 / 5),
    ],
)
def test_entities_are_scored_by_f1_and_other_tags_by_accuracy(base, monkeypatch, tmp_path, truth, said, expected):
    fitted = tagger(base, max_steps=1).fit(TWO, truth, eval_set=(TWO, truth))
    fitted.save_pretrained(tmp_path / "out")

    assert told(fitted, monkeypatch, truth).score(TWO, truth) == 1.0
    assert told(fitted, monkeypatch, said).score(TWO, truth) == pytest.approx(expected)
    name = "dev_accuracy" if truth[0][0] == "NOUN" else "dev_f1"
    assert set(fitted.history_[-1]) == {"step", "loss", name, "dev_loss"}
    again = TokenClassifier.from_pretrained(tmp_path / "out", device="cpu")
    assert told(again, monkeypatch, said).score(TWO, truth) == pytest.approx(expected)


@pytest.mark.parametrize("kind", ["IO", "BILOU", "plain"])
def test_the_best_weights_are_the_latest_within_one_standard_error_of_the_highest_score(base, monkeypatch, kind):
    words = ["the", "opera", "film", "story", "news", "world", "sports", "business", "of", "and", "great", "good"]
    rng = np.random.default_rng(0)
    sentences = [[words[i] for i in rng.integers(len(words), size=6)] for _ in range(12)]
    entity = {"IO": "I-work", "BILOU": "U-work", "plain": "NOUN"}[kind]
    usual = "X" if kind == "plain" else "O"
    tags = [[entity if word in words[:4] else usual for word in row] for row in sentences]
    if kind == "IO":  # one entity ends where the next begins, which I alone can't say
        sentences = [[part for word in row for part in (word, "a")] for row in sentences]
        tags = [[part for tag in row for part in (tag, "O")] for row in tags]
    seen = []
    named = promptlab.estimators.token_classifier._named

    def noted(log_probs, names):
        said = named(log_probs, names)
        right = sum(one == other == entity for a, b in zip(tags, said) for one, other in zip(a, b))
        n = sum(tag == entity for rows in (tags, said) for row in rows for tag in row)
        if kind == "plain":
            n = sum(map(len, tags))
            right = sum(one == other for a, b in zip(tags, said) for one, other in zip(a, b)) / 2
        places = [(i, j, names.index(tag)) for i, row in enumerate(tags) for j, tag in enumerate(row)]
        loss = -sum(log_probs[i][j, k].item() for i, j, k in places) / len(places)
        seen.append((2 * right / max(1, n), max(1, n), loss, said))
        return said

    monkeypatch.setattr("promptlab.estimators.token_classifier._named", noted)
    fitted = tagger(base, "frozen", max_steps=15, eval_every=1, learning_rate=3e-1, head_learning_rate=3e-1, seed=1)

    fitted.fit(sentences, tags, eval_set=(sentences, tags))

    highest, n = max((score[:2] for score in seen), key=lambda pair: pair[0])
    near = [number for number, score in enumerate(seen) if score[0] >= highest - (highest * (1 - highest) / n) ** 0.5]
    assert len({score[0] for score in seen}) > 4
    name = "dev_accuracy" if kind == "plain" else "dev_f1"
    assert [record[name] for record in fitted.history_] == pytest.approx([score[0] for score in seen])
    assert [record["dev_loss"] for record in fitted.history_] == pytest.approx([score[2] for score in seen], rel=1e-5)
    assert fitted.predict(sentences) == seen[near[-1]][3]


@pytest.mark.parametrize(
    ("rows", "place"),
    [
        ([["B-x", "o"]], "sentence 2 of y has the tag 'o'"),
        ([["O", "B_P"]], "sentence 2 of y has the tag 'B_P'"),
        ([["B-x", "O"]], "sentence 2 of y has the tag 'B-x' at word 1"),  # where others are BILOU
    ],
)
def test_tags_of_no_scheme_are_told_before_any_training(monkeypatch, rows, place):
    def loaded(*_):
        raise AssertionError("the model was loaded")

    monkeypatch.setattr("promptlab.estimators.token_classifier.fresh_backbone", loaded)
    first = ["U-x", "O"] if "word 1" in place else ["O", "O"]

    with pytest.raises(DataError, match=place):
        tagger("nowhere").fit([["a", "b"]] * 2, [first, *rows])
    with pytest.raises(DataError, match=r"sentence 1 of the dev tags has the tag 'U-x'"):
        tagger("nowhere").fit([["a", "b"]], [["B-x", "O"]], eval_set=([["a"]], [["U-x"]]))


def test_it_follows_scikit_learn(base):
    original = tagger(base, max_steps=3)

    assert clone(original).get_params() == original.get_params()
    with pytest.raises(NotFittedError):
        original.predict(SENTENCES)
    first, second = (clone(original).fit(SENTENCES, TAGS).model_.linear.weight.detach().numpy() for _ in range(2))
    assert np.array_equal(first, second)


@pytest.mark.parametrize(
    ("X", "y", "message"),
    [
        ([], [], "no sentences"),
        (SENTENCES, TAGS[:3], "4 sentences, but 3 rows"),
        ([["a", "b"]], [["O"]], "2 words, but 1 tags"),
        (["a b"], [["O", "O"]], "split it into a list of words"),
        ([["a"]], [["O"]], "all words have the tag 'O'"),
        (None, TAGS, "X is None; pass a list with a list"),
        (SENTENCES, None, "y is None; pass a list with a list"),
        ([["a", 1]], [["O", "O"]], "sentence 1 of X holds 1; words and tags are texts"),
        ([["a", "b"]], [["O", None]], "sentence 1 of y holds None"),
        ([["a", "b"]], ["OB"], "sentence 1 of y is one text"),
        ([None], [["O"]], "sentence 1 of X holds None"),
        ([[]], [[]], "no sentences with words"),
        ([{"tokens": ["a"], "tags": ["O"]}], [["O"]], r"sentence 1 of X is a mapping with the keys 'tokens', 'tags'"),
        ([["a"]], [{"tags": ["O"]}], r"sentence 1 of y is a mapping.* as in \[row\['tags'\] for row in y\]"),
        ([{}], [["O"]], "sentence 1 of X is a mapping with the keys none"),
        ([{"a", "b"}], [["O", "B-x"]], "sentence 1 of X holds {'"),  # which has no order
        ({("a",): 1}.keys(), [["O"]], "X is dict_keys"),
        (pd.DataFrame({"tokens": [["a"]]}), [["O"]], "X is .*pass a list with a list"),
    ],
)
def test_bad_input_is_one_clear_line(base, X, y, message):
    with pytest.raises(DataError, match=message):
        tagger(base).fit(X, y)


@pytest.mark.parametrize(
    ("X", "message"), [("a film", "X is 'a film'"), (["a film"], "is one text; split it"), (None, "X is None")]
)
def test_what_are_no_sentences_is_not_labeled(base, X, message):
    fitted = tagger(base, max_steps=1).fit(SENTENCES, TAGS)

    with pytest.raises(DataError, match=message):
        fitted.predict(X)


@pytest.mark.parametrize("tuning", [PromptTuning(), "p-tuning"])
def test_prompt_tuning_needs_a_template(base, tuning):
    with pytest.raises(TuningError, match=r"works through a template.* try p-tuning-v2"):
        tagger(base, tuning).fit(SENTENCES, TAGS)


def test_a_layer_of_tags_that_nothing_trains_is_refused(base):
    with pytest.raises(TuningError, match=r"'none' trains nothing.* choose 'frozen'"):
        TokenClassifier(base, "none", device="cpu").fit(SENTENCES, TAGS)


@pytest.mark.parametrize("eval_set", [SENTENCES, (SENTENCES,)])
def test_a_dev_set_is_sentences_and_their_tags(base, eval_set):
    with pytest.raises(DataError, match=r"pass a pair \(X, y\) of sentences and their tags\.$"):
        tagger(base).fit(SENTENCES, TAGS, eval_set=eval_set)
    with pytest.raises(TuningError, match=r"pass eval_set\.$"):
        tagger(base, patience=2).fit(SENTENCES, TAGS)


def test_a_saved_tagger_without_its_tags_is_damaged(base, tmp_path):
    tagger(base, max_steps=1).fit(SENTENCES, TAGS).save_pretrained(tmp_path / "out")
    file = tmp_path / "out" / "promptlab.json"
    file.write_text(file.read_text().replace('"tags"', '"tagz"'))

    with pytest.raises(SavedModelError, match="lacks 'tags'"):
        TokenClassifier.from_pretrained(tmp_path / "out")
