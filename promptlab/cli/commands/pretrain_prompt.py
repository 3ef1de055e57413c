"""``promptlab pretrain-prompt``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from promptlab.cli.arguments import parse_verbalizer
from promptlab.cli.groups import FOLDER, OptionGroup, Settings, argument, group_command, option, settings_of
from promptlab.cli.library_defaults import default_of
from promptlab.cli.option_groups.data import DialectOptions
from promptlab.cli.option_groups.models import SeedOptions
from promptlab.cli.option_groups.reports import ReportOptions
from promptlab.cli.option_groups.training import UpdateOptions
from promptlab.cli.printing import print_result, quiet_libraries

PRETRAIN = "promptlab.estimators.prompt_pretraining:pretrain_prompt"


@dataclass(frozen=True)
class CorpusOptions(DialectOptions):
    """What is read and written."""

    corpus: Path = argument()
    output: Path = option("-o", "--output", required=True, help="A .safetensors file.")
    column: str = option(
        default=default_of("promptlab.data.corpus:read_documents", "column"),
        help="Of a table, with one document a row.",
    )


@dataclass(frozen=True)
class TaskOptions(OptionGroup):
    """Which examples are made of the text."""

    title: ClassVar[str] = "Examples"

    format: Literal["pair", "choice", "sentence"] = option(default=default_of(PRETRAIN, "format"))
    n_examples: int = option("--examples", default=default_of(PRETRAIN, "n_examples"), help="Made from CORPUS.")
    template: str | None = option(help="Jinja source or task/name; the format's own by default.")
    verbalizer: str | None = option(help="JSON, a JSON file or task/name; the format's own by default.")
    labeller: str | None = option(help="For --format sentence: a saved classifier.")
    confidence: float | None = option(
        help="Above which its labels are learnt. [default: 0.95 of the first class, 0.7 of the last, 0.5 between]"
    )

    def settings(self) -> Settings:
        from promptlab.estimators.saving import load_any

        made = {
            "verbalizer": None if self.verbalizer is None else parse_verbalizer(self.verbalizer),
            "labeller": None if self.labeller is None else load_any(self.labeller),
        }
        return super().settings() | made


@dataclass(frozen=True)
class SoftPromptOptions(OptionGroup):
    """Which soft prompt of which model is tuned."""

    title: ClassVar[str] = "Prompt"

    length: int = option(default=20, help="Soft tokens.")
    start: str = option(
        default=default_of("promptlab.tuning.prompt_tuning:PromptTuning", "start"),
        help="vocabulary, random, labels or a saved prompt.",
    )
    model: str | None = option(help="Model package, hub id or folder. [default: minilm, if installed]")

    def settings(self) -> Settings:
        from promptlab.tuning.prompt_tuning import PromptTuning

        return {"model": self.model, "tuning": PromptTuning(length=self.length, start=self.start)}


@dataclass(frozen=True)
class PretrainingOptions(UpdateOptions):
    """How long it is trained."""

    batch_size: int = option(default=16)
    resume_dir: Path | None = option(type=FOLDER, help="Folder from which an interrupted run goes on.")


@group_command("pretrain-prompt")
def command(
    corpus: CorpusOptions,
    task: TaskOptions,
    prompt: SoftPromptOptions,
    training: PretrainingOptions,
    run: SeedOptions,
    report: ReportOptions,
) -> None:
    """Tune a soft prompt on tasks made from the unlabeled text in CORPUS (PPT).

    CORPUS is a .txt file, blank lines between documents and a sentence on each line, or a table with a document a row.
    Go on from the prompt with: promptlab fit … --tuning prompt-tuning --tuning-arg start=OUTPUT
    """
    from promptlab.data.corpus import read_documents
    from promptlab.estimators.prompt_pretraining import pretrain_prompt

    quiet_libraries()
    documents = read_documents(corpus.corpus, column=corpus.column, **corpus.dialect())
    classifier = pretrain_prompt(documents, **settings_of(task, prompt, training, run))
    classifier.save_prompt(corpus.output)
    result = {"output": str(corpus.output), "tokens": prompt.length, **classifier.history_[-1]}
    print_result(result, as_json=report.as_json)
