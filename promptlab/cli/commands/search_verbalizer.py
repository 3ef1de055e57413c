"""``promptlab search-verbalizer``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from promptlab.cli.options import (
    FILE,
    columns_option,
    dialect_options,
    json_option,
    label_option,
    parse_pairs,
    print_json,
    print_table,
    quiet_libraries,
    write_label_words,
)
from promptlab.core.registry import WORD_SEARCHES

if TYPE_CHECKING:
    from promptlab.search.words.search import FoundWords


@click.command("search-verbalizer")
@click.argument("train", type=FILE)
@click.option("--template", required=True, help="Jinja source or a name, with one mask.")
@click.option("--engine", type=click.Choice(WORD_SEARCHES.names), default="lm-bff", show_default=True)
@click.option("--dev", type=FILE, help="Fine-tune with each result and rank them by their accuracy on this file.")
@click.option("--output", "-o", type=click.Path(dir_okay=False, path_type=Path), help="The best, as JSON for fit.")
@click.option("--top", type=click.IntRange(min=1), default=5, show_default=True, help="Results to print.")
@click.option("--candidates", type=int, default=10_000, show_default=True, help="Commonest words of the vocabulary.")
@click.option("--words", type=click.IntRange(min=1), help="Of each class, for petal and autoprompt.")
@click.option("--model", help="Model package, hub id or folder. [default: minilm, if installed]")
@click.option("--max-length", type=int, help="Tokens of the prompt. [default: the model's limit]")
@click.option("--seed", type=int, default=0, show_default=True)
@columns_option
@label_option
@dialect_options
@json_option
def command(
    train: Path,
    template: str,
    engine: str,
    dev: Path | None,
    output: Path | None,
    top: int,
    candidates: int,
    words: int | None,
    model: str | None,
    max_length: int | None,
    seed: int,
    columns: tuple[str, ...],
    label: str,
    dialect: Mapping[str, str],
    as_json: bool,
) -> None:
    """Find label words for the labeled rows of TRAIN and print the best."""
    from promptlab.core.files import check_writable
    from promptlab.data.overlap import count_shared
    from promptlab.data.readers import read_examples
    from promptlab.library.resolve import resolve_template
    from promptlab.search.words.search import rank_by_training, search_words

    if words is not None and engine == "lm-bff":
        raise click.UsageError("--words is for petal and autoprompt; lm-bff gives each class one word.")
    quiet_libraries()
    if output is not None:
        check_writable(output)  # before a model is loaded
    settings: dict[str, Any] = {} if words is None else {"words": words}
    fields = parse_pairs(columns)
    examples = read_examples(train, columns=fields, label=label, **dialect)
    held_out = None if dev is None else read_examples(dev, columns=fields, label=label, **dialect)
    found = search_words(
        template,
        examples,
        model=model,
        engine=engine,
        top=top,
        candidates=candidates,
        max_length=max_length,
        seed=seed,
        **settings,
    )
    file, n_rows = train, len(examples)
    if dev is not None and held_out is not None:
        shared = count_shared(held_out, examples, resolve_template(template).fields)
        file, n_rows = dev, len(held_out) - shared
        found = rank_by_training(
            found, template, (examples, None), (held_out, None), model, max_length=max_length, seed=seed
        )
        if shared:
            click.echo(f"dev rows left out since their texts are training rows', too: {shared}", err=True)
    write_label_words(output, found[0].label_words)
    if as_json:
        print_json([_plain(one) | {"file": str(file), "rows": n_rows} for one in found])
        return
    click.echo(_note(found[0], file, n_rows), err=True)
    table = {"#": [str(number) for number in range(1, len(found) + 1)]}
    table |= {name: [" ".join(one.label_words[name]) for one in found] for name in found[0].label_words}
    table[found[0].measure] = [f"{one.score:.3f}" for one in found]
    if dev is not None:
        table["estimate"] = ["–" if one.estimate is None else f"{one.estimate.accuracy:.3f}" for one in found]
    print_table("label words", list(table), list(zip(*table.values())), n_text=1 + len(found[0].label_words))


def _plain(one: FoundWords) -> dict[str, Any]:
    from promptlab.search.words.search import MEANINGS

    said = {"label_words": one.label_words, "score": one.score, "measure": one.measure}
    if one.estimate is not None:
        said |= {
            "estimated_accuracy": one.estimate.accuracy, "estimated_standard_error": one.estimate.standard_error,
        }  # fmt: skip
    return said | {"measure_is": MEANINGS[one.measure]}


def _note(best: FoundWords, file: Path, n_rows: int) -> str:
    """What the scores are, of which rows, and what to expect of new text."""
    from promptlab.search.words.search import MEANINGS

    said = f"{best.measure}: {MEANINGS[best.measure]} ({n_rows} rows of {file})."
    if best.estimate is None:
        return said
    expected = f"{best.estimate.accuracy:.3f} ± {best.estimate.standard_error:.3f}"
    return f"{said} Expect {expected} of the first: chosen by three quarters of dev, on the fourth."
