"""The Muon optimiser, in bfloat16 only where the hardware has it.

torch.optim.Muon always takes bfloat16, which is some twenty times as slow on a CPU without its instructions.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from sapiens_demo.devices import has_bfloat16_hardware

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
            for matrix in group["params"]:
                if matrix.grad is None:
                    continue
                state = self.state[matrix]
                if not state:
                    state["past"] = torch.zeros_like(matrix)
                past = state["past"].lerp_(matrix.grad, 1 - group["momentum"])
                direction = orthogonalised(matrix.grad.lerp(past, group["momentum"]))
                rate = group["lr"] * max(1.0, matrix.shape[0] / matrix.shape[1]) ** 0.5
                matrix.mul_(1 - group["lr"] * group["weight_decay"]).sub_(direction, alpha=rate)


def orthogonalised(matrix: Tensor) -> Tensor:
    """Push a matrix's singular values towards 1 by Newton-Schulz rounds.

    Args:
        matrix: (M, N).

    Returns:
        (M, N) with the same singular vectors and singular values of about 0.7 to 1.2.
    """
    first, second, third = _COEFFICIENTS
    wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    narrow = matrix.is_cuda or has_bfloat16_hardware()
    wide = (wide / (wide.norm() + 1e-7)).to(torch.bfloat16 if narrow else matrix.dtype)
    for _ in range(_ROUNDS):
        square = wide @ wide.T
        wide = first * wide + (second * square + third * square @ square) @ wide
    wide = wide.to(matrix.dtype)
    return wide if matrix.shape[0] <= matrix.shape[1] else wide.T
