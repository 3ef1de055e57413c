"""How a text file is written: what is found out, what is said, and what is refused."""

from __future__ import annotations

import csv
import gzip
import io
import random
import warnings

import pytest

from promptlab.core.errors import DataError, PromptlabError, PromptlabWarning
from promptlab.data.dialects import Dialect
from promptlab.data.readers import iter_rows, read_examples


def rows_of(tmp_path, name, content, **given):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
    return [list(row.values()) for row in iter_rows(path, Dialect(**given))]


# Quotes


NEVER_QUOTED = [  # the quotes of two sentences in them are text
    ('"Warm and funny', "positive"),
    ("bad", "negative"),
    ("awful", "negative"),
    ("good", "positive"),
    ('from start to end"', "negative"),
    ("yes", "positive"),
]


def written(rows, delimiter="\t", header=("text_a", "label")):
    return "".join(delimiter.join(row) + "\n" for row in [header, *rows])


@pytest.mark.parametrize(("name", "delimiter"), [("rows.tsv", "\t"), ("rows.csv", ","), ("rows.csv", ";")])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_rows_of_a_file_that_was_never_quoted_are_not_swallowed(tmp_path, name, delimiter, end):
    content = written(NEVER_QUOTED, delimiter).replace("\n", end)

    with pytest.warns(PromptlabWarning, match="with quotes as text; if that is wrong, say it by .*quoting="):
        assert rows_of(tmp_path, name, content) == [list(row) for row in NEVER_QUOTED]


def test_what_quotes_are_can_be_said(tmp_path):
    content = written(NEVER_QUOTED)

    assert rows_of(tmp_path, "rows.tsv", content, quoting="none") == [list(row) for row in NEVER_QUOTED]
    assert len(rows_of(tmp_path, "rows.tsv", content, quoting="csv")) == 2


def test_a_quote_before_the_label_column_swallows_nothing_either(tmp_path):
    rows = [("7", '"so', "a"), ("8", "b", "a"), ("9", 'it ends"', "b"), ("10", "c", "b")]

    with pytest.warns(PromptlabWarning, match="quotes as text"):
        assert rows_of(tmp_path, "rows.tsv", written(rows, header=("id", "t", "l"))) == [list(row) for row in rows]


@pytest.mark.parametrize(
    "text", ['"Warm" and funny', '"', '"never closed', '"a" "b"', '""', "'\"", 'five" pipe', 'ends"'], ids=repr
)
def test_texts_with_quotes_of_their_own_are_kept_in_tsv(tmp_path, text):
    rows = [("one", "a"), (text, "b"), ("two", "a")]
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        assert rows_of(tmp_path, "rows.tsv", written(rows)) == [list(row) for row in rows]
    assert len(said) == text.startswith('"')


@pytest.mark.parametrize("delimiter", [",", "\t", ";", "|"])
@pytest.mark.parametrize("quoting", [csv.QUOTE_MINIMAL, csv.QUOTE_ALL])
@pytest.mark.parametrize("seed", range(5))
def test_what_the_csv_module_writes_is_read_as_it_was(tmp_path, delimiter, quoting, seed):
    """Line ends, delimiters and quotes in texts, drawn at random: whatever happens, no row changes unnoticed."""
    rng = random.Random(seed)
    pieces = ["a", "film", " ", ",", ";", "|", "\t", "\n", "\r\n", '"', "it's", "é", "1,5"]
    rows = [["".join(rng.choices(pieces, k=rng.randint(1, 12))) + str(i), rng.choice("xy")] for i in range(40)]
    text = io.StringIO()
    csv.writer(text, delimiter=delimiter, quoting=quoting).writerows([["text", "label"], *rows])
    name = "rows.tsv" if delimiter == "\t" else "rows.csv"

    if delimiter in ";|":
        with pytest.warns(PromptlabWarning, match="with delimiter"):
            assert rows_of(tmp_path, name, text.getvalue()) == rows
    else:
        assert rows_of(tmp_path, name, text.getvalue()) == rows


@pytest.mark.parametrize("delimiter", ["\t", ","])
@pytest.mark.parametrize("seed", range(20))
def test_no_row_of_a_file_without_quoting_is_lost_unnoticed(tmp_path, delimiter, seed):
    rng = random.Random(seed)
    words = ['"', '"good', 'bad"', "film", "the", '"yes"', '""', "a"]
    rows = [[" ".join(rng.choices(words, k=rng.randint(1, 4))) + rng.choice(["", " ."]), rng.choice("xy")]
            for _ in range(rng.randint(2, 30))]  # fmt: skip

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PromptlabWarning)
        try:
            found = rows_of(tmp_path, "rows.tsv" if delimiter == "\t" else "rows.csv", written(rows, delimiter))
        except DataError as error:
            assert "quoting='csv'" in str(error) and "quoting='none'" in str(error)
        else:
            assert len(found) == len(rows)


UNDECIDED = {
    "one row of two lines, or two rows": 'text\tnote\nx\ty\n"a b\t2\nc d"\t3\n',
    "one text of two lines, or two texts": 'text\n"one\ntwo"\nthree\n',
    "a file of quoted fields that was cut off": '"text","label"\n"a","x"\n"b","y\n',
    "doubled quotes, and a quote in a field without": 'a\tb\n"x ""y"""\t1\n5" z\t1\n"p\t1\nq"\t1\n',
}


@pytest.mark.parametrize("case", UNDECIDED)
def test_what_can_be_read_in_two_ways_is_refused_with_its_lines_and_both_remedies(tmp_path, case):
    content = UNDECIDED[case]
    name = "rows.csv" if '","' in content else "rows.tsv"

    with pytest.raises(DataError, match=r"rows\.[ct]sv', lines? \d.*quoting='csv'.*quoting='none'") as caught:
        rows_of(tmp_path, name, content)

    assert "\n" not in str(caught.value)
    assert rows_of(tmp_path, name, content, quoting="none")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ('a,b\n"x, y\nz",1\n', [["x, y\nz", "1"]]),  # without quoting its lines would have two fields, too
        ('a,b\n5" pipe,1\n"x, y",2\n', [['5" pipe', "1"], ["x, y", "2"]]),
        ('a,b\n"x",""\n', [["x", ""]]),
        ('a\n"one\ntwo"\nthree\n', [["one\ntwo"], ["three"]]),
        ('"a, b",c\n"x",1\n', [["x", "1"]]),
    ],
)
def test_fields_that_quotes_enclose_are_read_without_a_word(tmp_path, content, expected):
    assert rows_of(tmp_path, "rows.csv", content) == expected


def test_quotes_that_spoil_a_quoted_file_name_their_line_and_the_remedy(tmp_path):
    content = 'a,b\n"x, y",1\n"Warm" and funny,2\n'

    with pytest.raises(DataError, match=r"rows\.csv', line 3: ',' expected after '\"'; double .* quoting='none'"):
        rows_of(tmp_path, "rows.csv", content)


@pytest.mark.parametrize("name", ["rows.csv", "rows.tsv"])
def test_long_fields_are_read_and_the_limit_of_the_process_stays(tmp_path, name):
    limit = csv.field_size_limit()
    text = "x, y " * 40_000  # beyond the csv module's 131,072
    content = f'text,label\n"{text}",a\n' if name == "rows.csv" else f"text\tlabel\n{text}\ta\n"
    path = tmp_path / name
    path.write_text(content, encoding="utf-8")

    rows = iter_rows(path)

    assert next(rows) == {"text": text, "label": "a"}
    assert csv.field_size_limit() == limit


# Delimiters and headers


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("rows.csv", "text;n;label\nGut, aber;1,5;x\nSo;2;y\n", [["Gut, aber", "1,5", "x"], ["So", "2", "y"]]),
        ("rows.csv", "text;price, EUR;label\nGut;1,5;x\nSo;2,5;y\n", [["Gut", "1,5", "x"], ["So", "2,5", "y"]]),
        ("rows.csv", "text\tlabel\nGut, so\tx\n", [["Gut, so", "x"]]),
        ("rows.csv", 'text;label\n"a; b";x\n', [["a; b", "x"]]),
        ("rows.tsv", "text,label\nGut,x\n", [["Gut", "x"]]),
        ("rows.csv", "text|label\nGut; so, ja|x\n", [["Gut; so, ja", "x"]]),
    ],
)
def test_other_delimiters_are_found_and_told(tmp_path, name, content, expected):
    with pytest.warns(PromptlabWarning, match="with delimiter .* by delimiter="):
        assert rows_of(tmp_path, name, content) == expected


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("rows.csv", "text\nGut; so\nja\n", [["Gut; so"], ["ja"]]),
        ("rows.csv", "text; the review\nGut\nja\n", [["Gut"], ["ja"]]),
        ("rows.csv", "text,label\na; b,x\nc; d,y\n", [["a; b", "x"], ["c; d", "y"]]),
        ("rows.tsv", "text, clean\tlabel\na, b\tx\n", [["a, b", "x"]]),
        ("rows.csv", "text,label,\na,x,\nb,y,\n", [["a", "x"], ["b", "y"]]),
        ("rows.csv", "text,label\na,x,\nb,y,\n", [["a", "x"], ["b", "y"]]),
        ("rows.csv", "text,label,,\na,x,,\nb,y\n", [["a", "x"], ["b", "y"]]),
    ],
)
def test_the_usual_delimiter_and_one_column_and_empty_columns_at_the_end_are_no_news(tmp_path, name, content, expected):
    assert rows_of(tmp_path, name, content) == expected


@pytest.mark.parametrize("content", ["text,label\na,x\nb,y,\n", "text,label,\na,x,\nb,y,z\n", "text\nHello, world\n"])
def test_a_row_with_more_than_the_header_names_is_refused(tmp_path, content):
    with pytest.raises(DataError, match="fields, but the header has"):
        rows_of(tmp_path, "rows.csv", content)


def test_a_column_of_texts_with_delimiters_is_read_if_it_is_said_that_there_are_none(tmp_path):
    content = 'text\nHello, world\n"quoted, too"\nends"\n'

    with pytest.raises(DataError, match=r"line 2: .* or say that a line is one text by delimiter='none'"):
        rows_of(tmp_path, "rows.csv", content)
    with pytest.warns(PromptlabWarning, match="quotes as text"):
        assert rows_of(tmp_path, "rows.csv", content, delimiter="none") == [
            ["Hello, world"],
            ['"quoted, too"'],
            ['ends"'],
        ]


def test_blanks_around_names_of_columns_do_not_count(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text(" text , label\na,x\n", encoding="utf-8")

    assert read_examples(path)[0].fields == {"text": "a"}
    assert read_examples(path, columns={"text_a": " text "})[0].fields == {"text_a": "a"}
    with pytest.raises(DataError, match="column 'text' twice"):
        rows_of(tmp_path, "twice.csv", "text, text\na,x\n")


# Encodings

WORDS = "text_a;label\nder Film war schön – «Été», l’œuvre;gut\n"


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp1252"])
@pytest.mark.parametrize("name", ["rows.csv", "rows.csv.gz"])
def test_encodings_of_office_programs_are_found_and_told(tmp_path, encoding, name):
    content = WORDS.encode(encoding)

    with pytest.warns(PromptlabWarning, match=f"as {encoding}.*, with delimiter ';'.*encoding= and delimiter="):
        rows = rows_of(tmp_path, name, gzip.compress(content) if name.endswith("gz") else content)

    assert rows == [["der Film war schön – «Été», l’œuvre", "gut"]]


def test_a_big_endian_file_with_a_mark_is_read(tmp_path):
    with pytest.warns(PromptlabWarning, match="as utf-16"):
        assert rows_of(tmp_path, "rows.csv", b"\xfe\xff" + "a,b\né,2\n".encode("utf-16-be")) == [["é", "2"]]


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.txt"])
def test_other_text_files_are_of_any_encoding_too(tmp_path, name):
    content = '{"text_a": "schön"}\n' if name.endswith("jsonl") else "schön\n"

    with pytest.warns(PromptlabWarning, match=r"as cp1252 \(such as 'schön'\); if that is wrong, say it by encoding="):
        assert rows_of(tmp_path, name, content.encode("cp1252")) == [["schön"]]


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("привет мир", "cp1251"),
        ("привет мир", "koi8-r"),
        ("你好世界", "gb18030"),
        ("日本の天気", "shift-jis"),
        ("日本の天気", "euc-jp"),
        ("안녕 하세요", "euc-kr"),
        ("café für", "mac-roman"),
        ("schön près", "cp850"),
        ("γειά σου", "cp1253"),
    ],
)
def test_words_that_are_none_of_cp1252_are_refused_until_the_encoding_is_said(tmp_path, text, encoding):
    content = f"text_a,label\n{text},x\n".encode(encoding)

    with pytest.raises(DataError, match=r"line 2 isn't UTF-8 .*; say its encoding, such as encoding="):
        rows_of(tmp_path, "rows.csv", content)
    assert rows_of(tmp_path, "rows.csv", content, encoding=encoding) == [[text, "x"]]


def test_damaged_utf8_is_not_taken_for_cp1252(tmp_path):
    content = "text_a,label\nschön für,x\n".encode() + b"\xe9,y\n"

    with pytest.raises(DataError, match="line 3 isn't UTF-8"):
        rows_of(tmp_path, "rows.csv", content)


@pytest.mark.parametrize(
    ("content", "encoding", "message"),
    [
        ("é,b\n1,2\n".encode(), "ascii", "line 1 isn't ASCII"),
        (
            "é,b\n1,2\n".encode("utf-8-sig"),
            "cp1252",
            "begins with the mark of utf-8, so that encoding='cp1252' is wrong",
        ),
        (b"a,b\nx\0y,2\n", "auto", "line 2 holds a NUL character"),
        (b"a,b\n1,2\n", "rot13", "encoding='rot13' is no text encoding"),
        (b"a,b\n1,2\n", "utf-9", "encoding='utf-9' is no text encoding"),
    ],
)
def test_an_encoding_that_is_not_the_files_is_refused(tmp_path, content, encoding, message):
    with pytest.raises(DataError, match=message):
        rows_of(tmp_path, "rows.csv", content, encoding=encoding)


@pytest.mark.parametrize("given", [{"delimiter": ";;"}, {"delimiter": '"'}, {"delimiter": ""}, {"quoting": "all"}])
def test_a_dialect_that_cannot_be_is_refused(given):
    with pytest.raises(PromptlabError, match=next(iter(given))):
        Dialect(**given)


# A text on each line


def test_a_line_of_a_txt_file_is_a_text(tmp_path):
    assert rows_of(tmp_path, "rows.txt", 'one, "two"\n\n"three\n') == [['one, "two"'], ['"three']]
    assert read_examples(tmp_path / "rows.txt", label=None)[0].fields == {"text_a": 'one, "two"'}


def test_a_txt_file_that_looks_like_a_table_asks_what_it_is(tmp_path):
    content = "text\tlabel\na\tx\n"

    with pytest.raises(DataError, match=r"same number of tabs.*delimiter='tab'.*delimiter='none'"):
        rows_of(tmp_path, "rows.txt", content)
    assert rows_of(tmp_path, "rows.txt", content, delimiter="tab") == [["a", "x"]]
    assert rows_of(tmp_path, "rows.txt", content, delimiter="none") == [["text\tlabel"], ["a\tx"]]
