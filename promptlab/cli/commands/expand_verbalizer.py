"""``promptlab expand-verbalizer``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from promptlab.cli.options import (
    FILE,
    columns_option,
    dialect_options,
    json_option,
    parse_pairs,
    print_json,
    print_table,
    quiet_libraries,
    write_label_words,
)


@click.command("expand-verbalizer")
@click.argument("words", type=FILE)
@click.option("--template", required=True, help="Jinja source or a name, with one mask.")
@click.option("--support", type=FILE, required=True, help="About 200 unlabeled texts; labels aren't read.")
@click.option("--output", "-o", type=click.Path(dir_okay=False, path_type=Path), help="JSON for --verbalizer of fit.")
@click.option("--class", "classes", multiple=True, help="Names of the classes of WORDS' lines, in order; repeated.")
@click.option("--model", help="Model package, hub id or folder. [default: minilm, if installed]")
@click.option("--wordnet", is_flag=True, help="First add related words from WordNet.")
@click.option("--nearest", type=click.IntRange(min=1), help="First add so many words whose vectors are near.")
@click.option("--frequency", type=float, default=0.5, show_default=True, help="Share of the vocabulary that is rare.")
@click.option("--relevance/--no-relevance", default=True, show_default=True, help="Drop words of no one class.")
@click.option("--multi-token", type=click.Choice(["drop", "first"]), default="drop", show_default=True)
@click.option("--max-length", type=int, help="Tokens of the prompt. [default: the model's limit]")
@columns_option
@dialect_options
@json_option
def command(
    words: Path,
    template: str,
    support: Path,
    output: Path | None,
    classes: tuple[str, ...],
    model: str | None,
    wordnet: bool,
    nearest: int | None,
    frequency: float,
    relevance: bool,
    multi_token: str,
    max_length: int | None,
    columns: tuple[str, ...],
    dialect: Mapping[str, str],
    as_json: bool,
) -> None:
    """Refine the label words in WORDS (KPT) and print those kept and dropped.

    WORDS is JSON (class: [words]), or a line for each class with its words between commas, its name first.
    """
    from promptlab.core.files import check_writable
    from promptlab.data.readers import read_examples
    from promptlab.search.words.expansion import nearest_words, read_word_lists, wordnet_words
    from promptlab.search.words.refinement import refine_words

    quiet_libraries()
    if output is not None:
        check_writable(output)  # before a model is loaded
    label_words: Any = read_word_lists(words, classes or None)
    texts = read_examples(support, columns=parse_pairs(columns), label=None, **dialect)
    if wordnet:
        label_words = wordnet_words(label_words)
    if nearest:
        label_words = nearest_words(label_words, model, n=nearest)
    refined = refine_words(
        label_words,
        template,
        texts,
        model,
        frequency=frequency,
        relevance=relevance,
        multi_token=multi_token,
        max_length=max_length,
    )
    write_label_words(output, refined.label_words)
    if as_json:
        print_json({"kept": refined.label_words, "dropped": [one._asdict() for one in refined.dropped]})
        return
    print_table("dropped", ["class", "word", "reason"], [list(one) for one in refined.dropped], n_text=3)
    kept = [[name, " ".join(row), len(row)] for name, row in refined.label_words.items()]
    print_table("kept", ["class", "words", "number"], kept, n_text=2)
