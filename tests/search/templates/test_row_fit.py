from __future__ import annotations

import pytest

from promptlab import Example
from promptlab.core.errors import SearchError
from promptlab.search.templates.row_fit import usable
from promptlab.search.templates.task import FoundTemplate, SearchTask

WORDS = {"p": ("good",), "n": ("bad",)}
SOURCES = {
    "fits": "{{ text_a }} {{ mask }}",
    "has no mask for a short text": "{{ text_a }} {% if text_a | length > 3 %}{{ mask }}{% endif %}",
    "reads a field that one row lacks": "{{ text_a }} {{ title }} {{ mask }}",
    "has no room for a kept text": "{{ text_a | keep }} {{ mask }}",
    "has places for two tokens": "{{ text_a }} {{ mask(2) }}",
}


def task(backbone, train=(), dev=(), max_length=16):
    rows = [
        Example({"text_a": "a good film", "title": "yes"}, "p"),
        Example({"text_a": "a bad film", "title": "no"}, "n"),
    ]
    return SearchTask([*rows, *train], [*rows, *dev], WORDS, backbone, max_length=max_length)


def found(*names):
    return [FoundTemplate(SOURCES[name], "by-hand", 0.0, WORDS) for name in names]


@pytest.mark.parametrize("side", ["train", "dev"])
@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("has no mask for a short text", "bad", "has no mask"),
        ("reads a field that one row lacks", "a film", "needs field 'title'"),
        ("has no room for a kept text", "a b c d e f g h " * 8, "of 14 that fit"),
    ],
)
def test_a_template_that_one_example_breaks_is_left_out_with_the_reason(tiny_backbone, side, name, text, reason):
    odd = Example({"text_a": text}, "n")

    kept, reasons = usable(found("fits", name), task(tiny_backbone("bert"), **{side: [odd]}))

    assert kept == found("fits")
    assert list(reasons) == [SOURCES[name]]
    assert reason in reasons[SOURCES[name]]


def test_a_template_that_label_words_do_not_fit_is_left_out(tiny_backbone):
    kept, reasons = usable(found("has places for two tokens", "fits"), task(tiny_backbone("bert")))

    assert kept == found("fits")
    assert "the template has 2 masks" in reasons[SOURCES["has places for two tokens"]]


def test_if_every_example_fits_all_are_kept(tiny_backbone):
    everything = found(*list(SOURCES)[:-1])

    assert usable(everything, task(tiny_backbone("bert"))) == (everything, {})


def test_if_no_template_is_left_the_first_reason_is_told(tiny_backbone):
    odd = Example({"text_a": "bad"}, "n")
    names = ("reads a field that one row lacks", "has no mask for a short text")

    with pytest.raises(SearchError, match=r"none of 2 templates fits all examples: .* needs field 'title'"):
        usable(found(*names), task(tiny_backbone("bert"), [odd]))
    with pytest.raises(SearchError, match="no template was found"):
        usable([], task(tiny_backbone("bert")))
