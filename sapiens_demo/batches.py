"""Many pictures through one network: a few at a time, in numbers that it was compiled for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

import torch
from torch import Tensor

from sapiens_demo.memory import MemoryExhausted
from sapiens_demo.models import Answer, ModelCache, ModelInfo, ModelKey
from sapiens_demo.progress import Progress
from sapiens_demo.stages import Stages

T = TypeVar("T")

BATCH_SIZES = (8, 6, 4, 2, 1)  # pictures a forward; 6, so that 12 people and the whole photo take two
_FULL_ENOUGH = 0.75  # a batch is filled up with empty pictures only where this share of it is real


@dataclass(frozen=True)
class Work(Generic[T]):
    """Say what is to be done with pictures, in their order.

    Args:
        count: how many items there are, at least 1.
        prepare: makes the pictures of a slice of items: (B * views, 3, H, W) float32, normalised, an item's
            views one after the other. Called in the calling thread, only when their turn comes.
        decode: makes a value of their raw output, (B * views, C, h, w) float32 on the device, in the device's
            thread; it must not hold memory of the device.
        take: gets the slice and its value, in the calling thread.
        views: pictures per item, 1 or 2.
    """

    count: int
    prepare: Callable[[slice], Tensor]
    decode: Callable[[Tensor, slice], T]
    take: Callable[[slice, T], None]
    views: int = 1


def run_in_batches(
    models: ModelCache, key: ModelKey, work: Work[T], stages: Stages, progress: Progress
) -> ModelInfo:
    """Run a model on many pictures, at most BATCH_SIZES[0] a forward, fewer where memory is short.

    Args:
        models: where networks are kept.
        key: the model.
        work: what is to be done.
        stages: gets what "prepare", "load", "forward" and "decode" take.
        progress: told, in the calling thread, what is being done.

    Returns:
        What ran.

    Raises:
        CheckpointError: the weights cannot be had or read.
        MemoryExhausted: the model does not fit, even with one item at a time.
    """
    most, done = _affordable_items(models, key, work, stages, progress), 0
    while done < work.count:
        size = batch_size(work.count - done, most)
        part = slice(done, min(done + size, work.count))
        with stages.timed("prepare"):
            images = _filled_up(work.prepare(part), size * work.views)
        try:
            answer = _run_batch(models, key, work, part, images, _with_share(progress, done / work.count))
        except MemoryExhausted:
            if size == 1:
                raise
            most = size // 2
            continue
        stages.add(load=answer.load_ms, forward=answer.forward_ms, decode=answer.decode_ms)
        work.take(part, answer.value)
        done = part.stop
    return answer.info


def batch_size(count: int, most: int = BATCH_SIZES[0]) -> int:
    """Choose how many items go through the network next.

    Args:
        count: of items that are left, at least 1.
        most: items in a batch, one of BATCH_SIZES.

    Returns:
        One of BATCH_SIZES, up to a third larger than what is left: one forward more costs more than that.
    """
    sizes = [size for size in BATCH_SIZES if size <= most]
    full_enough = [size for size in sizes if size >= count >= _FULL_ENOUGH * size]
    return min(full_enough, default=max(size for size in sizes if size <= count))


def _affordable_items(
    models: ModelCache, key: ModelKey, work: Work[T], stages: Stages, progress: Progress
) -> int:
    if work.count == 1:
        return 1
    stages.add(load=models.load(key, progress))
    return max(1, models.images_at_once(key, BATCH_SIZES[0]) // work.views)


def _filled_up(images: Tensor, count: int) -> Tensor:
    missing = count - len(images)
    return torch.cat([images, images.new_zeros(missing, *images.shape[1:])]) if missing else images


def _run_batch(
    models: ModelCache, key: ModelKey, work: Work[T], part: slice, images: Tensor, progress: Progress
) -> Answer[T]:
    real = (part.stop - part.start) * work.views
    return models.run(key, images, lambda output: work.decode(output[:real], part), progress)


def _with_share(progress: Progress, share: float) -> Progress:
    """Tell how much of all batches is done, where the work of one of them says nothing of itself."""
    return lambda sentence, own: progress(sentence, share if own is None and share else own)
