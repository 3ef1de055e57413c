from __future__ import annotations

import json
import os
import re
import subprocess
import sys

import pandas as pd
import pytest

from promptlab import PromptGenerator, TokenClassifier
from promptlab.cli.main import COMMANDS
from promptlab.estimators.saving import load_any

ROWS = [
    ("the film was great", "positive"),
    ("a good story", "positive"),
    ("a dull mess", "negative"),
    ("bad", "negative"),
]
WORDS = '{"positive": ["good", "great"], "negative": ["bad", "dull"]}'
TEMPLATE = "{{ text_a }} {{ mask }}"
FIT = ("fit", "{train}", "-o", "x")
PROMPT = ("--template", TEMPLATE, "--verbalizer", WORDS)


@pytest.fixture
def train_file(table):
    return table("train.tsv", ROWS)


@pytest.fixture
def fitted(run, base, train_file, tmp_path):
    result = run(
        "fit", train_file, "-o", tmp_path / "out", *PROMPT, "--model", base,
        "--max-steps", 3, "--dev", train_file, "--json",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    return tmp_path / "out", json.loads(result.stdout)


def test_fit_saves_a_model_and_reports_it_as_json(fitted):
    folder, report = fitted

    assert (folder / "promptlab.json").is_file()
    assert report["step"] == 3
    assert 0 <= report["dev_accuracy"] <= 1
    assert report["trainable_parameters"] > 0


def test_predict_writes_a_row_for_each_row(run, fitted, train_file):
    result = run("predict", fitted[0], train_file, "--proba", "--json")

    rows = [json.loads(line) for line in result.stdout.splitlines()]
    assert [row["row"] for row in rows] == [1, 2, 3, 4]
    assert all(abs(row["p(positive)"] + row["p(negative)"] - 1) < 1e-5 for row in rows)
    assert all(row["probability"] == max(row["p(positive)"], row["p(negative)"]) for row in rows)


def test_predict_writes_tsv_into_a_file(run, fitted, train_file, tmp_path):
    result = run("predict", fitted[0], train_file, "-o", tmp_path / "answers.tsv")

    assert result.exit_code == 0
    lines = (tmp_path / "answers.tsv").read_text().splitlines()
    assert lines[0] == "row\tlabel\tprobability"
    assert len(lines) == 5


def rows_of(path):
    """The rows of a file by other libraries than ours."""
    if path.name.endswith(".parquet"):
        return pd.read_parquet(path).to_dict("records")
    if "jsonl" in path.name or "ndjson" in path.name:
        return pd.read_json(path, lines=True, precise_float=True).to_dict("records")
    return pd.read_csv(path, sep="\t" if ".tsv" in path.name else ",").to_dict("records")


@pytest.mark.parametrize(
    "name", ["a.csv", "a.tsv", "a.jsonl", "a.ndjson", "a.parquet", "A.CSV", "a.csv.gz", "a.tsv.gz"]
)
def test_predict_writes_the_format_that_the_name_says(run, fitted, train_file, tmp_path, name):
    expected = [
        json.loads(line) for line in run("predict", fitted[0], train_file, "--proba", "--json").stdout.split("\n")[:-1]
    ]

    result = run("predict", fitted[0], train_file, "--proba", "-o", tmp_path / name)

    assert result.exit_code == 0, result.output
    path = tmp_path / name
    assert rows_of(path.rename(path.with_name(name.lower()))) == expected


@pytest.mark.parametrize(
    ("name", "options", "code", "message"),
    [
        ("a.xlsx", (), 1, "unknown format of the output"),
        ("answers", (), 1, "call it .csv, .tsv, .jsonl, .ndjson, .parquet; text formats also with .gz."),
        ("a.parquet.gz", (), 1, "unknown format of the output"),
        ("a.csv", ("--json",), 2, "--json writes JSON Lines, but"),
    ],
)
def test_an_output_of_no_known_format_is_refused_before_the_model_is_loaded(
    run, fitted, train_file, tmp_path, monkeypatch, name, options, code, message
):
    monkeypatch.setattr("promptlab.estimators.saving.load_any", lambda *_, **__: pytest.fail("loaded"))

    result = run("predict", fitted[0], train_file, "-o", tmp_path / name, *options)

    assert result.exit_code == code
    assert message in result.stderr
    assert not (tmp_path / name).exists()


@pytest.mark.parametrize("command", ["predict", "evaluate"])
def test_a_file_without_a_field_of_the_template_is_refused_before_the_model_is_loaded(
    run, fitted, table, monkeypatch, command
):
    monkeypatch.setattr("promptlab.estimators.saving.load_any", lambda *_, **__: pytest.fail("loaded"))

    result = run(command, fitted[0], table("other.tsv", [("x", "positive")], ("sentence", "label")))

    assert result.exit_code == 1
    assert "needs field 'text_a', but the example has 'sentence'" in result.stderr


def test_evaluate_counts_what_predict_gets_right(run, fitted, train_file):
    answers = run("predict", fitted[0], train_file, "--json").stdout.splitlines()
    right = sum(json.loads(line)["label"] == label for line, (_, label) in zip(answers, ROWS, strict=True))

    report = json.loads(run("evaluate", fitted[0], train_file, "--json").stdout)

    assert report["accuracy"] == right / 4
    assert report["rows"] == 4
    assert {name: row["support"] for name, row in report["classes"].items()} == {"negative": 2, "positive": 2}


def test_a_head_is_fitted_without_template(run, base, train_file, tmp_path):
    result = run(
        "fit", train_file, "-o", tmp_path / "h", "--head", "--tuning", "frozen", "--model", base, "--max-steps", 3
    )

    assert result.exit_code == 0, result.output
    assert json.loads((tmp_path / "h" / "promptlab.json").read_text())["estimator"] == "HeadClassifier"


def test_tuning_settings_reach_the_method(run, base, train_file, tmp_path):
    run(
        "fit", train_file, "-o", tmp_path / "t", "--head", "--model", base, "--max-steps", 2,
        "--tuning", "top-layers", "--tuning-arg", "n=1",
    )  # fmt: skip

    saved = json.loads((tmp_path / "t" / "promptlab.json").read_text())["tuning"]
    assert (saved["kind"], saved["n"]) == ("top-layers", 1)


def test_training_settings_reach_the_estimator(run, base, train_file, tmp_path):
    result = run(
        "fit", train_file, "-o", tmp_path / "out", *PROMPT, "--model", base, "--max-steps", 1,
        "--optimizer", "adafactor", "--schedule", "constant", "--gradient-checkpointing",
    )  # fmt: skip

    assert result.exit_code == 0, result.output
    saved = json.loads((tmp_path / "out" / "promptlab.json").read_text())["parameters"]
    assert (saved["optimizer"], saved["schedule"], saved["gradient_checkpointing"]) == ("adafactor", "constant", True)


def test_export_writes_a_model_that_transformers_opens(run, fitted, tmp_path):
    from transformers import AutoModelForMaskedLM

    result = run("export", str(fitted[0]), "-o", str(tmp_path / "plain"))

    assert result.exit_code == 0, result.stderr
    AutoModelForMaskedLM.from_pretrained(tmp_path / "plain")


def test_a_prompt_is_pretrained_and_few_shot_tuning_starts_from_it(run, base, train_file, tmp_path):
    corpus, prompt = tmp_path / "corpus.txt", tmp_path / "prompt.safetensors"
    lines = ["the film was great .", "a good story .", "a dull mess .", "the acting was bad .", "just awful ."]
    corpus.write_text("\n\n".join("\n".join(f"{line} {doc}" for line in lines) for doc in range(4)))

    result = run(
        "pretrain-prompt", corpus, "-o", prompt, "--model", base, "--length", 3, "--examples", 60,
        "--max-steps", 2, "--json",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["step"] == 2

    result = run(
        "fit", train_file, "-o", tmp_path / "out", *PROMPT, "--model", base, "--max-steps", 1,
        "--tuning", "prompt-tuning", "--tuning-arg", "length=3", "--tuning-arg", f"start={prompt}",
    )  # fmt: skip
    assert result.exit_code == 0, result.output


def test_predict_writes_what_a_generator_writes(run, saved_model, train_file, tmp_path):
    generator = PromptGenerator(TEMPLATE, saved_model("llama"), max_steps=1, max_new_tokens=24, device="cpu")
    generator.fit([text for text, _ in ROWS], [label for _, label in ROWS]).save_pretrained(tmp_path / "out")

    result = run("predict", tmp_path / "out", train_file, "--json")

    assert result.exit_code == 0, result.output
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    assert [row["text"] for row in rows] == generator.predict([text for text, _ in ROWS]).tolist()
    refused = run("predict", tmp_path / "out", train_file, "--proba", "-o", tmp_path / "texts.tsv")
    assert refused.exit_code == 2
    assert "writes texts, which have no probabilities of classes; drop --proba" in " ".join(refused.stderr.split())
    assert not (tmp_path / "texts.tsv").exists()


def test_predict_and_evaluate_say_what_they_cannot_read(run, base, train_file, tmp_path):
    tagger = TokenClassifier(base, "frozen", max_steps=1, device="cpu")
    tagger.fit([["a", "film"]], [["O", "B-x"]]).save_pretrained(tmp_path / "tagger")

    for command in ("predict", "evaluate"):
        result = run(command, tmp_path / "tagger", train_file)
        assert result.exit_code == 2
        assert "a TokenClassifier" in result.stderr and len(result.stderr.splitlines()) == 1


def test_columns_of_other_names_are_mapped(run, base, tmp_path):
    path = tmp_path / "train.csv"
    path.write_text("sentence,class\n" + "".join(f"{text},{label}\n" for text, label in ROWS), encoding="utf-8")

    result = run(
        "fit", path, "-o", tmp_path / "out", *PROMPT, "--model", base,
        "--max-steps", 2, "--column", "text_a=sentence", "--label", "class",
    )  # fmt: skip

    assert result.exit_code == 0, result.output


def test_show_prints_segments_tokens_and_words(run, base):
    report = json.loads(
        run("show", TEMPLATE, "--text", "the [MASK] film", "--model", base, "--top", 3, "--json").stdout
    )

    assert [segment["kind"] for segment in report["segments"]] == ["field", "text", "mask"]
    assert report["tokens"].count("[MASK]") == 1
    assert len(report["tokens"]) == len(report["ids"])
    assert len(report["masks"]) == 1
    assert len(report["masks"][0]) == 3


def test_show_prints_long_texts_whole_beside_their_kind(run, base):
    words = [f"film{n}" for n in range(60)]

    table = run("show", TEMPLATE, "--text", " ".join(words), "--model", base).output.split("tokens (")[0]

    assert all(kind in table for kind in ("field", "text", "mask"))
    assert "".join(words) in re.sub(r"[^a-z0-9]|field|yes", "", table)


def test_show_tells_what_truncation_cut(run, base):
    long, short = (
        json.loads(run("show", TEMPLATE, "--text", "a " * n, "--model", base, "--max-length", 20, "--json").stdout)
        for n in (50, 5)
    )

    assert long["n_cut"] == 50 - (20 - 3)
    assert short["n_cut"] == 0


def test_show_marks_soft_tokens(run, base):
    report = json.loads(run("show", "{{ soft(2) }}" + TEMPLATE, "--text", "a", "--model", base, "--json").stdout)

    assert report["tokens"].count("<soft>") == 2


def test_sample_draws_k_of_each_class(run, table, tmp_path):
    path = table("pool.tsv", [(f"text {i}", "ab"[i % 2]) for i in range(20)])

    result = run("sample", path, "-o", tmp_path / "shots", "-k", 3, "--seed", 1)

    assert result.exit_code == 0, result.output
    train, dev = ((tmp_path / "shots" / name).read_text().splitlines()[1:] for name in ("train.tsv", "dev.tsv"))
    assert len(train) == len(dev) == 6
    assert not set(train) & set(dev)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"text_a": "a"}, "no column 'label'"),
        ({"text_a": "a", "label": None}, "has no label"),
        ({"text": "a", "label": "x"}, "is no row of a table"),
        ({"text_a": None, "label": "x"}, "is no row of a table"),
        ({"text_a": ["a"], "label": "x"}, "is no row of a table"),
        ({"text_a": "\ud800", "label": "x"}, "half of a character"),
    ],
)
def test_sample_writes_no_row_that_a_table_cannot_hold(run, tmp_path, row, message):
    path = tmp_path / "pool.jsonl"
    path.write_text(json.dumps({"text_a": "b", "label": "x"}) + "\n" + json.dumps(row) + "\n", encoding="utf-8")

    result = run("sample", path, "-o", tmp_path / "shots", "-k", 1)

    assert result.exit_code == 1
    assert message in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert not (tmp_path / "shots").exists()


def test_cells_that_nobody_reads_may_be_empty_in_every_command(run, base, tmp_path):
    path = tmp_path / "rows.jsonl"
    rows = [{"text": text, "label": label, "agent": None} for text, label in ROWS]
    unlabeled = [{"text": text, "label": None} for text, _ in ROWS]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    (tmp_path / "un.jsonl").write_text("".join(json.dumps(row) + "\n" for row in unlabeled), encoding="utf-8")
    column = ("--column", "text_a=text")

    fitted = run("fit", path, "-o", tmp_path / "m", *PROMPT, "--model", base, "--max-steps", 1, *column)
    predicted = run("predict", tmp_path / "m", tmp_path / "un.jsonl", *column)
    scored = run("evaluate", tmp_path / "m", path, *column)
    distilled = run(
        "distill", path, tmp_path / "un.jsonl", "-o", tmp_path / "d", *PROMPT, "--model", base, "--max-steps", 1,
        "--student-steps", 1, "--repetitions", 1, *column,
    )  # fmt: skip

    for result in (fitted, predicted, scored, distilled):
        assert result.exit_code == 0, result.output


@pytest.mark.parametrize("command", ["predict", "evaluate", "fit"])
def test_an_empty_cell_that_is_read_is_told_by_row_and_column(run, base, fitted, tmp_path, command):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"text": "x", "label": "positive"}\n{"text": null, "label": "negative"}\n', encoding="utf-8")
    more = ("-o", tmp_path / "new", *PROMPT, "--model", base) if command == "fit" else ()
    files = (path,) if command == "fit" else (fitted[0], path)

    result = run(command, *files, *more, "--column", "text_a=text")
    nameless = run(command, *files, *more)

    assert result.exit_code == nameless.exit_code == 1
    assert f"row 2 of {str(path)!r} has no value in field 'text_a' (column 'text')" in result.stderr
    assert "has 'text'" in nameless.stderr
    assert "name its column by --column text_a=COLUMN" in nameless.stderr
    assert not (tmp_path / "new").exists()


UNQUOTED = 'text_a\tlabel\n"a good film\tpositive\ngreat\tpositive\nbad\tnegative\na dull mess"\tnegative\n'


@pytest.mark.parametrize(("option", "n_rows", "said"), [((), 4, True), (("--quoting", "none"), 4, False)])
def test_predict_and_evaluate_read_every_row_of_a_file_that_was_never_quoted(
    run, fitted, tmp_path, option, n_rows, said
):
    path = tmp_path / "unquoted.tsv"
    path.write_text(UNQUOTED, encoding="utf-8")

    predicted, scored = run("predict", fitted[0], path, *option), run("evaluate", fitted[0], path, "--json", *option)

    assert len(predicted.stdout.splitlines()) == n_rows + 1
    assert json.loads(scored.stdout)["rows"] == n_rows
    for result in (predicted, scored):
        assert result.stderr.count("is read with quotes as text") == said
        assert result.exit_code == 0


def test_the_export_of_an_office_program_goes_through_fit_sample_and_predict(run, base, tmp_path):
    path = tmp_path / "export.csv"
    lines = [" text ; label ", *(f"{text}, naïve;{label}" for text, label in ROWS)]
    path.write_bytes("".join(f"{line}\r\n" for line in lines).encode("cp1252"))
    options = ("--encoding", "cp1252", "--delimiter", ";")

    sampled = run("sample", path, "-o", tmp_path / "shots", "-k", 1, *options)
    fitted = run(
        "fit", path, "--dev", path, "-o", tmp_path / "out", *PROMPT, "--column", "text_a=text", "--model", base,
        "--max-steps", 1, *options,
    )  # fmt: skip
    predicted = run("predict", tmp_path / "out", path, "--column", "text_a=text")

    assert [result.exit_code for result in (sampled, fitted, predicted)] == [0, 0, 0]
    assert "naïve" in (tmp_path / "shots" / "train.tsv").read_text(encoding="utf-8")
    assert "note:" not in sampled.stderr + fitted.stderr
    assert predicted.stderr.count("note: ") == 1
    assert "is read as cp1252 (such as 'naïve'), with delimiter ';'" in predicted.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["fit", "missing.tsv", "-o", "x", *PROMPT], 1, "missing.tsv"),
        ([*FIT, "--template", "{{ text_b }} {{ mask }}", "--verbalizer", WORDS], 1, "text_b"),
        ([*FIT, "--template", "{{ text_a }", "--verbalizer", WORDS], 1, "isn't valid Jinja"),
        ([*FIT, "--template", "{{ text_a }} x", "--verbalizer", WORDS], 1, "no mask"),
        ([*FIT, "--template", TEMPLATE, "--verbalizer", '{"a": ['], 1, "isn't valid JSON"),
        (
            [*FIT, "--template", TEMPLATE, "--verbalizer", '{"a": ["bad"], "b": ["good"]}'],
            1,
            "a, b",
        ),
        (
            [*FIT, *PROMPT, "--model", "/no/folder"],
            1,
            "exist",
        ),
        ([*FIT, "--head", "--label", "class"], 1, "class"),
        (["fit", "{train}", "-o", "{train}", "--head", "--max-steps", "2", "--tuning", "frozen"], 1, "is a file"),
        ([*FIT], 2, "--template and --verbalizer, or --head"),
        ([*FIT, "--head", "--tuning", "lora2"], 2, "lora2"),
        ([*FIT, "--head", "--column", "text_a"], 2, "FIELD=COLUMN"),
        ([*FIT, "--head", "--column", "text_a=text_a", "--column", "text_a=label"], 2, "'text_a' is given twice"),
        ([*FIT, "--head", "--tuning", "lora", "--tuning-arg", "rank"], 2, "NAME=VALUE, such as rank=4"),
        ([*FIT, "--head", "--tuning", "lora", "--tuning-arg", "rank=x"], 1, "rank='x' must be a whole number"),
        ([*FIT, "--head", "--label", "klass"], 1, "name the right one by --label."),
        (
            [*FIT, "--template", TEMPLATE, "--verbalizer", '{"a": "bad", "a": "dull", "b": "good"}'],
            1,
            "'a' stands twice",
        ),
        ([*FIT, "--head", "--resume-dir", "{train}"], 1, "is a file"),
        ([*FIT, "--head", "--device", "meta"], 1, "--device meta can't compute"),
        ([*FIT, "--template", TEMPLATE, "--verbalizer", '["good"]'], 1, "is a JSON list; write words for each class"),
        ([*FIT, "--template", TEMPLATE, "--verbalizer", '"good"'], 1, "is a JSON str; write words for each class"),
        ([*FIT, "--template", TEMPLATE, "--verbalizer", "nosuch.json"], 1, "no file 'nosuch.json'; check the path"),
        ([*FIT, "--template", "{{ text_a }}", "--verbalizer", WORDS], 1, "has no mask; put {{ mask }}"),
        (["ensemble", "{train}", "-o", "x", "--pvps", "none.yaml"], 1, "no file 'none.yaml'; check the path"),
        (["expand-verbalizer", "none.txt", "--template", TEMPLATE, "--support", "{train}"], 1, "no file 'none.txt'"),
        (["predict", "{train}", "{train}"], 1, "holds no promptlab.json"),
        (["predict", "nothing", "{train}"], 1, "promptlab.json"),
        (["evaluate", "nothing", "{train}"], 1, "promptlab.json"),
        (["show", "{{ mask }}", "--text", "a", "--model", "nosuch"], 1, "unknown model 'nosuch'"),
        (["show", "sst2/it-wass", "--text", "a"], 1, "did you mean 'sst2/it-was'"),
        (["sample", "{train}", "-o", "x", "-k", "16"], 1, "16"),
        (["sample", "{train}", "-o", "x", "-k", "1", "--seed", "-1"], 1, "--seed -1 must be a whole number from 0"),
        (["sample", "{train}", "-o", "x", "--label", "klass"], 1, "no column 'klass'"),
        (["list", "tunings", "--task", "sst2"], 2, "--task goes with"),
        (["predct"], 2, "Did you mean 'predict'"),
        (["list", "modls"], 2, "modls"),
    ],
)
def test_bad_input_is_one_clear_line_and_writes_nothing(
    run, base, train_file, tmp_path, monkeypatch, arguments, code, message
):
    monkeypatch.chdir(tmp_path)
    before = train_file.read_text()
    arguments = [argument.replace("{train}", str(train_file)) for argument in arguments]
    if arguments[0] == "fit" and "--model" not in arguments:
        arguments += ["--model", str(base)]

    result = run(*arguments)

    assert result.exit_code == code, result.output
    assert message in result.stderr
    assert "Traceback" not in result.stderr
    if code == 1:
        assert len(result.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "x").exists()
    assert train_file.read_text() == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([*FIT, *PROMPT, "--learning-rate", -1], "--learning-rate -1.0 must be between 0 and 10"),
        ([*FIT, *PROMPT, "--max-steps", 2, "--epochs", 2], "give one"),
        ([*FIT, "--template", "{{ text_a }}", "--verbalizer", WORDS], "has no mask"),
        ([*FIT, "--head", "--batch-size", 0], "--batch-size 0 must be at least 1"),
        (["evaluate", "{fitted}", "{train}", "--label", "klass"], "no column 'klass'"),
        (["export", "{fitted}", "-o", "{train}"], "is a file"),
        (["ensemble", "{train}", *PROMPT, "-o", "x", "--repetitions", 0], "--repetitions 0 must be at least 1"),
        (["distill", "{train}", "none.tsv", *PROMPT, "-o", "x"], "no file 'none.tsv'"),
        ([*FIT, *PROMPT, "--device", "nosuch"], "--device nosuch can't be used here"),
        (
            [*FIT, *PROMPT, "--demonstrations", 9],
            "--demonstrations 9 are asked for, but there are 4 labeled examples; ",
        ),
        (["distill", "{train}", "{train}", *PROMPT, "-o", "x", "--student-steps", 0], "--student-steps 0 must be at"),
        (["pretrain-prompt", "{other}", "-o", "x"], "name the right one by --column."),
        (["search-verbalizer", "{train}", "--template", TEMPLATE, "-o", "/dev/null/f.json"], "can't write to"),
        (
            ["expand-verbalizer", "{train}", "--template", TEMPLATE, "--support", "{train}", "-o", "/dev/null/f.json"],
            "write to",
        ),
        (["distill", "{train}", "{other}", *PROMPT, "-o", "x"], "needs field 'text_a'"),
    ],
)
def test_bad_input_is_told_before_a_model_is_loaded(
    run, fitted, train_file, table, tmp_path, monkeypatch, arguments, message
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("transformers.PreTrainedModel.from_pretrained", lambda *_, **__: pytest.fail("loaded"))
    files = {"{train}": train_file, "{fitted}": fitted[0], "{other}": table("other.tsv", [("a",)], ("words",))}

    result = run(*(files.get(argument, argument) for argument in arguments))

    assert result.exit_code == 1, result.output
    assert message in result.stderr
    assert not (tmp_path / "x").exists()


def test_labels_that_a_table_wrote_as_floats_are_told_the_class_they_look_like(run, base, table, tmp_path):
    train = table("train.tsv", [("good", "2.0"), ("bad", "1.0")])  # as pandas writes 1 and 2 beside an empty cell

    result = run(
        "fit", train, "-o", tmp_path / "x", "--template", TEMPLATE, "--verbalizer", '{"1": ["bad"], "2": ["good"]}'
    )

    assert result.exit_code == 1
    assert "unknown label '2.0' in row 1; did you mean '2'?" in result.stderr


def test_help_names_every_command_and_loads_no_torch():
    code = (
        "import sys; from promptlab.cli.main import main; main(['--help'], standalone_mode=False); print(*sys.modules)"
    )
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout

    listing, modules = output.rsplit("\n", 2)[0], output.split()
    assert all(command in listing for command in COMMANDS)
    assert not {"torch", "transformers", "sklearn", "pandas", "rich"} & set(modules)


def test_no_command_loads_torch_before_it_works():
    code = (
        "import importlib, sys; from promptlab.cli.main import COMMANDS\n"
        "for name in COMMANDS: importlib.import_module('promptlab.cli.commands.' + name.replace('-', '_'))\n"
        "print(*sys.modules)"
    )
    modules = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()

    assert "promptlab.cli.commands.fit" in modules
    assert not {"torch", "numpy", "transformers", "sklearn", "pandas", "rich"} & set(modules)


def test_every_command_has_help(run):
    for name in COMMANDS:
        assert run(name, "--help").exit_code == 0


def test_importing_promptlab_loads_no_torch():
    code = "import sys, promptlab; print('torch' in sys.modules or 'numpy' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


@pytest.mark.parametrize(
    "options",
    [
        ("--demonstrations", 2),
        ("--demonstrations", 2, "--instruction", "say it", "--calibrate", "contextual"),
        ("--demonstrations", 2, "--demonstration-style", "per-class"),
        ("--calibrate", "domain"),
        ("--calibrate", "support"),
        ("--calibrate", "support", "--support", "{train}"),
        ("--answers", "strings", "--calibrate", "contextual"),
    ],
)
def test_fit_takes_demonstrations_and_calibration(run, base, train_file, tmp_path, options):
    options = [str(option).format(train=train_file) for option in options]

    result = run("fit", train_file, "-o", tmp_path / "out", *PROMPT, "--model", base, "--tuning", "none", *options)
    predicted = run("predict", tmp_path / "out", train_file, "--json")

    assert result.exit_code == 0, result.output
    assert len(predicted.stdout.splitlines()) == 4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--head", "--calibrate", "domain"), "--head takes no"),
        ((*PROMPT, "--support", "x"), "--support is for"),
        ((*PROMPT, "--instruction", "x"), "--instruction goes with"),
        ((*PROMPT, "--demonstrations", 0), "0 is not in the range"),
        ((*PROMPT, "--demonstration-style", "per-class"), "goes with --demonstrations"),
        (("--template", TEMPLATE, "--verbalizer", "sst2", "--answers", "strings"), "goes with a JSON verbalizer"),
        ((*PROMPT, "--patience", 2), "--patience goes with --dev"),
    ],
)
def test_options_that_do_not_go_together_are_wrong_usage(run, train_file, tmp_path, options, message):
    result = run("fit", train_file, "-o", tmp_path / "out", *options)

    assert result.exit_code == 2
    assert message in result.output


def test_more_demonstrations_than_rows_are_one_line_and_nothing_is_written(run, base, train_file, tmp_path):
    result = run("fit", train_file, "-o", tmp_path / "out", *PROMPT, "--model", base, "--demonstrations", 9)

    assert result.exit_code == 1
    assert "--demonstrations 9 are asked for, but there are 4" in result.output
    assert not (tmp_path / "out").exists()


def test_downloading_an_unknown_model_names_the_known_ones(run):
    result = run("download", "smollm3")

    assert result.exit_code == 1
    assert "did you mean 'smollm2'" in result.output


def test_the_folder_of_a_model_is_not_replaced(run, base, fitted, train_file):
    for arguments in (
        ("fit", train_file, "-o", base, *PROMPT, "--model", base, "--max-steps", 1),
        ("export", fitted[0], "-o", fitted[0]),
    ):
        result = run(*arguments)

        assert result.exit_code == 1
        assert "holds other files, which saving would delete" in result.output


def test_predict_replaces_no_pipe(run, fitted, train_file, tmp_path):
    os.mkfifo(tmp_path / "pipe")

    result = run("predict", fitted[0], train_file, "-o", tmp_path / "pipe")

    assert result.exit_code == 1
    assert "is a device or pipe" in result.output


def test_a_folder_with_other_files_is_not_replaced(run, base, train_file):
    result = run("fit", train_file, "-o", train_file.parent, *PROMPT, "--model", base, "--max-steps", 1)

    assert result.exit_code == 1
    assert "holds other files, which saving would delete" in result.output
    assert train_file.is_file()


def test_the_current_folder_may_be_the_output_if_it_is_empty(run, base, train_file, tmp_path, monkeypatch):
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")

    result = run("fit", train_file, "-o", ".", *PROMPT, "--model", base, "--max-steps", 1)

    assert result.exit_code == 0, result.output
    assert (tmp_path / "empty" / "promptlab.json").is_file()


def test_a_verbalizer_file_that_is_not_utf8_is_one_line(run, base, train_file, tmp_path):
    (tmp_path / "words.json").write_bytes(b'{"positive": "\xff"}')

    result = run(
        "fit", train_file, "-o", tmp_path / "out", "--template", TEMPLATE, "--verbalizer", tmp_path / "words.json"
    )

    assert result.exit_code == 1
    assert "can't be read" in result.output


def test_a_template_that_the_model_cannot_answer_is_told_by_fit_even_without_training(
    run, tiny_backbone, train_file, tmp_path
):
    backbone = tiny_backbone("gpt2")
    backbone.model.save_pretrained(tmp_path / "gpt")
    backbone.tokenizer.save_pretrained(tmp_path / "gpt")
    words = ("--verbalizer", '{"positive": "great", "negative": "dull"}')

    result = run(
        "fit", train_file, "-o", tmp_path / "out", "--model", tmp_path / "gpt", "--tuning", "none", *words,
        "--template", "{{ text_a }} it was {{ mask }} .",
    )  # fmt: skip

    assert result.exit_code == 1
    assert "goes on after its mask" in result.output
    assert not (tmp_path / "out").exists()


@pytest.mark.minilm
def test_label_words_are_refined_and_written_for_fit(run, table, tmp_path):
    words = tmp_path / "words.txt"
    words.write_text("bad,dull,film,awful mess\ngood,great,film,wonderful\n", encoding="utf-8")
    support = table("support.tsv", [("a good film",), ("a dull film",), ("great fun",), ("boring",)], ("text_a",))
    options = ("--template", "{{ text_a }} It was {{ mask }}.", "--support", support, "--class", "n", "--class", "p")

    result = run("expand-verbalizer", words, *options, "-o", tmp_path / "out.json", "--json")

    report = json.loads(result.output)
    assert {"name": "n", "word": "film", "reason": "also a word of class 'p'"} in report["dropped"]
    assert json.loads((tmp_path / "out.json").read_text()) == report["kept"]
    assert list(report["kept"]) == ["n", "p"]


@pytest.mark.minilm
def test_all_words_that_were_kept_are_printed_beside_their_class(run, table, tmp_path):
    words = (
        "bad terrible awful poor dull boring weak horrible stupid ugly worse worst wrong cheap flat slow tired hollow"
    )
    lists = tmp_path / "words.txt"
    lists.write_text(f"{words.replace(' ', ',')}\ngood,great\n", encoding="utf-8")
    support = table("support.tsv", [("a good film",), ("a dull film",)], ("text_a",))
    options = ("--template", "{{ text_a }} It was {{ mask }}.", "--support", support, "--class", "negative")

    result = run("expand-verbalizer", lists, *options, "--class", "positive", "--frequency", 0, "--no-relevance")

    kept = result.output[result.output.index("kept") :]
    assert "negative" in kept and "positive" in kept
    assert [word for word in words.split() if word not in kept] == []


@pytest.mark.minilm
def test_label_words_are_searched_and_written_for_fit(run, table, tmp_path):
    train = table("train.tsv", [("a good film", "p"), ("great fun", "p"), ("a dull film", "n"), ("boring", "n")])
    options = ("--template", "{{ text_a }} It was {{ mask }}.", "--engine", "petal", "--words", 2, "--candidates", 500)

    result = run("search-verbalizer", train, *options, "-o", tmp_path / "out.json", "--json")

    best = json.loads(result.output)[0]["label_words"]
    assert json.loads((tmp_path / "out.json").read_text()) == best
    assert sorted(best) == ["n", "p"]


def test_words_a_class_are_not_for_the_search_that_gives_one(run):
    result = run("search-verbalizer", "none.tsv", "--template", "{{ text_a }} {{ mask }}", "--words", 2)

    assert result.exit_code == 2
    assert "--words is for petal and autoprompt" in result.output


@pytest.mark.minilm
def test_show_tells_which_words_drive_the_decision(run):
    result = run(
        "show", "sst2", "--text", "a dull film", "--verbalizer", '{"n": ["dull", "bad"], "p": ["good"]}', "--json"
    )

    classes = json.loads(result.output)["classes"]
    assert [row["class"] for row in classes] == ["n", "p"]
    assert {word["word"] for word in classes[0]["words"]} == {"dull", "bad"}


def test_commands_that_load_a_classifier_are_told_where_its_base_model_is_now(run, fitted, base, train_file, tmp_path):
    before = run("predict", fitted[0], train_file, "--json").stdout
    os.rename(base, tmp_path / "moved")

    lost = run("predict", fitted[0], train_file, "--json")
    found = run("predict", fitted[0], train_file, "--json", "--model", tmp_path / "moved")
    scored = run("evaluate", fitted[0], train_file, "--json", "--model", tmp_path / "moved")
    exported = run("export", fitted[0], "-o", tmp_path / "exported", "--model", tmp_path / "moved")

    assert lost.exit_code == 1
    assert lost.stderr.count("\n") == 1
    assert "isn't there; say where it is with model= (--model)" in lost.stderr
    assert (found.stdout, scored.exit_code, exported.exit_code) == (before, 0, 0)
    assert json.loads(scored.stdout)["rows"] == 4
    assert (tmp_path / "exported" / "model.safetensors").is_file()


@pytest.mark.parametrize("more", [(), ("--calibrate", "contextual"), ("--tuning", "none")])
def test_label_words_of_several_tokens_are_whole_answers_and_one_line_says_so(run, base, train_file, tmp_path, more):
    words = '{"positive": ["good", "great acting"], "negative": "dull"}'
    steps = () if "none" in more else ("--max-steps", 1)

    result = run(
        "fit", train_file, "-o", tmp_path / "out", "--model", base, "--template", "{{ text_a }} was {{ mask }}",
        "--verbalizer", words, "--device", "cpu", "--json", *steps, *more,
    )  # fmt: skip

    assert result.exit_code == 0, result.stderr
    notes = [line for line in result.stderr.splitlines() if "whole answers" in line]
    assert len(notes) == 1
    assert notes[0].startswith("note: label word 'great acting' of class 'positive' is 2 tokens (great acting) for ")
    assert json.loads(result.stdout)["output"] == str(tmp_path / "out")
    saved = json.loads((tmp_path / "out" / "promptlab.json").read_text())["verbalizer"]
    assert (saved["verbalizer"]["$verbalizer"] if "contextual" in more else saved)["kind"] == "strings"
    assert run("predict", tmp_path / "out", train_file, "--device", "cpu").exit_code == 0


@pytest.mark.parametrize(("text", "expected"), [("balanced", "balanced"), ('{"positive": 2}', {"positive": 2})])
def test_class_weights_are_a_setting(run, base, train_file, tmp_path, text, expected):
    fit = ("fit", train_file, "-o", tmp_path / "out", "--head", "--model", base, "--tuning", "frozen", "--max-steps", 2)

    result = run(*fit, "--class-weight", text)

    assert result.exit_code == 0, result.output
    assert load_any(tmp_path / "out").class_weight == expected


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (("--class-weight", "balance"), 2, "'balance' should be balanced, or JSON such as"),
        (("--class-weight", "[1, 2]"), 2, "'[1, 2]' should be balanced, or JSON"),
        (("--class-weight", '{"positiv": 1}'), 1, "unknown class 'positiv' in class_weight; did you mean 'positive'"),
        (("--class-weight", '{"positive": -1}'), 1, "class_weight of 'positive' is -1"),
        (("--tuning", "none", "--max-steps", 5), 2, "--tuning none trains nothing, so that --max-steps has no use"),
    ],
)
def test_weights_and_settings_without_use_are_refused_and_nothing_is_written(
    run, base, train_file, tmp_path, options, code, message
):
    result = run("fit", train_file, "-o", tmp_path / "out", *PROMPT, "--model", base, *options)

    assert result.exit_code == code and message in result.stderr
    assert not (tmp_path / "out").exists()
