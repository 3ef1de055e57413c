"""``promptlab sample``."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from promptlab.cli.options import FILE, dialect_options, json_option, label_option, print_json


@click.command("sample")
@click.argument("file", type=FILE, required=False)
@click.option(
    "--output", "-o", type=click.Path(path_type=Path), help="Folder for train.tsv and dev.tsv. [required with FILE]"
)
@click.option(
    "--demo-data",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Instead of drawing, write the files that the commands of the README read into DIR.",
)
@click.option("-k", "k", type=click.IntRange(min=1), default=16, show_default=True, help="Examples of each class.")
@click.option("--dev/--no-dev", "wants_dev", default=True, show_default=True, help="Draw a dev set as well.")
@click.option("--seed", type=int, default=0, show_default=True)
@label_option
@dialect_options
@json_option
def command(
    file: Path | None,
    output: Path | None,
    demo_data: Path | None,
    k: int,
    wants_dev: bool,
    seed: int,
    label: str,
    dialect: Mapping[str, str],
    as_json: bool,
) -> None:
    """Draw K examples of each class of FILE for training and K others for dev (LM-BFF's protocol)."""
    if demo_data is not None:
        if file is not None or output is not None:
            raise click.UsageError("--demo-data takes no FILE and no --output.")
        _write_demo_data(demo_data, as_json=as_json)
        return
    if file is None:
        raise click.UsageError("missing argument 'FILE' (or --demo-data DIR).")
    if output is None:
        raise click.UsageError("missing option '--output' / '-o', a folder.")
    from promptlab.core.files import atomic_folder
    from promptlab.data.dialects import Dialect
    from promptlab.data.readers import iter_examples
    from promptlab.data.sampling import k_shot
    from promptlab.data.tables import iter_rows

    labels = [example.label for example in iter_examples(file, columns={}, label=label, **dialect)]
    rows = list(iter_rows(file, Dialect(**dialect)))
    train, dev = k_shot(labels, k=k, seed=seed, dev=wants_dev)
    with atomic_folder(output) as folder:
        _write(folder / "train.tsv", list(rows[0]), [rows[i] for i in train])
        if wants_dev:
            _write(folder / "dev.tsv", list(rows[0]), [rows[i] for i in dev])
    result = {"train": len(train), "dev": len(dev), "output": str(output)}
    if as_json:
        print_json(result)
    else:
        click.echo(f"{len(train)} training {f'and {len(dev)} dev ' if wants_dev else ''}examples in {output}")


def _write_demo_data(folder: Path, *, as_json: bool) -> None:
    from promptlab.data.samples import write_demo_data

    files = [str(file) for file in write_demo_data(folder)]
    if as_json:
        print_json(files)
    else:
        click.echo("\n".join(files))


def _write(path: Path, names: Sequence[str], rows: Sequence[dict[str, Any]]) -> None:
    from promptlab.core.errors import DataError, short_repr

    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, names, delimiter="\t", lineterminator="\n")
        writer.writeheader()
        for row in rows:
            if set(row) != set(names) or any(
                value is None or isinstance(value, (list, dict)) for value in row.values()
            ):
                raise DataError(
                    f"{short_repr(row)} is no row of a table; give every row a text or number in each column."
                )
            try:
                writer.writerow(row)
            except UnicodeEncodeError:
                raise DataError(
                    f"{short_repr(row)} holds half of a character (a lone surrogate); mend the data."
                ) from None
