from __future__ import annotations

import json
from functools import reduce

import pytest

from promptlab import HeadClassifier, PromptClassifier, PVPEnsemble
from promptlab.estimators import saving

ROWS = [
    ("the film was great", "positive"),
    ("a good story", "positive"),
    ("a dull mess", "negative"),
    ("bad", "negative"),
]
WORDS = '{"positive": ["good", "great"], "negative": ["bad", "dull"]}'
TEMPLATES = ("--template", "{{ text_a }} {{ mask }}", "--template", "{{ mask }} : {{ text_a }}", "--verbalizer", WORDS)
QUICK = ("--max-steps", 2, "--repetitions", 1, "--device", "cpu")


@pytest.fixture
def train(table):
    return table("train.tsv", ROWS)


@pytest.fixture
def unlabeled(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps({"text_a": f"the story was {word}"}) + "\n" for word in ("bad", "dull", "good")))
    return path


def test_an_ensemble_is_trained_saved_and_measured(run, base, train, tmp_path):
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


@pytest.mark.parametrize("command", ["ensemble", "distill"])
def test_what_training_rows_give_is_no_result(run, base, train, unlabeled, tmp_path, command):
    texts = (unlabeled, "--student-steps", 2) if command == "distill" else ()
    arguments = (command, train, *texts, "-o", tmp_path / "out", *TEMPLATES, "--model", base, *QUICK)

    printed, report = run(*arguments), json.loads(run(*arguments, "--json").stdout)

    assert printed.exit_code == 0, printed.output
    assert "%" not in printed.stdout and "accuracy" not in printed.stdout
    assert "no accuracy is shown: on the training rows it says nothing of new text; give --test" in printed.stderr
    assert (report["file"], report["rows"]) == (None, 0) and "no accuracy" in report["note"]
    together = ["ensemble", "student"] if command == "distill" else ["ensemble"]
    assert [row["name"] for row in report["scores"]] == [TEMPLATES[1], TEMPLATES[3], *together]
    assert all(row["accuracy"] is None for row in report["scores"])
    assert all(row["weight"] >= 0 for row in report["scores"][:2])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--dev",), "accuracy on {file}, which chose the weights: too high for new text; give --test for others"),
        (("--test",), "accuracy on {file}"),
    ],
)
def test_it_is_said_which_rows_an_accuracy_is_of(run, table, base, train, tmp_path, monkeypatch, options, said):
    monkeypatch.setenv("COLUMNS", "300")
    file = table("other.tsv", [("great acting", "positive"), ("a most dull film", "negative")])
    arguments = ("ensemble", train, "-o", tmp_path / "out", *TEMPLATES, "--model", base, *QUICK, *options, file)

    printed, report = run(*arguments), json.loads(run(*arguments, "--json").stdout)

    assert said.format(file=file) in printed.stderr.splitlines()
    assert report["note"] == said.format(file=file) and (report["file"], report["rows"]) == (str(file), 2)
    assert "other.tsv (2 rows)" in printed.stdout and "ensemble" in printed.stdout


@pytest.mark.parametrize(
    ("weighting", "said"),
    [
        ("uniform", "alike"),
        ("trained-accuracy", "by accuracy on the dev rows, which chose the models' weights, too"),
        ("stacked", "by a regression that was learnt on the dev rows"),
    ],
)
def test_it_is_said_by_what_members_count(run, table, base, train, tmp_path, weighting, said):
    """The pair with contrary words is right where the other one is wrong, so that they don't count alike."""
    contrary = json.dumps(dict(zip(json.loads(WORDS), reversed(json.loads(WORDS).values()))))
    pairs = ("--template", "{{ text_a }} {{ mask }}", "--verbalizer", WORDS, "--verbalizer", contrary)
    dev = table("dev.tsv", [(f"a {word} film", "positive") for word in ("fine", "great", "long")] + [("x", "negative")])
    quick = ("--max-steps", 1, "--learning-rate", 1e-7, "--repetitions", 1, "--device", "cpu", "--dev", dev)

    arguments = ("ensemble", train, "-o", tmp_path / "out", *pairs, "--model", base, *quick, "--weighting", weighting)
    printed, report = run(*arguments), json.loads(run(*arguments, "--json").stdout)

    assert report["weights"] == said and f"members count {said}" in printed.stderr.splitlines()
    ensemble = PVPEnsemble.from_pretrained(tmp_path / "out", device="cpu")
    assert [row["weight"] for row in report["scores"]] == [*ensemble.weights_.values(), None]


@pytest.mark.parametrize("command", ["ensemble", "distill", "fit"])
def test_rows_whose_texts_stand_in_two_files_are_told(run, table, base, train, unlabeled, tmp_path, command):
    dev = table("dev.tsv", [(ROWS[0][0], "negative"), ("great acting", "positive"), ("a dull film", "negative")])
    test = table("test.tsv", [("great acting", "positive"), ("so bad", "negative")])
    texts = (unlabeled, "--student-steps", 2) if command == "distill" else ()
    pair = ("--template", "{{ text_a }} {{ mask }}", "--verbalizer", WORDS)
    options = ("--max-steps", 1, "--device", "cpu") if command == "fit" else (*QUICK, "--test", test)

    result = run(command, train, *texts, "-o", tmp_path / "out", *pair, "--model", base, *options, "--dev", dev)

    assert result.exit_code == 0, result.output
    warnings = [line for line in result.stderr.splitlines() if line.startswith("warning: ")]
    assert warnings[0].startswith("warning: 1 of 3 dev rows have the text of a train row")
    if command != "fit":
        assert [line.split(", so")[0] for line in warnings[1:]] == [
            "warning: 1 of 2 test rows have the text of a dev row"
        ]


def test_a_saved_ensemble_predicts_and_is_evaluated_like_any_classifier(run, base, train, tmp_path):
    run("ensemble", train, "-o", tmp_path / "out", *TEMPLATES, "--model", base, *QUICK)

    rows = run("predict", tmp_path / "out", train, "--json").stdout.splitlines()
    report = json.loads(run("evaluate", tmp_path / "out", train, "--json").stdout)

    assert [json.loads(row)["row"] for row in rows] == [1, 2, 3, 4]
    right = [json.loads(row)["label"] == label for row, (_, label) in zip(rows, ROWS, strict=True)]
    assert report["accuracy"] == sum(right) / 4


@pytest.mark.parametrize("method", ["pet", "ipet"])
def test_a_student_is_distilled_from_unlabeled_rows(run, base, train, unlabeled, tmp_path, method):
    arguments = (
        "distill", "--method", method, train, unlabeled, "-o", tmp_path / "out", *TEMPLATES, "--model", base, *QUICK,
        "--student-steps", 2, "--resume-dir", tmp_path / "cache", "--test", train,
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


def test_the_table_is_of_the_test_file_and_columns_may_have_other_names(run, table, base, tmp_path):
    train = table("train.tsv", ROWS, ("sentence", "class"))
    test = table("test.tsv", ROWS[1:], ("sentence", "class"))
    texts = table("texts.tsv", [(text,) for text, _ in ROWS], ("sentence",))
    common = ("-o", tmp_path / "out", *TEMPLATES, "--model", base, *QUICK, "--test", test, "--json")
    names = ("--column", "text_a=sentence", "--label", "class")

    ensemble = run("ensemble", train, *common, *names)
    student = run("distill", train, texts, *common, *names, "--student-steps", 2)

    assert (ensemble.exit_code, student.exit_code) == (0, 0), (ensemble.output, student.output)
    known = list(zip(*ROWS[1:], strict=True))
    loaded = HeadClassifier.from_pretrained(tmp_path / "out", device="cpu")
    report = json.loads(student.stdout)
    assert report["file"] == json.loads(ensemble.stdout)["file"] == str(test)
    assert report["scores"][-1] == {"name": "student", "accuracy": loaded.score(*known), "weight": None}


def test_rows_labeled_minus_one_are_unlabeled_and_prompts_may_label_without_any_training(
    table, run, base, tmp_path, unlabeled
):
    train = table("train.tsv", [(text, "-1") for text, _ in ROWS])
    test = table("test.tsv", ROWS)
    arguments = ("distill", train, unlabeled, "-o", tmp_path / "out", *TEMPLATES, "--model", base, *QUICK)

    result = run(*arguments, "--student-steps", 2, "--test", test, "--json")

    assert result.exit_code == 0, result.output
    assert [row["name"] for row in json.loads(result.stdout)["scores"]][-2:] == ["ensemble", "student"]
    assert "no accuracy is shown" in run(*arguments, "--student-steps", 2).stderr
    wrong = run(*arguments, "--test", train)
    assert wrong.exit_code == 1 and "no row has a label" in wrong.stderr


@pytest.mark.parametrize("command", ["ensemble", "distill"])
def test_work_that_is_finished_before_a_crash_is_kept_beside_the_output_until_all_is_done(
    run, base, train, unlabeled, tmp_path, monkeypatch, command
):
    texts = (unlabeled,) if command == "distill" else ()
    arguments = (command, train, *texts, "-o", tmp_path / "out", *TEMPLATES, "--model", base, *QUICK)
    place, kept = tmp_path / "out.unfinished", []
    real = PromptClassifier.fit_labeled

    def learn(self, *given, **settings):
        if self.template.source == TEMPLATES[3]:
            raise KeyboardInterrupt
        kept.append(self.template.source)
        return real(self, *given, **settings)

    def started(learn):
        monkeypatch.setattr(PromptClassifier, "fit_labeled", learn)
        return run(*arguments, "--weighting", "uniform")

    assert started(learn).exit_code != 0
    assert len(list(place.glob("jobs/*/model"))) == 1

    finished = started(lambda self, *given, **more: kept.append(self.template.source) or real(self, *given, **more))
    assert finished.exit_code == 0, finished.output
    assert kept == [TEMPLATES[1], TEMPLATES[3]]
    assert not place.exists()


@pytest.mark.parametrize("device", ["cpu", "gpu"])
def test_a_folder_beside_the_output_that_holds_something_else_is_left_alone(run, base, train, tmp_path, device):
    place = tmp_path / "out.unfinished"
    place.mkdir()
    (place / "notes.txt").write_text("mine")

    result = run("ensemble", train, "-o", tmp_path / "out", *TEMPLATES, "--model", base, *QUICK, "--device", device)

    assert result.exit_code == 1 and "out.unfinished' holds other files" in result.stderr
    assert (place / "notes.txt").read_text() == "mine"


def test_finished_work_stays_where_a_later_command_fails_at_once(run, base, train, tmp_path):
    place = tmp_path / "out.unfinished"
    place.mkdir()
    (place / "unfinished.txt").write_text("")

    result = run("ensemble", train, "-o", tmp_path / "out", *TEMPLATES, "--model", base, *QUICK, "--device", "gpu")

    assert result.exit_code == 1
    assert place.exists()


def test_a_cache_inside_the_output_is_refused_at_once(run, base, train, tmp_path):
    places = ("-o", tmp_path / "out", "--resume-dir", tmp_path / "out" / "cache")

    result = run("ensemble", train, *places, *TEMPLATES, "--model", base, *QUICK)

    assert result.exit_code == 1
    assert "lies in the output" in result.stderr and not (tmp_path / "out").exists()


def test_a_full_disk_is_one_line_and_what_is_finished_is_kept(run, base, train, tmp_path, monkeypatch):
    put = saving.put

    def full(files, folder):
        if (folder / "member-0").exists():
            raise OSError(28, "No space left on device")
        put(files, folder)

    arguments = ("ensemble", train, "-o", tmp_path / "out", *TEMPLATES, "--model", base, *QUICK)
    with monkeypatch.context() as patched:
        patched.setattr("promptlab.estimators.saving.put", full)
        failed = run(*arguments)
    monkeypatch.setattr(PromptClassifier, "fit_labeled", lambda *_, **__: pytest.fail("trained"))

    assert failed.exit_code == 1 and failed.stderr.count("\n") == 1
    assert "no space is left; make room" in failed.stderr
    assert run(*arguments).exit_code == 0


def test_the_output_may_be_the_current_folder(run, base, train, tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")

    result = run("ensemble", train, "-o", ".", *TEMPLATES, "--model", base, *QUICK)

    assert result.exit_code == 0, result.output
    assert PVPEnsemble.from_pretrained(tmp_path / "here", device="cpu").members_
    assert not list(tmp_path.glob("*.unfinished"))


def test_pairs_come_from_a_file(run, base, train, tmp_path):
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
        (("ensemble", "{train}", "-o", "x", *TEMPLATES, "--weighting", "trained-accuracy"), 1, "pass --dev."),
        (("ensemble", "{train}", "-o", "x", *TEMPLATES, "--executor", "slurm"), 2, "slurm"),
        (("distill", "{train}", "{train}", "-o", "x", *TEMPLATES, "--generations", 2), 2, "go with --method ipet"),
        (("distill", "{train}", "nowhere.tsv", "-o", "x", *TEMPLATES), 1, "no file 'nowhere.tsv'"),
        (("distill", "{train}", "{train}", "-o", "x", *TEMPLATES, "--temperature", 0), 1, "--temperature 0"),
        (
            ("distill", "{train}", "{texts}", "-o", "x", *TEMPLATES),
            1,
            "needs field 'text_a', but the example has 'words'",
        ),
        (("distill", "{train}", "{train}", "-o", "{train}/x", *TEMPLATES), 1, "can't write to"),
        (("ensemble", "{train}", "-o", "{train}/x", *TEMPLATES), 1, "can't write to"),
        (("ensemble", "{train}", "-o", "x", *TEMPLATES, "--test", "{odd}"), 1, "unknown label 'neutral'"),
        (("distill", "{train}", "{train}", "-o", "x", *TEMPLATES, "--test", "{odd}"), 1, "unknown label 'neutral'"),
        (("distill", "{train}", "{train}", "-o", "x", *TEMPLATES, "--device", "gpu"), 1, "--device gpu can't be used"),
    ],
)
def test_bad_input_is_told_and_writes_nothing(run, table, base, train, tmp_path, monkeypatch, arguments, code, message):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(PromptClassifier, "fit_labeled", lambda *_, **__: pytest.fail("trained"))
    files = {
        "train": train,
        "texts": table("texts.tsv", [("a film",)], ("words",)),
        "odd": table("odd.tsv", [("a film", "neutral")]),
    }

    def filled(part):
        return reduce(lambda text, name: text.replace(f"{{{name}}}", str(files[name])), files, str(part))

    result = run(*map(filled, arguments), "--model", base)

    assert result.exit_code == code, result.output
    assert message in result.stderr
    assert "Traceback" not in result.stderr
    assert not list(tmp_path.glob("x*"))
