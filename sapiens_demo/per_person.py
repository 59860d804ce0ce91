"""Runs of the dense tasks person by person: every person's crop through the network, and all into one map."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
from torch import Tensor

from sapiens_demo.batches import Work, run_in_batches
from sapiens_demo.models import ModelCache, ModelInfo, ModelKey
from sapiens_demo.network import NetworkConfig
from sapiens_demo.progress import Progress, silent
from sapiens_demo.stages import Stages
from sapiens_demo.tasks.crops import (
    Frame,
    PartsCanvas,
    PartsCrop,
    cut,
    decode_parts,
    far_to_near,
    person_frames,
    whole_frame,
)
from sapiens_demo.tasks.segmentation import SegmentationResult

T = TypeVar("T")


@dataclass(frozen=True)
class PerPerson:
    """Do a dense task person by person.

    Args:
        models: where networks are kept.
        key: a model of the task.
        photo: (H, W, 3) uint8 RGB.
        boxes: (N, 4) x1, y1, x2, y2 in photo pixels, inside the photo, N at least 1.
        progress: told, in the calling thread, what is being done.
        stages: gets what "prepare", "load", "forward", "decode" and "paste" take.
    """

    models: ModelCache
    key: ModelKey
    photo: np.ndarray
    boxes: np.ndarray
    progress: Progress = silent
    stages: Stages = field(default_factory=Stages)

    def segment(self) -> tuple[SegmentationResult, ModelInfo]:
        """Label the body parts of every person, each seen in a crop.

        Returns:
            Labels and owners at the photo's size, background away from the boxes; and what ran.

        Raises:
            DemoError: the model cannot be had, or doesn't fit into the memory.
        """
        frames = person_frames(self.boxes, self._photo_size)
        order = far_to_near(frames, self._photo_size)
        canvas = PartsCanvas(self._photo_size)

        def decode(logits: Tensor, part: slice) -> list[PartsCrop]:
            return [decode_parts(own[None], frames[i]) for own, i in zip(logits, order[part], strict=True)]

        def lay(part: slice, crops: list[PartsCrop]) -> None:
            with self.stages.timed("paste"):
                for crop, index in zip(crops, order[part], strict=True):
                    canvas.lay(crop, frames[index], index + 1)

        work = Work(len(order), lambda part: self._cut([frames[i] for i in order[part]]), decode, lay)
        info = run_in_batches(self.models, self.key, work, self.stages, self.progress)
        return canvas.result(), info

    def merge(self, merge: Callable[..., T], owners: np.ndarray | None) -> tuple[T, ModelInfo]:
        """Run depth or normals on the whole photo and on every person in a crop, and lay all into one map.

        Args:
            merge: crops.merge_depth or crops.merge_normals.
            owners: (H, W) uint8, whose each pixel is, as in SegmentationResult; None where nobody knows.

        Returns:
            Its result at the photo's size, with the owners' pixels as mask; and what ran.

        Raises:
            DemoError: the model cannot be had, or doesn't fit into the memory.
        """
        (whole, *crops), frames, info = self._maps()
        with self.stages.timed("paste"):
            return merge(whole, crops, frames, self._photo_size, owners), info

    def _maps(self) -> tuple[list[Tensor], list[Frame], ModelInfo]:
        """Return small maps, first of the whole photo, then of the people; their frames; and what ran."""
        frames = person_frames(self.boxes, self._photo_size)
        pictures = [whole_frame(self._photo_size), *frames]
        maps: list[Tensor] = []
        work = Work(
            len(pictures),
            prepare=lambda part: self._cut(pictures[part]),
            decode=lambda output, part: list(output.cpu()),
            take=lambda part, some: maps.extend(some),
        )
        info = run_in_batches(self.models, self.key, work, self.stages, self.progress)
        return maps, frames, info

    @property
    def _photo_size(self) -> tuple[int, int]:
        return self.photo.shape[0], self.photo.shape[1]

    def _cut(self, frames: list[Frame]) -> Tensor:
        return cut(self.photo, frames, NetworkConfig.from_name(self.key.task, self.key.size).image_size)
