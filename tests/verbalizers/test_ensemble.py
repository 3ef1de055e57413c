from __future__ import annotations

import pytest
import torch

from promptlab import PromptClassifier
from promptlab.core.errors import VerbalizerError
from promptlab.verbalizers.calibrated import ContextualCalibration
from promptlab.verbalizers.ensemble import EnsembleVerbalizer
from promptlab.verbalizers.manual import ManualVerbalizer
from promptlab.verbalizers.prototypical import PrototypicalVerbalizer
from promptlab.verbalizers.soft import SoftVerbalizer
from promptlab.verbalizers.strings import MultiTokenVerbalizer

TEMPLATE = "{{ text_a }} it was {{ mask }}"
TEXTS = ["the film was great", "a good story", "a dull , lifeless mess", "just awful"]
LABELS = ["p", "p", "n", "n"]
FIRST = ManualVerbalizer({"n": ["bad"], "p": ["good"]})
SECOND = ManualVerbalizer({"p": ["great", "story"], "n": ["awful"]})  # its classes in another order


def probabilities(verbalizer, backbone):
    return PromptClassifier(TEMPLATE, verbalizer, backbone, "none", device="cpu").predict_proba(TEXTS)


@pytest.mark.parametrize(("weights", "shares"), [(None, (0.5, 0.5)), ((3, 1), (0.75, 0.25))])
def test_probabilities_are_the_weighted_mean_of_the_parts(tiny_backbone, weights, shares):
    backbone = tiny_backbone("bert")
    first, second = (probabilities(v, backbone) for v in (FIRST, SECOND))

    both = probabilities(EnsembleVerbalizer([FIRST, SECOND], weights), backbone)

    assert both == pytest.approx(shares[0] * first + shares[1] * second, abs=1e-6)


def test_the_model_reads_each_text_once(tiny_backbone, monkeypatch):
    backbone, read = tiny_backbone("bert"), []
    original = type(backbone).mask_states
    monkeypatch.setattr(
        type(backbone), "mask_states", lambda self, batch: read.append(len(batch.input_ids)) or original(self, batch)
    )

    probabilities(EnsembleVerbalizer([FIRST, SECOND]), backbone)

    assert sum(read) == len(TEXTS)


def test_the_loss_is_the_weighted_mean_of_the_parts_losses(tiny_backbone):
    backbone = tiny_backbone("bert")
    ensemble = EnsembleVerbalizer([FIRST, SECOND], (3, 1))
    model = PromptClassifier(TEMPLATE, ensemble, backbone, "none", device="cpu").ready()
    alone = [PromptClassifier(TEMPLATE, v, backbone, "none", device="cpu").ready().head for v in (FIRST, SECOND)]
    from promptlab.core.types import Example

    with torch.no_grad():
        answer = model.read(model.backbone.collate(model.encode([Example({"text_a": text}) for text in TEXTS])))
        losses = [
            alone[0].loss(answer, torch.tensor([1, 1, 0, 0])),
            alone[1].loss(answer, torch.tensor([0, 0, 1, 1])),
        ]

        torch.testing.assert_close(
            model.head.loss(answer, torch.tensor([1, 1, 0, 0])), 0.75 * losses[0] + 0.25 * losses[1]
        )


def test_a_calibrated_ensemble_with_a_trained_part_comes_back_from_disk(tiny_backbone, tmp_path):
    backbone = tiny_backbone("bert")
    verbalizer = ContextualCalibration(EnsembleVerbalizer([FIRST, SoftVerbalizer(SECOND.label_words)]))
    classifier = PromptClassifier(TEMPLATE, verbalizer, backbone, "frozen", max_steps=4, device="cpu")
    classifier.fit(TEXTS, LABELS).save_pretrained(tmp_path / "out")

    back = PromptClassifier.from_pretrained(tmp_path / "out", model=backbone, device="cpu")

    assert back.verbalizer == verbalizer
    assert back.predict_proba(TEXTS).tolist() == classifier.predict_proba(TEXTS).tolist()


@pytest.mark.parametrize(
    ("parts", "weights", "message"),
    [
        ([FIRST], None, "must be two Verbalizers or more"),
        ([FIRST, ManualVerbalizer({"n": ["bad"], "q": ["good"]})], None, "have the same classes"),
        ([FIRST, SECOND], (1,), "must be 2 numbers above 0"),
        ([FIRST, SECOND], (1, 0), "must be 2 numbers above 0"),
    ],
)
def test_parts_that_do_not_go_together_are_told(parts, weights, message):
    with pytest.raises(VerbalizerError, match=message):
        EnsembleVerbalizer(parts, weights)


@pytest.mark.parametrize(
    ("part", "message"),
    [
        (
            MultiTokenVerbalizer({"n": "not good", "p": "good"}),
            "MultiTokenVerbalizer doesn't learn from mask states alone",
        ),
        (PrototypicalVerbalizer(names=("n", "p")), "PrototypicalVerbalizer doesn't learn from mask states alone"),
        (ContextualCalibration(SECOND), "ContextualCalibration"),
    ],
)
def test_parts_that_cannot_share_an_answer_are_told(tiny_backbone, part, message):
    with pytest.raises(VerbalizerError, match=message):
        probabilities(EnsembleVerbalizer([FIRST, part]), tiny_backbone("bert"))
