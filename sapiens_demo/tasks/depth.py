"""Depth: the photo becomes a relative distance per pixel, and normals made from it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from torch import Tensor

from sapiens_demo.tasks.inputs import resize_whole
from sapiens_demo.tasks.outputs import check_array, check_mask, resize_map

_FLAT = 1e-6  # a relative range below this is no relief but rounding
_RELIEF = 0.9  # a person's depth / the square root of the person's area, both in pixels, on the average
_DETAIL = 1 / 150  # finest slope detail / the square root of the person's area: a few pixels of the output
_RIM = 2  # details deep
_RIM_WEIGHT = 1e-6  # so little that its slopes show only where nothing else is near, as in a finger
_LEAST_COVER = 1e-3  # share of a pixel below which it counts as empty
_STRIP_ROWS = 64


@dataclass(frozen=True, eq=False)
class DepthResult:
    """Hold how far everything is.

    Args:
        depth: (H, W) float32 at the photo's size: relative, larger is farther, no unit. Inside a person it
            runs from about 0 to about 1; outside it means nothing.
        mask: (H, W) bool, where the person is; None takes the whole map.
    """

    depth: np.ndarray
    mask: np.ndarray | None = None

    def __post_init__(self) -> None:
        check_array("depth", self.depth, (None, None), np.float32)
        check_mask(self.mask, self.depth.shape)


def prepare(photo: np.ndarray, image_size: tuple[int, int]) -> Tensor:
    """Bring the photo into the network's form.

    Args:
        photo: (H, W, 3) uint8 RGB.
        image_size: (H, W) of the network's input in pixels.

    Returns:
        (1, 3, H, W) float32.
    """
    return resize_whole(photo, image_size)


def decode(output: Tensor, photo_size: tuple[int, int], mask: np.ndarray | None = None) -> DepthResult:
    """Stretch the network's depth over the photo.

    Args:
        output: (1, 1, h, w) on any device.
        photo_size: (H, W) of the photo in pixels.
        mask: (H, W) bool, where the person is; None takes the whole map.

    Returns:
        Depth at the photo's size, as the network gave it.
    """
    return DepthResult(resize_map(output, photo_size)[..., 0], mask)


def depth_range(result: DepthResult, percentiles: tuple[float, float] = (1, 99)) -> tuple[float, float]:
    """Find between which depths the person lies, leaving out outliers.

    Args:
        result: depth and mask; an empty mask counts as none.
        percentiles: shares in percent of the person's pixels; (0, 100) gives the extremes.

    Returns:
        near and far, far being larger. Around a flat map the range is 1 wide with its depth in the middle.
    """
    everywhere = result.mask is None or not result.mask.any()
    depths = result.depth.ravel() if everywhere else result.depth[result.mask]
    near, far = (float(depth) for depth in np.percentile(depths, percentiles))
    if far - near <= _FLAT * max(1.0, abs(near), abs(far)):
        middle = (near + far) / 2
        return middle - 0.5, middle + 0.5
    return near, far


def normals_from_depth(result: DepthResult) -> np.ndarray:
    """Derive which way the surface faces from how its depth changes.

    Relative depth has no scale, so a person's depth (its range) is taken for a fixed share of the person's
    size in pixels; slopes then look alike whether somebody is near or far, in a large photo or a small one.
    Only differences between two pixels of the person count, and the outermost ones, where depth mixes with
    the background's, count little: they take their slope from further in.

    Args:
        result: depth and mask; an empty mask counts as none.

    Returns:
        (H, W, 3) float32 unit normals: x right, y up, z to the viewer; outside the mask they face the viewer.
    """
    mask = result.mask if result.mask is not None and result.mask.any() else np.ones(result.depth.shape, bool)
    normals = np.zeros((*mask.shape, 3), np.float32)
    normals[..., 2] = 1
    part = _bounding_slices(mask)
    inside = mask[part].astype(np.float32)
    near, far = depth_range(result)
    slopes = _person_slopes(result.depth[part], inside, far - near)
    for top in range(0, len(inside), _STRIP_ROWS):
        strip = slice(top, top + _STRIP_ROWS)
        right, down = cv2.split(slopes[strip] * inside[strip, :, None])
        facing = 1 / cv2.sqrt(1 + right * right + down * down)
        normals[part][strip] = cv2.merge([right * facing, -down * facing, facing])
    return normals


def _bounding_slices(mask: np.ndarray) -> tuple[slice, slice]:
    """Return rows and columns that hold the mask and, where the map goes on, a pixel of its surroundings."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return slice(max(rows[0] - 1, 0), rows[-1] + 2), slice(max(columns[0] - 1, 0), columns[-1] + 2)


def _person_slopes(depth: np.ndarray, inside: np.ndarray, extent: float) -> np.ndarray:
    """Return (H, W, 2) float32 slopes to the right and down, pixels of relief per pixel.

    Worked out where one pixel is the finest detail that is kept, so a large photo costs little more than a
    small one.

    Args:
        depth: (H, W) float32.
        inside: (H, W) float32, 1 where the person is, 0 elsewhere.
        extent: range of the person's depth.
    """
    size = math.sqrt(inside.sum())
    shrink = max(1.0, size * _DETAIL)
    height, width = (max(1, round(side / shrink)) for side in depth.shape)
    cover = cv2.resize(inside, (width, height), interpolation=cv2.INTER_AREA)
    relief = cv2.resize(np.where(inside > 0, depth, 0), (width, height), interpolation=cv2.INTER_AREA)
    relief *= np.float32(_RELIEF * size / shrink / extent) / np.maximum(cover, _LEAST_COVER)
    some = cover > _LEAST_COVER
    slopes = np.dstack([_masked_slope(relief, some, axis) for axis in (1, 0)])
    smooth = _smooth(slopes, some, cover > 1 - _LEAST_COVER)
    return cv2.resize(smooth, depth.shape[::-1], interpolation=cv2.INTER_LINEAR)


def _masked_slope(relief: np.ndarray, inside: np.ndarray, axis: int) -> np.ndarray:
    """Return the mean of the differences to the neighbours on both sides, as far as they are inside."""
    before = (slice(None),) * axis + (slice(None, -1),)
    after = (slice(None),) * axis + (slice(1, None),)
    both = inside[before] & inside[after]
    steps = np.diff(relief, axis=axis) * both
    total, count = np.zeros_like(relief), np.zeros_like(relief)
    for side in (before, after):
        total[side] += steps
        count[side] += both
    return total / np.maximum(count, 1)


def _smooth(slopes: np.ndarray, some: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """Average (h, w, 2) slopes with a small Gaussian, trusting the inside of the rim most.

    Args:
        slopes: (h, w, 2) float32.
        some: (h, w) bool, pixels that the person touches.
        whole: (h, w) bool, pixels that the person fills.

    Returns:
        (h, w, 2) float32, carried on a little beyond the rim.
    """
    square = np.ones((3, 3), np.uint8)
    core = cv2.erode(whole.astype(np.uint8), square, iterations=_RIM, borderValue=1)
    weight = np.where(core, np.float32(1), np.float32(_RIM_WEIGHT)) * some
    weighted = np.dstack([slopes * weight[..., None], weight])
    blurred = cv2.GaussianBlur(weighted, (0, 0), 1.0, borderType=cv2.BORDER_CONSTANT)
    return blurred[..., :2] / np.maximum(blurred[..., 2:], np.float32(1e-12))
