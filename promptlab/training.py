"""The training loop, and what it starts from and leaves behind."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from accelerate import Accelerator
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.utils.data import DataLoader
from tqdm.auto import tqdm

from promptlab.errors import SavedModelError, TuningError
from promptlab.files import atomic_folder


@dataclass(frozen=True)
class TrainingSettings:
    """How to train.

    Args:
        learning_rate: of the backbone; rises over ``warmup`` of the steps, then falls to 0 in a straight line.
        head_learning_rate: of heads and soft tokens.
        max_steps: updates; ``batch_size`` × ``accumulation`` examples each.
        weight_decay: decoupled, on matrices only.
        max_grad_norm: larger gradients are scaled down to it.
        eval_every: updates between evaluations on the dev set.
        patience: evaluations without improvement after which training stops; None never stops early.
        precision: ``no``, ``bf16``, ``fp16`` or ``auto`` (bf16 where the accelerator has it).
        device: ``auto`` or ``cpu``.
    """

    learning_rate: float
    head_learning_rate: float
    max_steps: int
    batch_size: int = 8
    accumulation: int = 1
    warmup: float = 0.1
    weight_decay: float = 0.01
    max_grad_norm: float = 1.0
    eval_every: int = 20
    patience: int | None = None
    precision: str = "auto"
    device: str = "auto"
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("max_steps", "batch_size", "accumulation", "eval_every"):
            if getattr(self, name) < 1:
                raise TuningError(f"{name}={getattr(self, name)!r} must be at least 1.")
        for name in ("learning_rate", "head_learning_rate"):
            if not 0 <= getattr(self, name) < 10:
                raise TuningError(f"{name}={getattr(self, name)!r} must be between 0 and 10, usually 1e-5 to 1e-2.")
        if not 0 <= self.warmup < 1:
            raise TuningError(f"warmup={self.warmup!r} is a share of the steps: from 0 to below 1.")


class DevScore(NamedTuple):
    """How good the model is on a dev set: accuracy, mean loss in nats, number of examples."""

    accuracy: float
    loss: float
    n_examples: int

    @property
    def standard_error(self) -> float:
        """Of the accuracy, as a share."""
        return math.sqrt(self.accuracy * (1 - self.accuracy) / self.n_examples)


def learning_rate_for(base: float, hidden_size: int) -> float:
    """A fine-tuning rate that falls with the square of the model's width.

    ``base`` is the rate at width 768. So 2.5e-5 gives 1.4e-5 at width 1024, inside LM-BFF's grid (1e-5 to 5e-5), and
    1e-4 at 384, where minilm was measured.
    """
    return base * (768 / hidden_size) ** 2


class LengthBatches:
    """Batches of row numbers: shuffled anew each epoch, rows of like length together where there are many.

    Args:
        lengths: tokens of each row.
        batch_size: rows of a batch; the last one may be smaller.
        seed: of the shuffles.
    """

    drop_last = False

    def __init__(self, lengths: Sequence[int], batch_size: int, seed: int) -> None:
        self.lengths, self.batch_size, self.seed, self.epoch = np.asarray(lengths), batch_size, seed, 0

    def __len__(self) -> int:
        return math.ceil(len(self.lengths) / self.batch_size)

    def __iter__(self) -> Iterator[list[int]]:
        rng = np.random.default_rng([self.seed, self.epoch])
        rows = rng.permutation(len(self.lengths))
        window = self.batch_size * max(1, min(50, len(rows) // (4 * self.batch_size)))
        for start in range(0, len(rows), window):
            part = rows[start : start + window]
            if window > self.batch_size:
                part = part[np.argsort(-self.lengths[part], kind="stable")]
            batches = [part[i : i + self.batch_size].tolist() for i in range(0, len(part), self.batch_size)]
            rng.shuffle(batches)
            yield from batches


def train(
    model: nn.Module,
    rows: Sequence[Any],
    collate: Callable[[list[Any]], Any],
    lengths: Sequence[int],
    settings: TrainingSettings,
    *,
    evaluate: Callable[[], DevScore] | None = None,
    checkpoint: Path | None = None,
) -> list[dict[str, float]]:
    """Train ``model``, whose forward pass returns the loss, and leave it with its best weights by dev score.

    Args:
        rows: what ``collate`` makes batches of.
        lengths: tokens of each row, to put like lengths together.
        evaluate: scores the model as it is; without it the last weights are kept.
        checkpoint: a folder to resume from, written at every evaluation.

    Returns:
        One record per evaluation: step, loss since the last one, and the dev score if there is one.
    """
    accelerator = _accelerator(settings)
    batches = LengthBatches(lengths, settings.batch_size, settings.seed)
    loader: Any = DataLoader(
        rows,  # type: ignore[arg-type]
        batch_sampler=batches,  # type: ignore[arg-type]
        collate_fn=collate,
        generator=torch.Generator(),  # the global one must not depend on how often an epoch was begun
    )
    loader = accelerator.prepare(loader)
    optimizer = _optimizer(model, settings)
    network, fast_optimizer = accelerator.prepare(model, optimizer)
    state = _State(model, optimizer, settings, rows=len(rows), path=checkpoint)
    step = state.load()
    bar = tqdm(total=settings.max_steps, initial=step, desc="training", unit="step", leave=False, disable=None)
    losses: list[float] = []
    network.train()
    for batch in _endless(loader, batches, start=step * settings.accumulation):
        if step >= settings.max_steps:
            break
        for group in optimizer.param_groups:
            group["lr"] = group["peak"] * rate_factor(step, settings)
        with accelerator.accumulate(network):
            loss = network(batch)
            accelerator.backward(loss)
            if accelerator.sync_gradients:
                accelerator.clip_grad_norm_(network.parameters(), settings.max_grad_norm)
            fast_optimizer.step()
            fast_optimizer.zero_grad()
        losses.append(loss.item())
        if not accelerator.sync_gradients:
            continue
        step += 1
        bar.update()
        if step % settings.eval_every == 0 or step == settings.max_steps:
            score = evaluate() if evaluate else None
            network.train()
            state.record(step, float(np.mean(losses)), score)
            losses.clear()
            if accelerator.is_main_process:
                state.save(step)
            if settings.patience is not None and state.stale >= settings.patience:
                break
    bar.close()
    state.restore_best()
    return state.history


def _endless(loader: Any, batches: LengthBatches, *, start: int) -> Iterator[Any]:
    """Batches of epoch after epoch, the first ``start`` of them left out."""
    for epoch in itertools.count(start // len(loader)):
        batches.epoch = epoch
        skip = start - epoch * len(loader)
        yield from itertools.islice(loader, max(skip, 0), None)


def _accelerator(settings: TrainingSettings) -> Accelerator:
    precision = settings.precision
    if precision == "auto":
        wants_gpu = settings.device != "cpu" and torch.cuda.is_available()
        precision = "bf16" if wants_gpu and torch.cuda.is_bf16_supported() else "no"
    try:
        return Accelerator(
            mixed_precision=precision,
            cpu=settings.device == "cpu",
            gradient_accumulation_steps=settings.accumulation,
        )
    except ValueError as error:
        raise TuningError(f"precision={settings.precision!r}, device={settings.device!r}: {error}") from None


def _optimizer(model: nn.Module, settings: TrainingSettings) -> torch.optim.Optimizer:
    """AdamW over what is trainable, each group with its ``peak`` rate; vectors and scalars aren't decayed."""
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, weight in _trained(model).items():
        rate = settings.learning_rate if name.startswith("backbone.") else settings.head_learning_rate
        groups.setdefault((rate, settings.weight_decay if weight.ndim > 1 else 0.0), []).append(weight)
    return torch.optim.AdamW(
        [
            {"params": weights, "lr": rate, "peak": rate, "weight_decay": decay}
            for (rate, decay), weights in groups.items()
        ]
    )


def rate_factor(step: int, settings: TrainingSettings) -> float:
    """Share of the learning rate that update ``step`` (from 0) uses: linear warm-up, then linear decay to 0."""
    warm = round(settings.warmup * settings.max_steps)
    if step < warm:
        return (step + 1) / (warm + 1)
    return max(0.0, (settings.max_steps - step) / max(1, settings.max_steps - warm))


def _trained(model: nn.Module) -> dict[str, nn.Parameter]:
    return {name: weight for name, weight in model.named_parameters() if weight.requires_grad}


class _State:
    """The best weights so far, the record of training, and their copy on disk.

    Best are the latest weights whose dev accuracy is within one standard error of the highest: on 32 dev examples an
    accuracy of 80 % has a standard error of 7 points, so that the highest of ten evaluations is mostly luck.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        settings: TrainingSettings,
        *,
        rows: int,
        path: Path | None,
    ) -> None:
        self.weights, self.optimizer, self.path = _trained(model), optimizer, path
        self.best: dict[str, Tensor] = {}
        self.highest: DevScore | None = None
        self.stale = 0
        self.history: list[dict[str, float]] = []
        self.identity = {
            **asdict(settings),
            "rows": rows,
            "weights": {n: list(w.shape) for n, w in self.weights.items()},
        }

    def record(self, step: int, loss: float, score: DevScore | None) -> None:
        entry: dict[str, float] = {"step": step, "loss": loss}
        if score is not None:
            entry |= {"dev_accuracy": score.accuracy, "dev_loss": score.loss}
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
        with atomic_folder(self.path) as folder:
            save_file({name: value.contiguous() for name, value in tensors.items()}, folder / "state.safetensors")
            (folder / "state.json").write_text(json.dumps({"identity": self.identity, **progress}))

    def load(self) -> int:
        """Take up the state on disk, if there is one; return the number of finished steps."""
        if self.path is None or not self.path.exists():
            return 0
        try:
            progress = json.loads((self.path / "state.json").read_text())
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
