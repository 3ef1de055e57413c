"""Classes as conjunctions of answers at several masks."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from promptlab.core.errors import VerbalizerError
from promptlab.core.interfaces import Backbone, Verbalizer
from promptlab.core.types import AnswerSlot, MaskStates
from promptlab.verbalizers.head import MaskHead
from promptlab.verbalizers.label_words import one_id


@dataclass(frozen=True)
class RuleVerbalizer(Verbalizer):
    """Score a class by a word at each of several masks; a mask's words are those that any class has there.

    A class scores the sum of its words' logits, so that its probability is the product of those at the masks, over the
    classes. Training adds the cross-entropy at each mask over that mask's words.

    Source: PTR, arXiv:2105.11259, section 3, with the loss of its code.

    Args:
        rules: class → a word for each mask, in the order of the template, such as
            ``{"founded by": ["organization", "founded", "person"]}``.

    Raises:
        VerbalizerError: if there are fewer than two classes, their numbers of words differ, or two have the same words.

    Example:
        >>> from promptlab import PromptClassifier, RuleVerbalizer
        >>> rules = {f"{what}/{how}": [what, how] for what in ("film", "food") for how in ("bad", "good")}
        >>> template = "{{ text_a }} The {{ mask }} was {{ mask }}."
        >>> PromptClassifier(template, RuleVerbalizer(rules), "minilm").predict(["a dull plot", "tasty noodles"])
        array(['film/bad', 'food/good'], dtype='<U9')
    """

    rules: Mapping[str, Sequence[str]]

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, words in self.rules.items():
            if not isinstance(words, (list, tuple)) or not all(isinstance(word, str) for word in words):
                raise VerbalizerError(f"class {name!r} has {words!r}; give a list with a word for each mask.")
        rules = {str(name): tuple(words) for name, words in self.rules.items()}
        object.__setattr__(self, "rules", rules)
        if len(rules) < 2:
            raise VerbalizerError(f"there are rules for {len(rules)} class(es); a classifier needs at least 2.")
        first, count = next((name, len(words)) for name, words in rules.items())
        for name, words in rules.items():
            if len(words) != count or not words:
                raise VerbalizerError(
                    f"class {first!r} has {count} words, but {name!r} has {len(words)}; give each class one for every "
                    "mask, such as a word for no answer."
                )
        owners: dict[tuple[str, ...], str] = {}
        for name, words in rules.items():
            if words in owners:
                raise VerbalizerError(f"classes {owners[words]!r} and {name!r} have the same words {', '.join(words)}.")
            owners[words] = name

    @property
    def classes(self) -> tuple[str, ...]:
        return tuple(self.rules)

    def build(self, backbone: Backbone, slot: AnswerSlot) -> RuleHead:
        count = len(next(iter(self.rules.values())))
        if slot.n_masks != count:
            raise VerbalizerError(f"the template has {slot.n_masks} masks, but each rule has {count} words.")
        sets = [list(dict.fromkeys(words[i] for words in self.rules.values())) for i in range(count)]
        ids = [
            [one_id(word, self._owner(word, i), backbone, slot.at_mask(i)) for word in row]
            for i, row in enumerate(sets)
        ]
        picks = torch.tensor([[sets[i].index(word) for i, word in enumerate(words)] for words in self.rules.values()])
        return RuleHead(ids, picks)

    def _owner(self, word: str, place: int) -> str:
        return next(name for name, words in self.rules.items() if words[place] == word)


class RuleHead(MaskHead):
    """Sums of logits along the rules.

    Args:
        ids: of the words of each mask.
        picks: which of a mask's words a class has, (classes, masks).
    """

    def __init__(self, ids: Sequence[Sequence[int]], picks: Tensor) -> None:
        super().__init__()
        self.sizes = [len(row) for row in ids]
        self.ids = nn.Buffer(torch.tensor([token for row in ids for token in row]), persistent=False)  # (words,)
        self.picks = nn.Buffer(picks, persistent=False)  # (classes, masks)

    @property
    def batch_key(self) -> Hashable:
        return super().batch_key, len(self.sizes)

    def word_logits(self, outputs: MaskStates) -> list[Tensor]:
        """Logits of each mask's own words, (batch, words) each."""
        parts = self.ids.split(self.sizes)
        return [
            MaskStates(outputs.hidden[:, i : i + 1], outputs.lm_head).logits(ids)[:, 0] for i, ids in enumerate(parts)
        ]

    def forward(self, outputs: MaskStates) -> Tensor:
        return F.log_softmax(self._scores(self.word_logits(outputs)), dim=-1)

    def _scores(self, logits: Sequence[Tensor]) -> Tensor:
        return torch.stack([row[:, self.picks[:, i]] for i, row in enumerate(logits)]).sum(dim=0)  # (batch, classes)

    def losses(self, outputs: MaskStates, labels: Tensor) -> Tensor:
        """Cross-entropy over the classes, and the mean over the masks of that over their words."""
        logits = self.word_logits(outputs)
        at_masks = [F.cross_entropy(row, self.picks[labels, i], reduction="none") for i, row in enumerate(logits)]
        return F.cross_entropy(self._scores(logits), labels, reduction="none") + torch.stack(at_masks).mean(dim=0)
