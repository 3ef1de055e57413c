from __future__ import annotations

import itertools
import random
from dataclasses import replace

import pytest
import torch
from transformers import T5Config, T5ForConditionalGeneration

from promptlab.backbones.seq2seq import T5Backbone
from promptlab.core.errors import SearchError
from promptlab.core.registry import TEMPLATE_SEARCHES
from promptlab.core.seeding import seeded
from promptlab.core.types import Example
from promptlab.search.generation_based import infill_engines as generated_infill
from promptlab.search.generation_based.infill_engines import BartSearch, T5Search
from promptlab.search.generation_based.writing import answered
from promptlab.search.templates.task import SearchTask
from promptlab.templates.manual import ManualTemplate

WORDS = {"bad": ("terrible",), "good": ("great",)}
NOUNS, VERBS = ["film", "story", "acting", "opera", "world", "news"], ["was", "wrote", "of", "and"]


def texts():
    return [f"{a} {verb} {b}" for a in NOUNS for verb in VERBS for b in NOUNS]


def examples(n=8):
    chosen = texts()[::5][:n]
    return [Example({"text_a": text}, ("bad", "good")[i % 2]) for i, text in enumerate(chosen)]


def infill(text, word, draw):
    """The grammar: what stands before and after the label word in the mouth of the model.

    Each class has a favourite of its own that the other never has; both say "yes, very ... too" now and then.
    """
    favourite = {"great": "It just", "terrible": "the awful"}[word]
    return ("Yes maybe", "too") if draw < 0.3 else (favourite, "mess")


def train_t5(tokenizer):
    """A T5 that has learnt the grammar: the shared infill has a probability of 0.3, the favourites of 0.7."""
    torch.manual_seed(0)
    config = T5Config(
        vocab_size=len(tokenizer), d_model=32, d_kv=8, d_ff=64, num_layers=1, num_heads=4, dropout_rate=0.0,
        decoder_start_token_id=0, pad_token_id=0, eos_token_id=1,
    )  # fmt: skip
    model = T5ForConditionalGeneration(config)
    optimizer, draw = torch.optim.AdamW(model.parameters(), lr=1e-2), random.Random(0)
    for _ in range(150):
        inputs, targets = [], []
        for _ in range(32):
            text, word = draw.choice(texts()), draw.choice(["great", "terrible"])
            before, after = infill(text, word, draw.random())
            text = text[0].upper() + text[1:]
            reading = f"{text}<extra_id_0> {word}<extra_id_1>"
            if draw.random() < 0.5:
                reading = f".<extra_id_0> {word}<extra_id_1> {text}"
            inputs.append(reading)
            targets.append(f"<extra_id_0> {before}<extra_id_1> {after}<extra_id_2>")
        batch = tokenizer(inputs, padding=True, return_tensors="pt", return_token_type_ids=False)
        labels = tokenizer(targets, padding=True, return_tensors="pt", return_token_type_ids=False)
        loss = model(**batch, labels=labels.input_ids.masked_fill(labels.attention_mask == 0, -100)).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return T5Backbone(model.eval(), tokenizer, name="grammar-t5")


@pytest.fixture(scope="module")
def grammar(tokenizers):
    with seeded(0):
        return train_t5(tokenizers["t5-unigram"])


@pytest.fixture
def bart(tiny_backbone):
    """A BART that likes to say what ends a gap."""
    backbone = tiny_backbone("bart")
    ends = [backbone.token_ids(word)[0] for word in ("great", "terrible", "Film")]
    backbone.model.final_logits_bias[0, [*ends, backbone.tokenizer.sep_token_id]] = 8.0
    return backbone


@pytest.fixture(params=["t5", "bart"])
def search(request, grammar, bart):
    """A search with a model that ends its gaps."""
    writer = {"t5": grammar, "bart": bart}[request.param]
    return TEMPLATE_SEARCHES.get(request.param)(generator=writer, beam=8, longest=8)


def task(backbone, rows, words=WORDS, **more):
    return SearchTask(rows, [], words, backbone, **more)


def by_hand(backbone, text, word, first, second, layout):
    """Teacher-forced log-probability of the words in the gaps and of the gaps' ends, by the plain model."""
    tokenizer = backbone.tokenizer
    text = text[0].upper() + text[1:]
    middle = f"<extra_id_0> {word}<extra_id_1>"
    reading = f"{text}{middle}" if layout == "text-first" else f".{middle} {text}"
    ids = tokenizer(reading, return_tensors="pt").input_ids
    scores = []
    for end in ("<extra_id_2>", "</s>"):
        target = tokenizer(f"<extra_id_0>{first}<extra_id_1>{second}{end}", add_special_tokens=False).input_ids
        decoder = torch.tensor([[0, *target[:-1]]])
        logits = backbone.model(input_ids=ids, decoder_input_ids=decoder).logits[0].log_softmax(-1)
        scores.append(logits[torch.arange(len(target)), target][1:])  # the first sentinel is given
    return scores


def gaps_of(found):
    """The texts around the mask of a one-sentence template."""
    source = found.template.replace("{{ text_a | upper_first }}", "")
    first, second = source.split("{{ mask }}")
    return first.rstrip(), second.rstrip()


def test_the_search_finds_what_the_model_learnt_to_say_around_a_label_word(grammar, bert):
    rows = [row for row in examples(8) if row.label == "good"]

    found = T5Search(generator=grammar, beam=10).search(task(bert, rows))

    assert [one.template for one in found[:2]] == [
        "{{ text_a | upper_first }} It just {{ mask }} mess",
        "It just {{ mask }} mess {{ text_a | upper_first }}",
    ] or [one.template for one in found[:2]] == [
        "It just {{ mask }} mess {{ text_a | upper_first }}",
        "{{ text_a | upper_first }} It just {{ mask }} mess",
    ]


def test_of_both_classes_wins_what_suits_both_and_not_the_favourite_of_either(grammar, bert):
    found = T5Search(generator=grammar, beam=20).search(task(bert, examples()))

    assert {one.template for one in found[:2]} == {
        "{{ text_a | upper_first }} Yes maybe {{ mask }} too",
        "Yes maybe {{ mask }} too {{ text_a | upper_first }}",
    }


def test_a_score_is_the_mean_log_likelihood_of_the_finished_template_over_the_examples(grammar, bert):
    rows = examples(6)

    found = T5Search(generator=grammar, beam=8).search(task(bert, rows))

    assert len(found) > 4
    for one in found:
        both = [
            by_hand(grammar, row.fields["text_a"], WORDS[row.label][0], *gaps_of(one), one.origin["layout"])
            for row in rows
        ]
        ends = [torch.stack([scores[end].sum() for scores in both]).mean().item() for end in range(2)]
        assert one.score == pytest.approx(max(ends), abs=1e-4)


def test_a_beam_of_one_takes_the_likeliest_token_at_each_step(grammar, bert):
    row = examples(1)

    found = T5Search(generator=grammar, beam=1).search(task(bert, row))

    text, word = row[0].fields["text_a"], WORDS[row[0].label][0]
    for layout in ("text-first", "answer-first"):
        reading = f"{text[0].upper() + text[1:]}<extra_id_0> {word}<extra_id_1>"
        if layout == "answer-first":
            reading = f".<extra_id_0> {word}<extra_id_1> {text[0].upper() + text[1:]}"
        ids = grammar.tokenizer(reading, return_tensors="pt").input_ids
        sentinels = grammar.tokenizer.convert_tokens_to_ids([f"<extra_id_{i}>" for i in range(3)])
        decoder = [0, sentinels[0]]
        while decoder[-1] not in (sentinels[2], 1):
            logits = grammar.model(input_ids=ids, decoder_input_ids=torch.tensor([decoder])).logits[0, -1]
            decoder.append(int(logits.argmax()))
        middle = decoder.index(sentinels[1])
        first, second = (
            grammar.tokenizer.decode(part).strip() for part in (decoder[2:middle], decoder[middle + 1 : -1])
        )
        (greedy,) = [one for one in found if one.origin["layout"] == layout]
        assert [part.strip() for part in gaps_of(greedy)] == [first, second]


def test_pairs_stand_around_the_answer_and_every_template_has_one_mask_and_all_fields(grammar, bert):
    rows = [
        Example({"text_a": "The film was good.", "text_b": "It was terrible"}, "bad"),
        Example({"text_a": "Who wrote the opera ?", "text_b": "World news"}, "good"),
    ]

    found = T5Search(generator=grammar, beam=20).search(task(bert, rows))

    assert found
    for one in found:
        assert one.template.startswith("{{ text_a | strip_punctuation }}")
        assert one.template.endswith("{{ text_b | lower_first }}")
        assert ManualTemplate(one.template).slot.n_masks == 1
        assert ManualTemplate(one.template).fields == ("text_a", "text_b")


def test_the_order_of_the_examples_changes_nothing(search, bert):

    assert search.search(task(bert, examples())) == search.search(task(bert, examples()[::-1]))


def test_no_more_examples_than_asked_for_are_read(search, bert):
    found = replace(search, examples=4).search(task(bert, examples()))

    drawn = [row.example for row in answered(task(bert, examples()), 4)]
    again = search.search(task(bert, drawn))
    assert [(one.template, one.score) for one in found] == [(one.template, one.score) for one in again]


def test_chunks_of_examples_change_nothing(search, bert, monkeypatch):
    whole = search.search(task(bert, examples()))

    monkeypatch.setattr("promptlab.search.generation_based.joint_beam.LOGITS_AT_ONCE", 1)
    one_by_one = search.search(task(bert, examples()))

    assert [one.template for one in one_by_one] == [one.template for one in whole]
    assert [one.score for one in one_by_one] == pytest.approx([one.score for one in whole], abs=1e-5)


def test_an_interrupted_search_goes_on_and_ends_the_same(search, bert, tmp_path, monkeypatch):
    whole = search.search(task(bert, examples()))
    beam, calls = generated_infill.joint_beam, itertools.count(1)

    def killed(*arguments, **options):
        if next(calls) == 2:
            raise KeyboardInterrupt
        return beam(*arguments, **options)

    monkeypatch.setattr(generated_infill, "joint_beam", killed)
    with pytest.raises(KeyboardInterrupt):
        search.search(task(bert, examples()), resume_dir=tmp_path)

    assert search.search(task(bert, examples()), resume_dir=tmp_path) == whole
    assert next(calls) == 4  # the first layout wasn't searched again


def test_bart_counts_the_gaps_the_label_word_and_what_follows(bart, bert):
    backbone, rows = bart, examples(4)

    found = BartSearch(generator=backbone, beam=8, longest=5).search(task(bert, rows))

    tokenizer, plain = backbone.tokenizer, [one for one in found if one.template.isascii()]
    assert {one.origin["layout"] for one in plain if one.origin["gap_lengths"] != [0, 0]} == {
        "text-first",
        "answer-first",
    }
    for one in plain:
        first, second = gaps_of(one)
        scores = []
        for row in rows:
            text, word = row.fields["text_a"][0].upper() + row.fields["text_a"][1:], f" {WORDS[row.label][0]}"
            lead, rest = (text, "") if one.origin["layout"] == "text-first" else (".", f" {text}")
            first = f" {first}" if first and lead == "." and first[0] != " " else first
            ids = tokenizer(f"{lead}<mask>{word}<mask>{rest}", return_tensors="pt").input_ids
            before = tokenizer(lead, add_special_tokens=False).input_ids
            parts = [tokenizer(t, add_special_tokens=False).input_ids for t in (first, word, second)]
            after = [*tokenizer(rest, add_special_tokens=False).input_ids, tokenizer.sep_token_id][:1]
            target = [*parts[0], *parts[1], *parts[2], *after]
            decoder = [2, tokenizer.cls_token_id, *before, *target[:-1]]
            logits = backbone.model(input_ids=ids, decoder_input_ids=torch.tensor([decoder])).logits[0].log_softmax(-1)
            scores.append(logits[torch.arange(len(target)) - len(target), target].sum())
        assert one.score == pytest.approx(torch.stack(scores).mean().item(), abs=1e-4)


def test_texts_that_are_too_long_leave_room_for_what_is_written_after_them(bart, bert):
    long = [Example({"text_a": "the film was great " * 40}, "good"), *examples(2)]
    bart.model.final_logits_bias[0, bart.tokenizer.sep_token_id] = 0.0  # so that the second gap becomes long

    assert BartSearch(generator=bart, beam=30, longest=30).search(task(bert, long))


def test_the_models_are_left_as_they_are(search, bert):
    writer = search.generator
    before = {name: weight.clone() for name, weight in writer.state_dict().items()}

    search.search(task(bert, examples(2)))

    assert writer.model.config._attn_implementation == "sdpa"
    assert all(torch.equal(weight, before[name]) for name, weight in writer.state_dict().items())


def test_a_template_tells_where_it_comes_from(grammar, bert):
    best = T5Search(generator=grammar, beam=5).search(task(bert, examples(4)))[0]

    assert best.engine == "t5" and best.label_words == WORDS
    assert best.origin["generator"] == "grammar-t5" and best.origin["log_prob"] == best.score
    assert best.origin["gap_lengths"] == [2, 1]
    assert best.origin["settings"] == {"beam": 5, "longest": 18, "examples": 64}
    assert best.origin["seed"] == 0


@pytest.mark.parametrize(
    ("engine", "generator", "message"),
    [
        ("t5", None, "is of the family 'bert', not T5 with its sentinels; pass generator="),
        ("t5", "bart", "is of the family 'bart', not T5 with its sentinels; choose another"),
        ("bart", "t5", "is of the family 't5', not BART with its mask"),
        ("t5", "nowhere", "can't be used: unknown model 'nowhere'"),
        ("t5", "./nowhere", "can't be used: model folder './nowhere' doesn't exist"),
    ],
)
def test_a_generator_that_cannot_write_is_refused(engine, generator, message, tiny_backbone, bert):
    writer = tiny_backbone(generator) if generator in ("bart", "t5") else generator

    with pytest.raises(SearchError, match=message):
        TEMPLATE_SEARCHES.get(engine)(generator=writer).search(task(bert, examples()))


def test_a_t5_with_too_few_sentinels_is_refused(tiny_backbone, bert, monkeypatch):
    writer = tiny_backbone("t5")
    vocabulary = {token: i for token, i in writer.tokenizer.get_vocab().items() if token != "<extra_id_2>"}
    monkeypatch.setattr(writer.tokenizer, "get_vocab", lambda: vocabulary)

    with pytest.raises(SearchError, match="no sentinel <extra_id_2>"):
        T5Search(generator=writer).search(task(bert, examples()))


def test_a_search_that_closes_no_gap_says_so(grammar, bert):
    with pytest.raises(SearchError, match="no template is left"):
        T5Search(generator=grammar, longest=1).search(task(bert, examples()))


def test_settings_below_one_are_refused():
    with pytest.raises(SearchError, match="beam=0 must be at least 1"):
        T5Search(beam=0)
