from __future__ import annotations

import copy
import json
import warnings

import pytest
from click.testing import CliRunner
from tokenizers import processors

from promptlab import HeadClassifier, JointClassifier, PromptClassifier, PromptGenerator, TokenClassifier
from promptlab.cli.main import main
from promptlab.core.errors import PromptlabWarning

TEMPLATE = "{{ text_a }} it was {{ mask }}"
WORDS = {"n": ["a"], "p": ["b"]}
ENGLISH = ["the film was great", "a dull mess", "good", "bad"]
RUSSIAN = ["фильм хорош", "скучно", "хорошо", "плохо"]
LABELS = ["p", "n", "p", "n"]


def said(recorded):
    return [str(one.message) for one in recorded if issubclass(one.category, PromptlabWarning)]


def zero_shot(backbone, **settings):
    return PromptClassifier(TEMPLATE, WORDS, backbone, tuning="none", device="cpu", **settings)


def head(backbone, **settings):
    return HeadClassifier(backbone, max_steps=1, device="cpu", **settings)


@pytest.mark.parametrize("family", ["bert", "xlm-roberta", "t5"])
def test_texts_that_the_model_does_not_know_are_told_with_share_model_and_remedy(tiny_backbone, family):
    backbone = tiny_backbone(family)
    tokens = [backbone.tokenizer(text, add_special_tokens=False).input_ids for text in RUSSIAN]
    share = sum(row.count(backbone.tokenizer.unk_token_id) for row in tokens) / sum(map(len, tokens))
    assert share > 0.2

    with pytest.warns(PromptlabWarning) as recorded:
        zero_shot(backbone).predict(RUSSIAN)

    (message,) = said(recorded)
    assert message.startswith(
        f"{100 * share:.0f} % of the texts' tokens are unknown to tiny-{family}; choose a model of"
    )
    assert recorded[0].filename == __file__


def test_fit_tells_before_it_trains_for_nothing(bert):
    with pytest.warns(PromptlabWarning, match="100 % of the texts' tokens are unknown to tiny-bert"):
        head(bert).fit(RUSSIAN, LABELS)


def test_text_that_the_model_knows_is_not_talked_about(any_backbone):
    with warnings.catch_warnings():
        warnings.simplefilter("error", PromptlabWarning)
        zero_shot(any_backbone).predict(ENGLISH)


def test_a_few_unknown_signs_among_many_words_are_nothing_odd(bert):
    with warnings.catch_warnings():
        warnings.simplefilter("error", PromptlabWarning)
        zero_shot(bert).predict([f"the film was great and the acting good {sign}" for sign in "🙂😀"])


def test_a_template_of_known_words_does_not_hide_unknown_texts(bert):
    classifier = PromptClassifier(
        "the film was great and the story good: {{ text_a }} it was a film {{ mask }}.", WORDS, bert, tuning="none"
    )

    with pytest.warns(PromptlabWarning, match="100 % of the texts' tokens"):
        classifier.predict(RUSSIAN)


@pytest.mark.parametrize("family", ["bert", "xlm-roberta", "t5"])
def test_unknown_signs_of_the_template_are_not_the_texts(tiny_backbone, family):
    classifier = PromptClassifier("{{ text_a }} \u2603 {{ mask }}", WORDS, tiny_backbone(family), tuning="none")

    with warnings.catch_warnings():
        warnings.simplefilter("error", PromptlabWarning)
        classifier.predict(["good", "bad"])


def test_the_end_of_a_sentence_that_is_also_the_unknown_token_is_no_unknown_word(tiny_backbone):
    backbone = tiny_backbone("gpt2")  # one token for both, as GPT-2 has it
    tokenizer = copy.deepcopy(backbone.tokenizer)  # the other one is all tests'
    end = tokenizer.eos_token
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single=f"$A {end}", pair=f"$A {end} $B {end}", special_tokens=[(end, tokenizer.eos_token_id)]
    )
    appending = type(backbone)(backbone.model, tokenizer, name="tiny")
    assert appending.encoder.frame.after == (backbone.encoder.unknown_id,)

    with warnings.catch_warnings():
        warnings.simplefilter("error", PromptlabWarning)
        TokenClassifier(appending, "frozen", max_steps=1).fit([["a"], ["b"]] * 2, [["O"], ["B-x"]] * 2)


def test_texts_that_are_cut_are_told_once_with_the_limit_and_the_most_that_was_lost(bert):
    long = "film " * 100  # 100 tokens of it, [CLS], it, was, [MASK] and [SEP]

    with pytest.warns(PromptlabWarning) as recorded:
        zero_shot(bert).predict([long, *ENGLISH])
    with pytest.warns(PromptlabWarning) as shorter:
        zero_shot(bert, max_length=20).predict([long])

    assert said(recorded) == [
        f"1 of 5 prompts are longer than the 64 tokens that tiny-bert takes and were cut, by {105 - 64} at most; "
        "shorten the texts, or choose a model that takes more."
    ]
    assert said(shorter) == [
        f"1 of 1 prompts are longer than the 20 tokens that max_length allows and were cut, by {105 - 20} at most; "
        "shorten the texts, or raise max_length."
    ]


def test_one_long_text_among_many_is_nothing_odd(bert):
    with warnings.catch_warnings():
        warnings.simplefilter("error", PromptlabWarning)
        zero_shot(bert).predict(["film " * 100, *ENGLISH * 5])


@pytest.mark.parametrize("make", [zero_shot, lambda backbone: head(backbone).fit(ENGLISH, LABELS)])
def test_empty_texts_are_counted(bert, make):
    with pytest.warns(PromptlabWarning) as recorded:
        make(bert).predict(["", " \t", *ENGLISH])

    assert len(said(recorded)) == 1
    assert said(recorded)[0].startswith("2 of 6 texts are empty")


def test_two_fields_are_empty_only_together(bert):
    classifier = PromptClassifier("{{ text_a }} {{ text_b }} {{ mask }}", WORDS, bert, tuning="none")

    with pytest.warns(PromptlabWarning, match="1 of 2 texts are empty"):
        classifier.predict([{"text_a": "", "text_b": "good"}, {"text_a": "", "text_b": " "}])


def test_generators_taggers_and_joint_classifiers_tell_it_too(tiny_backbone):
    t5, bert = tiny_backbone("t5"), tiny_backbone("bert")
    with pytest.warns(PromptlabWarning, match="unknown to tiny-t5"):
        generator = PromptGenerator(TEMPLATE, t5, max_steps=1, max_new_tokens=4).fit(RUSSIAN, ENGLISH)
    with pytest.warns(PromptlabWarning, match="unknown to tiny-t5"):
        generator.predict(RUSSIAN)
    with pytest.warns(PromptlabWarning, match="unknown to tiny-bert"):
        TokenClassifier(bert, max_steps=1).fit([text.split() for text in RUSSIAN[:1]], [["A", "B"]])
    joint = JointClassifier({name: head(None, tuning="lora") for name in ("one", "two")}, bert)
    with pytest.warns(PromptlabWarning, match="unknown to tiny-bert"):
        joint.fit(dict.fromkeys(["one", "two"], RUSSIAN), dict.fromkeys(["one", "two"], LABELS))
    with pytest.warns(PromptlabWarning, match="unknown to tiny-bert"):
        joint.predict(RUSSIAN, ["one", "two"] * 2)


def test_the_command_line_says_it_in_one_line_on_standard_error(base, tmp_path):
    path = tmp_path / "train.jsonl"
    rows = [{"review": text, "label": label} for text, label in zip(RUSSIAN, LABELS)]
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    options = ("--column", "text_a=review")

    fitted = CliRunner().invoke(
        main, ["fit", str(path), "-o", str(tmp_path / "out"), "--head", "--model", base, "--max-steps", "1", *options]
    )
    predicted = CliRunner().invoke(main, ["predict", str(tmp_path / "out"), str(path), *options])

    for result in (fitted, predicted):
        assert result.exit_code == 0, result.output
        assert result.stderr.count("note: ") == 1
        assert f"note: 100 % of the texts' tokens are unknown to {base}; choose a model of their" in result.stderr
