from __future__ import annotations

import random
from dataclasses import dataclass
from typing import ClassVar

import pytest

from promptlab.core.errors import SearchError, UnknownNameError
from promptlab.core.registry import TEMPLATE_SEARCHES
from promptlab.core.types import Example
from promptlab.search.templates.task import SearchTask, TemplateSearch, drawn_examples


@dataclass(frozen=True)
class Counting(TemplateSearch):
    beam: int = 5
    steps: int = 7

    BUDGETS: ClassVar = {"small": {"beam": 2}, "large": {"beam": 50, "steps": 70}}

    def search(self, task, *, resume_dir=None):
        return []


def test_a_budget_is_settings_and_those_given_come_first():
    assert Counting.of_budget("small") == Counting(beam=2, steps=7)
    assert Counting.of_budget("medium") == Counting()
    assert Counting.of_budget("large", beam=3) == Counting(beam=3, steps=70)


@pytest.mark.parametrize("engine", TEMPLATE_SEARCHES.names)
def test_every_engine_does_less_with_a_small_budget_and_more_with_a_large_one(engine):
    search = TEMPLATE_SEARCHES.get(engine)
    given = {"template": "{{ text_a }} It was {{ mask }}."} if engine == "paraphrase" else {}
    small, medium, large = (search.of_budget(name, **given) for name in ("small", "medium", "large"))
    assert search.BUDGETS["small"]
    assert search.BUDGETS["large"]
    assert all(getattr(small, name) < getattr(medium, name) for name in search.BUDGETS["small"])
    assert all(getattr(large, name) > getattr(medium, name) for name in search.BUDGETS["large"])


def test_unknown_budgets_and_settings_of_another_engine_are_told():
    with pytest.raises(UnknownNameError, match="unknown budget 'smal'; did you mean 'small'"):
        Counting.of_budget("smal")
    with pytest.raises(SearchError, match=r"Counting has no setting 'generator'\. Known: beam, steps\."):
        Counting.of_budget("small", generator="t5")
    with pytest.raises(SearchError, match="has no setting 'beams'; did you mean 'beam'"):
        Counting.of_budget("small", beams=3)
    with pytest.raises(SearchError, match="beam='three' must be a whole number"):
        Counting.of_budget("small", beam="three")


def test_examples_are_drawn_from_all_classes_in_turn_by_seed():
    rows = [Example({"text_a": str(i)}, "ppnn"[i]) for i in range(4)]

    drawn = drawn_examples(SearchTask(rows, [], {"n": ("bad",), "p": ("good",)}, None, seed=3), 3)

    assert [example.label for example in drawn] == ["n", "p", "n"]
    order = random.Random(3).sample(rows, 4)
    negative, positive = ([e for e in order if e.label == name] for name in ("n", "p"))
    assert drawn == [negative[0], positive[0], negative[1]]
