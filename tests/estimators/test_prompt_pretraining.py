from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from promptlab import PromptClassifier, PromptTuning, pretrain_prompt, read_documents
from promptlab.core.errors import DataError, TemplateError, TuningError, UnknownNameError
from promptlab.data.corpus import choice_examples, pair_examples, sentence_examples, split_sentences
from promptlab.templates.manual import ManualTemplate

DOCUMENTS = [[f"document {doc} sentence {place} ." for place in range(5 + doc % 4)] for doc in range(12)]
WORDS = {"positive": ["good", "great"], "negative": ["awful", "dull"]}
SOURCE = "{{ text_a }} it was {{ mask }}"


def place(sentence):
    _, doc, _, number, _ = sentence.split()
    return int(doc), int(number)


def test_a_third_of_the_pairs_each_is_next_elsewhere_and_foreign():
    examples = pair_examples(DOCUMENTS, 90, seed=0)

    assert Counter(example.label for example in examples) == {"next": 30, "same document": 30, "other": 30}
    for example in examples:
        (doc, first), (other, second) = place(example.fields["text_a"]), place(example.fields["text_b"])
        if example.label == "next":
            assert other == doc and abs(second - first) == 1
        elif example.label == "same document":
            assert other == doc and abs(second - first) > 1
        else:
            assert other != doc


@pytest.mark.parametrize("make", [pair_examples, choice_examples])
def test_the_sentence_before_is_as_good_as_the_one_after_and_ends_have_one_of_them(make):
    """Of 300 drawn places in documents of 5, a fifth each is the first and the last."""
    documents = [[f"document {doc} sentence {place} ." for place in range(5)] for doc in range(12)]
    pairs = []
    for example in make(documents, 300 if make is choice_examples else 900, seed=0):
        if make is choice_examples:
            pairs.append((example.fields["text_a"], example.fields[example.label.lower()]))
        elif example.label == "next":
            pairs.append((example.fields["text_a"], example.fields["text_b"]))

    steps = Counter(place(second)[1] - place(first)[1] for first, second in pairs)

    assert set(steps) == {-1, 1} and sum(steps.values()) == 300
    assert 110 < steps[1] < 190
    assert {place(first)[1] for first, _ in pairs} == {0, 1, 2, 3, 4}


def test_a_sentence_is_no_pair_with_one_that_is_a_hundred_times_as_long():
    documents = [["short."[:n] for n in (1, 2, 3, 4, 5)], ["long " * 40 + str(i) for i in range(5)]]

    examples = pair_examples(documents, 60, seed=0)

    lengths = [(len(example.fields["text_a"]), len(example.fields["text_b"])) for example in examples]
    assert all(1 / 100 < first / second < 100 for first, second in lengths)
    assert any(first > 50 * second for first, second in lengths)


def test_one_of_six_options_follows_one_stands_elsewhere_and_four_are_foreign():
    examples = choice_examples(DOCUMENTS, 60, seed=0)

    assert Counter(example.label for example in examples) == dict.fromkeys("ABCDEF", 10)
    for example in examples:
        doc, first = place(example.fields["text_a"])
        options = {letter: place(example.fields[letter.lower()]) for letter in "ABCDEF"}
        right = options.pop(example.label)
        assert right[0] == doc and abs(right[1] - first) == 1
        assert sum(other == doc for other, _ in options.values()) == 1
        assert all(abs(number - first) > 1 for other, number in options.values() if other == doc)


def test_the_seed_alone_decides_what_is_drawn():
    assert pair_examples(DOCUMENTS, 30, seed=1) == pair_examples(DOCUMENTS, 30, seed=1)
    assert pair_examples(DOCUMENTS, 30, seed=1) != pair_examples(DOCUMENTS, 30, seed=2)


def test_only_sentences_that_the_labeller_is_sure_of_are_kept_as_many_of_each_class():
    class Labeller:
        class_names_ = ("negative", "positive")

        def iter_proba(self, examples):
            for example in examples:
                _, number = place(example.fields["text_a"])
                yield np.array([0.96, 0.04] if number == 0 else [0.02, 0.98] if number == 1 else [0.6, 0.4])

    examples = sentence_examples(DOCUMENTS, 10, labeller=Labeller(), seed=0)

    assert Counter(example.label for example in examples) == {"negative": 5, "positive": 5}
    assert all(place(e.fields["text_a"])[1] == (e.label == "positive") for e in examples)
    with pytest.raises(DataError, match=r"too few sentences: 0 of 'negative' \(above 0.99\), 0 of 'positive'"):
        sentence_examples(DOCUMENTS, 10, labeller=Labeller(), seed=0, confidence=0.99)


@pytest.mark.parametrize(
    ("n_classes", "least"), [(2, [0.95, 0.7]), (3, [0.95, 0.5, 0.7]), (5, [0.95, 0.5, 0.5, 0.5, 0.7])]
)
def test_a_label_counts_above_095_for_the_first_class_07_for_the_last_and_05_between(n_classes, least):
    """A sentence of each place in a document is said to be of its class, a hair above the limit or at it."""
    documents = [[f"document {doc} sentence {place} ." for place in range(2 * n_classes)] for doc in range(4)]

    class Labeller:
        class_names_ = classes_ = [str(i) for i in range(n_classes)]

        def iter_proba(self, examples):
            for example in examples:
                number, is_sure = divmod(place(example.fields["text_a"])[1], 2)
                row = np.zeros(n_classes)
                row[number] = least[number] + 1e-6 * is_sure
                row[number - 1] += 1e-9  # less than the limit in any case
                yield row

    examples = sentence_examples(documents, 4 * n_classes, labeller=Labeller(), seed=0)

    assert Counter(example.label for example in examples) == dict.fromkeys(Labeller.class_names_, 4)
    assert all(place(example.fields["text_a"])[1] % 2 == 1 for example in examples)


def test_documents_are_read_from_text_and_from_tables(tmp_path):
    text, table = tmp_path / "corpus.txt", tmp_path / "corpus.tsv"
    text.write_text('First one.\nSecond one.\n\nAll on 1 line. Split here! "Quoted?" Yes, e.g. this.\n')
    table.write_text("review\nGood film. I liked it.\nBad.\n")

    assert read_documents(text) == [
        ["First one.", "Second one."],
        ["All on 1 line.", "Split here!", '"Quoted?"', "Yes, e.g. this."],
    ]
    assert read_documents(table, column="review") == [["Good film.", "I liked it."], ["Bad."]]
    assert split_sentences("no end") == ["no end"]
    assert split_sentences("(At noon.) Then?") == ["(At noon.)", "Then?"]


def test_sentences_that_are_repeated_are_no_wrong_answers():
    with pytest.raises(DataError, match="too few different sentences"):
        choice_examples([["same 0"] * 6, ["same 0"] * 6], 6, seed=0)
    with pytest.raises(DataError, match="too few pairs"):
        pair_examples([["same 0"] * 6, ["same 0"] * 6], 6, seed=0)
    pair_examples([["a.", "", "b.", "c.", "d.", "e."]] * 2, 6, seed=0)  # an empty sentence is none


def test_a_tenth_of_the_examples_selects_the_prompt_and_is_not_learnt(monkeypatch):
    given = {}
    monkeypatch.setattr(PromptClassifier, "fit", lambda self, X, **more: given.update(X=X, **more))

    pretrain_prompt(DOCUMENTS, n_examples=60, model="none is loaded")

    dev, labels = given["eval_set"]
    assert (len(given["X"]), len(dev), labels) == (54, 6, None)
    assert sorted(map(repr, [*given["X"], *dev])) == sorted(map(repr, pair_examples(DOCUMENTS, 60, seed=0)))


def test_tuning_starts_with_the_pretrained_prompt_bit_by_bit(base, tmp_path):
    first = pretrain_prompt(
        DOCUMENTS, model=base, tuning=PromptTuning(length=3), n_examples=60, max_steps=3, device="cpu"
    )
    first.save_prompt(tmp_path / "prompt.safetensors")
    rows = load_file(tmp_path / "prompt.safetensors")["prompt"]
    assert torch.equal(rows, first.model_.soft.table)

    second = PromptClassifier(
        SOURCE, WORDS, base, PromptTuning(length=3, start=str(tmp_path / "prompt.safetensors")), max_steps=1,
        learning_rate=0.0, head_learning_rate=0.0, device="cpu",
    ).fit(["a film", "a mess"], ["positive", "negative"])  # fmt: skip

    assert torch.equal(second.model_.soft.table, rows)
    expected = second.predict_proba(["a film"])
    second.save_pretrained(tmp_path / "saved")
    (tmp_path / "prompt.safetensors").unlink()  # what was trained doesn't need where it started
    assert (PromptClassifier.from_pretrained(tmp_path / "saved").predict_proba(["a film"]) == expected).all()


def test_a_prompt_learns_what_the_labeller_says_with_the_template_and_words_of_its_task(monkeypatch):
    class Labeller:
        class_names_ = ("negative", "positive")

        def iter_proba(self, examples):
            return (np.eye(2)[place(example.fields["text_a"])[1] % 2] for example in examples)

    given = {}
    monkeypatch.setattr(PromptClassifier, "fit", lambda self, X, eval_set: given.update(self=self, X=X + eval_set[0]))

    pretrain_prompt(
        DOCUMENTS, format="sentence", labeller=Labeller(), template=SOURCE, verbalizer=WORDS, n_examples=30, seed=3
    )

    assert (given["self"].template, given["self"].verbalizer, given["self"].seed) == (SOURCE, WORDS, 3)
    assert len(given["X"]) == 30
    assert all(e.label == Labeller.class_names_[place(e.fields["text_a"])[1] % 2] for e in given["X"])


@pytest.mark.parametrize(("format", "make"), [("pair", pair_examples), ("choice", choice_examples)])
def test_what_is_drawn_for_a_prompt_goes_by_its_seed(monkeypatch, format, make):
    given = {}
    monkeypatch.setattr(PromptClassifier, "fit", lambda self, X, eval_set: given.update(self=self, X=eval_set[0] + X))

    pretrain_prompt(DOCUMENTS, format=format, n_examples=60, seed=5)

    assert given["X"] == make(DOCUMENTS, 60, seed=5) != make(DOCUMENTS, 60, seed=0)
    assert given["self"].seed == 5


def test_a_prompt_learns_sentences_of_the_confidence_and_seed_that_are_given(monkeypatch):
    class Labeller:
        class_names_ = classes_ = ("negative", "positive")

        def iter_proba(self, examples):
            for example in examples:
                doc, number = place(example.fields["text_a"])
                sure = 0.6 + 0.3 * (doc % 2)
                yield np.array([sure, 1 - sure] if number % 2 else [1 - sure, sure])

    given = {}
    monkeypatch.setattr(PromptClassifier, "fit", lambda self, X, eval_set: given.update(X=eval_set[0] + X))
    settings = {"labeller": Labeller(), "seed": 3, "confidence": 0.55}

    pretrain_prompt(DOCUMENTS, format="sentence", template=SOURCE, verbalizer=WORDS, n_examples=30, **settings)

    assert given["X"] == sentence_examples(DOCUMENTS, 30, **settings)
    for other in ({"seed": 0}, {"confidence": 0.7}):
        assert given["X"] != sentence_examples(DOCUMENTS, 30, **settings | other)


def test_bad_input_is_one_clear_line(base, tmp_path):
    for error, message, arguments in [
        (UnknownNameError, "format 'pairs'", {"format": "pairs"}),
        (DataError, "n_examples=2 is too few", {"n_examples": 2}),
        (TuningError, "seed=-1 must be a whole number", {"seed": -1}),
        (TuningError, "needs a labeller", {"format": "sentence"}),
        (DataError, "0 of 2 documents have 5 sentences", {"documents": [["a."], ["b."]]}),
    ]:
        with pytest.raises(error, match=message):
            pretrain_prompt(**{"documents": DOCUMENTS, "model": base, **arguments})
    (tmp_path / "empty.txt").write_text("\n\n")
    with pytest.raises(DataError, match="holds no document"):
        read_documents(tmp_path / "empty.txt")
    with pytest.raises(TemplateError, match="no soft tokens to save"):
        PromptClassifier(SOURCE, WORDS, base).save_prompt(tmp_path / "x.safetensors")


def test_a_prompt_of_another_model_or_length_is_refused(base, tmp_path):
    path = tmp_path / "prompt.safetensors"

    def fit(length=2):
        tuning = PromptTuning(length=length, start=str(path))
        PromptClassifier(SOURCE, WORDS, base, tuning, max_steps=1).fit(["a", "b"], ["positive", "negative"])

    save_file({"prompt": torch.zeros(2, 32)}, path, metadata={"model": "another", "revision": "abc"})
    with pytest.raises(TemplateError, match="trained on another revision abc"):
        fit()
    save_file({"prompt": torch.zeros(2, 32)}, path)
    fit()
    with pytest.raises(TemplateError, match="has 2 soft tokens, but 3 are asked for; give length=2, or leave"):
        fit(length=3)
    save_file({"prompt": torch.zeros(2, 30)}, path)
    with pytest.raises(TemplateError, match="vectors of 30 numbers, but this model's embeddings have 32"):
        fit()
    save_file({"one": torch.zeros(2, 32), "two": torch.zeros(2, 32)}, path)
    with pytest.raises(TemplateError, match="where a saved prompt has one table of vectors"):
        fit()


def test_a_prompt_is_as_long_as_the_one_it_starts_from(base, tmp_path):
    path = tmp_path / "prompt.safetensors"
    save_file({"prompt": torch.arange(5 * 32.0).view(5, 32)}, path)
    tuning = PromptTuning(start=str(path))

    classifier = PromptClassifier(SOURCE, WORDS, base, tuning, max_steps=1, learning_rate=0.0, head_learning_rate=0.0)
    classifier.fit(["a", "b"], ["positive", "negative"]).save_pretrained(tmp_path / "saved")
    path.unlink()  # what was trained from it doesn't need it any more

    back = PromptClassifier.from_pretrained(tmp_path / "saved")
    assert torch.equal(back.model_.soft.table, torch.arange(5 * 32.0).view(5, 32))
    assert len(PromptTuning().edit(ManualTemplate(SOURCE)).soft_slots) == 1
    assert PromptTuning().edit(ManualTemplate(SOURCE)).soft_slots[0].n == 20
    assert PromptTuning(length=3).edit(ManualTemplate(SOURCE)).soft_slots[0].n == 3


def test_a_prompt_is_refused_once_the_tokenizer_of_its_model_has_changed(base, tmp_path):
    path = tmp_path / "prompt.safetensors"
    texts, labels = ["a", "b"], ["positive", "negative"]
    PromptClassifier(SOURCE, WORDS, base, PromptTuning(length=2), max_steps=1).fit(texts, labels).save_prompt(path)
    again = PromptClassifier(SOURCE, WORDS, base, PromptTuning(length=2, start=str(path)), max_steps=1)
    again.fit(texts, labels)
    rules = json.loads((Path(base) / "tokenizer.json").read_text())
    rules["normalizer"]["lowercase"] = False
    (Path(base) / "tokenizer.json").write_text(json.dumps(rules))

    with pytest.raises(TemplateError, match=r"with another tokenizer than .* has; take that model, or a prompt"):
        again.fit(texts, labels)


def test_a_classifier_that_was_never_fitted_may_label_sentences(tiny_backbone):
    words = {"negative": ["terrible"], "positive": ["great"]}
    labeller = PromptClassifier("{{ text_a }} It was {{ mask }}.", words, tiny_backbone("bert"), "none")

    with pytest.raises(DataError, match=r"0 of 'negative' \(above 1.0\), 0 of 'positive'"):
        sentence_examples(DOCUMENTS, 2, labeller=labeller, seed=0, confidence=1.0)
