from __future__ import annotations

import warnings
from collections import Counter

import numpy as np
import pytest
import torch

from promptlab import PromptClassifier
from promptlab.core.errors import PromptlabWarning, TemplateError, VerbalizerError
from promptlab.core.types import Example
from promptlab.templates.demonstrations import DemonstrationTemplate, InContextTemplate
from promptlab.tuning.prompt_tuning import PromptTuning
from promptlab.verbalizers.linear import LinearVerbalizer
from promptlab.verbalizers.manual import ManualVerbalizer
from promptlab.verbalizers.strings import MultiTokenVerbalizer

WORDS = ManualVerbalizer({"n": ["dull", "awful"], "p": ["great", "good"]})
SOURCE = "{{ text_a }} it was {{ mask }}"
POOL = [Example({"text_a": f"{name} number {i}"}, name) for i in range(8) for name in ("n", "p")]
QUERY = Example({"text_a": "the film"})


def text(prompt):
    return "".join(
        segment.text if segment.kind in ("text", "field") else f"<{segment.kind}>" for segment in prompt.segments
    )


def short_repr(prompt):
    """Texts of the demonstrations."""
    return [s.text for s in prompt.segments if s.kind == "field" and s.demonstration]


def test_in_context_prompts_are_answered_examples_a_separator_and_the_query():
    template = InContextTemplate(SOURCE, k=2, examples=POOL[:2], answers={"n": "dull", "p": "great"})

    assert text(template.render(QUERY)) == (
        "n number 0 it was dull\n\np number 0 it was great\n\nthe film it was <mask>"
    )


def test_an_instruction_comes_first():
    template = InContextTemplate(SOURCE, k=1, examples=POOL[:1], answers={"n": "dull"}, instruction="Say how it was.")

    assert text(template.render(QUERY)).startswith("Say how it was.\n\nn number 0")


def test_no_demonstrations_are_the_query_alone():
    bound = InContextTemplate(SOURCE, k=0).bind(POOL, WORDS)

    assert bound.render(QUERY) == bound.query.render(QUERY)


def test_classes_take_turns_and_the_order_is_by_seed():
    first, again, other = (InContextTemplate(SOURCE, k=6, seed=seed).bind(POOL, WORDS) for seed in (0, 0, 1))

    assert Counter(row.label for row in first.examples) == {"n": 3, "p": 3}
    assert first == again
    assert first.examples != other.examples
    seeds = [InContextTemplate(SOURCE, k=4, seed=seed).bind(POOL, WORDS) for seed in range(20)]
    assert len({tuple(row.label for row in bound.examples) for bound in seeds}) > 2  # "npnp" and "pnpn" if unshuffled


def test_several_sets_are_several_prompts_with_other_demonstrations():
    bound = InContextTemplate(SOURCE, k=3, sets=4).bind(POOL, WORDS)

    prompts = bound.variants(QUERY)

    assert len(prompts) == bound.n_variants == 4
    assert len({tuple(short_repr(prompt)) for prompt in prompts}) == 4


def test_a_query_is_never_among_its_own_demonstrations():
    in_context = InContextTemplate(SOURCE, k=16).bind(POOL, WORDS)
    per_class = DemonstrationTemplate(SOURCE, sets=50, similar=1.0).bind(POOL, WORDS)
    for template in (in_context, per_class):
        for query in POOL:
            for prompt in template.variants(Example(query.fields)):
                assert query.fields["text_a"] not in short_repr(prompt)


def test_each_class_is_shown_exactly_once_after_the_query():
    template = DemonstrationTemplate(SOURCE, sets=20).bind(POOL, WORDS)

    prompts = template.variants(QUERY)

    assert all(sorted(name[0] for name in short_repr(prompt)) == ["n", "p"] for prompt in prompts)
    assert all(text(prompt).startswith("the film it was <mask> ") for prompt in prompts)
    assert len({short_repr(prompt)[0][0] for prompt in prompts}) == 2  # the classes come in either order


def test_only_the_most_similar_half_of_each_class_is_drawn_from():
    pool = [
        Example({"text_a": f"{word} {i}"}, name) for name in ("n", "p") for word in ("film", "dish") for i in range(4)
    ]
    template = DemonstrationTemplate(SOURCE, sets=60, similar=0.5).bind(pool, WORDS)

    drawn = {row for prompt in template.variants(QUERY) for row in short_repr(prompt)}

    assert drawn == {f"film {i}" for i in range(4)}


@pytest.mark.parametrize(
    ("counts", "similar", "own", "expected"),
    [
        ((16, 16), 0.5, True, (7, 7)),  # the query is one of the first class: 31 // 2 * 0.5
        ((16, 16), 0.5, False, (8, 8)),
        ((4, 12), 0.5, False, (4, 4)),
        ((5, 5, 5), 0.3, True, (1, 1, 1)),  # 14 // 3 * 0.3
        ((4, 12), 1.0, True, (3, 12)),
        ((1, 1), 0.5, False, (1, 1)),
    ],
)
def test_as_many_of_each_class_are_drawn_from_whichever_class_the_query_has(counts, similar, own, expected):
    """As LM-BFF's code: a share of the examples without the query, divided by the number of classes."""
    names = "abc"[: len(counts)]
    pool = [Example({"text_a": f"{name} {i}"}, name) for name, count in zip(names, counts) for i in range(count)]
    words = ManualVerbalizer({name: ["good", "bad", "dull"][i] for i, name in enumerate(names)})
    template = DemonstrationTemplate(SOURCE, similar=similar).bind(pool, words)

    pools = template._pools(pool[0] if own else Example({"text_a": "new"}))

    assert tuple(map(len, pools)) == expected


def test_similarity_may_come_from_another_embedding():
    pool = [Example({"text_a": f"{i}"}, name) for name in ("n", "p") for i in (1, 5, 9)]
    template = DemonstrationTemplate(
        "{{ text_a }} {{ mask }}", sets=30, similar=0.4, embed=lambda rows: [[1.0, float(row)] for row in rows]
    ).bind(pool, WORDS)

    drawn = {row for prompt in template.variants(Example({"text_a": "1.5"})) for row in short_repr(prompt)}

    assert drawn == {"1"}  # by the angle; the scalar product with (1, 9) is larger


def test_what_is_drawn_depends_on_the_query_and_not_on_the_others():
    template = DemonstrationTemplate(SOURCE, sets=8, similar=1.0).bind(POOL, WORDS)

    assert template.variants(QUERY) == template.variants(QUERY)
    assert template.variants(QUERY) != template.variants(Example({"text_a": "another"}))


def test_long_demonstrations_are_cut_to_their_first_words():
    template = DemonstrationTemplate(SOURCE, max_words=2, sets=1).bind(POOL, WORDS)

    assert {row.split()[-1] for row in short_repr(template.render(QUERY))} == {"number"}


def test_a_demonstration_with_two_masks_is_answered_once():
    template = InContextTemplate("{{ text_a }} {{ mask }} {{ mask }}", k=1, examples=POOL[:1], answers={"n": "dull"})

    assert text(template.render(QUERY)).count("dull") == 1


def encoded(backbone, template, query=QUERY, **limits):
    return backbone.encode([template.render(query)], soft_ids={}, **limits)[0]


def test_whole_demonstrations_are_left_out_the_first_ones_before_the_last(tiny_backbone):
    backbone = tiny_backbone("gpt2")
    template = InContextTemplate(SOURCE, k=4, separator=" ; ").bind(POOL, WORDS)
    last = [
        encoded(
            backbone,
            InContextTemplate(
                SOURCE, k=k, separator=" ; ", examples=template.examples[4 - k :], answers=template.answers
            ),
        ).input_ids.tolist()
        for k in range(5)
    ]

    for limit in range(len(last[0]), len(last[4])):
        row = encoded(backbone, template, max_length=limit)
        most = [ids for ids in last if len(ids) <= limit][-1]
        assert row.input_ids.tolist() == most
        assert row.n_cut == len(last[4]) - len(most)


def test_the_query_is_shortened_only_when_no_demonstration_is_left(tiny_backbone):
    backbone = tiny_backbone("bert")
    template = DemonstrationTemplate(SOURCE, sets=1).bind(POOL, WORDS)

    row = encoded(backbone, template, Example({"text_a": "film " * 100}))

    assert len(row.input_ids) == backbone.max_length
    assert len(row.mask_index) == 1
    assert "number" not in backbone.tokenizer.decode(row.input_ids)


def test_a_prompt_that_cannot_fit_even_alone_is_an_error(tiny_backbone):
    template = InContextTemplate(SOURCE, k=2).bind(POOL, WORDS)

    with pytest.raises(TemplateError, match="tokens besides what may be shortened, of 2 that fit"):
        encoded(tiny_backbone("gpt2"), template, max_length=2)


@torch.no_grad()
@pytest.mark.parametrize(
    "verbalizer", [WORDS, MultiTokenVerbalizer({"n": ["a dull mess", "awful"], "p": ["great acting"]})]
)
def test_scores_with_a_shared_prefix_are_those_without(causal_backbone, verbalizer):
    from contextlib import nullcontext

    template = InContextTemplate(SOURCE, k=3, separator=" ; ")
    queries = ["the film", "a dull , lifeless mess of a film", "great", "x"]
    classifier = PromptClassifier(template, verbalizer, causal_backbone, tuning="none", device="cpu").fit(POOL)
    used = []
    sharing = classifier.model_.backbone._run_prompts

    def watched(batch, *, use_cache):
        used.append(classifier.model_.backbone.prefix is not None)
        return sharing(batch, use_cache=use_cache)

    classifier.model_.backbone._run_prompts = watched
    shared = classifier.predict_proba(queries)
    classifier.model_.backbone.sharing = lambda encoded: nullcontext()
    plain = classifier.predict_proba(queries)

    assert used == [True, False]
    assert abs(shared - plain).max() < 1e-5


def test_one_query_scores_as_it_does_among_many(tiny_backbone):
    classifier = PromptClassifier(
        InContextTemplate(SOURCE, k=3, separator=" ; "), WORDS, tiny_backbone("llama"), tuning="none", device="cpu"
    ).fit(POOL)
    queries = ["the film", "a dull , lifeless mess of a film", "great"]

    together = classifier.predict_proba(queries)

    for row, query in enumerate(queries):
        assert abs(classifier.predict_proba([query])[0] - together[row]).max() < 1e-5


def test_the_answer_to_several_sets_is_the_normalised_mean_of_their_log_probabilities(tiny_backbone):
    bound = InContextTemplate(SOURCE, k=2, sets=3).bind(POOL, WORDS)

    def answer(examples, sets):
        template = InContextTemplate(SOURCE, k=2, sets=sets, examples=examples, answers=bound.answers)
        return PromptClassifier(template, WORDS, tiny_backbone("gpt2"), device="cpu").predict_proba(["the film"])[0]

    alone = np.array([answer(bound.examples[i : i + 2], 1) for i in (0, 2, 4)])

    product = alone.prod(axis=0) ** (1 / 3)
    np.testing.assert_allclose(answer(bound.examples, 3), product / product.sum(), atol=1e-6)
    assert np.ptp(alone[:, 0]) > 1e-4


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: InContextTemplate(SOURCE, k=17).bind(POOL, WORDS),
            "k=17 demonstrations are asked for, but there are 16",
        ),
        (lambda: InContextTemplate(SOURCE, k=2).render(QUERY), "0 demonstrations are given, but 2 are asked for"),
        (lambda: InContextTemplate(SOURCE, k=2).bind((), WORDS), "but there are 0"),
        (lambda: DemonstrationTemplate(SOURCE).render(QUERY), "has no demonstrations yet"),
        (lambda: DemonstrationTemplate(SOURCE, sets=0), "sets=0"),
        (lambda: DemonstrationTemplate(SOURCE, sets="2"), "sets='2' must be a whole number"),
        (lambda: InContextTemplate(SOURCE, k=1.5), "k=1.5 must be a whole number"),
        (lambda: InContextTemplate(SOURCE, seed=-1), "seed=-1 must be a whole number from 0"),
        (lambda: InContextTemplate(None), "template is None; pass"),
        (lambda: DemonstrationTemplate(SOURCE, similar=0), "similar=0"),
        (lambda: DemonstrationTemplate(SOURCE, max_words=0), "max_words=0"),
        (lambda: DemonstrationTemplate(SOURCE, examples=[QUERY]), "has no label"),
        (lambda: InContextTemplate(SOURCE, k=1, examples=POOL[:1], answers={"p": "good"}).render(QUERY), "label 'n'"),
    ],
)
def test_bad_settings_are_one_clear_line(make, message):
    with pytest.raises(TemplateError, match=message) as caught:
        make()
    assert "\n" not in str(caught.value)


def test_a_verbalizer_without_words_cannot_answer_demonstrations():
    with pytest.raises(VerbalizerError, match="has no label words"):
        DemonstrationTemplate(SOURCE).bind(POOL, LinearVerbalizer(("n", "p")))


def test_demonstrations_that_were_given_are_kept_and_need_no_fit(tiny_backbone):
    given = InContextTemplate(SOURCE, k=1, examples=POOL[:1])

    assert given.bind(POOL[4:], WORDS).examples == tuple(POOL[:1])
    assert PromptClassifier(given, WORDS, tiny_backbone("gpt2"), device="cpu").predict(["a film"]).shape == (1,)


def test_a_mask_at_the_start_of_the_query_is_no_longer_one_after_demonstrations(tiny_backbone):
    classifier = PromptClassifier(
        InContextTemplate("{{ mask }} : {{ text_a }}", k=2), WORDS, tiny_backbone("bert"), tuning="none", device="cpu"
    ).fit(POOL)

    assert classifier.predict(["a film"]).shape == (1,)


def test_only_fields_that_the_template_reads_are_kept():
    pool = [Example({"text_a": f"{i}", "date": object()}, name) for i in range(2) for name in ("n", "p")]

    bound = InContextTemplate(SOURCE, k=2).bind(pool, WORDS)

    assert all(set(row.fields) == {"text_a"} for row in bound.examples)


def test_hundreds_of_demonstrations_that_do_not_fit_are_dropped_in_few_steps(tiny_backbone):
    pool = [Example({"text_a": f"number {i}"}, "np"[i % 2]) for i in range(600)]
    template = InContextTemplate(SOURCE, k=600, separator=" ; ").bind(pool, WORDS)
    backbone = tiny_backbone("gpt2")
    calls = []
    tokenized = backbone.encoder._tokenized
    backbone.encoder._tokenized = lambda rows: calls.append(1) or tokenized(rows)

    row = encoded(backbone, template)

    assert len(row.input_ids) <= backbone.max_length < len(row.input_ids) + row.n_cut
    assert len(calls) < 15


def test_a_bound_template_can_be_pickled_before_and_after_use():
    import pickle

    template = DemonstrationTemplate(SOURCE, sets=2).bind(POOL, WORDS)
    before = pickle.loads(pickle.dumps(template)).variants(QUERY)

    assert pickle.loads(pickle.dumps(template)).variants(QUERY) == template.variants(QUERY) == before


PAIR = "{{ text_a }} or {{ text_b }} it was {{ mask }}"
PAIRS = [
    Example({"text_a": f"{name} {a}", "text_b": b}, name)
    for name in ("n", "p")
    for a, b in (("film", "story"), ("opera", "news"), ("the film", "acting"), ("year", "the story"))
]


def with_field(example, value, *, first):
    note = {"note": value}
    return Example({**note, **example.fields} if first else {**example.fields, **note}, example.label)


@pytest.mark.parametrize(
    "embed", [None, lambda texts: [[len(t), t.count("e") + 1] for t in texts]], ids=["tf-idf", "own"]
)
@pytest.mark.parametrize("first", [True, False])
def test_what_is_shown_depends_on_the_fields_that_the_template_reads_alone(embed, first):
    answers, query = {"n": "dull", "p": "great"}, Example({"text_a": "film", "text_b": "the story"})
    plain = DemonstrationTemplate(PAIR, PAIRS, answers, sets=8, embed=embed)
    noted = [with_field(row, f"acting opera news {row.label}", first=first) for row in PAIRS]
    others = [
        plain.bind(noted, WORDS),
        DemonstrationTemplate(PAIR, noted, answers, sets=8, embed=embed),  # given, not bound
    ]

    expected = [text(prompt) for prompt in plain.variants(query)]

    for template in (plain, *others):
        for note in ("opera opera news", "n year", 3):
            noted_query = with_field(query, note, first=first)
            assert [text(prompt) for prompt in template.variants(noted_query)] == expected
    turned = Example(dict(reversed(query.fields.items())))
    assert [text(prompt) for prompt in plain.variants(turned)] == expected


@pytest.mark.parametrize("kind", [InContextTemplate, DemonstrationTemplate])
def test_a_query_with_an_unread_field_is_not_shown_its_own_answer(kind):
    rows = [with_field(row, "a note", first=True) for row in POOL[:4]]
    settings = {"k": 4} if kind is InContextTemplate else {"similar": 1.0, "sets": 20}
    template = kind(SOURCE, rows, {"n": "dull", "p": "great"}, **settings)

    for row in POOL[:4]:
        assert all(row.fields["text_a"] not in short_repr(prompt) for prompt in template.variants(Example(row.fields)))


@pytest.mark.parametrize("kind", [InContextTemplate, DemonstrationTemplate])
def test_a_missing_field_is_told_with_those_that_there_are(kind):
    template = kind(SOURCE, POOL[:2], {"n": "dull", "p": "great"}, **({"k": 2} if kind is InContextTemplate else {}))

    with pytest.raises(TemplateError, match=r"'text_a'.*'sentence'"):
        template.variants(Example({"sentence": "the film"}))


def test_a_classifier_scores_a_text_alike_whatever_an_unread_column_holds(tiny_backbone):
    template = DemonstrationTemplate(SOURCE, sets=2)
    classifier = PromptClassifier(template, WORDS, tiny_backbone("bert"), "none", device="cpu")
    rows = [{"text_a": row.fields["text_a"], "note": str(i)} for i, row in enumerate(POOL)]

    classifier.fit(rows, [row.label for row in POOL])

    found = classifier.predict_proba([{"text_a": "the film"}, *({"text_a": "the film", "note": n} for n in "xyz")])
    assert np.ptp(found, axis=0).max() < 1e-6


ONE_TEXT_TWICE = [POOL[0], POOL[0], POOL[1], POOL[3]]


@pytest.mark.parametrize("tuning", ["full", PromptTuning(length=2)])
@pytest.mark.parametrize(
    ("rows", "warned"),
    [(POOL[:2], True), ([*POOL[:2], POOL[3]], True), (ONE_TEXT_TWICE, True), (POOL[:4], False)],
    ids=["one each", "one of one class", "one text twice", "two each"],
)
def test_training_with_one_example_of_a_class_is_warned_of(tiny_backbone, rows, warned, tuning):
    template = DemonstrationTemplate(SOURCE, sets=2)
    classifier = PromptClassifier(template, WORDS, tiny_backbone("bert"), tuning, max_steps=1, device="cpu")

    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        classifier.fit(rows)

    own = [str(one.message) for one in said if issubclass(one.category, PromptlabWarning)]
    assert len(own) == warned
    assert all(line.startswith("class 'n' has one example, which isn't shown beside itself") for line in own)


def test_one_example_of_a_class_is_enough_where_nothing_is_trained(tiny_backbone):
    template = DemonstrationTemplate(SOURCE, sets=2)

    PromptClassifier(template, WORDS, tiny_backbone("bert"), "none", device="cpu").fit(POOL[:2])  # warnings are errors
