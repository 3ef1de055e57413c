"""The ``promptlab`` command. Each subcommand is imported when it is used, so that ``--help`` is quick."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TextIO

import click

from promptlab import __version__
from promptlab.cli.wording import in_options
from promptlab.core.errors import PromptlabError, PromptlabWarning, UnsupportedError

COMMANDS = {
    "download": "Fetch a model that needs no hub.",
    "demo": "Zero-shot, linear probe, head and prompt fine-tuning on real data, offline.",
    "distill": "Let prompts label unlabeled rows and train a classifier on them (PET, iPET).",
    "ensemble": "Train several prompts that decide together.",
    "evaluate": "Score a classifier on a labeled file.",
    "expand-verbalizer": "Refine many label words, from lists, WordNet or the model.",
    "export": "Write a classifier's language model as an ordinary Hugging Face folder.",
    "fit": "Train a classifier and save it.",
    "list": "List tasks, templates, verbalizers, tunings and models.",
    "predict": "Classify the rows of a file.",
    "pretrain-prompt": "Tune a soft prompt on unlabeled text, to start few-shot tuning from.",
    "sample": "Draw a k-shot train and dev set.",
    "search-template": "Find templates for a few labeled examples.",
    "search-verbalizer": "Find label words for a few labeled examples.",
    "show": "Show what a template makes of a text.",
}


class LazyGroup(click.Group):
    """Knows its commands' names and summaries without importing them, and prints our errors as one line."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"promptlab.cli.commands.{cmd_name.replace('-', '_')}")
        return module.command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(sorted(COMMANDS.items()))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in COMMANDS:
            import difflib

            close = difflib.get_close_matches(args[0], COMMANDS, n=1)
            hint = f"Did you mean {close[0]!r}?" if close else f"Known: {', '.join(sorted(COMMANDS))}."
            raise click.UsageError(f"no such command {args[0]!r}. {hint}", ctx)
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> object:
        try:
            with _warnings_in_a_line(partial(self._worded, ctx)):
                return super().invoke(ctx)
        except PromptlabError as error:
            click.echo(f"{type(error).__name__}: {self._worded(ctx, str(error))}", err=True)
            ctx.exit(2 if isinstance(error, UnsupportedError) else 1)

    def _worded(self, ctx: click.Context, message: str) -> str:
        """A message of the library, about the options of the command that was called."""
        return in_options(message, self.get_command(ctx, ctx.invoked_subcommand or ""))


@contextmanager
def _warnings_in_a_line(worded: Callable[[str], str]) -> Iterator[None]:
    """Print what the user should know on standard error, each once, without the place in our code."""
    said: set[str] = set()
    with warnings.catch_warnings():
        usual = warnings.showwarning

        def show(
            message: Warning | str,
            category: type[Warning],
            filename: str,
            lineno: int,
            file: TextIO | None = None,
            line: str | None = None,
        ) -> None:
            if not issubclass(category, PromptlabWarning):
                usual(message, category, filename, lineno, file, line)
            elif str(message) not in said:
                said.add(str(message))
                click.echo(f"note: {worded(str(message))}", err=True)

        warnings.simplefilter("always", PromptlabWarning)
        warnings.showwarning = show
        yield


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="promptlab")
def main() -> None:
    """Few labeled texts + one pre-trained language model = a classifier that works."""
