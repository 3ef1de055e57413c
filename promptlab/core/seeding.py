"""Randomness that starts from a seed and leaves the caller's own state as it was."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TypedDict

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


class RandomStates(TypedDict):
    """The states of Python's, NumPy's and torch's generators, as JSON holds them."""

    python: tuple[int, Sequence[int], float | None]
    numpy: tuple[str, list[int], int, int, float]  # name, words, place, whether a normal number is kept, and which
    torch: list[int]
    cuda: list[list[int]]  # of each device


def random_states() -> RandomStates:
    """The states of Python's, NumPy's and torch's generators, as plain JSON."""
    numpy_state = np.random.get_state(legacy=False)
    words, place = numpy_state["state"]["key"], numpy_state["state"]["pos"]
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return {
        "python": random.getstate(),
        "numpy": (numpy_state["bit_generator"], words.tolist(), place, numpy_state["has_gauss"], numpy_state["gauss"]),
        "torch": torch.get_rng_state().tolist(),
        "cuda": [state.tolist() for state in cuda],
    }


def set_random_states(states: RandomStates) -> None:
    """Put back what ``random_states`` returned, on the devices that are still there."""
    version, words, following = states["python"]
    random.setstate((version, tuple(words), following))
    name, numbers, place, has_normal, normal = states["numpy"]
    np.random.set_state((name, np.array(numbers, np.uint32), place, has_normal, normal))
    torch.set_rng_state(torch.tensor(states["torch"], dtype=torch.uint8))
    for device, state in zip(range(torch.cuda.device_count()), states["cuda"]):
        torch.cuda.set_rng_state(torch.tensor(state, dtype=torch.uint8), device)
