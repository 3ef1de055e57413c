"""Which tokens of a prompt's fields stay when it is too long."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from tokenizers import Encoding

from promptlab.backbones.runs import Run


def field_tokens(run: Run, encoding: Encoding) -> list[np.ndarray]:
    """Positions of the tokens that lie wholly inside each shortenable field of a run.

    Many tokenizers join the space before a word to it, so that the first token of a field begins one character early.
    """
    offsets = np.array(encoding.offsets, dtype=np.int64).reshape(-1, 2)
    spans, start = [], 0
    for segment in run.segments:
        if segment.shortenable:
            early = start - run.text[max(start - 1, 0) : start].isspace()
            spans.append((early, start, start + len(segment.text)))
        start += len(segment.text)
    starts, stops = offsets[:, 0], offsets[:, 1]
    return [np.flatnonzero((starts >= early) & (stops > start) & (stops <= stop)) for early, start, stop in spans]


def shares(lengths: Sequence[int], room: int) -> list[int]:
    """Tokens that each field keeps when the longest is always cut first; of equal ones the last is cut first.

    The same as removing one token at a time, without the loop over tokens.
    """
    kept, left, order = [0] * len(lengths), room, sorted(range(len(lengths)), key=lambda i: lengths[i])
    for rank, i in enumerate(order):
        share = left // (len(order) - rank)
        if lengths[i] <= share:
            kept[i] = lengths[i]
            left -= lengths[i]
        else:  # all that remain are cut to the same length; the first ones get what is left over
            rest = sorted(order[rank:])
            extra = left - share * len(rest)
            for place, j in enumerate(rest):
                kept[j] = share + (place < extra)
            break
    return kept
