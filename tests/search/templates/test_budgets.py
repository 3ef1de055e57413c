from __future__ import annotations

from promptlab.search.templates.budgets import BUDGETS
from promptlab.search.templates.task import BUDGET_NAMES


def test_a_larger_budget_trains_more_and_only_the_small_one_has_limits():
    rankings = [budget.ranking for budget in BUDGETS.values()]
    totals = [sum(ranking.rounds) * ranking.entrants for ranking in rankings]

    assert tuple(BUDGETS) == BUDGET_NAMES
    assert totals == sorted(set(totals))
    limits = [(budget.train, budget.dev, budget.max_length) for budget in BUDGETS.values()]
    assert limits == [(1024, 64, 64), (None, None, None), (None, None, None)]
