"""Answers have the ids of the whole text with the answer written in it, as the model's own tokenizer cuts it."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from promptlab import MultiTokenVerbalizer, PromptClassifier
from promptlab.backbones.causal import CausalEncoder
from promptlab.backbones.encoding import PromptEncoder
from promptlab.core.errors import TemplateError, VerbalizerError
from promptlab.core.places import AnswerSlot, Place
from promptlab.core.types import Example
from promptlab.templates.demonstrations import InContextTemplate
from promptlab.templates.manual import ManualTemplate
from promptlab.tuning.soft_prompts import SoftPromptTemplate
from promptlab.verbalizers.rules import RuleVerbalizer
from tests.conftest import SENTENCES, _fast, make_backbone

MASKED_KINDS = ("word-piece", "byte-bpe", "unigram", "unigram-first")
SOURCES = (
    "{{ text_a }} It was {{ mask }}.",
    "{{ text_a }} ({{ mask }})",
    '{{ text_a }}: "{{ mask }}"!',
    "{{ mask }}: {{ text_a }}",
    "({{ mask }}) {{ text_a }}",
    "{{ text_a }}日{{ mask }}。",
    "{{ text_a }}: 日{{ mask }}中",
    "{{ text_a }}{{ sep }}{{ mask }}, {{ text_b }}",
    "{{ text_a }}? {{ sep }} {{ mask }}, {{ text_b }}",
    "{{ text_a }}{{ sep }}-{{ mask }}",
    "{{ text_a }} un{{ mask }}",
    "{{ text_a }} {{ mask }}s",
)
WORDS = st.sampled_from(
    ["good", "film", "great", "terrible", "acting", "dull mess", "中", "国", "日本", "a", "not good", "naïve", "x y z"]
)


def whole_text(tokenizer, source, word, **fields):
    separator = "[SEP]" if tokenizer.sep_token == "[SEP]" else "</s></s>"
    text = source.replace("{{ sep }}", separator).replace("{{ mask }}", word)
    for name, value in fields.items():
        text = text.replace(f"{{{{ {name} }}}}", value)
    return text


def by_the_tokenizer(tokenizer, source, word, before, after):
    """Ids that stand where a word is written, by the whole text; None if one of its tokens reaches over its ends."""
    text = whole_text(tokenizer, source, word, text_a="The film was great.", text_b="so")
    start = whole_text(tokenizer, source.split("{{ mask }}")[0], "", text_a="The film was great.")
    ids = tokenizer(text).input_ids
    same = [before == ids[: len(before)], not after or after == ids[-len(after) :]]
    if all(same) and len(ids) > len(before) + len(after):
        return ids[len(before) : len(ids) - len(after)]
    first, stop = len(start.rstrip()), len(start) + len(word)  # the space before a word is its own
    spans = tokenizer(text, return_offsets_mapping=True).offset_mapping
    inside = [(ids[i], begin, end) for i, (begin, end) in enumerate(spans) if begin < stop and end > first]
    reaches_over = any(begin < first or end > stop for _, begin, end in inside)
    return None if reaches_over else [token for token, _, _ in inside]


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("kind", MASKED_KINDS)
@settings(max_examples=20, deadline=None)
@given(word=WORDS)
def test_an_answer_has_the_ids_that_stand_there_when_it_is_written(tokenizers, kind, source, word):
    tokenizer, template = tokenizers[kind], ManualTemplate(source)
    encoder = PromptEncoder(tokenizer)
    prompt = template.render(Example({"text_a": "The film was great.", "text_b": "so"}))
    (row,) = encoder.encode([prompt], soft_ids={}, max_length=1000)
    place = int(row.mask_index[0])
    expected = by_the_tokenizer(
        tokenizer, source, word, row.input_ids[:place].tolist(), row.input_ids[place + 1 :].tolist()
    )

    try:
        ids = encoder.answer_ids(word, template.slot.place)
    except VerbalizerError:
        ids = None

    assert ids == expected


def llama_bpe(byte_tokens_are_special):
    """Llama's kind: the mark of a space once at the start, merges over whole texts, bytes for unknown characters."""
    in_bytes = [f"<0x{byte:02X}>" for byte in range(256)]
    words = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    words.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    special = ["<unk>", "<s>", "</s>", *in_bytes]
    words.train_from_iterator(SENTENCES, trainers.BpeTrainer(vocab_size=800, special_tokens=special))
    learnt = json.loads(words.to_str())["model"]
    merges = [tuple(pair) for pair in learnt["merges"]]
    tokenizer = Tokenizer(
        models.BPE(vocab=learnt["vocab"], merges=merges, unk_token="<unk>", byte_fallback=True, fuse_unk=True)
    )
    tokenizer.add_special_tokens(special if byte_tokens_are_special else special[:3])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> <s> $B </s>", special_tokens=[("<s>", 1), ("</s>", 2)]
    )
    names = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=64, **names)


CAUSAL_KINDS = {
    "gpt-bpe": None,
    "llama-bpe": llama_bpe(byte_tokens_are_special=False),
    "llama-bpe-special": llama_bpe(byte_tokens_are_special=True),
}
CAUSAL_SOURCES = (
    "{{ text_a }} It was {{ mask }}",
    "{{ text_a }}\nAnswer: {{ mask }}",
    "{{ text_a }}:{{ mask }}",
    '{{ text_a }} "{{ mask }}',
    "{{ text_a }}-{{ mask }}",
    "{{ text_a }}日{{ mask }}",
    "{{ text_a }}{{ mask }}",
    "{{ text_a }} un{{ mask }}",
)


@pytest.mark.parametrize("source", CAUSAL_SOURCES)
@pytest.mark.parametrize("kind", CAUSAL_KINDS)
@pytest.mark.parametrize("word", ["good", "great film", "中", "Yes", "terrible", "not good.", "🙂"])
def test_a_causal_prompt_and_its_answer_are_the_whole_text(tokenizers, kind, source, word):
    tokenizer, template = CAUSAL_KINDS[kind] or tokenizers[kind], ManualTemplate(source)
    encoder, text = CausalEncoder(tokenizer), "The film was great."
    (row,) = encoder.encode([template.render(Example({"text_a": text}))], soft_ids={}, max_length=1000)
    whole = tokenizer(source.replace("{{ text_a }}", text).replace("{{ mask }}", word)).input_ids
    whole = whole[: -len(encoder.frame.after)] if encoder.frame.after else whole

    ids = encoder.answer_ids(word, template.slot.place)

    assert [*row.input_ids.tolist(), *ids] == whole


def test_the_oracle_finds_answers_that_are_joined_and_answers_that_are_not(tokenizers):
    """So that the property above can't hold for nothing."""
    assert by_the_tokenizer(tokenizers["word-piece"], "{{ text_a }} un{{ mask }}", "g", [], ["?"]) == [
        tokenizers["word-piece"].convert_tokens_to_ids("##g")
    ]
    assert by_the_tokenizer(tokenizers["word-piece"], "{{ text_a }} goo{{ mask }}", "d", [], ["?"]) is None


PIECES = (
    "好",
    "▁好",
    "差",
    "很",
    "▁很",
    "中",
    "不错",
    "。",
    ".",
    "▁a",
    "▁",
    "▁good",
    "good",
    "bad",
    "▁bad",
    "真好",
    "真",
)
FAMILIES = ("xlm-roberta", "albert", "deberta-v2", "mt5")
CHINESE = "{{ text_a }}很{{ mask }}"


def chinese_unigram(family):
    """Pieces as in SentencePiece models of many languages: words with and without the mark of a space."""
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    mask = AddedToken("<extra_id_0>" if family == "mt5" else "<mask>", lstrip=True, special=True)
    scores = [(piece, -2.0 * (len(piece.strip("▁")) or 4)) for piece in PIECES]
    pieces = [(token, 0.0) for token in [*special, str(mask)]] + [(p, -2.0 if p == "真好" else s) for p, s in scores]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=3))
    tokenizer.add_special_tokens([*special, mask])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    tokenizer.decoder = decoders.Metaspace(prepend_scheme="always")
    names = {"cls_token": "<s>", "pad_token": "<pad>", "sep_token": "</s>", "unk_token": "<unk>"}
    return _fast(tokenizer, names, "<s> $A </s> </s> $B </s>", **({} if family == "mt5" else {"mask_token": mask}))


@pytest.fixture(params=FAMILIES)
def chinese(request):
    return make_backbone(request.param, chinese_unigram(request.param))


def ids_of(backbone, word, source):
    return backbone.tokenizer.convert_ids_to_tokens(backbone.answer_ids(word, ManualTemplate(source).slot))


def test_a_word_without_white_space_before_it_has_no_mark_of_one(chinese):
    end = "" if chinese.tokenizer.mask_token is None else "。"

    assert ids_of(chinese, "差", f"{CHINESE}{end}") == ["差"]
    assert ids_of(chinese, "好", f"{CHINESE}{end}") == ["好"]
    assert ids_of(chinese, "好", "{{ text_a }}{{ mask }}") == ["好"]
    assert ids_of(chinese, "好", "{{ text_a }} {{ mask }}") == ["▁好"]
    assert ids_of(chinese, "好", "{{ mask }}{{ text_a }}") == ["▁好"]
    assert ids_of(chinese, "好", "{{ text_a }}{{ sep }}{{ mask }}") == [
        "▁好"
    ]  # its mark is set after every special token
    assert ids_of(chinese, "不错", "{{ text_a }}。{{ mask }}") == ["不错"]
    assert ids_of(chinese, "差 good", "{{ text_a }}{{ mask }}") == ["差", "▁good"]


def test_the_classifier_reads_the_tokens_that_stand_there(chinese):
    template = CHINESE if chinese.tokenizer.mask_token is None else f"{CHINESE}。"
    classifier = PromptClassifier(template, {"n": ["差"], "p": ["好"]}, chinese)

    head = classifier.ready().head

    assert head.ids.tolist() == [[chinese.tokenizer.convert_tokens_to_ids(word)] for word in ("差", "好")]


def test_a_word_that_is_joined_to_the_text_beside_it_is_refused_in_one_line(chinese):
    with pytest.raises(VerbalizerError, match=r"^'好' can't .* from '真…', .* has '真好' as one token; [^\n]*$"):
        ids_of(chinese, "好", "{{ text_a }}真{{ mask }}")


def test_an_unknown_word_is_said_to_be_unknown_and_not_joined(chinese):
    with pytest.raises(VerbalizerError, match="vocabulary"):
        PromptClassifier(CHINESE, {"n": ["鼠"], "p": ["好"]}, chinese).ready()


@pytest.mark.parametrize(
    ("family", "source", "token"),
    [
        ("bert", "{{ text_a }} It was {{ mask }}.", "good"),
        ("bert", "{{ text_a }} ({{ mask }})", "good"),
        ("bert", "{{ text_a }}{{ mask }}", "good"),
        ("bert", "{{ mask }}{{ text_a }}", "good"),
        ("roberta", "{{ text_a }} It was {{ mask }}.", "Ġgood"),
        ("roberta", "{{ mask }}: {{ text_a }}", "good"),
        ("roberta", "{{ text_a }} ({{ mask }})", "good"),
        ("mpnet", "{{ text_a }}{{ mask }}", "good"),
        ("gpt2", "{{ text_a }} It was {{ mask }}", "Ġgood"),
        ("llama", '{{ text_a }} It was "{{ mask }}', "good"),
        ("bart", "{{ text_a }} ({{ mask }})", "good"),
        ("t5", "{{ text_a }} It was {{ mask }}", "▁good"),
        ("xlm-roberta", "{{ text_a }} It was {{ mask }}.", "▁good"),
    ],
)
def test_words_have_the_mark_of_their_place(tiny_backbone, family, source, token):
    assert "".join(ids_of(tiny_backbone(family), "good", source)) == token


def test_each_mask_has_its_own_place(tokenizers):
    slot = ManualTemplate("{{ mask }} {{ mask }}-{{ mask(2) }}; {{ text_a }}{{ mask }}!").slot

    assert slot.places == (
        Place("start"),
        Place("space", after="-"),
        Place("field", "-", ";"),
        Place("field", after=";"),
        Place("field", after="!"),
    )
    assert [slot.at_mask(number).place for number in range(5)] == list(slot.places)


def test_rules_read_each_word_where_it_stands():
    backbone = make_backbone("xlm-roberta", chinese_unigram("xlm-roberta"))
    template = ManualTemplate("{{ text_a }}很{{ mask }} {{ mask }}")

    head = RuleVerbalizer({"n": ["差", "bad"], "p": ["好", "good"]}).build(backbone, template.slot)

    assert backbone.tokenizer.convert_ids_to_tokens(head.ids.tolist()) == ["差", "好", "▁bad", "▁good"]


@pytest.mark.parametrize(
    "template",
    [
        SoftPromptTemplate(ManualTemplate("{{ mask }}: {{ text_a }}")),
        SoftPromptTemplate(ManualTemplate("({{ mask }}) {{ text_a }}")),
        InContextTemplate("{{ mask }}: {{ text_a }}", k=1),
        InContextTemplate('"{{ mask }}": {{ text_a }}', k=1, separator=";"),
    ],
    ids=["soft", "soft-sign", "context", "context-sign"],
)
def test_a_template_around_another_knows_the_place_of_its_prompts(template):
    bound = template.bind([Example({"text_a": "a"}, "n")], MultiTokenVerbalizer({"n": "bad", "p": "good"}))

    (prompt,) = bound.variants(Example({"text_a": "b"}))

    assert prompt.slot.reads_like(template.slot)
    assert prompt.slot[:4] == template.slot[:4]


def test_a_branch_whose_word_goes_on_after_a_letter_is_refused_and_one_after_another_sign_is_not(tiny_backbone):
    words, fields = {"n": ["a"], "p": ["b"]}, [{"text_a": "x", "kind": kind} for kind in "yz"]
    signs = '{{ text_a }} {% if kind == "z" %}({% else %}"{% endif %}{{ mask }}'
    letters = '{{ text_a }} {% if kind == "z" %}un{% else %}"{% endif %}{{ mask }}'

    assert PromptClassifier(signs, words, tiny_backbone()).predict_proba(fields).shape == (2, 2)
    with pytest.raises(TemplateError, match=r"after ('\"'|'un'), but"):
        PromptClassifier(letters, words, tiny_backbone()).predict_proba(fields)


def test_a_slot_made_by_hand_is_spaced_unless_it_says_otherwise():
    assert AnswerSlot(1, at_start=False).place == Place("space")
    assert AnswerSlot(1, at_start=True).place == Place("start")
    assert AnswerSlot(1, at_start=False, spaced=False).place == Place("field")


def test_a_classifier_saved_by_0_1_keeps_the_words_that_it_was_trained_with(chinese, tmp_path):
    folder = tmp_path / "base"
    chinese.model.save_pretrained(folder)
    chinese.tokenizer.save_pretrained(folder)
    source = "{{ text_a }}。{{ mask }}"
    classifier = PromptClassifier(source, {"n": ["bad"], "p": ["好"]}, str(folder), tuning="none")
    classifier.save_pretrained(tmp_path / "new")
    classifier.save_pretrained(tmp_path / "old")
    settings = json.loads((tmp_path / "old" / "promptlab.json").read_text())
    del settings["answers"]
    (tmp_path / "old" / "promptlab.json").write_text(json.dumps(settings))

    new, old = (PromptClassifier.from_pretrained(tmp_path / name) for name in ("new", "old"))
    old.save_pretrained(tmp_path / "again")
    again = PromptClassifier.from_pretrained(tmp_path / "again")

    tokens = chinese.tokenizer.convert_tokens_to_ids
    assert new.model_.head.ids.tolist() == [[tokens("bad")], [tokens("好")]]
    assert old.model_.head.ids.tolist() == again.model_.head.ids.tolist() == [[tokens("▁bad")], [tokens("▁好")]]
