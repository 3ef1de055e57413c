"""A saved classifier: ``promptlab.json``, the trained weights and a model card. No pickle anywhere."""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import Field, fields
from pathlib import Path
from typing import Any, ClassVar, NoReturn, Protocol, Self, TypeVar, runtime_checkable

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from promptlab import __version__
from promptlab.backbones.catalog import is_own_name
from promptlab.core.errors import SavedModelError, TuningError, short_repr
from promptlab.core.files import atomic_folder, check_path, to_json
from promptlab.core.identity import base_difference, described_base
from promptlab.core.inputs import DeviceLike, ModelLike, TuningLike
from promptlab.core.interfaces import Backbone, Tuning
from promptlab.core.json_loader import Json
from promptlab.core.json_loader import load as load_json
from promptlab.core.registry import ESTIMATORS, TUNINGS, check_brought, saved_as_brought
from promptlab.data.weights import weights_by_name
from promptlab.estimators.model_card import card
from promptlab.library.resolve import fresh_backbone, resolve_tuning
from promptlab.models.trainable_model import AnyModel

SCHEMA = 1
SETTINGS = "promptlab.json"
WEIGHTS = "weights.safetensors"
SHAPES = {
    "estimator": str, "parameters": dict, "tuning": dict, "model": dict, "template": dict, "verbalizer": dict,
    "tags": list, "pvps": list, "weights": dict, "member_scores": dict, "agreement": list,
    "classes": list, "label_type": str, "label_order": list, "config": dict,
}  # fmt: skip
AS_WRITTEN = "as written"  # label words have the ids of the whole text; in 0.1 they always had a space before them
NOT_SAVED = (
    "template", "verbalizer", "pvps", "model", "tuning", "resume_dir", "device", "executor", "workers",
)  # fmt: skip


class Described(Protocol):
    """An estimator, as far as it is described where it is saved."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]
    hub_task: ClassVar[str]
    hub_example: ClassVar[str]
    tuning: TuningLike

    def get_params(self, deep: bool = True) -> dict[str, object]:
        """The settings by name."""


class Savable(Described, Protocol):
    """An estimator of one model; see ``TrainedEstimator``."""

    def ready(self) -> AnyModel:
        """Return the fitted model."""

    def model_tuning(self) -> Tuning:
        """The tuning that the model has."""

    def saved_parts(self) -> dict[str, object]:
        """What is needed to come back from disk."""

    def set_params(self, **params: object) -> Self:
        """Change settings."""

    @classmethod
    def restored(cls, saved: SavedSettings, backbone: Backbone, tuning: Tuning) -> tuple[Self, AnyModel]:
        """An estimator and its model, as yet without the trained weights."""

    def take_model(self, model: Any, saved: SavedSettings) -> None:
        """Become fitted with a model whose weights are in place."""


@runtime_checkable
class Exportable(Protocol):
    """An estimator whose language model can be written by itself."""

    def export_model(self, folder: str | Path) -> None:
        """Write the language model as an ordinary Hugging Face folder."""


SavableT = TypeVar("SavableT", bound=Savable)

RENAMED_VALUES = {  # parameter and its value in 0.1 → what it is called now
    ("weighting", "before"): "untrained-accuracy",
    ("weighting", "after"): "trained-accuracy",
}


def save(estimator: Savable, folder: str | Path) -> None:
    """Write a fitted classifier to ``folder``, replacing what is there only when everything is written.

    Raises:
        DataError: if the folder can't be written.
        SavedModelError: if a part of it can't be written as JSON.
        NotFittedError: if the classifier is neither fitted nor able to classify zero-shot.
    """
    model = estimator.ready()
    trained = list(model.trained_parameters())
    settings = described(estimator, model.backbone) | estimator.saved_parts()
    files = written(estimator, settings, sum(weight.numel() for _, weight in trained))
    with atomic_folder(folder, marker_file=SETTINGS) as new:
        elsewhere = {f"backbone.{name}" for name in estimator.model_tuning().save(model.backbone, new)}
        weights = {name: weight.detach().cpu().contiguous() for name, weight in trained if name not in elsewhere}
        save_file(weights, new / WEIGHTS)
        put(files, new)


def described(estimator: Described, backbone: Backbone) -> dict[str, object]:
    """What is saved of an estimator of any class, of one model or of several."""
    return {
        "schema": SCHEMA,
        "promptlab": __version__,
        "estimator": type(estimator).__name__,
        **saved_as_brought(ESTIMATORS.brought(type(estimator).__name__)),
        "parameters": parameters_of(estimator),
        "tuning": TUNINGS.to_dict(resolve_tuning(estimator.tuning)),
        "model": described_base(backbone) | ({"folder": backbone.folder} if backbone.folder else {}),
        "answers": None if backbone.as_in_0_1 else AS_WRITTEN,
    }


def written(estimator: Described, settings: Mapping[str, object], n_trained: int) -> dict[str, str]:
    """The settings and the model card, by the names of their files.

    Raises:
        SavedModelError: if a setting can't be written as JSON.
    """
    readme = card(settings, n_trained, task=estimator.hub_task, example=estimator.hub_example)
    return {SETTINGS: to_json(settings, indent=2, ensure_ascii=False) + "\n", "README.md": readme}


def put(files: Mapping[str, str], folder: Path) -> None:
    """Write files of text."""
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")


def parameters_of(estimator: Described) -> dict[str, object]:
    """The settings that are saved as they are; class weights by the classes' names, which JSON can hold."""
    found = {k: v for k, v in estimator.get_params(deep=False).items() if k not in NOT_SAVED}
    weight = found.get("class_weight")
    if isinstance(weight, Mapping) and hasattr(estimator, "label_type_"):
        found["class_weight"] = weights_by_name(weight, estimator.label_type_)
    return found


def export_model(estimator: Savable, folder: str | Path) -> None:
    """See ``TrainedEstimator.export_model``."""
    model = estimator.ready()
    tuning = estimator.model_tuning()
    backbone = model.backbone.copy()
    tuning.merge(backbone)
    added = [*backbone.added_weights(), *model.added_inputs()]
    if added:
        raise TuningError(
            f"tuning {TUNINGS.to_dict(tuning)['kind']!r} adds parts that the model's weights can't hold ({added[0]}, "
            f"{len(added)} in all); save_pretrained keeps them."
        )
    with atomic_folder(folder) as new:
        network = backbone.model if backbone.has_lm_head else backbone.model.base_model  # a random head isn't passed on
        network.save_pretrained(new)
        backbone.tokenizer.save_pretrained(new)


def load(cls: type[SavableT], folder: str | Path, *, model: ModelLike | None, device: DeviceLike) -> SavableT:
    """Read a classifier that ``save`` wrote, from a folder or a hub id.

    Raises:
        SavedModelError: if it is missing, damaged, of a newer schema, of another class or for another base model.
    """
    path, settings = settings_for(cls, folder)
    return _restore(cls, path, settings, model=model, device=device)


def settings_for(cls: type[Described], folder: str | Path) -> tuple[Path, SavedSettings]:
    """Where a classifier of a class is saved, and its settings.

    Raises:
        SavedModelError: as ``read_settings`` does, or if it is of another class or has settings that this one hasn't.
    """
    path = local(folder)
    settings = read_settings(path)
    if settings["estimator"] != cls.__name__:
        raise SavedModelError(
            f"{str(folder)!r} holds a {settings['estimator']}, not a {cls.__name__}; load it with that class."
        )
    unknown = set(settings["parameters"]) - ({field.name for field in fields(cls)} - set(NOT_SAVED))
    if unknown:
        raise SavedModelError(
            f"{str(path)!r} has the setting {min(unknown)!r}, which {cls.__name__} of promptlab {__version__} hasn't; "
            "update promptlab."
        )
    return path, settings


def load_any(folder: str | Path, *, model: ModelLike | None = None, device: DeviceLike = "auto") -> Any:
    """Load a saved classifier of whichever class it is; ``model`` and errors are as for ``load``."""
    path = local(folder)
    settings = read_settings(path)
    name = settings["estimator"]
    if name not in ESTIMATORS.names:
        raise SavedModelError(
            f"{str(folder)!r} holds a {name!r}; this promptlab {__version__} knows {', '.join(ESTIMATORS.names)}."
        )
    return ESTIMATORS.get(name).from_pretrained(path, model=model, device=device)


def base_of(path: Path, settings: SavedSettings) -> str:
    """Where the base model of a saved classifier is now: its name, or a folder.

    A folder is looked for where it was, and, if it was given relative to some directory, in those above the classifier,
    so that both may have moved together.

    Args:
        path: where the classifier is.
        settings: of ``read_settings``.

    Raises:
        SavedModelError: if it was a folder that is nowhere now.
    """
    name: str = settings["model"]["name"]
    was = settings["model"].get("folder")
    if not isinstance(name, str) or not isinstance(was, (str, type(None))):
        raise SavedModelError(f"{str(path)!r} has the base model {short_repr(name)}, which is no name; save it again.")
    if is_own_name(name):
        return name
    above = [parent / name for parent in path.resolve().parents] if not Path(name).is_absolute() else []
    places = [*([Path(was)] if was else []), Path(name), *above]
    found = next((place for place in places if (place / "config.json").is_file()), None)
    if found is None and was:
        raise SavedModelError(
            f"the base model of {str(path)!r} was the folder {was!r}, which isn't there; say where it is with model= "
            "(--model)."
        )
    return name if found is None or found.resolve() == Path(name).resolve() else str(found)


def _restore(
    cls: type[SavableT], path: Path, settings: SavedSettings, *, model: ModelLike | None, device: DeviceLike
) -> SavableT:
    tuning = TUNINGS.from_dict(settings["tuning"])
    base = base_of(path, settings) if model is None else model
    backbone = fresh_backbone(base, device)
    if difference := base_difference(settings["model"], backbone):
        raise SavedModelError(
            f"{str(path)!r} was trained on {settings['model']['name']} {difference}; load it with that base model."
        )
    backbone.as_in_0_1 = settings.get("answers") != AS_WRITTEN
    of_model = TUNINGS.make("none") if settings.get("untrained") else tuning
    estimator, built = cls.restored(settings, backbone, of_model)
    named = str(base) if isinstance(base, (str, Path)) else settings["model"]["name"]
    estimator.set_params(model=named, tuning=tuning, device=device)
    elsewhere = {f"backbone.{name}" for name in of_model.load(backbone, path)}
    _fill(built.export(), path / WEIGHTS, elsewhere)
    estimator.take_model(built, settings)
    return estimator


class SavedSettings(dict[str, Json]):
    """The settings of a saved classifier; a missing one is told as such."""

    def __init__(self, settings: Mapping[str, object], file: Path) -> None:
        super().__init__(settings)
        self.file = file

    def __missing__(self, key: str) -> NoReturn:
        raise SavedModelError(f"{str(self.file)!r} lacks {key!r}; save the model again.")


def read_settings(path: Path) -> SavedSettings:
    """The settings of a saved classifier.

    Raises:
        SavedModelError: if they are missing, damaged, of a newer schema, or of parts whose package isn't installed.
    """
    file = path / SETTINGS
    try:
        settings: Json = load_json(file.read_text(encoding="utf-8"))
        schema = settings["schema"]
    except (FileNotFoundError, NotADirectoryError):
        raise SavedModelError(f"{str(path)!r} holds no {SETTINGS}; give a folder that save_pretrained wrote.") from None
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise SavedModelError(f"{str(file)!r} is damaged ({error}); save the model again.") from None
    if schema != SCHEMA:
        raise SavedModelError(
            f"{str(file)!r} has schema {schema!r}, this promptlab {__version__} reads {SCHEMA}; update promptlab."
        )
    _check_shapes(settings, file)
    check_brought(settings)
    for (name, earlier), value in RENAMED_VALUES.items():
        if settings.get("parameters", {}).get(name) == earlier:
            settings["parameters"][name] = value
    if "model" in settings:
        _check_shapes(settings["model"], file)
        settings["model"] = SavedSettings(settings["model"], file)
    return SavedSettings(settings, file)


def _check_shapes(settings: Mapping[str, object], file: Path) -> None:
    for name, shape in SHAPES.items():
        if not isinstance(settings.get(name, shape()), shape):
            raise SavedModelError(
                f"{str(file)!r} holds {short_repr(settings[name])} as {name}, where a {shape.__name__} should "
                "stand; save the model again."
            )


def local(folder: str | Path) -> Path:
    """The folder itself, or that of a hub repository of this id.

    Raises:
        SavedModelError: if it is neither.
    """
    path = check_path(folder, SavedModelError).expanduser()
    if path.exists() or str(folder).count("/") != 1 or str(folder).startswith((".", "/", "~")):
        return path
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(str(folder)))
    except (OSError, ValueError) as error:
        first = str(error).splitlines()[0]
        raise SavedModelError(
            f"{str(folder)!r} is neither a folder nor a hub repository that can be read: {first}"
        ) from None


def _fill(model: AnyModel, path: Path, elsewhere: Set[str]) -> None:
    try:
        weights = load_file(path)
    except (OSError, SafetensorError) as error:
        raise SavedModelError(f"{str(path)!r} is damaged or missing ({error}); save the model again.") from None
    expected = {name: weight for name, weight in model.trained_parameters() if name not in elsewhere}
    expected = {n: w for n, w in expected.items() if n in weights or n not in _optional(model)}
    if {n: w.shape for n, w in weights.items()} != {n: w.shape for n, w in expected.items()}:
        raise SavedModelError(
            f"{str(path)!r} doesn't hold the weights that its settings ask for; save the model again."
        )
    with torch.no_grad():
        for name, weight in expected.items():
            weight.copy_(weights[name])


def _optional(model: nn.Module) -> set[str]:
    """Names of the weights that earlier versions hadn't, which then stay as they were made."""
    names = ((place, getattr(module, "optional_weights", ())) for place, module in model.named_modules())
    return {f"{place}.{name}" for place, own in names for name in own}
