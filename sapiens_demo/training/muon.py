"""The Muon optimiser, in bfloat16 only where that is faster.

torch.optim.Muon always takes bfloat16, which is twice to twenty times as slow as float32 on most CPUs.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from sapiens_demo.devices import cpu_gains_from_bfloat16

_COEFFICIENTS = (3.4445, -4.775, 2.0315)
_ROUNDS = 5


class Muon(torch.optim.Optimizer):
    """Step along the orthogonalised momentum of matrices (Jordan et al. 2024).

    Args:
        parameters: matrices.
        lr: step as a share of a matrix of unit singular values.
        momentum: share of the past in the direction, 0 to 1.
        weight_decay: decoupled decay a unit of lr.
    """

    def __init__(
        self, parameters: Iterable[Tensor], lr: float, momentum: float = 0.95, weight_decay: float = 0.05
    ) -> None:
        super().__init__(parameters, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure=None) -> None:
        """Move every matrix by one step.

        Args:
            closure: not used; part of torch's interface.
        """
        for group in self.param_groups:
            for matrices in _by_shape(group["params"]):
                directions = orthogonalised(torch.stack([self._averaged(own, group) for own in matrices]))
                rate = group["lr"] * max(1.0, directions.shape[1] / directions.shape[2]) ** 0.5
                for matrix, direction in zip(matrices, directions, strict=True):
                    matrix.mul_(1 - group["lr"] * group["weight_decay"]).sub_(direction, alpha=rate)

    def _averaged(self, matrix: Tensor, group: dict) -> Tensor:
        state = self.state[matrix]
        if not state:
            state["past"] = torch.zeros_like(matrix)
        past = state["past"].lerp_(matrix.grad, 1 - group["momentum"])
        return matrix.grad.lerp(past, group["momentum"])


def _by_shape(matrices: list[Tensor]) -> list[list[Tensor]]:
    """Gather those of one shape that have gradients; together they take less time."""
    groups: dict[torch.Size, list[Tensor]] = {}
    for matrix in matrices:
        if matrix.grad is not None:
            groups.setdefault(matrix.shape, []).append(matrix)
    return list(groups.values())


def orthogonalised(matrices: Tensor) -> Tensor:
    """Push matrices' singular values towards 1 by Newton-Schulz rounds.

    Args:
        matrices: (..., M, N).

    Returns:
        (..., M, N) with the same singular vectors and singular values of about 0.7 to 1.2.
    """
    first, second, third = _COEFFICIENTS
    tall = matrices.shape[-2] > matrices.shape[-1]
    narrow = matrices.is_cuda or cpu_gains_from_bfloat16()
    wide = matrices.mT if tall else matrices
    wide = wide / (torch.linalg.matrix_norm(wide, keepdim=True) + 1e-7)
    wide = wide.to(torch.bfloat16 if narrow else matrices.dtype)
    for _ in range(_ROUNDS):
        square = wide @ wide.mT
        wide = first * wide + (second * square + third * square @ square) @ wide
    return (wide.mT if tall else wide).to(matrices.dtype)
