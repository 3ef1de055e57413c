"""What an ensemble keeps on disk beside its members, and how it comes back."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from promptlab.core.errors import SavedModelError, error_context
from promptlab.core.files import atomic_folder
from promptlab.core.inputs import DeviceLike, ModelLike
from promptlab.core.registry import TEMPLATES, TUNINGS, VERBALIZERS
from promptlab.data.labels import LabelType
from promptlab.ensembles.members import PatternVerbalizerPair
from promptlab.ensembles.merging import Stacking
from promptlab.estimators import saving
from promptlab.estimators.classifiers import PromptClassifier
from promptlab.library.pvps import PVP
from promptlab.library.resolve import load_each, model_key, model_of_each


def save(ensemble: Any, folder: str | Path) -> None:
    """Write all members of a fitted ``PVPEnsemble``, each in a folder of its own, and what they count.

    Raises:
        DataError: if the folder can't be written.
        SavedModelError: if a part of it can't be written as JSON.
        NotFittedError: if it isn't fitted.
    """
    members, learnt = list(ensemble.ready().values()), ensemble.stacking_
    settings = {
        **saving.described(ensemble, members[0].model_.backbone),
        "classes": list(members[0].model_.verbalizer.classes),
        **ensemble.label_type_.saved(),
        "pvps": ensemble.saved_pairs_,
        "weights": ensemble.weights_,
        "member_scores": ensemble.member_scores_,
        "measured_on": ensemble.measured_on_,
        "agreement": ensemble.agreement_.tolist(),
        "stacking": learnt and [learnt.coefficients.tolist(), learnt.intercepts.tolist()],
    }
    files = saving.written(ensemble, settings, ensemble.trainable_parameters())
    with atomic_folder(folder, marker_file=saving.SETTINGS) as new:
        for number, member in enumerate(members):
            member.save_pretrained(new / f"member-{number}")
        saving.put(files, new)


def load(
    cls: Any, folder: str | Path, *, model: ModelLike | Sequence[ModelLike | None] | None, device: DeviceLike
) -> Any:
    """Read an ensemble that ``save`` wrote; members of one base model share its memory.

    Args:
        model: the base model, or where to look for it; a list with one for each pair if they differ.

    Raises:
        SavedModelError: as ``saving.load`` does.
    """
    path, settings = saving.settings_for(cls, folder)
    pvps, turns, stacking = _restored(settings)
    names = list(settings["weights"])
    folders = [path / f"member-{number}" for number in range(len(names))]
    given = [base for base in model_of_each(model, len(pvps)) for _ in range(turns)]
    bases = [saving.base_of(f, saving.read_settings(f)) if base is None else base for f, base in zip(folders, given)]
    backbones = dict(zip(names, load_each(bases)))
    used = list(backbones.values())[::turns]
    ensemble = cls(
        pvps,
        used[0] if len(set(map(model_key, used))) == 1 else used,
        TUNINGS.from_dict(settings["tuning"]),
        device=device,
        **settings["parameters"],
    )
    members = {
        name: PromptClassifier.from_pretrained(own, model=backbones[name], device=device)
        for name, own in zip(names, folders)
    }
    ensemble.take_members(members, backbones, settings["pvps"])
    ensemble.weights_, ensemble.member_scores_ = settings["weights"], settings["member_scores"]
    ensemble.measured_on_ = str(settings.get("measured_on", "unknown"))  # older ones don't say
    ensemble.agreement_, ensemble.stacking_ = np.array(settings["agreement"]), stacking
    ensemble.set_classes(settings["classes"], LabelType.from_saved(settings))
    return ensemble


def saved_pair(pair: PatternVerbalizerPair) -> dict[str, object]:
    """A pair as it is saved."""
    parts = {"template": TEMPLATES.to_dict(pair.template), "verbalizer": VERBALIZERS.to_dict(pair.verbalizer)}
    return {"name": pair.name, **parts, "origin": dict(pair.origin)}


def _restored(settings: saving.SavedSettings) -> tuple[list[PVP], int, Stacking | None]:
    """The pairs of a saved ensemble, the members of each, and what merges them if that was learnt.

    Raises:
        SavedModelError: if the settings are damaged.
    """
    try:
        with error_context(repr(str(settings.file))):
            pvps = [
                PVP(
                    TEMPLATES.from_dict(p["template"]),
                    VERBALIZERS.from_dict(p["verbalizer"]),
                    p["name"],
                    p.get("origin", {}),
                )
                for p in settings["pvps"]
            ]
        turns, rest = divmod(len(settings["weights"]), len(pvps))
        if rest or not turns:
            raise ValueError(f"{len(settings['weights'])} weights for {len(pvps)} pairs")
        numbers = [*settings["weights"].values(), *settings["member_scores"].values()]
        if not all(isinstance(number, (int, float)) for number in numbers):
            raise ValueError(f"weights and scores are numbers, not {numbers!r}")
        np.array(settings["agreement"], dtype=float)
        merging = settings["stacking"]
        return pvps, turns, None if merging is None else Stacking(*(np.array(part, dtype=float) for part in merging))
    except (AttributeError, KeyError, TypeError, ValueError, ZeroDivisionError) as error:
        raise SavedModelError(
            f"{str(settings.file)!r} is damaged ({type(error).__name__}: {error}); save the model again."
        ) from None
