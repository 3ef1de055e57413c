from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch

from promptlab import Example, ManualTemplate, PromptClassifier
from promptlab.core.errors import SearchError
from promptlab.search.rule_based import heuristic
from promptlab.search.rule_based.grammar import Grammar
from promptlab.search.rule_based.heuristic import HeuristicSearch, ParaphraseSearch
from promptlab.search.templates.likelihood import log_likelihoods
from promptlab.search.templates.task import SearchTask, drawn_examples

WORDS = {"n": ("dull",), "p": ("good", "great")}
TEXTS = [("the film was great.", "p"), ("a good story.", "p"), ("a dull mess.", "n"), ("awful acting.", "n")]
ROWS = [Example({"text_a": text}, label) for text, label in TEXTS]
PAIRS = [Example({"text_a": text, "text_b": "the story"}, label) for text, label in TEXTS]


def task(backbone, rows=ROWS, words=WORDS):
    return SearchTask(rows, rows, words, backbone, seed=3)


@pytest.mark.parametrize("family", ["bert", "roberta", "gpt2", "t5"])
@pytest.mark.parametrize("rows", [ROWS, PAIRS], ids=["one field", "two fields"])
def test_what_is_found_is_ordinary_templates_that_fit_the_model(tiny_backbone, family, rows):
    backbone = tiny_backbone(family)

    found = HeuristicSearch(candidates=12, keep=5, examples=2).search(task(backbone, rows))

    assert 3 <= len(found) <= 5
    for one in found:
        classifier = PromptClassifier(one.template, one.label_words, backbone, "none", device="cpu")
        assert classifier.predict_proba(rows).shape == (4, 2)
        assert ManualTemplate(one.template).fields == tuple(rows[0].fields)
        assert (one.engine, one.origin["candidates"]) == ("heuristic", 12)
    assert [one.score for one in found] == sorted((one.score for one in found), reverse=True)
    if family == "gpt2":
        assert all(one.template.endswith("{{ mask }}") for one in found)


def test_the_likeliest_of_each_rule_is_kept(tiny_backbone):
    backbone = tiny_backbone("bert")
    grammar = Grammar(
        {"after": "{{ text_a }} <w> {{ mask }}", "before": "<w> {{ mask }}: {{ text_a }}"},
        {"w": ("film", "story", "world news", "acting", "was")},
    )
    examples = drawn_examples(task(backbone), 4)
    best = set()
    for row in grammar.templates().values():
        scores = log_likelihoods(row, examples, WORDS, backbone)
        best.add(row[scores.index(max(scores))])

    found = HeuristicSearch(grammar=grammar, keep=2, examples=4).search(task(backbone))

    assert {one.template for one in found} == best
    told = json.loads(json.dumps(found[0].origin["settings"]["grammar"]))
    assert Grammar(**told).templates() == grammar.templates()


def test_the_seed_draws_which_templates_are_measured(tiny_backbone):
    backbone = tiny_backbone("bert")
    some = replace(task(backbone), train=ROWS[:1])  # of one example nothing is drawn

    def found(seed):
        return {one.template for one in HeuristicSearch(candidates=8, keep=8).search(replace(some, seed=seed))}

    assert found(1) == found(1) != found(2)


PARAPHRASE = ParaphraseSearch("{{ text_a }} it was so {{ mask }}", words=3, rounds=1, examples=4)


@pytest.mark.parametrize("search", [HeuristicSearch(candidates=6, keep=6, examples=4), PARAPHRASE])
def test_likelihoods_are_those_of_prompts_of_the_tasks_length(tiny_backbone, search):
    """Of long texts the ends are cut, so that other ends find and score the same."""
    backbone, long = tiny_backbone("bert"), " ".join(["the film was great and so good a story"] * 3)
    ends = [
        [Example({"text_a": f"{e.fields['text_a'][:-1]} {long} {end}"}, e.label) for e in ROWS] for end in ("x", "news")
    ]

    def found(rows, max_length):
        some = replace(task(backbone, rows), max_length=max_length)
        return [(one.template, pytest.approx(one.score, abs=1e-4)) for one in search.search(some)]

    assert found(ends[0], 24) == found(ends[1], 24)
    assert found(ends[0], 60) != found(ends[1], 60)


def test_a_template_that_makes_the_same_prompts_is_left_out(tiny_backbone):
    sources = ["{{ text_a }} {{ mask }}", "{{ text_a | trim }} {{ mask }}", "{{ text_a }} {{ mask }}.", "{{ nothing }}"]

    assert list(heuristic.distinct(sources, task(tiny_backbone("bert")))) == [sources[0], sources[2]]


def test_templates_are_compared_on_some_examples_only(tiny_backbone, monkeypatch):
    rendered, render = [], ManualTemplate.render
    monkeypatch.setattr(ManualTemplate, "render", lambda self, e: rendered.append(e) or render(self, e))
    rows = [Example({"text_a": f"story {i}"}, "np"[i % 2]) for i in range(100)]

    list(heuristic.distinct(["{{ text_a }} {{ mask }}"], task(tiny_backbone("bert"), rows)))

    of_train = [example for example in rendered if example in rows]  # the slot is asked for with another one
    assert len(of_train) == 32
    assert {example.label for example in of_train} == {"n", "p"}


def test_an_interrupted_search_goes_on_without_scoring_a_template_twice(tiny_backbone, tmp_path, monkeypatch):
    backbone, search = tiny_backbone("bert"), HeuristicSearch(candidates=12, keep=4, examples=1)
    monkeypatch.setattr(heuristic, "CHUNK", 4)
    usual = search.search(task(backbone))
    real, scored = heuristic.log_likelihoods, []

    def failing(sources, *arguments, **options):
        if len(scored) == 8:
            raise KeyboardInterrupt
        scored.extend(sources)
        return real(sources, *arguments, **options)

    monkeypatch.setattr(heuristic, "log_likelihoods", failing)
    with pytest.raises(KeyboardInterrupt):
        search.search(task(backbone), resume_dir=tmp_path)
    scored.append("from here")
    again = search.search(task(backbone), resume_dir=tmp_path)

    assert again == usual
    assert len(scored) == len(set(scored)) == 13


def test_paraphrases_replace_the_word_by_the_likeliest_ones_by_hand(tiny_backbone):
    backbone = tiny_backbone("bert")
    tokenizer = backbone.tokenizer
    total = 0.0
    for text, answer in (("awful acting.", "dull"), ("a dull mess.", "dull"), ("a good story.", "good"),
                         ("the film was great.", "good")):  # fmt: skip
        ids = tokenizer(f"{text} [MASK] {answer}")["input_ids"]
        with torch.no_grad():
            logits = backbone.model(torch.tensor([ids])).logits[0, ids.index(tokenizer.mask_token_id)]
        total = total + logits.log_softmax(dim=-1)
    likely = tokenizer.convert_ids_to_tokens(total.argsort(descending=True).tolist())
    taken = {"dull", "good", "great", "was"}
    usual = [w for w in likely if w.isalpha() and w.isascii() and w not in taken and (len(w) > 1 or w in ("a", "i"))]

    search = ParaphraseSearch("{{ text_a }} was {{ mask }}", words=3, rounds=1, examples=4)
    found = search.search(task(backbone))

    assert {one.template for one in found} == {f"{{{{ text_a }}}} {word} {{{{ mask }}}}" for word in usual[:3]}
    assert found[0].score == max(one.score for one in found)


def test_templates_tell_model_seed_and_settings(tiny_backbone):
    backbone = tiny_backbone("bert")
    backbone.revision = "m1"
    paraphrases = ParaphraseSearch("{{ text_a }} was {{ mask }}", words=3, rounds=1, examples=4)

    for search, name, value in ((HeuristicSearch(candidates=5), "candidates", 5), (paraphrases, "words", 3)):
        origin = search.search(task(backbone))[0].origin
        assert (origin["model"], origin["revision"], origin["seed"]) == ("tiny-bert", "m1", 3)
        assert origin["settings"][name] == value
        assert json.loads(json.dumps(origin)) == origin


def test_later_rounds_replace_more_words_and_keep_capitals(tiny_backbone):
    search = ParaphraseSearch("So {{ text_a }} it was {{ mask }}.", words=2, rounds=2, beam=2, keep=50, examples=2)

    found = search.search(task(tiny_backbone("bert")))

    changed = []
    for one in found:
        first, rest = one.template.split(" {{ text_a }} ")
        it, was, end = rest.split(" ", 2)
        assert end == "{{ mask }}." and first[0].isupper()
        changed.append((first != "So") + (it != "it") + (was != "was"))
    assert set(changed) == {1, 2}
    assert len({one.template for one in found}) == len(found)


@pytest.mark.parametrize(
    ("search", "family", "message"),
    [
        (lambda: HeuristicSearch(candidates=0), "bert", "candidates=0 must be at least 1"),
        (lambda: HeuristicSearch(grammar="x"), "bert", "grammar='x' must be a Grammar"),
        (lambda: ParaphraseSearch("x", rounds=0), "bert", "rounds=0 must be at least 1"),
        (lambda: ParaphraseSearch(), "bert", "engine 'paraphrase' has no template"),
        (lambda: ParaphraseSearch("{{ text_a }} was {{ mask }}"), "gpt2", "paraphrases need a masked model"),
        (lambda: ParaphraseSearch("{{ text_a }} was {{ mask(2) }}"), "bert", "must have 1 mask and no soft tokens"),
        (lambda: ParaphraseSearch("{{ text_a }}: {{ mask }}"), "bert", "no word of template .* can be replaced"),
    ],
)
def test_what_cannot_be_searched_is_told(tiny_backbone, search, family, message):
    with pytest.raises(SearchError, match=message):
        search().search(task(tiny_backbone(family)))


@pytest.mark.parametrize(
    ("rules", "change", "message"),
    [
        ({"r": "{{ text_a }} {{ mask }} and on"}, {}, "none of the 1 templates .* fits model 'tiny-gpt2', .* its mask"),
        ({"r": "{{ title }} {{ mask }}"}, {}, "needs field 'title', but the example has 'text_a'; rename the column"),
        ({"r": "{{ text_a }} {{ mask }}"}, {"max_length": 0}, "of 0 that fit; raise max_length|of -1 that fit"),
        ({"r": "{{ text_a }} {{ mask }}"}, {"label_words": {"n": ("unbelievable",), "p": ("good",)}}, "'unbelievable'"),
        ({}, {}, "none of the 0 templates of the grammar fits .*; give the grammar rules"),
    ],
)
def test_if_no_template_fits_the_first_reason_is_told(tiny_backbone, rules, change, message):
    with pytest.raises(SearchError, match=message):
        HeuristicSearch(grammar={"rules": rules, "parts": {}}).search(replace(task(tiny_backbone("gpt2")), **change))
