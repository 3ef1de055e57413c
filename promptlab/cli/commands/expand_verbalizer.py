"""``promptlab expand-verbalizer``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import click

from promptlab.cli.groups import OptionGroup, Settings, argument, flag, group_command, option, repeated, settings_of
from promptlab.cli.library_defaults import default_of
from promptlab.cli.option_groups.data import DataOptions
from promptlab.cli.option_groups.models import ModelOptions
from promptlab.cli.option_groups.reports import ReportOptions
from promptlab.cli.printing import print_json, print_table, quiet_libraries, write_label_words

REFINE = "promptlab.search.words.refinement:refine_words"


@dataclass(frozen=True)
class WordListOptions(OptionGroup):
    """The label words, what is added to them, and where those kept are written."""

    title: ClassVar[str] = "Words"

    words: Path = argument()
    output: Path | None = option("-o", "--output", help="JSON for --verbalizer of fit.")
    classes: tuple[str, ...] = repeated("--class", help="Names of the classes of WORDS' lines, in order; repeated.")
    wordnet: bool = flag(help="First add related words from WordNet.")
    nearest: int | None = option(type=click.IntRange(min=1), help="First add so many words whose vectors are near.")

    def label_words(self, model: str | None) -> Mapping[str, Sequence[str]]:
        """Return class → words, with those that are added."""
        from promptlab.search.words.expansion import nearest_words, read_word_lists, wordnet_words

        found: Mapping[str, Sequence[str]] = read_word_lists(self.words, self.classes or None)
        if self.wordnet:
            found = wordnet_words(found)
        return nearest_words(found, model, n=self.nearest) if self.nearest else found


@dataclass(frozen=True)
class RefinementOptions(OptionGroup):
    """Which words are dropped, by which prompt on which texts."""

    title: ClassVar[str] = "Refinement"

    template: str = option(required=True, help="Jinja source or a name, with one mask.")
    support: Path = option(required=True, help="About 200 unlabeled texts; labels aren't read.")
    frequency: float = option(default=default_of(REFINE, "frequency"), help="Share of the vocabulary that is rare.")
    relevance: bool = flag(
        "--relevance/--no-relevance", default=default_of(REFINE, "relevance"), help="Drop words of no one class."
    )
    multi_token: Literal["drop", "first"] = option(default=default_of(REFINE, "multi_token"))

    def settings(self) -> Settings:
        return {"frequency": self.frequency, "relevance": self.relevance, "multi_token": self.multi_token}


@group_command("expand-verbalizer")
def command(
    words: WordListOptions, refinement: RefinementOptions, model: ModelOptions, data: DataOptions, report: ReportOptions
) -> None:
    """Refine the label words in WORDS (KPT) and print those kept and dropped.

    WORDS is JSON (class: [words]), or a line for each class with its words between commas, its name first.
    """
    from promptlab.core.files import check_writable
    from promptlab.search.words.refinement import refine_words

    quiet_libraries()
    if words.output is not None:
        check_writable(words.output)  # before a model is loaded
    label_words = words.label_words(model.model)
    texts = list(data.iter_unlabeled(refinement.support))
    settings = settings_of(refinement, model)
    refined = refine_words(label_words, refinement.template, texts, **settings)
    write_label_words(words.output, refined.label_words)
    if report.as_json:
        print_json({"kept": refined.label_words, "dropped": [one._asdict() for one in refined.dropped]})
        return
    print_table("dropped", ["class", "word", "reason"], [list(one) for one in refined.dropped], n_text=3)
    kept = [[name, " ".join(row), len(row)] for name, row in refined.label_words.items()]
    print_table("kept", ["class", "words", "number"], kept, n_text=2)
