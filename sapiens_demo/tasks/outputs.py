"""What the tasks' results share: checks of their arrays, and resizing of maps to the photo."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import DTypeLike
from torch import Tensor


def check_array(name: str, array: np.ndarray, shape: tuple[int | None, ...], dtype: DTypeLike) -> None:
    """Insist on the shape and type that a result promises.

    Args:
        name: what the array is called, for the message.
        array: the array to check.
        shape: extent per axis; None stands for any.
        dtype: element type.

    Raises:
        TypeError: if it is no array or has another element type.
        ValueError: if it has another shape.
    """
    if not isinstance(array, np.ndarray) or array.dtype != dtype:
        found = getattr(array, "dtype", type(array).__name__)
        raise TypeError(f"{name} must be a {np.dtype(dtype)} array, not {found}.")
    fits = len(array.shape) == len(shape) and all(
        wanted in (None, extent) for extent, wanted in zip(array.shape, shape, strict=True)
    )
    if not fits:
        raise ValueError(f"{name} must have shape {shape}, not {array.shape}.")


def check_mask(mask: np.ndarray | None, size: tuple[int, int]) -> None:
    """Insist that a mask, where there is one, covers the same pixels as its map.

    Args:
        mask: (H, W) bool, or None for the whole map.
        size: (H, W) of the map.

    Raises:
        TypeError: if it is no bool array.
        ValueError: if it has another size.
    """
    if mask is not None:
        check_array("mask", mask, size, np.bool_)


def resize_map(output: Tensor, photo_size: tuple[int, int]) -> np.ndarray:
    """Stretch a network's output over the photo, bilinearly and in one step.

    Done by OpenCV on the CPU: several times faster there than torch, and only the small output crosses from
    the device.

    Args:
        output: (1, C, h, w) on any device, C being 1 to 4.
        photo_size: (H, W) in pixels.

    Returns:
        (H, W, C) float32; pixel centres correspond (align_corners=False), no anti-aliasing.
    """
    small = np.ascontiguousarray(output[0].float().permute(1, 2, 0).cpu().numpy())
    height, width = photo_size
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR).reshape(height, width, -1)
