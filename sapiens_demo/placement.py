"""How a network gets onto its device and when it is compiled: the replaceable strategy of the model cache."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from sapiens_demo.errors import DemoError
from sapiens_demo.network import PATCH_SIZE, SapiensNetwork

_VARIABLE = "SAPIENS_COMPILE"
COMPILE_MODES = ("off", "default", "graphs", "max-autotune", "whole")
_WITH_GRAPHS = ("graphs", "max-autotune")  # a CUDA graph of the forward of one image
# Norm of the difference between compiled and eager output / norm. Fused kernels round less often.
_TOLERANCES = {torch.float32: 1e-3, torch.float16: 1e-2, torch.bfloat16: 4e-2}
# Networks with fewer weights are not compiled: Mini takes 4 ms on an H100 as it is, and 25 s to compile.
_LEAST_COMPILED = 50_000_000
_WORK_A_THREAD = 1e9  # multiply-adds of a CPU's thread, about; below it another thread does not pay
_WIDE = 16  # channels
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

    def after_first_use(self, placed: Placed, images: Tensor) -> Iterator[Placed]:
        """Make a network faster after it was used, step by step, so that nobody has to wait for all of them.

        Each step is taken under inference mode in an idle time of the device.

        Args:
            placed: from place.
            images: what it was first used on, (B, 3, H, W) on the device.

        Yields:
            After each step what visitors are served with from then on.

        Raises:
            Exception: the network stays as it is and the log says why.
        """
        ...


class LazyPlacement:
    """Serve networks as they are, and on CUDA compile them once somebody has used them.

    Args:
        mode: one of COMPILE_MODES; None takes SAPIENS_COMPILE, else "default".
        device_types: where compiling pays. On the CPU it does not (measured) and on MPS it is young.
        least_weights: of a network that is compiled.

    Raises:
        DemoError: there is no such mode.
    """

    def __init__(
        self,
        mode: str | None = None,
        device_types: tuple[str, ...] = ("cuda",),
        least_weights: int = _LEAST_COMPILED,
    ) -> None:
        self.mode = mode or os.environ.get(_VARIABLE, "").strip().lower() or "default"
        if self.mode not in COMPILE_MODES:
            raise DemoError(
                f"There is no way to compile called {self.mode!r} ({_VARIABLE}). "
                f"Choose {', '.join(COMPILE_MODES[:-1])} or {COMPILE_MODES[-1]}."
            )
        self._device_types = device_types if self.mode != "off" else ()
        self._least_weights = least_weights

    def place(self, network: nn.Module, device: torch.device, dtype: torch.dtype) -> Placed:
        """Serve the network eagerly; see Placement."""
        return Placed(network, _CpuForward(network) if device.type == "cpu" else network)

    def after_first_use(self, placed: Placed, images: Tensor) -> Iterator[Placed]:
        """Compile the network part by part and compare it with the eager one; see Placement.

        Raises:
            CompiledDiffers: the compiled network computes something else.
        """
        weights = sum(weight.numel() for weight in placed.network.parameters())
        too_small = weights < self._least_weights
        if placed.compiled or too_small or images.device.type not in self._device_types:
            return
        compiled = _CompiledForward(placed.network, self.mode)
        for _ in compiled.warm_up(images):
            yield placed
        better = Placed(placed.network, compiled, compiled=True)
        try:
            check_equal(compiled(images), placed(images), images.dtype)
        except CompiledDiffers as error:
            error.refused = better
            raise
        yield better


class CompiledDiffers(Exception):
    """Say how far a compiled network is from the eager one; LazyPlacement adds the one it refused."""

    refused: Placed | None = None


def check_equal(compiled: Tensor, eager: Tensor, precision: torch.dtype) -> None:
    """Insist that a compiled network computes what the eager one does, but for rounding.

    Args:
        compiled: its output.
        eager: the eager network's output for the same images.
        precision: in which the networks compute; the output's own may be wider, as that of pose is.

    Raises:
        CompiledDiffers: the norm of the difference exceeds the precision's tolerance, or is no number.
    """
    expected = eager.float()
    difference = ((compiled.float() - expected).norm() / expected.norm().clamp_min(1e-12)).item()
    tolerance = _TOLERANCES[precision]
    if not difference <= tolerance:  # True for NaN too
        raise CompiledDiffers(f"compiled and eager output differ by {difference:.2g}, more than {tolerance}")


class _CpuForward:
    """Run a network on as many threads as its work is worth, its head's features with the channels last.

    Threads sleep between their parts of the work, and a forward has some 200 of them. Where the parts are
    small, waking a second thread takes longer than it saves: Mini on pictures of 192 x 144 took 29 ms on two
    threads and 19 ms on one; on those of 320 x 240 it takes 39 ms on two and 57 ms on one.
    """

    def __init__(self, network: nn.Module) -> None:
        self._network = network
        if _has_wide_head(network):
            network.keep_channels_last()
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


def _has_wide_head(network: nn.Module) -> bool:
    """Tell whether the head of a Sapiens network gains from channels that come last in memory.

    Of Mini on a CPU those for pose, body parts and normals do, by a quarter of all the time; that for depth
    ends in 8 channels and takes half as long again.
    """
    return isinstance(network, SapiensNetwork) and min(network.config.deconv_channels) >= _WIDE


class _CompiledForward:
    """A compiled network that never lets anybody wait: what it was not compiled for it runs eagerly.

    Compiled are three parts: what makes tokens of images, one layer, which stands for all of them, and the
    head. So compiling takes as long for 48 layers as for one. Mode "whole" compiles all in one piece.

    Args:
        network: a SapiensNetwork; its convolutions' weights get their channels last.
        mode: one of COMPILE_MODES but "off".
    """

    def __init__(self, network: nn.Module, mode: str) -> None:
        self._network = network.to(memory_format=torch.channels_last)
        self._graphs = mode in _WITH_GRAPHS
        self._graph: _Graph | None = None
        # Inductor's own CUDA graphs are recorded anew for every layer's weights: so one around all of it.
        inductor_mode = "max-autotune-no-cudagraphs" if mode == "max-autotune" else "default"
        self._whole, self._embed, self._layer, self._read_out = (
            torch.compile(part, mode=inductor_mode, fullgraph=True)
            for part in (_run_whole, _embed, _run_layer, _read_out)
        )
        self._steps = self._in_one_piece if mode == "whole" else self._in_parts

    def warm_up(self, images: Tensor) -> Iterator[None]:
        """Compile for one image at a time and, once more, for any larger number; yield after each part."""
        for example, mark in (
            (images[:1].clone(), lambda _: None),
            (images[:1].repeat(2, 1, 1, 1), lambda tensor: torch._dynamo.mark_dynamic(tensor, 0)),
        ):
            steps = self._steps(example, mark)
            while _taken(steps):
                yield
        if self._graphs and images.is_cuda:
            self._graph = _Graph(self._without_compiling, images[:1])

    def __call__(self, images: Tensor) -> Tensor:
        if self._graph is not None and self._graph.fits(images):
            return self._graph(images)
        return self._without_compiling(images)

    def _without_compiling(self, images: Tensor) -> Tensor:
        with torch.compiler.set_stance("eager_on_recompile"):
            *_, output = self._steps(images, lambda _: None)
            return output

    def _in_parts(self, images: Tensor, mark: Callable[[Tensor], None]) -> Iterator[Tensor]:
        mark(images)
        tokens, grid = self._embed(self._network, images)
        yield tokens
        for layer in self._network.backbone.layers:
            mark(tokens)
            tokens = self._layer(layer, tokens)
        yield tokens
        mark(tokens)
        yield self._read_out(self._network, tokens, grid)

    def _in_one_piece(self, images: Tensor, mark: Callable[[Tensor], None]) -> Iterator[Tensor]:
        mark(images)
        yield self._whole(self._network, images)


def _taken(steps: Iterator[Tensor]) -> bool:
    """Take a step that may compile; tell whether there was one."""
    # By itself torch would take the sizes of another network's images for a wish for any size.
    with torch._dynamo.config.patch(recompile_limit=_RECOMPILES, automatic_dynamic_shapes=False):
        return next(steps, None) is not None


# Functions of the module, and not the modules' own methods: torch counts recompilations and keeps what it
# compiled on a function, and finds the same for every layer of the same sizes.


def _run_whole(network: nn.Module, images: Tensor) -> Tensor:
    return network(images)


def _embed(network: nn.Module, images: Tensor) -> tuple[Tensor, tuple[int, int]]:
    return network.backbone.embed(images)


def _run_layer(layer: nn.Module, tokens: Tensor) -> Tensor:
    return layer(tokens)


def _read_out(network: nn.Module, tokens: Tensor, grid: tuple[int, int]) -> Tensor:
    return network.read_out(network.backbone.arrange(tokens, grid))


class _Graph:
    """A CUDA graph of a forward: the GPU gets its some hundred kernels in one call.

    Args:
        run: what is recorded; it has run before.
        images: of the only shape that it will take.
    """

    def __init__(self, run: Callable[[Tensor], Tensor], images: Tensor) -> None:
        self._images = images.clone()
        self._graph = torch.cuda.CUDAGraph()
        torch.cuda.synchronize(images.device)
        # Other threads may ask the device how much memory is free meanwhile.
        with (
            torch.cuda.device(images.device),
            torch.cuda.graph(self._graph, capture_error_mode="thread_local"),
        ):
            self._output = run(self._images)

    def fits(self, images: Tensor) -> bool:
        return images.shape == self._images.shape and images.dtype == self._images.dtype

    def __call__(self, images: Tensor) -> Tensor:
        self._images.copy_(images)
        self._graph.replay()
        return self._output.clone()  # the next call overwrites it
