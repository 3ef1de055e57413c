"""Templates that are good together."""

from __future__ import annotations

import math
from collections.abc import Sequence, Set
from dataclasses import replace

from promptlab.core.errors import SearchError
from promptlab.search.templates.likelihood import text_words
from promptlab.search.templates.ranking import RankedTemplate, placing, rank


def top_n(ranked: Sequence[RankedTemplate], n: int, *, diversity: float = 0.0) -> list[RankedTemplate]:
    """The best templates, or the best that also differ from one another, for an ensemble.

    One after the other the template is taken whose accuracy on dev less ``diversity`` times its likeness to the most
    alike of those taken so far is highest; ties go to the better ranked. Likeness, from 0 to 1, is the mean of two
    shares: of the errors on dev that either makes, those that both make (an ensemble gains by errors that don't
    coincide); and of the words that either template has, those that both have.

    Source: double fault, Giacinto and Roli 2001, doi:10.1016/S0262-8856(01)00045-2; greedy choice: maximal marginal
    relevance, Carbonell and Goldstein 1998, doi:10.1145/290941.291025.

    Args:
        diversity: accuracy that a template may cost which is in nothing alike; 0 takes the best as they are ranked.

    Returns:
        Those in the order in which they were chosen; one that stands behind a worse ranked one is ``placed_by``
        diversity.

    Raises:
        SearchError: if ``n`` is below 1 or ``diversity`` below 0.
    """
    check_choice(n, diversity)
    if diversity == 0:
        return list(ranked[:n])
    left = list(ranked)
    chosen: list[RankedTemplate] = []
    while left and len(chosen) < n:
        gains = [
            one.result.accuracy - diversity * max((likeness(one, other) for other in chosen), default=0.0)
            for one in left
        ]
        best = left[gains.index(max(gains))]
        chosen.append(best)
        left.remove(best)
    return [replace(one, placed_by=_reason(before, one)) for before, one in zip([None, *chosen], chosen)]


def _reason(before: RankedTemplate | None, one: RankedTemplate) -> str:
    """What puts a template behind another one."""
    is_better = before is not None and rank(one) < rank(before)
    return "diversity" if is_better else placing(before, one)


def check_choice(n: int, diversity: float) -> None:
    """Refuse what ``top_n`` can't work with.

    Raises:
        SearchError: if ``n`` is below 1 or ``diversity`` below 0.
    """
    if n < 1:
        raise SearchError(f"n={n!r} templates were asked for; ask for at least 1.")
    if not 0 <= diversity < math.inf:
        raise SearchError(f"diversity={diversity!r} must be 0 (the best as they are) or above, usually 0.05 to 0.5.")


def likeness(one: RankedTemplate, other: RankedTemplate) -> float:
    """How much two templates are alike, from 0 to 1; see ``top_n``."""
    wrong: list[set[int]] = []
    words: list[set[str]] = []
    for ranked in (one, other):
        wrong.append({row for row, is_right in enumerate(ranked.result.right) if not is_right})
        own = {word for row in ranked.found.label_words.values() for word in row}
        words.append({pieces[place].lower() for pieces, place in text_words(ranked.found.template)} | own)
    return (_overlap(*wrong) + _overlap(*words)) / 2


def _overlap(one: Set[object], other: Set[object]) -> float:
    """Share of the joint elements that are common; of nothing 0."""
    return len(one & other) / max(len(one | other), 1)
