from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from promptlab.backbones.encoding import PromptEncoder, _shares
from promptlab.errors import TemplateError
from promptlab.templates.manual import ManualTemplate
from promptlab.types import Example

KINDS = ("word-piece", "byte-bpe", "unigram", "unigram-first")
SOURCES = (
    "{{ text_a }} It was {{ mask }}.",
    "{{ mask }}: {{ text_a }}",
    '"{{ text_a }}"({{ mask }})',
    "{{ text_a }}{{ mask }} {{ text_b }}",
    "{{ text_a }}? {{ sep }} {{ mask }}, {{ text_b }}",
    "{{ mask(2) }}{{ text_a }}",
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
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
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

    encoded = encode(tokenizer, SOURCES[0], text_a="film " * n_words, max_length=32)

    assert len(encoded.input_ids) <= 32
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


def test_a_special_token_inside_a_text_leaves_its_neighbours_as_they_are(tokenizers):
    tokenizer = tokenizers["word-piece"]

    ids = encode(tokenizer, "{{ text_a }} {{ mask }}", text_a="great [MASK] film").input_ids.tolist()

    parts = [tokenizer(part, add_special_tokens=False).input_ids for part in ("great", "film")]
    assert ids[1 : 1 + len(parts[0])] == parts[0]
    assert ids[-2 - len(parts[1]) : -2] == parts[1]


@pytest.mark.parametrize("kind", KINDS)
def test_token_types_switch_after_the_separator_as_in_a_pair(tokenizers, kind):
    tokenizer = tokenizers[kind]

    encoded = encode(tokenizer, "{{ text_a }}{{ sep }}{{ text_b }}{{ mask }}", text_a="a film", text_b="great")

    pair = tokenizer("a film", "great", return_token_type_ids=True)
    assert encoded.segment_ids.tolist()[: len(pair.token_type_ids) - 1] == pair.token_type_ids[:-1]
    n_first = len(tokenizer("a film").input_ids)  # with the closing separator
    assert encoded.input_ids.tolist()[: n_first + 1] == pair.input_ids[: n_first + 1]


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
    assert _shares(lengths, room) == one_at_a_time(lengths, room)


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
