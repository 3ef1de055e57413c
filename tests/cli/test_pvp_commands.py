from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from promptlab import HeadClassifier, PVPEnsemble
from promptlab.cli.main import main

ROWS = [
    ("the film was great", "positive"),
    ("a good story", "positive"),
    ("a dull mess", "negative"),
    ("bad", "negative"),
]
WORDS = '{"positive": ["good", "great"], "negative": ["bad", "dull"]}'
TEMPLATES = ("--template", "{{ text_a }} {{ mask }}", "--template", "{{ mask }} : {{ text_a }}", "--verbalizer", WORDS)
QUICK = ("--max-steps", 2, "--repetitions", 1, "--device", "cpu")


def run(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture
def train(tmp_path):
    path = tmp_path / "train.tsv"
    path.write_text("text_a\tlabel\n" + "".join(f"{text}\t{label}\n" for text, label in ROWS), encoding="utf-8")
    return path


@pytest.fixture
def unlabelled(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps({"text_a": f"the story was {word}"}) + "\n" for word in ("bad", "dull", "good")))
    return path


def test_an_ensemble_is_trained_saved_and_measured(base, train, tmp_path):
    result = run(
        "ensemble", train, "-o", tmp_path / "out", *TEMPLATES, "--model", base, *QUICK, "--dev", train,
        "--weighting", "stacked", "--json",
    )  # fmt: skip

    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    ensemble = PVPEnsemble.from_pretrained(tmp_path / "out", device="cpu")
    assert [row["name"] for row in report["scores"]] == [TEMPLATES[1], TEMPLATES[3], "ensemble"]
    assert report["scores"][-1]["accuracy"] == ensemble.score(*zip(*ROWS, strict=True))
    assert report["scores"][0]["accuracy"] == ensemble.members_[TEMPLATES[1]].score(*zip(*ROWS, strict=True))
    assert ensemble.weighting == "stacked" and ensemble.max_steps == 2


def test_a_saved_ensemble_predicts_and_is_evaluated_like_any_classifier(base, train, tmp_path):
    run("ensemble", train, "-o", tmp_path / "out", *TEMPLATES, "--model", base, *QUICK)

    rows = run("predict", tmp_path / "out", train, "--json").stdout.splitlines()
    report = json.loads(run("evaluate", tmp_path / "out", train, "--json").stdout)

    assert [json.loads(row)["row"] for row in rows] == [1, 2, 3, 4]
    right = [json.loads(row)["label"] == label for row, (_, label) in zip(rows, ROWS, strict=True)]
    assert report["accuracy"] == sum(right) / 4


@pytest.mark.parametrize("method", ["pet", "ipet"])
def test_a_student_is_distilled_from_unlabelled_rows(base, train, unlabelled, tmp_path, method):
    arguments = (
        "distill", "--method", method, train, unlabelled, "-o", tmp_path / "out", *TEMPLATES, "--model", base, *QUICK,
        "--student-steps", 2, "--cache-dir", tmp_path / "cache",
    )  # fmt: skip
    more = ("--generations", 1, "--growth-factor", 2) if method == "ipet" else ()

    result = run(*arguments, *more, "--json")

    assert result.exit_code == 0, result.output
    student = HeadClassifier.from_pretrained(tmp_path / "out", device="cpu")
    scores = {row["name"]: row["accuracy"] for row in json.loads(result.stdout)["scores"]}
    generation = ", generation 1" if method == "ipet" else ""
    members = [f"{template}{generation}" for template in (TEMPLATES[1], TEMPLATES[3])]
    assert list(scores) == [*members, "ensemble", "student"]
    assert scores["student"] == student.score(*zip(*ROWS, strict=True))
    table = run(*arguments, *more).stdout
    assert "ensemble" in table and "%" in table


def test_pairs_come_from_a_file(base, train, tmp_path):
    (tmp_path / "pvps.yaml").write_text(
        f"pvps:\n- name: plain\n  template: '{{{{ text_a }}}} {{{{ mask }}}}'\n  verbalizer: {WORDS}\n"
    )

    result = run(
        "ensemble", train, "-o", tmp_path / "out", "--pvps", tmp_path / "pvps.yaml", "--model", base, *QUICK, "--json"
    )

    assert [row["name"] for row in json.loads(result.stdout)["scores"]] == ["plain", "ensemble"]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("ensemble", "{train}", "-o", "x"), 2, "give --pvps, or --template and --verbalizer"),
        (("ensemble", "{train}", "-o", "x", "--pvps", "y", *TEMPLATES), 2, "give --pvps, or"),
        (("ensemble", "{train}", "-o", "x", *TEMPLATES, "--weighting", "after"), 1, "pass eval_set"),
        (("ensemble", "{train}", "-o", "x", *TEMPLATES, "--executor", "slurm"), 2, "slurm"),
        (("distill", "{train}", "{train}", "-o", "x", *TEMPLATES, "--generations", 2), 2, "go with --method ipet"),
        (("distill", "{train}", "nowhere.tsv", "-o", "x", *TEMPLATES), 1, "no file 'nowhere.tsv'"),
        (("distill", "{train}", "{train}", "-o", "x", *TEMPLATES, "--temperature", 0), 1, "temperature=0"),
    ],
)
def test_bad_input_is_told_and_writes_nothing(base, train, tmp_path, monkeypatch, arguments, code, message):
    monkeypatch.chdir(tmp_path)

    result = run(*(str(part).replace("{train}", str(train)) for part in arguments), "--model", base)

    assert result.exit_code == code, result.output
    assert message in result.stderr
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "x").exists()
