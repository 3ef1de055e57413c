"""Template search: the library's template, rules, AutoPrompt, and templates that minilm or smollm2 write.

    python benchmarks/templates.py FOLDER find [--tasks …] [--engines …] [--seeds …]
    python benchmarks/templates.py FOLDER score [--tasks …] [--engines …] [--seeds …]

FOLDER holds ``rte`` and ``sst-2`` (train.tsv, dev.tsv and fewshot/k16-seedS.json). ``find`` searches with 16 training
and 16 dev examples a class and keeps what it finds; ``score`` chooses among it by dev and scores on test: zero-shot
the template that is best zero-shot, fine-tuned the one that successive halving by fine-tuning leaves. With the
``pool``, AutoPrompt searches with all training sentences of SST-2 but 500, which choose, and the model stays frozen.
Finished runs are kept in results/templates.json; the tables go to results/templates.md.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sweep import MODEL, SEEDS, accuracy, keep, mean, parser, placed, stored, sweep
from tuning import data, loaded

from promptlab import PromptClassifier
from promptlab.library import template_entry, verbalizer_entry
from promptlab.registry import TEMPLATE_SEARCHES
from promptlab.search.ranking import Ranking, rank_templates
from promptlab.search.task import FoundTemplate, SearchTask

TASKS = {"sst2": "SST-2", "ag_news": "AG News", "rte": "RTE"}
POOLS = ("autoprompt (pool)", "autoprompt (pool), behind the library's")
AT_LENGTH = {"iterations": 60}
ENGINES: Mapping[str, tuple[str, dict[str, Any]]] = {  # name in the registry, settings
    "library": ("", {}),
    "heuristic": ("heuristic", {}),
    "autoprompt": ("autoprompt", {}),
    "masked-lm (minilm)": ("masked-lm", {}),
    "lm (smollm2)": ("lm", {"generator": "smollm2"}),
    POOLS[0]: ("autoprompt", AT_LENGTH),
    POOLS[1]: ("autoprompt", {**AT_LENGTH, "template": "{{ text_a }} All in all, it was {{ trigger(3) }} {{ mask }}."}),
}
UNTRAINED = Ranking(rounds=())
TRAINED = Ranking(rounds=(25, 50, 100), entrants=4)
MAX_LENGTH = 128


def task_of(task: str, engine: str, seed: int, folder: Path, device: str) -> tuple[SearchTask, Any]:
    """What is searched for, and the test rows."""
    train, dev, test = data("sst2-all" if engine in POOLS else task, seed, folder)
    words = dict(verbalizer_entry(task).label_words)
    return SearchTask(train, dev, words, loaded(MODEL).to(device), seed, MAX_LENGTH), test


def find(task: str, engine: str, seed: int, folder: Path, device: str, budget: str) -> dict[str, Any]:
    what, _ = task_of(task, engine, seed, folder, device)
    kind, settings = ENGINES[engine]
    start = time.perf_counter()
    if kind:
        search = TEMPLATE_SEARCHES.get(kind).of_budget(budget, **settings)
        found = [[one.template, one.score] for one in search.search(what)]
    else:
        found = [[template_entry(task).template, 0.0]]
    return {"found": found, "seconds": time.perf_counter() - start, "device": device}


def score(task: str, engine: str, seed: int, folder: Path, device: str, found: list[Any]) -> dict[str, Any]:
    what, test = task_of(task, engine, seed, folder, device)
    candidates = [FoundTemplate(text, engine, value, what.label_words) for text, value in found[:50]]
    settings: dict[str, Any] = {"max_length": MAX_LENGTH, "seed": seed, **placed(device)}
    untrained = rank_templates(candidates, what, UNTRAINED)[0]
    frozen = PromptClassifier(untrained.found.template, what.label_words, what.backbone, "none", **settings)
    result = {"zero_shot": accuracy(frozen, test), "template": untrained.found.template, "device": device}
    if engine in POOLS:
        return result
    trained = rank_templates(candidates, what, TRAINED)[0]
    tuned = PromptClassifier(trained.found.template, what.label_words, what.backbone, "full", **settings)
    tuned.fit(what.train, eval_set=(what.dev, None))
    return {**result, "fine_tuned": accuracy(tuned, test), "tuned_template": trained.found.template}


def write(results: Mapping[str, Any]) -> None:
    heads = [f"{name}, {kind}" for name in TASKS.values() for kind in ("zero-shot", "fine-tuned")]
    lines = ["| templates | " + " | ".join(heads) + " |", "|---" * (len(heads) + 1) + "|"]
    for engine in ENGINES:
        rows = {task: [results.get(f"score/{task}/{engine}/{seed}") for seed in SEEDS] for task in TASKS}
        if any(row for some in rows.values() for row in some):
            cells = [
                mean([100 * row[kind] for row in rows[task] if row and kind in row])
                for task in TASKS
                for kind in ("zero_shot", "fine_tuned")
            ]
            lines.append(f"| {engine} | " + " | ".join(cells) + " |")
    samples = [
        f"- {TASKS[task]}, {engine}: `{results[key]['template']}`"
        for task in TASKS
        for engine in ENGINES
        if (key := f"score/{task}/{engine}/{SEEDS[0]}") in results
    ]
    note = (
        f"Test accuracy in % (872, 1,000 and 277 rows), mean (standard deviation) over the splits "
        f"{', '.join(map(str, SEEDS))}; 16 training and 16 dev examples a class, which also choose the template; label "
        f"words are the library's; model {MODEL}, float32. Pool: 6,420 training and 500 dev sentences, model frozen."
    )
    keep("templates", "Template search", results, ["\n".join(lines), "\n".join(["Split 13:", "", *samples])], note)


def main() -> None:
    options_of = parser(__doc__, folder=True)
    options_of.add_argument("what", choices=["find", "score"])
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
        if engine not in POOLS or task == "sst2"
    ]
    place = (options.folder, options.device)
    known = stored("templates")
    if options.what == "find":
        jobs = [
            (f"find/{task}/{engine}/{seed}", functools.partial(find, task, engine, seed, *place, options.budget))
            for task, engine, seed in runs
        ]
    else:
        jobs = [
            (f"score/{task}/{engine}/{seed}", functools.partial(score, task, engine, seed, *place, row["found"]))
            for task, engine, seed in runs
            if (row := known.get(f"find/{task}/{engine}/{seed}"))
        ]
    sweep("templates", jobs, write, processes=options.processes)


if __name__ == "__main__":
    main()
