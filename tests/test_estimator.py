from __future__ import annotations

import pytest

from promptlab import HeadClassifier
from promptlab.tuning.lora import LoRA
from promptlab.tuning.prefix import PTuningV2


def chosen(tuning, n_examples=20, width=384, **settings):
    return HeadClassifier(batch_size=8, **settings)._training_settings(tuning, n_examples, width)


def test_without_rates_those_of_the_method_are_taken_and_updates_of_the_models_weights_follow_its_width():
    lora, prefix = chosen(LoRA()), chosen(PTuningV2())

    assert lora.learning_rate == pytest.approx(2e-4 * (768 / 384) ** 2)
    assert lora.head_learning_rate == pytest.approx(1e-3)
    assert prefix.learning_rate == pytest.approx(1e-2)  # starts from nothing, whatever the width


def test_a_rate_that_is_given_holds_for_what_is_added_too_unless_that_has_its_own():
    one, two = chosen(LoRA(), learning_rate=0.01), chosen(LoRA(), learning_rate=0.01, head_learning_rate=0.02)

    assert (one.learning_rate, one.head_learning_rate) == (0.01, 0.01)
    assert (two.learning_rate, two.head_learning_rate) == (0.01, 0.02)


def test_epochs_are_counted_in_updates_and_a_tenth_of_the_steps_lies_between_evaluations():
    plan = chosen(LoRA(), epochs=10)  # 20 examples in batches of 8 are 3 updates
    halved = chosen(LoRA(), epochs=10, gradient_accumulation_steps=2)  # of 16 examples each

    assert (plan.max_steps, plan.eval_every) == (30, 3)
    assert halved.max_steps == 20
    assert chosen(LoRA(), max_steps=5, eval_every=2).eval_every == 2
