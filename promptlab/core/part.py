"""What all parts are: settings that can be compared, saved, sent to another process, and reached by a search."""

from __future__ import annotations

import dataclasses
from abc import ABC
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Self

from promptlab.core.checks import check_types
from promptlab.core.docstrings import list_settings
from promptlab.core.errors import PromptlabError, TuningError, UnknownNameError, short_repr


@dataclass(frozen=True)
class Part(ABC):
    """A frozen dataclass of settings, whose types are checked when it is made.

    Its settings are parameters to scikit-learn, so that a search reaches them: ``tuning__rank``.
    """

    error_class: ClassVar[type[PromptlabError]]

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        list_settings(cls)

    def __post_init__(self) -> None:
        check_types(self, self.error_class)

    @classmethod
    def from_saved(cls, values: Mapping[str, object]) -> Self:
        """Make the part that saved settings describe; one whose settings changed reads those of earlier versions."""
        return cls(**values)

    def get_params(self, deep: bool = True) -> dict[str, object]:
        """Return the settings by name; if ``deep`` those of wrapped parts, too, such as ``verbalizer__aggregate``."""
        own = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        wrapped = {name: part for name, part in own.items() if deep and isinstance(part, Part)}
        return own | {
            f"{name}__{setting}": value
            for name, part in wrapped.items()
            for setting, value in part.get_params().items()
        }

    def set_params(self, **settings: object) -> Self:
        """Return a copy with other settings, named as ``get_params`` names them; the part itself stays as it is.

        Raises:
            UnknownNameError: if there is no such setting.
            PromptlabError: if a value doesn't fit.
        """
        known = self.get_params(deep=False)
        own, wrapped = by_owner(settings)
        for name in (*own, *wrapped):
            if name not in known:
                raise UnknownNameError(f"setting of {type(self).__name__}", name, known)
        parts = {name: changed_part(name, (known | own)[name], given) for name, given in wrapped.items()}
        return dataclasses.replace(self, **own | parts)

    def __sklearn_clone__(self) -> Self:
        return self


def by_owner(settings: Mapping[str, object]) -> tuple[dict[str, object], dict[str, dict[str, object]]]:
    """Settings of one's own, and those of one's parts, by their names: ``tuning__rank`` is ``rank`` of ``tuning``."""
    own: dict[str, object] = {}
    of_parts: dict[str, dict[str, object]] = {}
    for key, value in settings.items():
        name, mark, setting = key.partition("__")
        if mark:
            of_parts.setdefault(name, {})[setting] = value
        else:
            own[name] = value
    return own, of_parts


def changed_part(name: str, part: object, settings: Mapping[str, object]) -> object:
    """A part with other settings; an estimator is changed itself.

    Raises:
        TuningError: if it is nothing that has settings.
        PromptlabError: as ``Part.set_params`` does.
    """
    if not hasattr(part, "set_params"):
        raise TuningError(
            f"{name}={short_repr(part)} has no setting {next(iter(settings))!r}; pass an object that has it for {name}."
        )
    return part.set_params(**settings)
