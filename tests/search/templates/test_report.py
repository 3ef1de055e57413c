from __future__ import annotations

import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest

import promptlab.search.templates.report
from promptlab import Example, PromptClassifier, explain
from promptlab.evaluation.cross_validation import Estimate
from promptlab.evaluation.inspection import class_words
from promptlab.search.templates.ranking import RankedTemplate, Result
from promptlab.search.templates.report import HEIGHT, MARGIN, WIDTH, render_report, write_report
from promptlab.search.templates.search import Leaderboard
from promptlab.search.templates.task import FoundTemplate, SearchTask

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome-headless-shell", "microsoft-edge")
FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking")
NASTY = "<script>document.title = 'x'</script> & \"quoted\" <b>bold"
WORDS = {"n": ("bad",), "p": ("good", "great")}
DEV = [Example({"text_a": text}, label) for text, label in [(NASTY, "p"), ("a good film", "p"), ("a dull mess", "n")]]
ESTIMATES = (Estimate(0.75, 3), Estimate(0.5, 3))


def result(accuracy, loss):
    """Of twenty rows; of the first three the predictions are told."""
    return Result([row < round(20 * accuracy) for row in range(20)], [loss] * 20, "pnn")


def board(backbone, *, rounds=True, estimates=ESTIMATES):
    """Three templates, the best two of them trained."""
    ranked = []
    rows = {
        "{{ text_a }} was {{ mask }}": (0.5, 0.6, 0.9),
        "{{ text_a }} <so> {{ mask }}": (0.7, 0.4),  # which training made worse
        "{{ text_a }}: {{ mask }}": (0.25,),
    }
    for number, (template, accuracies) in enumerate(rows.items()):
        results = [result(accuracy, 0.1 + number) for accuracy in accuracies]
        found = FoundTemplate(template, "by-hand", 1 - 1.5 * number, WORDS)
        trained = dict(zip((10, 40), results[1:])) if rounds else {}
        ranked.append(RankedTemplate(found, results[0], trained, ("first", "accuracy", "loss")[number]))
    about = {
        "engine": "ByHand", "settings": {"beam": 3}, "ranking": {"rounds": (10, 40)}, "budget": "small", "seed": 13,
        "model": "tiny & nasty", "revision": "", "train": 4, "dev": 3, "dev_from_train": True,
        "dev_left_out": 1, "dev_unused": 20, "train_unused": 0, "max_length": 64,
        "estimate": {"folds": 4, "repeats": 1} if estimates else None,
    }  # fmt: skip
    unusable = {"{{ text_b }} {{ mask }}": "needs field 'text_b'"}
    return Leaderboard(ranked[:2], ranked, unusable, SearchTask(DEV, DEV, WORDS, backbone), about, estimates)


@pytest.fixture
def page(tiny_backbone):
    return ElementTree.fromstring(render_report(board(tiny_backbone("bert"))))  # XML is stricter than HTML


def cells(page, table):
    rows = page.findall(f".//table[@id='{table}']/tbody/tr")
    return [["".join(cell.itertext()).strip() for cell in row] for row in rows]


def test_the_leaderboard_tells_template_words_scores_and_source(page):
    words = "n: bad; p: good, great"
    assert cells(page, "leaderboard") == [
        ["1", "by-hand-1", "{{ text_a }} was {{ mask }}", words, "0.900", "0.750", "0.100", "0.500", "40", "1.000",
         "first"],
        ["2", "by-hand-2", "{{ text_a }} <so> {{ mask }}", words, "0.700", "0.500", "1.100", "0.700",
         "0 (10: 0.400)", "-0.500", "accuracy"],
    ]  # fmt: skip
    said = "".join(page.itertext())
    assert "3 dev examples (dev: half of each class of the given rows, drawn by seed), 1 more have a training" in said
    assert "20 more were left out for the budget, in proportion to the classes; prompts of at most 64 tokens" in said
    assert "3 templates found, 1 more don’t fit all examples" in said


def test_it_is_said_that_dev_chose_and_what_to_expect_of_new_text(page, tiny_backbone):
    said = " ".join("".join(page.itertext()).split())
    unknown = ElementTree.fromstring(render_report(board(tiny_backbone("bert"), estimates=())))

    assert "dev accuracy (chose)" in said
    assert "on the 3 examples that chose it among 3: it is too high for new text" in said
    assert "What the first may be expected to do on new text: 0.750 ± 0.250 (one standard error)" in said
    assert "There is no estimate for new text" in "".join(unknown.itertext())
    assert [row[5] for row in cells(unknown, "leaderboard")] == ["–", "–"]


def test_plots_stand_where_the_numbers_say(page):
    def across(share):
        return MARGIN + share * (WIDTH - 2 * MARGIN)

    def up(share):
        return HEIGHT - MARGIN - share * (HEIGHT - 2 * MARGIN)

    bars = page.findall(".//svg[@id='bars']/rect")
    assert [float(bar.get("width")) for bar in bars] == pytest.approx(
        [across(0.9) - MARGIN, across(0.7) - MARGIN], abs=0.1
    )
    marks, numbers = page.findall(".//svg[@id='bars']/line"), page.findall(".//svg[@id='bars']/text")[1::2]
    assert [float(mark.get("x1")) for mark in marks] == pytest.approx([across(0.5), across(0.7)], abs=0.1)
    assert all(float(text.get("x")) > float(mark.get("x1")) + 2 for text, mark in zip(numbers, marks, strict=False))
    lines = [line.get("points").split() for line in page.findall(".//svg[@id='halving']/polyline")]
    expected = [[(0, 0.5), (0.25, 0.6), (1, 0.9)], [(0, 0.7), (0.25, 0.4)]]
    for line, points in zip(lines, expected, strict=True):
        for point, (x, y) in zip(line, points, strict=True):
            assert [float(v) for v in point.split(",")] == pytest.approx([across(x), up(y)], abs=0.1)
    ranks = page.findall(".//svg[@id='halving']/text[@class='rank']")
    assert [text.text for text in ranks] == ["1", "2"]
    assert [(float(text.get("x")), float(text.get("y"))) for text in ranks] == [
        pytest.approx((across(1) + 6, up(0.9) + 4), abs=0.1), pytest.approx((across(0.25) + 6, up(0.4) + 4), abs=0.1)
    ]  # fmt: skip
    dots = page.findall(".//svg[@id='scatter']/circle")
    assert [(float(d.get("cx")), float(d.get("cy"))) for d in dots] == [
        pytest.approx((across(0.5), up(0.6)), abs=0.1), pytest.approx((across(0.7), up(0.4)), abs=0.1)
    ]  # fmt: skip
    assert [dot.findtext("title") for dot in dots] == ["{{ text_a }} was {{ mask }}", "{{ text_a }} <so> {{ mask }}"]


def test_words_and_decisions_are_those_of_inspection(tiny_backbone, page):
    classifier = PromptClassifier("{{ text_a }} was {{ mask }}", WORDS, tiny_backbone("bert"), "none", device="cpu")

    table = cells(page, "words")
    examples = cells(page, "examples")

    assert table == [
        [row["class"], row["word"], f"{row['weight']:.3f}", f"{row['mean_log_prob']:.2f}",
         *(f"{row['by_class'][name]:.2f}" for name in "np")]
        for row in class_words(classifier, DEV)
    ]  # fmt: skip
    assert [row[1] for row in examples] == ["n", "p", "p"]  # of all classes in turn
    for row, report in zip(examples, explain(classifier, [DEV[2], DEV[0], DEV[1]]), strict=True):
        assert row[2].startswith(
            f"{report[0]['class']} {report[0]['probability']:.3f}: {report[0]['words'][0]['word']}"
        )


def test_what_comes_from_data_is_text_and_never_markup(tiny_backbone, page):
    source = render_report(board(tiny_backbone("bert")))

    assert page.findall(".//script") == []
    assert NASTY in "".join(page.itertext())
    assert "&lt;script&gt;" in source and "tiny &amp; nasty" in source


def test_the_page_needs_nothing_from_outside(tiny_backbone, page):
    assert [element.tag for element in page.iter() if set(element.attrib) & {"src", "href", "srcset", "data"}] == []
    assert not re.search(r"url\(|@import|https?:", render_report(board(tiny_backbone("bert"))))
    assert "default-src 'none'" in page.find(".//meta[@http-equiv]").get("content")


def test_every_tag_is_closed_in_order_as_a_browser_reads_it(tiny_backbone):
    class Reader(HTMLParser):
        void = {"meta", "br", "link", "img", "hr", "input"}

        def __init__(self):
            super().__init__()
            self.open, self.seen = [], []

        def handle_starttag(self, tag, attributes):
            self.seen.append(tag)
            if tag not in self.void:
                self.open.append(tag)

        def handle_startendtag(self, tag, attributes):
            self.seen.append(tag)

        def handle_endtag(self, tag):
            assert self.open.pop() == tag

    reader = Reader()
    reader.feed(render_report(board(tiny_backbone("bert"))))
    reader.close()

    assert reader.open == []
    assert (reader.seen.count("svg"), reader.seen.count("table")) == (3, 3)


def test_without_training_there_are_no_plots_of_it(tiny_backbone):
    page = ElementTree.fromstring(render_report(board(tiny_backbone("bert"), rounds=False)))

    assert [svg.get("id") for svg in page.iter("svg")] == ["bars"]
    assert [row[8] for row in cells(page, "leaderboard")] == ["0", "0"]


def test_nothing_makes_the_page_wider_than_a_phone(page):
    """Tables scroll within the page, plots shrink, and long words are broken."""
    tables, plots = page.findall(".//table"), page.findall(".//svg")
    style = page.find(".//style").text

    assert tables and len(page.findall(".//div[@class='wide']/table")) == len(tables)
    assert ".wide { overflow-x: auto; }" in style
    assert plots and "svg { max-width: 100%; height: auto; }" in style
    assert all(plot.get("viewBox") for plot in plots)
    assert "p { overflow-wrap: anywhere; }" in style


def test_the_page_is_written_whole(tiny_backbone, tmp_path):
    write_report(tmp_path / "new" / "report.html", board(tiny_backbone("bert")), examples=1)

    page = ElementTree.parse(tmp_path / "new" / "report.html").getroot()
    assert len(cells(page, "examples")) == 1


def test_its_template_lies_in_the_package():
    assert (Path(promptlab.search.templates.report.__file__).parent / "report.html.j2").is_file()


@pytest.mark.skipif(not any(map(shutil.which, BROWSERS)), reason="no headless browser is installed")
def test_a_real_browser_shows_it(tiny_backbone, tmp_path):
    write_report(tmp_path / "report.html", board(tiny_backbone("bert")))
    browser = next(path for path in map(shutil.which, BROWSERS) if path)

    shown = subprocess.run(
        [browser, *FLAGS, f"--user-data-dir={tmp_path}/profile", "--dump-dom", (tmp_path / "report.html").as_uri()],
        capture_output=True, text=True, timeout=120, check=True,
    ).stdout  # fmt: skip

    assert "<title>Template search: ByHand on tiny &amp; nasty</title>" in shown
    assert shown.count("<tr>") == 3 + 2 + 3 + 3  # heads, templates, words, examples
    assert shown.count("<svg") == 3
