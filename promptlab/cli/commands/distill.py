"""``promptlab distill``."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from promptlab.cli.groups import OptionGroup, Settings, argument, group_command, option, settings_of
from promptlab.cli.library_defaults import default_of
from promptlab.cli.option_groups.data import LabeledDataOptions
from promptlab.cli.option_groups.models import RunOptions
from promptlab.cli.option_groups.pairs import MEMBERS, MemberOptions, PairFiles, PairModels, PairOptions
from promptlab.cli.option_groups.reports import ReportOptions
from promptlab.cli.option_groups.training import TuningOptions
from promptlab.cli.pair_training import MemberSets, kept_work, print_scores, trained
from promptlab.cli.printing import quiet_libraries
from promptlab.cli.rules import Rule

if TYPE_CHECKING:
    from promptlab.distillation.pet import PET as PETEstimator
    from promptlab.library.pvps import PVP

PET = "promptlab.distillation.pet:PET"
IPET = "promptlab.distillation.ipet:IPET"


@dataclass(frozen=True)
class DistillFiles(PairFiles):
    """What is read, and where the student is saved."""

    labeled: Path = argument()
    unlabeled: Path = argument()


@dataclass(frozen=True)
class DistillOptions(OptionGroup):
    """How the student learns from the members, and these from one another."""

    title: ClassVar[str] = "Distillation"
    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            when=("generations", "growth_factor", "teacher_share"),
            needs=("method=ipet",),
            message="--generations, --growth-factor and --teacher-share go with --method ipet.",
        ),
    )

    method: Literal["pet", "ipet"] = option(default="pet")
    weighting: Literal["uniform", "untrained-accuracy"] = option(default=default_of(MEMBERS, "weighting"))
    temperature: float = option(default=default_of(PET, "temperature"), help="Of the soft labels.")
    mlm_weight: float = option(default=default_of(PET, "mlm_weight"), help="Of the loss on masked words; 0: none.")
    generations: int | None = option(help="For ipet. [default: until about 1,000 examples]")
    growth_factor: float | None = option(help=f"For ipet. [default: {default_of(IPET, 'growth_factor'):g}]")
    teacher_share: float | None = option(help=f"For ipet. [default: {default_of(IPET, 'teacher_share'):g}]")
    student_steps: int | None = option(help="Updates of the student. [default: by the number of rows]")

    def estimator(self, pairs: Path | list[PVP], settings: Settings) -> PETEstimator:
        """Make the estimator of the method.

        Args:
            settings: of other groups, by name.
        """
        from promptlab.distillation.ipet import IPET
        from promptlab.distillation.pet import PET

        own = {name: value for name, value in self.settings().items() if value is not None}
        method = {"pet": PET, "ipet": IPET}[own.pop("method")]
        return method(pairs, **own, **settings)


@group_command("distill")
def command(
    files: DistillFiles,
    pairs: PairOptions,
    how: DistillOptions,
    members: MemberOptions,
    models: PairModels,
    training: TuningOptions,
    run: RunOptions,
    data: LabeledDataOptions,
    report: ReportOptions,
) -> None:
    """Let prompts trained on LABELED label the rows of UNLABELED, and save a classifier that learns from these.

    UNLABELED is read as it comes and may be larger than memory. Rows of LABELED whose label is -1 are unlabeled,
    too; if all are, the prompts label without any training. Accuracies are those on --test, or on --dev.
    """
    from promptlab.core.files import check_savable

    quiet_libraries()
    check_savable(files.output, marker_file="promptlab.json")
    sets = MemberSets.read(files.labeled, files, data)
    rows = data.iter_unlabeled(files.unlabeled)
    first = next(rows)
    pairs.check_rows([*sets, [first]])
    with kept_work(files.resume_dir, files.output) as folder:
        settings = settings_of(members, models, training, run) | {"resume_dir": folder}
        pet = how.estimator(pairs.pairs(), settings)
        fit = partial(pet.fit, unlabeled=chain([first], rows))
        accuracies = trained(pet, fit, sets, files.output)
    print_scores(pet, files, sets, accuracies, as_json=report.as_json)
