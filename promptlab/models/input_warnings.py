"""What is odd about the texts that a model was given, told once: mostly unknown, cut or empty."""

from __future__ import annotations

from collections.abc import Sequence

from promptlab.core.checks import warn
from promptlab.core.interfaces import Backbone
from promptlab.core.types import Encoded

UNKNOWN = 0.2  # share of unknown tokens from which on a model is no good for the texts
CUT = 0.1  # share of prompts that are cut from which on it is worth a word
MANY_LANGUAGES = "FacebookAI/xlm-roberta-base"


class Noticed:
    """Counts over encoded prompts.

    Args:
        n_variants: prompts of each text.
    """

    def __init__(self, n_variants: int = 1) -> None:
        self.n_variants = n_variants
        self.n_prompts = self.n_cut = self.longest_cut = self.n_empty = self.n_text = self.n_unknown = 0

    def add(self, rows: Sequence[Encoded]) -> None:
        """Count some prompts."""
        self.n_prompts += len(rows)
        self.n_cut += sum(row.n_cut > 0 for row in rows)
        self.longest_cut = max((self.longest_cut, *(row.n_cut for row in rows)))
        self.n_empty += sum(row.is_empty for row in rows)
        self.n_text += sum(row.n_text for row in rows)
        self.n_unknown += sum(row.n_unknown for row in rows)

    def tell(self, backbone: Backbone, max_length: int | None) -> None:
        """Warn of what was noticed, in a line each.

        Args:
            max_length: what the user said that a prompt may take.
        """
        if self.n_text and self.n_unknown / self.n_text >= UNKNOWN:
            warn(
                f"{100 * self.n_unknown / self.n_text:.0f} % of the texts' tokens are unknown to {_named(backbone)}; "
                f"choose a model of their language, or one of many languages such as {MANY_LANGUAGES}."
            )
        if self.n_prompts and self.n_cut / self.n_prompts >= CUT:
            warn(self._cut(backbone, max_length))
        if self.n_empty:
            warn(
                f"{_of(self.n_empty, self.n_prompts, self.n_variants)} texts are empty, so that what the model says is "
                "no answer to them; fill them in, or leave those rows out."
            )

    def _cut(self, backbone: Backbone, max_length: int | None) -> str:
        limit = backbone.max_length if max_length is None else min(max_length, backbone.max_length)
        more = "raise max_length" if limit < backbone.max_length else "choose a model that takes more"
        return (
            f"{_of(self.n_cut, self.n_prompts, self.n_variants)} prompts are longer than the {limit} tokens that "
            f"{'max_length allows' if limit < backbone.max_length else f'{_named(backbone)} takes'} and were cut, by "
            f"{self.longest_cut} at most; shorten the texts, or {more}."
        )


def notice(rows: Sequence[Encoded], backbone: Backbone, max_length: int | None, *, n_variants: int = 1) -> None:
    """Tell what is odd about some prompts."""
    noticed = Noticed(n_variants)
    noticed.add(rows)
    noticed.tell(backbone, max_length)


def _named(backbone: Backbone) -> str:
    return str(backbone.name or "the model")


def _of(some: int, rows: int, n_variants: int) -> str:
    """So many of so many texts, of which each has several prompts."""
    return f"{-(-some // n_variants):,} of {rows // n_variants:,}"
