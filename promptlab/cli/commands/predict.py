"""``promptlab predict``."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import click

from promptlab.cli.options import (
    FILE,
    base_option,
    check_no_separator,
    chosen_separator,
    columns_option,
    dialect_options,
    parse_pairs,
    quiet_libraries,
    readable,
    separator_option,
)
from promptlab.cli.outputs import holds_lists, output_format, write_rows


@click.command("predict")
@click.argument("model_folder", metavar="MODEL")
@click.argument("file", type=FILE)
@click.option(
    "--output",
    "-o",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File of .csv, .tsv, .jsonl or .parquet. [default: standard output]",
)
@click.option("--proba", is_flag=True, help="Add the probability of every class.")
@click.option("--json", "as_json", is_flag=True, help="JSON Lines on standard output instead of TSV.")
@base_option
@click.option("--device", default="auto", show_default=True)
@columns_option
@separator_option
@dialect_options
def command(
    model_folder: str,
    file: Path,
    output: Path | None,
    proba: bool,
    as_json: bool,
    base: str | None,
    device: str,
    columns: tuple[str, ...],
    separator: str | None,
    dialect: Mapping[str, str],
) -> None:
    """Classify the rows of FILE with the classifier saved in MODEL, or let the generator saved there write.

    Rows are read and written as they come.
    """
    from promptlab.data.readers import iter_examples
    from promptlab.estimators.class_scorer import ClassScorer
    from promptlab.estimators.generator import PromptGenerator
    from promptlab.estimators.multi_label_classifier import MultiLabelClassifier
    from promptlab.estimators.saving import load_any

    quiet_libraries()
    suffix = output_format(output, as_json=as_json)
    given = iter_examples(file, columns=parse_pairs(columns), label=None, **dialect)
    examples = readable(model_folder, given)
    classifier = load_any(model_folder, model=base, device=device)
    if isinstance(classifier, MultiLabelClassifier):
        rows = _several(
            classifier, examples, proba, None if holds_lists(suffix) else chosen_separator(classifier, separator)
        )
    elif isinstance(classifier, PromptGenerator):
        check_no_separator(separator, model_folder)
        if proba:
            raise click.UsageError(
                f"{model_folder} writes texts, which have no probabilities of classes; drop --proba."
            )
        rows = _texts(classifier, examples)
    elif isinstance(classifier, ClassScorer):
        check_no_separator(separator, model_folder)
        rows = _rows(classifier, examples, proba)
    else:
        raise click.UsageError(f"{model_folder} holds a {type(classifier).__name__}, whose input is no table of texts.")
    write_rows(rows, output, suffix)


def _rows(classifier: Any, examples: Iterable[Any], proba: bool) -> Iterator[dict[str, Any]]:
    classifier.ready()
    names = classifier.class_names_
    for number, probabilities in enumerate(classifier.iter_proba(examples), start=1):
        best = int(probabilities.argmax())
        row: dict[str, Any] = {"row": number, "label": names[best], "probability": round(float(probabilities[best]), 6)}
        yield row | (_each(names, probabilities) if proba else {})


def _several(classifier: Any, examples: Iterable[Any], proba: bool, separator: str | None) -> Iterator[dict[str, Any]]:
    """Rows with all labels that hold, as one text if there is a separator."""
    names = classifier.class_names_
    for number, probabilities in enumerate(classifier.iter_proba(examples), start=1):
        held = classifier.decide_names(probabilities)
        row: dict[str, Any] = {"row": number, "labels": held if separator is None else separator.join(held)}
        yield row | (_each(names, probabilities) if proba else {})


def _each(names: Iterable[str], probabilities: Iterable[float]) -> dict[str, float]:
    return {f"p({name})": round(float(p), 6) for name, p in zip(names, probabilities, strict=True)}


def _texts(generator: Any, examples: Iterable[Any], *, chunk: int = 32) -> Iterator[dict[str, Any]]:
    numbered = enumerate(examples, start=1)
    while some := list(itertools.islice(numbered, chunk)):
        for (number, _), text in zip(some, generator.generate([example for _, example in some]), strict=True):
            yield {"row": number, "text": text}
