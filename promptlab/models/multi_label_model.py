"""What a multi-label classifier learns from, and its model."""

from __future__ import annotations

from promptlab.core.errors import VerbalizerError
from promptlab.core.interfaces import AnyHead, Backbone, Template, Verbalizer
from promptlab.models.prompt_model import PromptModel
from promptlab.models.soft_tokens import SoftTokens
from promptlab.verbalizers.head import ScoringHead
from promptlab.verbalizers.independent import IndependentHead


class MultiLabelModel(PromptModel):
    """A prompt model whose classes are decided each by itself.

    Raises:
        VerbalizerError: if the verbalizer can only compare classes.
    """

    def __init__(
        self, template: Template, verbalizer: Verbalizer, backbone: Backbone, head: AnyHead, soft: SoftTokens
    ) -> None:
        if not isinstance(head, ScoringHead):
            raise VerbalizerError(
                f"{type(verbalizer).__name__} compares its classes, of which several may hold here; choose one that "
                "scores each, such as ManualVerbalizer, WeightedVerbalizer or SoftVerbalizer."
            )
        super().__init__(template, verbalizer, backbone, IndependentHead(head, len(verbalizer.classes)), soft)
