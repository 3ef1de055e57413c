from __future__ import annotations

from promptlab.search.budgets import BUDGETS, Budget
from promptlab.search.task import BUDGET_NAMES


def test_a_larger_budget_trains_more_and_only_the_small_one_has_limits():
    rankings = [budget.ranking for budget in BUDGETS.values()]
    totals = [sum(ranking.rounds) * ranking.entrants for ranking in rankings]

    assert tuple(BUDGETS) == BUDGET_NAMES
    assert totals == sorted(set(totals))
    assert [(budget.dev, budget.max_length) for budget in BUDGETS.values()] == [(64, 64), (None, None), (None, None)]


def test_rankings_of_two_budgets_are_equal_if_nothing_is_said():
    assert Budget() == Budget()
