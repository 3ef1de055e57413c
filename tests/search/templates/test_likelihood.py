from __future__ import annotations

import pytest
import torch

from promptlab import Example, ManualTemplate
from promptlab.search.templates.likelihood import log_likelihoods, text_words, word_slots

WORDS = {"p": ("great", "good"), "n": ("bad",)}
EXAMPLES = [Example({"text_a": "the film"}, "p"), Example({"text_a": "a dull mess"}, "n")]


def test_each_own_word_and_the_answer_is_masked_once_and_fields_never():
    prompt = ManualTemplate("So, {{ text_a }} it's {{ mask }}!").render(EXAMPLES[0])

    assert [(word, str(masked)) for word, masked in word_slots(prompt, "great")] == [
        ("So", "{{ mask }}, the film it's great!"),
        ("it's", "So, the film {{ mask }} great!"),
        ("great", "So, the film it's {{ mask }}!"),
    ]


def test_for_a_causal_model_the_rest_and_a_first_word_are_left_out():
    prompt = ManualTemplate("So, {{ text_a }} was {{ mask }}.").render(EXAMPLES[0])

    assert [(word, str(masked)) for word, masked in word_slots(prompt, "great", left_only=True)] == [
        ("was", "So, the film {{ mask }}"),
        ("great", "So, the film was {{ mask }}"),
    ]


def test_the_score_of_a_masked_model_is_its_mean_pseudo_log_likelihood_by_hand(tiny_backbone):
    backbone = tiny_backbone("bert")
    tokenizer = backbone.tokenizer
    total = 0.0
    for text, answer in (("the film", "great"), ("a dull mess", "bad")):
        ids = tokenizer(f"{text} it was {answer}.")["input_ids"]
        for word in ("it", "was", answer):
            place = ids.index(tokenizer.convert_tokens_to_ids(word))
            masked = [*ids[:place], tokenizer.mask_token_id, *ids[place + 1 :]]
            with torch.no_grad():
                logits = backbone.model(torch.tensor([masked])).logits[0, place]
            total += logits.log_softmax(dim=-1)[ids[place]].item()

    scores = log_likelihoods(["{{ text_a }} it was {{ mask }}.", "{{ mask }} {{ text_a }}"], EXAMPLES, WORDS, backbone)

    assert scores[0] == pytest.approx(total / 6, abs=1e-5)
    assert scores[1] != pytest.approx(scores[0], abs=1e-3)


def test_the_score_of_a_causal_model_is_its_mean_log_likelihood_by_hand(tiny_backbone):
    backbone = tiny_backbone("gpt2")
    total, count = 0.0, 0
    for text, answer in (("the film", "great"), ("a dull mess", "bad")):
        before = len(backbone.tokenizer(text)["input_ids"])
        ids = backbone.tokenizer(f"{text} it was {answer}")["input_ids"]
        with torch.no_grad():
            log_probs = backbone.model(torch.tensor([ids])).logits[0].log_softmax(dim=-1)
        total += sum(log_probs[i - 1, ids[i]].item() for i in range(before, len(ids)))
        count += len(ids) - before

    score = log_likelihoods(["{{ text_a }} it was {{ mask }}"], EXAMPLES, WORDS, backbone)[0]

    assert score == pytest.approx(total / count, abs=1e-4)


def test_the_words_of_a_template_are_found_outside_of_its_code():
    source = "It {% if text_a %}'s{% endif %}: {{ text_a | lower_first }} was_x {{ mask }}"

    found = [pieces[place] for pieces, place in text_words(source)]

    assert found == ["It", "s", "was", "x"]
    assert all("".join(pieces) == source for pieces, _ in text_words(source))
