"""The prompt of a classifier: template and label words, shown examples, calibration."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

import click

from promptlab.cli.arguments import is_json, parse_verbalizer
from promptlab.cli.groups import OptionGroup, option
from promptlab.cli.rules import Rule

if TYPE_CHECKING:
    from promptlab.cli.option_groups.data import DataOptions
    from promptlab.core.inputs import TemplateLike, VerbalizerLike
    from promptlab.core.interfaces import Verbalizer
    from promptlab.core.types import Example
    from promptlab.library.pvps import PVP

SUPPORT_ROWS = 200  # at most, drawn from TRAIN: as many as KPT measures a prior on


@dataclass(frozen=True)
class PromptOptions(OptionGroup):
    """Template and verbalizer, and what is put around them."""

    title: ClassVar[str] = "Prompt"
    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            when=("pvp",),
            excludes=("template", "verbalizer"),
            message="--pvp has a template and a verbalizer; leave --template and --verbalizer out.",
        ),
        Rule(
            when=("demonstration_style",),
            needs=("demonstrations",),
            message="--demonstration-style goes with --demonstrations.",
        ),
        Rule(
            when=("answers=strings",),
            needs=("has_json_words",),
            message="--answers strings goes with a JSON verbalizer; one of the library says it itself.",
        ),
        Rule(when=("support",), needs=("calibrate=support",), message="--support is for --calibrate support."),
        Rule(
            when=("instruction",),
            needs=("shows_in_context",),
            message="--instruction goes with --demonstrations in the in-context style.",
        ),
    )

    template: str | None = option(
        help='Jinja source such as "{{ text_a }} It was {{ mask }}.", or a name such as sst2.'
    )
    verbalizer: str | None = option(
        help='JSON such as {"bad": ["terrible"], "good": ["great"]} or {"kind": "strings", "label_words": {…}}, a JSON '
        "file, or a name."
    )
    pvp: str | None = option(
        metavar="FILE[#NAME]", help="Template and verbalizer from YAML, the first or the one of a name."
    )
    answers: Literal["words", "strings"] = option(
        default="words",
        help="strings: score the words of a JSON verbalizer as whole answers even if each is one token.",
    )
    demonstrations: int | None = option(
        type=click.IntRange(min=1), metavar="K", help="Show K answered examples in the prompt."
    )
    demonstration_style: Literal["in-context", "per-class"] | None = option(
        help="K in all before the text, or K sets of one per class after it (LM-BFF). [default: in-context]"
    )
    instruction: str | None = option(help="Text before the demonstrations.")
    calibrate: Literal["contextual", "domain", "support"] | None = option(help="Take out the prompt's prior.")
    support: Path | None = option(help="Unlabeled rows for --calibrate support. [default: TRAIN]")

    @property
    def has_json_words(self) -> bool:
        """Whether the verbalizer is given as JSON, not by a name."""
        return self.verbalizer is not None and is_json(self.verbalizer)

    @property
    def shows_in_context(self) -> bool:
        """Whether answered examples stand before the text."""
        return self.demonstrations is not None and self.demonstration_style != "per-class"

    def pair(self) -> PVP:
        """Return template and verbalizer, as they were given or from a file of pairs."""
        from promptlab.library.pvps import PVP, find_pvp

        if self.pvp is not None:
            return find_pvp(self.pvp)
        return PVP(self.template or "", parse_verbalizer(str(self.verbalizer), self.answers))

    def with_demonstrations(self, template: TemplateLike, seed: int) -> TemplateLike:
        """Wrap a template in one that shows answered examples, if any are asked for."""
        if self.demonstrations is None:
            return template
        from promptlab.library.resolve import resolve_template
        from promptlab.templates.demonstrations import DemonstrationTemplate, InContextTemplate

        inner, k = resolve_template(template), self.demonstrations
        if self.shows_in_context:
            return InContextTemplate(inner, k=k, instruction=self.instruction or "", seed=seed)
        return DemonstrationTemplate(inner, sets=k, seed=seed)

    def calibrated(
        self, verbalizer: VerbalizerLike, data: DataOptions, train: Sequence[Example], seed: int
    ) -> Verbalizer:
        """Wrap a verbalizer in one that takes out the prompt's prior, if that is asked for.

        Args:
            data: how ``--support`` is read.
            train: from which support is drawn if there is no such file.
        """
        from promptlab.library.resolve import resolve_verbalizer
        from promptlab.verbalizers.calibrated import ContextualCalibration, PMICalibration, SupportCalibration

        inner = resolve_verbalizer(verbalizer)
        if self.calibrate is None:
            return inner
        if self.calibrate == "support":
            rows = some_of(train, seed) if self.support is None else list(data.iter_unlabeled(self.support))
            return SupportCalibration(inner, rows)
        return ContextualCalibration(inner) if self.calibrate == "contextual" else PMICalibration(inner)


def some_of(examples: Sequence[Example], seed: int) -> Sequence[Example]:
    """Draw as many examples as a prior is measured on; all, if there are fewer."""
    import random

    if len(examples) <= SUPPORT_ROWS:
        return examples
    return random.Random(seed).sample(list(examples), SUPPORT_ROWS)
