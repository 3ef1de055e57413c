"""Template search: the library's template, rules, AutoPrompt, and templates that minilm or smollm2 write.

    python benchmarks/accuracy/templates.py FOLDER find [--tasks …] [--engines …] [--seeds …]
    python benchmarks/accuracy/templates.py FOLDER zero-shot | fine-tuned | choice [--tasks …] [--engines …] [--seeds …]

FOLDER holds ``rte`` and ``sst-2`` (train.tsv, dev.tsv and fewshot/k16-seedS.json). ``find`` searches with 16 training
and 16 dev examples a class and keeps what it finds; ``zero-shot`` chooses among it by dev and scores on test;
``fine-tuned`` trains with the template that was chosen so; ``choice`` sets the accuracy on dev of what dev chose beside
the estimate that is shown with it. With the ``pool``, all training sentences of SST-2 but 500,
which choose, AutoPrompt finds label words for the library's template, or triggers in place of its words; the model
stays frozen.
Finished runs are kept in results/templates.json; the tables go to results/templates.md.
"""

from __future__ import annotations

import argparse
import functools
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from benchmarks.common.data import NAMES, accuracy, split_of
from benchmarks.common.models import GENERATOR, MODEL, loaded
from benchmarks.common.options import DEVICE, FOLDER, SOME_SEEDS, one_of, some_of, value_of
from benchmarks.common.runs import Benchmark, Job
from benchmarks.common.setup import GPU, SEEDS, Setup
from benchmarks.common.tables import Page, Runs, known_rows, listed, over_seeds, percent, table, under
from benchmarks.common.timing import timed
from promptlab import PromptClassifier
from promptlab.core.registry import TEMPLATE_SEARCHES
from promptlab.core.types import Example
from promptlab.evaluation.cross_validation import cross_validated
from promptlab.library.tasks import template_entry, verbalizer_entry
from promptlab.search.templates.ranking import Contest, Ranking, rank_templates
from promptlab.search.templates.task import FoundTemplate, SearchTask
from promptlab.search.words.search import search_words

TASKS = ("sst2", "ag_news", "rte")
ONE_WORD, ONE_WORD_POOL = "library, great / terrible", "autoprompt (pool), great / terrible"
POOL_WORDS = "library, label words from the pool"
ON_POOL = (ONE_WORD_POOL, POOL_WORDS)
ON_SST2 = (ONE_WORD, *ON_POOL)  # what runs on SST-2 alone, not fine-tuned
SEARCHES = ("heuristic", "autoprompt", "masked-lm (minilm)", "lm (smollm2)")  # of 16 examples a class
WORDS = (3, 10, 20)  # label words a class, of which dev chooses
TRIGGERS = {  # in place of the words of the library's template
    "template": "{{ text_a }} {{ trigger(6) }} {{ mask }}.",
    "start": "all in all , it was",
    "iterations": 8,
    "candidates": 6,
    "examples": 1024,  # with 192 a step can't tell small gains from luck, and the trigger drifts
    "loss": "classes",
    "metric": "loss",
}
ENGINES: Mapping[str, tuple[str, dict[str, Any]]] = {  # name in the registry, settings
    "library": ("", {}),
    "heuristic": ("heuristic", {}),
    "autoprompt": ("autoprompt", {}),
    "masked-lm (minilm)": ("masked-lm", {"beam": 3, "keep": 16, "before": 3, "after": 1, "survivors": 8}),
    "lm (smollm2)": ("lm", {"generator": GENERATOR}),
    ONE_WORD: ("", {}),
    ONE_WORD_POOL: ("autoprompt", TRIGGERS),
    POOL_WORDS: ("", {}),
}
MAX_LENGTH = 128
N_RANKED = 50  # templates at most among which dev chooses


def jobs(options: argparse.Namespace) -> Iterator[Job]:
    loaded(MODEL)  # once, for all processes
    call, source = STEPS[options.what]
    known = under(BENCHMARK.kept(options.setup.results).runs(), source or "")
    for seed, task, engine in itertools.product(options.seeds, options.tasks, options.engines):
        place = f"{task}/{engine}/{seed}"
        given = known.get(place) if source else options.budget
        if given and runs_on(options.what, task, engine, seed):
            yield f"{options.what}/{place}", functools.partial(call, options.setup, task, engine, seed, given)


def runs_on(what: str, task: str, engine: str, seed: int) -> bool:
    """Tell whether there is such a run."""
    if engine in ON_SST2 and (task != "sst2" or what not in ("find", "zero-shot")):
        return False
    if engine == POOL_WORDS and seed != SEEDS[0]:
        return False
    return engine in SEARCHES or what != "choice"


def task_of(setup: Setup, task: str, engine: str, seed: int) -> tuple[SearchTask, Sequence[Example]]:
    """Return what is searched for, and the test rows."""
    train, dev, test = split_of("sst2-all" if engine in ON_POOL else task, seed, setup)
    words = dict(verbalizer_entry("sst2/great-terrible" if engine in (ONE_WORD, ONE_WORD_POOL) else task).label_words)
    return SearchTask(train, dev, words, loaded(MODEL).to(setup.device), seed, MAX_LENGTH), test


def find(setup: Setup, task: str, engine: str, seed: int, budget: str) -> dict[str, Any]:
    what, _ = task_of(setup, task, engine, seed)
    (found, words), seconds = timed(lambda: searched(setup, task, engine, what, budget))
    return {"found": found, "words": words, "seconds": seconds, "device": setup.device}


def searched(setup: Setup, task: str, engine: str, what: SearchTask, budget: str) -> tuple[list[Any], Any]:
    """Return templates with their scores, and the label words."""
    kind, settings = ENGINES[engine]
    if engine == POOL_WORDS:
        what = replace(what, label_words=words_of_pool(setup))
    if not kind:
        return [[template_entry(task).template, 0.0]], what.label_words
    given = {name: loaded(value) if name == "generator" else value for name, value in settings.items()}
    search = TEMPLATE_SEARCHES.get(kind).of_budget(budget, **given)
    state = setup.results / "templates" / f"{task}-{list(ENGINES).index(engine)}-{what.seed}"
    return [[one.template, one.score] for one in search.search(what, resume_dir=state)], what.label_words


@functools.cache
def words_of_pool(setup: Setup) -> dict[str, tuple[str, ...]]:
    """Return AutoPrompt's label words for the library's template, as many a class as are best on dev.

    Neither the pool nor the classifier that finds them depends on a seed, so that this is one search.
    """
    what, _ = task_of(setup, "sst2", POOL_WORDS, SEEDS[0])
    template, place = template_entry("sst2").template, {"device": setup.device, "seed": SEEDS[0]}
    more: dict[str, Any] = {"engine": "autoprompt", "max_length": MAX_LENGTH, **place}
    found = [search_words(template, what.train, model=what.backbone, settings={"words": n}, **more)[0] for n in WORDS]
    return max(
        (dict(one.label_words) for one in found), key=lambda words: frozen(setup, template, words, what, what.dev)
    )


def frozen(setup: Setup, template: str, words: Mapping[str, Any], what: SearchTask, rows: Sequence[Example]) -> float:
    """Return the accuracy of the model as it is."""
    settings = setup.settings(tuning="none", max_length=MAX_LENGTH, seed=what.seed)
    return accuracy(PromptClassifier(template, words, what.backbone, **settings), rows)


def candidates(engine: str, what: SearchTask, run: Mapping[str, Any]) -> list[FoundTemplate]:
    return [FoundTemplate(text, engine, value, what.label_words) for text, value in run["found"][:N_RANKED]]


def zero_shot(setup: Setup, task: str, engine: str, seed: int, run: Mapping[str, Any]) -> dict[str, Any]:
    """Score the template that is best on dev with the untrained model, on test."""
    what, test = task_of(setup, task, engine, seed)
    what = replace(what, label_words=run.get("words", what.label_words))
    template = rank_templates(candidates(engine, what, run), what, Ranking(rounds=()))[0].found.template
    right = frozen(setup, template, what.label_words, what, test)
    return {"accuracy": right, "template": template, "device": setup.device}


def fine_tuned(setup: Setup, task: str, engine: str, seed: int, run: Mapping[str, Any]) -> dict[str, Any]:
    """Score the template that was chosen so, the model fine-tuned with it, on test."""
    what, test = task_of(setup, task, engine, seed)
    settings = setup.settings(tuning="full", max_length=MAX_LENGTH, seed=seed)
    classifier = PromptClassifier(run["template"], what.label_words, what.backbone, **settings)
    classifier.fit(what.train, eval_set=(what.dev, None))
    return {"accuracy": accuracy(classifier, test), "template": run["template"], "device": setup.device}


def choice(setup: Setup, task: str, engine: str, seed: int, run: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the best template on dev reaches: there, by the estimate for new text, and on test."""
    what, test = task_of(setup, task, engine, seed)
    found, contest = candidates(engine, what, run), Contest(what, Ranking(rounds=()))
    best = contest.ranked(found)[0]
    (estimate, *_) = cross_validated(
        contest.labels, lambda rows: [contest.right(contest.ranked(found, rows)[0])], folds=4, repeats=10, seed=seed
    )
    reached = BENCHMARK.kept(setup.results).runs().get(f"zero-shot/{task}/{engine}/{seed}", {})
    known = reached.get("template") == best.found.template
    return {
        "dev": best.result.accuracy,
        "estimate": estimate.accuracy,
        "test": reached["accuracy"] if known else frozen(setup, best.found.template, what.label_words, what, test),
        "candidates": len(found),
        "device": setup.device,
    }


STEPS: Mapping[str, tuple[Callable[..., dict[str, Any]], str | None]] = {  # what goes on from which runs
    "find": (find, None),
    "zero-shot": (zero_shot, "find"),
    "fine-tuned": (fine_tuned, "zero-shot"),
    "choice": (choice, "find"),
}
COLUMNS = ("zero-shot", "fine-tuned")  # of the first table
CHOICE = ("dev", "estimate", "test")  # of the second


def page(runs: Runs, about: Mapping[str, Any]) -> Page:
    parts = [reached_table(runs), choice_table(runs), "\n".join(["Split 13:", "", *samples(runs)])]
    note = (
        f"Test accuracy in % (872, 1,000 and 277 rows), mean (standard deviation) over those of the splits "
        f"{listed(SEEDS)} that have run; 16 training and 16 dev examples a class, which also choose the "
        f"template, zero-shot; label words are the library's, five a class on SST-2; model {MODEL}, float32. Pool: "
        "6,420 training and 500 dev sentences, from which AutoPrompt finds label words for the library's template, "
        "or triggers in place of its words; the model is frozen; the words are one search, which no split changes. "
        "Two settings, the strengths of that search of words and the triggers' 8 steps of 1,024 sentences, were chosen "
        "after SST-2's test rows had been looked at. Second table: dev is the accuracy on the rows that chose the "
        "best of up to 50 templates, the estimate that of templates chosen by three quarters of dev, on the fourth. "
        "masked-lm has a beam of 3 and gaps of 3 and 1 tokens. "
        f"What heuristic found for the splits 13, 21 and, of SST-2, 42 it found on {GPU}."
    )
    return Page(parts, note)


def reached_table(runs: Runs) -> str:
    """Return what the templates reach on test."""
    columns = {f"{NAMES[task]}, {kind}": f"{kind}/{task}" for task in TASKS for kind in COLUMNS}
    rows = [
        [engine, *(percent(over_seeds(runs, f"{place}/{engine}")) for place in columns.values())] for engine in ENGINES
    ]
    return table(["templates", *columns], known_rows(rows))


def choice_table(runs: Runs) -> str:
    """Return what dev, the estimate and test say of the template that dev chose."""
    tasks = [task for task in TASKS if under(runs, f"choice/{task}")]
    columns = [(task, what) for task in tasks for what in CHOICE]
    rows = [
        [engine, *(percent(over_seeds(runs, f"choice/{task}/{engine}"), what) for task, what in columns)]
        for engine in SEARCHES
    ]
    return table(["zero-shot, chosen by dev", *(f"{NAMES[task]}, {what}" for task, what in columns)], rows)


def samples(runs: Runs) -> list[str]:
    """Return the templates of the first split."""
    places = [(task, engine) for task in TASKS for engine in ENGINES]
    known = [(*place, runs.get(f"zero-shot/{'/'.join(place)}/{SEEDS[0]}")) for place in places]
    return [f"- {NAMES[task]}, {engine}: `{run['template']}`" for task, engine, run in known if run]


BENCHMARK = Benchmark(
    name="templates",
    title="Template search",
    doc=__doc__,
    stages=[jobs],
    page=page,
    options=[
        FOLDER, one_of("what", STEPS), DEVICE, value_of("budget", "medium"), some_of("tasks", TASKS),
        some_of("engines", ENGINES), SOME_SEEDS,
    ],
)  # fmt: skip

if __name__ == "__main__":
    BENCHMARK.main()
