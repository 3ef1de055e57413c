"""What is put around a template and a verbalizer."""

from __future__ import annotations

import click
import pytest

from promptlab import ContextualCalibration, DemonstrationTemplate, InContextTemplate, ManualTemplate, PMICalibration
from promptlab.cli.option_groups.data import DataOptions
from promptlab.cli.option_groups.prompts import PromptOptions, some_of
from promptlab.cli.rules import check_rules
from promptlab.core.types import Example
from promptlab.library.resolve import resolve_verbalizer

SOURCE = "{{ text_a }} {{ mask }}"
WORDS = {"p": ["good"], "n": ["bad"]}
TRAIN = [Example({"text_a": f"text {number}"}, "p") for number in range(300)]


def test_demonstrations_stand_before_the_text_or_one_of_each_class_after_it():
    inner = ManualTemplate(SOURCE)
    before = PromptOptions(demonstrations=2, instruction="Say it.")
    after = PromptOptions(demonstrations=3, demonstration_style="per-class")

    assert before.with_demonstrations(SOURCE, 5) == InContextTemplate(inner, k=2, instruction="Say it.", seed=5)
    assert after.with_demonstrations(SOURCE, 5) == DemonstrationTemplate(inner, sets=3, seed=5)
    assert PromptOptions().with_demonstrations(SOURCE, 5) == SOURCE


@pytest.mark.parametrize(("how", "kind"), [("contextual", ContextualCalibration), ("domain", PMICalibration)])
def test_a_prior_is_taken_out_in_the_way_that_is_asked_for(how, kind):
    inner = resolve_verbalizer(WORDS)

    assert PromptOptions(calibrate=how).calibrated(WORDS, DataOptions(), TRAIN, 0) == kind(inner)
    assert PromptOptions().calibrated(WORDS, DataOptions(), TRAIN, 0) == inner


def test_support_is_the_file_that_is_given_or_drawn_from_train(tmp_path):
    file = tmp_path / "support.csv"
    file.write_text("sentence\na film\nthe story\n", encoding="utf-8")
    of_file = PromptOptions(calibrate="support", support=file)
    data = DataOptions(columns=("text_a=sentence",))

    given = of_file.calibrated(WORDS, data, TRAIN, 0).support
    drawn = PromptOptions(calibrate="support").calibrated(WORDS, data, TRAIN, 0).support

    assert [example.fields["text_a"] for example in given] == ["a film", "the story"]
    texts = [example.fields["text_a"] for example in drawn]
    assert len(texts) == 200 == len(set(texts))
    assert texts == [example.fields["text_a"] for example in some_of(TRAIN, 0)]
    assert some_of(TRAIN, 0) != some_of(TRAIN, 1)
    assert some_of(TRAIN[:200], 0) == TRAIN[:200]


def test_an_instruction_is_for_demonstrations_before_the_text():
    after = PromptOptions(demonstrations=2, demonstration_style="per-class", instruction="Say it.")

    with pytest.raises(click.UsageError, match="in the in-context style"):
        check_rules(PromptOptions.rules, after)
    check_rules(PromptOptions.rules, PromptOptions(demonstrations=2, instruction="Say it."))
