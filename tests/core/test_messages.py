from __future__ import annotations

import pickle
import time
from dataclasses import dataclass

import pytest

from promptlab.core.errors import DataError, PromptlabWarning, UnknownNameError
from promptlab.core.messages import LONGEST, listed, one_line, short_repr


@dataclass(frozen=True)
class Box:
    inside: object


def test_a_long_message_keeps_its_beginning_and_its_end():
    said = str(DataError("file 'a.csv' holds " + "x" * 10_000 + "; check the file."))

    assert len(said) == 500
    assert said.startswith("file 'a.csv' holds xxx")
    assert said.endswith("xxx; check the file.")


@pytest.mark.parametrize("text", ["x" * 500, "", "all is well; “quotes” and 中文 stay."])
def test_a_message_that_fits_stays_as_it_is(text):
    assert str(DataError(text)) == text


@pytest.mark.parametrize("kind", [DataError, PromptlabWarning])
def test_a_message_is_one_line_that_no_terminal_obeys(kind):
    said = str(kind("first\nsecond\r\n third\x1b[2J\0 and \ud800"))

    assert said == "first second third\\x1b[2J\\x00 and \\ud800"


def test_escape_sequences_count_as_what_is_printed():
    assert len(one_line("\x1b" * 400)) == LONGEST


def test_an_error_from_another_process_says_the_same():
    error = DataError("x" * 600)

    assert str(pickle.loads(pickle.dumps(error))) == str(error)


def test_names_beyond_what_a_line_holds_are_counted():
    assert listed(["ab"] * 200) == ", ".join(["ab"] * 125) + " and 75 more"
    assert listed(["a", "b"]) == "a, b"
    assert listed([]) == "none"


def test_a_name_as_long_as_a_book_is_compared_with_none():
    start = time.process_time()

    said = str(UnknownNameError("task", "word " * 10**6, [f"task{i}" for i in range(1_000)]))

    assert time.process_time() - start < 1
    assert said.startswith("unknown task 'word word")
    assert len(said) <= 500


@pytest.mark.parametrize(
    "value",
    ["a", "it's", [1, "b", None], {"b": 1, "a": (2,)}, set(), {3}, (), 1.5, -7, True, Box("a"), [Box({1: 2})], "x\ny"],
)
def test_a_short_value_is_shown_as_python_shows_it(value):
    assert short_repr(value) == repr(value)


def test_a_long_value_is_cut_after_77_characters():
    assert short_repr(list(range(100))) == repr(list(range(100)))[:77] + "..."
    assert short_repr("a" * 10**6) == "'" + "a" * 76 + "..."


def test_a_number_of_thousands_of_digits_is_told_by_its_size():
    assert short_repr(1 << 20_000) == "a whole number of 20,001 bits"


@pytest.mark.parametrize("around", [lambda x: x, lambda x: {"a": x}, Box, lambda x: (x, Box([x]))])
def test_a_nest_that_would_be_larger_than_all_memory_is_shown_at_once(around):
    nest = ["lol"] * 9
    for _ in range(40):
        nest = [nest] * 9
    start = time.process_time()

    assert len(short_repr(around(nest))) == 80
    assert time.process_time() - start < 1


def test_a_list_that_holds_itself_is_shown():
    circle = [1]
    circle.append(circle)

    assert short_repr(circle) == "[1, [1, [1, [...]]]]"
