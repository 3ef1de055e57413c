"""Randomness that starts from a seed and leaves the caller's own state as it was."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed Python, NumPy and torch (CPU and CUDA) inside the block; put the former states back after it."""
    python_state, numpy_state = random.getstate(), np.random.get_state()
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices=devices):
        random.seed(int(seed))  # NumPy has whole numbers that Python takes for none
        np.random.seed(int(seed) % 2**32)
        torch.manual_seed(int(seed))
        try:
            yield
        finally:
            random.setstate(python_state)
            np.random.set_state(numpy_state)


def random_states() -> dict[str, Any]:
    """The states of Python's, NumPy's and torch's generators, as plain JSON."""
    name, words, *rest = np.random.get_state(legacy=True)
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return {
        "python": random.getstate(),
        "numpy": [name, words.tolist(), *rest],  # type: ignore[union-attr]
        "torch": torch.get_rng_state().tolist(),
        "cuda": [state.tolist() for state in cuda],
    }


def set_random_states(states: Mapping[str, Any]) -> None:
    """Put back what ``random_states`` returned, on the devices that are still there."""
    version, words, following = states["python"]
    random.setstate((version, tuple(words), following))
    np.random.set_state(tuple(states["numpy"]))
    torch.set_rng_state(torch.tensor(states["torch"], dtype=torch.uint8))
    for device, state in zip(range(torch.cuda.device_count()), states["cuda"]):
        torch.cuda.set_rng_state(torch.tensor(state, dtype=torch.uint8), device)
