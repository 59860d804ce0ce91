"""What the tests of the bench share: a network so small that it is measured in a moment."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from sapiens_demo.network import NetworkConfig

_HEADS = {
    "pose": ((64, 64), (64,), 308),
    "segmentation": ((64, 64), (64,), 28),
    "depth": ((64, 64), (64,), 1),
    "normal": ((64, 64), (64,), 3),
}


@pytest.fixture
def tiny() -> Callable[[str], NetworkConfig]:
    """Return what describes a small network of a task."""

    def describe(task: str) -> NetworkConfig:
        deconvs, convs, channels = _HEADS[task]
        return NetworkConfig(task, 64, 2, 4, 128, (96, 64), 0, deconvs, convs, channels)

    return describe


@pytest.fixture
def images() -> torch.Tensor:
    """Return two pictures of soft spots for it."""
    spots = torch.randn(2, 3, 6, 4, generator=torch.Generator().manual_seed(1))
    return torch.nn.functional.interpolate(spots, (96, 64), mode="bilinear")
