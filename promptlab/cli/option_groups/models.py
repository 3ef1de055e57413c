"""Which model a command uses, where it computes, and what it draws by."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, ClassVar

import click

from promptlab.cli.groups import OptionGroup, argument, option
from promptlab.training.settings import TrainingSettings

if TYPE_CHECKING:
    from promptlab.core.types import Example
    from promptlab.estimators.estimator import Estimator


@dataclass(frozen=True)
class LengthOptions(OptionGroup):
    """How long a prompt may be."""

    title: ClassVar[str] = "Model"

    max_length: int | None = option(help="Tokens of a prompt. [default: the model's limit]")


@dataclass(frozen=True)
class ModelOptions(LengthOptions):
    """Which pre-trained model is used."""

    model: str | None = option(help="Model package, hub id or folder. [default: minilm, if installed]")


@dataclass(frozen=True)
class DeviceOptions(OptionGroup):
    """Where a model computes."""

    title: ClassVar[str] = "Run"

    device: str = option(default=TrainingSettings.device, help="auto, cpu, cuda, …")


@dataclass(frozen=True)
class SeedOptions(OptionGroup):
    """What everything is drawn by."""

    title: ClassVar[str] = "Run"

    seed: int = option(default=TrainingSettings.seed, help="Of everything that is drawn.")


@dataclass(frozen=True)
class RunOptions(SeedOptions, DeviceOptions):
    """Where a model computes, and what everything is drawn by."""


@dataclass(frozen=True)
class SavedModel(OptionGroup):
    """A saved classifier, and where its base model is."""

    title: ClassVar[str] = "Model"

    model_folder: str = argument(metavar="MODEL")
    base: str | None = option(
        "--model",
        metavar="NAME",
        help="The base model, if it isn't where it was when the classifier was saved: a name, hub id or folder.",
    )

    def load(self, device: str) -> Estimator:
        """Load the classifier, of whichever class it is."""
        from promptlab.estimators.saving import load_any

        loaded: Estimator = load_any(self.model_folder, model=self.base, device=device)
        return loaded

    def check_first(self, examples: Iterator[Example]) -> Iterator[Example]:
        """Return the examples, the first of them checked against the saved templates, before the model is loaded.

        Raises:
            PromptlabError: if the file can't be read, or its rows lack a field.
        """
        from promptlab.core.registry import TEMPLATES
        from promptlab.data.labeled import check_fields
        from promptlab.estimators.saving import local, read_settings

        settings = read_settings(local(self.model_folder))
        first = next(examples)
        for part in (settings, *settings.get("pvps", ())):
            if "template" in part:
                check_fields(TEMPLATES.from_dict(part["template"]), [first])
        return chain([first], examples)


@dataclass(frozen=True)
class SeparatorOptions(OptionGroup):
    """How the labels of a row are told apart."""

    title: ClassVar[str] = "Files"

    separator: str | None = option(
        help="What stands between the labels of a row, if it may have several; JSON lists are taken as they are. "
        "[default: the model's own, | unless fit was told another]"
    )

    def between_labels(self, classifier: Estimator, name: str, *, as_lists: bool = False) -> str | None:
        """Return what stands between the labels that a classifier reads and writes; None if each row has one.

        Args:
            name: the classifier's, for messages.
            as_lists: whether several labels are a list, so that nothing stands between them.

        Raises:
            DataError: if its classes couldn't be told apart with it.
            click.UsageError: if a separator was given, but each row has one label.
        """
        from promptlab.data.labels import check_separator

        own = classifier.label_separator
        if own is None and self.separator is not None:
            raise click.UsageError(f"--separator is for several labels a row, but {name} predicts one.")
        if own is None or as_lists:
            return None
        chosen: str = own if self.separator is None else self.separator
        check_separator(chosen, getattr(classifier, "class_names_", ()))
        return chosen
