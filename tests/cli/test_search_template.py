from __future__ import annotations

import json
from xml.etree import ElementTree

import pytest

from promptlab import PromptClassifier, load_sample, read_pvps

TEXTS = {
    "p": ["the film was great", "a good story", "great acting", "good news", "a great opera"],
    "n": ["a dull mess", "awful", "a terrible story", "lifeless acting", "a dull film"],
}
WORDS = '{"p": ["good"], "n": ["bad"]}'


@pytest.fixture
def train_file(table):
    return table("train.tsv", [(text, label) for label, row in TEXTS.items() for text in row])


@pytest.fixture
def search(run):
    """Options that are given twice have the later value."""
    return lambda train, base, *more: run(
        "search-template", train, "--verbalizer", WORDS, "--model", base, "--top", 2, *more
    )


QUICK = ("--engine-arg", "candidates=4", "--engine-arg", "keep=3")


def test_what_is_found_is_printed_written_and_taken_by_fit(search, run, base, train_file, tmp_path):
    files = {name: tmp_path / name for name in ("best.yaml", "report.html", "state")}

    result = search(
        train_file, base, *QUICK, "--json",
        "--output", files["best.yaml"], "--report", files["report.html"], "--resume-dir", files["state"],
    )  # fmt: skip

    assert result.exit_code == 0, result.output
    rows, pvps = json.loads(result.stdout), read_pvps(files["best.yaml"])
    told = [(row["name"], row["template"], row["label_words"]) for row in rows]
    assert told == [(p.name, p.template, p.verbalizer) for p in pvps]
    assert (
        rows[0]["engine"] == "heuristic"
        and rows[0]["seed"] == 0
        and set(rows[0]["accuracy_by_updates"]) == {"0", "10", "20"}
    )
    assert "half of each class of" in result.stderr
    assert ElementTree.parse(files["report.html"]).getroot().tag == "html"
    assert sorted(path.name for path in files["state"].iterdir()) == ["finished-work.json", "searches"]

    second = f"{files['best.yaml']}#heuristic-2"
    fitted = run("fit", train_file, "-o", tmp_path / "m", "--model", base, "--max-steps", 1, "--pvp", second)
    assert fitted.exit_code == 0, fitted.output
    saved = json.loads((tmp_path / "m" / "promptlab.json").read_text())
    assert saved["template"]["source"] == pvps[1].template
    assert saved["verbalizer"]["label_words"] == {"p": ["good"], "n": ["bad"]}
    assert PromptClassifier.from_pretrained(tmp_path / "m", device="cpu").origin == pvps[1].origin


def test_the_table_shows_templates_as_they_are(search, base, train_file, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    rules = {"r": "[topic] {{ text_a }} :smile: \\\\ {{ mask }}<end>"}
    grammar = json.dumps({"rules": rules, "parts": {"end": ["", "!"]}})

    result = search(train_file, base, *QUICK, "--zero-shot", "--engine-arg", f"grammar={grammar}")

    assert result.exit_code == 0, result.output
    assert result.stdout.count("[topic] {{ text_a }} :smile: \\\\ {{ mask }}") == 2
    assert "zero-shot" in result.stdout and "heuristic" in result.stdout


def test_the_accuracy_that_chose_is_called_so_and_an_estimate_stands_beside_it(search, base, train_file, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    options = (*QUICK, "--zero-shot")

    printed = search(train_file, base, *options)
    rows = json.loads(search(train_file, base, *options, "--json").stdout)

    assert "by accuracy on the 4 dev rows that chose them" in printed.stdout
    assert "dev (chose)" in printed.stdout and "estimate" in printed.stdout
    assert "which one is worth 25.0 points: too high for new text. Expect 0." in printed.stderr
    assert [row["rank"] for row in rows] == [1, 2]
    for row in rows:
        assert row["dev_accuracy_is_of"] == "the rows that chose it, too high for new text" and row["dev_rows"] == 4
        assert 0 <= row["estimated_accuracy"] <= 1 and row["estimated_standard_error"] >= 0
        assert f"{row['estimated_accuracy']:.3f}" in printed.stdout


def test_too_few_dev_rows_for_an_estimate_are_told(search, table, base, train_file):
    result = search(
        train_file, base, *QUICK, "--zero-shot", "--dev", table("dev.tsv", [("good acting", "p"), ("bad", "n")])
    )

    assert result.exit_code == 0, result.output
    assert "There are too few dev rows for an estimate; give at least 4." in result.stderr


def test_long_templates_are_shortened_in_the_table_only(search, base, train_file, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    long = "{{ text_a }} " + "so good a story " * 6 + "{{ mask }}"
    options = (*QUICK, "--zero-shot", "--engine-arg", f"grammar={json.dumps({'rules': {'r': long}, 'parts': {}})}")

    rows = json.loads(search(train_file, base, *options, "--json").stdout)
    printed = search(train_file, base, *options).stdout

    assert rows[0]["template"] == long
    assert long not in printed and "…" in printed and "{{ text_a }} so good" in printed and "{{ mask }}" in printed


def test_searched_label_words_are_told_apart_in_json_and_in_the_table(search, base, train_file, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    options = (*QUICK, "--zero-shot", "--label-words", 2, "--top", 3)

    rows = json.loads(search(train_file, base, *options, "--json").stdout)
    printed = search(train_file, base, *options).stdout

    searched = [row for row in rows if "words_engine" in row]
    assert searched and all(set(row["label_words"]) == {"p", "n"} for row in rows)
    assert all(row["label_words"] != {"p": ["good"], "n": ["bad"]} for row in searched)
    assert "label words" in printed and "label words" not in search(train_file, base, *QUICK, "--zero-shot").stdout
    for row in rows:
        listed = [f"{name}: {words[0]}" for name, words in row["label_words"].items()]
        assert "; ".join(listed) in printed


def test_more_iterations_go_on_in_the_folder_of_fewer(search, base, train_file, tmp_path):
    kept = ("--resume-dir", tmp_path / "s")
    few = ("--engine", "autoprompt", "--engine-arg", "candidates=2", "--zero-shot", "--json", *kept)

    results = [search(train_file, base, *few, "--engine-arg", f"iterations={n}") for n in (3, 4)]

    assert [result.exit_code for result in results] == [0, 0], results[1].stderr
    assert json.loads(results[1].stdout)[0]["settings"]["iterations"] == 4


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--engine", "heuristics"), "unknown template search 'heuristics'; did you mean 'heuristic'"),
        (("--generator", "t5-small"), "HeuristicSearch has no setting 'generator'"),
        (("--engine-arg", "top=3"), "HeuristicSearch has no setting 'top'"),
        (("--engine-arg", "candidates=0"), "candidates=0 must be at least 1"),
        (("--budget", "huge"), "unknown budget 'huge'. Known: large, medium, small"),
        (("--engine", "t5"), "not T5 with its sentinels; pass --generator"),
        (("--verbalizer", '{"p": "good"}'), "label words are given for 1 class"),
    ],
)
def test_what_cannot_be_searched_is_told_in_one_line(search, base, train_file, more, message):
    result = search(train_file, base, *more)

    assert result.exit_code == 1
    assert message in result.stderr.splitlines()[-1]
    assert "Traceback" not in result.stderr


def test_what_was_left_out_is_told_after_the_search(search, table, base, train_file):
    rows = [*(("great acting, again", "p") for _ in range(70)), ("awful", "n"), ("a most lifeless film", "n")]
    grammar = {"rules": {"r": "<w> {{ text_a }}<end> {{ mask }}"}, "parts": {"w": ["So", "Well"], "end": ["", ODD]}}

    result = search(
        train_file, base, *QUICK, "--zero-shot", "--dev", table("dev.tsv", rows), "--seed", 13,
        "--engine-arg", f"grammar={json.dumps(grammar)}",
    )  # fmt: skip

    assert result.exit_code == 0, result.output
    assert "dev rows left out since their texts are training rows', too: 1\n" in result.stderr
    assert "takes 64, in proportion to the classes: 7\n" in result.stderr and "train rows" not in result.stderr
    assert "templates left out since they don't fit all rows: 1, such as" in result.stderr
    assert "half of each class" not in result.stderr


ODD = "{% if text_a | length > 19 %}{{ nothing }}{% endif %}"  # breaks on one dev row


@pytest.mark.parametrize("option", ["--output", "--report"])
def test_a_place_that_cannot_be_written_is_told_before_the_search(search, base, train_file, tmp_path, option):
    state = tmp_path / "state"

    result = search(train_file, base, *QUICK, "--resume-dir", state, option, train_file / "best")

    assert result.exit_code == 1
    assert "can't write to" in result.stderr.splitlines()[-1]
    assert not state.exists()


@pytest.mark.parametrize("other", ["train", "out"])
def test_results_are_never_written_over_one_another_or_the_data(search, base, train_file, tmp_path, other):
    before = train_file.read_text()
    out = {"train": train_file, "out": tmp_path / "best"}[other]

    result = search(train_file, base, *QUICK, "--output", out, "--report", out)

    assert result.exit_code == 2
    assert "is named twice" in result.stderr
    assert train_file.read_text() == before
    assert not (tmp_path / "best").exists()


def test_one_row_of_a_class_makes_no_dev_set(search, table, base):
    few = table("few.tsv", [("good", "p"), ("great", "p"), ("bad", "n")])

    result = search(few, base)

    assert result.exit_code == 1
    assert "no dev set was given, and none can be made: class 'n' has 1 row" in result.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--pvp", "x.yaml", "--template", "t"), "leave --template and --verbalizer out"),
        (("--pvp", "x.yaml", "--head"), "--head takes no --template, --verbalizer, --pvp"),
        (("--pvp", "none.yaml"), "no file 'none.yaml'"),
        ((), "give --template and --verbalizer, or --head, or --pvp"),
    ],
)
def test_fit_says_what_pairs_it_takes(run, base, train_file, tmp_path, options, message):
    result = run("fit", train_file, "-o", tmp_path / "m", "--model", base, *options)

    assert result.exit_code != 0
    assert message in result.stderr


@pytest.mark.minilm
def test_found_templates_classify_real_reviews_as_well_as_is_said(run, tmp_path):
    train, dev = load_sample("sst2").few_shot(13)
    files = [tmp_path / "train.jsonl", tmp_path / "dev.jsonl"]
    for path, rows in zip(files, (train, dev), strict=True):
        path.write_text("".join(json.dumps({**e.fields, "label": e.label}) + "\n" for e in rows))

    result = run(
        "search-template", files[0], "--dev", files[1], "--verbalizer", "sst2/ten-words", "--model", "minilm",
        "--zero-shot", "--engine-arg", "candidates=12", "--engine-arg", "keep=5", "--json", "--device", "cpu",
        "--output", tmp_path / "best.yaml",
    )  # fmt: skip

    assert result.exit_code == 0, result.output
    rows = json.loads(result.stdout)
    best = rows[0]
    classifier = PromptClassifier(best["template"], best["label_words"], "minilm", "none", device="cpu")
    assert best["dev_accuracy"] == best["zero_shot_accuracy"] == classifier.score(dev) > 0.6
    assert best["dev_accuracy"] == max(row["dev_accuracy"] for row in rows)
    assert best["revision"] and best["model"] == "minilm"
    assert read_pvps(tmp_path / "best.yaml")[0].template == best["template"]
