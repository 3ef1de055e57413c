"""What only prompt tuning uses: soft tokens before any template, and encoders of their vectors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from promptlab.core.interfaces import Template, Verbalizer
from promptlab.core.prompt_files import LENGTH
from promptlab.core.types import AnswerSlot, Example, Prompt, Segment, SoftSlot


class MLPEncoder(nn.Module):
    """Two layers over each vector, added to it.

    Source: residual prompt tuning's form of Prefix-Tuning's reparametrisation, arXiv:2101.00190, section 4.3.
    """

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.down, self.up = nn.Linear(width, hidden), nn.Linear(hidden, width)
        nn.init.zeros_(self.up.weight)  # starts as the identity, so that the start of a slot is kept
        nn.init.zeros_(self.up.bias)

    def forward(self, rows: Tensor) -> Tensor:
        return rows + self.up(torch.tanh(self.down(rows)))


class LSTMEncoder(nn.Module):
    """A two-layer bidirectional LSTM over all soft tokens in order, then an MLP.

    Source: P-Tuning, arXiv:2103.10385, section 3.2; sizes as in the authors' few-shot code.
    """

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(width, hidden, num_layers=2, bidirectional=True, batch_first=True)
        self.mlp = nn.Sequential(nn.Linear(2 * hidden, hidden), nn.ReLU(), nn.Linear(hidden, width))

    def forward(self, rows: Tensor) -> Tensor:
        return self.mlp(self.lstm(rows[None])[0][0])


@dataclass(frozen=True)
class SoftPromptTemplate(Template):
    """Put soft tokens before another template, as prompt tuning does.

    Source: Prompt Tuning, arXiv:2104.08691, section 2.

    Args:
        template: the template behind the soft tokens.
        prompt: the soft tokens: a key, their number, words to start from, and how they start without words.

    Example:
        >>> from promptlab import Example, ManualTemplate, SoftPromptTemplate
        >>> template = SoftPromptTemplate(ManualTemplate("{{ text_a }} It was {{ mask }}."), ("prompt", 5))
        >>> print(template.render(Example({"text_a": "A gem."})))
        {{ soft(5) }}A gem. It was {{ mask }}.
    """

    template: Template
    prompt: SoftSlot = field(default=SoftSlot("prompt", LENGTH))

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "prompt", SoftSlot(*self.prompt))

    @property
    def fields(self) -> Sequence[str]:
        return self.template.fields

    @property
    def slot(self) -> AnswerSlot:
        return self.template.slot.put_after(self._segment)

    @property
    def _segment(self) -> Segment:
        return Segment("soft", n=self.prompt.n, key=self.prompt.key)

    @property
    def soft_slots(self) -> Sequence[SoftSlot]:
        return (self.prompt, *self.template.soft_slots)

    @property
    def n_variants(self) -> int:
        return self.template.n_variants

    def bind(self, examples: Sequence[Example], verbalizer: Verbalizer) -> SoftPromptTemplate:
        return SoftPromptTemplate(self.template.bind(examples, verbalizer), self.prompt)

    def check_training(self) -> None:
        self.template.check_training()

    def render(self, example: Example) -> Prompt:
        return self.variants(example)[0]

    def variants(self, example: Example) -> Sequence[Prompt]:
        return [Prompt((self._segment, *prompt.segments)) for prompt in self.template.variants(example)]
