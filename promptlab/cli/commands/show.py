"""``promptlab show``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import click

from promptlab.cli.arguments import parse_pairs, parse_verbalizer
from promptlab.cli.groups import OptionGroup, argument, group_command, option, repeated
from promptlab.cli.library_defaults import default_of
from promptlab.cli.option_groups.models import ModelOptions
from promptlab.cli.option_groups.reports import ReportOptions
from promptlab.cli.printing import print_json, print_table, quiet_libraries

if TYPE_CHECKING:
    from promptlab.core.types import Example
    from promptlab.evaluation.inspection import PromptReport


@dataclass(frozen=True)
class ShowOptions(OptionGroup):
    """What is shown."""

    title: ClassVar[str] = "Prompt"

    template: str = argument()
    texts: tuple[str, ...] = repeated("--text", required=True, help="text_a; given again: text_b, …")
    fields: tuple[str, ...] = repeated("--field", metavar="NAME=VALUE", help="A field of another name.")
    verbalizer: str | None = option(help="JSON or a name: also show the classes, and which words drive the decision.")
    top_k: int = option(
        "--top",
        default=default_of("promptlab.evaluation.inspection:inspect_prompt", "top_k"),
        type=click.IntRange(min=1),
        help="Words to show at each mask.",
    )

    def example(self) -> Example:
        """Return an example of the texts and fields."""
        from promptlab.core.types import Example
        from promptlab.data.readers import as_examples

        named = parse_pairs(self.fields, "NAME=VALUE, such as topic=film") or {}
        return Example({**as_examples([tuple(self.texts)])[0].fields, **named})


@group_command("show")
def command(prompt: ShowOptions, model: ModelOptions, report: ReportOptions) -> None:
    """Show the segments, tokens and truncation of a prompt, and the model's likeliest words at each mask.

    TEMPLATE is Jinja source or a name such as sst2/it-was.
    """
    from promptlab.core.registry import ESTIMATORS
    from promptlab.evaluation.inspection import explain, inspect_prompt

    quiet_libraries()
    example, settings = prompt.example(), model.settings()
    shown = inspect_prompt(prompt.template, example, top_k=prompt.top_k, **settings)
    if prompt.verbalizer is not None:
        words = parse_verbalizer(prompt.verbalizer)
        classifier = ESTIMATORS.get("PromptClassifier")(prompt.template, words, **settings)
        shown["classes"] = explain(classifier, [example], top_k=prompt.top_k)[0]
    if report.as_json:
        print_json(shown)
    else:
        _print(shown)


def _print(report: PromptReport) -> None:
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
        drove = "  ".join(f"{w['word']} {w['score']:+.2f}" for w in row["words"])
        click.echo(f"class {row['class']} {row['probability']:.3f}: {drove}")
