"""``promptlab distill``."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from promptlab.cli.options import FILE, parse_pairs, quiet_libraries
from promptlab.cli.pair_options import (
    check_sets,
    kept_work,
    pairs_of,
    print_scores,
    pvp_options,
    read_sets,
    settings_of,
    trained,
)


@click.command("distill")
@click.argument("labeled", type=FILE)
@click.argument("unlabeled", type=FILE)
@click.option("--method", type=click.Choice(["pet", "ipet"]), default="pet", show_default=True)
@click.option(
    "--weighting", type=click.Choice(["uniform", "untrained-accuracy"]), default="untrained-accuracy", show_default=True
)
@click.option("--temperature", type=float, default=2.0, show_default=True, help="Of the soft labels.")
@click.option("--mlm-weight", type=float, default=1e-4, show_default=True, help="Of the loss on masked words; 0: none.")
@click.option("--generations", type=int, help="For ipet. [default: until about 1,000 examples]")
@click.option("--growth-factor", type=float, help="For ipet. [default: 5]")
@click.option("--teacher-share", type=float, help="For ipet. [default: 0.25]")
@click.option("--student-steps", type=int, help="Updates of the student. [default: by the number of rows]")
@pvp_options
def command(
    labeled: Path,
    unlabeled: Path,
    method: str,
    generations: int | None,
    growth_factor: float | None,
    teacher_share: float | None,
    student_steps: int | None,
    output: Path,
    pvps: Path | None,
    templates: tuple[str, ...],
    verbalizers: tuple[str, ...],
    dev: Path | None,
    test: Path | None,
    resume_dir: Path | None,
    columns: tuple[str, ...],
    label: str,
    dialect: Mapping[str, str],
    as_json: bool,
    **settings: Any,
) -> None:
    """Let prompts trained on LABELLED label the rows of UNLABELLED, and save a classifier that learns from these.

    UNLABELLED is read as it comes and may be larger than memory. Rows of LABELLED whose label is -1 are unlabeled,
    too; if all are, the prompts label without any training. Accuracies are those on --test, or on --dev.
    """
    pairs = pairs_of(pvps, templates, verbalizers)
    given = {"generations": generations, "growth_factor": growth_factor, "teacher_share": teacher_share}
    more: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    if method == "pet" and more:
        raise click.UsageError("--generations, --growth-factor and --teacher-share go with --method ipet.")
    from promptlab.core.files import check_savable
    from promptlab.data.readers import iter_examples
    from promptlab.distillation.ipet import IPET
    from promptlab.distillation.pet import PET

    quiet_libraries()
    check_savable(output, marker_file="promptlab.json")
    fields = parse_pairs(columns)
    sets = read_sets([labeled, dev, test], fields, label, dialect)
    rows = iter_examples(unlabeled, columns=fields, label=None, **dialect)
    first = next(rows)
    check_sets(pairs, [*sets, [first]])
    with kept_work(resume_dir, output) as folder:
        values = settings_of(**settings) | {"resume_dir": folder, "student_steps": student_steps}
        pet: PET = PET(pairs, **values) if method == "pet" else IPET(pairs, **values, **more)
        scores = trained(pet, sets, output, unlabeled=itertools.chain([first], rows))
    n_rows = len(sets[1 if test is None else 2] or ())
    print_scores(pet, output, dev, test, scores, n_rows, as_json=as_json)
