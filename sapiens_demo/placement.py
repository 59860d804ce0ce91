"""How a network gets onto its device and when it is compiled: the replaceable strategy of the model cache."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from sapiens_demo.errors import DemoError
from sapiens_demo.network import PATCH_SIZE

_VARIABLE = "SAPIENS_COMPILE"
COMPILE_MODES = ("off", "default", "max-autotune")
# Norm of the difference between compiled and eager output / norm. Fused kernels round less often.
_TOLERANCES = {torch.float32: 1e-3, torch.float16: 1e-2, torch.bfloat16: 4e-2}
_WORK_A_THREAD = 1e9  # multiply-adds of a CPU's thread, about; below it another thread does not pay
_RECOMPILES = 64  # networks of all tasks and sizes share one forward function, on which torch counts them

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Placed:
    """Hold a network that is ready to run on its device.

    Args:
        network: holds the weights.
        forward: maps (B, 3, H, W), on the device and of the network's precision, to the raw output.
        compiled: whether forward is compiled.
    """

    network: nn.Module
    forward: Callable[[Tensor], Tensor]
    compiled: bool = False

    def __call__(self, images: Tensor) -> Tensor:
        """Run the network.

        Args:
            images: (B, 3, H, W) on the device, of the network's precision.

        Returns:
            The raw output, (B, C, h, w).
        """
        return self.forward(images)


class Placement(Protocol):
    """Decide how a network gets onto its device and is made fast; always called in the device's thread."""

    def place(self, network: nn.Module, device: torch.device, dtype: torch.dtype) -> Placed:
        """Make a network ready to run.

        Args:
            network: filled, its weights on the device already.
            device: where it runs.
            dtype: its precision.

        Returns:
            What the first visitor is served with.
        """
        ...

    def after_first_use(self, placed: Placed, images: Tensor) -> Placed:
        """Make a network faster after it was used; called under inference mode in an idle time of the device.

        Args:
            placed: from place.
            images: what it was first used on, (B, 3, H, W) on the device.

        Returns:
            What later visitors are served with; the same where there is nothing to do.

        Raises:
            Exception: the network stays as it is and the log says why.
        """
        ...


class LazyPlacement:
    """Serve networks as they are, and on CUDA compile them once somebody has used them.

    Args:
        mode: one of COMPILE_MODES; None takes SAPIENS_COMPILE, else "default".
        device_types: where compiling pays. On the CPU it does not (measured) and on MPS it is young.

    Raises:
        DemoError: there is no such mode.
    """

    def __init__(self, mode: str | None = None, device_types: tuple[str, ...] = ("cuda",)) -> None:
        self.mode = mode or os.environ.get(_VARIABLE, "").strip().lower() or "default"
        if self.mode not in COMPILE_MODES:
            raise DemoError(
                f"There is no way to compile called {self.mode!r} ({_VARIABLE}). "
                f"Choose {', '.join(COMPILE_MODES[:-1])} or {COMPILE_MODES[-1]}."
            )
        self._device_types = device_types if self.mode != "off" else ()

    def place(self, network: nn.Module, device: torch.device, dtype: torch.dtype) -> Placed:
        """Serve the network eagerly; see Placement."""
        return Placed(network, _CpuForward(network) if device.type == "cpu" else network)

    def after_first_use(self, placed: Placed, images: Tensor) -> Placed:
        """Compile the network and compare it with the eager one; see Placement.

        Raises:
            CompiledDiffers: the compiled network computes something else.
        """
        if placed.compiled or images.device.type not in self._device_types:
            return placed
        compiled = _CompiledForward(placed.network, self.mode)
        compiled.warm_up(images)
        check_equal(compiled(images), placed(images))
        return Placed(placed.network, compiled, compiled=True)


class CompiledDiffers(Exception):
    """Say how far a compiled network is from the eager one."""


def check_equal(compiled: Tensor, eager: Tensor) -> None:
    """Insist that a compiled network computes what the eager one does, but for rounding.

    Args:
        compiled: its output.
        eager: the eager network's output for the same images, of the same precision.

    Raises:
        CompiledDiffers: the norm of the difference exceeds the precision's tolerance, or is no number.
    """
    expected = eager.float()
    difference = ((compiled.float() - expected).norm() / expected.norm().clamp_min(1e-12)).item()
    tolerance = _TOLERANCES[eager.dtype]
    if not difference <= tolerance:  # True for NaN too
        raise CompiledDiffers(f"compiled and eager output differ by {difference:.2g}, more than {tolerance}")


class _CpuForward:
    """Run a network on as many threads as its work is worth.

    Threads sleep between their parts of the work, and a forward has some 200 of them. Where the parts are
    small, waking a second thread takes longer than it saves: Mini took 29 ms for one image on two threads and
    19 ms on one, and for eight images as long on either.
    """

    def __init__(self, network: nn.Module) -> None:
        self._network = network
        self._weights = sum(weight.numel() for weight in network.parameters())

    def __call__(self, images: Tensor) -> Tensor:
        most = torch.get_num_threads()
        torch.set_num_threads(min(most, self.threads(images)))
        try:
            return self._network(images)
        finally:
            torch.set_num_threads(most)

    def threads(self, images: Tensor) -> int:
        """Return how many threads some images are worth, however many there are."""
        patches = images[:, 0].numel() / PATCH_SIZE**2
        return math.ceil(self._weights * patches / _WORK_A_THREAD)


class _CompiledForward:
    """A compiled network that never lets anybody wait: what it was not compiled for it runs eagerly."""

    def __init__(self, network: nn.Module, mode: str) -> None:
        self._compiled = torch.compile(network, mode=mode, fullgraph=True)

    def warm_up(self, images: Tensor) -> None:
        """Compile for one image at a time and, once more, for any larger number."""
        several = images[:1].repeat(2, 1, 1, 1)
        torch._dynamo.mark_dynamic(several, 0)
        with torch._dynamo.config.patch(recompile_limit=_RECOMPILES):
            for example in (images[:1].clone(), several):
                self._compiled(example)

    def __call__(self, images: Tensor) -> Tensor:
        with torch.compiler.set_stance("eager_on_recompile"):
            torch.compiler.cudagraph_mark_step_begin()
            return self._compiled(images)
