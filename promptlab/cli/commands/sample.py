"""``promptlab sample``."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import click

from promptlab.cli.groups import FOLDER, OptionGroup, argument, flag, group_command, option
from promptlab.cli.option_groups.data import DialectOptions, LabelOptions
from promptlab.cli.option_groups.models import SeedOptions
from promptlab.cli.option_groups.reports import ReportOptions
from promptlab.cli.printing import print_json
from promptlab.cli.rules import Rule


@dataclass(frozen=True)
class SampleOptions(OptionGroup):
    """What is drawn, and where it is written."""

    title: ClassVar[str] = "Sample"
    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(when=("demo_data",), excludes=("file", "output"), message="--demo-data takes no FILE and no --output."),
        Rule(needs=("file", "demo_data"), message="missing argument 'FILE' (or --demo-data DIR)."),
        Rule(needs=("output", "demo_data"), message="missing option '--output' / '-o', a folder."),
    )

    file: Path | None = argument(required=False)
    output: Path | None = option(
        "-o", "--output", type=FOLDER, help="Folder for train.tsv and dev.tsv. [required with FILE]"
    )
    demo_data: Path | None = option(
        type=FOLDER,
        metavar="DIR",
        help="Instead of drawing, write the files that the commands of the README read into DIR.",
    )
    k: int = option("-k", default=16, type=click.IntRange(min=1), help="Examples of each class.")
    wants_dev: bool = flag("--dev/--no-dev", default=True, help="Draw a dev set as well.")


@group_command("sample")
def command(
    sample: SampleOptions, run: SeedOptions, labels: LabelOptions, files: DialectOptions, report: ReportOptions
) -> None:
    """Draw K examples of each class of FILE for training and K others for dev (LM-BFF's protocol)."""
    if sample.demo_data is not None:
        _write_demo_data(sample.demo_data, as_json=report.as_json)
    elif sample.file is not None and sample.output is not None:
        n_train, n_dev = _draw(sample.file, sample.output, sample, labels.label, files, run.seed)
        _tell(n_train, n_dev, sample, as_json=report.as_json)


def _draw(
    file: Path, output: Path, sample: SampleOptions, label: str, files: DialectOptions, seed: int
) -> tuple[int, int]:
    """Draw rows and write them into a folder; return how many there are for training and for dev."""
    from promptlab.core.files import atomic_folder
    from promptlab.data.dialects import Dialect
    from promptlab.data.readers import iter_examples
    from promptlab.data.sampling import k_shot
    from promptlab.data.tables import iter_rows

    dialect = files.dialect()
    labels = [example.label for example in iter_examples(file, columns={}, label=label, **dialect)]
    rows = list(iter_rows(file, Dialect(**dialect)))
    train, dev = k_shot(labels, k=sample.k, seed=seed, dev=sample.wants_dev)
    with atomic_folder(output) as folder:
        _write(folder / "train.tsv", list(rows[0]), [rows[i] for i in train])
        if sample.wants_dev:
            _write(folder / "dev.tsv", list(rows[0]), [rows[i] for i in dev])
    return len(train), len(dev)


def _tell(n_train: int, n_dev: int, sample: SampleOptions, *, as_json: bool) -> None:
    if as_json:
        print_json({"train": n_train, "dev": n_dev, "output": str(sample.output)})
    else:
        dev = f"and {n_dev} dev " if sample.wants_dev else ""
        click.echo(f"{n_train} training {dev}examples in {sample.output}")


def _write_demo_data(folder: Path, *, as_json: bool) -> None:
    from promptlab.data.samples import write_demo_data

    files = [str(file) for file in write_demo_data(folder)]
    if as_json:
        print_json(files)
    else:
        click.echo("\n".join(files))


def _write(path: Path, names: Sequence[str], rows: Sequence[Mapping[str, object]]) -> None:
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
