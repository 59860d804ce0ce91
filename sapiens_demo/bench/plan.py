"""What is measured, in which order, and for how long."""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass, field

import torch

from sapiens_demo.bench.options import PARTS
from sapiens_demo.catalog import SIZES, TASKS, has_checkpoint
from sapiens_demo.devices import choose_device, choose_precision, device_thread
from sapiens_demo.errors import DemoError

_GPU_MINUTES = 8.5


@dataclass(frozen=True)
class Variant:
    """Name one way to run a network.

    Args:
        precision: "float32", "bfloat16" or "float16".
        compile: one of placement.COMPILE_MODES.
        batch: images at a time.
    """

    precision: str
    compile: str
    batch: int

    @property
    def dtype(self) -> torch.dtype:
        """Return the precision as torch has it."""
        return getattr(torch, self.precision)


@dataclass(frozen=True)
class Plan:
    """Say what is measured.

    Args:
        device: where.
        models: task and size, in their order.
        variants: of each model.
        round_seconds: for the alternating forwards of one model and batch.
        repeats: requests per task.
        minutes: nothing new begins after that; None knows no end.
        began: on the clock of time.monotonic.
        parts: of the run, of options.PARTS.
        in_order: whether the first models are worth more than the last; else time is kept for all.
    """

    device: torch.device
    models: tuple[tuple[str, str], ...]
    variants: tuple[Variant, ...]
    round_seconds: float
    repeats: int
    minutes: float | None = None
    began: float = field(default_factory=time.monotonic)
    parts: tuple[str, ...] = PARTS
    in_order: bool = False

    @property
    def seconds_left(self) -> float:
        """Return for how long something new may still begin; infinite where there is no end."""
        if self.minutes is None:
            return float("inf")
        return 60 * self.minutes - (time.monotonic() - self.began)

    @property
    def batches(self) -> tuple[int, ...]:
        """Return every number of images that is asked for, the smallest first."""
        return tuple(sorted({variant.batch for variant in self.variants}))


def make_plan(chosen: argparse.Namespace) -> Plan:
    """Turn the options of the command into a plan.

    Args:
        chosen: see options.add_options.

    Returns:
        The plan; what was left open depends on the device, and on whether it is to be quick.

    Raises:
        DemoError: the device cannot be used, or nothing that was asked for is published.
    """
    device = choose_device(chosen.device)
    on_gpu = device.type == "cuda"
    sizes = tuple(chosen.size or _sizes(on_gpu, chosen.quick))
    tasks = tuple(chosen.task or TASKS)
    asked = chosen.model or [(task, size) for size in sizes for task in tasks]
    models = tuple(model for model in asked if has_checkpoint(*model))
    if not models:
        names = ", ".join(f"{task} {size}" for task, size in asked)
        raise DemoError(f"Of the models {names} none is published: choose others.")
    modes = chosen.compile or (("off", "default") if on_gpu else ("off",))
    batches = chosen.batch or ((1, 8) if on_gpu and not chosen.quick else (1,))
    variants = tuple(
        Variant(precision, mode, batch)
        for precision in chosen.precision or [_usual_precision(device)]
        for mode in modes
        for batch in batches
    )
    minutes = chosen.minutes if chosen.minutes is not None else (_GPU_MINUTES if on_gpu else None)
    seconds, repeats = (2.0, 3) if chosen.quick or on_gpu else (8.0, 7)
    parts, in_order = tuple(chosen.only), bool(chosen.model)
    return Plan(device, models, variants, seconds, repeats, minutes, parts=parts, in_order=in_order)


def _sizes(on_gpu: bool, quick: bool) -> tuple[str, ...]:
    if not on_gpu:
        return ("mini",)
    return ("0.3b",) if quick else tuple(size for size in SIZES if size != "mini")


def _usual_precision(device: torch.device) -> str:
    dtype = device_thread(str(device)).call(lambda _: choose_precision(device))
    return str(dtype).removeprefix("torch.")
