"""Hand-written templates."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from promptlab.core.errors import TemplateError
from promptlab.core.interfaces import Template
from promptlab.core.types import AnswerSlot, Example, Prompt, SoftSlot
from promptlab.templates.rendering import field_names, filter_names, render_segments, soft_slots, unknown_fields


@dataclass(frozen=True)
class ManualTemplate(Template):
    """Fill a Jinja pattern with at least one mask, such as ``{{ text_a }} It was {{ mask }}.`` for sentiment.

    ``{{ mask(3) }}`` are three slots, ``{{ sep }}`` is the model's separator, ``{{ soft(5) }}`` are trainable tokens,
    ``{{ text_a | keep }}`` is never shortened; conditions and slices are Jinja's.

    Source: PET, arXiv:2001.07676, section 3 (there called a pattern).

    Args:
        source: the pattern; its names are the examples' fields.

    Raises:
        TemplateError: in use, if the pattern can't be read, has no mask, or an example lacks a field.

    Example:
        >>> from promptlab import Example, ManualTemplate
        >>> template = ManualTemplate("{{ text_a }}? {{ mask }}, {{ text_b | lower_first }}")
        >>> prompt = template.render(Example({"text_a": "It rains", "text_b": "The street is wet."}))
        >>> print(prompt, prompt.n_masks)
        It rains? {{ mask }}, the street is wet. 1
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
        return self.render(Example(unknown_fields(self.source))).slot

    @property
    def soft_slots(self) -> tuple[SoftSlot, ...]:
        return soft_slots(self.source)
