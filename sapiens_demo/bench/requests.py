"""A photo from its file to the pictures on the page, stage by stage, beside the official way."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from sapiens_demo.bench.baseline import OFFICIAL_WAYS
from sapiens_demo.devices import synchronize
from sapiens_demo.drawing import PoseDrawing
from sapiens_demo.estimator import Estimator
from sapiens_demo.memory import release_memory, start_peak
from sapiens_demo.models import Answer, LazyPlacement, ModelCache, ModelKey
from sapiens_demo.network import NetworkConfig
from sapiens_demo.photo import read_photo
from sapiens_demo.progress import Progress, silent
from sapiens_demo.ui.view import Picture, build_view, encode

STAGES = ("read", "detect", "prepare", "forward", "decode", "draw", "encode")
_DETECTING = ("people", "person mask")
_DECODING = ("decode", "paste")
_HOST = torch.device("cpu")
_OFFICIAL_MS = 4000  # after so much of it the official way is not repeated


@dataclass(frozen=True)
class RequestRow:
    """Hold what a request took; medians over the repeats, each new to the estimator.

    Args:
        task: one of catalog.TASKS.
        size: one of catalog.SIZES.
        megapixels: of the photo.
        stages: name, of STAGES, to milliseconds. "forward" holds all networks that ran, those of the people
            finder and of the person mask too, and no other stage does.
        rest_ms: all but the forwards.
        rest_cpu_ms: the same in time of the processor's cores: the steadier figure where others use the
            machine too.
        peak_bytes: of the process during a request, above what it held before; 0 where nobody counts.
        official: "prepare", "forward" and "decode" to milliseconds, of the same photo the official way; empty
            where it was not measured.
        official_peak_bytes: of that.
    """

    task: str
    size: str
    megapixels: float
    stages: dict[str, float]
    rest_ms: float
    rest_cpu_ms: float
    peak_bytes: int
    official: dict[str, float]
    official_peak_bytes: int


class MeteredModels(ModelCache):
    """A model cache that adds up what networks take, and does not compile them between two requests.

    Args:
        device: as for ModelCache.
    """

    def __init__(self, device: torch.device) -> None:
        super().__init__(device, strategy=LazyPlacement("off"))
        self.forget()

    def forget(self) -> None:
        """Begin to add up anew."""
        self.forward_ms = self.forward_cpu_ms = 0.0

    def run(
        self,
        key: ModelKey,
        images: torch.Tensor,
        decode: Callable[[torch.Tensor], Any],
        progress: Progress = silent,
    ) -> Answer[Any]:
        """Run a model; see ModelCache."""

        def counting(output: torch.Tensor) -> Any:
            self.forward_cpu_ms += 1000 * (time.process_time() - start)
            return decode(output)

        start = time.process_time()
        answer = super().run(key, images, counting, progress)
        self.forward_ms += answer.forward_ms
        return answer


@dataclass(frozen=True)
class _Request:
    """One request's times in milliseconds, the processor's time for all but the forwards, and the peak."""

    stages: dict[str, float]
    rest_cpu_ms: float
    peak_bytes: int


def encoded_photo(photo: np.ndarray) -> bytes:
    """Make a photo's file.

    Args:
        photo: (H, W, 3) uint8 RGB.

    Returns:
        Content of a JPEG as cameras write it.
    """
    buffer = BytesIO()
    Image.fromarray(photo).save(buffer, format="JPEG", quality=92)
    return buffer.getvalue()


def measure_requests(
    content: bytes,
    task: str,
    size: str,
    device: torch.device,
    repeats: int,
    *,
    official: torch.nn.Module | None = None,
    checkpoint: Path | None = None,
) -> RequestRow:
    """Measure what a visitor waits for, once models are loaded.

    Args:
        content: of the photo's file.
        task: one of catalog.TASKS.
        size: one of catalog.SIZES.
        device: where networks run.
        repeats: of the request, after one to warm up.
        official: the traced network, from baseline.trace_baseline; takes turns with ours.
        checkpoint: a file with the weights, where this machine has none of its own.

    Returns:
        The medians.

    Raises:
        DemoError: the model cannot be had or does not fit.
    """
    models = MeteredModels(device)
    photo_size = read_photo(content).shape[:2]
    _request(models, content, task, size, checkpoint)
    own, theirs = [], []
    spent = 0.0
    for _ in range(repeats):
        own.append(_request(models, content, task, size, checkpoint))
        if official is not None and spent < _OFFICIAL_MS:
            theirs.append(_official_request(official, content, task, size, device))
            spent += sum(theirs[-1].stages.values())
    stages = _medians([request.stages for request in own])
    rests = [sum(request.stages.values()) - request.stages["forward"] for request in own]
    return RequestRow(
        task=task,
        size=size,
        megapixels=photo_size[0] * photo_size[1] / 1e6,
        stages=stages,
        rest_ms=statistics.median(rests),
        rest_cpu_ms=statistics.median(request.rest_cpu_ms for request in own),
        peak_bytes=max(request.peak_bytes for request in own),
        official=_medians([request.stages for request in theirs]),
        official_peak_bytes=max((request.peak_bytes for request in theirs), default=0),
    )


def _request(
    models: MeteredModels, content: bytes, task: str, size: str, checkpoint: Path | None
) -> _Request:
    """Do all that the page does for a photo that it has never seen."""
    estimator = Estimator(models)  # a new one remembers nobody's people and masks
    encoding = 0.0

    def timed_encode(pixels: np.ndarray, **options: Any) -> Picture:
        nonlocal encoding
        start = time.perf_counter()
        picture = encode(pixels, **options)
        encoding += 1000 * (time.perf_counter() - start)
        return picture

    release_memory(_HOST)
    models.forget()
    peak = start_peak(_HOST)
    cpu_start, clocks = time.process_time(), [time.perf_counter()]
    photo = read_photo(content)
    clocks.append(time.perf_counter())
    estimate = estimator.estimate(photo, task, size, checkpoint=checkpoint)
    clocks.append(time.perf_counter())
    build_view(estimate, PoseDrawing().threshold, timed_encode)
    clocks.append(time.perf_counter())
    rest_cpu_ms = 1000 * (time.process_time() - cpu_start) - models.forward_cpu_ms
    read, work, showing = (1000 * (b - a) for a, b in zip(clocks, clocks[1:], strict=False))
    told = estimate.report.stages
    helpers = models.forward_ms - told["forward"]
    detect = sum(told.get(name, 0.0) for name in _DETECTING) - helpers
    decode = sum(told.get(name, 0.0) for name in _DECODING)
    forward = models.forward_ms + told.get("load", 0.0)
    # What no stage owns up to is counted as preparation.
    prepare = work - detect - decode - forward
    values = (read, detect, prepare, forward, decode, showing - encoding, encoding)
    return _Request(dict(zip(STAGES, values, strict=True)), rest_cpu_ms, peak())


def _official_request(
    official: torch.nn.Module, content: bytes, task: str, size: str, device: torch.device
) -> _Request:
    way, image_size = OFFICIAL_WAYS[task], NetworkConfig.from_name(task, size).image_size
    photo = read_photo(content)
    release_memory(_HOST)
    peak = start_peak(_HOST)
    steps: list[tuple[str, Callable[[Any], Any]]] = [
        ("prepare", lambda _: way.prepare(photo, image_size)),
        ("forward", lambda images: _finished(official(images.to(device)), device)),
        ("decode", lambda output: way.decode(output, photo.shape[:2])),
    ]
    stages, value = {}, None
    with torch.inference_mode():
        for name, step in steps:
            start = time.perf_counter()
            value = step(value)
            stages[name] = 1000 * (time.perf_counter() - start)
    return _Request(stages, 0.0, peak())


def _finished(output: torch.Tensor, device: torch.device) -> torch.Tensor:
    synchronize(device)
    return output


def _medians(rows: list[dict[str, float]]) -> dict[str, float]:
    return {name: statistics.median(row[name] for row in rows) for name in rows[0]} if rows else {}
