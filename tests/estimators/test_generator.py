from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, GenerationConfig

from promptlab import InContextTemplate, PromptGenerator
from promptlab.core.errors import BackboneError, DataError, TemplateError, TuningError
from promptlab.core.registry import TUNINGS
from promptlab.core.types import Example
from promptlab.estimators.generator import bleu
from promptlab.estimators.saving import load_any
from promptlab.models.generator_model import GeneratorModel, PromptAndTarget
from promptlab.templates.manual import ManualTemplate
from promptlab.tuning.lora import LoRA
from promptlab.tuning.prefix import PrefixTuning, PTuningV2
from promptlab.tuning.prompt_tuning import PromptTuning

INPUTS = ["the film", "a story of the opera", "World sports and", "the acting"]
TEXTS = ["was great", "a dull mess", "business news of the year", "was terrible"]
SOURCE = "{{ text_a }} : {{ mask }}"
NONE = TUNINGS.get("none")()


def build(backbone, tuning=NONE, reduction="token"):
    return GeneratorModel.build(tuning.edit(ManualTemplate(SOURCE)), backbone, tuning, reduction).eval()


def pairs_of(model, inputs=INPUTS, texts=TEXTS):
    end, slot = model.backbone.end_id, model.template.slot
    encoded = model.encode([Example({"text_a": text}) for text in inputs], max_length=None, answer_length=16)
    return [PromptAndTarget(row, [*model.backbone.answer_ids(text, slot), end]) for row, text in zip(encoded, texts)]


def test_the_loss_of_a_causal_model_is_that_of_the_text_after_the_prompt(tiny_backbone):
    model = build(tiny_backbone("gpt2"))
    pairs = pairs_of(model)

    total, count = 0.0, 0
    for encoded, target in pairs:
        ids = torch.tensor([[*encoded.input_ids.tolist(), *target]])
        labels = ids.clone()
        labels[:, : len(encoded.input_ids)] = -100  # the prompt has no part in it
        total += model.backbone.model(ids, labels=labels).loss.item() * len(target)
        count += len(target)

    assert model.loss(model.collate(pairs)).item() == pytest.approx(total / count, rel=1e-5)


def test_the_loss_of_t5_is_that_of_the_text_after_its_sentinel(tiny_backbone):
    model = build(tiny_backbone("t5"))
    pairs = pairs_of(model)
    sentinel = model.backbone.tokenizer.convert_tokens_to_ids("<extra_id_0>")

    total, count = 0.0, 0
    for encoded, target in pairs:
        ids, labels = torch.from_numpy(encoded.input_ids)[None], torch.tensor([[sentinel, *target]])
        log_probs = model.backbone.model(ids, labels=labels).logits.log_softmax(dim=-1)
        total -= sum(log_probs[0, 1 + i, token].item() for i, token in enumerate(target))
        count += len(target)

    assert model.loss(model.collate(pairs)).item() == pytest.approx(total / count, rel=1e-5)


def test_the_loss_of_sequences_is_the_sum_of_their_tokens(tiny_backbone):
    backbone = tiny_backbone("gpt2")
    pairs = pairs_of(build(backbone))
    n_tokens = sum(len(pair.target) for pair in pairs)

    tokens = build(backbone)(build(backbone).collate(pairs)).item()
    sequences = build(backbone, reduction="sequence")(build(backbone).collate(pairs)).item()

    assert sequences == pytest.approx(tokens * n_tokens / len(pairs), rel=1e-5)


@torch.no_grad()
def test_a_padded_pair_is_the_pair_alone(writer):
    model = build(writer, PTuningV2(length=3))
    pairs = pairs_of(model)
    together, _ = model.score(model.collate(pairs))

    alone = torch.cat([model.score(model.collate([pair]))[0] for pair in pairs])

    torch.testing.assert_close(together, alone, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    "tuning", [NONE, PrefixTuning(length=3, hidden=8), PromptTuning(length=3), LoRA(rank=2)], ids=str
)
@pytest.mark.parametrize("beams", [1, 3])
@torch.no_grad()
def test_texts_written_together_are_those_written_alone_and_greedy_ones_are_the_likeliest_tokens(writer, tuning, beams):
    model = build(writer, tuning)
    for _, weight in model.trained_parameters():
        weight.add_(0.3 * torch.randn_like(weight))
    encoded = [pair.encoded for pair in pairs_of(model)]
    options = {"max_new_tokens": 5, "num_beams": beams, "do_sample": False}
    end = writer.end_id

    together = writer.generate(writer.collate(encoded), **options)

    for row, ids in zip(encoded, together, strict=True):
        batch = writer.collate([row])
        alone = writer.generate(batch, **options)[0]
        kept = ids[: len(alone)]
        assert kept == alone
        if beams == 1:  # without a cache, one token after the other
            text: list[int] = []
            while len(text) < 5 and end not in text:
                targets = torch.tensor([[*text, 0]])
                logits = writer.target_logits(batch, targets, torch.tensor([len(text) + 1]))
                text.append(int(logits[0, -1].argmax()))
            assert alone[: len(text)] == text


@torch.no_grad()
def test_beams_with_a_prefix_are_those_of_the_words_it_was_made_of(tiny_backbone, prefix_of):
    backbone = tiny_backbone("llama")
    words = torch.tensor([backbone.token_ids("the film was", at_start=True)])
    text = torch.tensor([backbone.token_ids("a great story")])
    options = {"max_new_tokens": 5, "num_beams": 3, "do_sample": False}
    expected = backbone.model.generate(torch.cat([words, text], dim=1), **options)[0, words.shape[1] + text.shape[1] :]
    rows = prefix_of(backbone, words)
    model = build(backbone, PTuningV2(length=words.shape[1]))
    model.backbone.prefix_table.table.copy_(rows)

    # positions start behind the prefix, as in the words' own pass
    places = torch.arange(words.shape[1], words.shape[1] + text.shape[1])[None]
    found = backbone.model.generate(text, position_ids=places, **options)[0, text.shape[1] :]

    assert found.tolist() == expected.tolist()


@pytest.mark.parametrize("tuning", ["prefix", "prompt-tuning", "lora", "full"])
@pytest.mark.parametrize("family", ["llama", "t5"])
def test_training_learns_the_texts_and_comes_back_from_disk(saved_model, tmp_path, family, tuning):
    generator = PromptGenerator(
        SOURCE, saved_model(family), tuning, max_new_tokens=12, max_steps=60, device="cpu",
        learning_rate=2e-2, head_learning_rate=0.3,
    ).fit(INPUTS, TEXTS, eval_set=(INPUTS, TEXTS))  # fmt: skip
    assert generator.history_[-1]["loss"] < 0.95 * generator.history_[0]["loss"]
    written = generator.predict(INPUTS)

    generator.save_pretrained(tmp_path / "saved")
    back = load_any(tmp_path / "saved")

    assert isinstance(back, PromptGenerator)
    assert back.predict(INPUTS).tolist() == written.tolist()
    if tuning == "full":
        assert written.tolist() == TEXTS
        assert generator.score(INPUTS, [[text, "something else"] for text in TEXTS]) == pytest.approx(100)


def test_an_exported_generator_is_an_ordinary_model(tiny_backbone, tmp_path):
    backbone = tiny_backbone("llama")
    generator = PromptGenerator(
        SOURCE, backbone, "lora", max_steps=3, learning_rate=0.05, max_new_tokens=8, device="cpu"
    ).fit(INPUTS, TEXTS)
    generator.export_model(tmp_path / "plain")

    plain, ids = AutoModelForCausalLM.from_pretrained(tmp_path / "plain"), torch.tensor([[5, 9, 20]])
    with torch.no_grad():
        before, tuned, exported = (m(ids).logits for m in (backbone.model, generator.model_.backbone.model, plain))
    torch.testing.assert_close(exported, tuned, atol=1e-5, rtol=1e-4)
    assert not torch.allclose(exported, before, atol=1e-3)


def test_samples_depend_on_the_seed_only(tiny_backbone):
    generator = PromptGenerator(SOURCE, tiny_backbone("llama"), "lora", max_steps=1, max_new_tokens=8, device="cpu")
    generator.fit(INPUTS, TEXTS)
    options = {"do_sample": True, "temperature": 2.0}

    first = generator.generate(INPUTS, **options)

    assert generator.generate(INPUTS, **options) == first
    generator.seed = 1
    assert generator.generate(INPUTS, **options) != first


def test_bad_input_is_one_clear_line(tiny_backbone):
    llama = tiny_backbone("llama")

    def fit(X=INPUTS, y=TEXTS, source=SOURCE, model=llama, **more):
        return PromptGenerator(source, model, **{"max_steps": 1, "max_new_tokens": 8, "device": "cpu", **more}).fit(
            X, y
        )

    for error, message, arguments in [
        (BackboneError, "fills masks but writes no text", {"model": tiny_backbone("bert")}),
        (DataError, "row 2 has the text ''", {"y": ["a", "", "c", "d"]}),
        (DataError, "there are no examples", {"X": [], "y": []}),
        (DataError, "y is None; pass a list", {"y": None}),
        (DataError, "y is 'abcd'; pass a list", {"y": "abcd"}),
        (DataError, "4 rows", {"y": TEXTS[:2]}),
        (TemplateError, "goes on after its mask", {"source": "{{ mask }} {{ text_a }}"}),
        (TemplateError, "2 masks", {"source": "{{ text_a }} {{ mask(2) }}"}),
        (TemplateError, "InContextTemplate shows examples", {"source": InContextTemplate(ManualTemplate(SOURCE), k=2)}),
        (TuningError, "trains nothing", {"tuning": "none", "max_steps": None}),
        (TuningError, "reduction='mean'", {"reduction": "mean"}),
        (TuningError, "max_new_tokens=0", {"max_new_tokens": 0}),
        (TemplateError, "besides what may be shortened", {"tuning": PromptTuning(length=70)}),
    ]:
        with pytest.raises(error, match=message):
            fit(**arguments)
    with pytest.raises(TuningError, match=r"generate doesn't take .*color='red'"):
        fit().generate(INPUTS, color="red")
    for options in ({"num_beams": 2, "num_return_sequences": 2}, {"max_new_tokens": None}, {"num_beams": 0}):
        with pytest.raises(TuningError, match=r"must be a whole number|one text is written for each input"):
            fit().generate(INPUTS, **options)
    with pytest.raises(DataError, match="at least one input"):
        fit().score([], [])
    with pytest.raises(DataError, match=r"pass a pair \(X, y\) of inputs and the texts to write\.$"):
        PromptGenerator(SOURCE, llama).fit(INPUTS, TEXTS, eval_set=INPUTS)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"generation_config": GenerationConfig(max_new_tokens=3)}, "pass its settings one by one"),
        ({"max_length": 20}, r"max_length=20 has no use here: set max_new_tokens\.$"),
        ({"max_length": 1}, "set max_new_tokens"),
        ({"min_length": 3}, "set min_new_tokens"),
        ({"output_scores": True}, "output_scores=True has no use here: what comes back are texts"),
        ({"output_logits": True}, "what comes back are texts"),
        ({"return_dict_in_generate": True}, "what comes back are texts"),
        ({"top_p": 3}, "top_p=3 must be a number from 0 to 1"),
        ({"do_sample": True, "top_p": 3}, "top_p=3 must be a number from 0 to 1"),
        ({"top_p": 0.9}, r"top_p=0.9 has no effect as it is; set do_sample=True, or leave it out\.$"),
        ({"temperature": 0.5}, "set do_sample=True"),
        ({"do_sample": True, "temperature": 0}, "temperature=0 must be a number above 0"),
        ({"do_sample": 1}, "do_sample=1 must be True or False"),
        ({"length_penalty": 2.0}, "set num_beams to 2 or more"),
        ({"early_stopping": True}, "set num_beams to 2 or more"),
        ({"encoder_repetition_penalty": 2.0}, "choose an encoder-decoder model"),
        ({"min_new_tokens": 9}, "min_new_tokens=9 is more than max_new_tokens=8"),
        ({"max_new_tokens": 2.0}, r"max_new_tokens=2\.0 must be a whole number of at least 1"),
        ({"input_ids": [[1]]}, "generate doesn't take input_ids"),
        ({"numbeams": 2}, r"did you mean num_beams\?"),
        (
            {"max_new_tokens": 1000},
            r"max_new_tokens=1000 leaves too little room for the prompt in the 64 tokens .*lower it",
        ),
    ],
)
def test_options_that_would_have_no_effect_are_refused(tiny_backbone, options, message):
    generator = PromptGenerator(SOURCE, tiny_backbone("llama"), max_steps=1, max_new_tokens=8, device="cpu")

    with pytest.raises(TuningError, match=message):
        generator.fit(INPUTS, TEXTS).generate(INPUTS, **options)


def test_options_that_are_as_good_as_none_are_taken(tiny_backbone):
    generator = PromptGenerator(SOURCE, tiny_backbone("t5"), max_steps=1, max_new_tokens=8, device="cpu")
    generator.fit(INPUTS, TEXTS)

    neutral = {"temperature": 1.0, "top_p": None, "top_k": 50, "num_return_sequences": 1, "output_scores": False}
    assert generator.generate(INPUTS, **neutral, length_penalty=1.0) == generator.generate(INPUTS)
    assert generator.generate(INPUTS, encoder_no_repeat_ngram_size=1, min_new_tokens=np.int64(2)) is not None


def test_room_for_the_prompt_is_missed_in_fit_as_well(tiny_backbone):
    with pytest.raises(TuningError, match="max_new_tokens=12 leaves too little room for the prompt in the 8 tokens"):
        PromptGenerator(SOURCE, tiny_backbone("llama"), max_length=8, max_new_tokens=12, device="cpu").fit(
            INPUTS, TEXTS
        )


@pytest.mark.parametrize("family", ["llama", "t5", "bart"])
def test_a_text_ends_where_its_stop_string_does(tiny_backbone, family):
    generator = PromptGenerator(SOURCE, tiny_backbone(family), max_steps=1, max_new_tokens=12, device="cpu")
    whole = generator.fit(INPUTS, TEXTS).generate(INPUTS)
    stop = next(text for text in whole if len(text) > 3)[1:3]

    stopped = generator.generate(INPUTS, stop_strings=[stop])

    assert any(stop in text for text in whole)
    for text, long in zip(stopped, whole, strict=True):
        assert long.startswith(text)
        assert len(text) < len(long) or stop not in long[:-5]


@pytest.mark.parametrize(
    ("y", "message"),
    [
        ([[3]], "row 1 of y holds 3; give its right text"),
        ([None], "row 1 of y holds None"),
        ([["a", None]], "row 1 of y holds None"),
        ([b"a"], "row 1 of y holds b'a'"),
        ([3.5], r"row 1 of y holds 3\.5"),
        ([[]], "a right text for each"),
        (None, "y is None; pass a list"),
    ],
)
def test_right_texts_are_texts(y, message):
    with pytest.raises(DataError, match=message):
        bleu(["a"], y)


def test_texts_that_are_too_long_are_cut_with_a_warning(tiny_backbone):
    generator = PromptGenerator(SOURCE, tiny_backbone("llama"), max_steps=1, max_new_tokens=3, device="cpu")
    with pytest.warns(UserWarning, match=r"of 4 texts have more than max_new_tokens=3"):
        generator.fit(INPUTS, TEXTS)
