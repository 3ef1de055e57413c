from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from promptlab import Adapter, LoRA, PromptTuning, PTuningV2, TokenClassifier
from promptlab.errors import DataError, SavedModelError, TuningError
from promptlab.saving import load_any
from promptlab.tagger import entity_f1
from promptlab.tagger_model import TaggerModel, _stretches
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


@torch.no_grad()
def test_a_padded_sentence_is_the_sentence_alone(any_backbone):
    model = TaggerModel.build(any_backbone, 3, 0.0, Frozen()).eval()
    model.linear.weight.normal_()
    windows = model.windows(SENTENCES, None, None)

    together = model(model.collate(windows))

    for row, window in enumerate(windows):
        alone = model(model.collate([window]))[0]
        torch.testing.assert_close(together[row, : len(alone)], alone, atol=1e-5, rtol=1e-5)


def test_padding_has_no_part_in_the_loss(tiny_backbone):
    model = TaggerModel.build(tiny_backbone("bert"), 2, 0.0, Frozen()).eval()
    model.linear.weight.data.normal_()
    sentences, targets = [["the", "film"], ["a", "dull", "great", "story"]], [[0, 1], [1, 0, 0, 1]]
    windows = model.windows(sentences, targets, None)

    loss = model(model.collate(windows)).item()

    total = [model(model.collate([window])).item() * len(window.targets) for window in windows]
    assert loss == pytest.approx(sum(total) / 6, abs=1e-6)


def test_special_tokens_and_empty_words_are_words_like_any_other(base):
    fitted = tagger(base, max_steps=2).fit(SENTENCES, TAGS)

    (tags,) = fitted.predict([["[MASK]", "", "\u200b", "[SEP]", "film"]])

    assert len(tags) == 5
    (window,) = fitted.model_.windows([["[SEP]", "[MASK]"]], None, None)
    assert fitted.model_.backbone.tokenizer.mask_token_id not in window.encoded.input_ids
    assert (window.encoded.input_ids == fitted.model_.backbone.tokenizer.sep_token_id).sum() == 1


def test_entity_f1_counts_whole_entities():
    truth = [["B-a", "I-a", "O", "B-b"], ["B-a"]]

    assert entity_f1(truth, truth) == 1.0
    # of 3 true and 3 found entities 2 are right: the first is cut short
    assert entity_f1(truth, [["B-a", "O", "O", "B-b"], ["B-a"]]) == pytest.approx(2 / 3)
    # 2 of 3 found, none wrong: precision 1, recall 2/3
    assert entity_f1(truth, [["B-a", "I-a", "O", "B-b"], ["O"]]) == pytest.approx(0.8)
    assert entity_f1([["O"]], [["O"]]) == 0.0


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
    ],
)
def test_bad_input_is_one_clear_line(base, X, y, message):
    with pytest.raises(DataError, match=message):
        tagger(base).fit(X, y)


@pytest.mark.parametrize(
    ("X", "message"), [("a film", "X is 'a film'"), (["a film"], "is one text; split it"), (None, "X is None")]
)
def test_what_are_no_sentences_is_not_labelled(base, X, message):
    fitted = tagger(base, max_steps=1).fit(SENTENCES, TAGS)

    with pytest.raises(DataError, match=message):
        fitted.predict(X)


def test_prompt_tuning_needs_a_template(base):
    with pytest.raises(TuningError, match="works through a template"):
        tagger(base, PromptTuning()).fit(SENTENCES, TAGS)


def test_a_saved_tagger_without_its_tags_is_damaged(base, tmp_path):
    tagger(base, max_steps=1).fit(SENTENCES, TAGS).save_pretrained(tmp_path / "out")
    file = tmp_path / "out" / "promptlab.json"
    file.write_text(file.read_text().replace('"tags"', '"tagz"'))

    with pytest.raises(SavedModelError, match="lacks 'tags'"):
        TokenClassifier.from_pretrained(tmp_path / "out")
