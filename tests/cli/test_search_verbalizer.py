from __future__ import annotations

import json

import pytest

from promptlab import PromptClassifier

ROWS = [("the film was great", "p"), ("a good story", "p"), ("a dull mess", "n"), ("awful acting", "n")]
DEV = [("great acting", "p"), ("a good film", "p"), ("a lifeless story", "n"), ("a bad film", "n")]
TEMPLATE = "{{ text_a }} {{ mask }}"


@pytest.fixture
def search(run, table, base, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    train = table("train.tsv", ROWS)
    return lambda *more: run("search-verbalizer", train, "--template", TEMPLATE, "--model", base, *more)


@pytest.mark.parametrize(
    ("engine", "measure", "meaning"),
    [
        ("lm-bff", "train accuracy", "accuracy of the untrained model on the training rows that found the words"),
        ("petal", "likelihood ratio", "no accuracy"),
        ("autoprompt", "train accuracy", "too high for new text"),
    ],
)
def test_a_score_says_what_it_is_and_of_which_rows(search, base, engine, measure, meaning):
    printed, rows = search("--engine", engine, "--top", 2), search("--engine", engine, "--top", 2, "--json")

    assert printed.exit_code == 0, printed.output
    assert measure in printed.stdout and "estimate" not in printed.stdout
    assert f"{measure}: " in printed.stderr and meaning in printed.stderr
    assert "(4 rows of " in printed.stderr and "train.tsv)" in printed.stderr
    for row in json.loads(rows.stdout):
        assert (row["measure"], row["rows"]) == (measure, 4) and row["file"].endswith("train.tsv")
        assert meaning in row["measure_is"]
        if measure == "train accuracy":
            classifier = PromptClassifier(TEMPLATE, row["label_words"], base, "none", device="cpu")
            assert row["score"] == classifier.score(*zip(*ROWS, strict=True))


def test_accuracies_on_dev_are_called_those_that_chose_and_an_estimate_stands_beside_them(search, table):
    options = ("--top", 2, "--dev", table("dev.tsv", [*DEV, (ROWS[0][0], "n")]))

    printed, rows = search(*options), search(*options, "--json")

    assert printed.exit_code == 0, printed.output
    assert "dev accuracy" in printed.stdout and "estimate" in printed.stdout
    assert "that chose among the words: too high for new text (4 rows of " in printed.stderr
    assert "Expect 0." in printed.stderr or "Expect 1." in printed.stderr
    assert "dev rows left out since their texts are training rows', too: 1" in printed.stderr
    for row in json.loads(rows.stdout):
        assert (row["measure"], row["rows"]) == ("dev accuracy", 4) and row["file"].endswith("dev.tsv")
        assert 0 <= row["estimated_accuracy"] <= 1 and row["estimated_standard_error"] >= 0
