"""The data of the benchmarks, shipped or in a folder, and the accuracy on it."""

from __future__ import annotations

import functools
import gzip
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.common.setup import Setup
from promptlab import load_sample, read_examples
from promptlab.core.types import Example

SIZED = {  # tasks as the heads of columns name them
    "sst2": "SST-2 (872 dev rows)",
    "trec": "TREC (500 test rows)",
    "ag_news": "AG News (1,000 test rows)",
    "rte": "RTE (277 dev rows)",
}
NAMES = {task: name.split(" (")[0] for task, name in SIZED.items()} | {"sst-2": "SST-2"}
SHIPPED = ("sst2", "trec", "ag_news")
WHOLE = {"sst2-all": "SST-2", "rte-all": "RTE"}  # trained on all rows but those that select
SELECT = 500
FOLDERS = {"sst2-all": "sst-2", "rte-all": "rte"}
TESTED = {"sst-2": "dev", "rte": "dev"}  # where the test rows have no labels
Split = tuple[Sequence[Example], Sequence[Example], Sequence[Example]]  # training, dev and test examples

sample = functools.cache(load_sample)


def split_of(task: str, seed: int, setup: Setup) -> Split:
    """Return a split of a task: 16 training and 16 dev examples a class, or of ``…-all`` all but 500 and these.

    Args:
        task: shipped, ``rte``, or ``sst2-all`` or ``rte-all``; those not shipped are read from a folder of that name
            with train.tsv, dev.tsv and fewshot/k16-seedS.json.
    """
    if task in SHIPPED:
        train, dev = sample(task).few_shot(seed)
        return train, dev, setup.some(sample(task).test)
    folder = setup.data(FOLDERS.get(task, task))
    pool, test = rows_of(folder, "train"), setup.some(rows_of(folder, "dev"))
    if task in WHOLE:
        return setup.some(pool[:-SELECT]), setup.some(pool[-SELECT:]), test
    split = json.loads((folder / "fewshot" / f"k16-seed{seed}.json").read_text(encoding="utf-8"))
    return [pool[row] for row in split["train"]], [pool[row] for row in split["dev"]], test


def path_of(folder: Path, part: str) -> Path:
    """Return the file of a part, ``train``, ``dev`` or ``test``: a table, perhaps compressed."""
    return next(path for path in (folder / f"{part}.tsv", folder / f"{part}.tsv.gz") if path.exists())


def test_path(folder: Path) -> Path:
    """Return the file of the rows that a task is scored on."""
    return path_of(folder, TESTED.get(folder.name, "test"))


@functools.cache
def rows_of(folder: Path, part: str) -> list[Example]:
    """Return the examples of a part of a task."""
    return read_examples(path_of(folder, part))


def json_lines(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the rows of a file of JSON Lines, perhaps compressed."""
    opener: Any = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt", encoding="utf-8") as file:
        yield from map(json.loads, file)


def fields_of(task: str) -> tuple[str, ...]:
    """Return the fields that a head reads."""
    return ("text_a", "text_b") if task.startswith("rte") else ("text_a",)


def accuracy(classifier: Any, examples: Sequence[Example]) -> float:
    """Return the share of examples classified right."""
    return share_right(classifier.predict(examples), examples)


def share_right(predicted: Sequence[Any], examples: Sequence[Example]) -> float:
    """Return the share of predictions that are the labels."""
    return sum(p == example.label for p, example in zip(predicted, examples, strict=True)) / len(examples)


SOFT_TEMPLATES: Mapping[str, str] = {  # P-Tuning needs soft tokens in the template
    "sst2": "{{ soft(3) }} {{ text_a }} {{ soft(2) }} All in all, it was {{ mask }}.",
    "trec": "{{ soft(3) }} {{ mask }}: {{ soft(2) }} {{ text_a }}",
    "ag_news": "{{ soft(3) }} {{ mask }}: {{ soft(2) }} {{ text_a }}",
    "rte": "{{ soft(2) }} {{ text_a | strip_punctuation }} ? {{ soft(2) }} {{ mask }} , {{ text_b | lower_first }}",
}
