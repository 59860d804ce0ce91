"""Body parts: the photo becomes a label per pixel."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from sapiens_demo.tasks.inputs import resize_whole
from sapiens_demo.tasks.outputs import check_array, resize_map
from sapiens_demo.vocabulary import PARTS

_STRIP_PIXELS = 1 << 19  # bounds the 28 interpolated maps to 60 MB at a time
_CELL = 24  # px of the photo: larger cells of the grid are first divided
_OPEN = 255  # stands for a label that interpolation must decide


@dataclass(frozen=True, eq=False)
class SegmentationResult:
    """Hold the body part of every pixel.

    Args:
        labels: (H, W) uint8 at the photo's size, 0 (background) to 27: ids of vocabulary.PARTS.
        owners: (H, W) uint8, whose each pixel is: 0 in the background, else 1 + the person's index. None
            where people were not told apart.
    """

    labels: np.ndarray
    owners: np.ndarray | None = None

    def __post_init__(self) -> None:
        check_array("labels", self.labels, (None, None), np.uint8)
        if self.owners is not None:
            check_array("owners", self.owners, self.labels.shape, np.uint8)
        if self.labels.size and self.labels.max() >= len(PARTS):
            raise ValueError(f"labels must be below {len(PARTS)}, not {self.labels.max()}.")

    @property
    def mask(self) -> np.ndarray:
        """Return where the person is: (H, W) bool."""
        return self.labels > 0

    def shares(self) -> dict[int, float]:
        """Measure the parts that are present.

        Returns:
            Class id to its share of the person's pixels, 0 to 1, in the order of ids; empty without a person.
        """
        counts = sum(np.bincount(row, minlength=len(PARTS)) for row in self.labels)
        person = counts[1:].sum()
        return {part: float(counts[part] / person) for part in range(1, len(PARTS)) if counts[part]}


def prepare(photo: np.ndarray, image_size: tuple[int, int]) -> Tensor:
    """Bring the photo into the network's form.

    Args:
        photo: (H, W, 3) uint8 RGB.
        image_size: (H, W) of the network's input in pixels.

    Returns:
        (1, 3, H, W) float32.
    """
    return resize_whole(photo, image_size)


def decode(logits: Tensor, photo_size: tuple[int, int]) -> SegmentationResult:
    """Label every pixel of the photo with its likeliest part.

    Equal to stretching the logits bilinearly (align_corners=False) over the photo and taking the argmax. But
    a bilinear value lies between its four neighbours': where one class wins at all four, it wins in between,
    and only the other pixels, along the parts' outlines, are interpolated. Large cells are divided first, as
    their parts are more often of one class.

    Args:
        logits: (1, 28, h, w) on any device.
        photo_size: (H, W) of the photo in pixels.

    Returns:
        Labels at the photo's size.
    """
    height, width = photo_size
    grid = logits[0].float().permute(1, 2, 0).contiguous()  # [h, w, 28]
    rows = _stretch(grid.shape[0], height, grid.device)
    columns = _stretch(grid.shape[1], width, grid.device)
    parts = [max(1, round(side / count / _CELL)) for side, count in zip(photo_size, grid.shape, strict=False)]
    settled = _settled_labels(_divided(grid, parts))
    settled = settled[:, ((columns.low + columns.weight) * parts[1]).long()]  # [cells, W]
    cells = ((rows.low + rows.weight) * parts[0]).long()  # [H]
    labels = torch.empty(photo_size, dtype=torch.uint8, device=grid.device)
    step = max(1, _STRIP_PIXELS // max(width, grid.shape[1]))
    for top in range(0, height, step):
        strip = slice(top, top + step)
        labels[strip] = _label_strip(grid, settled.index_select(0, cells[strip]), rows.part(strip), columns)
    return SegmentationResult(labels.cpu().numpy())


def decode_mask(logits: Tensor, photo_size: tuple[int, int]) -> np.ndarray:
    """Tell people from the background, for an eighth of the time that their parts take.

    What is stretched over the photo is how far the likeliest part is ahead of the background. Every pixel
    that decode labels as a part is in the mask; between two parts there may be a few more.

    Args:
        logits: (1, 28, h, w) on any device.
        photo_size: (H, W) of the photo in pixels.

    Returns:
        (H, W) bool at the photo's size.
    """
    ahead = logits[:, 1:].amax(1, keepdim=True) - logits[:, :1]
    return resize_map(ahead, photo_size)[..., 0] > 0


@dataclass(frozen=True, eq=False)
class _Lines:
    """Hold between which two lines of the grid each of n photo lines lies, and how near to the second."""

    low: Tensor  # [n]
    high: Tensor  # [n]
    weight: Tensor  # [n], 0 to 1

    def part(self, strip: slice) -> _Lines:
        return _Lines(self.low[strip], self.high[strip], self.weight[strip])


def _stretch(count: int, length: int, device: torch.device) -> _Lines:
    """Spread length photo lines over count grid lines, as align_corners=False does."""
    position = (torch.arange(length, dtype=torch.float32) + 0.5) * (count / length) - 0.5
    position = position.clip(0, count - 1).to(device)
    low = position.long()
    return _Lines(low, (low + 1).clip(max=count - 1), position - low)


def _divided(grid: Tensor, parts: list[int]) -> Tensor:
    """Interpolate an (h, w, 28) grid so that each of its cells becomes parts[0] x parts[1] smaller ones."""
    if max(parts) == 1:
        return grid
    size = [(count - 1) * part + 1 for count, part in zip(grid.shape, parts, strict=False)]
    maps = F.interpolate(grid.permute(2, 0, 1)[None], size, mode="bilinear", align_corners=True)
    return maps[0].permute(1, 2, 0).contiguous()


def _settled_labels(grid: Tensor) -> Tensor:
    """Return for each cell of the (h, w, 28) grid the label that wins at all four corners, or _OPEN.

    The cell (y, x) spans grid pixels y to y + 1 and x to x + 1, the last ones being repeated.
    """
    winners = grid.argmax(-1).to(torch.uint8)
    below = torch.cat([winners[1:], winners[-1:]])
    same = winners == below
    right = torch.cat([winners[:, 1:], winners[:, -1:]], 1)
    same_right = torch.cat([same[:, 1:], same[:, -1:]], 1)
    return torch.where(same & same_right & (winners == right), winners, _OPEN)


def _label_strip(grid: Tensor, labels: Tensor, rows: _Lines, columns: _Lines) -> Tensor:
    """Complete the labels of some rows of the photo, in place, where they are still open."""
    places = _open_places(labels)
    if len(places):
        ys = places.div(labels.shape[1], rounding_mode="floor")
        xs = places - ys * labels.shape[1]
        lines = grid[rows.low].lerp_(grid[rows.high], rows.weight[:, None, None])  # [rows, w, 28]
        start = ys * grid.shape[1]
        values = lines.flatten(0, 1)
        left = values.index_select(0, start + columns.low[xs])
        right = values.index_select(0, start + columns.high[xs])
        winners = left.lerp_(right, columns.weight[xs][:, None]).argmax(-1)
        labels.flatten()[places] = winners.to(torch.uint8)
    return labels


def _open_places(labels: Tensor) -> Tensor:
    """Return where labels are still open, as indices of the flattened map; numpy looks four times as fast."""
    if labels.device.type == "cpu":
        return torch.from_numpy(np.flatnonzero(labels.numpy() == _OPEN))
    return (labels.flatten() == _OPEN).nonzero()[:, 0]
