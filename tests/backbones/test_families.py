"""What every family must do: one test a feature, run on all of them."""

from __future__ import annotations

import copy

import pytest
import torch

from promptlab import HeadClassifier, PromptClassifier, TopLayers
from promptlab.backbones.catalog import load_backbone
from promptlab.core.types import Example
from promptlab.models.soft_tokens import SoftTokens
from promptlab.templates.demonstrations import DemonstrationTemplate, InContextTemplate
from promptlab.templates.manual import ManualTemplate
from promptlab.verbalizers.calibrated import ContextualCalibration, PMICalibration, SupportCalibration
from promptlab.verbalizers.manual import ManualVerbalizer
from promptlab.verbalizers.strings import MultiTokenVerbalizer

TEXTS = ["the film was great", "a good story", "a dull , lifeless mess of a story", "just awful"]
LABELS = ["positive", "positive", "negative", "negative"]
WORDS = {"positive": ["good", "great"], "negative": ["awful", "dull"]}
STRINGS = {"positive": ["good", "a great story"], "negative": ["bad", "not good"]}
TEMPLATE = "{{ text_a }} it was {{ mask }}"  # every family can answer it


def batch_of(backbone, texts=TEXTS, source=TEMPLATE, soft_ids=None, answer_length=1):
    prompts = [ManualTemplate(source).render(Example({"text_a": text})) for text in texts]
    return backbone.collate(backbone.encode(prompts, soft_ids=soft_ids or {}, answer_length=answer_length))


def close(a, b, atol=1e-5):
    torch.testing.assert_close(a, b, atol=atol, rtol=1e-5)


@torch.no_grad()
def test_a_padded_row_is_the_row_alone(any_backbone):
    together = any_backbone.mask_states(batch_of(any_backbone)).logits()

    for row, text in enumerate(TEXTS):
        close(any_backbone.mask_states(batch_of(any_backbone, [text])).logits()[0], together[row])


@torch.no_grad()
def test_the_score_of_one_token_is_its_log_probability(any_backbone):
    batch = batch_of(any_backbone)
    log_probs = any_backbone.mask_states(batch).logits()[:, 0].log_softmax(dim=-1)

    for decoding in any_backbone.decodings:
        scores = any_backbone.string_log_probs(batch, [[7], [9], [11]], decoding=decoding)
        close(scores, log_probs[:, [7, 9, 11]])


@torch.no_grad()
def test_the_score_of_an_answer_depends_neither_on_the_other_answers_nor_on_the_other_rows(any_backbone):
    strings = [[7], [9, 12], [11, 8, 13], [9, 8], [8, 9, 7, 12]]
    batch = batch_of(any_backbone, answer_length=4)
    for decoding in any_backbone.decodings:
        together = any_backbone.string_log_probs(batch, strings, decoding=decoding)
        if decoding != "parallel":  # which has as many masks as the longest answer
            for number, string in enumerate(strings):
                close(any_backbone.string_log_probs(batch, [string], decoding=decoding)[:, 0], together[:, number])
        alone = any_backbone.string_log_probs(
            batch_of(any_backbone, TEXTS[:1], answer_length=4), strings, decoding=decoding
        )
        close(alone[0], together[0])


@torch.no_grad()
def test_soft_tokens_with_the_vectors_of_words_are_those_words(any_backbone):
    hard = batch_of(any_backbone)
    expected = any_backbone.mask_states(hard).logits()
    soft = SoftTokens(ManualTemplate(f'{{{{ soft("it was") }}}} {TEMPLATE}').soft_slots, any_backbone)
    any_backbone.embed_soft(soft)

    words = any_backbone.token_ids("it was")
    ids = hard.input_ids.clone()
    for word, replacement in zip(words, soft.ids["#0"], strict=True):
        ids[hard.input_ids == word] = replacement
    hard.input_ids = ids

    assert (ids >= any_backbone.vocabulary).any()
    close(any_backbone.mask_states(hard).logits(), expected, 1e-6)


def named(parts):
    return (
        "-".join(type(part).__name__ if not isinstance(part, str) else part.split("}")[0] for part in parts.values())
        or "full"
    )


@pytest.mark.parametrize(
    "parts",
    [
        {},
        {"verbalizer": MultiTokenVerbalizer(STRINGS)},
        {"template": "{{ soft(2) }} " + TEMPLATE, "tuning": "frozen"},
        {"tuning": TopLayers(1)},
    ],
    ids=named,
)
def test_a_prompt_classifier_fits_predicts_and_comes_back_from_disk(any_backbone, parts, tmp_path):
    fit_and_come_back(save(any_backbone, tmp_path), parts, tmp_path)


@pytest.mark.parametrize(
    "parts",
    [
        {"verbalizer": ContextualCalibration(ManualVerbalizer(WORDS))},
        {"verbalizer": PMICalibration(MultiTokenVerbalizer(STRINGS))},
        {"verbalizer": SupportCalibration(ManualVerbalizer(WORDS), TEXTS)},
        {"template": InContextTemplate(TEMPLATE, k=2, separator=" ; ")},
        {"template": DemonstrationTemplate(TEMPLATE, sets=2)},
        {"tuning": "none", "max_steps": None},
    ],
    ids=named,
)
@pytest.mark.parametrize(
    "family", ["bert", "llama", "t5", "bart"]
)  # what is done with a family's answers, on each kind
def test_wrapped_templates_and_verbalizers_fit_predict_and_come_back_from_disk(saved_model, family, parts, tmp_path):
    if isinstance(parts.get("template"), DemonstrationTemplate) and family == "llama":
        pytest.skip("demonstrations after the mask: a causal model says so in its own test")
    fit_and_come_back(saved_model(family), parts, tmp_path)


def fit_and_come_back(folder, parts, tmp_path):
    settings = {"template": TEMPLATE, "verbalizer": WORDS, "tuning": "full", "max_steps": 2, **parts}
    classifier = PromptClassifier(**settings, model=folder, batch_size=4, device="cpu")

    classifier.fit(TEXTS, LABELS, eval_set=(TEXTS, LABELS))
    probabilities = classifier.predict_proba(TEXTS)
    classifier.save_pretrained(tmp_path / "saved")
    back = PromptClassifier.from_pretrained(tmp_path / "saved").predict_proba(TEXTS)

    assert abs(probabilities.sum(axis=1) - 1).max() < 1e-5
    assert abs(back - probabilities).max() < 1e-6


def test_a_head_classifier_fits_and_leaves_what_it_does_not_use(any_backbone):
    classifier = HeadClassifier(any_backbone, max_steps=15, learning_rate=5e-3, device="cpu").fit(TEXTS, LABELS)

    assert classifier.predict(TEXTS).tolist() == LABELS
    before = dict(copy.deepcopy(any_backbone).named_parameters())
    trained = {name.removeprefix("backbone.") for name, _ in classifier.model_.trained_parameters()}
    for name, weight in classifier.model_.backbone.named_parameters():
        assert (name in trained) or torch.equal(weight, before[name])


@torch.no_grad()
def test_a_saved_folder_gives_the_same_logits(any_backbone, tmp_path):
    loaded = load_backbone(save(any_backbone, tmp_path))

    batch = batch_of(any_backbone)
    assert torch.equal(loaded.mask_states(batch).logits(), any_backbone.mask_states(batch).logits())
    assert loaded.has_lm_head
    assert loaded.revision


@torch.no_grad()
def test_the_longest_prompt_has_positions_for_all_its_tokens(any_backbone):
    tokenizer = copy.deepcopy(any_backbone.tokenizer)
    tokenizer.model_max_length = 10_000  # so that the model's own limit holds
    backbone = type(any_backbone)(any_backbone.model, tokenizer)

    batch = batch_of(backbone, ["film " * 200])

    assert 70 < batch.input_ids.shape[1] <= 80
    assert backbone.mask_states(batch).logits().isfinite().all()


def test_layers_are_found(any_backbone):
    shared, twice = any_backbone.name == "tiny-albert", any_backbone.auto_class == "AutoModelForSeq2SeqLM"

    layers = any_backbone.layers()

    assert len(layers) == (1 if shared else 2 + 2 if twice else 2)
    assert all(list(layer.parameters()) for layer in layers)


def save(backbone, folder):
    backbone.model.save_pretrained(folder / "base")
    backbone.tokenizer.save_pretrained(folder / "base")
    return str(folder / "base")
