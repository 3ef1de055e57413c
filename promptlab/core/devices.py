"""Which device a model runs on."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import torch

from promptlab.core.errors import TuningError

if TYPE_CHECKING:
    pass


def resolve_device(device: str | torch.device) -> torch.device:
    """The device of that name; ``auto`` is a GPU where there is one.

    Raises:
        TuningError: if it can't be used here.
    """
    if device != "auto":
        try:
            place = torch.empty(0, device=device).device
        except (RuntimeError, AssertionError, TypeError) as error:
            said = str(error).splitlines()[0].rstrip(".")
            raise TuningError(f"device={device!r} can't be used here: {said}; choose 'auto' or 'cpu'.") from None
        if device is None or place.type == "meta":
            raise TuningError(f"device={device!r} can't compute anything; choose 'auto', 'cpu' or 'cuda'.")
        return place
    process = int(os.environ.get("LOCAL_RANK", 0))  # of this process among those that accelerate started
    return torch.device("cuda", process) if torch.cuda.is_available() else torch.device("cpu")
