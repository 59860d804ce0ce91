"""Pose: a crop around each person becomes 308 keypoints with scores."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from sapiens_demo.tasks.inputs import normalise
from sapiens_demo.tasks.outputs import check_array
from sapiens_demo.vocabulary import KEYPOINTS

BOX_PADDING = 1.25  # crop side / box side, as in training

_BLUR_RADIUS = 5
_BLUR_SIGMA = 2.0
_CACHED_MAPS = 4
_LOG_FLOOR, _LOG_CEILING = 1e-3, 50.0
_LARGEST_OFFSET = 8.0  # heatmap pixels; a longer step says that the parabola does not fit


@dataclass(frozen=True, eq=False)
class Person:
    """Hold one person's keypoints.

    Args:
        box: (4,) float32, x1, y1, x2, y2 in photo pixels: what the crop was made around.
        keypoints: (308, 2) float32, x and y in photo pixels, finite; may lie outside the photo.
        scores: (308,) float32, heatmap maxima: not probabilities, mostly 0 to 1; 0 where nothing was found.
    """

    box: np.ndarray
    keypoints: np.ndarray
    scores: np.ndarray

    def __post_init__(self) -> None:
        check_array("box", self.box, (4,), np.float32)
        check_array("keypoints", self.keypoints, (len(KEYPOINTS), 2), np.float32)
        check_array("scores", self.scores, (len(KEYPOINTS),), np.float32)
        if not (np.isfinite(self.keypoints).all() and np.isfinite(self.scores).all()):
            raise ValueError("keypoints and scores must be finite.")


@dataclass(frozen=True, eq=False)
class PoseResult:
    """Hold everybody found in a photo.

    Args:
        image_size: (H, W) of the photo in pixels.
        people: one entry per box.
    """

    image_size: tuple[int, int]
    people: tuple[Person, ...]


@dataclass(frozen=True, eq=False)
class PoseInput:
    """Hold the crops and where they come from.

    Args:
        images: (B, 3, H, W) float32, normalised.
        centers: (B, 2) float32, x and y of the crops' centres in photo pixels.
        scales: (B, 2) float32, width and height of the crops in photo pixels.
        boxes: (B, 4) float32, x1, y1, x2, y2 in photo pixels.
    """

    images: Tensor
    centers: np.ndarray
    scales: np.ndarray
    boxes: np.ndarray

    def __post_init__(self) -> None:
        count = len(self.images)
        if self.images.ndim != 4 or self.images.dtype != torch.float32:
            raise ValueError("images must be (B, 3, H, W) float32.")
        check_array("centers", self.centers, (count, 2), np.float32)
        check_array("scales", self.scales, (count, 2), np.float32)
        check_array("boxes", self.boxes, (count, 4), np.float32)


def whole_photo_box(photo: np.ndarray) -> np.ndarray:
    """Return the box that takes in the whole photo.

    Args:
        photo: (H, W, 3) uint8 RGB.

    Returns:
        (1, 4) float32: 0, 0, W, H.
    """
    height, width = photo.shape[:2]
    return np.array([[0, 0, width, height]], np.float32)


def prepare(photo: np.ndarray, image_size: tuple[int, int], boxes: np.ndarray) -> PoseInput:
    """Cut out every person the way the pose networks were trained.

    The box grows by a quarter, then to the network's aspect ratio; what lies outside the photo is black.
    UDP alignment: the crop's corner pixels, not its edges, map to the input's corner pixels
    (Huang et al. 2020, "The Devil Is in the Details").

    Args:
        photo: (H, W, 3) uint8 RGB.
        image_size: (H, W) of the network's input in pixels.
        boxes: (B, 4) x1, y1, x2, y2 in photo pixels.

    Returns:
        The crops, ready for the network.
    """
    height, width = image_size
    boxes = np.asarray(boxes, np.float32).reshape(-1, 4)
    centers, scales = _crop_frames(boxes, width / height)
    crops = np.zeros((len(boxes), height, width, 3), np.uint8)
    for crop, center, scale in zip(crops, centers, scales, strict=True):
        matrix = crop_matrix(center, scale, image_size)
        cv2.warpAffine(photo, matrix, (width, height), dst=crop, flags=cv2.INTER_LINEAR)
    return PoseInput(normalise(crops), centers, scales, boxes)


def crop_matrix(center: np.ndarray, scale: np.ndarray, image_size: tuple[int, int]) -> np.ndarray:
    """Map photo pixels to pixels of the crop.

    Args:
        center: (2,) x, y of the crop's centre in photo pixels.
        scale: (2,) width, height of the crop in photo pixels.
        image_size: (H, W) of the crop in pixels.

    Returns:
        (2, 3) float64 affine matrix for homogeneous columns (x, y, 1).
    """
    extent = np.array(image_size[::-1], np.float64) - 1
    factor = extent / scale
    shift = factor * (np.asarray(scale, np.float64) / 2 - center)
    return np.array([[factor[0], 0, shift[0]], [0, factor[1], shift[1]]])


def decode_heatmaps(heatmaps: Tensor, input_size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Find every channel's peak to a fraction of a pixel.

    The peak pixel is refined by one Newton step on the logarithm of the blurred heatmap (DARK, Zhang et al.
    2020, with UDP's scaling). Only the blurred 3 x 3 pixels around the peak are needed, so only they are
    computed.

    Args:
        heatmaps: (B, K, h, w) on any device.
        input_size: (H, W) of the network's input in pixels.

    Returns:
        xy: (B, K, 2) float32 in UDP's input units, x / W and y / H being shares of the crop; always finite.
            Where nothing is positive it is the largest pixel.
        scores: (B, K) float32, the maxima; 0 where nothing is positive.
    """
    height, width = heatmaps.shape[-2:]
    maps = heatmaps.flatten(0, 1).float()
    rows, columns, peaks = _find_peaks(maps)
    offsets = _newton_steps(_log_neighbourhoods(maps, rows, columns, peaks))
    xy = torch.stack([columns, rows], -1) + offsets
    spans = xy.new_tensor([max(width - 1, 1), max(height - 1, 1)])
    xy = xy / spans * xy.new_tensor(input_size[::-1])
    scores = torch.where(torch.isfinite(peaks) & (peaks > 0), peaks, 0.0)
    return xy.unflatten(0, heatmaps.shape[:2]), scores.unflatten(0, heatmaps.shape[:2])


def flip_heatmaps(heatmaps: Tensor) -> Tensor:
    """Bring the heatmaps of a mirrored crop back in place.

    Args:
        heatmaps: (B, 308, h, w) of crops that were mirrored left to right.

    Returns:
        (B, 308, h, w): mirrored, and left and right channels swapped.
    """
    swap = torch.tensor([keypoint.swap_id for keypoint in KEYPOINTS], device=heatmaps.device)
    return heatmaps.index_select(1, swap).flip(-1)


def decode(heatmaps: Tensor, prepared: PoseInput, photo_size: tuple[int, int]) -> PoseResult:
    """Read the keypoints of every crop in photo pixels.

    Args:
        heatmaps: (B, 308, h, w), the network's output for prepared.images.
        prepared: what the network was given.
        photo_size: (H, W) of the photo in pixels.

    Returns:
        One person per crop, in the crops' order.
    """
    input_size = tuple(prepared.images.shape[-2:])
    xy, scores = decode_heatmaps(heatmaps, input_size)
    shares = xy.cpu().numpy() / np.array(input_size[::-1], np.float32)
    scales, centers = prepared.scales[:, None], prepared.centers[:, None]
    keypoints = (shares * scales + centers - scales / 2).astype(np.float32)
    people = map(Person, prepared.boxes, keypoints, scores.cpu().numpy())
    return PoseResult(photo_size, tuple(people))


def _crop_frames(boxes: np.ndarray, aspect: float) -> tuple[np.ndarray, np.ndarray]:
    """Return centres and (width, height) of the crops: padded, then grown to the aspect width / height."""
    centers = (boxes[:, :2] + boxes[:, 2:]) / 2
    sides = np.maximum((boxes[:, 2:] - boxes[:, :2]) * BOX_PADDING, 1)
    widths = np.maximum(sides[:, 0], sides[:, 1] * aspect)
    scales = np.stack([widths, widths / aspect], -1)
    return centers.astype(np.float32), scales.astype(np.float32)


def _find_peaks(maps: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return row, column and value of the first maximum (row by row) of each of (N, h, w) maps.

    Row maxima first: torch's flat argmax is five times slower than a vectorised maximum.
    """
    row_maxima = maps.amax(-1)
    rows = row_maxima.argmax(-1)
    channels = torch.arange(len(maps), device=maps.device)
    columns = maps[channels, rows].argmax(-1)
    return rows, columns, maps[channels, rows, columns]


def _log_neighbourhoods(maps: Tensor, rows: Tensor, columns: Tensor, peaks: Tensor) -> Tensor:
    """Return the logarithm of the blurred (N, h, w) maps in the 3 x 3 pixels around each peak.

    The definition scales a blurred map back to its old maximum and clips it before the logarithm. A factor
    cancels in the derivatives, so it matters only where the clip bites. As the factor is at least 1 and
    scaled values stay below the peak, the neighbourhood tells; only then is the whole map blurred.
    """
    taps = _taps(3, maps)
    blurred = taps @ _patches(maps, rows, columns, _BLUR_RADIUS + 1) @ taps.T
    clipped = (blurred.amin((1, 2)) < _LOG_FLOOR) | (peaks > _LOG_CEILING)
    doubtful = (clipped & (peaks > _LOG_FLOOR)).nonzero()[:, 0]
    if len(doubtful):
        blurred[doubtful] *= (peaks[doubtful] / _blurred_maxima(maps[doubtful]))[:, None, None]
    logs = blurred.clip(_LOG_FLOOR, _LOG_CEILING).log()
    return _repeat_at_border(logs, rows, columns, maps.shape[-2:])


def _patches(maps: Tensor, rows: Tensor, columns: Tensor, radius: int) -> Tensor:
    """Cut (N, 2 radius + 1, 2 radius + 1) out of (N, h, w) maps around a pixel each; zero beyond them."""
    height, width = maps.shape[-2:]
    reach = torch.arange(-radius, radius + 1, device=maps.device)
    ys, xs = rows[:, None, None] + reach[:, None], columns[:, None, None] + reach
    inside = (ys >= 0) & (ys < height) & (xs >= 0) & (xs < width)
    index = ys.clip(0, height - 1) * width + xs.clip(0, width - 1)
    values = maps.flatten(1).gather(1, index.flatten(1)).view(index.shape)
    return torch.where(inside, values, 0.0)


@lru_cache(maxsize=1)
def _gaussian() -> tuple[float, ...]:
    weights = [math.exp(-0.5 * (i / _BLUR_SIGMA) ** 2) for i in range(-_BLUR_RADIUS, _BLUR_RADIUS + 1)]
    return tuple(weight / sum(weights) for weight in weights)


def _taps(count: int, like: Tensor) -> Tensor:
    """Return the (count, count + 2 radius) matrix that blurs a column and drops its margins."""
    kernel = like.new_tensor(_gaussian())
    taps = like.new_zeros(count, count + len(kernel) - 1)
    for offset in range(len(kernel)):
        taps.diagonal(offset).fill_(kernel[offset])
    return taps


def _blurred_maxima(maps: Tensor) -> Tensor:
    """Return the maxima of (N, h, w) maps after blurring: few at a time, so that they stay in the cache."""
    return torch.cat([_blur(few).amax((1, 2)) for few in maps.split(_CACHED_MAPS)])


def _blur(maps: Tensor) -> Tensor:
    """Blur (N, h, w) maps with zeros beyond the border.

    Sums of shifted maps: several times faster on the CPU than torch's convolutions of one channel.
    """
    weights = _gaussian()[_BLUR_RADIUS:]
    maps = F.pad(maps, (_BLUR_RADIUS,) * 4)
    for axis in (1, 2):
        length = maps.shape[axis] - 2 * _BLUR_RADIUS
        blurred = maps.narrow(axis, _BLUR_RADIUS, length) * weights[0]
        for shift in range(1, _BLUR_RADIUS + 1):
            before = maps.narrow(axis, _BLUR_RADIUS - shift, length)
            after = maps.narrow(axis, _BLUR_RADIUS + shift, length)
            blurred.add_(before + after, alpha=weights[shift])
        maps = blurred
    return maps


def _repeat_at_border(logs: Tensor, rows: Tensor, columns: Tensor, size: tuple[int, int]) -> Tensor:
    """Replace what lies beyond the border in (N, 3, 3) neighbourhoods by the pixels next to it."""
    reach = torch.arange(-1, 2, device=logs.device)
    ys = (rows[:, None] + reach).clip(0, size[0] - 1) - rows[:, None] + 1
    xs = (columns[:, None] + reach).clip(0, size[1] - 1) - columns[:, None] + 1
    channels = torch.arange(len(logs), device=logs.device)
    return logs[channels[:, None, None], ys[:, :, None], xs[:, None, :]]


def _newton_steps(logs: Tensor) -> Tensor:
    """Return the (N, 2) steps x, y from the middle of (N, 3, 3) logarithms to their peak; 0 where unfit."""
    (nw, n, _), (w, c, e), (_, s, se) = (row.unbind(-1) for row in logs.unbind(-2))
    gx, gy = (e - w) / 2, (s - n) / 2
    epsilon = torch.finfo(torch.float32).eps
    dxx = e - 2 * c + w + epsilon
    dyy = s - 2 * c + n + epsilon
    dxy = (se - e - s + 2 * c - w - n + nw) / 2
    determinant = dxx * dyy - dxy * dxy
    steps = torch.stack([dxy * gy - dyy * gx, dxy * gx - dxx * gy], -1) / determinant[:, None]
    fits = steps.abs().amax(-1) <= _LARGEST_OFFSET  # False for NaN too
    return torch.where(fits[:, None], steps, 0.0)
