import gzip
import itertools
import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_matrix

from promptlab.core.errors import DataError
from promptlab.core.types import Example
from promptlab.data.readers import as_examples, iter_examples, iter_rows, read_examples

ROWS = [{"text_a": "good film", "label": "pos"}, {"text_a": "None", "label": "NA"}]
CSV = "text_a,label\ngood film,pos\nNone,NA\n"
TEXT_FILES = {
    "rows.csv": CSV,
    "rows.tsv": CSV.replace(",", "\t"),
    "rows.jsonl": "".join(json.dumps(row) + "\n" for row in ROWS),
    "rows.ndjson": "\n".join(json.dumps(row) for row in ROWS),
}


def write(folder, name, content):
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
    return path


def write_parquet(path, columns):
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    pq.write_table(pa.table(columns), path)
    return path


# Formats


@pytest.mark.parametrize("name", TEXT_FILES)
def test_text_formats_keep_words_that_look_like_missing_values(tmp_path, name):
    assert list(iter_rows(write(tmp_path, name, TEXT_FILES[name]))) == ROWS


@pytest.mark.parametrize("name", TEXT_FILES)
def test_text_formats_are_also_read_compressed(tmp_path, name):
    assert list(iter_rows(write(tmp_path, name + ".gz", gzip.compress(TEXT_FILES[name].encode())))) == ROWS


@pytest.mark.parametrize("chunk_size", [1, 2, 1024])
def test_parquet_gives_the_same_rows_in_blocks_of_any_size(tmp_path, chunk_size):
    path = write_parquet(tmp_path / "rows.parquet", {"text_a": ["good film", "None"], "label": ["pos", "NA"]})

    assert list(iter_rows(path, chunk_size=chunk_size)) == ROWS


def test_parquet_is_read_a_few_rows_at_a_time(tmp_path, monkeypatch):
    pq = pytest.importorskip("pyarrow.parquet")
    path, sizes = write_parquet(tmp_path / "rows.parquet", {"text_a": list("abcde")}), []
    original = pq.ParquetFile.iter_batches

    def watched(self, **options):
        for batch in original(self, **options):
            sizes.append(len(batch))
            yield batch

    monkeypatch.setattr(pq.ParquetFile, "iter_batches", watched)

    assert [row["text_a"] for row in iter_rows(path, chunk_size=2)] == list("abcde")
    assert sizes == [2, 2, 1]


@pytest.mark.parametrize("name", TEXT_FILES)
def test_a_byte_order_mark_is_no_part_of_the_first_column(tmp_path, name):
    assert list(iter_rows(write(tmp_path, name, b"\xef\xbb\xbf" + TEXT_FILES[name].encode()))) == ROWS


def test_upper_case_suffixes_are_known_too(tmp_path):
    assert list(iter_rows(write(tmp_path, "ROWS.CSV", CSV))) == ROWS


def test_quoted_fields_may_hold_separators_quotes_and_line_ends(tmp_path):
    path = write(tmp_path, "rows.csv", 'text_a,label\r\n"a, ""b""\nc",x\r\n')

    assert list(iter_rows(path)) == [{"text_a": 'a, "b"\nc', "label": "x"}]


def test_numbers_in_csv_stay_as_they_are_written(tmp_path):
    assert list(iter_rows(write(tmp_path, "rows.csv", "text_a,label\n007,1\n"))) == [{"text_a": "007", "label": "1"}]


def test_blank_lines_are_no_rows(tmp_path):
    assert list(iter_rows(write(tmp_path, "rows.csv", "text_a,label\n\ngood film,pos\n\nNone,NA\n\n"))) == ROWS
    assert list(iter_rows(write(tmp_path, "rows.jsonl", "\n" + TEXT_FILES["rows.jsonl"] + " \n"))) == ROWS


def test_line_separators_of_unicode_end_no_json_line(tmp_path):
    row = {"text_a": "one\u2028two\u0085three"}

    assert list(iter_rows(write(tmp_path, "rows.jsonl", json.dumps(row, ensure_ascii=False)))) == [row]


def test_rows_before_a_broken_one_are_read_before_it_is_met(tmp_path):
    rows = iter_rows(write(tmp_path, "rows.jsonl", '{"text_a": "x"}\n{broken\n'))

    assert next(rows) == {"text_a": "x"}
    with pytest.raises(DataError, match="line 2"):
        next(rows)


def test_the_first_examples_of_a_long_file_come_without_the_rest(tmp_path):
    path = write(tmp_path, "rows.csv", "text_a\n" + "x\n" * 100_000 + "too,many\n")

    assert len(list(itertools.islice(iter_examples(path, label=None), 100_000))) == 100_000


# Examples from files


def test_other_columns_keep_their_names_and_the_label_is_no_field(tmp_path):
    path = write(tmp_path, "rows.csv", "sentence,source,label\nfine,web,1\n")

    assert read_examples(path) == [Example({"sentence": "fine", "source": "web"}, "1")]


def test_columns_name_the_fields(tmp_path):
    path = write(tmp_path, "rows.csv", "premise,hypothesis,id,gold\nA,B,7,yes\n")

    examples = read_examples(path, columns={"text_a": "premise", "text_b": "hypothesis"}, label="gold")

    assert examples == [Example({"id": "7", "text_a": "A", "text_b": "B"}, "yes")]


def test_a_column_gives_way_to_the_field_that_is_mapped_to_its_name(tmp_path):
    path = write(tmp_path, "rows.csv", "text_a,clean,label\nraw,tidy,x\n")

    assert read_examples(path, columns={"text_a": "clean"}) == [Example({"text_a": "tidy"}, "x")]


def test_without_labels_every_column_is_a_field(tmp_path):
    path = write(tmp_path, "rows.csv", "text_a,label\nfine,x\n")

    assert read_examples(path, label=None) == [Example({"text_a": "fine", "label": "x"})]


def test_labels_become_text(tmp_path):
    path = write_parquet(tmp_path / "rows.parquet", {"text_a": ["a", "b"], "label": [0, 1]})

    assert [example.label for example in read_examples(path)] == ["0", "1"]


def test_blank_texts_are_kept(tmp_path):
    path = write(tmp_path, "rows.csv", "text_a,label\n,x\n  ,y\n")

    assert [example.fields["text_a"] for example in read_examples(path)] == ["", "  "]


def test_a_missing_value_in_a_column_that_nobody_named_leaves_the_field_out(tmp_path):
    path = write(tmp_path, "rows.jsonl", '{"text": "a", "url": null, "label": "x"}\n')

    assert read_examples(path, columns={"text_a": "text"}) == [Example({"text_a": "a"}, "x")]


# Bad files


def check_refused(path, match, **options):
    with pytest.raises(DataError, match=match) as caught:
        read_examples(path, **options)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path):
    check_refused(tmp_path / "nowhere.csv", r"no file '.*nowhere\.csv'; check the path")


def test_a_folder_is_no_file(tmp_path):
    (tmp_path / "folder.csv").mkdir()
    check_refused(tmp_path / "folder.csv", "is a folder; name one file in it")


@pytest.mark.parametrize("name", ["rows.doc", "rows", "rows.parquet.gz", "rows.gz", "rows.xlsx.gz"])
def test_an_unknown_format_lists_the_known_ones(tmp_path, name):
    check_refused(write(tmp_path, name, "x"), r"unknown format .*expected \.csv, \.tsv, \.jsonl, \.ndjson, \.parquet")


@pytest.mark.parametrize("name", ["rows.csv", "rows.tsv", "rows.jsonl", "rows.ndjson", "rows.parquet"])
def test_a_file_of_zero_bytes_has_no_rows(tmp_path, name):
    check_refused(write(tmp_path, name, b""), "has no rows; give a file with at least one example")


def test_a_header_alone_has_no_rows(tmp_path):
    check_refused(write(tmp_path, "rows.csv", "text_a,label\n"), "has no rows")
    check_refused(write_parquet(tmp_path / "rows.parquet", {"text_a": [], "label": []}), "has no rows")


def test_a_missing_text_column_names_those_present(tmp_path):
    path = write(tmp_path, "rows.csv", CSV)
    check_refused(path, r"has no column 'review'; it has 'text_a', 'label'.*columns=", columns={"text_a": "review"})


def test_a_missing_label_column_names_those_present(tmp_path):
    path = write(tmp_path, "rows.csv", CSV)
    check_refused(path, r"has no column 'gold'; it has 'text_a', 'label'.*label=.*None for no labels", label="gold")


@pytest.mark.parametrize("content", ["a,x\nb,\n", "a,x\nb,  \n"])
def test_a_missing_label_names_its_row(tmp_path, content):
    check_refused(write(tmp_path, "rows.csv", "text_a,label\n" + content), r"row 2 of .*rows\.csv' has no label")


def test_a_null_label_names_its_row(tmp_path):
    check_refused(write(tmp_path, "rows.jsonl", '{"text_a": "a", "label": null}'), "row 1 of .* has no label")


def test_a_missing_value_is_no_field_and_leaves_what_a_template_says_of_it(tmp_path):
    path = write(tmp_path, "rows.jsonl", '{"text": null, "id": 1, "label": "x"}')

    assert read_examples(path) == [Example({"id": 1}, "x")]
    fields = read_examples(path, columns={"text_a": "text"})[0].fields
    assert fields == {"id": 1}
    assert (fields.row, fields.empty) == (f"row 1 of {str(path)!r}", {"text_a": "text"})


@pytest.mark.parametrize(("name", "remedy"), [("rows.xls", "save it as .xlsx"), ("rows.json", "call it .jsonl")])
def test_formats_of_other_programs_say_what_to_do(tmp_path, name, remedy):
    check_refused(write(tmp_path, name, "x"), f"can't read .*{name}', which is .*; .*{remedy}")


def test_broken_json_names_its_line(tmp_path):
    check_refused(
        write(tmp_path, "rows.jsonl", '\n{"text_a": "a", "label": "x"}\n{"text_a": \n'), "line 3 isn't valid JSON"
    )


def test_a_key_that_stands_twice_in_a_json_line_is_refused(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"text_a": "a", "label": "x"}\n{"text_a": "a", "text_a": "b"}\n', encoding="utf-8")

    with pytest.raises(DataError, match=r"line 2 isn't valid JSON \(the key 'text_a' stands twice\)"):
        read_examples(path)


@pytest.mark.parametrize(("line", "kind"), [("[1, 2]", "list"), ('"text"', "str"), ("3", "int"), ("null", "NoneType")])
def test_a_json_line_that_is_no_object_names_its_line_and_kind(tmp_path, line, kind):
    check_refused(write(tmp_path, "rows.jsonl", line), f"line 1 is a JSON {kind}, not an object")


@pytest.mark.parametrize(("row", "count"), [("a", 1), ("a,b,c", 3)])
def test_a_csv_row_that_is_too_short_or_too_long_names_its_line(tmp_path, row, count):
    path = write(tmp_path, "rows.csv", f"text_a,label\nx,y\n{row}\n")
    check_refused(path, f"line 3: the row has {count} fields, but the header has 2")


def test_a_quote_that_never_closes_is_refused(tmp_path):
    path = write(tmp_path, "rows.csv", 'text_a,label\nc,z\n"a,x\nb,y\n')
    check_refused(path, "line 3: a field begins with a quote, but no quote ends it; double", quoting="csv")


def test_a_column_that_stands_twice_is_refused(tmp_path):
    check_refused(write(tmp_path, "rows.csv", "text_a,text_a,label\na,b,x\n"), "has the column 'text_a' twice")


@pytest.mark.parametrize("damage", [lambda data: b"not gzip", lambda data: data[:-12]])
def test_a_damaged_gz_file_is_refused(tmp_path, damage):
    data = gzip.compress((CSV * 50).encode())
    check_refused(write(tmp_path, "rows.csv.gz", damage(data)), "is a damaged .gz file")


def test_a_damaged_parquet_file_is_refused(tmp_path):
    pytest.importorskip("pyarrow")
    check_refused(write(tmp_path, "rows.parquet", b"PAR1 but no more"), "isn't a readable Parquet file")


# Examples from objects


class FakePolarsFrame:
    columns = ("text_a", "text_b")

    def to_dicts(self):
        return [{"text_a": "a", "text_b": "b"}]


class FakePolarsSeries:
    def to_list(self):
        return ["a"]


A = [Example({"text_a": "a"})]
A_B = [Example({"text_a": "a", "text_b": "b"})]


@pytest.mark.parametrize(
    ("X", "expected"),
    [
        (["a"], A),
        (("a",), A),
        ([("a",)], A),
        ([("a", "b")], A_B),
        ([["a", "b"]], A_B),
        ([{"text_a": "a", "text_b": "b"}], A_B),
        (A_B, A_B),
        (np.array(["a"]), A),
        (np.array([["a", "b"]]), A_B),
        (pd.Series(["a"], index=[9]), A),
        (pd.DataFrame({"text_a": ["a"], "text_b": ["b"]}, index=[9]), A_B),
        (FakePolarsFrame(), A_B),
        (FakePolarsSeries(), A),
        ((text for text in ["a"]), A),
        ([], []),
    ],
)
def test_whatever_holds_the_texts_gives_the_same_examples(X, expected):
    assert as_examples(X) == expected


def test_hugging_face_data_sets_and_their_columns_are_read():
    datasets = pytest.importorskip("datasets")
    data = datasets.Dataset.from_dict({"sentence": ["a", "b"], "label": [0, 1]})

    examples = as_examples(data, data["label"], columns={"text_a": "sentence"})

    assert [example.fields["text_a"] for example in examples] == ["a", "b"]
    assert [example.label for example in examples] == ["0", "1"]
    assert as_examples(data["sentence"]) == [Example({"text_a": "a"}), Example({"text_a": "b"})]


def test_texts_of_numpy_become_plain_strings():
    assert type(as_examples(np.array(["a"]))[0].fields["text_a"]) is str


@pytest.mark.parametrize("labels", [[1, 0], (1, 0), np.array([1, 0]), pd.Series([1, 0], index=[5, 4]), ["1", "0"]])
def test_labels_of_any_kind_become_text_in_row_order(labels):
    assert [example.label for example in as_examples(["a", "b"], labels)] == ["1", "0"]


def test_examples_keep_their_labels_unless_others_are_given():
    examples = [Example({"text_a": "a"}, "old")]

    assert as_examples(examples) == examples
    assert as_examples(examples, ["new"]) == [Example({"text_a": "a"}, "new")]


def test_columns_rename_fields_of_mappings_and_frames():
    renamed = [Example({"id": 1, "text_a": "fine"})]

    assert as_examples([{"id": 1, "sentence": "fine"}], columns={"text_a": "sentence"}) == renamed
    assert as_examples(pd.DataFrame({"id": [1], "sentence": ["fine"]}), columns={"text_a": "sentence"}) == renamed


def test_empty_texts_are_examples():
    assert [example.fields["text_a"] for example in as_examples(["", " "])] == ["", " "]


@pytest.mark.parametrize("X", ["one text", b"bytes", {"text_a": ["a"]}, Example({"text_a": "a"}), {"a", "b"}])
def test_one_thing_instead_of_a_list_is_refused(X):
    with pytest.raises(DataError, match=rf"X is one {type(X).__name__}; pass a list of texts"):
        as_examples(X)


@pytest.mark.parametrize("X", [None, 3, np.array("text")])
def test_what_holds_no_rows_is_refused(X):
    with pytest.raises(DataError, match="expected a list, array, series, data frame or data set"):
        as_examples(X)


def test_sparse_matrices_and_bytes_are_one_clear_line():
    with pytest.raises(DataError, match="X is a sparse csr_matrix; pass a plain list"):
        as_examples(csr_matrix(np.eye(2)))
    with pytest.raises(DataError, match="row 1 has the label b'good', which is bytes"):
        as_examples(["a film"], [b"good"])


@pytest.mark.parametrize("item", [5, (), b"bytes", ("x",) * 27, (0.5, 1.5), [["nested"]]])
def test_a_row_of_another_kind_is_named(item):
    with pytest.raises(
        DataError, match=r"row 2 of X is .*; expected a text, a tuple of texts, a mapping or an Example"
    ):
        as_examples(["a", item])


@pytest.mark.parametrize("missing", [None, float("nan"), np.nan, pd.NA, pd.NaT])
def test_a_missing_value_of_an_object_is_no_field(missing):
    assert as_examples(["a", missing]) == [*A, Example({})]
    assert as_examples([("a", missing)]) == A
    assert as_examples([{"text_a": "a", "label": missing}]) == A
    assert as_examples(pd.DataFrame({"text_a": ["a"], "label": [missing]})) == A
    assert as_examples(pd.Series(["a", None]))[1].fields.row == "row 2"


def test_fields_know_their_row_wherever_they_are_handed_on(tmp_path):
    path = write(tmp_path, "rows.csv", CSV)

    again = as_examples(read_examples(path))

    assert [example.fields.row for example in again] == [f"row {n} of {str(path)!r}" for n in (1, 2)]
    assert as_examples([Example({"text_a": "a"})])[0].fields.row == "row 1"


def test_a_missing_field_of_one_row_names_the_fields_it_has():
    with pytest.raises(DataError, match="row 2 has no column 'sentence'; it has 'text'"):
        as_examples([{"sentence": "a"}, {"text": "b"}], columns={"text_a": "sentence"})


@pytest.mark.parametrize("labels", [["x"], ["x", "y", "z"], []])
def test_labels_of_another_length_give_both_lengths(labels):
    with pytest.raises(DataError, match=f"{len(labels)} labels for 2 rows; give one label for each row"):
        as_examples(["a", "b"], labels)


@pytest.mark.parametrize("missing", [None, np.nan, "", " "])
def test_a_missing_label_of_an_object_names_its_row(missing):
    with pytest.raises(DataError, match="row 2 has no label"):
        as_examples(["a", "b"], ["x", missing])


def test_a_table_of_labels_is_refused():
    with pytest.raises(DataError, match="labels is a DataFrame; expected a list, array or series"):
        as_examples(["a"], pd.DataFrame({"label": ["x"]}))
    with pytest.raises(DataError, match=r"row 1 has the label \['x'\]; expected one class"):
        as_examples(["a"], np.array([["x"]]))


def test_one_text_as_labels_is_refused():
    with pytest.raises(DataError, match="labels is one str; pass a list of labels"):
        as_examples(["a", "b"], "xy")


def test_importing_the_data_modules_imports_no_heavy_library():
    heavy = "{'torch', 'pandas', 'pyarrow', 'datasets', 'numpy'}"
    modules = "promptlab.data.readers, promptlab.data.sampling, promptlab.data.samples"
    code = f"import sys, {modules}; print({heavy} & set(sys.modules))"

    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"
