"""Dense tasks person by person: a crop for each box, and the way back into one map of the photo.

A crop counts fully inside its box and fades out from there to its edge, where the network saw too little.
People are laid over each other from far to near. Nothing of the photo's size is held but the map itself: a
crop stays as small as the network gave it and is stretched while it is laid down, a few rows at a time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor

from sapiens_demo.tasks import segmentation
from sapiens_demo.tasks.depth import DepthResult
from sapiens_demo.tasks.inputs import normalise
from sapiens_demo.tasks.normal import NormalResult, normalise_vectors
from sapiens_demo.tasks.outputs import resize_map
from sapiens_demo.tasks.segmentation import SegmentationResult

BOX_PADDING = 1.25  # crop side / box side, as the pose networks have it
_ASPECT = 3 / 4  # width / height of the networks' input
_SAME_GROUND = 0.01  # of the photo's height: feet that differ by less stand equally near
_CERTAIN = 255  # a probability of 1 in 8 bits
_STRIP_ROWS = 64  # laid down at a time, small enough for the processor's cache
_SAMPLES = 64  # a side of the grid of pixels on which depths are compared
_CELL = 4  # a side of the cells that are averaged, in pixels of the grid
_FEWEST_SAMPLES = 12
_ROUNDS = 8  # of reweighting, after which a fit moves no more
_DOUBT = 1.345  # in robust standard deviations: from here on a sample counts less (Huber)
_FLAT = 1e-6


@dataclass(frozen=True)
class Frame:
    """Hold which part of the photo a crop shows.

    Args:
        left: first column.
        top: first row.
        right: column after the last.
        bottom: row after the last.
        box: x1, y1, x2, y2 in photo pixels, inside the frame: what the crop was made around.
    """

    left: int
    top: int
    right: int
    bottom: int
    box: tuple[float, float, float, float]

    @property
    def size(self) -> tuple[int, int]:
        """Return (H, W) in photo pixels."""
        return self.bottom - self.top, self.right - self.left

    @property
    def part(self) -> tuple[slice, slice]:
        """Return the rows and columns of the photo."""
        return slice(self.top, self.bottom), slice(self.left, self.right)

    def weights(self, photo_size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
        """Weigh rows and columns; a pixel's weight is the smaller of the two.

        Args:
            photo_size: (H, W) of the photo in pixels.

        Returns:
            (H,) and (W,) float32 of the frame: 1 inside the box, falling to 0 at the frame's edge, but for an
            edge that is the photo's own.
        """
        x1, y1, x2, y2 = self.box
        rows = _fade(self.top, self.bottom, y1, y2, photo_size[0])
        return rows, _fade(self.left, self.right, x1, x2, photo_size[1])


def _fade(start: int, stop: int, first: float, last: float, limit: int) -> np.ndarray:
    centres = np.arange(start, stop, dtype=np.float32) + np.float32(0.5)
    weights = np.ones(stop - start, np.float32)
    if start > 0:
        weights = np.minimum(weights, (centres - start) / max(first - start, _FLAT))
    if stop < limit:
        weights = np.minimum(weights, (stop - centres) / max(stop - last, _FLAT))
    return weights.astype(np.float32)


def whole_frame(photo_size: tuple[int, int]) -> Frame:
    """Return the frame of the whole photo, which `cut` prepares as the tasks' own `prepare` do.

    Args:
        photo_size: (H, W) of the photo in pixels.
    """
    height, width = photo_size
    return Frame(0, 0, width, height, (0, 0, width, height))


def person_frames(boxes: np.ndarray, photo_size: tuple[int, int]) -> list[Frame]:
    """Frame people in the networks' shape.

    A box grows by a quarter and then, where the photo has room, to 3:4. A frame never leaves the photo: it is
    rather moved, and where it doesn't fit its crop is stretched, as the networks know it from whole photos.

    Args:
        boxes: (N, 4) x1, y1, x2, y2 in photo pixels, inside the photo.
        photo_size: (H, W) of the photo in pixels.

    Returns:
        A frame for each box.
    """
    return [_person_frame(box, photo_size) for box in np.asarray(boxes, np.float64).tolist()]


def _person_frame(box: list[float], photo_size: tuple[int, int]) -> Frame:
    x1, y1, x2, y2 = box
    height, width = photo_size
    grow_x, grow_y = ((BOX_PADDING - 1) / 2 * side for side in (x2 - x1, y2 - y1))
    padded_width = min(x2 + grow_x, width) - max(x1 - grow_x, 0)
    padded_height = min(y2 + grow_y, height) - max(y1 - grow_y, 0)
    wanted_width = max(padded_width, _ASPECT * padded_height)
    wanted_height = max(padded_height, padded_width / _ASPECT)
    left, right = _span(x1, x2, wanted_width, width)
    top, bottom = _span(y1, y2, wanted_height, height)
    return Frame(left, top, right, bottom, (x1, y1, x2, y2))


def _span(first: float, last: float, wanted: float, limit: int) -> tuple[int, int]:
    """Place a length around two ends, within 0 to limit where it fits."""
    start = min(max((first + last - wanted) / 2, 0), max(limit - wanted, 0))
    stop = min(start + wanted, limit)
    return int(np.floor(min(start, first))), int(np.ceil(max(stop, last)))


def cut(photo: np.ndarray, frames: Sequence[Frame], image_size: tuple[int, int]) -> Tensor:
    """Bring parts of the photo into the network's form.

    Args:
        photo: (H, W, 3) uint8 RGB.
        frames: what to cut out.
        image_size: (H, W) of the network's input in pixels.

    Returns:
        (B, 3, H, W) float32, normalised; frames of another shape are stretched, and nothing is smoothed.
    """
    height, width = image_size
    crops = np.empty((len(frames), height, width, 3), np.uint8)
    for crop, frame in zip(crops, frames, strict=True):
        cv2.resize(photo[frame.part], (width, height), dst=crop, interpolation=cv2.INTER_LINEAR)
    return normalise(crops)


def far_to_near(frames: Sequence[Frame], photo_size: tuple[int, int]) -> list[int]:
    """Order people by how near they seem to be.

    People mostly stand or sit on one floor, and the nearer a place on it, the lower it is in the photo: whose
    box ends lower is nearer. Of boxes that end at the same height, as those cut off by the photo's lower edge
    do, the taller is nearer.

    Args:
        frames: around the people's boxes.
        photo_size: (H, W) of the photo in pixels.

    Returns:
        Indices of the frames, the farthest first; equal ones in their order.
    """
    boxes = np.array([frame.box for frame in frames]).reshape(-1, 4)
    feet = np.rint(boxes[:, 3] / (_SAME_GROUND * photo_size[0]))
    return np.lexsort([boxes[:, 3] - boxes[:, 1], feet]).tolist()


# ---- Body parts -------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class PartsCrop:
    """Hold the body parts of one crop.

    Args:
        labels: (H, W) uint8 of the frame's size.
        certainty: (h, w) uint8 of the network's output: probability of the likeliest part, 255 being 1.
        own: (h, w) uint8 of the network's output: 1 where the crop's own person is, and not somebody beside.
    """

    labels: np.ndarray
    certainty: np.ndarray
    own: np.ndarray


def decode_parts(logits: Tensor, frame: Frame) -> PartsCrop:
    """Label the pixels of a frame.

    Args:
        logits: (1, 28, h, w) on any device.
        frame: what the crop shows.

    Returns:
        The parts, on the CPU.
    """
    labels = segmentation.decode(logits, frame.size).labels
    best = logits[0].float().softmax(0).max(0)
    certainty = (best.values * _CERTAIN).round().to(torch.uint8).cpu().numpy()
    return PartsCrop(labels, certainty, _own_region((best.indices > 0).cpu().numpy(), frame))


def _own_region(person: np.ndarray, frame: Frame) -> np.ndarray:
    """Choose the connected region that fills the middle of the box most; (h, w) uint8, with a pixel's rim."""
    count, regions = cv2.connectedComponents(person.astype(np.uint8), connectivity=8)
    if count < 2:
        return np.zeros(person.shape, np.uint8)
    x1, y1, x2, y2 = frame.box
    rows = _middle(person.shape[0], y1 - frame.top, y2 - frame.top, frame.size[0])
    columns = _middle(person.shape[1], x1 - frame.left, x2 - frame.left, frame.size[1])
    weight = np.bincount(regions.ravel(), (rows[:, None] * columns).ravel(), count)
    own = regions == 1 + weight[1:].argmax()
    return cv2.dilate(own.astype(np.uint8), np.ones((3, 3), np.uint8))


def _middle(count: int, first: float, last: float, length: int) -> np.ndarray:
    """Weigh count lines over a length: 1 in the middle between first and last, 0 at both and beyond."""
    places = (np.arange(count) + 0.5) * length / count
    return (1 - np.abs(places - (first + last) / 2) / ((last - first) / 2)).clip(0)


class PartsCanvas:
    """Lay crops' body parts over each other, from far to near, into one map of the photo.

    Where two crops blend, the label of the larger weight x probability wins. Where nobody is seen, it is
    background. What a crop shows of others than its own person only fills what the others' crops left empty.

    Args:
        photo_size: (H, W) of the photo in pixels.
    """

    def __init__(self, photo_size: tuple[int, int]) -> None:
        self._photo_size = photo_size
        self._labels = np.zeros(photo_size, np.uint8)
        self._owners = np.zeros(photo_size, np.uint8)
        self._certainty = np.full(photo_size, _CERTAIN, np.uint8)

    def lay(self, crop: PartsCrop, frame: Frame, number: int) -> None:
        """Lay down a person, who is nearer than all before.

        Args:
            crop: from decode_parts.
            frame: what it shows.
            number: of the person, from 1 on.
        """
        size = frame.size[::-1]
        certainty = cv2.resize(crop.certainty, size, interpolation=cv2.INTER_LINEAR)
        own = cv2.resize(crop.own, size, interpolation=cv2.INTER_NEAREST_EXACT).view(bool)
        rows, columns = frame.weights(self._photo_size)
        for strip, place in _strips(frame):
            weight = np.minimum(rows[strip, None], columns)
            labels, mine = crop.labels[strip], weight * certainty[strip]
            theirs = (1 - weight) * self._certainty[place]
            wins = (labels > 0) & (mine > theirs) & (own[strip] | (self._labels[place] == 0))
            np.copyto(self._labels[place], labels, where=wins)
            np.copyto(self._owners[place], np.uint8(number), where=wins)
            np.copyto(self._certainty[place], mine.astype(np.uint8), where=wins)

    def result(self) -> SegmentationResult:
        """Return what has been laid down."""
        return SegmentationResult(self._labels, self._owners)


# ---- Depth and normals ------------------------------------------------------------------------------------


def merge_depth(
    whole: Tensor,
    crops: Sequence[Tensor],
    frames: Sequence[Frame],
    photo_size: tuple[int, int],
    owners: np.ndarray | None = None,
) -> DepthResult:
    """Lay people's depths over that of the whole photo, brought to its scale.

    Every crop has its own near and far. What fits a person's crop to the whole photo best on the person's
    pixels, a factor above 0 and a shift, is taken for all of the crop.

    Args:
        whole: (1, h, w) float32 on the CPU, of the whole photo.
        crops: (1, h, w) float32 on the CPU, one a person.
        frames: what the crops show.
        photo_size: (H, W) of the photo in pixels.
        owners: (H, W) uint8, whose each pixel is: 0 nobody's, else 1 + the crop's index. None where nobody
            knows.

    Returns:
        Depth at the photo's size, with the owners' pixels as mask.
    """
    canvas = resize_map(whole[None], photo_size)
    base = whole[0].numpy()
    for index in far_to_near(frames, photo_size):
        own, frame, number = crops[index][0].numpy(), frames[index], index + 1
        factor, shift = fit_depth(*_common_samples(own, base, frame, photo_size, owners, number))
        _lay_map(canvas, (own * factor + shift)[..., None], frame, owners, number)
    return DepthResult(canvas[..., 0], _mask(owners))


def merge_normals(
    whole: Tensor,
    crops: Sequence[Tensor],
    frames: Sequence[Frame],
    photo_size: tuple[int, int],
    owners: np.ndarray | None = None,
) -> NormalResult:
    """Lay people's normals over those of the whole photo; where they blend, their lengths become 1 again.

    Args:
        whole: (3, h, w) float32 on the CPU, of the whole photo.
        crops: (3, h, w) float32 on the CPU, one a person.
        frames: what the crops show.
        photo_size: (H, W) of the photo in pixels.
        owners: as in merge_depth.

    Returns:
        Unit normals at the photo's size, with the owners' pixels as mask.
    """
    canvas = resize_map(whole[None], photo_size)
    for index in far_to_near(frames, photo_size):
        _lay_map(canvas, crops[index].permute(1, 2, 0).numpy(), frames[index], owners, index + 1)
    return NormalResult(normalise_vectors(canvas), _mask(owners))


def fit_depth(own: np.ndarray, whole: np.ndarray) -> tuple[float, float]:
    """Find the factor and shift that bring one depth map to another's scale, in spite of some outliers.

    Least squares with Huber's weights. Where the maps disagree so much that the factor would turn near and
    far about or leave nothing of the relief, spreads and medians are made equal instead.

    Args:
        own: (N,) depths in the map that is to be changed.
        whole: (N,) depths of the same pixels in the other one.

    Returns:
        factor, above 0, and shift: own * factor + shift is like whole.
    """
    if len(own) == 0:
        return 1.0, 0.0
    own, whole = own.astype(np.float64), whole.astype(np.float64)
    spread = _spread(own)
    if spread <= _FLAT:
        return 1.0, float(np.median(whole) - np.median(own))
    factor = max(_spread(whole) / spread, _FLAT)
    shift = float(np.median(whole) - factor * np.median(own))
    first_guess = factor, shift
    for _ in range(_ROUNDS):
        errors = np.abs(whole - factor * own - shift)
        limit = max(_DOUBT * 1.4826 * float(np.median(errors)), _FLAT)
        weights = limit / np.maximum(errors, limit)
        factor, shift = _weighted_line(own, whole, weights)
    return (factor, shift) if factor > first_guess[0] * 0.1 else first_guess


def _spread(values: np.ndarray) -> float:
    low, high = np.percentile(values, (10, 90))
    return float(high - low)


def _weighted_line(x: np.ndarray, y: np.ndarray, weights: np.ndarray) -> tuple[float, float]:
    total = weights.sum()
    mean_x, mean_y = (weights @ x) / total, (weights @ y) / total
    variance = weights @ (x - mean_x) ** 2
    factor = (weights @ ((x - mean_x) * (y - mean_y))) / max(variance, _FLAT**2)
    return float(factor), float(mean_y - factor * mean_x)


def _common_samples(
    own: np.ndarray,
    whole: np.ndarray,
    frame: Frame,
    photo_size: tuple[int, int],
    owners: np.ndarray | None,
    number: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Read both depth maps at pixels of a person, or all over the box where those are not known.

    Means over small cells, as a fit to single pixels takes their noise for relief.
    """
    x1, y1, x2, y2 = frame.box
    rows, columns = _grid(y1, y2, photo_size[0]), _grid(x1, x2, photo_size[1])
    everywhere = np.ones((_SAMPLES, _SAMPLES), bool)
    mine = everywhere if owners is None else owners[rows[:, None], columns] == number
    if np.count_nonzero(mine) < _FEWEST_SAMPLES:
        mine = everywhere
    down, across = mine.nonzero()
    ys, xs = rows[down], columns[across]
    cells = down // _CELL * _SAMPLES + across // _CELL
    return (
        _means(_read(own, (ys - frame.top, xs - frame.left), frame.size), cells),
        _means(_read(whole, (ys, xs), photo_size), cells),
    )


def _grid(first: float, last: float, limit: int) -> np.ndarray:
    """Spread _SAMPLES pixels evenly between two ends."""
    places = first + (np.arange(_SAMPLES) + 0.5) / _SAMPLES * (last - first)
    return places.clip(0, limit - 1).astype(int)


def _means(values: np.ndarray, cells: np.ndarray) -> np.ndarray:
    """Average values that have the same cell number."""
    counts = np.bincount(cells)
    used = counts > 0
    return np.bincount(cells, values)[used] / counts[used]


def _read(values: np.ndarray, places: tuple[np.ndarray, np.ndarray], size: tuple[int, int]) -> np.ndarray:
    """Interpolate a (h, w) map that is stretched over a size at (N,) rows and columns."""
    ys, xs = (
        ((place + 0.5) * (count / length) - 0.5).astype(np.float32)
        for place, count, length in zip(places, values.shape, size, strict=True)
    )
    return cv2.remap(values, xs, ys, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE).ravel()


def _mask(owners: np.ndarray | None) -> np.ndarray | None:
    return None if owners is None or not owners.any() else owners > 0


def _lay_map(
    canvas: np.ndarray, values: np.ndarray, frame: Frame, owners: np.ndarray | None, number: int
) -> None:
    """Blend a crop into a map, in place, but for pixels that are another person's.

    Args:
        canvas: (H, W, C) float32 of the photo.
        values: (h, w, C) float32, stretched over the frame bilinearly.
        frame: what the crop shows.
        owners: (H, W) uint8 or None.
        number: of the crop among the owners.
    """
    rows, columns = frame.weights(canvas.shape[:2])
    height, width = frame.size
    channels = canvas.shape[2]
    stretched = cv2.resize(values, (width, len(values)), interpolation=cv2.INTER_LINEAR)
    stretched = stretched.reshape(len(values), width * channels)  # long rows, over which numpy is fast
    low, high, share = _between(len(values), height)
    flat = canvas.reshape(len(canvas), -1)[:, frame.left * channels : frame.right * channels]
    for strip, place in _strips(frame):
        lines = stretched[low[strip]]
        lines += (stretched[high[strip]] - lines) * share[strip, None]
        weight = np.minimum(rows[strip, None], columns)
        if owners is not None:
            weight[(owners[place] != 0) & (owners[place] != number)] = 0
        lines -= flat[place[0]]
        lines *= np.repeat(weight, channels, axis=1)
        flat[place[0]] += lines


def _between(count: int, length: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Spread length lines over count: the two lines each lies between, and how near to the second."""
    position = ((np.arange(length) + 0.5) * (count / length) - 0.5).clip(0, count - 1)
    low = position.astype(int)
    return low, np.minimum(low + 1, count - 1), (position - low).astype(np.float32)


def _strips(frame: Frame) -> Iterator[tuple[slice, tuple[slice, slice]]]:
    """Yield rows of a frame, and where they are in the photo, a few at a time."""
    height = frame.size[0]
    for start in range(0, height, _STRIP_ROWS):
        stop = min(start + _STRIP_ROWS, height)
        yield (
            slice(start, stop),
            (slice(frame.top + start, frame.top + stop), slice(frame.left, frame.right)),
        )
