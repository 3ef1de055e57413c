from __future__ import annotations

import inspect

import pytest

from promptlab import PET, HeadClassifier, PromptClassifier
from promptlab.core.registry import ESTIMATORS
from promptlab.estimators.estimator import Estimator
from promptlab.templates.demonstrations import InContextTemplate
from promptlab.tuning.lora import LoRA
from promptlab.tuning.prefix import PTuningV2


def chosen(tuning, n_examples=20, width=384, **settings):
    return HeadClassifier(batch_size=8, **settings).training_settings(tuning, n_examples, width)


def test_without_rates_those_of_the_method_are_taken():
    lora, prefix = chosen(LoRA()), chosen(PTuningV2())

    assert lora.learning_rate == pytest.approx(4e-4)  # starts at no effect, so whatever the width
    assert lora.head_learning_rate == pytest.approx(1e-3)
    assert prefix.learning_rate == pytest.approx(1e-2)  # likewise


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


@pytest.mark.parametrize(
    ("sets", "accumulation", "updates"),
    [(1, 1, 4), (16, 1, 64), (3, 1, 12), (1, 3, 2), (3, 5, 3)],  # 32 examples: 4 batches of 8 for each set
)
def test_an_epoch_is_every_prompt_once_for_all_sets_of_demonstrations(sets, accumulation, updates):
    classifier = HeadClassifier(batch_size=8, epochs=2, gradient_accumulation_steps=accumulation)

    assert classifier.updates(LoRA(), 32, 384, n_variants=sets) == 2 * updates
    assert classifier.rows_seen(LoRA(), 32, 384, n_variants=sets) == 2 * 32 * sets


def test_a_part_of_an_epoch_shows_whole_updates_at_most():
    classifier = HeadClassifier(batch_size=4, max_steps=8, gradient_accumulation_steps=2)

    assert classifier.rows_seen(LoRA(), 20, 384) == 20 + 20 + 2 * 8  # 3 updates an epoch, of 8, 8 and 4 rows


def test_sets_of_demonstrations_leave_the_usual_number_of_updates_as_it_is():
    assert HeadClassifier().updates(LoRA(), 32, 384, n_variants=16) == HeadClassifier().updates(LoRA(), 32, 384)


@pytest.mark.parametrize(("sets", "updates"), [(1, 2), (4, 8)])
def test_fit_shows_each_prompt_once_an_epoch(bert, sets, updates):
    texts = ["a good film", "a bad film", "dull", "great", "a great story", "awful", "terrible", "good"]
    template = InContextTemplate("{{ text_a }} was {{ mask }}.", k=1, sets=sets)
    classifier = PromptClassifier(template, {"-": ["bad"], "+": ["good"]}, bert, "bitfit", epochs=3, batch_size=4)

    history = classifier.fit(texts, ["+", "-", "-", "+"] * 2).history_

    assert history[-1]["step"] == 3 * updates


def asked():
    """Name → what the protocol says that an estimator is asked."""
    members = {name: value for name, value in vars(Estimator).items() if not name.startswith("_")}
    return dict.fromkeys(Estimator.__annotations__) | members


@pytest.mark.parametrize("name", [*ESTIMATORS.names, "PET"])
def test_every_estimator_has_what_it_is_asked(name):
    estimator = PET if name == "PET" else ESTIMATORS.get(name)

    for member, how in asked().items():
        own = getattr(estimator, member)
        if inspect.isfunction(how):
            assert list(inspect.signature(own).parameters)[1:] == list(inspect.signature(how).parameters)[1:], member
