"""The model cache: networks are loaded when they are first asked for and go when others need the memory.

Everything that touches the device happens in the device's one thread. Only that thread changes the cache,
which so needs no lock. Downloads happen outside, since a device must not stand still for a network cable.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn

from sapiens_demo.catalog import PEOPLE, SIZE_TITLES, Checkpoint, find_checkpoint
from sapiens_demo.devices import choose_device, choose_precision, device_thread, device_title, synchronize
from sapiens_demo.hub import locate
from sapiens_demo.memory import (
    MemoryExhausted,
    available_bytes,
    is_out_of_memory,
    memory_limit,
    release_memory,
    start_peak,
)
from sapiens_demo.network import NetworkConfig, SapiensNetwork, build_network
from sapiens_demo.placement import LazyPlacement, Placed, Placement
from sapiens_demo.progress import Progress, silent, size_text
from sapiens_demo.threads import DeviceThread, SharedErrands
from sapiens_demo.weights import load_weights

__all__ = [
    "Answer",
    "LazyPlacement",
    "MemoryExhausted",
    "ModelCache",
    "ModelInfo",
    "ModelKey",
    "Placement",
    "choose_device",
]

T = TypeVar("T")

_OWN_LICENSE = "not known: a checkpoint of the user's own"
_MAPS_AT_ONCE = (
    4  # until a run is measured: of the head's largest map, as many live at once (measured: 3.6 to 4.1)
)
_RUN_SHARE = 0.25  # of the free memory, for a run with several images
_DETECTOR_RUN_BYTES = 300_000_000  # of one photo at 640 x 640; measured on the CPU: 150 to 220 MB

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ModelKey:
    """Name a model.

    Args:
        task: one of catalog.TASKS, or catalog.PEOPLE for a detector.
        size: one of catalog.SIZES, or of catalog.DETECTOR_SIZES.
        path: a checkpoint file of the user's own, or None for the published one.
    """

    task: str
    size: str
    path: str | None = None

    @property
    def title(self) -> str:
        """Return what people call the model: "Mini", "Sapiens 0.3B" or "D-FINE small"."""
        if self.task == PEOPLE:
            return f"D-FINE {self.size}"
        return SIZE_TITLES[self.size] if self.size == "mini" else f"Sapiens {SIZE_TITLES[self.size]}"


@dataclass(frozen=True)
class ModelInfo:
    """Say what ran.

    Args:
        task: one of catalog.TASKS, or catalog.PEOPLE.
        size: one of catalog.SIZES, or of catalog.DETECTOR_SIZES.
        device: "cpu", "cuda" or "mps".
        device_title: such as "CPU" or "NVIDIA H100 80GB HBM3".
        precision: "float32", "bfloat16" or "float16".
        compiled: whether torch.compile had made it faster by then.
        file: name of the checkpoint file.
        license: of the weights.
    """

    task: str
    size: str
    device: str
    device_title: str
    precision: str
    compiled: bool
    file: str
    license: str


@dataclass(frozen=True)
class Answer(Generic[T]):
    """Hold what a run gave.

    Args:
        value: what decode made of the network's output.
        info: what ran.
        load_ms: milliseconds this visitor waited for weights to be read; 0 where they were in memory.
        forward_ms: milliseconds from images on the CPU to the raw output.
        decode_ms: milliseconds that decode took.
    """

    value: T
    info: ModelInfo
    load_ms: float
    forward_ms: float
    decode_ms: float


@dataclass(frozen=True)
class _Recipe:
    """How a model is made, and what it takes."""

    read: Callable[[Progress], tuple[nn.Module, Path]]  # the network, filled and on the device, and its file
    dtype: torch.dtype
    weight_bytes: int
    run_bytes: int  # of a run beyond the weights; an estimate for as long as none was measured
    compiles: bool


@dataclass
class _Entry:
    """A model in memory."""

    placed: Placed
    info: ModelInfo
    bytes: int
    recipe: _Recipe
    loaded_at: int
    used: int
    runs: int = 0
    improvements: Iterator[Placed] | None = None  # under way; kept here to go with the model
    improving_seconds: float = 0.0


class ModelCache:
    """Keep networks ready on one device, within its memory.

    Args:
        device: "cpu", "cuda", "mps" or a torch device; None takes SAPIENS_DEVICE, else the best there is.
        budget: bytes that models may take in all; None takes SAPIENS_MEMORY_GB, else all that is free.
        strategy: how networks get onto the device and are compiled; LazyPlacement where None.

    Raises:
        DemoError: SAPIENS_MEMORY_GB or SAPIENS_COMPILE makes no sense.
    """

    def __init__(
        self,
        device: str | torch.device | None = None,
        budget: int | None = None,
        strategy: Placement | None = None,
    ) -> None:
        self._wanted_device = device
        self._limit = memory_limit() if budget is None else budget
        self._strategy: Placement = strategy or LazyPlacement()
        self._errands = SharedErrands()
        self._entries: dict[ModelKey, _Entry] = {}
        self._peaks: dict[ModelKey, int] = {}
        self._clock = 0

    @cached_property
    def device(self) -> torch.device:
        """Return the device, chosen when it is first needed.

        Raises:
            DemoError: the device that was asked for cannot be used.
        """
        return choose_device(self._wanted_device)

    def run(
        self,
        key: ModelKey,
        images: Tensor,
        decode: Callable[[Tensor], T],
        progress: Progress = silent,
    ) -> Answer[T]:
        """Run a model on images and decode its output; may be called from any thread.

        Args:
            key: the model; fetched and loaded where it is not in memory.
            images: (B, 3, H, W) float32 on the CPU, normalised.
            decode: makes a value of the raw output, (B, C, h, w) float32 on the device. It runs in the
                device's thread; what it returns must not hold memory of the device.
            progress: told, in the calling thread, about downloading, loading and running.

        Returns:
            The value, what ran and how long it took.

        Raises:
            CheckpointError: the weights cannot be had or read.
            MemoryExhausted: the model does not fit, even alone.
        """
        load_ms = 0.0 if key in self._entries else self.load(key, progress)
        job = partial(self._answer, key, images, decode)
        answer = self._thread.call(lambda tell: self._retrying(key, partial(job, tell)), progress)
        return replace(answer, load_ms=answer.load_ms + load_ms)

    def load(self, key: ModelKey, progress: Progress = silent) -> float:
        """Bring a model into memory; however many ask at once, it is fetched and loaded once.

        Args:
            key: the model.
            progress: told, in the calling thread, about downloading and loading.

        Returns:
            Milliseconds that reading the weights took, without the download.

        Raises:
            CheckpointError: the weights cannot be had or read.
            MemoryExhausted: the model does not fit, even alone.
        """
        return self._errands.call(key, partial(self._fetch_and_load, key), progress)

    def loaded(self) -> tuple[ModelKey, ...]:
        """Return the models that are in memory now, the least recently used first."""
        entries = sorted(dict(self._entries).items(), key=lambda item: item[1].used)
        return tuple(key for key, _ in entries)

    def images_at_once(self, key: ModelKey, most: int) -> int:
        """Tell how many images a run of a model may take, to need no more than a share of what is free.

        Args:
            key: the model, which should be in memory.
            most: images that are wanted, a power of two.

        Returns:
            A power of two, 1 to most; 1 where the model is not in memory.
        """
        entry = self._entries.get(key)
        if entry is None:
            return 1
        affordable = _RUN_SHARE * self._room() / max(entry.recipe.run_bytes, 1)
        while most > 1 and most > affordable:
            most //= 2
        return most

    @property
    def _thread(self) -> DeviceThread:
        return device_thread(str(self.device))

    def _fetch_and_load(self, key: ModelKey, progress: Progress) -> float:
        locate(key.task, key.size, path=key.path, progress=progress)
        load = partial(self._timed_load, key)
        return self._thread.call(lambda tell: self._retrying(key, partial(load, tell)), progress)

    # ---- In the device's thread ---------------------------------------------------------------------------

    def _retrying(self, key: ModelKey, attempt: Callable[[], T]) -> T:
        """Try, and where memory runs out try once more with nothing else in memory."""
        try:
            return attempt()
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            _log.warning("Out of memory with %s; trying again without the other models", key)
        # Outside the handler: the error's traceback held what filled the memory.
        self._evict([other for other in self._entries if other != key])
        try:
            return attempt()
        except Exception as error:
            if not is_out_of_memory(error):
                raise
        self._evict([key])
        raise MemoryExhausted(
            f"The memory of the {device_title(self.device)} is too small for {key.title} ({key.task}), "
            "even with no other model in it. Choose a smaller size or a smaller photo."
        )

    def _answer(
        self, key: ModelKey, images: Tensor, decode: Callable[[Tensor], T], progress: Progress
    ) -> Answer[T]:
        load_ms = 0.0 if key in self._entries else self._timed_load(key, progress)
        entry = self._entries[key]
        self._clock += 1
        entry.used = self._clock
        progress(f"Running {key.title} on the {entry.info.device_title}", None)
        info = replace(entry.info, compiled=entry.placed.compiled)
        peak = start_peak(self.device)
        with torch.inference_mode():
            start = time.perf_counter()
            moved = images.to(self.device, entry.recipe.dtype)
            output = entry.placed(moved).float()
            synchronize(self.device)
            middle = time.perf_counter()
            value = decode(output)
            synchronize(self.device)
            end = time.perf_counter()
        self._peaks[key] = max(self._peaks.get(key, 0), peak())
        entry.runs += 1
        if entry.runs == 1 and entry.recipe.compiles:
            self._improve_when_idle(key, entry.loaded_at, images)
        return Answer(value, info, load_ms, 1000 * (middle - start), 1000 * (end - middle))

    def _timed_load(self, key: ModelKey, progress: Progress) -> float:
        if key in self._entries:
            return 0.0
        start = time.perf_counter()
        self._load(key, progress)
        return 1000 * (time.perf_counter() - start)

    def _load(self, key: ModelKey, progress: Progress) -> None:
        progress(f"Loading {key.title}", None)
        recipe = self._recipe(key)
        self._make_room(key, recipe)
        network, file = recipe.read(progress)
        size = sum(tensor.nbytes for tensor in (*network.parameters(), *network.buffers()))
        placed = self._strategy.place(network, self.device, recipe.dtype)
        self._clock += 1
        info = self._info(key, file, recipe.dtype)
        self._entries[key] = _Entry(placed, info, size, recipe, self._clock, self._clock)

    def _recipe(self, key: ModelKey) -> _Recipe:
        if key.task == PEOPLE:
            return _detector_recipe(_checkpoint(key), self.device)
        dtype = choose_precision(self.device)
        config = NetworkConfig.from_name(key.task, key.size)

        def read(progress: Progress) -> tuple[nn.Module, Path]:
            weights = load_weights(key.task, key.size, dtype, self.device, path=key.path, progress=progress)
            return build_network(config, weights.state_dict), weights.path

        weight_bytes, run_bytes = _weight_bytes(config, dtype), _estimated_peak(config, dtype)
        return _Recipe(read, dtype, weight_bytes, run_bytes, compiles=True)

    def _info(self, key: ModelKey, file: Path, dtype: torch.dtype) -> ModelInfo:
        return ModelInfo(
            task=key.task,
            size=key.size,
            device=self.device.type,
            device_title=device_title(self.device),
            precision=str(dtype).removeprefix("torch."),
            compiled=False,
            file=file.name,
            license=_OWN_LICENSE if key.path else _checkpoint(key).license,
        )

    def _make_room(self, key: ModelKey, recipe: _Recipe) -> None:
        """Evict the least recently used models until a new one fits.

        Only one model runs at a time, so of what runs take beyond the weights only the largest counts.
        """
        needed, own_peak = recipe.weight_bytes, self._peak(key, recipe)
        while self._entries:
            peaks = [self._peak(other, entry.recipe) for other, entry in self._entries.items()]
            if needed + max(own_peak, *peaks) <= self._room():
                return
            self._evict([self.loaded()[0]])
        room, limited = self._room(), self._limit is not None
        if self.device.type == "cpu" and not limited:
            # Linux ends a process that takes too much, where a GPU raises an error: the run must fit as well.
            needed += min(own_peak, recipe.run_bytes)
        if needed > room:
            raise MemoryExhausted(
                f"{key.title} ({key.task}) needs {size_text(needed)} of memory, "
                f"of which {size_text(max(room, 0))} are {'allowed' if limited else 'free'}. "
                f"Choose a smaller size{' or raise SAPIENS_MEMORY_GB' if limited else ''}."
            )

    def _room(self) -> int:
        """Return the bytes that are left for more weights and for a run."""
        if self._limit is None:
            return available_bytes(self.device)
        return self._limit - sum(entry.bytes for entry in self._entries.values())

    def _peak(self, key: ModelKey, recipe: _Recipe) -> int:
        """Return the bytes a run takes beyond the weights: measured, else estimated."""
        return self._peaks.get(key, 0) or recipe.run_bytes

    def _evict(self, keys: list[ModelKey]) -> None:
        for key in keys:
            if self._entries.pop(key, None):
                _log.info("%s leaves the memory", key)
        release_memory(self.device)

    def _improve_when_idle(self, key: ModelKey, loaded_at: int, images: Tensor) -> None:
        sentence = f"Making {key.title} faster for later photos"
        self._thread.when_idle(partial(self._improve, key, loaded_at, images), sentence)

    def _improve(self, key: ModelKey, loaded_at: int, images: Tensor) -> None:
        """Make a model faster by a step, unless it has left the memory; waiting must not keep it there."""
        entry = self._entries.get(key)
        if entry is None or entry.loaded_at != loaded_at:
            return
        start = time.perf_counter()
        try:
            with torch.inference_mode():
                if entry.improvements is None:
                    first_use = images.to(self.device, entry.recipe.dtype)
                    entry.improvements = self._strategy.after_first_use(entry.placed, first_use)
                better = next(entry.improvements, None)
        except Exception as error:
            _log.warning("%s (%s) stays uncompiled: %s", key.title, key.task, error, exc_info=True)
            entry.improvements = None
            release_memory(self.device)
            return
        entry.improving_seconds += time.perf_counter() - start
        if better is not None:
            entry.placed = better
            self._improve_when_idle(key, loaded_at, images)
        elif entry.placed.compiled:
            _log.info("%s (%s) was compiled in %.0f s", key.title, key.task, entry.improving_seconds)


def _checkpoint(key: ModelKey) -> Checkpoint:
    checkpoint = find_checkpoint(key.task, key.size)
    assert checkpoint is not None, key  # it was located
    return checkpoint


def _detector_recipe(checkpoint: Checkpoint, device: torch.device) -> _Recipe:
    # Float32 everywhere: it is small and quick, and box edges are sums of many small probabilities.
    dtype = torch.float32
    weight_bytes = checkpoint.parameters * dtype.itemsize

    def read(progress: Progress) -> tuple[nn.Module, Path]:
        from sapiens_demo.detector import load_detector  # late: it brings transformers along

        return load_detector(checkpoint.size, device, progress)

    return _Recipe(read, dtype, weight_bytes, _DETECTOR_RUN_BYTES, compiles=False)


def _weight_bytes(config: NetworkConfig, dtype: torch.dtype) -> int:
    with torch.device("meta"):
        return sum(weight.numel() for weight in SapiensNetwork(config).parameters()) * dtype.itemsize


def _estimated_peak(config: NetworkConfig, dtype: torch.dtype) -> int:
    height, width = config.output_size
    return _MAPS_AT_ONCE * config.deconv_channels[-1] * height * width * dtype.itemsize
