"""``promptlab fit``."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from promptlab.cli.options import (
    FILE,
    check_trains,
    class_weight_option,
    columns_option,
    dialect_options,
    json_option,
    label_option,
    parse_pairs,
    print_result,
    quiet_libraries,
    separator_option,
    warn_of_shared,
)
from promptlab.core.registry import TUNINGS

EXPECTED_WORDS = 'write words for each class, such as {"negative": ["bad"], "positive": ["good"]}'


@click.command("fit")
@click.argument("train", type=FILE)
@click.option(
    "--output", "-o", required=True, type=click.Path(path_type=Path), help="Folder to save the classifier in."
)
@click.option("--dev", type=FILE, help="Labeled file; the weights that score best on it are kept.")
@click.option("--template", help='Jinja source such as "{{ text_a }} It was {{ mask }}.", or a name such as sst2.')
@click.option(
    "--verbalizer",
    help='JSON such as {"bad": ["terrible"], "good": ["great"]} or {"kind": "strings", "label_words": {…}}, a JSON '
    "file, or a name.",
)
@click.option("--pvp", metavar="FILE[#NAME]", help="Template and verbalizer from YAML, the first or the one of a name.")
@click.option(
    "--answers",
    type=click.Choice(["words", "strings"]),
    default="words",
    show_default=True,
    help="strings: score the words of a JSON verbalizer as whole answers even if each is one token.",
)
@click.option(
    "--demonstrations", type=click.IntRange(min=1), metavar="K", help="Show K answered examples in the prompt."
)
@click.option(
    "--demonstration-style",
    type=click.Choice(["in-context", "per-class"]),
    help="K in all before the text, or K sets of one per class after it (LM-BFF). [default: in-context]",
)
@click.option("--instruction", default="", help="Text before the demonstrations.")
@click.option(
    "--calibrate", type=click.Choice(["contextual", "domain", "support"]), help="Take out the prompt's prior."
)
@click.option("--support", type=FILE, help="Unlabeled rows for --calibrate support. [default: TRAIN]")
@click.option("--head", is_flag=True, help="Train an ordinary classification head instead of a prompt.")
@click.option("--multi-label", is_flag=True, help="Several classes may hold at once: rows have any number of labels.")
@click.option("--threshold", help="With --multi-label: global, per-class, or a probability. [default: global]")
@separator_option
@click.option("--model", help="Model package, hub id or folder. [default: minilm, if installed]")
@click.option("--tuning", type=click.Choice(TUNINGS.names), default="full", show_default=True)
@click.option("--tuning-arg", "tuning_args", multiple=True, metavar="NAME=VALUE", help="Setting of the tuning method.")
@class_weight_option
@click.option("--learning-rate", type=float, help="[default: the tuning method's own]")
@click.option("--max-steps", type=int, help="[default: the tuning method's own, by the number of rows]")
@click.option("--epochs", type=int, help="Instead of --max-steps.")
@click.option("--batch-size", type=int, default=8, show_default=True)
@click.option("--optimizer", default="adamw", show_default=True, help="adamw or adafactor.")
@click.option(
    "--schedule", default="linear", show_default=True, help="Of the rate after the warm-up: linear, constant."
)
@click.option("--gradient-checkpointing", is_flag=True, help="Less memory: compute activations again for the gradient.")
@click.option("--max-length", type=int, help="Tokens of a prompt. [default: the model's limit]")
@click.option("--patience", type=int, help="Stop after so many evaluations without improvement.")
@click.option("--resume-dir", type=click.Path(path_type=Path), help="Folder from which an interrupted run goes on.")
@click.option("--device", default="auto", show_default=True)
@click.option("--seed", type=int, default=0, show_default=True)
@columns_option
@label_option
@dialect_options
@json_option
def command(
    train: Path,
    output: Path,
    dev: Path | None,
    template: str | None,
    verbalizer: str | None,
    pvp: str | None,
    answers: str,
    demonstrations: int | None,
    demonstration_style: str | None,
    instruction: str,
    calibrate: str | None,
    support: Path | None,
    head: bool,
    multi_label: bool,
    threshold: str | None,
    separator: str | None,
    tuning: str,
    tuning_args: tuple[str, ...],
    columns: tuple[str, ...],
    label: str,
    dialect: Mapping[str, str],
    as_json: bool,
    **settings: Any,
) -> None:
    """Train a classifier on the labeled rows of TRAIN and save it.

    TRAIN is CSV, TSV, JSON Lines, Parquet or Excel.
    """
    if head and (template or verbalizer or pvp or demonstrations or calibrate):
        raise click.UsageError("--head takes no --template, --verbalizer, --pvp, --demonstrations or --calibrate.")
    if pvp and (template or verbalizer):
        raise click.UsageError("--pvp has a template and a verbalizer; leave --template and --verbalizer out.")
    if multi_label and (head or demonstrations or calibrate):
        raise click.UsageError("--multi-label takes no --head, --demonstrations or --calibrate.")
    if not multi_label and (threshold or separator is not None):
        raise click.UsageError("--threshold and --separator go with --multi-label.")
    if demonstration_style and not demonstrations:
        raise click.UsageError("--demonstration-style goes with --demonstrations.")
    if (
        answers == "strings"
        and not (verbalizer or "").lstrip().startswith("{")
        and not str(verbalizer).endswith(".json")
    ):
        raise click.UsageError("--answers strings goes with a JSON verbalizer; one of the library says it itself.")
    if settings["patience"] is not None and not dev:
        raise click.UsageError("--patience goes with --dev.")
    if support and calibrate != "support":
        raise click.UsageError("--support is for --calibrate support.")
    if instruction and (not demonstrations or demonstration_style == "per-class"):
        raise click.UsageError("--instruction goes with --demonstrations in the in-context style.")
    check_trains(tuning, **settings)
    if not head and not pvp and not (template and verbalizer):
        raise click.UsageError("give --template and --verbalizer, or --head, or --pvp.")
    from promptlab.cli.arguments import make_tuning
    from promptlab.core.files import check_savable
    from promptlab.data.readers import read_examples
    from promptlab.estimators.classifiers import HeadClassifier, PromptClassifier
    from promptlab.library.pvps import PVP, find_pvp
    from promptlab.library.resolve import resolve_verbalizer

    quiet_libraries()
    check_savable(output, marker_file="promptlab.json")  # before any work is done
    fields = parse_pairs(columns)
    between = ("|" if separator is None else separator) if multi_label else None
    examples = read_examples(train, columns=fields, label=label, separator=between, **dialect)
    method = make_tuning(tuning, parse_pairs(tuning_args, "NAME=VALUE, such as rank=4") or {})
    held_out = (read_examples(dev, columns=fields, label=label, separator=between, **dialect), None) if dev else None
    if head:
        names = [name for name in ("text_a", "text_b") if name in examples[0].fields]
        classifier: Any = HeadClassifier(tuning=method, fields=names or ["text_a"], **settings)
    elif multi_label:
        from promptlab.estimators.multi_label_classifier import MultiLabelClassifier

        chosen = parse_threshold(threshold or "global")
        words = parse_verbalizer(str(verbalizer), answers)
        more = {"threshold": chosen, "separator": between, **settings}
        classifier = MultiLabelClassifier(template, words, tuning=method, **more)
    else:
        pair = find_pvp(pvp) if pvp else PVP(template, parse_verbalizer(str(verbalizer), answers))
        shown = with_demonstrations(pair.template, demonstrations, demonstration_style, instruction, settings["seed"])
        parts = resolve_verbalizer(pair.verbalizer)
        if calibrate:
            rows = (
                read_examples(support, columns=fields, label=None, **dialect)
                if support
                else some_of(examples, settings["seed"])
            )
            parts = calibrated(parts, calibrate, rows)
        classifier = PromptClassifier(shown, parts, tuning=method, origin=pair.origin or None, **settings)
    dev_rows = held_out and held_out[0]
    warn_of_shared(classifier.make_template().fields, train=examples, dev=dev_rows)
    classifier.fit(examples, eval_set=held_out)
    classifier.save_pretrained(output)
    result = {"output": str(output), "trainable_parameters": classifier.trainable_parameters()}
    print_result(result | trained(classifier, dev_rows), as_json=as_json)
    click.echo(
        worth(output, dev, has_chosen=bool(classifier.history_[-1:] and classifier.history_[-1]["step"])), err=True
    )


def trained(classifier: Any, dev: Sequence[Any] | None) -> dict[str, Any]:
    """Updates, the loss on the training rows, and the score of what was kept on dev, which isn't always the last's."""
    from promptlab.estimators.multi_label_classifier import MultiLabelClassifier
    from promptlab.evaluation.metrics import evaluate, evaluate_labels

    last = classifier.history_[-1] if classifier.history_ else {}
    said = {new: last[old] for old, new in (("step", "step"), ("loss", "train_loss")) if old in last}
    if dev is None:
        return said
    if isinstance(classifier, MultiLabelClassifier):
        return said | {"dev_micro_f1": evaluate_labels(classifier, dev)["micro_f1"], "dev_rows": len(dev)}
    return said | {"dev_accuracy": evaluate(classifier, dev)["accuracy"], "dev_rows": len(dev)}


def worth(output: Path, dev: Path | None, *, has_chosen: bool) -> str:
    """What the scores say of new text."""
    if dev is None:
        return f"no accuracy was measured; promptlab evaluate {output} FILE does so on rows that nothing was trained on"
    if has_chosen:
        return f"the score on {dev} is of the rows that chose the weights: too high for new text"
    return f"the score is of the rows of {dev}"


def parse_threshold(text: str) -> str | float:
    """A number, or the name that is left to the classifier to check."""
    try:
        return float(text)
    except ValueError:
        return text


def some_of(examples: Sequence[Any], seed: int, *, at_most: int = 200) -> Sequence[Any]:
    """So many examples, drawn by seed: as many as KPT measures a prior on."""
    import random

    return examples if len(examples) <= at_most else random.Random(seed).sample(list(examples), at_most)


def with_demonstrations(template: str | None, k: int | None, style: str | None, instruction: str, seed: int) -> Any:
    """The template, wrapped in one that shows ``k`` answered examples if that many are asked for."""
    if k is None:
        return template
    from promptlab.library.resolve import resolve_template
    from promptlab.templates.demonstrations import DemonstrationTemplate, InContextTemplate

    inner = resolve_template(template)
    if style == "per-class":
        return DemonstrationTemplate(inner, sets=k, seed=seed)
    return InContextTemplate(inner, k=k, instruction=instruction, seed=seed)


def calibrated(verbalizer: Any, how: str, support: Any) -> Any:
    """The verbalizer, wrapped in one that takes out the prompt's prior."""
    from promptlab.verbalizers.calibrated import ContextualCalibration, PMICalibration, SupportCalibration

    if how == "support":
        return SupportCalibration(verbalizer, support)
    return ContextualCalibration(verbalizer) if how == "contextual" else PMICalibration(verbalizer)


def parse_verbalizer(text: str, answers: str = "words") -> Any:
    """Label words from JSON or a JSON file; anything else is a name of the task library.

    With ``answers="strings"`` they are scored as whole answers even if each is one token.

    Raises:
        DataError: if the file can't be read.
        VerbalizerError: if the JSON is broken or isn't an object.
    """
    from promptlab.core.errors import VerbalizerError
    from promptlab.core.files import read_text
    from promptlab.data.tables import unique_keys
    from promptlab.verbalizers.strings import MultiTokenVerbalizer

    is_file = text.endswith(".json")
    if not is_file and not text.lstrip().startswith(("{", "[", '"')):
        return text
    source = read_text(text) if is_file else text
    try:
        words = json.loads(source, object_pairs_hook=unique_keys)
    except ValueError as error:
        raise VerbalizerError(f"verbalizer {text!r} isn't valid JSON ({error}); {EXPECTED_WORDS}.") from None
    if not isinstance(words, dict):
        raise VerbalizerError(f"verbalizer {text!r} is a JSON {type(words).__name__}; {EXPECTED_WORDS}.")
    return MultiTokenVerbalizer(words) if answers == "strings" else words
