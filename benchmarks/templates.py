"""Template search: the library's template, rules, AutoPrompt, and templates that minilm or smollm2 write.

    python benchmarks/templates.py FOLDER find [--tasks …] [--engines …] [--seeds …]
    python benchmarks/templates.py FOLDER zero-shot | fine-tuned [--tasks …] [--engines …] [--seeds …]

FOLDER holds ``rte`` and ``sst-2`` (train.tsv, dev.tsv and fewshot/k16-seedS.json). ``find`` searches with 16 training
and 16 dev examples a class and keeps what it finds; ``zero-shot`` chooses among it by dev and scores on test;
``fine-tuned`` trains with the template that was chosen so. With the ``pool``, AutoPrompt begins with the words of the
library's template and one label word a class, and searches with all training sentences of SST-2 but 500, which choose;
the model stays frozen.
Finished runs are kept in results/templates.json; the tables go to results/templates.md.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from sweep import GPU, MODEL, RESULTS, SEEDS, accuracy, keep, mean, parser, placed, stored, sweep
from tuning import data, loaded

from promptlab import PromptClassifier
from promptlab.library import template_entry, verbalizer_entry
from promptlab.registry import TEMPLATE_SEARCHES
from promptlab.search.ranking import Ranking, rank_templates
from promptlab.search.task import FoundTemplate, SearchTask

TASKS = {"sst2": "SST-2", "ag_news": "AG News", "rte": "RTE"}
ONE_WORD = "library, great / terrible"
POOL = "autoprompt (pool), great / terrible"
ON_SST2 = (ONE_WORD, POOL)  # what runs on SST-2 alone, with one word a class
ENGINES: Mapping[str, tuple[str, dict[str, Any]]] = {  # name in the registry, settings
    "library": ("", {}),
    "heuristic": ("heuristic", {}),
    "autoprompt": ("autoprompt", {}),
    "masked-lm (minilm)": ("masked-lm", {"beam": 3, "keep": 16, "before": 3, "after": 1, "survivors": 8}),
    "lm (smollm2)": ("lm", {"generator": "smollm2"}),
    ONE_WORD: ("", {}),
    POOL: (
        "autoprompt",
        {
            "template": "{{ text_a }} {{ trigger(6) }} {{ mask }}.",
            "start": "all in all , it was",
            "iterations": 8,
            "candidates": 6,
            "examples": 1024,  # with 192 a step can't tell small gains from luck, and the trigger drifts
            "loss": "classes",
            "metric": "loss",
        },
    ),
}
MAX_LENGTH = 128
STATES = RESULTS / "templates"  # from which an interrupted search goes on


def task_of(task: str, engine: str, seed: int, folder: Path, device: str) -> tuple[SearchTask, Any]:
    """What is searched for, and the test rows."""
    train, dev, test = data("sst2-all" if engine == POOL else task, seed, folder)
    words = dict(verbalizer_entry("sst2/great-terrible" if engine in ON_SST2 else task).label_words)
    return SearchTask(train, dev, words, loaded(MODEL).to(device), seed, MAX_LENGTH), test


def find(task: str, engine: str, seed: int, folder: Path, device: str, budget: str) -> dict[str, Any]:
    what, _ = task_of(task, engine, seed, folder, device)
    kind, settings = ENGINES[engine]
    start = time.perf_counter()
    if kind:
        search = TEMPLATE_SEARCHES.get(kind).of_budget(budget, **settings)
        state = STATES / f"{task}-{kind}-{seed}-{engine in ON_SST2}"
        found = [[one.template, one.score] for one in search.search(what, state=state)]
    else:
        found = [[template_entry(task).template, 0.0]]
    return {"found": found, "seconds": time.perf_counter() - start, "device": device}


def zero_shot(task: str, engine: str, seed: int, folder: Path, device: str, found: list[Any]) -> dict[str, Any]:
    """The template that is best on dev with the untrained model, on test."""
    what, test = task_of(task, engine, seed, folder, device)
    best = rank_templates(candidates(found, engine, what), what, Ranking(rounds=()))[0].found
    settings: dict[str, Any] = {"max_length": MAX_LENGTH, "seed": seed, **placed(device)}
    classifier = PromptClassifier(best.template, what.label_words, what.backbone, "none", **settings)
    return {"accuracy": accuracy(classifier, test), "template": best.template, "device": device}


def fine_tuned(task: str, engine: str, seed: int, folder: Path, device: str, template: str) -> dict[str, Any]:
    """A template, the model fine-tuned with it, on test."""
    what, test = task_of(task, engine, seed, folder, device)
    settings: dict[str, Any] = {"max_length": MAX_LENGTH, "seed": seed, **placed(device)}
    classifier = PromptClassifier(template, what.label_words, what.backbone, "full", **settings)
    classifier.fit(what.train, eval_set=(what.dev, None))
    return {"accuracy": accuracy(classifier, test), "template": template, "device": device}


def candidates(found: list[Any], engine: str, what: SearchTask) -> list[FoundTemplate]:
    return [FoundTemplate(text, engine, value, what.label_words) for text, value in found[:50]]


SCORES: Mapping[str, tuple[Callable[..., dict[str, Any]], str, str]] = {  # what it takes, of which runs
    "zero-shot": (zero_shot, "find", "found"),
    "fine-tuned": (fine_tuned, "zero-shot", "template"),
}


def write(results: Mapping[str, Any]) -> None:
    heads = [f"{name}, {kind}" for name in TASKS.values() for kind in SCORES]
    lines = ["| templates | " + " | ".join(heads) + " |", "|---" * (len(heads) + 1) + "|"]
    for engine in ENGINES:
        places = [f"{kind}/{task}/{engine}" for task in TASKS for kind in SCORES]
        rows = [[results[key] for seed in SEEDS if (key := f"{place}/{seed}") in results] for place in places]
        if any(rows):
            cells = [mean([100 * row["accuracy"] for row in some]) for some in rows]
            lines.append(f"| {engine} | " + " | ".join(cells) + " |")
    samples = [
        f"- {TASKS[task]}, {engine}: `{results[key]['template']}`"
        for task in TASKS
        for engine in ENGINES
        if (key := f"zero-shot/{task}/{engine}/{SEEDS[0]}") in results
    ]
    note = (
        f"Test accuracy in % (872, 1,000 and 277 rows), mean (standard deviation) over those of the splits "
        f"{', '.join(map(str, SEEDS))} that have run; 16 training and 16 dev examples a class, which also choose the "
        f"template, zero-shot; label words are the library's, five a class on SST-2; model {MODEL}, float32. Pool: the "
        "search begins with the library's template and has 6,420 training and 500 dev sentences; the model is frozen. "
        "masked-lm has a beam of 3 and gaps of 3 and 1 tokens. "
        f"What autoprompt found for the splits 13 and 21 it found on {GPU}."
    )
    keep("templates", "Template search", results, ["\n".join(lines), "\n".join(["Split 13:", "", *samples])], note)


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
        if engine not in ON_SST2 or (task == "sst2" and options.what != "fine-tuned")
    ]
    place = (options.folder, options.device)
    if options.what == "find":
        jobs = [
            (f"find/{task}/{engine}/{seed}", functools.partial(find, task, engine, seed, *place, options.budget))
            for task, engine, seed in runs
        ]
    else:
        call, source, name = SCORES[options.what]
        known = stored("templates")
        jobs = [
            (f"{options.what}/{task}/{engine}/{seed}", functools.partial(call, task, engine, seed, *place, row[name]))
            for task, engine, seed in runs
            if (row := known.get(f"{source}/{task}/{engine}/{seed}"))
        ]
    sweep("templates", jobs, write, processes=options.processes)


if __name__ == "__main__":
    main()
