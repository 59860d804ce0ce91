"""People found by Mini's body parts, where there is no detector.

Mini looks here at 256 x 192 pixels, which finds as many people as its own 384 x 288 in half the time. So it
looks at the whole photo, at overlapping parts of a photo that is much wider or taller than that, and more
closely at each person it has found, until it finds nobody new. What it says is averaged; the closer a look,
the more it counts.
"""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torch import Tensor

from sapiens_demo.batches import Work, run_in_batches
from sapiens_demo.boxes import box_iou
from sapiens_demo.models import ModelCache, ModelKey
from sapiens_demo.progress import Progress, silent
from sapiens_demo.regions import Regions, find_regions
from sapiens_demo.resizing import shrink
from sapiens_demo.stages import Stages
from sapiens_demo.tasks import segmentation
from sapiens_demo.vocabulary import PARTS

Window = tuple[int, int, int, int]  # x1, y1, x2, y2 in pixels of the map of votes

_KEY = ModelKey("segmentation", "mini")
_INPUT_SIZE = (256, 192)  # (H, W) of a look
_LONGER_SIDE = 640  # photos are reduced to this; most windows of it have more pixels than Mini sees
_MAP_SIDE = 480  # votes are counted on a map of this: most windows of it have more pixels than Mini's output
_ASPECT = 3 / 4  # width / height of the network's input
_UPRIGHT = 1.2  # a photo whose shape differs from _ASPECT by less is not taken apart
_STEP = 0.5  # of a part's length: from one part to the next
_MOST_PARTS = 15  # of the widest panorama
_TAPER = 0.25  # of a window's length, from its edge: who is cut off there is seen badly
_LEAST_WEIGHT = 0.1  # at a window's edge
_MARGIN = 0.15  # of a person's height, on each side of their window
_BODY = (3.0, 7.5)  # width and height of a standing person, in heads
_ROUNDS = 4  # of closer looks, at most
_CLOSER_LOOKS = 32  # in all, at most
_CLOSER_WEIGHT = 12.0  # of a look at a person, against one at a part of the photo of the same size
# Of 102 rendered people that are found, none scores less; so do 14 of the 24 that are not there.
_LEAST_SCORE = 0.71
_SAME_WINDOW = 0.8  # IoU of windows from which on a second look says nothing new


class MiniFinder:
    """Find people with Mini's segmentation.

    Args:
        models: where the network is kept.
    """

    def __init__(self, models: ModelCache) -> None:
        self._models = models

    def find(self, photo: np.ndarray, progress: Progress = silent) -> tuple[np.ndarray, np.ndarray]:
        """Find everybody in a photo.

        Args:
            photo: (H, W, 3) uint8 RGB.
            progress: told, in the calling thread, what is being done.

        Returns:
            (N, 4) float32 x1, y1, x2, y2 in photo pixels, inside the photo, and (N,) float32 scores, 0 to 1,
            falling.

        Raises:
            DemoError: Mini cannot be had.
        """
        height, width = photo.shape[:2]
        reduced = shrink(photo, _fitting((height, width), _LONGER_SIDE))
        size = _fitting((height, width), _MAP_SIDE)
        votes = Votes(size)
        windows = [(0, 0, size[1], size[0]), *tiles(size)]
        most = len(windows) + _CLOSER_LOOKS
        self._look(reduced, windows, votes, 1.0, progress)
        found = votes.regions()
        for _ in range(_ROUNDS):
            closer = new_windows(person_windows(found, size), windows)[: most - len(windows)]
            if not closer:
                break
            self._look(reduced, closer, votes, _CLOSER_WEIGHT, progress)
            windows += closer
            found = votes.regions()
        scale = np.array([width / size[1], height / size[0]] * 2, np.float32)
        limits = np.array([width, height] * 2, np.float32)
        sure = found.scores >= _LEAST_SCORE
        return (found.boxes[sure] * scale).clip(0, limits), found.scores[sure]

    def _look(
        self, photo: np.ndarray, windows: list[Window], votes: Votes, weight: float, progress: Progress
    ) -> None:
        def prepare(part: slice) -> Tensor:
            crops = (_cut(photo, window, votes.size) for window in windows[part])
            return torch.cat([segmentation.prepare(crop, _INPUT_SIZE) for crop in crops])

        def take(part: slice, answers: np.ndarray) -> None:
            for window, probabilities in zip(windows[part], answers, strict=True):
                votes.add(window, probabilities, weight / share(window, votes.size))

        work = Work(len(windows), prepare, lambda logits, _: _probabilities(logits), take)
        run_in_batches(self._models, _KEY, work, Stages(), progress)


class Votes:
    """Average what several looks say of each pixel.

    Args:
        size: (H, W) of the map of votes, which stands for the whole photo.
    """

    def __init__(self, size: tuple[int, int]) -> None:
        self.size = size
        self._sums = np.zeros((*size, len(PARTS)), np.float32)
        self._weights = np.zeros(size, np.float32)

    def add(self, window: Window, probabilities: np.ndarray, weight: float = 1.0) -> None:
        """Count a look.

        Args:
            window: what was looked at.
            probabilities: (h, w, 28) float32 of each part, adding up to 1, stretched over the window.
            weight: of this look against others.
        """
        x1, y1, x2, y2 = window
        stretched = cv2.resize(probabilities, (x2 - x1, y2 - y1), interpolation=cv2.INTER_LINEAR)
        weights = weight * _taper(y1, y2, self.size[0])[:, None] * _taper(x1, x2, self.size[1])[None]
        stretched *= weights[..., None]
        self._sums[y1:y2, x1:x2] += stretched
        self._weights[y1:y2, x1:x2] += weights

    def regions(self) -> Regions:
        """Find the people in what was said on average.

        Returns:
            People in pixels of the map.
        """
        certainty = (self._weights - self._sums[..., 0]) / np.maximum(self._weights, 1e-6)
        sure = certainty >= 0.5
        labels = np.zeros(self.size, np.uint8)
        labels[sure] = self._sums[sure, 1:].argmax(-1) + 1
        return find_regions(labels, certainty)


def share(window: Window, size: tuple[int, int]) -> float:
    """Return which share of a map of some size (H, W) a window covers, 0 to 1."""
    x1, y1, x2, y2 = window
    return (x2 - x1) * (y2 - y1) / (size[0] * size[1])


def new_windows(wanted: list[Window], seen: list[Window]) -> list[Window]:
    """Choose windows that show something else than earlier ones.

    Args:
        wanted: to choose from.
        seen: what was looked at already.

    Returns:
        Those of `wanted` that are not about the same as one of `seen`.
    """
    if not wanted:
        return []
    overlaps = box_iou(np.array(wanted, np.float32), np.array(seen, np.float32))
    return [window for window, most in zip(wanted, overlaps.max(1), strict=True) if most < _SAME_WINDOW]


def tiles(size: tuple[int, int]) -> list[Window]:
    """Cover a photo with overlapping parts of the network's shape, along its longer side.

    Args:
        size: (H, W) of the map of votes.

    Returns:
        Windows; none where the photo has about that shape itself. Those of the longest photos leave gaps.
    """
    height, width = size
    if width > _UPRIGHT * _ASPECT * height:
        length = max(2, round(_ASPECT * height))
        return [(x, 0, x + length, height) for x in _starts(width, length)]
    if height * _ASPECT > _UPRIGHT * width:
        length = max(2, round(width / _ASPECT))
        return [(0, y, width, y + length) for y in _starts(height, length)]
    return []


def person_windows(people: Regions, size: tuple[int, int]) -> list[Window]:
    """Frame people in the network's shape, with room for what the first look may have missed.

    Of somebody whose head is seen there is room for a whole body below it.

    Args:
        people: in pixels of the map of votes.
        size: (H, W) of that map.

    Returns:
        A window inside the map for each.
    """
    windows = []
    for (x1, y1, x2, y2), head in zip(people.boxes.tolist(), people.heads.tolist(), strict=True):
        middle = (x1 + x2) / 2
        across = max(x2 - x1, _BODY[0] * head) / 2
        windows.append(_framed(middle - across, y1, middle + across, max(y2, y1 + _BODY[1] * head), size))
    return windows


def _framed(x1: float, y1: float, x2: float, y2: float, size: tuple[int, int]) -> Window:
    """Pad a box, widen it to the network's shape and shift it into the photo where it fits."""
    photo_height, photo_width = size
    x1, y1, x2, y2 = max(x1, 0), max(y1, 0), min(x2, photo_width), min(y2, photo_height)
    height = max(y2 - y1, (x2 - x1) / _ASPECT) * (1 + 2 * _MARGIN)
    left, right = _placed((x1 + x2) / 2, height * _ASPECT, photo_width)
    top, bottom = _placed((y1 + y2) / 2, height, photo_height)
    return left, top, right, bottom


def _placed(middle: float, length: float, limit: int) -> tuple[int, int]:
    length = min(max(round(length), 2), limit)
    start = min(max(round(middle - length / 2), 0), limit - length)
    return start, start + length


def _starts(total: int, length: int) -> list[int]:
    count = min(int(np.ceil((total - length) / (_STEP * length))) + 1, _MOST_PARTS)
    return [round(start) for start in np.linspace(0, total - length, count)]


def _taper(start: int, end: int, total: int) -> np.ndarray:
    """Weigh the lines of a window: less towards an edge that cuts through the photo."""
    lines = np.arange(end - start, dtype=np.float32) + 0.5
    ramp = _TAPER * (end - start)
    weights = np.ones(end - start, np.float32)
    if start > 0:
        weights = np.minimum(weights, lines / ramp)
    if end < total:
        weights = np.minimum(weights, lines[::-1] / ramp)
    return np.maximum(weights, _LEAST_WEIGHT)


def _probabilities(logits: Tensor) -> np.ndarray:
    """Return (B, h, w, 28) float32."""
    return logits.float().softmax(1).permute(0, 2, 3, 1).contiguous().cpu().numpy()


def _cut(photo: np.ndarray, window: Window, size: tuple[int, int]) -> np.ndarray:
    """Return what a window of a map of some size shows, of a photo that is as large or larger."""
    (height, width), (x1, y1, x2, y2) = photo.shape[:2], window
    rows = slice(y1 * height // size[0], y2 * height // size[0])
    return photo[rows, x1 * width // size[1] : x2 * width // size[1]]


def _fitting(size: tuple[int, int], longer_side: int) -> tuple[int, int]:
    """Shrink (H, W), if need be, so that the longer side is no longer than that."""
    scale = min(1.0, longer_side / max(size))
    return max(2, round(size[0] * scale)), max(2, round(size[1] * scale))
