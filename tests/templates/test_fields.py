"""What a template says of a field that an example hasn't."""

from __future__ import annotations

import pandas as pd
import pytest

from promptlab import HeadClassifier, MultiLabelClassifier, PromptClassifier, PromptGenerator, read_examples
from promptlab.backbones import catalog
from promptlab.core.errors import TemplateError
from promptlab.data.readers import as_examples
from promptlab.templates.manual import ManualTemplate
from promptlab.templates.plain import InputTemplate

TEMPLATE = "{{ text_a }} {{ mask }}"
WORDS = {"positive": ["good"], "negative": ["bad"]}
TEXTS, LABELS = ["good film", "dull film"], ["positive", "negative"]


@pytest.mark.parametrize("template", [ManualTemplate(TEMPLATE), InputTemplate()], ids=["prompt", "head"])
def test_an_empty_cell_is_told_by_its_row_and_column(tmp_path, template):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"sentence": "x", "label": null}\n{"sentence": null}\n', encoding="utf-8")
    read, empty = read_examples(path, columns={"text_a": "sentence"}, label=None)

    template.render(read)
    with pytest.raises(TemplateError) as caught:
        template.render(empty)

    assert str(caught.value) == (
        f"row 2 of {str(path)!r} has no value in field 'text_a' (column 'sentence'), which the template reads; "
        "fill it in, or leave the row out."
    )


def test_a_column_that_is_not_there_is_told_with_those_that_are(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text("sentence,label\nx,a\n", encoding="utf-8")

    with pytest.raises(TemplateError, match=r"row 1 of .*rows.csv': .* needs field 'text_a', but the .* 'sen") as read:
        ManualTemplate(TEMPLATE).render(read_examples(path)[0])
    with pytest.raises(TemplateError, match="rename the column or change the template") as given:
        ManualTemplate(TEMPLATE).render(as_examples([{"sentence": "x"}])[0])

    assert "by columns={'text_a': …}" in str(read.value)
    assert "columns=" not in str(given.value)  # an estimator has no such argument


def test_a_branch_that_is_not_taken_needs_no_field():
    template = ManualTemplate("{{ text_a }} {% if text_b is defined %}{{ text_b }} {% endif %}{{ mask }}")

    template.render(as_examples([{"text_a": "x", "text_b": None}])[0])


def test_empty_cells_that_no_template_reads_disturb_neither_fit_nor_predict(tiny_backbone):
    frame = pd.DataFrame({"text_a": TEXTS, "agent": [None, "x"], "label": [float("nan")] * 2, "day": [pd.NaT] * 2})

    for classifier in (
        PromptClassifier(TEMPLATE, WORDS, tiny_backbone("bert"), max_steps=1),
        HeadClassifier(tiny_backbone("bert"), max_steps=1),
    ):
        classifier.fit(frame, LABELS, eval_set=(frame, LABELS))
        assert (classifier.predict(frame) == classifier.predict(TEXTS)).all()


ESTIMATORS = {
    "prompt": lambda: PromptClassifier(TEMPLATE, WORDS, "nosuch/model"),
    "head": lambda: HeadClassifier("nosuch/model"),
    "several labels": lambda: MultiLabelClassifier(TEMPLATE, WORDS, "nosuch/model"),
    "generator": lambda: PromptGenerator(TEMPLATE, "nosuch/model", "prefix"),
}


@pytest.mark.parametrize("name", ESTIMATORS)
@pytest.mark.parametrize("where", ["X", "eval_set"])
def test_a_row_that_cannot_be_read_is_told_before_the_model_is_loaded(monkeypatch, name, where):
    monkeypatch.setattr(catalog, "load_backbone", lambda *_, **__: pytest.fail("loaded"))
    labels = [["positive"], ["negative"]] if name == "several labels" else LABELS
    good, bad = [{"text_a": text} for text in TEXTS], [{"text_a": "x"}, {"text_a": None, "text_b": "y"}]

    with pytest.raises(TemplateError, match="row 2 has no value in field 'text_a', which the template reads; fill it"):
        ESTIMATORS[name]().fit(bad if where == "X" else good, labels, eval_set=(bad, labels))
