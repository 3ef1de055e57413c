"""Several pattern-verbalizer pairs, their models and the jobs that train them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from promptlab.cli.arguments import parse_verbalizer
from promptlab.cli.groups import FOLDER, OptionGroup, Settings, option, repeated
from promptlab.cli.library_defaults import default_of
from promptlab.cli.option_groups.models import LengthOptions
from promptlab.cli.rules import Rule

if TYPE_CHECKING:
    from promptlab.core.types import Example
    from promptlab.library.pvps import PVP

MEMBERS = "promptlab.ensembles.members:PVPMembers"


@dataclass(frozen=True)
class PairFiles(OptionGroup):
    """Where the classifier is saved, and what it is chosen and measured by."""

    title: ClassVar[str] = "Files"

    output: Path = option("-o", "--output", required=True, type=FOLDER, help="Folder to save in.")
    dev: Path | None = option(help="Labeled file; the weights that score best on it are kept.")
    test: Path | None = option(help="Labeled file for the final table. [default: --dev; else no accuracy]")
    resume_dir: Path | None = option(
        type=FOLDER,
        help="Folder of finished work, from which an interrupted run goes on; it stays. [default: OUTPUT.unfinished]",
    )

    @property
    def measured_on(self) -> Path | None:
        """The file of the final table."""
        return self.dev if self.test is None else self.test


@dataclass(frozen=True)
class PairOptions(OptionGroup):
    """The pairs."""

    title: ClassVar[str] = "Prompts"
    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(needs=("pvps", "templates verbalizers"), message="give --pvps, or --template and --verbalizer."),
        Rule(
            when=("pvps",),
            excludes=("templates", "verbalizers"),
            message="give --pvps, or --template and --verbalizer.",
        ),
    )

    pvps: Path | None = option(help="YAML file with pairs of template and verbalizer.")
    templates: tuple[str, ...] = repeated("--template", help="Instead of --pvps: Jinja source or name; repeat it.")
    verbalizers: tuple[str, ...] = repeated("--verbalizer", help="JSON, a file or a name; each with each template.")

    def pairs(self) -> Path | list[PVP]:
        """Return the file of pairs, or each template with each verbalizer."""
        from promptlab.library.pvps import PVP

        each = product(self.templates, map(parse_verbalizer, self.verbalizers))
        return self.pvps or [PVP(template, words, template) for template, words in each]

    def check_rows(self, sets: Sequence[Sequence[Example] | None]) -> None:
        """Refuse rows that lack a field of a template, before a model is loaded.

        Raises:
            PromptlabError: naming the pair and the row.
        """
        from promptlab.core.errors import error_context
        from promptlab.data.labeled import check_fields
        from promptlab.library.pvps import read_pvps
        from promptlab.library.resolve import resolve_template

        pairs = self.pairs()
        for number, pvp in enumerate(read_pvps(pairs) if isinstance(pairs, Path) else pairs, start=1):
            template = resolve_template(pvp.template)
            with error_context(f"member {pvp.name or str(number)!r}"):
                for examples in filter(None, sets):
                    check_fields(template, examples)


@dataclass(frozen=True)
class PairModels(LengthOptions):
    """Their models."""

    models: tuple[str, ...] = repeated("--model", help="Package, hub id or folder; one, or one for each pair.")

    def settings(self) -> Settings:
        several = len(self.models) > 1
        model = list(self.models) if several else next(iter(self.models), None)
        return {"model": model, "max_length": self.max_length}


@dataclass(frozen=True)
class MemberOptions(OptionGroup):
    """How many members are trained of each pair, and where."""

    title: ClassVar[str] = "Members"

    repetitions: int = option(default=default_of(MEMBERS, "repetitions"), help="Members of each pair, by seed.")
    executor: Literal["serial", "joblib", "ray"] = option(
        default=default_of(MEMBERS, "executor"),
        help="Where members are trained: here, in processes of this machine, or on a Ray cluster.",
    )
    workers: int | None = option(help="Members at a time, for joblib and ray. [default: the number of cores]")
