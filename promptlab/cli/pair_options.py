"""What the commands for several pattern-verbalizer pairs share."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import product
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
    print_json,
    print_table,
    warn_of_shared,
)
from promptlab.core.registry import TUNINGS

OPTIONS: list[Callable[[Any], Any]] = [
    click.option("--output", "-o", required=True, type=click.Path(path_type=Path), help="Folder to save in."),
    click.option("--pvps", type=FILE, help="YAML file with pairs of template and verbalizer."),
    click.option("--template", "templates", multiple=True, help="Instead of --pvps: Jinja source or name; repeat it."),
    click.option("--verbalizer", "verbalizers", multiple=True, help="JSON, a file or a name; each with each template."),
    click.option("--dev", type=FILE, help="Labeled file; the weights that score best on it are kept."),
    click.option("--test", type=FILE, help="Labeled file for the final table. [default: --dev; else no accuracy]"),
    click.option("--model", "models", multiple=True, help="Package, hub id or folder; one, or one for each pair."),
    click.option("--tuning", type=click.Choice(TUNINGS.names), default="full", show_default=True),
    click.option("--tuning-arg", "tuning_args", multiple=True, metavar="NAME=VALUE", help="Setting of the tuning."),
    click.option("--repetitions", type=int, default=3, show_default=True, help="Members of each pair, by seed."),
    click.option(
        "--executor", type=click.Choice(["serial", "joblib", "ray"]), default="serial", show_default=True,
        help="Where members are trained: here, in processes of this machine, or on a Ray cluster.",
    ),
    click.option("--workers", type=int, help="Members at a time, for joblib and ray. [default: the number of cores]"),
    click.option(
        "--resume-dir", type=click.Path(path_type=Path),
        help="Folder of finished work, from which an interrupted run goes on; it stays. [default: OUTPUT.unfinished]",
    ),
    class_weight_option,
    click.option("--learning-rate", type=float, help="Of the members. [default: the tuning method's own]"),
    click.option("--max-steps", type=int, help="Of a member. [default: the tuning method's own, by the rows' number]"),
    click.option("--batch-size", type=int, default=8, show_default=True, help="Of the members."),
    click.option("--max-length", type=int, help="Tokens of a prompt. [default: the model's limit]"),
    click.option("--device", default="auto", show_default=True),
    click.option("--seed", type=int, default=0, show_default=True),
    columns_option,
    label_option,
    dialect_options,
    json_option,
]  # fmt: skip


def pvp_options(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in reversed(OPTIONS):
        command = option(command)
    return command


def pairs_of(pvps: Path | None, templates: Sequence[str], verbalizers: Sequence[str]) -> Any:
    """The file of pairs, or each template with each verbalizer.

    Raises:
        click.UsageError: if there is neither, or both.
    """
    if (pvps is None) != bool(templates and verbalizers) or (pvps and (templates or verbalizers)):
        raise click.UsageError("give --pvps, or --template and --verbalizer.")
    from promptlab.cli.commands.fit import parse_verbalizer
    from promptlab.library.pvps import PVP

    return pvps or [
        PVP(template, words, template) for template, words in product(templates, map(parse_verbalizer, verbalizers))
    ]


def settings_of(models: Sequence[str], tuning: str, tuning_args: Sequence[str], **settings: Any) -> dict[str, Any]:
    """Settings of the estimators from the options."""
    from promptlab.cli.arguments import make_tuning

    check_trains(tuning, **settings)
    method = make_tuning(tuning, parse_pairs(tuning_args, "NAME=VALUE, such as rank=4") or {})
    return {"model": list(models) if len(models) > 1 else next(iter(models), None), "tuning": method, **settings}


def read_sets(
    files: Sequence[Path | None], columns: Mapping[str, str] | None, label: str, dialect: Mapping[str, str]
) -> list[list[Any] | None]:
    """The labeled examples of each file."""
    from promptlab.data.readers import read_examples

    return [None if file is None else read_examples(file, columns=columns, label=label, **dialect) for file in files]


def check_sets(pairs: Any, sets: Sequence[Sequence[Any] | None]) -> None:
    """Refuse rows that lack a field of a template, before a model is loaded.

    Raises:
        PromptlabError: naming the pair and the row.
    """
    from promptlab.core.errors import error_context
    from promptlab.data.labeled import check_fields
    from promptlab.library.pvps import read_pvps
    from promptlab.library.resolve import resolve_template

    for number, pvp in enumerate(read_pvps(pairs) if isinstance(pairs, Path) else pairs, start=1):
        template = resolve_template(pvp.template)
        with error_context(f"member {pvp.name or str(number)!r}"):
            for examples in filter(None, sets):
                check_fields(template, examples)


UNFINISHED = "unfinished.txt"
SAID = "Finished work of promptlab, from which the same command goes on; it is removed when all is done.\n"


@contextmanager
def kept_work(resume_dir: Path | None, output: Path) -> Iterator[Path]:
    """The folder of finished work: the one that was named, or one beside the output, which goes when all is done.

    One in which no work was begun goes, too, if it wasn't there before.

    Raises:
        DataError: if a folder of that name holds something else, or lies in the output.
    """
    from promptlab.core.errors import DataError
    from promptlab.core.files import atomic_file, check_savable

    whole = output.expanduser().resolve()
    if resume_dir is not None:
        if resume_dir.expanduser().resolve().is_relative_to(whole):
            raise DataError(
                f"resume-dir {str(resume_dir)!r} lies in the output {str(output)!r}, which is replaced as a whole; "
                "choose a folder outside."
            )
        yield resume_dir
        return
    folder = whole.with_name(f"{whole.name}.unfinished")
    check_savable(folder, marker_file=UNFINISHED)
    is_new = not folder.exists()
    folder.mkdir(exist_ok=True)
    with atomic_file(folder / UNFINISHED) as file:
        file.write_text(SAID, encoding="utf-8")
    try:
        yield folder
    except BaseException:
        if is_new and not (folder / "running").exists():
            shutil.rmtree(folder, ignore_errors=True)
        raise
    shutil.rmtree(folder, ignore_errors=True)


def trained(estimator: Any, sets: Sequence[Any], output: Path, **more: Any) -> list[tuple[str, float | None]]:
    """Train on the first set, select on the second, save; returns the scores on the last that there is.

    Scores on the training rows would say nothing of new text; without another set all are None.

    Args:
        sets: the labeled examples, and those for selection and for the final table, or None.
        more: arguments of ``fit``.
    """
    from promptlab.library.resolve import load_each

    train, dev, test = sets
    measured = dev if test is None else test
    eval_set = None if dev is None else (dev, None)
    estimator.check_settings(eval_set)  # before a model is loaded
    several = isinstance(estimator.model, list)
    loaded = load_each(estimator.model if several else [estimator.model])  # once for all that follows
    estimator.set_params(model=loaded if several else loaded[0])
    if measured is not None:
        estimator.check(measured, shown=train)
    warn_of_shared(estimator.fields_used(), train=train, dev=dev, test=test)
    estimator.fit(train, eval_set=eval_set, **more)
    estimator.save_pretrained(output)
    if measured is None:
        return [(name, None) for name in estimator.reported()]
    return list(estimator.report(measured))


def print_scores(
    estimator: Any,
    output: Path,
    dev: Path | None,
    test: Path | None,
    rows: Sequence[tuple[str, float | None]],
    n_rows: int,
    *,
    as_json: bool,
) -> None:
    """The final table: what each member counts, and accuracies, with the rows that they are of.

    Args:
        n_rows: of the file that is measured on.
    """
    from promptlab.ensembles.merging import weighed_by

    file = dev if test is None else test
    weights = list(estimator.weights_.values())
    counted = [*weights, *[None] * (len(rows) - len(weights))]
    by, note = weighed_by(estimator.weighting, weights), _worth(dev, test)
    if as_json:
        scores = [
            {"name": name, "accuracy": accuracy, "weight": weight} for (name, accuracy), weight in zip(rows, counted)
        ]
        said = {"file": None if file is None else str(file), "rows": n_rows, "note": note, "weights": by}
        print_json({"output": str(output), **said, "scores": scores})
        return
    click.echo(f"members count {by}", err=True)
    click.echo(note, err=True)
    if file is None:
        members = [[name, f"{weight:.3f}"] for (name, _), weight in zip(rows, weights)]
        print_table(str(output), ["", "weight"], members)
        return
    table = [
        [name, f"{100 * (accuracy or 0):.1f} %", "" if weight is None else f"{weight:.3f}"]
        for (name, accuracy), weight in zip(rows, counted)
    ]
    print_table(f"{file} ({n_rows} rows)", ["", "accuracy", "weight"], table)


def _worth(dev: Path | None, test: Path | None) -> str:
    """What the accuracies are of, and what they say of new text."""
    if test is not None:
        return f"accuracy on {test}"
    if dev is not None:
        return f"accuracy on {dev}, which chose the weights: too high for new text; give --test for others"
    return (
        "no accuracy is shown: on the training rows it says nothing of new text; give --test with labeled rows that "
        "nothing was trained on"
    )
