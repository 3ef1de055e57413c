"""What a classifier of one model keeps on disk beside its weights, and how it comes back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Self

from promptlab.core.devices import resolve_device
from promptlab.core.interfaces import Tuning
from promptlab.core.registry import TEMPLATES, VERBALIZERS
from promptlab.data.labels import LabelType
from promptlab.estimators.class_scorer import ClassScorer
from promptlab.models.inference import calibrate
from promptlab.models.prompt_model import PromptModel
from promptlab.models.soft_tokens import to_be_filled


@dataclass(kw_only=True, eq=False, repr=False)
class SavedTextEstimator(ClassScorer):
    """Template, verbalizer and classes as plain JSON; see ``promptlab.estimators.saving``."""

    model_class: ClassVar[type[PromptModel]] = PromptModel

    def saved_parts(self) -> dict[str, Any]:
        model = self.ready()
        return {
            "template": TEMPLATES.to_dict(model.template),
            "verbalizer": VERBALIZERS.to_dict(model.verbalizer),
            "classes": list(model.verbalizer.classes),
            **self.label_type_.saved(),
        }

    @classmethod
    def restored(cls, saved: dict[str, Any], backbone: Any, tuning: Tuning) -> tuple[Self, PromptModel]:
        template, verbalizer = TEMPLATES.from_dict(saved["template"]), VERBALIZERS.from_dict(saved["verbalizer"])
        slots = to_be_filled(template.soft_slots)
        model = cls.model_class.build(template, verbalizer, backbone, tuning, slots=slots)
        parts = {"template": template, "verbalizer": verbalizer}
        given: dict[str, Any] = {name: part for name, part in parts.items() if name in cls.__dataclass_fields__}
        return cls(**saved["parameters"], **given), model

    def take_model(self, model: PromptModel, saved: dict[str, Any]) -> None:
        calibrate(model.to(resolve_device(self.device)), max_length=self.max_length)
        self.model_ = model.eval()
        self.set_classes(model.verbalizer.classes, LabelType.from_saved(saved))
