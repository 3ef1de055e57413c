"""What users may pass, as type checkers see it; ``data/readers`` and ``library/resolve`` say what it becomes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    import torch

    from promptlab.core.interfaces import Backbone, Template, Tuning, Verbalizer

Texts: TypeAlias = "Iterable[object]"  # texts, tuples of texts, mappings, Examples; a data frame, a data set
Labels: TypeAlias = "Iterable[object]"  # texts, whole numbers, True and False; of several labels, a list for each row
Weights: TypeAlias = "Iterable[float]"
Sentences: TypeAlias = "Sequence[Sequence[str]]"  # of each sentence the words, or their tags
DevSet: TypeAlias = "tuple[Texts, Labels | None]"
ClassWeight: TypeAlias = "str | Mapping[Any, float]"  # "balanced", or a weight for each class
TemplateLike: TypeAlias = "Template | Mapping[str, Any] | str"  # a kind with its settings, a Jinja source, or a name
VerbalizerLike: TypeAlias = "Verbalizer | Mapping[Any, Any] | str"  # class → words, or an entry of the library
TuningLike: TypeAlias = "Tuning | str"
DeviceLike: TypeAlias = "torch.device | str"
ModelLike: TypeAlias = "Backbone | Path | str"
