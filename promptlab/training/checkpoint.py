"""The best weights of a training run so far, and a run's copy on disk from which it can go on."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from promptlab.core.finished_work import Entry, FinishedWork, reading, work_key
from promptlab.core.json_loader import Json
from promptlab.core.seeding import random_states, set_random_states
from promptlab.training.dev_score import DevScore
from promptlab.training.optimizers import trained_weights


@dataclass(frozen=True)
class Checkpoints:
    """Finished work in which every training run has a file, named by the hash of what its result depends on.

    So runs on other data, with other settings or of another model never meet, those of a cross-validation neither.

    Args:
        folder: for all runs, and for other finished work.
        depends_on: what a result depends on, beside the model, its batches and the settings of the training.
    """

    folder: Path
    depends_on: tuple[object, ...] = ()

    def also(self, *more: object) -> Self:
        """For a run that depends on more."""
        return type(self)(self.folder, (*self.depends_on, *more))

    def entry(self, *seen: object) -> Entry:
        """The place of the run that has seen this and depends on the rest; nothing of the model may have moved yet.

        Raises:
            DataError: as ``FinishedWork`` does.
        """
        work = FinishedWork(self.folder)
        return work.entry("runs", f"{work_key(random_states(), self.depends_on, seen)}.safetensors")


class Checkpoint:
    """The best weights so far, the record of training, and their copy on disk.

    Best are the latest weights whose dev accuracy is within one standard error of the highest: on 32 dev examples an
    accuracy of 80 % has a standard error of 7 points, so that the highest of ten evaluations is mostly luck.
    On SST-2 it took weights that were up to 5 points worse than the last ones.

    Args:
        model: of which the trained weights are kept.
        optimizer: of them.
        scaler: of the loss, where half precision needs one.
        entry: the place of the copy; None keeps none.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        *,
        scaler: torch.amp.GradScaler | None = None,
        entry: Entry | None,
    ) -> None:
        self.weights, self.optimizer, self.scaler, self.entry = trained_weights(model), optimizer, scaler, entry
        self.best: dict[str, Tensor] = {}
        self.highest: DevScore | None = None
        self.stale = 0
        self.history: list[dict[str, float]] = []

    def record(self, step: int, loss: float, score: DevScore | None) -> None:
        entry: dict[str, float] = {"step": step, "loss": loss}
        if score is not None:
            entry |= score.record()
            if self.highest is None or score.accuracy > self.highest.accuracy:
                self.highest, self.stale = score, 0
            else:
                self.stale += 1
            if score.accuracy >= self.highest.accuracy - self.highest.standard_error:
                self.best = {name: weight.detach().cpu().clone() for name, weight in self.weights.items()}
        self.history.append(entry)

    def restore_best(self) -> None:
        with torch.no_grad():
            for name, weight in self.weights.items():
                if name in self.best:
                    weight.copy_(self.best[name])

    def save(self, step: int) -> None:
        if self.entry is None:
            return
        tensors = {f"weight.{name}": weight.detach().cpu().clone() for name, weight in self.weights.items()}
        tensors |= {f"best.{name}": value for name, value in self.best.items()}
        for number, values in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{number}.{key}": torch.as_tensor(value).cpu() for key, value in values.items()}
        progress = {
            "step": step,
            "highest": self.highest,
            "stale": self.stale,
            "history": self.history,
            "random": random_states(),
            "scaler": self.scaler and self.scaler.state_dict(),
        }
        with self.entry.writing() as file:  # one file: two processes may do the same run
            about = {"run": self.entry.path.stem, "progress": json.dumps(progress, default=float)}
            save_file({name: value.contiguous() for name, value in tensors.items()}, file, metadata=about)

    def load(self) -> int:
        """Take up the state on disk, if there is one; return the number of finished steps."""
        if self.entry is None or not self.entry.exists:
            return 0
        with reading(self.entry.path):
            with safe_open(self.entry.path, framework="pt") as file:
                about = file.metadata()
                progress = json.loads(about["progress"])
                tensors = {name: file.get_tensor(name) for name in set(file.keys())}
            if about["run"] != self.entry.path.stem:
                raise ValueError(f"it was written for the run {about['run']!r}")
            self._take_up(progress, tensors)
            return int(progress["step"])

    @torch.no_grad()
    def _take_up(self, progress: Mapping[str, Json], tensors: Mapping[str, Tensor]) -> None:
        for name, weight in self.weights.items():
            weight.copy_(tensors[f"weight.{name}"])
        self._load_optimizer(tensors)
        if self.scaler is not None:
            self.scaler.load_state_dict(progress["scaler"])
        set_random_states(progress["random"])
        self.best = {name[5:]: value for name, value in tensors.items() if name.startswith("best.")}
        self.highest = DevScore(*progress["highest"]) if progress["highest"] else None
        self.stale, self.history = progress["stale"], progress["history"]

    def _load_optimizer(self, tensors: Mapping[str, Tensor]) -> None:
        state: dict[int, dict[str, Tensor]] = {}
        for name, value in tensors.items():
            if name.startswith("optimizer."):
                _, number, key = name.split(".", 2)
                state.setdefault(int(number), {})[key] = value
        self.optimizer.load_state_dict({"state": state, "param_groups": self.optimizer.state_dict()["param_groups"]})
