"""Hand-written templates."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from promptlab.core.errors import TemplateError
from promptlab.core.interfaces import Template
from promptlab.core.types import AnswerSlot, Example, Prompt, SoftSlot
from promptlab.templates.rendering import AnyValue, field_names, filter_names, render_segments, soft_slots


@dataclass(frozen=True)
class ManualTemplate(Template):
    """A Jinja pattern with at least one mask, such as ``{{ text_a }} It was {{ mask }}.`` for sentiment.

    Source: PET, arXiv:2001.07676, section 3 (there called a pattern).

    Args:
        source: the pattern.
    """

    source: str

    filters = property(lambda self: filter_names(self.source))  # it is saved which packages bring them

    def render(self, example: Example) -> Prompt:
        prompt = Prompt(render_segments(self.source, example.fields))
        if prompt.n_masks == 0:
            raise TemplateError(f"template {self.source!r} has no mask; put {{{{ mask }}}} where the label word goes.")
        return prompt

    @property
    def fields(self) -> tuple[str, ...]:
        """Names of the fields it reads."""
        return field_names(self.source)

    @cached_property
    def slot(self) -> AnswerSlot:
        return self.render(Example(dict.fromkeys(self.fields, AnyValue("text")))).slot

    @property
    def soft_slots(self) -> tuple[SoftSlot, ...]:
        return soft_slots(self.source)
