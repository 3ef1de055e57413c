"""``promptlab fit``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import click

from promptlab.cli.arguments import parse_pairs, value_of
from promptlab.cli.groups import (
    FOLDER,
    OptionGroup,
    Settings,
    argument,
    flag,
    group_command,
    option,
    repeated,
    settings_of,
)
from promptlab.cli.option_groups.data import LabeledDataOptions
from promptlab.cli.option_groups.models import ModelOptions, RunOptions, SeparatorOptions
from promptlab.cli.option_groups.prompts import PromptOptions
from promptlab.cli.option_groups.reports import ReportOptions
from promptlab.cli.option_groups.training import FitOptions
from promptlab.cli.printing import print_result, quiet_libraries, warn_of_shared
from promptlab.cli.rules import Rule, is_given

if TYPE_CHECKING:
    from promptlab.core.types import Example
    from promptlab.estimators.text_estimator import TextEstimator

RULES = (
    Rule(
        when=("head",),
        excludes=("template", "verbalizer", "pvp", "demonstrations", "calibrate"),
        message="--head takes no --template, --verbalizer, --pvp, --demonstrations or --calibrate.",
    ),
    Rule(
        when=("estimator",),
        excludes=("head", "multi_label", "demonstrations", "calibrate"),
        message="--estimator takes no --head, --multi-label, --demonstrations or --calibrate.",
    ),
    Rule(when=("estimator_args",), needs=("estimator",), message="--estimator-arg goes with --estimator."),
    Rule(
        when=("multi_label",),
        excludes=("head", "demonstrations", "calibrate"),
        message="--multi-label takes no --head, --demonstrations or --calibrate.",
    ),
    Rule(
        when=("threshold", "separator"),
        needs=("multi_label",),
        message="--threshold and --separator go with --multi-label.",
    ),
    Rule(when=("patience",), needs=("dev",), message="--patience goes with --dev."),
    Rule(
        needs=("template verbalizer", "head", "pvp", "estimator"),
        message="give --template and --verbalizer, or --head, or --pvp.",
    ),
)


@dataclass(frozen=True)
class FitFiles(OptionGroup):
    """What is read, and where the classifier is saved."""

    title: ClassVar[str] = "Files"

    train: Path = argument()
    output: Path = option("-o", "--output", required=True, type=FOLDER, help="Folder to save the classifier in.")
    dev: Path | None = option(help="Labeled file; the weights that score best on it are kept.")


@dataclass(frozen=True)
class KindOptions(SeparatorOptions):
    """Which classifier is trained, where it isn't the one with a prompt and one label a row."""

    title: ClassVar[str] = "Classifier"

    head: bool = flag(help="Train an ordinary classification head instead of a prompt.")
    multi_label: bool = flag(help="Several classes may hold at once: rows have any number of labels.")
    threshold: str | None = option(help="With --multi-label: global, per-class, or a probability. [default: global]")
    estimator: str | None = option(
        metavar="NAME", help="Another estimator of texts, by its name in promptlab list estimators."
    )
    estimator_args: tuple[str, ...] = repeated(
        "--estimator-arg", metavar="NAME=VALUE", help="Setting of that estimator."
    )

    @property
    def row_separator(self) -> str | None:
        """What stands between the labels of a row; None if each has one."""
        if self.estimator is not None:
            return self.made({}).label_separator
        if not self.multi_label:
            return None
        return "|" if self.separator is None else self.separator

    def made(self, settings: Settings) -> TextEstimator:
        """Make the estimator that is named, with its own settings and those of the other options that it has.

        Raises:
            UnknownNameError: if there is no such estimator, or it has no such setting.
            click.UsageError: if it isn't one of texts, or hasn't the setting of an option that is given.
        """
        from promptlab.core.errors import UnknownNameError
        from promptlab.core.registry import ESTIMATORS
        from promptlab.estimators.text_estimator import TextEstimator

        kind = ESTIMATORS.get(str(self.estimator))
        if not issubclass(kind, TextEstimator):
            raise click.UsageError(f"--estimator {self.estimator} isn't one of texts; use it in Python.")
        known = {field.name for field in fields(kind)}
        own = parse_pairs(self.estimator_args, "NAME=VALUE, such as separator=;") or {}
        for name in [name for name in own if name not in known]:
            raise UnknownNameError(f"setting of {self.estimator}", name, known)
        for name in [name for name, value in settings.items() if name not in known and is_given(value)]:
            raise click.UsageError(f"--{name.replace('_', '-')} is no setting of {self.estimator}; leave it out.")
        given = {name: value for name, value in settings.items() if name in known}
        return kind(**given | {name: value_of(text) for name, text in own.items()})

    def chosen_threshold(self) -> str | float:
        """A number, or the name that is left to the classifier to check."""
        text = self.threshold or "global"
        try:
            return float(text)
        except ValueError:
            return text


@group_command("fit", *RULES)
def command(
    files: FitFiles,
    kind: KindOptions,
    prompt: PromptOptions,
    model: ModelOptions,
    training: FitOptions,
    run: RunOptions,
    data: LabeledDataOptions,
    report: ReportOptions,
) -> None:
    """Train a classifier on the labeled rows of TRAIN and save it.

    TRAIN is CSV, TSV, JSON Lines, Parquet or Excel.
    """
    from promptlab.core.files import check_savable

    quiet_libraries()
    check_savable(files.output, marker_file="promptlab.json")  # before any work is done
    train = data.read(files.train, separator=kind.row_separator)
    dev = data.read_if_given(files.dev, separator=kind.row_separator)
    settings = settings_of(training, model, run)
    classifier = _classifier(kind, prompt, data, train, settings)
    warn_of_shared(classifier.make_template().fields, train=train, dev=dev)
    classifier.fit(train, eval_set=None if dev is None else (dev, None))
    classifier.save_pretrained(files.output)
    result = {"output": str(files.output), "trainable_parameters": classifier.trainable_parameters()}
    print_result(result | _scores(classifier, dev), as_json=report.as_json)
    click.echo(_worth(files, classifier.history_), err=True)


def _classifier(
    kind: KindOptions,
    prompt: PromptOptions,
    data: LabeledDataOptions,
    train: Sequence[Example],
    settings: Settings,
) -> TextEstimator:
    """Make the classifier that is asked for, as yet unfitted."""
    from promptlab.core.registry import ESTIMATORS

    if kind.head:
        names = [name for name in ("text_a", "text_b") if name in train[0].fields]
        return ESTIMATORS.get("HeadClassifier")(fields=names or ["text_a"], **settings)
    if kind.estimator and not (prompt.pvp or prompt.template or prompt.verbalizer):
        return kind.made(settings)
    pair = prompt.pair()
    if kind.estimator:
        return kind.made({**settings, "template": pair.template, "verbalizer": pair.verbalizer})
    if kind.multi_label:
        more = {"threshold": kind.chosen_threshold(), "separator": kind.row_separator}
        return ESTIMATORS.get("MultiLabelClassifier")(pair.template, pair.verbalizer, **more, **settings)
    template = prompt.with_demonstrations(pair.template, settings["seed"])
    verbalizer = prompt.calibrated(pair.verbalizer, data, train, settings["seed"])
    return ESTIMATORS.get("PromptClassifier")(template, verbalizer, origin=pair.origin or None, **settings)


def _scores(classifier: TextEstimator, dev: Sequence[Example] | None) -> dict[str, object]:
    """Updates, the loss on the training rows, and the score of what was kept on dev, which isn't always the last's."""
    last = classifier.history_[-1] if classifier.history_ else {}
    said: dict[str, object] = {new: last[old] for old, new in (("step", "step"), ("loss", "train_loss")) if old in last}
    if dev is None:
        return said
    scored = classifier.check_scored()
    return said | {f"dev_{scored.main}": scored.make(classifier, dev)[scored.main], "dev_rows": len(dev)}


def _worth(files: FitFiles, history: Sequence[Mapping[str, float]]) -> str:
    """What the scores say of new text."""
    if files.dev is None:
        how = f"promptlab evaluate {files.output} FILE"
        return f"no accuracy was measured; {how} does so on rows that nothing was trained on"
    if history and history[-1]["step"]:
        return f"the score on {files.dev} is of the rows that chose the weights: too high for new text"
    return f"the score is of the rows of {files.dev}"
