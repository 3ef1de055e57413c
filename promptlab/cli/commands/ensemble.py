"""``promptlab ensemble``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from promptlab.cli.groups import OptionGroup, argument, group_command, option, settings_of
from promptlab.cli.library_defaults import default_of
from promptlab.cli.option_groups.data import LabeledDataOptions
from promptlab.cli.option_groups.models import RunOptions
from promptlab.cli.option_groups.pairs import MEMBERS, MemberOptions, PairFiles, PairModels, PairOptions
from promptlab.cli.option_groups.reports import ReportOptions
from promptlab.cli.option_groups.training import TuningOptions
from promptlab.cli.pair_training import MemberSets, kept_work, print_scores, trained
from promptlab.cli.printing import quiet_libraries


@dataclass(frozen=True)
class EnsembleFiles(PairFiles):
    """What is read, and where the ensemble is saved."""

    train: Path = argument()


@dataclass(frozen=True)
class VoteOptions(OptionGroup):
    """How the members decide together."""

    title: ClassVar[str] = "Vote"

    weighting: Literal["uniform", "untrained-accuracy", "trained-accuracy", "stacked"] = option(
        default=default_of(MEMBERS, "weighting"),
        help="All alike, by accuracy before training (PET), by accuracy on --dev, or a regression learnt on --dev.",
    )
    voting: Literal["soft", "hard"] = option(default=default_of("promptlab.ensembles.ensemble:PVPEnsemble", "voting"))


@group_command("ensemble")
def command(
    files: EnsembleFiles,
    pairs: PairOptions,
    vote: VoteOptions,
    members: MemberOptions,
    models: PairModels,
    training: TuningOptions,
    run: RunOptions,
    data: LabeledDataOptions,
    report: ReportOptions,
) -> None:
    """Train several prompts on the labeled rows of TRAIN and save them as one classifier."""
    from promptlab.core.files import check_savable
    from promptlab.ensembles.ensemble import PVPEnsemble

    quiet_libraries()
    check_savable(files.output, marker_file="promptlab.json")
    sets = MemberSets.read(files.train, files, data)
    pairs.check_rows(sets)
    with kept_work(files.resume_dir, files.output) as folder:
        settings = settings_of(vote, members, models, training, run)
        ensemble = PVPEnsemble(pairs.pairs(), resume_dir=folder, **settings)
        accuracies = trained(ensemble, ensemble.fit, sets, files.output)
    print_scores(ensemble, files, sets, accuracies, as_json=report.as_json)
