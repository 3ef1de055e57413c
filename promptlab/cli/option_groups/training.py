"""How a model is tuned and trained."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import click

from promptlab.cli.arguments import make_tuning, parse_class_weight, parse_pairs
from promptlab.cli.groups import FOLDER, OptionGroup, Settings, flag, option, repeated
from promptlab.cli.rules import Rule
from promptlab.core.registry import TUNINGS
from promptlab.training.settings import OPTIMIZERS, SCHEDULES, TrainingSettings

if TYPE_CHECKING:
    from promptlab.core.interfaces import Tuning


@dataclass(frozen=True)
class UpdateOptions(OptionGroup):
    """How many updates training takes, and of which size."""

    title: ClassVar[str] = "Training"

    learning_rate: float | None = option(help="[default: the tuning method's own]")
    max_steps: int | None = option(help="Updates. [default: the tuning method's own, by the number of rows]")
    batch_size: int = option(default=TrainingSettings.batch_size)


@dataclass(frozen=True)
class TuningOptions(UpdateOptions):
    """Which tuning method trains what, and how."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            when=("max_steps", "epochs", "learning_rate"),
            excludes=("trains_nothing",),
            message="--tuning {tuning} trains nothing, so that {given} has no use; leave it out.",
        ),
    )

    tuning: str = option(type=click.Choice(TUNINGS.names), default="full")
    tuning_args: tuple[str, ...] = repeated("--tuning-arg", metavar="NAME=VALUE", help="Setting of the tuning method.")
    class_weight: str | Mapping[str, float] | None = option(
        type=parse_class_weight,
        metavar="balanced|JSON",
        help='How much the rows of each class count: balanced, or JSON such as {"spam": 2}; 1 where none is given.',
    )

    @property
    def trains_nothing(self) -> bool:
        """Whether the tuning method leaves the model as it is."""
        return bool(TUNINGS.make(self.tuning).defaults.max_steps == 0)

    def method(self) -> Tuning:
        """Make the tuning method with its settings."""
        return make_tuning(self.tuning, parse_pairs(self.tuning_args, "NAME=VALUE, such as rank=4") or {})

    def settings(self) -> Settings:
        found = super().settings() | {"tuning": self.method()}
        del found["tuning_args"]
        return found


@dataclass(frozen=True)
class FitOptions(TuningOptions):
    """How one classifier is trained."""

    epochs: int | None = option(help="Instead of --max-steps.")
    optimizer: str = option(default=TrainingSettings.optimizer, help=f"{' or '.join(OPTIMIZERS)}.")
    schedule: str = option(
        default=TrainingSettings.schedule, help=f"Of the rate after the warm-up: {', '.join(SCHEDULES)}."
    )
    gradient_checkpointing: bool = flag(help="Less memory: compute activations again for the gradient.")
    patience: int | None = option(help="Stop after so many evaluations without improvement.")
    resume_dir: Path | None = option(type=FOLDER, help="Folder from which an interrupted run goes on.")
