"""Normals: the photo becomes the direction each pixel's surface faces."""

from __future__ import annotations

from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import cv2
import numpy as np
from torch import Tensor

from sapiens_demo.tasks.inputs import resize_whole
from sapiens_demo.tasks.outputs import check_array, check_mask, resize_map

# Normalised at a time. Larger strips get their memory from the system and give it back, which takes longer.
_STRIP_PIXELS = 1 << 15
_THREADS = 2
_SHORTEST = 1e-6  # a vector below this has no direction


@dataclass(frozen=True, eq=False)
class NormalResult:
    """Hold which way every surface faces.

    Args:
        normals: (H, W, 3) float32 at the photo's size, unit vectors: x right, y up, z to the viewer.
        mask: (H, W) bool, where the person is; None takes the whole map.
    """

    normals: np.ndarray
    mask: np.ndarray | None = None

    def __post_init__(self) -> None:
        check_array("normals", self.normals, (None, None, 3), np.float32)
        check_mask(self.mask, self.normals.shape[:2])


def prepare(photo: np.ndarray, image_size: tuple[int, int]) -> Tensor:
    """Bring the photo into the network's form.

    Args:
        photo: (H, W, 3) uint8 RGB.
        image_size: (H, W) of the network's input in pixels.

    Returns:
        (1, 3, H, W) float32.
    """
    return resize_whole(photo, image_size)


def decode(output: Tensor, photo_size: tuple[int, int], mask: np.ndarray | None = None) -> NormalResult:
    """Stretch the network's vectors over the photo and bring them to length 1.

    Args:
        output: (1, 3, h, w) on any device.
        photo_size: (H, W) of the photo in pixels.
        mask: (H, W) bool, where the person is; None takes the whole map.

    Returns:
        Unit normals at the photo's size; where the network says nothing, they face the viewer.
    """
    return NormalResult(normalise_vectors(resize_map(output, photo_size)), mask)


def normalise_vectors(vectors: np.ndarray) -> np.ndarray:
    """Bring vectors to length 1.

    Args:
        vectors: (H, W, 3) float32, changed in place.

    Returns:
        The same array; vectors without direction now face the viewer.
    """
    step = max(1, _STRIP_PIXELS // max(1, vectors.shape[1]))
    strips = [vectors[top : top + step] for top in range(0, len(vectors), step)]
    with ThreadPoolExecutor(_THREADS) as pool:  # OpenCV does each of its steps on one thread
        deque(pool.map(_normalise, strips), maxlen=0)
    return vectors


def _normalise(vectors: np.ndarray) -> None:
    """Bring (rows, W, 3) vectors to length 1 in place; those without direction then face the viewer."""
    squares = cv2.transform(cv2.multiply(vectors, vectors), np.ones((1, 3), np.float32))  # [rows, W]
    lost = squares < _SHORTEST**2
    if lost.any():
        vectors[lost], squares[lost] = (0, 0, 1), 1
    inverse = 1 / cv2.sqrt(squares)
    cv2.multiply(vectors, cv2.merge([inverse] * 3), vectors)
