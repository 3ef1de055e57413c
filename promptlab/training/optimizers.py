"""Optimizers of what is trainable."""

from __future__ import annotations

import torch
from torch import nn

from promptlab.training.settings import TrainingSettings, rate_factor


def make_optimizer(model: nn.Module, settings: TrainingSettings) -> torch.optim.Optimizer:
    """The optimizer of what is trainable, each group with its ``peak`` rate; only matrices are decayed."""
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    trained = trained_weights(model)
    own_rates = {} if all(".head." in f".{name}" for name in trained) else _own_rates(model)
    for name, weight in trained.items():
        usual = settings.learning_rate if ".backbone." in f".{name}" else settings.head_learning_rate
        rate = own_rates.get(name, usual)
        groups.setdefault((rate, settings.weight_decay if _decays(name, weight) else 0.0), []).append(weight)
    parts = [
        {"params": weights, "lr": rate, "peak": rate, "weight_decay": decay}
        for (rate, decay), weights in groups.items()
    ]
    if settings.optimizer == "adafactor":
        from transformers.optimization import Adafactor

        return Adafactor(parts, lr=settings.learning_rate, scale_parameter=False, relative_step=False)
    return torch.optim.AdamW(parts, fused=True)


def set_rates(optimizer: torch.optim.Optimizer, step: int, settings: TrainingSettings) -> None:
    """Give each group the share of its peak rate that update ``step`` (from 0) uses."""
    for group in optimizer.param_groups:
        group["lr"] = group["peak"] * rate_factor(step, settings)


def _own_rates(model: nn.Module) -> dict[str, float]:
    """Rates of the weights whose module has a ``learning_rate`` of its own, by name.

    They are for heads that are trained with a model: where heads are all that is trained, the tuning's rate and number
    of updates are made for them.
    """
    rates: dict[str, float] = {}
    for place, module in model.named_modules():
        rate = getattr(module, "learning_rate", None)
        if rate is not None:
            rates |= {name: rate for name, _ in module.named_parameters(prefix=place, recurse=False)}
    return rates


def _decays(name: str, weight: nn.Parameter) -> bool:
    """Whether a weight is a matrix; IA3's vectors, at rest at 1, are kept as matrices of one row or column."""
    return weight.ndim > 1 and "ia3_" not in name


def trained_weights(model: nn.Module) -> dict[str, nn.Parameter]:
    """What training moves, by name."""
    return {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
