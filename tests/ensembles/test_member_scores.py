from __future__ import annotations

import numpy as np
import pytest

from promptlab.tuning.adapter import Adapter
from promptlab.tuning.lora import LoRA
from promptlab.tuning.prefix import PTuningV2
from promptlab.tuning.prompt_tuning import PromptTuning
from promptlab.verbalizers.calibrated import ContextualCalibration
from promptlab.verbalizers.manual import ManualVerbalizer
from promptlab.verbalizers.rules import RuleVerbalizer
from promptlab.verbalizers.strings import MultiTokenVerbalizer

TEXTS = ["the film was great", "a good story", "great acting", "a dull mess", "the acting was bad", "a terrible film"]
LABELS = ["positive"] * 3 + ["negative"] * 3
WORDS = {"positive": ["good", "great"], "negative": ["bad", "dull"]}


@pytest.mark.parametrize("tuning", [PromptTuning(length=3), PTuningV2(length=2), Adapter(size=4), LoRA(rank=2)])
def test_members_that_train_little_share_the_models_memory_and_a_batch(make_ensemble, bert, tuning):
    ensemble = make_ensemble(tuning=tuning).fit(TEXTS, LABELS)
    before = bert.embedding_weight().data_ptr()
    alone = [member.predict_proba(TEXTS) for member in ensemble.members_.values()]

    (joint,) = ensemble._scores.joint

    assert list(joint.classifiers) == list(ensemble.members_)
    for member in ensemble.members_.values():
        own = [w.data_ptr() for w in member.model_.backbone.model.parameters() if not w.requires_grad]
        assert before in own
    assert np.allclose(ensemble.member_proba(TEXTS), alone, atol=1e-6)


STRINGS = [
    MultiTokenVerbalizer({"positive": "good", "negative": "bad"}),
    MultiTokenVerbalizer({"positive": "bad", "negative": "good"}),
    MultiTokenVerbalizer({"positive": "a great film", "negative": "dull"}),
]
MANUAL = ManualVerbalizer(WORDS)
RULES = RuleVerbalizer({"positive": ["good", "film"], "negative": ["bad", "story"]})


@pytest.mark.parametrize(
    ("verbalizers", "n_joined"),
    [
        (STRINGS[:2], 0),
        ([STRINGS[0], STRINGS[2]], 0),
        ([STRINGS[0], STRINGS[0]], 2),
        ([MANUAL, ContextualCalibration(MANUAL), STRINGS[0]], 2),
        ([STRINGS[0], MANUAL, ContextualCalibration(MANUAL)], 2),  # the one that runs alone stands first
        ([MANUAL, ContextualCalibration(MANUAL)], 2),
        ([MANUAL, RULES], 0),
    ],
)
def test_members_whose_heads_read_another_thing_answer_as_they_do_alone(make_ensemble, verbalizers, n_joined):
    masks = [" and ".join(["{{ mask }}"] * (2 if verbalizer is RULES else 1)) for verbalizer in verbalizers]
    pairs = [(f"{{{{ text_a }}}} was {mask}", verbalizer) for mask, verbalizer in zip(masks, verbalizers)]

    ensemble = make_ensemble(pairs, tuning=PromptTuning(length=2)).fit(TEXTS, LABELS)

    alone = [member.predict_proba(TEXTS) for member in ensemble.members_.values()]
    assert np.allclose(ensemble.member_proba(TEXTS), alone, atol=1e-6)
    assert sum(len(joint.classifiers) for joint in ensemble._scores.joint) == n_joined


def test_members_with_weights_of_their_own_run_one_after_the_other(make_ensemble):
    assert make_ensemble().fit(TEXTS, LABELS)._scores.joint == []
