"""Several labels a row on the command line."""

from __future__ import annotations

import json

import pytest
from sklearn.metrics import f1_score
from sklearn.preprocessing import MultiLabelBinarizer

from promptlab import PVP, PromptClassifier, write_pvps
from promptlab.data.readers import read_examples
from promptlab.estimators.saving import load_any

ROWS = [("great film", "good"), ("sports news", "sport"), ("great sports", "good;sport"), ("a dull story", "")]
WORDS = '{"sport": ["sports"], "good": ["good", "great"]}'
PROMPT = ("--template", "{{ text_a }} {{ mask }}", "--verbalizer", WORDS)
SEVERAL = ("--multi-label", "--separator", ";")


@pytest.fixture
def train_file(table):
    return table("train.tsv", ROWS)


@pytest.fixture
def fitted(run, base, train_file, tmp_path):
    result = run(
        "fit", train_file, "-o", tmp_path / "out", *PROMPT, *SEVERAL, "--threshold", "per-class",
        "--model", base, "--max-steps", 3, "--dev", train_file, "--json",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert 0 <= json.loads(result.stdout)["dev_micro_f1"] <= 1
    return tmp_path / "out"


def test_fit_reads_several_labels_and_saves_the_threshold_of_each_class(fitted):
    classifier = load_any(fitted)

    assert classifier.threshold == "per-class"
    assert classifier.classes_.tolist() == ["good", "sport"]


def test_predict_writes_all_labels_that_hold(run, fitted, train_file):
    expected = load_any(fitted).predict_labels(read_examples(train_file, separator=";"))

    as_json = [json.loads(line) for line in run("predict", fitted, train_file, "--json", "--proba").stdout.splitlines()]
    table = [line.split("\t") for line in run("predict", fitted, train_file).stdout.splitlines()]
    other = [line.split("\t") for line in run("predict", fitted, train_file, "--separator", "/").stdout.splitlines()]

    assert [row["labels"] for row in as_json] == [list(row) for row in expected]
    assert set(as_json[0]) == {"row", "labels", "p(good)", "p(sport)"}
    assert table == [["row", "labels"], *([str(i), ";".join(row)] for i, row in enumerate(expected, start=1))]
    assert [row[1] for row in other[1:]] == ["/".join(row) for row in expected]


def test_evaluate_prints_micro_and_macro_f1(run, fitted, train_file):
    examples = read_examples(train_file, separator=";")
    binarizer = MultiLabelBinarizer(classes=["good", "sport"]).fit([])
    truth, said = binarizer.transform([e.labels for e in examples]), load_any(fitted).predict(examples)

    report = json.loads(run("evaluate", fitted, train_file, "--separator", ";", "--json").stdout)
    shown = run("evaluate", fitted, train_file, "--separator", ";").stdout

    for average in ("micro", "macro"):
        expected = f1_score(truth, said, average=average, zero_division=0)
        assert report[f"{average}_f1"] == pytest.approx(expected)
        assert f"{average}-F1 {expected:.4f}" in shown
    assert report["subset_accuracy"] == (truth == said).all(axis=1).mean()
    assert report["rows"] == 4 and report["classes"]["good"]["support"] == 2


def test_json_lists_need_no_separator(run, base, tmp_path):
    path = tmp_path / "train.jsonl"
    rows = [{"text_a": text, "label": label.split(";") if label else []} for text, label in ROWS]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")

    result = run("fit", path, "-o", tmp_path / "out", *PROMPT, "--multi-label", "--tuning", "none", "--model", base)

    assert result.exit_code == 0, result.output
    assert json.loads(run("evaluate", tmp_path / "out", path, "--json").stdout)["classes"]["sport"]["support"] == 2


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (("--head", *SEVERAL), 2, "--multi-label takes no --head"),
        ((*PROMPT, *SEVERAL, "--calibrate", "domain"), 2, "--multi-label takes no"),
        ((*PROMPT, *SEVERAL, "--demonstrations", 1), 2, "--multi-label takes no"),
        ((*PROMPT, "--separator", ";"), 2, "go with --multi-label"),
        ((*PROMPT, "--threshold", "0.5"), 2, "go with --multi-label"),
        ((*PROMPT, *SEVERAL, "--threshold", "globl"), 1, "did you mean 'global'"),
        ((*PROMPT, *SEVERAL, "--threshold", "1.5"), 1, "--threshold 1.5 must be between 0 and 1"),
        ((*PROMPT, "--multi-label"), 1, "unknown label 'good;sport'"),
        ((*PROMPT, "--multi-label", "--separator", ""), 1, "separator is empty"),
    ],
)
def test_options_that_do_not_fit_are_told_in_one_line_and_write_nothing(
    run, train_file, base, tmp_path, options, code, message
):
    result = run("fit", train_file, "-o", tmp_path / "out", "--model", base, *options)

    assert result.exit_code == code, result.output
    assert message in result.stderr
    assert not (tmp_path / "out").exists()


def test_a_separator_is_not_for_one_label_a_row(run, base, train_file, tmp_path):
    texts = ["great film", "dull"]
    words = {"good": ["good"], "bad": ["bad"]}
    PromptClassifier("{{ text_a }} {{ mask }}", words, base, "none", device="cpu").fit(
        texts, ["good", "bad"]
    ).save_pretrained(tmp_path / "one")

    for command in ("predict", "evaluate"):
        result = run(command, tmp_path / "one", train_file, "--separator", ";")
        assert result.exit_code == 2
        assert "--separator is for several labels a row" in result.stderr


def test_an_unknown_label_is_told_by_evaluate(run, fitted, train_file):
    result = run("evaluate", fitted, train_file, "--separator", "|")

    assert result.exit_code == 1
    assert "unknown label 'good;sport'" in result.stderr


def test_a_class_that_holds_the_separator_is_never_written(run, base, table, tmp_path):
    words = '{"a|b": ["good"], "c": ["sports"]}'
    path = table("train.tsv", [("great film", "a|b"), ("sports news", "c"), ("great sports", "a|b;c")])
    options = ("--template", "{{ text_a }} {{ mask }}", "--verbalizer", words, "--multi-label", "--tuning", "none")

    refused = run("fit", path, "-o", tmp_path / "out", "--model", base, *options)
    assert refused.exit_code == 1 and "class 'a|b' can't be told from what stands beside it" in refused.stderr

    assert run("fit", path, "-o", tmp_path / "out", "--model", base, *options, "--separator", ";").exit_code == 0
    assert json.loads(run("evaluate", tmp_path / "out", path, "--json").stdout)["classes"]["a|b"]["support"] == 2
    refused = run("predict", tmp_path / "out", path, "--separator", "|")
    assert refused.exit_code == 1 and refused.stdout == "" and "choose another separator" in refused.stderr


def test_the_pair_of_several_labels_may_come_from_a_file(run, base, train_file, tmp_path):
    pairs = tmp_path / "pvps.yaml"
    write_pvps(pairs, [PVP("{{ text_a }} {{ mask }}", json.loads(WORDS), "plain")])

    result = run(
        "fit", train_file, "-o", tmp_path / "out", *SEVERAL, "--pvp", pairs, "--model", base, "--max-steps", 1,
        "--json",
    )  # fmt: skip

    assert result.exit_code == 0, result.output
    assert load_any(tmp_path / "out").make_template().source == "{{ text_a }} {{ mask }}"


def test_an_estimator_is_named_with_its_settings(run, base, train_file, tmp_path):
    quick = ("--model", base, "--max-steps", 3, "--dev", train_file, "--json")
    named = (
        "--estimator",
        "MultiLabelClassifier",
        "--estimator-arg",
        "separator=;",
        "--estimator-arg",
        "threshold=0.4",
    )

    by_name = run("fit", train_file, "-o", tmp_path / "named", *PROMPT, *named, *quick)
    by_option = run("fit", train_file, "-o", tmp_path / "option", *PROMPT, *SEVERAL, "--threshold", "0.4", *quick)

    assert by_name.exit_code == by_option.exit_code == 0, by_name.output
    first, second = (json.loads(result.stdout) for result in (by_name, by_option))
    assert first | {"output": ""} == second | {"output": ""}
    assert load_any(tmp_path / "named").threshold == 0.4


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--estimator", "PromptClasifier"), "unknown estimator 'PromptClasifier'; did you mean 'PromptClassifier'?"),
        (("--estimator", "TokenClassifier"), "--estimator TokenClassifier isn't one of texts"),
        (("--estimator", "HeadClassifier", "--estimator-arg", "poling=mean"), "did you mean 'pooling'?"),
        (("--estimator", "HeadClassifier", *PROMPT), "--template is no setting of HeadClassifier"),
        (("--estimator-arg", "pooling=mean", *PROMPT), "--estimator-arg goes with --estimator"),
        (("--estimator", "HeadClassifier", "--head"), "--estimator takes no --head"),
    ],
)
def test_an_estimator_that_does_not_fit_is_told_before_a_model_is_loaded(run, table, tmp_path, options, said):
    train = table("train.tsv", [("great film", "good"), ("sports news", "sport")])

    result = run("fit", train, "-o", tmp_path / "out", "--model", tmp_path / "nowhere", *options)

    assert result.exit_code != 0 and not (tmp_path / "out").exists()
    assert said in " ".join(result.output.split())
