from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from promptlab import PromptClassifier
from promptlab.core.errors import VerbalizerError
from promptlab.core.types import Example, MaskStates
from promptlab.models.inference import calibrate
from promptlab.models.prompt_model import PromptModel
from promptlab.templates.demonstrations import DemonstrationTemplate, InContextTemplate
from promptlab.templates.manual import ManualTemplate
from promptlab.tuning.none import NoTuning
from promptlab.verbalizers.aggregates import AGGREGATES
from promptlab.verbalizers.calibrated import (
    ClassPriorHead,
    ContextualCalibration,
    PMICalibration,
    SupportCalibration,
    WordPriorHead,
)
from promptlab.verbalizers.ensemble import EnsembleVerbalizer
from promptlab.verbalizers.linear import LinearVerbalizer
from promptlab.verbalizers.manual import LabelWordHead, ManualVerbalizer
from promptlab.verbalizers.prototypical import PrototypicalVerbalizer
from promptlab.verbalizers.strings import MultiTokenVerbalizer
from promptlab.verbalizers.weighted import WeightedVerbalizer

WORDS = ManualVerbalizer({"n": ["dull", "awful"], "p": ["great", "good"]})
ONE_WORD = ManualVerbalizer({"n": ["dull"], "p": ["great"]})
TEMPLATE = ManualTemplate("{{ text_a }} it was {{ mask }}")
TEXTS = ["the film was great", "a dull mess", "good acting"]


def states(*rows):
    """Mask states of several examples whose logits are given."""
    return MaskStates(torch.tensor(rows)[:, None], lambda h, ids=None: h if ids is None else h[..., ids])


def words(*rows, aggregate="mean-logit"):
    valid = torch.ones(len(rows), len(rows[0]), dtype=torch.bool)
    return LabelWordHead(torch.tensor(rows), valid, AGGREGATES[aggregate])


def both(inner):
    return [ClassPriorHead(inner, inner.valid.shape[0]), WordPriorHead(inner)]


@pytest.mark.parametrize("head", both(words([0], [1], [2])), ids=lambda head: type(head).__name__)
def test_a_uniform_prior_changes_nothing(head):
    answer = states([1.0, 2.0, 0.5])
    expected = head.inner(answer)

    head.set_prior(states([4.0, 4.0, 4.0]))

    torch.testing.assert_close(head(answer), expected)


@pytest.mark.parametrize("head", both(words([0], [1], [2])), ids=lambda head: type(head).__name__)
def test_the_input_that_gave_the_prior_gets_the_uniform_distribution(head):
    reference = states([1.0, -2.0, 0.5])

    head.set_prior(reference)

    assert head(reference).exp()[0].tolist() == pytest.approx([1 / 3] * 3, abs=1e-6)


def test_the_contextual_prior_is_the_mean_probability_and_divides():
    head = ClassPriorHead(words([0], [1]), 2)

    head.set_prior(states([0.0, math.log(3.0)], [0.0, 0.0]))  # p = (1/4, 3/4) and (1/2, 1/2): mean (3/8, 5/8)

    calibrated = torch.tensor([0.5 / (3 / 8), 0.5 / (5 / 8)])
    assert head(states([0.0, 0.0])).exp()[0].tolist() == pytest.approx((calibrated / calibrated.sum()).tolist())


def test_a_class_that_is_next_to_impossible_without_content_is_warned_of():
    head = ClassPriorHead(words([0], [1]), 2)

    with pytest.warns(UserWarning, match="favours it almost always"):
        head.set_prior(states([0.0, -40.0]))
    assert head.prior[1].item() == pytest.approx(math.log(1e-12))


def test_the_support_prior_is_the_softmax_of_mean_logits_over_all_words():
    head = WordPriorHead(words([0, 1], [2, 3], aggregate="mean-prob"))

    head.set_prior(states([1.0, 2.0, 3.0, 4.0], [3.0, 2.0, 1.0, 0.0]))  # means: 2, 2, 2, 2

    assert head.prior.flatten().exp().tolist() == pytest.approx([1 / 4] * 4)


def test_training_is_not_calibrated():
    head = ClassPriorHead(words([0], [1]), 2)
    answer, label = states([1.0, 2.0]), torch.tensor([0])
    before = head.loss(answer, label)

    head.set_prior(states([5.0, -5.0]))

    assert torch.equal(head.loss(answer, label), before)


def with_bias(backbone, word, offset):
    """A model that likes one word too much."""
    bias = backbone.model.cls.predictions.decoder.bias
    with torch.no_grad():
        bias[backbone.token_ids(word)[0]] += offset
    return backbone


@torch.no_grad()
@pytest.mark.parametrize(
    "wrap",
    [
        lambda inner: ContextualCalibration(inner, inputs=("N/A",)),  # the mean over several is not exact
        PMICalibration,
        lambda inner: SupportCalibration(inner, TEXTS),
    ],
    ids=["contextual", "domain", "support"],
)
@pytest.mark.parametrize(
    "inner", [ONE_WORD, MultiTokenVerbalizer({"n": "dull", "p": "great"})], ids=["words", "strings"]
)
def test_a_model_that_likes_one_label_too_much_is_put_right(tiny_backbone, wrap, inner):
    results = []
    for offset in (0.0, 6.0):
        backbone = with_bias(tiny_backbone("bert"), "great", offset)
        classifier = PromptClassifier(TEMPLATE, wrap(inner), backbone, device="cpu")
        results.append(classifier.predict_proba(TEXTS))

    assert abs(results[0] - results[1]).max() < 1e-3


@torch.no_grad()
def test_domain_pmi_is_contextual_calibration_with_the_domain_text_as_the_content_free_prompt(tiny_backbone):
    backbone = tiny_backbone("gpt2")
    models = [
        PromptModel.build(ManualTemplate("{{ text_a }} it was {{ mask }}"), verbalizer, backbone, NoTuning())
        for verbalizer in (PMICalibration(WORDS), ContextualCalibration(WORDS, inputs=("",)))
    ]
    for model in models:
        calibrate(model)
    batch = backbone.collate(models[0].encode([Example({"text_a": text}) for text in TEXTS]))

    torch.testing.assert_close(models[0].log_probs(batch), models[1].log_probs(batch))


@torch.no_grad()
def test_domain_pmi_is_the_log_ratio_of_the_two_likelihoods(tiny_backbone):
    backbone = tiny_backbone("gpt2")
    strings = MultiTokenVerbalizer({"n": ["a dull mess"], "p": ["great acting"]})
    classifier = PromptClassifier(TEMPLATE, PMICalibration(strings, "the answer is"), backbone, device="cpu")

    probabilities = classifier.predict_proba(TEXTS[:1])[0]

    def likelihood(context, answer):
        ids = backbone.token_ids(context, at_start=True)
        tokens = backbone.token_ids(answer)
        log_probs = backbone.model(input_ids=torch.tensor([ids + tokens])).logits[0].log_softmax(dim=-1)
        return sum(log_probs[len(ids) - 1 + i, token].item() for i, token in enumerate(tokens))

    pmi = [
        likelihood(f"{TEXTS[0]} it was", answer) - likelihood("the answer is", answer)
        for answer in ("a dull mess", "great acting")
    ]
    assert math.log(probabilities[1] / probabilities[0]) == pytest.approx(pmi[1] - pmi[0], abs=1e-4)


def test_the_prior_is_measured_anew_after_training(tiny_backbone):
    classifier = PromptClassifier(
        TEMPLATE, ContextualCalibration(WORDS), tiny_backbone("bert"), max_steps=5, learning_rate=1e-2, device="cpu"
    )
    before = classifier.ready().head.prior.clone()

    classifier.fit(TEXTS, ["p", "n", "p"])

    model = classifier.model_
    prompts = [TEMPLATE.render(Example({"text_a": text})) for text in ("N/A", "[MASK]", "")]
    with torch.no_grad():
        probabilities = model.head.inner(model.read(model.backbone.collate(model.encode_prompts(prompts)))).exp()
    assert not torch.allclose(model.head.prior, before)
    torch.testing.assert_close(model.head.prior.exp(), probabilities.mean(dim=0), atol=1e-5, rtol=0)


def test_support_needs_texts_and_label_words(tiny_backbone):
    with pytest.raises(VerbalizerError, match="support is empty"):
        SupportCalibration(WORDS, [])
    with pytest.raises(VerbalizerError, match="scores no label words"):
        SupportCalibration(LinearVerbalizer(("a", "b")), ["x"]).build(tiny_backbone("bert"), TEMPLATE.slot)


def test_a_calibrated_head_has_no_weights_of_its_own():
    assert not list(nn.Module.parameters(ClassPriorHead(words([0], [1]), 2)))


def test_one_input_may_be_given_as_a_text():
    assert ContextualCalibration(WORDS, inputs="N/A").inputs == ("N/A",)


def test_support_may_be_texts_examples_or_mappings():
    rows = SupportCalibration(WORDS, ["a", Example({"text_a": "b"}, "n"), {"text_a": "c"}]).support

    assert rows == tuple(Example({"text_a": text}) for text in "abc")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ContextualCalibration({"n": "dull"}), "wraps a verbalizer"),
        (lambda: ContextualCalibration(WORDS, inputs=()), "inputs is empty"),
        (lambda: SupportCalibration(WORDS, "one text"), "support is a str"),
        (lambda: SupportCalibration(WORDS, [("a",)]), "support holds a tuple"),
    ],
)
def test_other_input_is_one_clear_line(make, message):
    with pytest.raises(VerbalizerError, match=message):
        make()


ROWS = ["the film was great", "a good story of the year", "a dull , lifeless mess", "just awful", "good acting", "dull"]
LABELS = ["p", "p", "n", "n", "p", "n"]
IN_CONTEXT = InContextTemplate(TEMPLATE.source, k=2, sets=3)
BESIDE = DemonstrationTemplate(TEMPLATE.source, sets=4)
CONTENT_FREE = {
    "contextual": lambda inner: ContextualCalibration(inner, inputs="N/A"),
    "domain": lambda inner: PMICalibration(inner),
    "domain of a domain": lambda inner: PMICalibration(PMICalibration(inner, "the answer is")),
    "contextual of a support": lambda inner: ContextualCalibration(SupportCalibration(inner, ROWS), inputs="N/A"),
    "contextual of a domain": lambda inner: ContextualCalibration(PMICalibration(inner), inputs="N/A"),
    "domain of a contextual": lambda inner: PMICalibration(ContextualCalibration(inner)),
    "support": lambda inner: SupportCalibration(inner, ["N/A"]),
}


@pytest.mark.parametrize("wrap", CONTENT_FREE.values(), ids=CONTENT_FREE)
@pytest.mark.parametrize("template", [TEMPLATE, IN_CONTEXT, BESIDE], ids=["one", "in-context", "beside"])
def test_the_reference_input_gets_the_uniform_distribution_in_any_company(tiny_backbone, template, wrap):
    text = "" if isinstance(wrap(WORDS), PMICalibration) else "N/A"
    backbone = with_bias(tiny_backbone("bert"), "great", 3.0)
    classifier = PromptClassifier(template, wrap(WORDS), backbone, "none", device="cpu", max_length=48)

    classifier.fit(ROWS, LABELS)

    for texts in ([text], [*ROWS, text], [text, *ROWS * 6, text]):
        found = classifier.predict_proba(texts)[[i for i, one in enumerate(texts) if one == text]]
        assert abs(found - 0.5).max() < 1e-4


@pytest.mark.parametrize(
    "inner",
    [
        EnsembleVerbalizer([WORDS, ONE_WORD], weights=(3, 1)),
        WeightedVerbalizer(WORDS.label_words),
        MultiTokenVerbalizer({"n": ["a dull mess", "awful"], "p": "great acting"}),
        PrototypicalVerbalizer(SupportCalibration(WORDS, ROWS), size=4, max_steps=3),
    ],
    ids=["ensemble", "weighted", "strings", "prototypes"],
)
def test_the_reference_input_gets_the_uniform_distribution_whatever_is_calibrated(tiny_backbone, inner):
    verbalizer = ContextualCalibration(inner, inputs=["N/A"])
    tuning = "none" if isinstance(inner, (EnsembleVerbalizer, MultiTokenVerbalizer)) else "frozen"
    classifier = PromptClassifier(IN_CONTEXT, verbalizer, tiny_backbone("bert"), tuning, device="cpu", max_length=60)

    classifier.fit(ROWS, LABELS)

    assert abs(classifier.predict_proba([*ROWS, "N/A"])[-1] - 0.5).max() < 1e-4


@torch.no_grad()
def test_each_set_of_demonstrations_has_a_prior_of_its_own(tiny_backbone):
    """Set by set, input by input: p / p of the inputs, the geometric mean over the sets, normalized."""
    backbone, inputs = with_bias(tiny_backbone("bert"), "great", 2.0), ("N/A", "")
    classifier = PromptClassifier(IN_CONTEXT, ContextualCalibration(WORDS, inputs), backbone, "none", device="cpu")
    classifier.fit(ROWS, LABELS)
    model = classifier.model_

    def probabilities(text, number):
        prompt = model.template.variants(Example({"text_a": text}))[number]
        answer = model.read(model.backbone.collate(model.encode_prompts([prompt])))
        return model.head.inner(answer).exp()[0].tolist()

    expected = []
    for text in ROWS:
        logs = [0.0, 0.0]
        for number in range(3):
            free = [probabilities(one, number) for one in inputs]
            for c, p in enumerate(probabilities(text, number)):
                logs[c] += math.log(p / (sum(row[c] for row in free) / len(inputs))) / 3
        total = sum(map(math.exp, logs))
        expected.append([math.exp(one) / total for one in logs])
    assert classifier.predict_proba(ROWS) == pytest.approx(np.array(expected), abs=1e-5)


@torch.no_grad()
def test_a_wrapped_calibration_is_measured_before_the_one_around_it(tiny_backbone):
    backbone = tiny_backbone("bert")
    both = PromptClassifier(
        TEMPLATE, ContextualCalibration(SupportCalibration(WORDS, TEXTS), "N/A"), backbone, device="cpu"
    ).predict_proba(TEXTS)

    inner = PromptClassifier(TEMPLATE, SupportCalibration(WORDS, TEXTS), backbone, device="cpu")
    plain = PromptClassifier(TEMPLATE, WORDS, backbone, device="cpu").predict_proba(TEXTS)
    ratio = inner.predict_proba(TEXTS) / inner.predict_proba(["N/A"])
    assert abs(inner.predict_proba(TEXTS) - plain).max() > 1e-3
    np.testing.assert_allclose(both, ratio / ratio.sum(axis=1, keepdims=True), atol=1e-5)


def test_a_calibration_inside_an_ensemble_is_refused_at_once():
    with pytest.raises(VerbalizerError, match="ContextualCalibration calibrates; wrap the ensemble"):
        EnsembleVerbalizer([WORDS, ContextualCalibration(ONE_WORD)])
