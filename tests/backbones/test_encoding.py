from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import PreTrainedTokenizerFast

from promptlab.backbones.encoding import PromptEncoder
from promptlab.backbones.shortening import shares
from promptlab.core.errors import TemplateError
from promptlab.core.types import Example
from promptlab.templates.manual import ManualTemplate
from promptlab.templates.plain import InputTemplate

KINDS = ("word-piece", "byte-bpe", "unigram", "unigram-first")
SOURCES = (
    "{{ text_a }} {{ mask }}",
    "{{ text_a }} It was {{ mask }}.",
    "{{ mask }}: {{ text_a }}",
    '"{{ text_a }}"({{ mask }})',
    "{{ text_a }}{{ mask }} {{ text_b }}",
    "{{ text_a }}? {{ sep }} {{ mask }}, {{ text_b }}",
    "{{ mask(2) }}{{ text_a }}",
    "{{ text_a }} {{ mask }} {{ mask }} {{ text_b }}{{ sep }}{{ text_b }}",
)
SPECIAL = ("[MASK]", "[SEP]", "[CLS]", "[PAD]", "[UNK]", "<mask>", "</s>", "<s>", "<pad>", "<unk>")
words = st.sampled_from(
    ["film", "great", "naïve", "日本", "🙂", "(too)", "it's", "\t", "\u200b", "\x00", "\u3000", "a\u0301"]
)
texts = st.one_of(st.text(max_size=40), st.lists(words, max_size=12).map(" ".join)).filter(
    lambda text: not any(token in text for token in SPECIAL)
)


def encode(tokenizer, source, *, max_length=10_000, **fields):
    prompt = ManualTemplate(source).render(Example(fields))
    return PromptEncoder(tokenizer).encode([prompt], soft_ids={}, max_length=max_length)[0]


def whole_string(tokenizer, source, **fields):
    """The prompt as one string with the tokenizer's own special tokens in it."""
    separator = "[SEP]" if tokenizer.sep_token == "[SEP]" else "</s></s>"
    for name, value in {"mask(2)": tokenizer.mask_token * 2, "mask": tokenizer.mask_token, "sep": separator}.items():
        source = source.replace(f"{{{{ {name} }}}}", value)
    for name, value in fields.items():
        source = source.replace(f"{{{{ {name} }}}}", value)
    return source


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=30, deadline=None)
@given(text_a=texts, text_b=texts)
def test_ids_are_those_of_the_whole_string(tokenizers, kind, source, text_a, text_b):
    tokenizer = tokenizers[kind]

    encoded = encode(tokenizer, source, text_a=text_a, text_b=text_b)

    assert (
        encoded.input_ids.tolist() == tokenizer(whole_string(tokenizer, source, text_a=text_a, text_b=text_b)).input_ids
    )
    assert (encoded.input_ids[encoded.mask_index] == tokenizer.mask_token_id).all()


@pytest.mark.parametrize("n_words", [0, 1, 10_000])
@pytest.mark.parametrize("kind", KINDS)
def test_the_mask_survives_texts_of_any_length(tokenizers, kind, n_words):
    tokenizer = tokenizers[kind]

    encoded = encode(tokenizer, "{{ text_a }} It was {{ mask }}.", text_a="film " * n_words, max_length=64)

    assert len(encoded.input_ids) == 64 if n_words == 10_000 else len(encoded.input_ids) < 64
    ends = tokenizer(f"was{tokenizer.mask_token}.").input_ids
    assert encoded.mask_index.tolist() == [len(encoded.input_ids) - len(ends) + ends.index(tokenizer.mask_token_id)]
    assert np.flatnonzero(encoded.input_ids == tokenizer.mask_token_id).tolist() == encoded.mask_index.tolist()
    assert len(encoded.mask_index) == 1
    assert (encoded.n_cut > 0) == (n_words == 10_000)


@pytest.mark.parametrize("text", [*SPECIAL, "{{ mask }}", "a </s> b [MASK]", "<mask><mask>"])
@pytest.mark.parametrize("kind", KINDS)
def test_special_tokens_in_a_text_are_plain_characters(tokenizers, kind, text):
    tokenizer = tokenizers[kind]
    special = set(tokenizer.all_special_ids) - {tokenizer.unk_token_id}

    encoded = encode(tokenizer, "{{ text_a }} It was {{ mask }}.", text_a=text)
    without = encode(tokenizer, "{{ text_a }} It was {{ mask }}.", text_a="")

    assert [i for i in encoded.input_ids if i in special] == [i for i in without.input_ids if i in special]
    assert len(encoded.input_ids) > len(without.input_ids)
    assert encoded.input_ids[-4:].tolist() == without.input_ids[-4:].tolist()


@pytest.mark.parametrize("token", [*SPECIAL, "{{ mask }}"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_special_token_inside_a_text_leaves_its_neighbours_as_they_are(tokenizers, kind, token):
    tokenizer = tokenizers[kind]

    encoded = encode(tokenizer, "{{ text_a }}{{ mask }}", text_a=f"great {token} film")

    ids = encoded.input_ids.tolist()
    before = tokenizer("great", add_special_tokens=False).input_ids
    after = tokenizer("great film", add_special_tokens=False).input_ids[len(before) :]
    assert ids[1 : 1 + len(before)] == before
    assert ids[-2 - len(after) : -2] == after
    assert encoded.mask_index.tolist() == [len(ids) - 2] == [ids.index(tokenizer.mask_token_id)]


@pytest.mark.parametrize("kind", ["unigram", "unigram-first"])
def test_a_special_token_in_a_text_is_spelled_with_the_pieces_of_its_letters(tokenizers, kind):
    tokenizer = tokenizers[kind]

    ids = encode(tokenizer, "{{ text_a }}{{ mask }}", text_a="great</s>").input_ids.tolist()

    assert tokenizer.convert_ids_to_tokens(ids) == ["<s>", "▁great", "<", "/", "s", ">", "<mask>", "</s>"]


@pytest.mark.parametrize("kind", KINDS)
def test_half_a_character_is_an_error_that_shows_where(tokenizers, kind):
    with pytest.raises(TemplateError, match=r"a film \\ud83d' ends in half of a character"):
        encode(tokenizers[kind], "{{ text_a }} {{ mask }}", text_a="a film \ud83d!")


@pytest.mark.parametrize("kind", KINDS)
def test_token_types_switch_after_the_separator_as_in_a_pair(tokenizers, kind):
    tokenizer = tokenizers[kind]

    encoded = encode(tokenizer, "{{ text_a }}{{ sep }}{{ text_b }}{{ mask }}", text_a="a film", text_b="great")

    pair = tokenizer("a film", "great", return_token_type_ids=True)
    assert encoded.segment_ids.tolist()[: len(pair.token_type_ids) - 1] == pair.token_type_ids[:-1]
    n_first = len(tokenizer("a film").input_ids)  # with the closing separator
    assert encoded.input_ids.tolist()[: n_first + 1] == pair.input_ids[: n_first + 1]


@pytest.mark.parametrize("kind", ["word-piece", "byte-bpe", "unigram"])
@settings(max_examples=40, deadline=None)
@given(text_a=texts, text_b=texts.filter(bool))  # transformers takes an empty second text for none
def test_two_plain_fields_are_the_tokenizers_own_pair(tokenizers, kind, text_a, text_b):
    tokenizer = tokenizers[kind]
    prompt = InputTemplate(("text_a", "text_b")).render(Example({"text_a": text_a, "text_b": text_b}))

    encoded = PromptEncoder(tokenizer).encode([prompt], soft_ids={}, max_length=10_000)[0]

    pair = tokenizer(text_a, text_b, return_token_type_ids=True)
    assert encoded.input_ids.tolist() == pair.input_ids
    assert encoded.segment_ids.tolist() == pair.token_type_ids


def one_at_a_time(lengths, room):
    """Remove one token after the other from the longest field, of equal ones from the last."""
    kept = list(lengths)
    while sum(kept) > room:
        longest = max(kept)
        last = max(i for i, n in enumerate(kept) if n == longest)
        kept[last] -= 1
    return kept


@given(st.lists(st.integers(0, 30), min_size=1, max_size=5), st.integers(0, 60))
def test_the_longest_field_is_cut_first(lengths, room):
    assert shares(lengths, room) == one_at_a_time(lengths, room)


CUT_SOURCE = "{{ text_a }} It was {{ mask }}, {{ text_b }}{{ sep }} {{ text_c | keep }}"


some_words = st.lists(st.sampled_from(["film", "great", "story", "acting", "lifeless"]), min_size=1, max_size=30)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=40, deadline=None)
@given(some_words.map(" ".join), some_words.map(" ".join), st.integers(30, 90))
def test_truncation_removes_one_token_after_the_other_from_the_longest_field(
    tokenizers, kind, text_a, text_b, max_length
):
    tokenizer = tokenizers[kind]
    fields = {"text_a": text_a, "text_b": text_b, "text_c": "a mess"}
    whole = encode(tokenizer, CUT_SOURCE, **fields).input_ids.tolist()
    ids_a = tokenizer(text_a, add_special_tokens=False).input_ids
    ids_b = tokenizer(f"a {text_b}", add_special_tokens=False).input_ids[1:]  # "a" is one token; the space goes along

    encoded = encode(tokenizer, CUT_SOURCE, max_length=max_length, **fields)

    lengths = [len(ids_a), len(ids_b)]
    stop = whole.index(tokenizer.sep_token_id)
    between, after = whole[1 + lengths[0] : stop - lengths[1]], whole[stop:]
    assert whole == [whole[0], *ids_a, *between, *ids_b, *after]
    kept = one_at_a_time(lengths, max_length - 1 - len(between) - len(after))
    assert encoded.input_ids.tolist() == [whole[0], *ids_a[: kept[0]], *between, *ids_b[: kept[1]], *after]
    assert encoded.n_cut == sum(lengths) - sum(kept)
    assert encoded.input_ids[encoded.mask_index].tolist() == [tokenizer.mask_token_id]


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=40, deadline=None)
@given(text_a=texts, text_b=texts, max_length=st.integers(20, 60))
def test_any_text_that_is_too_long_is_cut_to_the_limit_and_only_loses_tokens(
    tokenizers, kind, text_a, text_b, max_length
):
    source = "{{ text_a }} {{ mask }} {{ text_b }}"
    whole = encode(tokenizers[kind], source, text_a=text_a, text_b=text_b)

    encoded = encode(tokenizers[kind], source, max_length=max_length, text_a=text_a, text_b=text_b)

    assert len(encoded.input_ids) == min(len(whole.input_ids), max_length)
    assert encoded.n_cut == len(whole.input_ids) - len(encoded.input_ids)
    left = iter(whole.input_ids.tolist())
    assert all(token in left for token in encoded.input_ids.tolist())  # a subsequence
    assert encoded.input_ids[encoded.mask_index].tolist() == [tokenizers[kind].mask_token_id]


def test_the_first_word_of_a_field_can_be_cut_with_the_space_before_it(tokenizers):
    tokenizer = tokenizers["unigram-first"]

    encoded = encode(tokenizer, "{{ mask }}: {{ text_a }} {{ text_b }}", text_a="great", text_b="film", max_length=5)

    assert tokenizer.convert_ids_to_tokens(encoded.input_ids.tolist()) == ["<s>", "<mask>", ":", "▁great", "</s>"]


def test_fields_are_cut_at_their_ends_and_nothing_else_is(tokenizers):
    tokenizer = tokenizers["word-piece"]
    source = "{{ text_a }} It was {{ mask }}. {{ text_b }}"
    text_a, text_b = "film great story good bad " * 20, "dull mess"

    encoded = encode(tokenizer, source, text_a=text_a, text_b=text_b, max_length=30)

    ids = {
        name: tokenizer(text, add_special_tokens=False).input_ids for name, text in {"a": text_a, "b": text_b}.items()
    }
    fixed = tokenizer("It was [MASK].", add_special_tokens=False).input_ids
    room = 30 - 2 - len(fixed) - len(ids["b"])
    assert encoded.input_ids.tolist() == [
        tokenizer.cls_token_id,
        *ids["a"][:room],
        *fixed,
        *ids["b"],
        tokenizer.sep_token_id,
    ]
    assert encoded.n_cut == len(ids["a"]) - room


def test_kept_fields_are_never_cut(tokenizers):
    tokenizer = tokenizers["word-piece"]

    encoded = encode(
        tokenizer,
        "{{ text_a }} {{ mask }} {{ text_b | keep }}",
        text_a="film " * 50,
        text_b="good " * 20,
        max_length=30,
    )

    good = tokenizer("good", add_special_tokens=False).input_ids
    assert encoded.input_ids.tolist()[-1 - 20 * len(good) : -1] == good * 20


def test_a_limit_that_leaves_nothing_of_the_text_is_an_error(tokenizers):
    with pytest.raises(TemplateError, match="takes 4 tokens besides what may be shortened, of 4 that fit"):
        encode(tokenizers["word-piece"], "It was {{ mask }}. {{ text_a }}", text_a="film", max_length=2 + 4)


def test_a_kept_field_that_does_not_fit_is_an_error_and_not_a_cut(tokenizers):
    with pytest.raises(TemplateError, match=r"drop a \| keep"):
        encode(tokenizers["word-piece"], "{{ text_a | keep }} {{ mask }}", text_a="film " * 50, max_length=30)


def test_a_model_without_a_mask_or_a_separator_says_so(tokenizers):
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(WordLevel({"a": 0, "[UNK]": 1}, unk_token="[UNK]")), unk_token="[UNK]"
    )

    with pytest.raises(TemplateError, match="no mask token"):
        encode(tokenizer, "{{ text_a }} {{ mask }}", text_a="a")
    with pytest.raises(TemplateError, match="no separator"):
        encode(tokenizer, "{{ text_a }} {{ sep }} {{ mask }}", text_a="a")


@pytest.mark.parametrize(
    ("kind", "word", "at_start", "tokens"),
    [
        ("word-piece", "Film", False, ["film"]),
        ("word-piece", "film", True, ["film"]),
        ("byte-bpe", "was", False, ["Ġwas"]),
        ("byte-bpe", "a", True, ["a"]),
        ("unigram", "film", False, ["▁film"]),
        ("unigram", "film", True, ["▁film"]),
        ("unigram-first", "film", False, ["▁film"]),
    ],
)
def test_a_word_has_the_ids_it_has_in_its_place(tokenizers, kind, word, at_start, tokens):
    ids = PromptEncoder(tokenizers[kind]).token_ids(word, at_start=at_start)

    assert tokenizers[kind].convert_ids_to_tokens(ids) == tokens


def test_soft_tokens_stand_where_the_template_puts_them(tokenizers):
    tokenizer = tokenizers["word-piece"]
    prompt = ManualTemplate("{{ soft(2, id='p') }} {{ text_a }} {{ mask }}").render(Example({"text_a": "film"}))

    encoded = PromptEncoder(tokenizer).encode([prompt], soft_ids={"p": [900, 901]}, max_length=64)[0]

    film = tokenizer("film", add_special_tokens=False).input_ids
    assert encoded.input_ids.tolist() == [
        tokenizer.cls_token_id,
        900,
        901,
        *film,
        tokenizer.mask_token_id,
        tokenizer.sep_token_id,
    ]


def test_a_template_that_cannot_fit_is_an_error_that_shows_it(tokenizers):
    with pytest.raises(TemplateError, match="It was"):
        encode(tokenizers["word-piece"], "{{ text_a }} " + "It was " * 40 + "{{ mask }}", text_a="film", max_length=30)


def test_unfilled_triggers_are_an_error(tokenizers):
    with pytest.raises(TemplateError, match="no search has filled"):
        encode(tokenizers["word-piece"], "{{ text_a }} {{ trigger(3) }} {{ mask }}", text_a="film")


def test_a_batch_is_its_rows_one_by_one(tokenizers):
    tokenizer = tokenizers["unigram-first"]
    prompts = [ManualTemplate(source).render(Example({"text_a": "a film", "text_b": "b"})) for source in SOURCES]

    together = PromptEncoder(tokenizer).encode(prompts, soft_ids={}, max_length=64)

    for prompt, row in zip(prompts, together):
        alone = PromptEncoder(tokenizer).encode([prompt], soft_ids={}, max_length=64)[0]
        assert row.input_ids.tolist() == alone.input_ids.tolist()
