"""The best weights of a training run so far, and a run's copy on disk from which it can go on."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from promptlab.errors import SavedModelError
from promptlab.files import atomic_folder, check_replaceable

STATE = "state.json"


class DevScore(NamedTuple):
    """How good the model is on a dev set: accuracy, mean loss in nats, number of examples.

    ``metric`` names what stands in the place of the accuracy, if it is another share that should be high.
    """

    accuracy: float
    loss: float
    n_examples: int
    metric: str = "accuracy"

    @property
    def standard_error(self) -> float:
        """Of the accuracy, as a share."""
        return math.sqrt(self.accuracy * (1 - self.accuracy) / self.n_examples)

    def record(self) -> dict[str, float]:
        """As it stands in the record of training."""
        return {f"dev_{self.metric}": self.accuracy, "dev_loss": self.loss}


def trained_weights(model: nn.Module) -> dict[str, nn.Parameter]:
    """What training moves, by name."""
    return {name: weight for name, weight in model.named_parameters() if weight.requires_grad}


class Checkpoint:
    """The best weights so far, the record of training, and their copy on disk.

    Best are the latest weights whose dev accuracy is within one standard error of the highest: on 32 dev examples an
    accuracy of 80 % has a standard error of 7 points, so that the highest of ten evaluations is mostly luck.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        identity: Mapping[str, Any],
        *,
        path: Path | None,
    ) -> None:
        self.weights, self.optimizer, self.path = trained_weights(model), optimizer, path
        self.best: dict[str, Tensor] = {}
        self.highest: DevScore | None = None
        self.stale = 0
        self.history: list[dict[str, float]] = []
        self.identity = {**identity, "weights": {name: list(w.shape) for name, w in self.weights.items()}}

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
        if self.path is None:
            return
        tensors = {f"weight.{name}": weight.detach().cpu().clone() for name, weight in self.weights.items()}
        tensors |= {f"best.{name}": value for name, value in self.best.items()}
        for number, values in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{number}.{key}": torch.as_tensor(value).cpu() for key, value in values.items()}
        tensors["rng.cpu"] = torch.get_rng_state()
        if torch.cuda.is_available():
            tensors["rng.cuda"] = torch.cuda.get_rng_state()
        progress = {"step": step, "highest": self.highest, "stale": self.stale, "history": self.history}
        with atomic_folder(self.path, mark=STATE) as folder:
            save_file({name: value.contiguous() for name, value in tensors.items()}, folder / "state.safetensors")
            (folder / STATE).write_text(json.dumps({"identity": self.identity, **progress}, default=float))

    def load(self) -> int:
        """Take up the state on disk, if there is one; return the number of finished steps."""
        if self.path is None or not any(check_replaceable(self.path, mark=STATE).glob("*")):
            return 0
        try:
            progress = json.loads((self.path / STATE).read_text())
            tensors = load_file(self.path / "state.safetensors")
        except (OSError, ValueError, SafetensorError) as error:
            raise SavedModelError(
                f"checkpoint {str(self.path)!r} can't be read ({error}); delete it to start anew."
            ) from None
        if progress["identity"] != self.identity:
            raise SavedModelError(
                f"checkpoint {str(self.path)!r} belongs to a run with other settings or data; choose another "
                "folder, or delete it to start anew."
            )
        with torch.no_grad():
            for name, weight in self.weights.items():
                weight.copy_(tensors[f"weight.{name}"])
        self._load_optimizer(tensors)
        torch.set_rng_state(tensors["rng.cpu"])
        if "rng.cuda" in tensors and torch.cuda.is_available():
            torch.cuda.set_rng_state(tensors["rng.cuda"])
        self.best = {name[5:]: value for name, value in tensors.items() if name.startswith("best.")}
        self.highest = DevScore(*progress["highest"]) if progress["highest"] else None
        self.stale, self.history = progress["stale"], progress["history"]
        return int(progress["step"])

    def _load_optimizer(self, tensors: Mapping[str, Tensor]) -> None:
        state: dict[int, dict[str, Tensor]] = {}
        for name, value in tensors.items():
            if name.startswith("optimizer."):
                _, number, key = name.split(".", 2)
                state.setdefault(int(number), {})[key] = value
        self.optimizer.load_state_dict({"state": state, "param_groups": self.optimizer.state_dict()["param_groups"]})
