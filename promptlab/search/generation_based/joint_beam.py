"""Beam search for one text that suits all examples together."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

CLOSE = -1  # stands for the end of a gap, whatever each example goes on with
TOKENS_AT_ONCE = 16_384  # of one forward pass
LOGITS_AT_ONCE = 2**25  # that are held at once


class State(NamedTuple):
    """What is written so far, the same for every example.

    Args:
        tokens: ids, and ``CLOSE`` where a gap ends.
        score: the sum of the tokens' log-probabilities, each the mean over the examples, in nats.
    """

    tokens: tuple[int, ...] = ()
    score: float = 0.0

    @property
    def n_closed(self) -> int:
        return self.tokens.count(CLOSE)

    @property
    def gaps(self) -> list[tuple[int, ...]]:
        """The tokens of each gap; that of the last is still open."""
        found: list[list[int]] = [[]]
        for token in self.tokens:
            if token == CLOSE:
                found.append([])
            else:
                found[-1].append(token)
        return [tuple(gap) for gap in found]


class NextTokenModel(ABC):
    """A model that reads one more token of every state in every example."""

    @abstractmethod
    def read(self, states: Sequence[State], parents: Sequence[int]) -> Tensor:
        """What comes next: mean log-probabilities over the examples, (states, vocabulary + 1), ``CLOSE`` the last.

        Args:
            states: those to go on from; all of one length, at first the empty one.
            parents: the number, in the call before, of the state that each comes from.
        """


def joint_beam(
    reader: NextTokenModel, allowed: Callable[[State], Tensor], *, n_gaps: int, width: int, longest: int
) -> list[State]:
    """Texts for the gaps that maximize the mean over the examples of their log-probability, the best first.

    A state with all gaps closed is kept and competes by its sum. What isn't closed after ``longest`` is dropped.

    Source: LM-BFF, arXiv:2012.15723, section 5.2, equation 5.

    Args:
        allowed: which tokens (vocabulary,) may follow a state; any gap may be closed at any time.
        width: states kept at each step.
        longest: tokens and ends of gaps in all.
    """
    live, parents, done = [State()], [0], list[State]()
    for _ in range(longest):
        grown = expand(live, _predicted(reader, live, parents, allowed), width)
        best = sorted([*((state, -1) for state in done), *grown], key=lambda pair: _order(pair[0]))[:width]
        done = [state for state, _ in best if state.n_closed == n_gaps]
        live = [state for state, _ in best if state.n_closed < n_gaps]
        parents = [parent for state, parent in best if state.n_closed < n_gaps]
        if not live:
            break
    return done


def beam_of_each_length(
    reader: NextTokenModel, allowed: Callable[[State], Tensor], *, width: int, longest: int
) -> list[State]:
    """Texts for one gap, whose end doesn't compete with its going on: some of each length, the best first.

    What ends a gap may be as unlikely as a label word after a text, so that no closed state would stay in a beam.

    Args:
        width: states kept of each length.
        longest: tokens of a text.
    """
    live, parents, done = [State()], [0], list[State]()
    for n_tokens in range(longest + 1):
        log_probs = _predicted(reader, live, parents, allowed)
        ends = log_probs[:, -1].tolist()
        done += [State((*state.tokens, CLOSE), state.score + end) for state, end in zip(live, ends)]
        if n_tokens < longest:
            grown = expand(live, F.pad(log_probs[:, :-1], (0, 1), value=-torch.inf), width)
            live, parents = [state for state, _ in grown], [parent for _, parent in grown]
    return sorted(done, key=_order)


def expand(states: Sequence[State], log_probs: Tensor, width: int) -> list[tuple[State, int]]:
    """The best ways to go on, with the number of the state that each comes from, the best first.

    Args:
        log_probs: of the next token, (states, vocabulary + 1), the last ``CLOSE``; minus infinity where none may stand.
    """
    scores = torch.tensor([state.score for state in states], dtype=torch.float64, device=log_probs.device)
    total = log_probs.double() + scores[:, None]
    best = total.flatten().topk(min(width, total.numel()))
    n = log_probs.shape[1]
    found = [
        (State((*states[at // n].tokens, at % n if at % n < n - 1 else CLOSE), score), at // n)
        for score, at in zip(best.values.tolist(), best.indices.tolist())
        if score > -torch.inf
    ]
    return sorted(found, key=lambda pair: _order(pair[0]))


def _predicted(
    reader: NextTokenModel, states: Sequence[State], parents: Sequence[int], allowed: Callable[[State], Tensor]
) -> Tensor:
    """What may come next, (states, vocabulary + 1), in double precision."""
    log_probs = reader.read(states, parents).double()
    masks = F.pad(torch.stack([allowed(state) for state in states]), (0, 1), value=True)
    return log_probs.masked_fill(~masks.to(log_probs.device), -torch.inf)


def at_once(length: int, vocabulary: int) -> int:
    """Rows of a forward pass, each of ``length`` tokens and with one row of logits."""
    return max(1, min(TOKENS_AT_ONCE // length, LOGITS_AT_ONCE // vocabulary))


def _order(state: State) -> tuple[float, tuple[int, ...]]:
    """The best first, of equal scores the one with the smaller ids."""
    return -state.score, state.tokens
