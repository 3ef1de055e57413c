from __future__ import annotations

import pandas as pd
import pytest

from promptlab import PromptClassifier
from promptlab.core.errors import TemplateError
from promptlab.core.types import Example
from promptlab.distillation import unlabeled
from promptlab.distillation.unlabeled import stream

TEXTS = ["the film was great", "a good story", "a dull mess", "the acting was bad"]
LABELS = ["positive", "positive", "negative", "negative"]
WORDS = {"positive": ["good", "great"], "negative": ["bad", "dull"]}
PAIRS = [("{{ text_a }} . it was {{ mask }}", WORDS), ("{{ mask }} : {{ text_a }}", WORDS)]
ADJECTIVES = ["great", "good", "bad", "dull", "terrible"]
UNLABELLED = [f"the {noun} was {word}" for noun in ("film", "story") for word in ADJECTIVES]


def test_unlabeled_texts_come_from_lists_files_and_iterators(tmp_path):
    (tmp_path / "rows.tsv").write_text("text_a\nin a file\n")

    sources = {
        "list": [Example({"text_a": "with a label"}, "a")],
        "nothing": None,
        "file": tmp_path / "rows.tsv",
        "iterator": iter(["from", "an iterator"]),
    }
    found = stream(sources, fields=["text_a"], check=lambda examples: None)

    assert [(example.fields["text_a"], example.label) for example in found] == [
        ("with a label", None), ("in a file", None), ("from", None), ("an iterator", None),
    ]  # fmt: skip


def test_columns_that_nobody_reads_may_be_empty(tmp_path):
    (tmp_path / "rows.jsonl").write_text('{"text_a": "x", "label": null}\n{"text_a": "y", "label": "a"}\n')
    frame = pd.DataFrame({"text_a": ["z"], "label": [None], "day": [pd.NaT]})

    found = list(
        stream({"file": tmp_path / "rows.jsonl", "frame": frame}, fields=["text_a"], check=lambda examples: None)
    )

    assert found == [Example({"text_a": text}) for text in "xyz"]


def test_an_unlabeled_row_that_cannot_be_shown_is_told_by_its_number_before_anything_is_trained(make_pet, monkeypatch):
    monkeypatch.setattr(PromptClassifier, "fit_labeled", lambda *_, **__: pytest.fail("trained"))
    rows = [{"text_a": "x", "title": "t"}, {"text_a": "y", "title": "t"}, {"text_a": "z"}]
    texts = [{"text_a": text, "title": "t"} for text in TEXTS]
    pairs = [*PAIRS, ("{{ title }}: {{ text_a }} {{ mask }}", WORDS)]

    with pytest.raises(TemplateError, match=r"unlabeled row 3 of unlabeled: member '3': .* needs field 'title'"):
        make_pet(pvps=pairs).fit(texts, LABELS, unlabeled=rows)
    with pytest.raises(TemplateError, match=r"unlabeled row 1 of X: member '3': .* needs field 'title'"):
        make_pet(pvps=pairs).fit([*texts, {"text_a": "z"}], [*LABELS, -1], unlabeled=rows[:2])
    with pytest.raises(TemplateError, match=r"member '3': .* needs field 'title'"):
        make_pet(pvps=pairs).fit(texts, LABELS, unlabeled=rows[:2], eval_set=([{"text_a": "z"}], ["positive"]))


def test_an_unlabeled_text_that_leaves_no_room_is_told_before_anything_is_trained(make_pet, monkeypatch):
    monkeypatch.setattr(PromptClassifier, "fit_labeled", lambda *_, **__: pytest.fail("trained"))
    pairs = [("{{ text_a | keep }} {{ mask }}", WORDS)]

    with pytest.raises(TemplateError, match=r"unlabeled row 2 of unlabeled: member '1': .* of \d+ that fit"):
        make_pet(pvps=pairs).fit(TEXTS, LABELS, unlabeled=["a film", "a b c d e f g h " * 20])


def test_a_data_set_on_disk_is_read_in_parts(monkeypatch):
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr("promptlab.distillation.unlabeled.PART", 3)
    rows = datasets.Dataset.from_dict({"text_a": [str(i) for i in range(8)]})
    sizes = []
    real = unlabeled.as_examples
    monkeypatch.setattr(unlabeled, "as_examples", lambda X, **o: sizes.append(len(X)) or real(X, **o))

    found = list(stream({"rows": rows}, fields=["text_a"], check=lambda examples: None))

    assert [example.fields["text_a"] for example in found] == [str(i) for i in range(8)]
    assert sizes == [3, 3, 2]


class Endless:
    """A data set that is streamed: it has no length, and isn't an iterator."""

    def __init__(self, read):
        self.read = read

    def __iter__(self):
        return ({"text_a": str(self.read.append(i) or i)} for i in range(100))


@pytest.mark.parametrize("kind", [iter, lambda stream: stream])
def test_a_stream_is_read_in_parts(monkeypatch, kind):
    monkeypatch.setattr("promptlab.distillation.unlabeled.PART", 3)
    read = []

    found = stream({"X": kind(Endless(read))}, fields=["text_a"], check=lambda examples: None)

    assert [next(found).fields["text_a"] for _ in range(4)] == ["0", "1", "2", "3"]
    assert len(read) == 6


def test_parts_of_the_unlabeled_set_make_no_difference(make_pet, tmp_path, monkeypatch):
    settings = {"mlm_weight": 0.1, "weighting": "uniform"}
    whole = make_pet(**settings).fit(TEXTS, LABELS, unlabeled=UNLABELLED)
    for place in ("distillation.unlabeled", "jobs.workspace"):
        monkeypatch.setattr(f"promptlab.{place}.PART", 4)

    parts = make_pet(resume_dir=tmp_path / "parts", **settings).fit(TEXTS, LABELS, unlabeled=iter(UNLABELLED))

    assert len(list((tmp_path / "parts" / "data").iterdir())) == 1 + 3
    assert parts.predict_proba(TEXTS) == pytest.approx(whole.predict_proba(TEXTS), abs=1e-6)


def test_unlabeled_texts_that_a_template_cannot_show_are_told_before_anything_is_trained(make_pet, monkeypatch):
    monkeypatch.setattr(PromptClassifier, "fit_labeled", lambda *_, **__: pytest.fail("trained"))
    pairs = [("{{ text_a }} {{ text_b }} {{ mask }}", WORDS)]

    with pytest.raises(TemplateError, match=r"unlabeled row 1 of unlabeled: member '1': .*text_b"):
        make_pet(pvps=pairs).fit([(text, "x") for text in TEXTS], LABELS, unlabeled=UNLABELLED)
