from __future__ import annotations

import pytest
import torch

import promptlab.estimators.generator  # so that all models are known
import promptlab.estimators.joint_classifier
import promptlab.estimators.multi_label_classifier
import promptlab.estimators.token_classifier
import promptlab.training.objectives  # noqa: F401
from promptlab.core.types import Example
from promptlab.models.prompt_model import PromptModel
from promptlab.models.trainable_model import TrainableModel
from promptlab.templates.manual import ManualTemplate
from promptlab.tuning.full import Full
from promptlab.verbalizers.manual import ManualVerbalizer


def kinds(cls=TrainableModel):
    for kind in cls.__subclasses__():
        if kind.__module__.startswith("promptlab."):
            yield kind
        yield from kinds(kind)


@pytest.mark.parametrize("kind", [k for k in kinds() if k.loss is not TrainableModel.loss], ids=lambda k: k.__name__)
def test_a_models_forward_pass_is_its_loss_which_wrappers_for_training_call(kind):
    assert kind.forward is kind.loss


def test_there_are_as_many_kinds_of_models():
    assert len({kind for kind in kinds() if kind.loss is not TrainableModel.loss}) >= 7


def test_what_a_model_says_of_labeled_texts_are_log_probabilities_and_its_loss_is_a_number(tiny_backbone):
    words = ManualVerbalizer({"n": ["bad"], "p": ["good"]})
    model = PromptModel.build(ManualTemplate("{{ text_a }} {{ mask }}"), words, tiny_backbone("bert"), Full()).eval()
    batch = model.backbone.collate(model.encode([Example({"text_a": text}) for text in ("a film", "the story")]))
    batch.labels = torch.tensor([1, 0])

    log_probs, loss = model.log_probs(batch), model.loss(batch)

    assert log_probs.exp().sum(dim=1).tolist() == pytest.approx([1.0, 1.0])
    assert loss.item() == pytest.approx(-(log_probs[0, 1] + log_probs[1, 0]).item() / 2)
