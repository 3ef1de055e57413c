from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from promptlab import PVP, Example, ManualVerbalizer, search_templates
from promptlab.core.errors import DataError, PromptlabError, SearchError, UnknownNameError, VerbalizerError
from promptlab.library.pvps import read_pvps, write_pvps
from promptlab.search.generation_based.masked_engine import MaskedSearch
from promptlab.search.gradient_based.autoprompt import RunningSearch
from promptlab.search.templates import ranking
from promptlab.search.templates.ranking import Ranking
from promptlab.search.templates.task import FoundTemplate, TemplateSearch

TEXTS = ["the film was great", "a good story", "great acting", "a dull mess", "awful", "a terrible story"]
LABELS = ["p", "p", "p", "n", "n", "n"]
DEV = (["good acting", "a dull film"], ["p", "n"])
WORDS = {"p": ["good", "great"], "n": ["bad"]}
QUICK = Ranking(rounds=(1,), entrants=2)
ASKED: list[str] = []


@dataclass(frozen=True)
class Listed(TemplateSearch):
    """An engine that knows its templates."""

    words: tuple[str, ...] = ("was", "so", "film")

    def search(self, task, *, resume_dir=None):
        ASKED.append(str(resume_dir))
        return [
            FoundTemplate(f"{{{{ text_a }}}} {word} {{{{ mask }}}}", "listed", -i, task.label_words, {"n": i})
            for i, word in enumerate(self.words)
        ]


def searched(backbone, engine=None, **options):
    options = {"verbalizer": WORDS, "model": backbone, "ranking": QUICK, "device": "cpu", "seed": 3} | options
    return search_templates(engine or Listed(), TEXTS, LABELS, **options)


def test_the_best_come_as_pairs_with_their_origin_which_a_file_keeps(tiny_backbone, tmp_path):
    backbone = tiny_backbone("bert")

    board = searched(backbone, eval_set=DEV, top=2)
    write_pvps(tmp_path / "best.yaml", board.pvps())

    first = read_pvps(tmp_path / "best.yaml")[0]
    assert first == PVP(board.best[0].found.template, WORDS, "listed-1", first.origin)
    assert first.origin == {
        "seed": 3, "model": "tiny-bert", "revision": "", "budget": "small", "engine": "listed",
        "engine_score": board.best[0].found.score, "n": board.best[0].found.origin["n"],
        "dev_accuracy": board.best[0].result.accuracy, "dev_loss": board.best[0].result.loss, "dev_rows": 2,
        "dev_accuracy_is_of": "the rows that chose it, too high for new text", "estimated_accuracy": None,
        "estimated_standard_error": None, "zero_shot_accuracy": board.best[0].zero_shot.accuracy,
        "updates": board.best[0].updates, "rank": 1, "placed_by": "first", "max_length": 64,
        "accuracy_by_updates": {str(n): result.accuracy for n, result in board.best[0].results.items()},
    }  # fmt: skip
    assert (len(board.best), len(board.ranked)) == (2, 3)
    assert (board.about["train"], board.about["dev"], board.about["dev_from_train"]) == (6, 2, False)


def test_without_dev_half_of_each_class_is_kept_for_it(tiny_backbone):
    board = searched(tiny_backbone("bert"))

    train, dev = board.task.train, board.task.dev
    assert sorted(e.label for e in train) == ["n", "n", "p", "p"]
    assert sorted(e.label for e in dev) == ["n", "p"]
    assert {e.fields["text_a"] for e in (*train, *dev)} == set(TEXTS)
    assert board.about["dev_from_train"] is True
    assert searched(tiny_backbone("bert")).task.train == train


def test_dev_rows_that_are_training_rows_are_left_out(tiny_backbone):
    texts, labels = [*DEV[0], TEXTS[0]], [*DEV[1], LABELS[0]]

    board = searched(tiny_backbone("bert"), eval_set=(texts, labels))

    assert [example.fields["text_a"] for example in board.task.dev] == list(DEV[0])
    assert board.about["dev_left_out"] == 1
    assert board.ranked == searched(tiny_backbone("bert"), eval_set=DEV).ranked


def test_dev_may_be_labeled_examples(tiny_backbone):
    examples = [Example({"text_a": text}, label) for text, label in zip(*DEV, strict=True)]

    assert (
        searched(tiny_backbone("bert"), eval_set=examples).ranked
        == searched(tiny_backbone("bert"), eval_set=DEV).ranked
    )


def test_a_dev_half_has_no_copy_of_a_training_example(tiny_backbone):
    settings = {"verbalizer": WORDS, "model": tiny_backbone("bert"), "ranking": QUICK, "device": "cpu", "seed": 3}
    board = search_templates(Listed(), [*TEXTS, *TEXTS], [*LABELS, *LABELS], **settings)

    train, dev = ({one.fields["text_a"] for one in some} for some in (board.task.train, board.task.dev))
    assert dev and not train & dev
    assert board.about["dev_left_out"] == len(TEXTS) - len(board.task.dev)


def test_label_words_are_searched_for_the_best_and_ranked_with_their_own(tiny_backbone):
    board = searched(tiny_backbone("bert"), eval_set=DEV, top=2, searched_words=2)

    counts = {}
    for one in board.ranked:
        counts[one.found.template] = counts.get(one.found.template, 0) + 1
    assert sorted(counts.values()) == [1, 3, 3]


def test_a_search_that_has_ended_is_not_run_again_and_gives_the_same(tiny_backbone, tmp_path):
    backbone = tiny_backbone("bert")
    ASKED.clear()

    first = searched(backbone, resume_dir=tmp_path / "state")
    again = searched(backbone, resume_dir=tmp_path / "state")

    assert again.ranked == first.ranked == searched(backbone).ranked
    assert list(ASKED) == [str(tmp_path / "state"), "None"]


def test_other_settings_and_another_model_are_searched_anew_in_the_same_folder(tiny_backbone, tmp_path):
    backbone, state = tiny_backbone("bert"), tmp_path / "state"
    first = searched(backbone, resume_dir=state)

    other = searched(backbone, Listed(("was",)), resume_dir=state)
    assert [one.found.template for one in other.ranked] == ["{{ text_a }} was {{ mask }}"]
    assert searched(backbone, resume_dir=state).ranked == first.ranked
    with torch.no_grad():
        backbone.model.get_input_embeddings().weight.mul_(2)  # the name doesn't tell
    assert searched(backbone, resume_dir=state).ranked == searched(backbone).ranked != first.ranked


def test_another_generator_of_the_same_name_is_not_taken_up(tiny_backbone, tmp_path):
    backbone, generator = tiny_backbone("bert"), tiny_backbone("roberta")
    search = MaskedSearch(generator=generator, beam=2, before=1, after=0, survivors=2)
    options = {"verbalizer": {"p": "great", "n": "terrible"}, "eval_set": DEV, "resume_dir": tmp_path}
    first = searched(backbone, search, **options)

    assert searched(backbone, search, **options).ranked == first.ranked
    with torch.no_grad():
        generator.model.get_input_embeddings().weight.mul_(2)
    del options["resume_dir"]
    alone = searched(backbone, search, **options)
    assert searched(backbone, search, **options, resume_dir=tmp_path).ranked == alone.ranked != first.ranked


@pytest.mark.parametrize("named", [str, Path])
def test_a_generator_that_is_named_counts_by_its_weights_too(tiny_backbone, saved_model, tmp_path, named):
    folder = saved_model("roberta")
    search = MaskedSearch(generator=named(folder), beam=2, before=1, after=0, survivors=2)
    options = {"verbalizer": {"p": "great", "n": "terrible"}, "eval_set": DEV, "resume_dir": tmp_path / "state"}
    first = searched(tiny_backbone("bert"), search, **options)

    assert searched(tiny_backbone("bert"), search, **options).ranked == first.ranked
    assert first.about["settings"]["generator"] == folder
    other = tiny_backbone("roberta")
    with torch.no_grad():
        other.model.get_input_embeddings().weight.mul_(2)
    other.model.save_pretrained(folder)
    again = searched(tiny_backbone("bert"), search, **options)
    assert again.ranked == searched(tiny_backbone("bert"), search, **options | {"resume_dir": None}).ranked
    assert again.ranked != first.ranked


def test_more_iterations_of_autoprompt_go_on_where_fewer_ended(tiny_backbone, tmp_path, monkeypatch):
    backbone, done, step = tiny_backbone("bert"), [], RunningSearch.step
    monkeypatch.setattr(RunningSearch, "step", lambda *arguments: done.append(1) or step(*arguments))
    settings = {"candidates": 2, "examples": 4}
    searched(backbone, "autoprompt", settings={**settings, "iterations": 3}, resume_dir=tmp_path)

    more = searched(backbone, "autoprompt", settings={**settings, "iterations": 5}, resume_dir=tmp_path)

    assert len(done) == 5
    assert more.ranked == searched(backbone, "autoprompt", settings={**settings, "iterations": 5}).ranked


def test_the_origin_tells_the_revisions_of_model_and_generator_apart(tiny_backbone):
    model, generator = tiny_backbone("bert"), tiny_backbone("roberta")
    model.revision, generator.revision = "m1", "g1"
    search = MaskedSearch(generator=generator, beam=2, before=1, after=0, survivors=2)
    words = {"verbalizer": {"p": "great", "n": "terrible"}}

    origin = searched(model, search, eval_set=DEV, top=1, **words).pvps()[0].origin

    assert (origin["model"], origin["revision"]) == ("tiny-bert", "m1")
    assert (origin["generator"], origin["generator_revision"]) == ("tiny-roberta", "g1")


def test_a_budget_sets_engine_and_ranking(tiny_backbone):
    board = searched(tiny_backbone("bert"), "heuristic", settings={"candidates": 3}, ranking=None, top=1)

    assert board.about["settings"] | {"grammar": None} == {"candidates": 3, "keep": 16, "examples": 2, "grammar": None}
    assert board.about["ranking"]["rounds"] == (10, 20)
    assert max(board.best[0].rounds) == 20


def test_a_small_budget_reads_no_more_than_some_dev_rows_and_tokens_unless_it_is_told(tiny_backbone):
    dev = ([f"good {'acting ' * 70}{i}" for i in range(70)], ["p"] * 70)
    backbone, ranking = tiny_backbone("bert"), Ranking(rounds=())

    small, larger = (searched(backbone, eval_set=dev, ranking=ranking, budget=name) for name in ("small", "medium"))
    longer = searched(backbone, eval_set=dev, ranking=ranking, max_length=100)

    assert [(board.about["dev"], board.task.max_length) for board in (small, larger, longer)] == [
        (64, 64), (70, None), (64, 100),
    ]  # fmt: skip
    assert [board.about["dev_unused"] for board in (small, larger)] == [6, 0]
    assert len(small.best[0].result.predictions) == 64


def test_the_model_that_is_passed_stays_in_its_mode(tiny_backbone):
    backbone = tiny_backbone("bert").train()

    board = searched(backbone, eval_set=DEV)

    assert backbone.training
    assert board.task.backbone.embedding_weight().data_ptr() == backbone.embedding_weight().data_ptr()


@pytest.mark.parametrize(
    ("engine", "settings"),
    [
        (
            "heuristic",
            {"grammar": {"rules": {"r": "{{ title }} {{ text_a }} <w> {{ mask }}"}, "parts": {"w": ["so"]}}},
        ),
        ("paraphrase", {"template": "{{ title }} {{ text_a }} was {{ mask }}"}),
        (
            "autoprompt",
            {"template": "{{ title }} {{ text_a }} {{ trigger(1) }} {{ mask }}", "iterations": 1},
        ),
    ],
)
def test_rows_that_differ_in_what_an_own_template_reads_are_no_copies(tiny_backbone, engine, settings):
    rows = [{"text_a": "the film was", "title": text} for text in TEXTS]
    options = {"verbalizer": WORDS, "model": tiny_backbone("bert"), "ranking": Ranking(rounds=()), "device": "cpu"}

    board = search_templates(engine, rows, LABELS, settings=settings, **options)

    assert board.about["dev_left_out"] == 0 and len(board.task.dev) == 2


def test_one_template_that_an_odd_row_breaks_does_not_end_the_search(tiny_backbone):
    breaking = "was {{ mask }}{% if text_a | length > 30 %}{{ nothing }}{% endif %}"
    dev = ([*DEV[0], "good acting in a film that is very long"], [*DEV[1], "p"])
    engine = Listed((breaking, "so"))

    board = searched(tiny_backbone("bert"), engine, eval_set=dev)

    assert [one.found.template for one in board.ranked] == ["{{ text_a }} so {{ mask }}"]
    assert list(board.unusable) == [f"{{{{ text_a }}}} {breaking} {{{{ mask }}}}"]


@pytest.mark.parametrize(
    ("engine", "options", "error", "message"),
    [
        ("heuristics", {}, UnknownNameError, "unknown template search 'heuristics'; did you mean 'heuristic'"),
        ("heuristic", {"budget": "tiny"}, UnknownNameError, "unknown budget 'tiny'"),
        (None, {"budget": "tiny"}, UnknownNameError, "unknown budget 'tiny'"),
        ("heuristic", {"settings": {"generator": "t5"}}, SearchError, "HeuristicSearch has no setting 'generator'"),
        (None, {"settings": {"beam": 3}}, SearchError, "has its settings; leave 'beam' out"),
        (None, {"top": 0}, SearchError, "n=0 templates were asked for"),
        (None, {"diversity": -1}, SearchError, "diversity=-1 must be 0"),
        (None, {"searched_words": -1}, SearchError, "searched_words=-1 must be 0"),
        (None, {"seed": -1}, SearchError, "seed=-1 must be a whole number"),
        (None, {"verbalizer": None}, VerbalizerError, "no verbalizer was given"),
        (None, {"verbalizer": {"p": "good", "n": "pneumonia"}}, VerbalizerError, "'pneumonia' of class 'n' is"),
        (
            None,
            {"verbalizer": {"p": "good", "m": "bad"}},
            SearchError,
            "row 4 of train is 'n', which has no label words",
        ),
        (None, {"verbalizer": {**WORDS, "m": "film"}}, DataError, "class 'm' has 0 training examples"),
        (None, {"verbalizer": ManualVerbalizer(WORDS, "max-logit")}, SearchError, "whose logits are averaged, not for"),
        (None, {"eval_set": (TEXTS[:2], LABELS[:2])}, DataError, "all 2 dev examples are training examples, too"),
        (None, {"eval_set": (DEV[0], ["p", "m"])}, SearchError, "row 2 of dev is 'm', which has no label words"),
        (None, {"eval_set": ([{"text_b": "good acting"}], ["p"])}, SearchError, "row 1 of dev has no text 'text_a'"),
        (None, {"top": "3"}, SearchError, "search_templates: top='3' must be a whole number"),
        (None, {"top": 2.5}, SearchError, "top=2.5 must be a whole number"),
        (None, {"diversity": "x"}, SearchError, "diversity='x' must be a number"),
        (None, {"searched_words": "2"}, SearchError, "searched_words='2' must be a whole number"),
        (None, {"max_length": "12"}, SearchError, "max_length='12' must be a whole number or None"),
        (None, {"max_length": 0}, SearchError, "max_length=0 must be at least 1"),
        (None, {"settings": ["beam"]}, SearchError, r"settings=\['beam'\] must be names and values or None"),
        (None, {"resume_dir": 5}, SearchError, "resume_dir=5 must be a text or a path or None"),
        (None, {"ranking": "small"}, SearchError, "ranking='small' must be a Ranking"),
        (Listed(()), {}, SearchError, "no template was found; give the engine more"),
        (Listed(("{{ nothing }}",)), {}, SearchError, "none of 1 templates fits all examples: .* needs field"),
    ],
)
def test_what_cannot_be_searched_is_told_in_one_line(tiny_backbone, engine, options, error, message):
    with pytest.raises(error, match=message) as told:
        searched(tiny_backbone("bert"), engine, **options)

    assert issubclass(error, PromptlabError) and "\n" not in str(told.value)


def test_dev_is_checked_before_the_engine_runs(tiny_backbone):
    ASKED.clear()

    with pytest.raises(SearchError, match="row 1 of dev is 'q'"):
        searched(tiny_backbone("bert"), eval_set=(["good acting"], ["q"]))

    assert not ASKED


def test_a_state_that_cannot_be_written_is_told_before_the_engine_runs(tiny_backbone, tmp_path):
    (tmp_path / "file").write_text("")
    ASKED.clear()

    with pytest.raises(DataError, match="is a file; choose a folder"):
        searched(tiny_backbone("bert"), eval_set=DEV, resume_dir=tmp_path / "file")

    assert not ASKED


def test_those_that_differ_come_first_if_that_is_asked_for(tiny_backbone, monkeypatch):
    """The second is right where the first is, the third elsewhere; so are the estimates, of a fold's own choice."""
    rows = {"was": [1, 1, 1, 1, 1, 0, 0, 0], "so": [1, 1, 1, 1, 0, 0, 0, 0], "film": [0, 0, 0, 0, 0, 1, 1, 1]}

    def zero_shot(source, words, task):
        right = [bool(value) for value in rows[source.split()[3]]]
        return [{"right": right, "losses": [1.0] * 8, "predictions": ["p"] * 8}]

    monkeypatch.setattr(ranking, "_zero_shot", zero_shot)
    options = {"eval_set": ([f"{i}" for i in range(8)], list("pnpnpnpn")), "ranking": Ranking(rounds=()), "top": 2}

    plain, different = (searched(tiny_backbone("bert"), diversity=d, **options) for d in (0.0, 1.0))

    def names(board):
        return [one.found.template.split()[3] for one in board.best]

    assert names(plain) == ["was", "so"] and names(different) == ["was", "film"]
    assert different.estimates[1] != plain.estimates[1]


def test_too_few_rows_for_a_dev_set_or_a_search_of_words_are_told(tiny_backbone):
    quick = {"verbalizer": WORDS, "model": tiny_backbone("bert"), "device": "cpu"}

    with pytest.raises(DataError, match="no dev set was given, and none can be made: class 'n' has 1 row"):
        search_templates(Listed(), TEXTS[:4], LABELS[:4], **quick)
    with pytest.raises(DataError, match="class 'n' has 1 training examples, but the search needs 2"):
        search_templates(Listed(), TEXTS[:4], LABELS[:4], eval_set=DEV, searched_words=1, **quick)
