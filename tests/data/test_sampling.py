import pytest

from promptlab.core.errors import DataError
from promptlab.data.sampling import halves, k_shot

LABELS = ["pos", "neg", "neg", "pos", "neg", "pos", "pos", "neg", "pos", "neg"]


def test_rows_drawn_for_a_seed_never_change():
    assert k_shot(LABELS, k=2, seed=13) == ([2, 6, 7, 8], [0, 1, 3, 9])
    assert k_shot(LABELS, k=2, seed=42) == ([2, 3, 6, 9], [0, 1, 4, 5])


def test_train_and_dev_are_disjoint_sorted_and_have_k_rows_of_each_class():
    train, dev = k_shot(LABELS, k=2, seed=0)

    assert not set(train) & set(dev)
    for rows in (train, dev):
        assert rows == sorted(rows)
        assert sorted(LABELS[row] for row in rows) == ["neg", "neg", "pos", "pos"]


def test_without_dev_the_train_rows_are_the_same():
    train, _ = k_shot(LABELS, k=2, seed=7)

    assert k_shot(LABELS, k=2, seed=7, dev=False) == (train, [])


def test_without_dev_k_rows_of_a_class_are_enough():
    assert k_shot(["a", "b"], k=1, seed=3, dev=False) == ([0, 1], [])


def test_the_callers_random_state_is_left_alone():
    import numpy as np

    np.random.seed(5)
    expected = np.random.random()
    np.random.seed(5)
    k_shot(LABELS, k=1, seed=1)

    assert np.random.random() == expected


def test_too_few_rows_name_the_class_the_count_and_the_need():
    with pytest.raises(DataError, match=r"class 'rare' has 3 rows, but k=2 needs 4 for train and dev; .*dev=False"):
        k_shot(["rare"] * 3 + ["common"] * 9, k=2, seed=0)


def test_too_few_rows_to_train_on_name_the_need_without_dev():
    with pytest.raises(DataError, match=r"class 'a' has 1 rows, but k=2 needs 2 for train; lower k or add rows"):
        k_shot(["a"], k=2, seed=0, dev=False)


def test_k_below_one_is_refused():
    with pytest.raises(DataError, match="k is 0; draw at least 1"):
        k_shot(LABELS, k=0, seed=0)


@pytest.mark.parametrize("seed", [-1, 2**32, "1", 0.5])
def test_a_seed_that_numpy_does_not_take_is_refused(seed):
    with pytest.raises(DataError, match="must be a whole number from 0 to 4294967295"):
        k_shot(["a", "a"], k=1, seed=seed)


def test_a_row_without_a_label_is_refused():
    with pytest.raises(DataError, match="row 2 has no label"):
        k_shot(["a", None], k=1, seed=0)


def test_no_labels_at_all_are_refused():
    with pytest.raises(DataError, match="no labels to sample from"):
        k_shot([], k=1, seed=0)


def test_halves_split_each_class_by_seed_the_odd_row_going_to_the_first():
    labels = [*LABELS, "pos"]  # 6 pos, 5 neg

    first, second = halves(labels, seed=13)

    assert sorted(first + second) == list(range(11))
    assert (first, second) == (sorted(first), sorted(second))
    assert [sorted(labels[row] for row in rows).count("neg") for rows in (first, second)] == [3, 2]
    assert len(first) == 6
    assert halves(labels, seed=13) == (first, second) != halves(labels, seed=14)
    rows, _ = k_shot(labels, k=2, seed=13)
    assert {row for row in rows if labels[row] == "neg"} <= set(first)  # permuted in the same way


def test_a_class_of_one_row_cannot_be_halved():
    with pytest.raises(DataError, match="class 'b' has 1 row"):
        halves(["a", "a", "b"], seed=0)
