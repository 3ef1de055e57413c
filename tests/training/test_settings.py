from __future__ import annotations

import pytest

from promptlab.core.errors import TuningError, UnknownNameError
from promptlab.core.registry import TUNINGS
from promptlab.estimators.classifiers import HeadClassifier
from promptlab.training.settings import TrainingSettings, default_steps, rate_factor


def settings(**changes):
    return TrainingSettings(**{"learning_rate": 0.05, "head_learning_rate": 0.05, "max_steps": 40, **changes})


def default_rates(method, width):
    """What an estimator trains with where the user says nothing."""
    return HeadClassifier().training_settings(TUNINGS.get(method)(), 32, width)


def test_a_constant_schedule_stays_at_the_rate_after_the_warm_up():
    constant = settings(schedule="constant", max_steps=20, warmup_ratio=0.1)

    assert [rate_factor(step, constant) for step in (0, 1, 2, 10, 19)] == pytest.approx([1 / 3, 2 / 3, 1, 1, 1])


@pytest.mark.parametrize(("name", "value"), [("optimizer", "adam"), ("schedule", "cosine")])
def test_an_unknown_optimizer_or_schedule_is_named(name, value):
    with pytest.raises(UnknownNameError, match=f"{name} {value!r}"):
        settings(**{name: value})


def test_the_rate_warms_up_and_then_falls_to_zero():
    plan = settings(max_steps=10, warmup_ratio=0.2)

    assert [rate_factor(step, plan) for step in range(10)] == pytest.approx(
        [1 / 3, 2 / 3, 1.0, 7 / 8, 6 / 8, 5 / 8, 4 / 8, 3 / 8, 2 / 8, 1 / 8]
    )


@pytest.mark.parametrize(
    ("width", "lowest", "highest"),
    [(384, 9.9e-5, 1.01e-4), (768, 2e-5, 5e-5), (1024, 1e-5, 2e-5), (4096, 1e-5, 1e-5), (8192, 1e-5, 1e-5)],
)
def test_full_fine_tuning_has_the_rates_of_published_recipes(width, lowest, highest):
    rate = default_rates("full", width).learning_rate

    assert lowest <= rate <= highest


@pytest.mark.parametrize(
    ("method", "lowest", "highest"),
    [
        ("lora", 1e-4, 4e-4),
        ("adapter", 1e-4, 1e-3),
        ("ia3", 3e-3, 2e-2),
        ("bitfit", 1e-3, 1e-2),
        ("layer-norm", 1e-3, 1e-2),
        ("prefix", 1e-4, 1e-2),
        ("p-tuning-v2", 5e-3, 2e-2),
    ],
)
def test_what_starts_without_effect_and_vectors_have_one_rate_at_every_width(method, lowest, highest):
    rates = {default_rates(method, width).learning_rate for width in (128, 384, 768, 1024, 4096)}

    assert len(rates) == 1
    assert lowest <= rates.pop() <= highest


def test_heads_and_soft_tokens_have_one_rate_at_every_width():
    for method in TUNINGS.names:
        if method != "none":
            assert len({default_rates(method, width).head_learning_rate for width in (384, 1024, 4096)}) == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"max_steps": 0},
        {"batch_size": 0},
        {"learning_rate": -1.0},
        {"learning_rate": 20.0},
        {"warmup_ratio": 1.0},
        {"patience": 0},
        {"weight_decay": -0.1},
        {"weight_decay": float("inf")},
        {"max_grad_norm": 0.0},
    ],
)
def test_settings_out_of_range_are_errors(changes):
    with pytest.raises(TuningError, match=next(iter(changes))):
        settings(**changes)


def test_steps_grow_with_the_examples_to_25_epochs_then_stay_and_cover_at_least_3_epochs():
    assert default_steps(100, 4) == 100  # 25 epochs
    assert default_steps(100, 8) == 200
    assert default_steps(100, 12) == 300
    assert default_steps(100, 50) == 300  # 6 epochs
    assert default_steps(100, 865) == 3 * 865
    assert default_steps(500, 12) == 500
