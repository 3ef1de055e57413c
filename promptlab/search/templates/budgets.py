"""What a template search may cost, whatever its engine, whose own settings for each budget are ``BUDGETS`` there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from promptlab.search.templates.ranking import Ranking


@dataclass(frozen=True)
class Budget:
    """Limits of a search.

    Args:
        ranking: how what was found is compared.
        train: examples to learn from, at most; all if None.
        dev: examples to choose by, at most; all if None.
        max_length: tokens of a prompt, at most, where nobody says how many; the model's limit if None.
    """

    ranking: Ranking = field(default_factory=Ranking)
    train: int | None = None
    dev: int | None = None
    max_length: int | None = None


BUDGETS: Mapping[str, Budget] = {
    "small": Budget(Ranking(rounds=(10, 20), entrants=4), train=1024, dev=64, max_length=64),
    "medium": Budget(),
    "large": Budget(Ranking(rounds=(50, 100, 250), entrants=100)),
}
