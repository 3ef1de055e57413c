"""The text itself, for ordinary classification heads."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from promptlab.core.errors import TemplateError, short_repr
from promptlab.core.interfaces import Template
from promptlab.core.types import AnswerSlot, Example, Prompt, Segment
from promptlab.templates.fields import missing_field


@dataclass(frozen=True)
class InputTemplate(Template):
    """Give a model the fields as they are, the model's separator between them, and no mask: for classification heads.

    Args:
        fields: names of the fields, in order.

    Raises:
        TemplateError: if no field is named, or, in use, if an example lacks one.

    Example:
        >>> from promptlab import Example, InputTemplate
        >>> template = InputTemplate(("text_a", "text_b"))
        >>> print(template.render(Example({"text_a": "It rains.", "text_b": "It is wet."})))
        It rains.{{ sep }}It is wet.
    """

    fields: tuple[str, ...] = ("text_a",)

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "fields", tuple(self.fields))
        odd = [name for name in self.fields if not isinstance(name, str)]
        if odd:
            raise TemplateError(f"fields holds {short_repr(odd[0])}; give names, such as 'text_a'.")
        if not self.fields:
            raise TemplateError("fields is empty; name at least one field that the model reads, such as 'text_a'.")

    def render(self, example: Example) -> Prompt:
        missing = [name for name in self.fields if name not in example.fields]
        if missing:
            raise missing_field("the model reads", missing[0], example.fields)
        return Prompt(tuple(self._segments(example)))

    def _segments(self, example: Example) -> Iterator[Segment]:
        for number, name in enumerate(self.fields):
            if number:
                yield Segment("sep")
            yield Segment("field", str(example.fields[name]), shortenable=True)

    @property
    def slot(self) -> AnswerSlot:
        return AnswerSlot(n_masks=0, at_start=False, spaced=False, n_places=0)
