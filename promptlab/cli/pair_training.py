"""What the commands for several pattern-verbalizer pairs do: keep finished work, train, print the final table."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Self

import click

from promptlab.cli.option_groups.data import LabeledDataOptions
from promptlab.cli.option_groups.pairs import PairFiles
from promptlab.cli.printing import print_json, print_table, warn_of_shared

if TYPE_CHECKING:
    from promptlab.core.types import Example
    from promptlab.distillation.pet import PET
    from promptlab.ensembles.ensemble import PVPEnsemble

UNFINISHED = "unfinished.txt"
SAID = "Finished work of promptlab, from which the same command goes on; it is removed when all is done.\n"


class MemberSets(NamedTuple):
    """The labeled examples that members learn from, are selected by and measured on; None where there are none."""

    train: list[Example]
    dev: list[Example] | None
    test: list[Example] | None

    @classmethod
    def read(cls, train: Path, files: PairFiles, data: LabeledDataOptions) -> Self:
        """Read the files that there are."""
        return cls(data.read(train), data.read_if_given(files.dev), data.read_if_given(files.test))

    @property
    def measured(self) -> list[Example] | None:
        """What the final table is of. Scores on the training rows would say nothing of new text."""
        return self.dev if self.test is None else self.test


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
        if is_new and not (folder / "jobs").exists():
            shutil.rmtree(folder, ignore_errors=True)
        raise
    shutil.rmtree(folder, ignore_errors=True)


def trained(
    estimator: PVPEnsemble | PET, fit: Callable[..., object], sets: MemberSets, output: Path
) -> list[tuple[str, float | None]]:
    """Train, select and save; return the accuracy of each on what is measured, None without such rows.

    Args:
        fit: the estimator's, with what else it takes.
    """
    from promptlab.library.resolve import load_each

    eval_set = None if sets.dev is None else (sets.dev, None)
    estimator.check_settings(eval_set)  # before a model is loaded
    model = estimator.model  # loaded once for all that follows
    if isinstance(model, str) or not isinstance(model, Sequence):
        estimator.set_params(model=load_each([model])[0])
    else:
        estimator.set_params(model=load_each(model))
    if sets.measured is not None:
        estimator.check(sets.measured, shown=sets.train)
    warn_of_shared(estimator.fields_used(), **sets._asdict())
    fit(sets.train, eval_set=eval_set)
    estimator.save_pretrained(output)
    if sets.measured is None:
        return [(name, None) for name in estimator.reported()]
    return list(estimator.report(sets.measured))


def print_scores(
    estimator: PVPEnsemble | PET,
    files: PairFiles,
    sets: MemberSets,
    accuracies: Sequence[tuple[str, float | None]],
    *,
    as_json: bool,
) -> None:
    """Print the final table: what each member counts, and accuracies, with the rows that they are of."""
    from promptlab.ensembles.merging import weighed_by

    weights = list(estimator.weights_.values())
    counted = [*weights, *[None] * (len(accuracies) - len(weights))]
    by, note = weighed_by(estimator.weighting, weights), _worth(files)
    rows = [(name, found, weight) for (name, found), weight in zip(accuracies, counted)]
    file, n_rows = files.measured_on, len(sets.measured or ())
    if as_json:
        said = {"file": None if file is None else str(file), "rows": n_rows, "note": note, "weights": by}
        print_json(
            {
                "output": str(files.output),
                **said,
                "scores": [dict(zip(("name", "accuracy", "weight"), row)) for row in rows],
            }
        )
        return
    click.echo(f"members count {by}", err=True)
    click.echo(note, err=True)
    if file is None:
        print_table(str(files.output), ["", "weight"], [_cells(*row)[::2] for row in rows[: len(weights)]])
    else:
        print_table(f"{file} ({n_rows} rows)", ["", "accuracy", "weight"], [_cells(*row) for row in rows])


def _cells(name: str, accuracy: float | None, weight: float | None) -> list[str]:
    """Name, accuracy and weight as a table shows them."""
    return [name, f"{100 * (accuracy or 0):.1f} %", "" if weight is None else f"{weight:.3f}"]


def _worth(files: PairFiles) -> str:
    """What the accuracies are of, and what they say of new text."""
    if files.test is not None:
        return f"accuracy on {files.test}"
    if files.dev is not None:
        return f"accuracy on {files.dev}, which chose the weights: too high for new text; give --test for others"
    return (
        "no accuracy is shown: on the training rows it says nothing of new text; give --test with labeled rows that "
        "nothing was trained on"
    )
