"""``promptlab demo``."""

from __future__ import annotations

import click

from promptlab.cli.options import json_option, print_json, print_table, quiet_libraries


@click.command("demo")
@click.option("--model", default="minilm", show_default=True, help="Model package, hub id or folder.")
@click.option("--split", type=click.Choice(["13", "21", "42", "87", "100"]), default="13", show_default=True)
@json_option
def command(model: str, split: str, as_json: bool) -> None:
    """Classify film reviews from 16 examples a class: zero-shot, linear probe, head and prompt fine-tuning."""
    from promptlab.data.samples import load_sample
    from promptlab.evaluation.baselines import TASK, run_demo

    quiet_libraries()
    rows = []
    for row in run_demo(model, split=int(split)):
        click.echo(f"{row.method}: {100 * row.accuracy:.1f} %", err=True)
        rows.append(row)
    examples = load_sample(TASK).test[:5]
    probabilities = rows[-1].classifier.predict_proba(examples)
    classes = rows[-1].classifier.class_names_
    answers = [
        {
            "text": e.fields["text_a"],
            "truth": e.label,
            **{c: round(float(p), 3) for c, p in zip(classes, row, strict=True)},
        }
        for e, row in zip(examples, probabilities, strict=True)
    ]
    if as_json:
        results = [
            {"method": r.method, "accuracy": r.accuracy, "seconds": r.seconds, "trained_weights": r.trained_weights}
            for r in rows
        ]
        print_json({"results": results, "predictions": answers})
        return
    table = [[r.method, f"{100 * r.accuracy:.1f} %", f"{r.seconds:.1f}", f"{r.trained_weights:,}"] for r in rows]
    print_table(
        f"SST-2, 16 examples a class, {model}, 872 dev sentences",
        ["method", "accuracy", "seconds", "trained weights"],
        table,
    )
    print_table(
        "five predictions of the last one",
        ["text", "truth", *(f"p({name})" for name in classes)],
        [[a["text"], a["truth"], *(a[name] for name in classes)] for a in answers],
    )
