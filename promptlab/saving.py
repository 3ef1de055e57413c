"""A saved classifier: ``promptlab.json``, the trained weights and a model card. No pickle anywhere."""

from __future__ import annotations

import json
from collections.abc import Set
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from promptlab import __version__
from promptlab.classifier import HeadClassifier, PromptClassifier
from promptlab.errors import SavedModelError
from promptlab.estimator import fresh_backbone, resolve_tuning
from promptlab.files import atomic_folder
from promptlab.inference import calibrate, resolve_device
from promptlab.model import PromptModel
from promptlab.registry import TEMPLATES, TUNINGS, VERBALIZERS

SCHEMA = 1
SETTINGS = "promptlab.json"
WEIGHTS = "weights.safetensors"
NOT_SAVED = ("template", "verbalizer", "model", "tuning", "checkpoint_dir", "device")


def save(estimator: Any, folder: Path) -> None:
    """Write a fitted classifier to ``folder``, replacing what is there only when everything is written.

    Raises:
        DataError: if the folder can't be written.
        SavedModelError: if a part of it can't be written as JSON.
        NotFittedError: if the classifier is neither fitted nor able to classify zero-shot.
    """
    model: PromptModel = estimator._ready()
    parameters = {k: v for k, v in estimator.get_params(deep=False).items() if k not in NOT_SAVED}
    settings = {
        "schema": SCHEMA,
        "promptlab": __version__,
        "estimator": type(estimator).__name__,
        "parameters": parameters,
        "template": TEMPLATES.to_dict(model.template),
        "verbalizer": VERBALIZERS.to_dict(model.verbalizer),
        "tuning": TUNINGS.to_dict(resolve_tuning(estimator.tuning)),
        "model": {"name": model.backbone.name, "revision": model.backbone.revision},
        "classes": list(model.verbalizer.classes),
        "label_type": getattr(estimator, "label_type_", "str"),
    }
    content = json.dumps(settings, indent=2, ensure_ascii=False, default=_plain)
    tuning = resolve_tuning(estimator.tuning)
    with atomic_folder(folder) as new:
        elsewhere = {f"backbone.{name}" for name in tuning.save(model.backbone, new)}
        trained = list(model.trained_parameters())
        weights = {name: weight.detach().cpu().contiguous() for name, weight in trained if name not in elsewhere}
        save_file(weights, new / WEIGHTS)
        (new / SETTINGS).write_text(content + "\n", encoding="utf-8")
        (new / "README.md").write_text(_card(settings, sum(w.numel() for _, w in trained)), encoding="utf-8")


def load(cls: Any, folder: str | Path, *, model: Any, device: str) -> Any:
    """Read a classifier that ``save`` wrote, from a folder or a hub id.

    Raises:
        SavedModelError: if it is missing, damaged, of a newer schema, of another class or for another base model.
    """
    path = _local(folder)
    settings = read_settings(path)
    if settings["estimator"] != cls.__name__:
        raise SavedModelError(
            f"{str(folder)!r} holds a {settings['estimator']}, not a {cls.__name__}; load it with that class."
        )
    return _restore(cls, path, settings, model=model, device=device)


def load_any(folder: str | Path, *, device: str = "auto") -> Any:
    """Load a saved classifier of whichever class it is; raises as ``load`` does."""
    path = _local(folder)
    settings = read_settings(path)
    known = {cls.__name__: cls for cls in (PromptClassifier, HeadClassifier)}
    name = settings["estimator"]
    if name not in known:
        raise SavedModelError(
            f"{str(folder)!r} holds a {name!r}; this promptlab {__version__} knows {', '.join(known)}."
        )
    return _restore(known[name], path, settings, model=None, device=device)


def _restore(cls: Any, path: Path, settings: dict[str, Any], *, model: Any, device: str) -> Any:
    template, verbalizer, tuning = (
        registry.from_dict(settings[key])
        for registry, key in ((TEMPLATES, "template"), (VERBALIZERS, "verbalizer"), (TUNINGS, "tuning"))
    )
    backbone = fresh_backbone(settings["model"]["name"] if model is None else model)
    if backbone.revision != settings["model"]["revision"]:
        raise SavedModelError(
            f"{str(path)!r} was trained on {settings['model']['name']} revision "
            f"{settings['model']['revision'] or 'unknown'}, but {backbone.name} is revision "
            f"{backbone.revision or 'unknown'}; load it with that base model."
        )
    built = PromptModel.build(template, verbalizer, backbone, tuning)
    elsewhere = {f"backbone.{name}" for name in tuning.load(backbone, path)}
    _fill(built.export(), path / WEIGHTS, elsewhere)
    calibrate(built.to(resolve_device(device)), max_length=settings["parameters"].get("max_length"))
    parts = {"template": template, "verbalizer": verbalizer} if cls is PromptClassifier else {}
    estimator = cls(**settings["parameters"], **parts, model=settings["model"]["name"], tuning=tuning, device=device)
    estimator.model_ = built.eval()
    estimator._set_classes(verbalizer.classes, whole=settings["label_type"] == "int")
    return estimator


def read_settings(path: Path) -> dict[str, Any]:
    """The settings of a saved classifier.

    Raises:
        SavedModelError: if they are missing, damaged or of a newer schema.
    """
    file = path / SETTINGS
    try:
        settings = json.loads(file.read_text(encoding="utf-8"))
        schema = settings["schema"]
    except FileNotFoundError:
        raise SavedModelError(f"{str(path)!r} holds no {SETTINGS}; give a folder that save_pretrained wrote.") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SavedModelError(f"{str(file)!r} is damaged ({error}); save the model again.") from None
    if schema != SCHEMA:
        raise SavedModelError(
            f"{str(file)!r} has schema {schema!r}, this promptlab {__version__} reads {SCHEMA}; update promptlab."
        )
    missing = {"estimator", "parameters", "template", "verbalizer", "tuning", "model", "classes", "label_type"} - set(
        settings
    )
    if missing:
        raise SavedModelError(f"{str(file)!r} lacks {', '.join(sorted(missing))}; save the model again.")
    return settings


def _local(folder: str | Path) -> Path:
    path = Path(folder).expanduser()
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


def _fill(model: PromptModel, path: Path, elsewhere: Set[str]) -> None:
    try:
        weights = load_file(path)
    except (OSError, SafetensorError) as error:
        raise SavedModelError(f"{str(path)!r} is damaged or missing ({error}); save the model again.") from None
    expected = {name: weight for name, weight in model.trained_parameters() if name not in elsewhere}
    if {n: w.shape for n, w in weights.items()} != {n: w.shape for n, w in expected.items()}:
        raise SavedModelError(
            f"{str(path)!r} doesn't hold the weights that its settings ask for; save the model again."
        )
    with torch.no_grad():
        for name, weight in expected.items():
            weight.copy_(weights[name])


def _plain(value: Any) -> Any:
    """What JSON doesn't know: numbers of NumPy, and values that are used as text anyway."""
    if hasattr(value, "item"):
        return value.item()
    if callable(value):
        name = getattr(value, "__name__", value)
        raise SavedModelError(f"the function {name!r} can't be saved; save a classifier whose parts hold no function.")
    return str(value)


def _card(settings: dict[str, Any], n_trained: int) -> str:
    lines = {
        "Estimator": settings["estimator"],
        "Base model": settings["model"]["name"],
        "Template": f"`{settings['template'].get('source', settings['template']['kind'])}`",
        "Classes": ", ".join(settings["classes"]),
        "Tuning": settings["tuning"]["kind"],
        "Trained weights": f"{n_trained:,}",
    }
    table = "\n".join(f"| {key} | {value} |" for key, value in lines.items())
    return (
        "---\nlibrary_name: promptlab\npipeline_tag: text-classification\n"
        f"base_model: {json.dumps(settings['model']['name'])}\n---\n\n"
        f"# A promptlab classifier\n\n| | |\n|---|---|\n{table}\n\n"
        "```python\n"
        f"from promptlab import {settings['estimator']}\n\n"
        f'{settings["estimator"]}.from_pretrained("this folder").predict(["a text"])\n```\n'
    )
