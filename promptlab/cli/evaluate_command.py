"""``promptlab evaluate``."""

from __future__ import annotations

from pathlib import Path

import click

from promptlab.cli.common import (
    FILE,
    columns_option,
    json_option,
    label_option,
    parse_pairs,
    print_json,
    print_table,
    quiet_libraries,
)


@click.command("evaluate")
@click.argument("model_folder", metavar="MODEL")
@click.argument("file", type=FILE)
@click.option("--device", default="auto", show_default=True)
@columns_option
@label_option
@json_option
def command(model_folder: str, file: Path, device: str, columns: tuple[str, ...], label: str, as_json: bool) -> None:
    """Score the classifier saved in MODEL on the labelled rows of FILE, read as they come."""
    from promptlab.data.readers import iter_examples
    from promptlab.evaluation.metrics import evaluate
    from promptlab.saving import load_any
    from promptlab.text_classifier import TextClassifier

    quiet_libraries()
    classifier = load_any(model_folder, device=device)
    if not isinstance(classifier, TextClassifier):
        raise click.UsageError(f"{model_folder} holds a {type(classifier).__name__}; only text classifiers are scored.")
    report = evaluate(classifier, iter_examples(file, columns=parse_pairs(columns), label=label))
    if as_json:
        print_json(report)
        return
    rows = [
        [name, f"{v['precision']:.3f}", f"{v['recall']:.3f}", f"{v['f1']:.3f}", v["support"]]
        for name, v in report["classes"].items()
    ]
    print_table(str(file), ["class", "precision", "recall", "F1", "rows"], rows)
    click.echo(f"accuracy {report['accuracy']:.4f}  macro-F1 {report['macro_f1']:.4f}  rows {report['rows']}")
