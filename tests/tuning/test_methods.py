"""What every tuning method must do, on every family that can take it."""

from __future__ import annotations

import copy
import re

import numpy as np
import pytest
import torch
from transformers.pytorch_utils import Conv1D

from promptlab import HeadClassifier, PromptClassifier, TopLayers
from promptlab.core.errors import TuningError
from promptlab.core.registry import TUNINGS
from promptlab.core.seeding import seeded
from promptlab.core.types import Example
from promptlab.models.prompt_model import PromptModel
from promptlab.templates.manual import ManualTemplate
from promptlab.tuning.adapter import Adapter, Bottleneck
from promptlab.tuning.lora import IA3, LoRA
from promptlab.tuning.prefix import PrefixTable, PrefixTuning, PTuningV2
from promptlab.tuning.prompt_tuning import PromptTuning, PTuning
from promptlab.verbalizers.manual import ManualVerbalizer
from promptlab.verbalizers.strings import MultiTokenVerbalizer

TEXTS = ["the film was great", "a good story", "a dull , lifeless mess of a story", "just awful"]
LABELS = ["positive", "positive", "negative", "negative"]
WORDS = {"positive": ["good", "great"], "negative": ["awful", "dull"]}
SOURCE = "{{ text_a }} it was {{ mask }}"
SOFT = "{{ soft(2) }} {{ text_a }} {{ soft(1) }} it was {{ mask }}"
TRAINS_NOTHING = {"none", "frozen"}  # but a head and soft tokens, which this template has none of
METHODS = {name: TUNINGS.get(name)() for name in TUNINGS.names if name not in TRAINS_NOTHING} | {
    "top-layers": TopLayers(1),
    "adapter": Adapter(size=4),
    "pfeiffer": Adapter(size=4, place="pfeiffer"),
    "feed-forward": Adapter(size=4, place="feed-forward"),
    "lora": LoRA(rank=2),
    "lora-all": LoRA(rank=2, targets="all-linear", rslora=True),
    "dora": LoRA(rank=2, dora=True),
    "prefix": PrefixTuning(length=3, hidden=8),
    "p-tuning-v2": PTuningV2(length=3),
    "prompt-tuning": PromptTuning(length=3),
    "prompt-tuning-mlp": PromptTuning(length=3, start="labels", hidden=8),
    "p-tuning": PTuning(train_model=False),
}


def built(backbone, method):
    """The model, or a skip if the method says that it finds nothing to train in a model of this family."""
    try:
        return build(backbone, method)
    except TuningError as error:
        assert re.fullmatch(rf"{backbone.name} has no .* to train; choose .*", str(error))
        pytest.skip(str(error))


def template_for(method):
    return SOFT if method == "p-tuning" else SOURCE


def build(backbone, method, tuning=None):
    tuning = tuning or METHODS[method]
    template = tuning.edit(ManualTemplate(template_for(method)))
    return PromptModel.build(template, ManualVerbalizer(WORDS), backbone, tuning)


def batch_of(model, texts=TEXTS):
    return model.backbone.collate(model.encode([Example({"text_a": text}) for text in texts]))


@pytest.mark.parametrize("method", sorted(METHODS))
def test_three_steps_move_what_is_trained_and_nothing_else(any_backbone, method):
    model = built(any_backbone, method).train()
    trained = dict(model.trained_parameters())
    before = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    optimizer = torch.optim.AdamW(trained.values(), lr=0.01, weight_decay=0.0)
    batch = batch_of(model)
    batch.labels = torch.tensor([0, 0, 1, 1])

    for _ in range(3):
        optimizer.zero_grad()
        model.loss(batch).backward()
        optimizer.step()

    moved = {name for name, weight in model.named_parameters() if not torch.equal(weight, before[name])}
    assert moved and moved <= set(trained)
    still = {name for name in set(trained) - moved}
    assert all(trained[name].grad is None or not trained[name].grad.any() for name in still)
    assert len(still) < len(trained) / 2


NORMS = (1 + 2 * 2 + 1) * 2 * 32  # of the embeddings, of each sub-layer of two layers, of the head
ADAPTER = 2 * 32 * 4 + 32 + 4


@pytest.mark.parametrize(
    ("method", "count"),
    [
        ("bitfit", 2 * (4 * 32 + 48 + 32 + 2 * 32) + 32 + 2 * 32),  # and one for each word of the vocabulary
        ("layer-norm", NORMS),
        ("adapter", 2 * 2 * ADAPTER + NORMS),
        ("pfeiffer", 2 * ADAPTER),
        ("feed-forward", 2 * ADAPTER + NORMS),
        ("lora", 2 * 2 * (32 + 32) * 2),
        ("ia3", 2 * (32 + 32 + 48)),
        ("prefix", 3 * 32 + (32 + 1) * 8 + (8 + 1) * 2 * 2 * 32),
        ("p-tuning-v2", 3 * 2 * 2 * 32),
        ("prompt-tuning", 3 * 32),
    ],
)
def test_a_method_trains_as_many_weights_as_its_paper_says(tiny_backbone, method, count):
    model = build(tiny_backbone("bert"), method)

    trained = sum(weight.numel() for _, weight in model.trained_parameters())

    assert trained == count + (model.backbone.vocabulary if method == "bitfit" else 0)


def test_p_tuning_trains_the_model_too_unless_told_otherwise(tiny_backbone):
    for train_model in (True, False):
        model = build(tiny_backbone("bert"), "p-tuning", PTuning(train_model=train_model))

        assert {weight.requires_grad for weight in model.backbone.parameters()} == {train_model}
        assert all(weight.requires_grad for weight in model.soft.parameters())


def test_a_prefix_starts_small():
    table = PrefixTable([(4, 8)] * 4, length=50, hidden=0, width=32, dropout=0.0, std=0.02).table

    assert table.std().item() == pytest.approx(0.02, rel=0.05)


@pytest.mark.parametrize("method", sorted(METHODS))
@pytest.mark.parametrize("family", ["bert", "llama", "t5"])
def test_a_classifier_comes_back_from_disk_and_the_file_holds_only_what_was_trained(
    tiny_backbone, tmp_path, method, family
):
    backbone = tiny_backbone(family)
    built(tiny_backbone(family), method)
    classifier = PromptClassifier(
        template_for(method), WORDS, backbone, METHODS[method], max_steps=3, learning_rate=1e-2, device="cpu"
    ).fit(TEXTS, LABELS)
    expected = classifier.predict_proba(TEXTS)

    classifier.save_pretrained(tmp_path / "saved")
    back = PromptClassifier.from_pretrained(tmp_path / "saved", model=backbone, device="cpu")

    assert (back.predict_proba(TEXTS) == expected).all()
    size = sum(path.stat().st_size for path in (tmp_path / "saved").rglob("*.safetensors"))
    assert size < 4 * classifier.trainable_parameters() + 20_000


@pytest.mark.parametrize("method", sorted(METHODS))
def test_a_method_learns_with_a_head_too(tiny_backbone, method):
    tuning = METHODS[method]
    if method == "p-tuning":
        pytest.skip("needs soft tokens in a template, which a head classifier has none of")
    classifier = HeadClassifier(
        tiny_backbone("bert"), tuning, max_steps=60, learning_rate=1e-2, head_learning_rate=5e-2, device="cpu"
    )

    assert classifier.fit(TEXTS, LABELS).predict(TEXTS).tolist() == LABELS


@pytest.mark.parametrize(
    "tuning",
    [Adapter(size=4), Adapter(size=4, place="pfeiffer"), LoRA(rank=2), LoRA(rank=2, dora=True), IA3()],
    ids=str,
)
@torch.no_grad()
def test_a_method_that_adds_layers_starts_as_the_model_it_is_added_to(any_backbone, tuning):
    plain = build(copy.deepcopy(any_backbone), "x", TUNINGS.get("none")())
    expected = plain.log_probs(batch_of(plain))

    model = build(any_backbone, "x", tuning).eval()

    torch.testing.assert_close(
        model.log_probs(batch_of(model)), expected, atol=1e-2 if isinstance(tuning, Adapter) else 1e-5, rtol=0
    )


def test_biases_are_missing_only_where_no_linear_layer_has_any(any_backbone):
    layers = [layer for layer in any_backbone.model.modules() if isinstance(layer, torch.nn.Linear | Conv1D)]
    if any(layer.bias is not None for layer in layers):
        build(any_backbone, "bitfit")
    else:
        with pytest.raises(TuningError, match="has no biases to train"):
            build(any_backbone, "bitfit")


def gradients(model):
    batch = batch_of(model)
    batch.labels = torch.tensor([0, 0, 1, 1])
    with seeded(0):
        model.loss(batch).backward()
    return {name: weight.grad.clone() for name, weight in model.trained_parameters() if weight.grad is not None}


@pytest.mark.parametrize("method", ["full", "adapter", "pfeiffer", "lora", "p-tuning-v2", "prompt-tuning"])
def test_activations_computed_again_give_the_same_gradients(any_backbone, method):
    tuning = METHODS.get(method) or TUNINGS.get(method)()
    model = build(any_backbone, method, tuning).train()
    if not any_backbone.model.supports_gradient_checkpointing:
        with pytest.raises(TuningError, match=r"family '[a-z]+' can't compute activations again"):
            any_backbone.recompute_activations()
        return
    expected = gradients(model)
    model.zero_grad()
    calls = []
    layer = any_backbone.layers()[-1]
    inner = next(module for module in layer.modules() if isinstance(module, torch.nn.Linear | Conv1D))
    inner.register_forward_hook(lambda *_: calls.append(1))
    any_backbone.recompute_activations()

    found = gradients(model.train())

    assert len(calls) == 2  # once forward, once for the gradient
    assert found.keys() == expected.keys()
    for name, gradient in found.items():
        torch.testing.assert_close(gradient, expected[name], atol=1e-6, rtol=1e-4)


def test_activations_are_computed_again_if_the_estimator_is_told_so(tiny_backbone, monkeypatch):
    backbone, told = tiny_backbone("bert"), []
    monkeypatch.setattr(type(backbone), "recompute_activations", lambda self: told.append(self))

    PromptClassifier(SOURCE, WORDS, backbone, max_steps=1, gradient_checkpointing=True).fit(TEXTS, LABELS)

    assert len(told) == 1


def test_whole_answers_of_a_causal_model_cannot_be_trained_with_activations_computed_again(tiny_backbone):
    classifier = PromptClassifier(
        SOURCE, MultiTokenVerbalizer({"positive": "very good", "negative": "just awful"}), tiny_backbone("llama"),
        "lora", max_steps=1, gradient_checkpointing=True,
    )  # fmt: skip
    with pytest.raises(TuningError, match="leave gradient_checkpointing out"):
        classifier.fit(TEXTS, LABELS)


@pytest.mark.parametrize("tuning", [LoRA(rank=2), LoRA(rank=2, dora=True), LoRA(rank=2, rslora=True), IA3()], ids=str)
@torch.no_grad()
def test_merged_updates_answer_as_before_and_leave_shared_weights_alone(any_backbone, tuning):
    base = {name: weight.clone() for name, weight in any_backbone.named_parameters()}
    model = build(any_backbone.copy(), "x", tuning).eval()
    for _, weight in model.trained_parameters():
        weight.add_(0.1 * torch.randn_like(weight))
    expected = model.log_probs(batch_of(model))

    tuning.merge(model.backbone)

    assert not model.backbone.added_weights()
    torch.testing.assert_close(model.log_probs(batch_of(model)), expected, atol=1e-5, rtol=1e-4)
    assert all(torch.equal(weight, base[name]) for name, weight in any_backbone.named_parameters())


@torch.no_grad()
def test_twice_the_alpha_is_twice_the_update(tiny_backbone):
    deltas = []
    for alpha in (4, 8):
        backbone = tiny_backbone("bert")
        before = {name: weight.clone() for name, weight in backbone.model.named_parameters()}
        with seeded(1):
            model = build(backbone, "x", LoRA(rank=32, alpha=alpha))
            for _, weight in model.trained_parameters():
                weight.copy_(torch.randn_like(weight))
        LoRA().merge(backbone)
        deltas.append({n: w - before[n] for n, w in backbone.model.named_parameters() if not torch.equal(w, before[n])})

    assert len(deltas[0]) == 4  # queries and values of two layers
    for name, delta in deltas[0].items():
        torch.testing.assert_close(2 * delta, deltas[1][name], atol=1e-3, rtol=1e-3)


def test_classifiers_on_one_backbone_share_its_weights(any_backbone):
    before = {name: weight.clone() for name, weight in any_backbone.named_parameters()}
    first = build(any_backbone.copy(), "lora")
    second = build(any_backbone.copy(), "p-tuning-v2")
    full = build(any_backbone.copy(), "x", TUNINGS.get("full")())
    owned = {weight.data_ptr() for weight in any_backbone.parameters()}

    for model in (first, second):
        shared = {weight.data_ptr() for weight in model.parameters() if not weight.requires_grad and weight.numel()}
        assert shared == owned
    for model in (first, second, full):
        assert not owned & {weight.data_ptr() for _, weight in model.trained_parameters()}
        with torch.no_grad():
            for _, weight in model.trained_parameters():
                weight.add_(1.0)
    assert all(torch.equal(weight, before[name]) for name, weight in any_backbone.named_parameters())


@torch.no_grad()
def test_an_adapter_whose_second_layer_is_zero_is_the_identity_bit_by_bit():
    adapter = Bottleneck(32, 4, 1e-3)
    adapter.up.weight.zero_()
    x = torch.randn(2, 3, 32)

    assert torch.equal(adapter(x), x)
    assert sum(weight.numel() for weight in adapter.parameters()) == 2 * 4 * 32 + 32 + 4


@torch.no_grad()
def test_a_padded_row_with_a_prefix_is_the_row_alone(any_backbone):
    model = build(any_backbone, "p-tuning-v2").eval()
    model.backbone.prefix_table.table.normal_()

    together = model.log_probs(batch_of(model))

    for row, text in enumerate(TEXTS):
        torch.testing.assert_close(model.log_probs(batch_of(model, [text]))[0], together[row], atol=1e-5, rtol=1e-5)
    assert torch.equal(model.log_probs(batch_of(model)), together)  # nothing is left over from the first pass


@torch.no_grad()
def test_keys_and_values_of_a_prefix_drop_out_in_training_only(tiny_backbone):
    for family in ("bert", "deberta-v2"):
        model = build(tiny_backbone(family), "x", PTuningV2(length=3, dropout=0.5))
        model.backbone.prefix_table.table.normal_()
        batch = batch_of(model)

        assert not torch.equal(model.train().log_probs(batch), model.log_probs(batch))
        assert torch.equal(model.eval().log_probs(batch), model.log_probs(batch))


@torch.no_grad()
def test_every_layer_sees_its_prefix(any_backbone):
    model = build(any_backbone, "p-tuning-v2").eval()
    batch = batch_of(model)
    table = model.backbone.prefix_table
    table.table.normal_()
    plain = model.log_probs(batch)
    start = 0
    for size in table.sizes:
        kept = table.table[:, start : start + size].clone()
        table.table[:, start : start + size].normal_()
        assert not torch.allclose(model.log_probs(batch), plain, atol=1e-7)
        table.table[:, start : start + size] = kept
        start += size


@torch.no_grad()
def test_a_prefix_of_a_words_keys_and_values_is_that_word_before_the_text(tiny_backbone, prefix_of):
    backbone = tiny_backbone("gpt2")
    words = torch.tensor([backbone.token_ids("the film was", at_start=True)])
    rows = prefix_of(backbone, words)
    text = torch.tensor([backbone.token_ids("a great story")])
    length = words.shape[1]
    expected = backbone.model(torch.cat([words, text], dim=1)).logits[:, length:]
    model = build(backbone, "x", PTuningV2(length=length)).eval()
    model.backbone.prefix_table.table.copy_(rows)

    positions = torch.arange(length, length + text.shape[1])[None]
    logits = backbone.model(text, position_ids=positions).logits

    torch.testing.assert_close(logits, expected, atol=1e-5, rtol=0)


def test_what_a_prefix_or_a_prompt_exports_answers_as_in_training(tiny_backbone):
    for method in ("prefix", "prompt-tuning-mlp", "p-tuning"):
        model = build(tiny_backbone("bert"), method).eval()
        with torch.no_grad():
            for _, weight in model.trained_parameters():
                weight.add_(0.1 * torch.randn_like(weight))
            before = model.log_probs(batch_of(model))
            trained = sum(weight.numel() for _, weight in model.trained_parameters())

            after = model.export().log_probs(batch_of(model))

        assert torch.equal(before, after)
        assert sum(weight.numel() for _, weight in model.trained_parameters()) < trained


def test_soft_tokens_start_from_labels_then_common_words(tiny_backbone):
    backbone = tiny_backbone("bert")
    model = build(backbone, "x", PromptTuning(length=3, start="labels"))
    weight = backbone.embedding_weight()

    for row, word in zip(model.soft.table, ("good", "awful")):
        assert torch.equal(row, weight[backbone.token_ids(word)[0]])
    common = weight[backbone.common_word_ids(5000)]
    assert (model.soft.table[2] == common).all(dim=1).any()


def test_common_words_are_whole_words(tiny_backbone):
    for family in ("bert", "gpt2", "t5"):
        backbone = tiny_backbone(family)
        words = [backbone.tokenizer.decode([i]).strip() for i in backbone.common_word_ids(5000)]
        assert "film" in words
        assert all(word.isalpha() for word in words)


def test_single_characters_are_the_least_common_words(tiny_backbone):
    for family in ("bert", "gpt2", "t5"):
        backbone = tiny_backbone(family)
        lengths = [len(backbone.tokenizer.decode([i]).strip()) > 1 for i in backbone.common_word_ids(5000)]
        assert True in lengths and False in lengths
        assert lengths == sorted(lengths, reverse=True)

        some = backbone.common_word_ids(lengths.count(True))
        assert all(len(backbone.tokenizer.decode([i]).strip()) > 1 for i in some)
        assert some == sorted(some)  # by their place in the vocabulary


class Words:
    """Just what is asked of a tokenizer, whose entries are whole words."""

    def __init__(self, words):
        self.words = words

    def __len__(self):
        return len(self.words)

    def convert_ids_to_tokens(self, ids):
        return [self.words[i] for i in ids]

    def convert_tokens_to_string(self, tokens):
        return "".join(tokens)


def test_where_most_words_are_characters_they_are_as_common_as_they_stand(tiny_backbone):
    backbone = tiny_backbone("bert")
    backbone.tokenizer = Words([*"天地玄黄宇宙洪荒", "very", *"日月盈昃", "most"])

    assert backbone.common_word_ids(10) == list(range(10))


def test_lora_and_ia3_open_in_peft(tiny_backbone, tmp_path):
    from peft import PeftModel
    from transformers import AutoModelForMaskedLM

    for tuning in (LoRA(rank=2), IA3()):
        folder = tmp_path / type(tuning).__name__
        backbone = tiny_backbone("bert")
        backbone.model.save_pretrained(folder / "base")
        backbone.tokenizer.save_pretrained(folder / "base")
        classifier = PromptClassifier(SOURCE, WORDS, str(folder / "base"), tuning, max_steps=5, learning_rate=0.05)
        classifier.fit(TEXTS, LABELS).save_pretrained(folder / "saved")
        model = classifier.model_
        batch = batch_of(model)

        base = AutoModelForMaskedLM.from_pretrained(folder / "base")
        opened = PeftModel.from_pretrained(base, folder / "saved" / "adapter").eval()
        with torch.no_grad():
            theirs = opened(batch.input_ids, attention_mask=batch.attention_mask).logits
            ours = model.backbone.mask_states(batch).logits()

        at = theirs[torch.arange(len(TEXTS)), batch.mask_index[:, 0]]
        torch.testing.assert_close(at, ours[:, 0], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LoRA(rank=0), "rank=0"),
        (lambda: LoRA(alpha=0), "alpha=0"),
        (lambda: LoRA(dropout=1.0), "dropout=1.0"),
        (lambda: Adapter(size=0), "size=0"),
        (lambda: Adapter(place="both"), "unknown adapter place 'both'; known: houlsby, pfeiffer, feed-forward"),
        (lambda: Adapter(activation="sine"), "unknown adapter activation 'sine'; known: gelu"),
        (lambda: PrefixTuning(length=0), "length=0"),
        (lambda: PrefixTuning(hidden=-1), "hidden=-1"),
        (lambda: PromptTuning(length=0), "length=0"),
        (lambda: PTuning(hidden=-1), "hidden=-1"),
        (lambda: PTuning().edit(ManualTemplate(SOURCE)), "but this one has none"),
        (lambda: LoRA(rank="8"), "LoRA: rank='8' must be a whole number"),
        (lambda: LoRA(rank=2.5), "LoRA: rank=2.5 must be a whole number"),
        (lambda: LoRA(rslora="no"), "rslora='no' must be True or False"),
        (lambda: LoRA(targets=3), "targets=3 must be a text or a list of texts"),
        (lambda: PromptTuning(start=None), "start=None must be a text"),
        (lambda: PTuningV2(dropout=float("nan")), "PTuningV2: dropout=nan must be a number"),
        (lambda: PrefixTuning(std=-1), "std=-1 must be 0 or above"),
        (lambda: Adapter(std=0), "std=0 must be above 0"),
        (lambda: TopLayers("2"), "n='2' must be a whole number"),
    ],
)
def test_settings_of_another_type_or_out_of_range_are_one_clear_line(make, message):
    with pytest.raises(TuningError, match=message):
        make()


def test_numbers_of_numpy_are_numbers():
    assert LoRA(rank=np.int64(4), dropout=np.float32(0.5), dora=np.bool_(False)).rank == 4


def test_target_modules_that_are_not_there_are_one_clear_line(tiny_backbone):
    with pytest.raises(TuningError, match="peft can't add this") as caught:
        build(tiny_backbone("bert"), "x", LoRA(targets=["nowhere"]))
    assert "\n" not in str(caught.value)
