from __future__ import annotations

import pytest

from promptlab.search.generation_based.gap_vocabulary import GapVocabulary

FAMILIES = {"bert": "word-piece", "roberta": "byte-bpe", "gpt2": "gpt-bpe", "t5": "t5-unigram", "albert": "unigram"}


@pytest.fixture(params=sorted(FAMILIES))
def backbone(request, tiny_backbone):
    return tiny_backbone(request.param)


def words(vocabulary, mask):
    return {vocabulary.texts[i] for i in mask.nonzero()[:, 0].tolist()}


def test_a_gap_begins_with_a_word_or_punctuation(backbone):
    vocabulary = GapVocabulary(backbone, ["great"])

    first = words(vocabulary, vocabulary.allowed([], vocabulary.starts))

    assert {" film", " was"} <= first
    assert {".", ","} & first
    assert not any(text and text[0].isalpha() and text[0].isascii() for text in first)  # would go on with a word


@pytest.mark.parametrize("word", ["Great", " great"])
def test_label_words_special_tokens_and_odd_signs_are_banned(backbone, word):
    vocabulary = GapVocabulary(backbone, [word])
    tokenizer = backbone.tokenizer

    allowed = words(vocabulary, vocabulary.kinds > 0)

    assert " great" not in allowed and " film" in allowed
    assert all(text.strip() == text.lstrip() and "_" not in text and text.strip() for text in allowed)
    assert not (vocabulary.kinds[tokenizer.all_special_ids] > 0).any()
    sentinels = [tokenizer.convert_tokens_to_ids(t) for t in tokenizer.get_vocab() if t.startswith("<extra_id")]
    assert not (vocabulary.kinds[sentinels] > 0).any()


def test_no_sign_stands_twice_in_a_row_and_no_piece_after_one(backbone):
    vocabulary = GapVocabulary(backbone, [])
    (period, *_) = [i for i, text in enumerate(vocabulary.texts) if text == "." and vocabulary.kinds[i]]

    after = words(vocabulary, vocabulary.allowed([period], vocabulary.starts))

    assert "." not in after and " ." not in after
    assert " film" in after
    assert not any(text[0].isalpha() and text[0].isascii() for text in after)


def test_pieces_go_on_with_a_word(tiny_backbone):
    vocabulary = GapVocabulary(tiny_backbone("bert"), [])
    film, ing = vocabulary.texts.index(" film"), vocabulary.texts.index("ing")

    assert vocabulary.allowed([film], vocabulary.starts)[ing]
    assert vocabulary.text([film, ing]) == " filming"


def test_a_text_that_the_tokenizer_cuts_in_another_way_isnt_exact(tiny_backbone):
    vocabulary = GapVocabulary(tiny_backbone("gpt2"), [])
    film = vocabulary.texts.index(" film")
    letters = [vocabulary.texts.index(" f"), *(vocabulary.texts.index(letter) for letter in "ilm")]

    assert vocabulary.is_exact([film])
    assert not vocabulary.is_exact(letters)


def test_word_pieces_of_a_contraction_are_joined(tiny_backbone):
    vocabulary = GapVocabulary(tiny_backbone("bert"), [])
    vocabulary.texts[5:9] = [" it", "'", " s", " sad"]

    assert vocabulary.text([5, 6, 7]) == " it's"
    assert vocabulary.text([5, 6, 8]) == " it' sad"


def test_at_the_start_of_the_input_byte_level_words_have_no_space(tiny_backbone):
    vocabulary = GapVocabulary(tiny_backbone("roberta"), [])

    assert "The" in words(vocabulary, vocabulary.first_words)
    assert " film" not in words(vocabulary, vocabulary.first_words)
