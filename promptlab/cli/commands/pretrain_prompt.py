"""``promptlab pretrain-prompt``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import click

from promptlab.cli.options import FILE, dialect_options, print_result, quiet_libraries


@click.command("pretrain-prompt")
@click.argument("corpus", type=FILE)
@click.option(
    "--output", "-o", type=click.Path(dir_okay=False, path_type=Path), required=True, help="A .safetensors file."
)
@click.option("--format", "task", type=click.Choice(["pair", "choice", "sentence"]), default="pair", show_default=True)
@click.option("--model", help="Model package, hub id or folder.")
@click.option("--length", type=int, default=20, show_default=True, help="Soft tokens.")
@click.option("--start", default="vocabulary", show_default=True, help="vocabulary, random, labels or a saved prompt.")
@click.option("--examples", type=int, default=3000, show_default=True, help="Made from CORPUS.")
@click.option("--template", help="Jinja source or task/name; the format's own by default.")
@click.option("--verbalizer", help="JSON, a JSON file or task/name; the format's own by default.")
@click.option("--labeller", help="For --format sentence: a saved classifier.")
@click.option(
    "--confidence",
    type=float,
    help="Above which its labels are learnt. [default: 0.95 of the first class, 0.7 of the last, 0.5 between]",
)
@click.option("--column", default="text_a", show_default=True, help="Of a table, with one document a row.")
@click.option("--max-steps", type=int)
@click.option("--learning-rate", type=float)
@click.option("--batch-size", type=int, default=16, show_default=True)
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--resume-dir", type=click.Path(path_type=Path), help="Folder from which an interrupted run goes on.")
@dialect_options
@click.option("--json", "as_json", is_flag=True)
def command(
    corpus: Path,
    output: Path,
    task: str,
    model: str | None,
    length: int,
    start: str,
    examples: int,
    template: str | None,
    verbalizer: str | None,
    labeller: str | None,
    confidence: float | None,
    column: str,
    max_steps: int | None,
    learning_rate: float | None,
    batch_size: int,
    seed: int,
    resume_dir: Path | None,
    dialect: Mapping[str, str],
    as_json: bool,
) -> None:
    """Tune a soft prompt on tasks made from the unlabeled text in CORPUS (PPT).

    CORPUS is a .txt file, blank lines between documents and a sentence on each line, or a table with a document a row.
    Go on from the prompt with: promptlab fit … --tuning prompt-tuning --tuning-arg start=OUTPUT
    """
    from promptlab.cli.commands.fit import parse_verbalizer
    from promptlab.data.corpus import read_documents
    from promptlab.estimators.prompt_pretraining import pretrain_prompt
    from promptlab.estimators.saving import load_any
    from promptlab.tuning.prompt_tuning import PromptTuning

    quiet_libraries()
    classifier = pretrain_prompt(
        read_documents(corpus, column=column, **dialect),
        format=task,
        model=model,
        tuning=PromptTuning(length=length, start=start),
        n_examples=examples,
        template=template,
        verbalizer=None if verbalizer is None else parse_verbalizer(verbalizer),
        labeller=None if labeller is None else load_any(labeller),
        confidence=confidence,
        seed=seed,
        max_steps=max_steps,
        learning_rate=learning_rate,
        batch_size=batch_size,
        resume_dir=resume_dir,
    )
    classifier.save_prompt(output)
    result = {"output": str(output), "tokens": length, **classifier.history_[-1]}
    print_result(result, as_json=as_json)
