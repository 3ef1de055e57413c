"""``promptlab ensemble``."""

from __future__ import annotations

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


@click.command("ensemble")
@click.argument("train", type=FILE)
@click.option(
    "--weighting",
    type=click.Choice(["uniform", "untrained-accuracy", "trained-accuracy", "stacked"]),
    default="untrained-accuracy",
    show_default=True,
    help="All alike, by accuracy before training (PET), by accuracy on --dev, or a regression learnt on --dev.",
)
@click.option("--voting", type=click.Choice(["soft", "hard"]), default="soft", show_default=True)
@pvp_options
def command(
    train: Path,
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
    """Train several prompts on the labeled rows of TRAIN and save them as one classifier."""
    pairs = pairs_of(pvps, templates, verbalizers)
    from promptlab.core.files import check_savable
    from promptlab.ensembles.ensemble import PVPEnsemble

    quiet_libraries()
    check_savable(output, marker_file="promptlab.json")
    sets = read_sets([train, dev, test], parse_pairs(columns), label, dialect)
    check_sets(pairs, sets)
    with kept_work(resume_dir, output) as folder:
        ensemble = PVPEnsemble(pairs, resume_dir=folder, **settings_of(**settings))
        rows = trained(ensemble, sets, output)
    n_rows = len(sets[1 if test is None else 2] or ())
    print_scores(ensemble, output, dev, test, rows, n_rows, as_json=as_json)
