"""``promptlab show``."""

from __future__ import annotations

from typing import Any

import click

from promptlab.cli.options import json_option, parse_pairs, print_json, print_table, quiet_libraries


@click.command("show")
@click.argument("template")
@click.option("--text", "texts", multiple=True, required=True, help="text_a; given again: text_b, …")
@click.option("--field", "fields", multiple=True, metavar="NAME=VALUE", help="A field of another name.")
@click.option("--verbalizer", help="JSON or a name: also show the classes, and which words drive the decision.")
@click.option("--model", help="Model package, hub id or folder. [default: minilm, if installed]")
@click.option("--max-length", type=int, help="Tokens of the prompt. [default: the model's limit]")
@click.option(
    "--top", "top_k", type=click.IntRange(min=1), default=10, show_default=True, help="Words to show at each mask."
)
@json_option
def command(
    template: str,
    texts: tuple[str, ...],
    fields: tuple[str, ...],
    verbalizer: str | None,
    model: str | None,
    max_length: int | None,
    top_k: int,
    as_json: bool,
) -> None:
    """Show the segments, tokens and truncation of a prompt, and the model's likeliest words at each mask.

    TEMPLATE is Jinja source or a name such as sst2/it-was.
    """
    from promptlab.core.types import Example
    from promptlab.data.readers import as_examples
    from promptlab.evaluation.inspection import inspect_prompt

    quiet_libraries()
    named = parse_pairs(fields, "NAME=VALUE, such as topic=film") or {}
    example = Example({**as_examples([tuple(texts)])[0].fields, **named})
    report = inspect_prompt(template, example, model=model, max_length=max_length, top_k=top_k)
    if verbalizer is not None:
        from promptlab.cli.commands.fit import parse_verbalizer
        from promptlab.estimators.classifiers import PromptClassifier
        from promptlab.evaluation.inspection import explain

        classifier = PromptClassifier(template, parse_verbalizer(verbalizer), model, max_length=max_length)
        report["classes"] = explain(classifier, [example], top_k=top_k)[0]
    if as_json:
        print_json(report)
    else:
        _print(report)


def _print(report: dict[str, Any]) -> None:
    print_table(
        "segments",
        ["kind", "content", "slots", "shortenable"],
        [
            [
                s["kind"],
                repr(s["text"]) if s["text"] else "",
                s["n"] if s["kind"] not in ("text", "field") else "",
                "yes" if s["shortenable"] else "",
            ]
            for s in report["segments"]
        ],
        n_text=2,
    )
    click.echo(f"tokens ({len(report['ids'])}, {report['n_cut']} cut): {' '.join(report['tokens'])}")
    click.echo(f"ids: {' '.join(map(str, report['ids']))}")
    for number, words in enumerate(report["masks"], start=1):
        click.echo(f"mask {number}: " + "  ".join(f"{w['word']} {w['probability']:.3f}" for w in words))
    for row in report.get("classes", ()):
        words = "  ".join(f"{w['word']} {w['score']:+.2f}" for w in row["words"])
        click.echo(f"class {row['class']} {row['probability']:.3f}: {words}")
