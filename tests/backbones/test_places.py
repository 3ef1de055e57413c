"""What stands where in a prompt, whatever the tokenizer puts around texts and whichever tokens were added to it."""

from __future__ import annotations

import pytest
import torch
from tokenizers import processors

from promptlab import PromptClassifier, PromptGenerator
from promptlab.backbones.catalog import load_backbone
from promptlab.core.errors import BackboneError, TemplateError
from promptlab.core.types import Example
from promptlab.models.generator_model import GeneratorModel
from promptlab.models.prompt_model import PromptModel
from promptlab.models.soft_tokens import SoftTokens
from promptlab.templates.manual import ManualTemplate
from promptlab.templates.plain import InputTemplate
from promptlab.training.objectives import NOT_PREDICTED, AuxiliaryMLM
from promptlab.tuning.frozen import Frozen
from promptlab.tuning.none import NoTuning
from promptlab.verbalizers.manual import ManualVerbalizer
from tests.conftest import CAUSAL, SEQ2SEQ, byte_bpe, make_backbone

TEXTS = ["the film was great", "a", "a dull , lifeless mess of a story"]
STRINGS = [[270, 271, 272], [273], [274, 275], [40, 41]]
FRAMES = ("<s> $A </s>", "$A </s>", "$A", "<s> $A", "<s> <s> $A </s> </s>")


def ending_backbone(family, frame="<s> $A </s>"):
    """A causal model with a tokenizer that puts a frame around texts, as ``add_eos_token=True`` does."""
    tokenizer = byte_bpe()
    tokenizer.bos_token, tokenizer.eos_token = "<s>", "</s>"
    pair = f"{frame} {frame.replace('$A', '$B')}"
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single=frame, pair=pair, special_tokens=[("<s>", tokenizer.bos_token_id), ("</s>", tokenizer.eos_token_id)]
    )
    return make_backbone(family, tokenizer)


def encoded(backbone, source="{{ text_a }} it was {{ mask }}", texts=TEXTS, **options):
    prompts = [ManualTemplate(source).render(Example({"text_a": text})) for text in texts]
    return backbone.encode(prompts, soft_ids={}, **options)


def by_hand(backbone, frame, text):
    """What the tokenizer puts before a text, and the text."""
    words = backbone.tokenizer(text, add_special_tokens=False).input_ids
    return [backbone.tokenizer.bos_token_id] * frame.split("$A")[0].count("<s>") + words


def log_probability(backbone, ids, answer):
    """Of an answer's tokens, one pass of the whole model for each."""
    total = 0.0
    for number, token in enumerate(answer):
        logits = backbone.model(torch.tensor([[*ids, *answer[:number]]])).logits[0, -1]
        total += logits.log_softmax(dim=-1)[token].item()
    return total


@torch.no_grad()
@pytest.mark.parametrize("frame", FRAMES)
@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_nothing_stands_after_a_causal_prompt_and_answers_score_as_by_hand(family, frame):
    backbone = ending_backbone(family, frame)
    rows = encoded(backbone)

    scores = backbone.string_log_probs(backbone.collate(rows), STRINGS, decoding="left-to-right")

    for row, text in enumerate(TEXTS):
        ids = by_hand(backbone, frame, f"{text} it was")
        assert rows[row].input_ids.tolist() == ids
        expected = [log_probability(backbone, ids, string) for string in STRINGS]
        torch.testing.assert_close(scores[row], torch.tensor(expected), atol=1e-4, rtol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("family", ["gpt2", "mistral"])
def test_a_causal_model_goes_on_after_the_prompt_and_not_after_the_end_of_text(family):
    backbone = ending_backbone(family)
    texts = [f"{'the film was great ' * 6}{end}" for end in ("a", "story", "and dull")]
    rows = encoded(backbone, texts=texts)
    ids = [by_hand(backbone, "<s> $A </s>", f"{text} it was") for text in texts]

    with backbone.sharing(rows):
        assert backbone.prefix is not None
        shared = backbone.string_log_probs(backbone.collate(rows), STRINGS, decoding="left-to-right")
    written = backbone.generate(backbone.collate(rows), max_new_tokens=4, do_sample=False)

    for row, prompt in enumerate(ids):
        expected = [log_probability(backbone, prompt, string) for string in STRINGS]
        torch.testing.assert_close(shared[row], torch.tensor(expected), atol=1e-4, rtol=1e-5)
        for number in range(4):
            logits = backbone.model(torch.tensor([[*prompt, *written[row][:number]]])).logits[0, -1]
            assert written[row][number] == int(logits.argmax())


@torch.no_grad()
def test_words_written_into_a_causal_prompt_are_read_without_an_end_of_text():
    backbone = ending_backbone("llama")
    rows = encoded(backbone)
    batch, tokens = backbone.collate(rows), torch.tensor([[20], [30]])

    logits = backbone.mask_states_with(batch, batch.mask_index - 1, tokens).logits()[:, 0]

    ids = [[*row.input_ids.tolist()[:-2], token, row.input_ids[-1]] for row in rows for token in (20, 30)]
    expected = torch.stack([backbone.model(torch.tensor([row])).logits[0, -1] for row in ids])
    torch.testing.assert_close(logits, expected, atol=1e-4, rtol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("family", ["gpt2", "llama", "t5", "bart"])
def test_a_text_to_be_learned_ends_once_and_costs_what_it_costs_by_hand(tiny_backbone, family):
    backbone = ending_backbone(family) if family in CAUSAL else tiny_backbone(family)
    generator = PromptGenerator("{{ text_a }} it was {{ mask }}", backbone, tuning="frozen", max_new_tokens=8)
    model = GeneratorModel.build(
        ManualTemplate("{{ soft(1) }} {{ text_a }} it was {{ mask }}"), backbone.copy(), Frozen(), "token"
    )

    (pair,) = generator._pairs(model, [Example({"text_a": "a"}, "the film")])

    assert pair.target.count(backbone.end_id) == 1
    assert pair.target[-1] == backbone.end_id
    assert (backbone.end_id in pair.encoded.input_ids) == (family in SEQ2SEQ)
    if family in CAUSAL:
        plain = encoded(backbone, texts=["a"])
        targets = torch.tensor([pair.target])
        logits = backbone.target_logits(backbone.collate(plain), targets, torch.tensor([len(pair.target)]))
        loss = -logits.log_softmax(dim=-1).gather(2, targets[..., None]).sum().item()
        by_loop = log_probability(backbone, by_hand(backbone, "<s> $A </s>", "a it was"), pair.target)
        assert loss == pytest.approx(-by_loop, abs=1e-4)


def test_a_prompt_of_no_token_begins_with_one_start_whatever_the_tokenizer_adds():
    for frame, n_starts in (("<s> $A </s>", 1), ("$A </s>", 1), ("$A", 1), ("<s> <s> $A", 2)):
        (row,) = encoded(ending_backbone("llama", frame), "{{ text_a }} {{ mask }}", [""])
        assert row.input_ids.tolist() == [0] * n_starts
        assert row.mask_index.tolist() == [n_starts - 1]


@pytest.mark.parametrize("frame", FRAMES)
def test_a_causal_prompt_has_no_separator_whatever_the_tokenizer_puts_between_texts(frame):
    with pytest.raises(TemplateError, match="has no separator"):
        encoded(ending_backbone("llama", frame), "{{ text_a }} {{ sep }} it was {{ mask }}")


def test_a_text_without_an_answer_is_what_the_tokenizer_gives_for_it():
    backbone = ending_backbone("llama")
    prompt = InputTemplate(("text_a", "text_b")).render(Example({"text_a": "a film", "text_b": "was great"}))

    (row,) = backbone.encode([prompt], soft_ids={})

    assert row.input_ids.tolist() == backbone.tokenizer("a film", "was great").input_ids


def test_a_causal_prompt_may_take_the_room_that_no_end_of_text_takes():
    backbone = ending_backbone("gpt2")

    (row,) = encoded(backbone, texts=["film " * 200])

    assert len(row.input_ids) == backbone.max_length
    assert backbone.tokenizer.decode(row.input_ids).endswith(" it was")


@pytest.fixture
def with_tokens(tmp_path):
    """A function that gives a copy of a backbone whose tokenizer has more tokens than its embedding table."""

    def make(backbone, tokens=(), **special):
        backbone.tokenizer.save_pretrained(tmp_path / "tokenizer")
        tokenizer = type(backbone.tokenizer).from_pretrained(tmp_path / "tokenizer")
        tokenizer.add_tokens(list(tokens))
        tokenizer.add_special_tokens(special)
        return type(backbone)(backbone.model, tokenizer, name=backbone.name)

    return make


def test_a_token_of_texts_past_the_embedding_table_is_refused_with_sizes_and_remedy(any_backbone, with_tokens):
    size = any_backbone.vocabulary

    with pytest.raises(BackboneError, match=rf"'covid19' the id {size}.* has {size} rows .*embeddings\({size + 2}\)"):
        with_tokens(any_backbone, ["covid19", "mrna"])


def test_it_is_refused_when_a_folder_is_loaded(saved_model):
    folder = saved_model("bert")
    tokenizer = load_backbone(folder).tokenizer
    tokenizer.add_tokens(["covid19"])
    tokenizer.save_pretrained(folder)

    with pytest.raises(BackboneError, match=r"'covid19' the id .*resize_token_embeddings"):
        load_backbone(folder)


@torch.no_grad()
def test_tokens_past_the_table_that_no_prompt_has_are_harmless(any_backbone, with_tokens):
    changed = with_tokens(any_backbone, pad_token="[PADDING]", additional_special_tokens=["<|user|>"])
    assert changed.tokenizer.pad_token_id >= changed.vocabulary
    texts = [*TEXTS, "a <|user|> [PADDING]"]

    batch = changed.collate(encoded(changed, "{{ text_a }} was {{ mask }}", texts))
    assert int(batch.input_ids.max()) < changed.vocabulary
    together = changed.mask_states(batch).logits()

    plain = any_backbone.collate(encoded(any_backbone, "{{ text_a }} was {{ mask }}", texts))
    torch.testing.assert_close(together, any_backbone.mask_states(plain).logits(), atol=1e-5, rtol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("family", ["gpt2", "llama", "t5", "bart"])
def test_texts_of_unequal_length_are_written_although_the_padding_is_past_the_table(tiny_backbone, with_tokens, family):
    backbone = tiny_backbone(family)
    changed = with_tokens(backbone, pad_token="[PADDING]")
    torch.manual_seed(0)
    batch = changed.collate(encoded(changed, texts=TEXTS * 40))

    written = changed.generate(batch, max_new_tokens=20, do_sample=True, temperature=5.0, top_k=0)

    assert any(backbone.end_id in row[:-1] for row in written)  # and others go on, so that padding is read
    assert all(token < changed.vocabulary for row in written for token in row)


def test_soft_tokens_never_have_the_id_of_a_word(any_backbone, with_tokens):
    """With the table as large as the tokenizer, larger, and smaller."""
    any_backbone.model.resize_token_embeddings(any_backbone.vocabulary + 7)
    larger = with_tokens(any_backbone, ["covid19"])
    word = larger.tokenizer.convert_tokens_to_ids("covid19")

    slots = ManualTemplate("{{ soft(3) }} {{ text_a }} was {{ mask }}").soft_slots
    soft = SoftTokens(slots, larger)
    (row,) = larger.encode(
        [ManualTemplate("{{ soft(3) }} {{ text_a }} was {{ mask }}").render(Example({"text_a": "a covid19 film"}))],
        soft_ids=soft.ids,
    )

    ids = row.input_ids.tolist()
    assert ids.count(word) == 1
    assert [token for token in ids if token >= larger.vocabulary] == soft.ids["#0"]
    assert word not in soft.ids["#0"]


@pytest.mark.parametrize("family", ["bert", "roberta", "bart"])
def test_a_mask_past_the_table_is_refused(tiny_backbone, with_tokens, family):
    with pytest.raises(BackboneError, match=r"'\[GAP\]' the id"):
        with_tokens(tiny_backbone(family), mask_token="[GAP]")


def test_a_mask_past_the_table_is_no_matter_of_a_causal_model(tiny_backbone, with_tokens):
    backbone = with_tokens(tiny_backbone("llama"), mask_token="[GAP]", unk_token="[UNKNOWN]")

    words = {"n": ["a"], "p": ["b"]}
    probabilities = PromptClassifier("{{ text_a }} was {{ mask }}", words, backbone).predict_proba(TEXTS)

    assert abs(probabilities.sum(axis=1) - 1).max() < 1e-5


def test_padding_that_is_an_ordinary_id_is_never_a_masked_word(tiny_backbone):
    backbone, verbalizer = tiny_backbone("bert"), ManualVerbalizer({"n": ["a"], "p": ["b"]})
    backbone.pad_id = 30  # of a tokenizer without any special token that the table has
    rows = encoded(backbone, "{{ text_a }} was {{ mask }}", TEXTS * 4)
    model = PromptModel.build(ManualTemplate("{{ text_a }} was {{ mask }}"), verbalizer, backbone, NoTuning())

    both = AuxiliaryMLM(model, rows, weight=0.5).prepare(backbone.collate(rows))

    padding = both.unlabeled.attention_mask == 0
    assert (both.unlabeled.input_ids[padding] == 30).any()
    assert (both.targets[padding] == NOT_PREDICTED).all()
    assert (both.targets != NOT_PREDICTED).any()
