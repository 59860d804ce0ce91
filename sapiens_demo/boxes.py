"""Boxes of people as data: checked, compared, thinned out. Needs numpy alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sapiens_demo.errors import DemoError

MAX_PEOPLE = 32
FINDERS = ("detector", "mini", "given", "nobody")

_SMALLEST_GIVEN = 1.0  # pixels; a narrower box shows nothing
_NUMBERS = "A box is four numbers: left, top, right and bottom in pixels of the photo."


class BoxError(DemoError):
    """Say why boxes that were given cannot be used."""


@dataclass(frozen=True, eq=False)
class People:
    """Hold where people are in a photo.

    Args:
        boxes: (N, 4) float32 x1, y1, x2, y2 in photo pixels, x1 < x2 and y1 < y2, inside the photo; those
            found by falling score, those given in the order they were given.
        scores: (N,) float32, 0 to 1; 1 for boxes that were given.
        finder: one of FINDERS: who says so; "nobody" where N is 0.
        notes: sentences for the person who asked.
    """

    boxes: np.ndarray
    scores: np.ndarray
    finder: str
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        count = len(self.boxes)
        if self.boxes.shape != (count, 4) or self.boxes.dtype != np.float32:
            raise ValueError(f"boxes must be (N, 4) float32, not {self.boxes.shape} {self.boxes.dtype}.")
        if self.scores.shape != (count,) or self.scores.dtype != np.float32:
            raise ValueError(
                f"scores must be ({count},) float32, not {self.scores.shape} {self.scores.dtype}."
            )
        if self.finder not in FINDERS or (self.finder == "nobody") != (count == 0):
            raise ValueError(f"finder {self.finder!r} doesn't fit {count} boxes.")

    def __len__(self) -> int:
        return len(self.boxes)

    @classmethod
    def nobody(cls, notes: tuple[str, ...] = ()) -> People:
        """Return no people, so that the whole photo is taken.

        Args:
            notes: sentences for the person who asked.

        Returns:
            People with N = 0.
        """
        return cls(np.empty((0, 4), np.float32), np.empty(0, np.float32), "nobody", notes)


def check_boxes(boxes: np.ndarray | Sequence[Sequence[float]], photo_size: tuple[int, int]) -> np.ndarray:
    """Bring boxes that a person or a program gave into order, or say why they cannot be used.

    Corners that are upside down are swapped; what lies outside the photo is cut off.

    Args:
        boxes: (N, 4) numbers x1, y1, x2, y2 in photo pixels, N from 0 to MAX_PEOPLE.
        photo_size: (H, W) of the photo in pixels.

    Returns:
        (N, 4) float32, x1 < x2 and y1 < y2, inside the photo, in the same order.

    Raises:
        BoxError: they are no such numbers, too many, or one has nothing of the photo in it.
    """
    try:
        corners = np.asarray(boxes, np.float64)
    except (TypeError, ValueError) as error:
        raise BoxError(_NUMBERS) from error
    if corners.size == 0 and len(corners) == 0:
        return np.empty((0, 4), np.float32)
    if corners.ndim != 2 or corners.shape[1] != 4 or not np.isfinite(corners).all():
        raise BoxError(_NUMBERS)
    if len(corners) > MAX_PEOPLE:
        raise BoxError(f"There are {len(corners)} boxes; take at most {MAX_PEOPLE} at a time.")
    height, width = photo_size
    limits = np.array([width, height, width, height], np.float64)
    ordered = np.concatenate(
        [np.minimum(corners[:, :2], corners[:, 2:]), np.maximum(corners[:, :2], corners[:, 2:])], axis=1
    )
    inside = ordered.clip(0, limits).astype(np.float32)
    empty = ((inside[:, 2:] - inside[:, :2]) < _SMALLEST_GIVEN).any(axis=1)
    if empty.any():
        number = int(empty.argmax()) + 1
        raise BoxError(
            f"Box {number} covers nothing of the photo, which is {width} x {height} pixels. Draw it again."
        )
    return inside


def suppress(boxes: np.ndarray, scores: np.ndarray, iou: float) -> np.ndarray:
    """Drop boxes that lie too much on a better one, greedily.

    Args:
        boxes: (N, 4) x1, y1, x2, y2.
        scores: (N,).
        iou: intersection over union from which on the worse of two boxes goes, 0 to 1.

    Returns:
        Kept indices, by falling score; of equal scores the earlier comes first.
    """
    order = np.argsort(-scores, kind="stable")
    kept: list[int] = []
    while len(order):
        best, order = order[0], order[1:]
        kept.append(int(best))
        order = order[box_iou(boxes[best : best + 1], boxes[order])[0] < iou]
    return np.array(kept, np.int64)


def box_iou(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Measure how far boxes lie on each other: intersection over union.

    Args:
        first: (N, 4) x1, y1, x2, y2.
        second: (M, 4).

    Returns:
        (N, M) float64, 0 to 1.
    """
    first, second = np.asarray(first, np.float64), np.asarray(second, np.float64)
    low = np.maximum(first[:, None, :2], second[None, :, :2])
    high = np.minimum(first[:, None, 2:], second[None, :, 2:])
    common = (high - low).clip(0).prod(-1)
    areas = [(boxes[:, 2:] - boxes[:, :2]).prod(-1) for boxes in (first, second)]
    union = areas[0][:, None] + areas[1][None] - common
    return common / np.maximum(union, 1e-12)


def given_people(boxes: np.ndarray | Sequence[Sequence[float]], photo_size: tuple[int, int]) -> People:
    """Take the boxes of a person or a program.

    Args:
        boxes: (N, 4) as check_boxes takes them.
        photo_size: (H, W) of the photo in pixels.

    Returns:
        People in the same order, with score 1; no boxes mean the whole photo.

    Raises:
        BoxError: as check_boxes.
    """
    checked = check_boxes(boxes, photo_size)
    if not len(checked):
        return People.nobody()
    return People(checked, np.ones(len(checked), np.float32), "given")
