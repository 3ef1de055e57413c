from __future__ import annotations

from promptlab.training.batching import LengthBatches


def test_each_epoch_has_every_row_once_in_another_order():
    batches = LengthBatches([1] * 10, batch_size=4, seed=0)
    first = [row for batch in batches for row in batch]
    batches.epoch = 1
    second = [row for batch in batches for row in batch]

    assert sorted(first) == sorted(second) == list(range(10))
    assert first != second
    assert first != [row for batch in LengthBatches([1] * 10, batch_size=4, seed=1) for row in batch]


def test_many_rows_are_batched_by_length():
    lengths = [length for length in range(1, 41) for _ in range(20)]

    batches = list(LengthBatches(lengths, batch_size=8, seed=0))

    spread = [max(lengths[row] for row in batch) - min(lengths[row] for row in batch) for batch in batches]
    assert sum(spread) / len(spread) < 8  # at random it would be about 30
    assert len({tuple(batch) for batch in batches}) == len(batches) == 100
