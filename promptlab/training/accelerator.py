"""Where a model runs, and with which precision."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from promptlab.core.errors import TuningError
from promptlab.training.settings import TrainingSettings

if TYPE_CHECKING:
    from accelerate import Accelerator


def make_accelerator(settings: TrainingSettings) -> Accelerator:
    """accelerate, set up anew for one training run.

    Raises:
        TuningError: if it can't work with this precision on this device.
    """
    from accelerate import Accelerator  # slow to import, and not needed to predict
    from accelerate.state import AcceleratorState

    precision = settings.precision
    if precision == "auto":
        wants_gpu = settings.device != "cpu" and torch.cuda.is_available()
        precision = "bf16" if wants_gpu and torch.cuda.is_bf16_supported() else "no"
    if not torch.distributed.is_initialized():
        AcceleratorState._reset_state(reset_partial_state=True)  # else the last run's precision and device hold
    try:
        return Accelerator(
            mixed_precision=precision,
            cpu=settings.device == "cpu",
            device_placement=False,  # model and batches are where they should be
        )
    except ValueError as error:
        raise TuningError(f"precision={settings.precision!r}, device={settings.device!r}: {error}") from None
