"""Small tables as tensors, made once a device: making one there waits for all work that is queued."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor


@lru_cache
def constant(values: tuple, device: torch.device) -> Tensor:
    """Give a table as a tensor.

    Args:
        values: numbers, or nested tuples of them.
        device: where the tensor is wanted.

    Returns:
        The tensor, the same one every time; not to be changed.
    """
    return torch.tensor(values, device=device)
