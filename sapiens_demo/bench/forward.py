"""The network alone: every way to run it against what people run today, taking turns."""

from __future__ import annotations

import logging
import tempfile
import time
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TypeAlias

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from sapiens_demo.bench.agreement import Agreement, compare
from sapiens_demo.bench.baseline import trace_baseline
from sapiens_demo.bench.plan import Plan, Variant
from sapiens_demo.bench.rate import Multiplication, best_multiplication
from sapiens_demo.bench.timing import Times, alternate, timed
from sapiens_demo.bench.weights import TestWeights, example_images, find_weights
from sapiens_demo.bench.work import count_tflop
from sapiens_demo.hub import find_local
from sapiens_demo.memory import is_out_of_memory, release_memory, start_peak
from sapiens_demo.network import NetworkConfig, build_network
from sapiens_demo.placement import CompiledDiffers, LazyPlacement
from sapiens_demo.progress import Progress, silent
from sapiens_demo.weights import load_state_dict

_FLOAT32 = torch.float32
_COMPILE_SECONDS, _MODEL_SECONDS = 30.0, 12.0  # until one was measured
NOT_MEASURED = "not measured"
_NO_TIME = f"{NOT_MEASURED}: the time was over"

_log = logging.getLogger(__name__)

_Way: TypeAlias = "tuple[torch.dtype, str] | None"  # precision and way to compile; None is the baseline


@dataclass(frozen=True)
class ForwardRow:
    """Hold what was measured of one way to run a network; None is what was not measured.

    Args:
        task: one of catalog.TASKS.
        size: one of catalog.SIZES.
        variant: how it ran; None for the baseline, float32 TorchScript with explicit attention.
        batch: images at a time.
        weights: "shipped", "official" or "random".
        tflop: of one forward of the batch.
        ms: median of a forward.
        spread: distance between the quartiles / the median.
        share: of the matrix rate that was measured in the same rounds, in the same precision.
        speedup: against the baseline, median over the rounds.
        peak_bytes: of a forward, beyond weights and images.
        load_seconds: from a file of the half-size kind that is kept, or the shipped one, to the device.
        compile_seconds: of the compilation, for one image and for several.
        agreement: with the baseline's output.
        note: why something was not measured.
    """

    task: str
    size: str
    variant: Variant | None
    batch: int
    weights: str = ""
    tflop: float | None = None
    ms: float | None = None
    spread: float | None = None
    share: float | None = None
    speedup: float | None = None
    peak_bytes: int | None = None
    load_seconds: float | None = None
    compile_seconds: float | None = None
    agreement: Agreement | None = None
    note: str = ""


@dataclass
class MatrixRates:
    """Keep which matrices each precision is measured with, and the rates that were seen.

    Args:
        device: where.
    """

    device: torch.device
    tflops: dict[str, list[float]] = field(default_factory=dict)
    _chosen: dict[torch.dtype, Multiplication] = field(default_factory=dict)

    def work(self, dtype: torch.dtype) -> Multiplication:
        """Return the multiplication to time beside forwards of a precision.

        Args:
            dtype: the precision.
        """
        if dtype not in self._chosen:
            self._chosen[dtype] = best_multiplication(self.device, dtype)
        return self._chosen[dtype]

    def rate(self, dtype: torch.dtype, times: Times) -> float:
        """Note what a multiplication took.

        Args:
            dtype: its precision.
            times: of its rounds.

        Returns:
            TFLOP per second.
        """
        tflops = self.work(dtype).tflop / times.ms * 1000
        self.tflops.setdefault(str(dtype).removeprefix("torch."), []).append(tflops)
        return tflops


@dataclass(frozen=True)
class _Ready:
    """A network made ready in one way, or why it was not."""

    forward: Callable[[Tensor], Tensor] | None
    dtype: torch.dtype
    load_seconds: float | None = None
    compile_seconds: float | None = None
    note: str = ""


@dataclass
class ForwardBench:
    """Measure forwards of one model after the other.

    Args:
        plan: what is measured.
        photos: (H, W, 3) uint8 RGB each, to make images of.
        progress: told what is being done.
    """

    plan: Plan
    photos: list[np.ndarray]
    progress: Progress = silent
    rates: MatrixRates = field(init=False)
    _longest_compile: float = _COMPILE_SECONDS
    _longest_model: float = _MODEL_SECONDS  # without what was compiled
    _compiled: float = 0.0  # seconds, in all

    def __post_init__(self) -> None:
        self.rates = MatrixRates(self.plan.device)

    def measure(self, task: str, size: str) -> list[ForwardRow]:
        """Measure all variants of a model and the baseline.

        Args:
            task: one of catalog.TASKS.
            size: one of catalog.SIZES.

        Returns:
            For every number of images the baseline and the variants; a fault is a note in its rows.
        """
        rows = self._empty_rows(task, size)
        if self.plan.seconds_left <= 0:
            return [replace(row, note=_NO_TIME) for row in rows]
        began, compiled = time.monotonic(), self._compiled
        try:
            with torch.inference_mode():
                return self._measure(task, size, rows)
        except Exception as error:  # one model that fails must not cost the table
            _log.exception("%s %s", task, size)
            reason = "does not fit into the memory" if is_out_of_memory(error) else _one_line(error)
            return [replace(row, note=f"{NOT_MEASURED}: {reason}") for row in rows]
        finally:
            took = time.monotonic() - began - (self._compiled - compiled)
            self._longest_model = max(self._longest_model, took)
            torch._dynamo.reset()  # what was compiled holds weights
            release_memory(self.plan.device)

    def _empty_rows(self, task: str, size: str) -> list[ForwardRow]:
        return [
            ForwardRow(task, size, variant, batch)
            for batch in self.plan.batches
            for variant in (None, *self.plan.variants)
            if variant is None or variant.batch == batch
        ]

    def _measure(self, task: str, size: str, rows: list[ForwardRow]) -> list[ForwardRow]:
        config = NetworkConfig.from_name(task, size)
        images = example_images(self.photos, config.image_size, max(self.plan.batches))
        images = images.to(self.plan.device)
        self.progress(f"{task} {size}: weights", None)
        weights = find_weights(task, size, self.plan.device, images)
        ready = self._make_ready(task, size, weights, images)
        rows = [replace(row, weights=weights.origin) for row in rows]
        done: list[ForwardRow] = []
        for batch in self.plan.batches:
            self.progress(f"{task} {size}: {batch} at a time", None)
            some = [row for row in rows if row.batch == batch]
            done += self._take_turns(config, some, ready, images[:batch])
        return done

    def _make_ready(self, task: str, size: str, weights: TestWeights, images: Tensor) -> dict[_Way, _Ready]:
        """Return the baseline and each pair of precision and way to compile, as far as the time goes."""
        config = NetworkConfig.from_name(task, size)
        ready: dict[_Way, _Ready] = {
            None: _Ready(trace_baseline(config, weights.state_dict, images), _FLOAT32)
        }
        dtypes = list(dict.fromkeys(variant.dtype for variant in self.plan.variants))
        loads = self._load_seconds(task, size, weights, dtypes)
        for dtype in dtypes:
            network = build_network(config, {k: v.to(dtype) for k, v in weights.state_dict.items()})
            for mode in dict.fromkeys(one.compile for one in self.plan.variants if one.dtype == dtype):
                self.progress(f"{task} {size}: {dtype}, compile {mode}", None)
                made = self._placed(network, dtype, mode, images, self._spare_seconds(task, size))
                ready[dtype, mode] = replace(made, load_seconds=loads.get(dtype))
        return ready

    def _load_seconds(
        self, task: str, size: str, weights: TestWeights, dtypes: list[torch.dtype]
    ) -> dict[torch.dtype, float]:
        if "load" not in self.plan.parts:
            return {}
        with weights_file(task, size, weights) as file:
            return {dtype: _load_seconds(task, size, file, dtype, self.plan.device) for dtype in dtypes}

    def _spare_seconds(self, task: str, size: str) -> float:
        """Return how long may be compiled, so that every model that is left can still be measured at all."""
        if self.plan.in_order:
            return self.plan.seconds_left
        left = len(self.plan.models) - 1 - self.plan.models.index((task, size))
        return self.plan.seconds_left - left * self._longest_model

    def _placed(
        self, network: nn.Module, dtype: torch.dtype, mode: str, images: Tensor, spare: float
    ) -> _Ready:
        if mode != "off" and spare < self._longest_compile:
            return _Ready(None, dtype, note=_NO_TIME)
        strategy = LazyPlacement(mode, (self.plan.device.type,), least_weights=0)
        placed = strategy.place(network, self.plan.device, dtype)
        if mode == "off":
            return _Ready(placed, dtype)
        start, note = time.perf_counter(), ""
        try:
            for better in strategy.after_first_use(placed, images[:1].to(dtype)):
                placed = better
        except CompiledDiffers as error:
            placed, note = error.refused, f"not used by the page: {_one_line(error)}"
        except Exception as error:
            _log.exception("%s compiled in mode %s", dtype, mode)
            return _Ready(None, dtype, note=f"{NOT_MEASURED}: {_one_line(error)}")
        seconds = time.perf_counter() - start
        self._longest_compile = max(seconds, self._longest_compile if self._compiled else 0.0)
        self._compiled += seconds
        return _Ready(placed, dtype, compile_seconds=seconds, note=note)

    def _take_turns(
        self, config: NetworkConfig, rows: list[ForwardRow], ready: dict[_Way, _Ready], images: Tensor
    ) -> list[ForwardRow]:
        """Fill rows of one number of images, the first of which is the baseline."""
        device = self.plan.device
        ways = {row: ready[_way(row.variant)] for row in rows}
        works: dict[Hashable, Callable[[], object]] = {}
        peaks: dict[ForwardRow, int] = {}
        outputs: dict[ForwardRow, Tensor] = {}
        for row, way in ways.items():
            if way.forward is not None:
                works[row] = partial(way.forward, images.to(way.dtype))
                outputs[row], peaks[row] = _output_and_peak(works[row], device)
        for dtype in {way.dtype for row, way in ways.items() if row in works}:
            works[dtype] = self.rates.work(dtype).multiply
        times = alternate(works, device, self.plan.round_seconds)
        rates = {dtype: self.rates.rate(dtype, times[dtype]) for dtype in times if dtype not in ways}
        tflop = count_tflop(config, len(images))

        def filled(row: ForwardRow) -> ForwardRow:
            way = ways[row]
            if row not in times:
                return replace(row, note=way.note)
            return replace(
                row,
                note=way.note,
                tflop=tflop,
                ms=times[row].ms,
                spread=times[row].spread,
                share=tflop / (times[row].ms / 1000) / rates[way.dtype],
                speedup=times[row].times_faster_than(times[rows[0]]),
                peak_bytes=peaks[row],
                load_seconds=way.load_seconds,
                compile_seconds=way.compile_seconds,
                agreement=compare(config, outputs[row], outputs[rows[0]]) if row.variant else None,
            )

        return [filled(row) for row in rows]


def _output_and_peak(work: Callable[[], Tensor], device: torch.device) -> tuple[Tensor, int]:
    timed(work, device)  # the first run of TorchScript and of cuDNN is another one
    release_memory(device)
    peak = start_peak(device)
    output = work()
    return output.float(), peak()


def _way(variant: Variant | None) -> _Way:
    return None if variant is None else (variant.dtype, variant.compile)


def _one_line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"


def _load_seconds(task: str, size: str, file: Path, dtype: torch.dtype, device: torch.device) -> float:
    """Time reading, checking and moving the weights; the file is in the system's cache by then."""
    return timed(lambda: load_state_dict(task, size, dtype, device, path=file), device)[0]


@contextmanager
def weights_file(task: str, size: str, weights: TestWeights) -> Iterator[Path]:
    """Lend a file with weights: the one on this machine, else a bfloat16 one for the time being.

    Args:
        task: one of catalog.TASKS.
        size: one of catalog.SIZES.
        weights: from find_weights.

    Yields:
        Its path.
    """
    if weights.origin != "random":
        yield find_local(task, size)
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{task}_{size}.safetensors"
        save_file({k: v.to("cpu", torch.bfloat16) for k, v in weights.state_dict.items()}, path)
        yield path
