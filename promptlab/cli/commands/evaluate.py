"""``promptlab evaluate``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import click

from promptlab.cli.options import (
    FILE,
    base_option,
    check_no_separator,
    chosen_separator,
    columns_option,
    dialect_options,
    json_option,
    label_option,
    parse_pairs,
    print_json,
    print_table,
    quiet_libraries,
    readable,
    separator_option,
)

SCORES = {  # of one label a row, or of several
    "accuracy": "accuracy",
    "subset_accuracy": "all labels right",
    "micro_f1": "micro-F1",
    "macro_f1": "macro-F1",
}


@click.command("evaluate")
@click.argument("model_folder", metavar="MODEL")
@click.argument("file", type=FILE)
@base_option
@click.option("--device", default="auto", show_default=True)
@columns_option
@label_option
@separator_option
@dialect_options
@json_option
def command(
    model_folder: str,
    file: Path,
    base: str | None,
    device: str,
    columns: tuple[str, ...],
    label: str,
    separator: str | None,
    dialect: Mapping[str, str],
    as_json: bool,
) -> None:
    """Score the classifier saved in MODEL on the labeled rows of FILE, read as they come."""
    from promptlab.data.readers import iter_examples
    from promptlab.estimators.class_scorer import ClassScorer
    from promptlab.estimators.multi_label_classifier import MultiLabelClassifier
    from promptlab.estimators.saving import load_any
    from promptlab.evaluation.metrics import evaluate, evaluate_labels

    quiet_libraries()
    fields = parse_pairs(columns)
    rows = iter_examples(file, columns=fields, label=label, separator=separator or "|", **dialect)
    readable(model_folder, rows)
    classifier = load_any(model_folder, model=base, device=device)
    if isinstance(classifier, MultiLabelClassifier):
        between = chosen_separator(classifier, separator)
        report = evaluate_labels(
            classifier, iter_examples(file, columns=fields, label=label, separator=between, **dialect)
        )
    elif isinstance(classifier, ClassScorer):
        check_no_separator(separator, model_folder)
        report = evaluate(classifier, iter_examples(file, columns=fields, label=label, **dialect))
    else:
        raise click.UsageError(f"{model_folder} holds a {type(classifier).__name__}; only text classifiers are scored.")
    if as_json:
        print_json(report)
        return
    table = [
        [name, f"{v['precision']:.3f}", f"{v['recall']:.3f}", f"{v['f1']:.3f}", v["support"]]
        for name, v in report["classes"].items()
    ]
    print_table(str(file), ["class", "precision", "recall", "F1", "rows"], table)
    scores = [f"{shown} {report[name]:.4f}" for name, shown in SCORES.items() if name in report]
    click.echo("  ".join([*scores, f"rows {report['rows']}"]))
