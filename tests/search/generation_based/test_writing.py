from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptlab.core.errors import SearchError
from promptlab.core.types import Example
from promptlab.search.generation_based.causal_engine import CausalSearch
from promptlab.search.generation_based.masked_engine import MaskedSearch
from promptlab.search.generation_based.writing import (
    ANSWER_FIRST,
    BETWEEN,
    TEXT_FIRST,
    Candidate,
    answered,
    found,
    layouts,
    normalized,
)
from promptlab.search.templates.task import SearchTask
from promptlab.templates.manual import ManualTemplate

WORDS = {"bad": ("terrible", "awful"), "good": ("great",)}
ROWS = [Example({"text_a": "a story"}, "good"), Example({"text_a": "the film"}, "bad")]
PAIR = Example({"text_a": "The film was dull.", "text_b": "It was a mess."}, "bad")


def task(backbone=None, rows=ROWS, words=WORDS):
    return SearchTask(rows, [], words, backbone)


@pytest.mark.parametrize(
    ("family", "search"),
    [
        ("bert", MaskedSearch(beam=2, before=1, after=1, survivors=4)),
        ("gpt2", CausalSearch(beam=3, longest=2)),
    ],
)
def test_what_is_written_for_prompts_of_the_tasks_length_sees_nothing_of_what_is_cut(tiny_backbone, family, search):
    """Texts that end in other words beyond it have the same templates with the same scores."""
    backbone = tiny_backbone(family)

    def written(end, max_length):
        rows = [Example({"text_a": f"{e.fields['text_a']} {'so good a story ' * 4}{end} {end}"}, e.label) for e in ROWS]
        one_word = {"bad": ("terrible",), "good": ("good",)}
        some = replace(task(backbone, rows, one_word), max_length=max_length)
        return {one.template: one.score for one in search.search(some)}

    assert written("awful", 20) == pytest.approx(written("news", 20), abs=1e-4)
    assert written("awful", 60) != pytest.approx(written("news", 60), abs=1e-4)


def printed(source, example):
    """The prompt as plain text, ``[M]`` for a mask."""
    segments = ManualTemplate(source).render(example).segments
    return "".join("[M]" if segment.kind == "mask" else segment.text for segment in segments)


@pytest.mark.parametrize(
    ("layout", "gaps", "expected"),
    [
        (TEXT_FIRST, (" It was", "."), "A story It was [M]."),
        (TEXT_FIRST, (", a", " one."), "A story, a [M] one."),
        (TEXT_FIRST, ("", ""), "A story [M]"),
        (ANSWER_FIRST, (" A", " one."), "A [M] one. A story"),
        (ANSWER_FIRST, ("", ":"), "[M]: A story"),
    ],
)
def test_texts_stand_around_the_mask(layout, gaps, expected):
    assert printed(layout.template(*gaps), ROWS[0]) == expected


def test_a_pair_stands_around_the_mask_without_its_full_stop_and_capital():
    assert printed(BETWEEN.template("?", ","), PAIR) == "The film was dull? [M], it was a mess."


def test_the_writer_reads_masks_where_gaps_and_label_word_will_stand():
    assert printed(TEXT_FIRST.open(), ROWS[0]) == "A story [M]"
    assert ManualTemplate(TEXT_FIRST.open(3)).slot.n_masks == 3
    assert printed(layouts(task(), lead=".")[1].open(), ROWS[0]) == ". [M] A story"


def test_a_pair_has_one_layout_and_a_text_two():
    assert [layout.name for layout in layouts(task())] == ["text-first", "answer-first"]
    assert [layout.name for layout in layouts(task(rows=[PAIR]))] == ["between"]


@pytest.mark.parametrize("words", ["{{ text_a }}", "{% if x %}", "{# no #}", "a{", "{", "}}", "'{{' \"", "%}"])
def test_signs_that_jinja_takes_for_its_own_stay_words(words):
    assert printed(TEXT_FIRST.template(f" {words}", f" {words}"), ROWS[0]) == f"A story {words} [M] {words}"


@given(st.text(alphabet="{}%#'\"\\- a", max_size=8).filter(str.strip))
def test_any_words_print_themselves(words):
    assert printed(TEXT_FIRST.template(f" {words}"), ROWS[0]) == f"A story {words} [M]"


def test_quotes_spaces_and_underscores_are_made_plain():
    assert normalized(" “It’s  a_mess” ") == ' "It\'s a mess"'
    assert normalized(", «so»") == ', "so"'


def test_each_example_has_the_first_word_of_its_class_and_their_order_does_not_count():
    rows = answered(task(), 64)

    assert [(row.example.fields["text_a"], row.word) for row in rows] == [
        ("a story", "great"),
        ("the film", "terrible"),
    ]
    assert answered(task(rows=ROWS[::-1]), 64) == rows


def test_of_many_examples_some_of_each_class_are_drawn_by_seed():
    rows = [Example({"text_a": f"text {i:02}"}, ("bad", "good", "good")[i % 3]) for i in range(30)]

    drawn = answered(task(rows=rows), 4)

    assert [row.word for row in drawn].count("great") == 2 == len(drawn) / 2
    assert answered(task(rows=rows[::-1]), 4) == drawn
    assert answered(replace(task(rows=rows), seed=1), 4) != drawn


@pytest.mark.parametrize(
    ("rows", "words", "message"),
    [
        ([], WORDS, "train is empty"),
        ([Example({"title": "a"}, "good")], WORDS, "the examples have 'title'; templates are written around text_a"),
        ([*ROWS, Example({"text_a": None}, "good")], WORDS, "row 3 of train has no text 'text_a'"),
        ([*ROWS, Example({"text_a": "a"})], WORDS, "row 3 of train has no label"),
        (ROWS, {"good": ("great",)}, "row 2 of train is 'bad', which has no label words; there are some for good"),
        (ROWS, {"good": ("great",), "bad": ()}, "row 2 of train is 'bad', which has no label words"),
    ],
)
def test_examples_without_text_or_label_word_are_refused(rows, words, message):
    with pytest.raises(SearchError, match=message):
        answered(task(rows=rows, words=words), 64)


def test_the_best_of_equal_templates_is_kept_and_groups_have_equal_shares(tiny_backbone):
    groups = [
        [Candidate(TEXT_FIRST.template(f" {word}"), score) for word, score in (("a", -3.0), ("it", -2.0), ("a", -1.0))],
        [Candidate(ANSWER_FIRST.template(f" {word}"), score) for word, score in (("a", -9.0), ("it", -8.0))],
    ]

    kept = found(task(tiny_backbone("bert")), groups, "t5", 2)

    assert [(one.template, one.score) for one in kept] == [
        ("{{ text_a | upper_first }} a {{ mask }}", -1.0),
        ("it {{ mask }} {{ text_a | upper_first }}", -8.0),
    ]


def test_templates_that_the_classifiers_model_cannot_answer_are_left_out(tiny_backbone):
    going_on, ending = TEXT_FIRST.template(" it", " a"), TEXT_FIRST.template(" it")
    causal = task(tiny_backbone("gpt2"), words={"bad": ("terrible",), "good": ("great",)})

    kept = found(causal, [[Candidate(going_on, -1.0), Candidate(ending, -2.0)]], "t5", 9)

    assert [one.template for one in kept] == [ending]
    with pytest.raises(SearchError, match=r"no template is left that tiny-gpt2 can use .*goes on after its mask"):
        found(causal, [[Candidate(going_on, -1.0)]], "t5", 9)


def test_the_writer_reads_texts_without_the_white_space_around_them_and_leaves_empty_ones_out():
    odd = [
        Example({"text_a": "\u00a0the film \n", "title": " x "}, "bad"),
        Example({"text_a": " ... "}, "good"),
        *ROWS[:1],
    ]

    rows = answered(task(rows=odd), 64)

    assert [row.example.fields for row in rows] == [{"text_a": "a story"}, {"text_a": "the film", "title": " x "}]
    with pytest.raises(SearchError, match="all 1 training examples have an empty text"):
        answered(task(rows=odd[1:2]), 64)
