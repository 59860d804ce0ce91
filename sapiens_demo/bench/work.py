"""What a forward costs at least: multiply-adds and bytes, counted from the network without running it."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from sapiens_demo.network import NetworkConfig, SapiensNetwork

# Kind of an operation, by a word in torch's name of it.
_KINDS = {
    "attention": "attention",
    "conv": "convolutions",
    "linear": "matrices",
    "norm": "norms",
    "silu": "activations",
    "gelu": "activations",
}


def count_tflop(config: NetworkConfig, batch: int = 1) -> float:
    """Count what a forward computes, twice the multiply-adds, attention and head included.

    Args:
        config: the network, at its native image size.
        batch: images.

    Returns:
        10^12 operations.
    """
    network, images = _without_data(config, batch, torch.float32)
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        network(images)
    return counter.get_total_flops() / 1e12


@dataclass(frozen=True)
class Limit:
    """Say how fast one kind of operation can be at best, each operation reading and writing memory once.

    Args:
        kind: "matrices", "attention", "convolutions", "norms", "activations" or "other".
        tflop: of all of them.
        gigabytes: read and written, where no two operations are fused.
        ms: what the machine's rates allow.
        bound: "compute" or "memory": which of the two it waits for more.
    """

    kind: str
    tflop: float
    gigabytes: float
    ms: float
    bound: str


def roofline(
    config: NetworkConfig, batch: int, dtype: torch.dtype, matrix_rate: float, memory_rate: float
) -> list[Limit]:
    """Work out what the machine's rates allow, kind by kind.

    Args:
        config: the network.
        batch: images.
        dtype: its precision.
        matrix_rate: TFLOP per second, measured in this precision.
        memory_rate: terabytes per second, measured.

    Returns:
        One entry a kind, the slowest first. Fusing can save bytes, so "memory" entries are no lower bound.
    """
    network, images = _without_data(config, batch, dtype)
    with _Meter() as meter, torch.inference_mode():
        network(images)
    tally: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for kind, flop, size in meter.operations:
        tally[kind].append((flop / 1e12, size / 1e12))
    limits = []
    for kind, costs in tally.items():
        compute = sum(tflop for tflop, _ in costs) / matrix_rate
        memory = sum(size for _, size in costs) / memory_rate
        seconds = sum(max(tflop / matrix_rate, size / memory_rate) for tflop, size in costs)
        tflop, size = (sum(column) for column in zip(*costs, strict=True))
        bound = "compute" if compute >= memory else "memory"
        limits.append(Limit(kind, tflop, 1000 * size, 1000 * seconds, bound))
    return sorted(limits, key=lambda limit: -limit.ms)


class _Meter(TorchDispatchMode):
    """Note every operation's kind, FLOP and bytes."""

    def __init__(self) -> None:
        super().__init__()
        self.operations: list[tuple[str, float, float]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        with FlopCounterMode(display=False) as counter:
            result = func(*args, **(kwargs or {}))
        given, made = _tensors((args, kwargs)), _tensors(result)
        shares = {tensor.untyped_storage()._cdata for tensor in given}
        if not any(tensor.untyped_storage()._cdata in shares for tensor in made):  # a view costs nothing
            name = func.overloadpacket.__name__
            kind = next((kind for word, kind in _KINDS.items() if word in name), "other")
            size = sum(tensor.nbytes for tensor in (*given, *made))
            self.operations.append((kind, counter.get_total_flops(), size))
        return result


def _tensors(tree: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]


def _without_data(config: NetworkConfig, batch: int, dtype: torch.dtype) -> tuple[SapiensNetwork, Tensor]:
    with torch.device("meta"):
        network = SapiensNetwork(config).to(dtype).eval()
        return network, torch.empty(batch, 3, *config.image_size, dtype=dtype)
