"""How fast this machine multiplies matrices and moves memory: the bars that everything is held against."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from sapiens_demo.bench.timing import alternate, timed

_SIDES = {"cpu": (512, 1024, 2048), "cuda": (4096, 8192, 16384)}
_COPIED_BYTES = {"cpu": 64 * 2**20, "cuda": 2**30}
_TRIAL_SECONDS = 0.5


@dataclass(frozen=True)
class Multiplication:
    """Multiply two square matrices of the size that this machine likes best.

    Args:
        multiply: does it once.
        tflop: that this takes.
    """

    multiply: Callable[[], object]
    tflop: float


def best_multiplication(device: torch.device, dtype: torch.dtype) -> Multiplication:
    """Choose the size of matrices that are multiplied fastest.

    Args:
        device: where.
        dtype: of the matrices. Float32 is computed as torch is set to, which is without TF32 unless changed.

    Returns:
        The multiplication, to be timed beside what is to be compared with it.
    """
    trials = [_multiplication(side, device, dtype) for side in _SIDES.get(device.type, _SIDES["cpu"])]
    times = alternate({i: trial.multiply for i, trial in enumerate(trials)}, device, _TRIAL_SECONDS)
    return max(zip(trials, times.values(), strict=True), key=lambda pair: pair[0].tflop / pair[1].ms)[0]


def _multiplication(side: int, device: torch.device, dtype: torch.dtype) -> Multiplication:
    # Not of zeros or ones, which take a GPU less power and so run faster.
    left = torch.randn(side, side, device=device, dtype=dtype)
    right = torch.randn(side, side, device=device, dtype=dtype)
    product = torch.empty_like(left)
    return Multiplication(lambda: torch.mm(left, right, out=product), 2 * side**3 / 1e12)


def memory_rate(device: torch.device) -> float:
    """Measure how fast memory is copied.

    Args:
        device: whose memory.

    Returns:
        Terabytes per second, read and written together; the best of a few.
    """
    source = torch.ones(_COPIED_BYTES.get(device.type, _COPIED_BYTES["cpu"]) // 4, device=device)
    target = torch.empty_like(source)
    seconds = [timed(lambda: target.copy_(source), device)[0] for _ in range(6)]
    return 2 * source.nbytes / min(seconds[1:]) / 1e12
