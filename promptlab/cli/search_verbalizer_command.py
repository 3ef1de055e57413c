"""``promptlab search-verbalizer``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

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
    write_label_words,
)
from promptlab.registry import WORD_SEARCHES


@click.command("search-verbalizer")
@click.argument("train", type=FILE)
@click.option("--template", required=True, help="Jinja source or a name, with one mask.")
@click.option("--engine", type=click.Choice(WORD_SEARCHES.names), default="lm-bff", show_default=True)
@click.option("--dev", type=FILE, help="Fine-tune with each result and rank them by their accuracy on this file.")
@click.option("--output", "-o", type=click.Path(dir_okay=False, path_type=Path), help="The best, as JSON for fit.")
@click.option("--n", type=click.IntRange(min=1), default=5, show_default=True, help="Results to print.")
@click.option("--candidates", type=int, default=10_000, show_default=True, help="Commonest words of the vocabulary.")
@click.option("--words", type=click.IntRange(min=1), help="Of each class, for petal and autoprompt.")
@click.option("--model", help="Model package, hub id or folder. [default: minilm, if installed]")
@click.option("--max-length", type=int, help="Tokens of the prompt. [default: the model's limit]")
@click.option("--seed", type=int, default=0, show_default=True)
@columns_option
@label_option
@json_option
def command(
    train: Path,
    template: str,
    engine: str,
    dev: Path | None,
    output: Path | None,
    n: int,
    candidates: int,
    words: int | None,
    model: str | None,
    max_length: int | None,
    seed: int,
    columns: tuple[str, ...],
    label: str,
    as_json: bool,
) -> None:
    """Find label words for the labelled rows of TRAIN and print the best."""
    from promptlab.data.readers import read_examples
    from promptlab.search.label_words import rank_by_training, search_words

    if words is not None and engine == "lm-bff":
        raise click.UsageError("--words is for petal and autoprompt; lm-bff gives each class one word.")
    quiet_libraries()
    settings: dict[str, Any] = {} if words is None else {"words": words}
    fields = parse_pairs(columns)
    examples = read_examples(train, columns=fields, label=label)
    held_out = None if dev is None else read_examples(dev, columns=fields, label=label)
    found = search_words(
        template,
        examples,
        model=model,
        engine=engine,
        n=n,
        candidates=candidates,
        max_length=max_length,
        seed=seed,
        **settings,
    )
    if held_out is not None:
        found = rank_by_training(
            found, template, (examples, None), (held_out, None), model, max_length=max_length, seed=seed
        )
    write_label_words(output, found[0].label_words)
    if as_json:
        print_json([{"score": one.score, "label_words": one.label_words} for one in found])
        return
    rows = [[f"{one.score:.3f}", *map(" ".join, one.label_words.values())] for one in found]
    print_table("label words", ["score", *found[0].label_words], rows)
