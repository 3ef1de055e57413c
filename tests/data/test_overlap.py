from __future__ import annotations

from promptlab import Example
from promptlab.data.overlap import count_shared


def rows(*texts, label="p", **more):
    return [Example({"text_a": text, **more}, label) for text in texts]


def test_texts_count_whatever_their_labels_and_other_columns():
    dev = [*rows("a", "b", label="n", id="1"), *rows(" a ", "c")]

    assert count_shared(dev, rows("a", "x", id="2"), ["text_a"]) == 2
    assert count_shared(dev, rows("a", "x", id="2"), ["text_a", "id"]) == 0


def test_two_fields_are_no_one_text():
    one = [Example({"text_a": "a b", "text_b": "c"}, "p")]

    assert count_shared(one, [Example({"text_a": "a", "text_b": "b c"}, "p")], ["text_a", "text_b"]) == 0
    assert count_shared(one, one, ["text_a", "text_b"]) == 1
