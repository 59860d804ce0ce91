"""Labelled pictures become training examples: random views of them, with their targets, a batch at once."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from sapiens_demo.training.constants import constant
from sapiens_demo.training.disturbances import disturb
from sapiens_demo.training.pool import PicturePool, metres
from sapiens_demo.vocabulary import KEYPOINTS, PARTS

# How much of the largest window of the network's shape a view of a part of a picture shows.
_PART_SHARES = (0.35, 1.0)
# Whole pictures whose people are all smaller, as a share of the height, show too little to learn from.
_SMALLEST_WHOLE = 0.25
_PERSON, _STRETCHED, _PART, _FRAMED = range(4)
_KEYPOINT_SWAP = tuple(keypoint.swap_id for keypoint in KEYPOINTS)
_PART_SWAP = tuple(part.swap_id for part in PARTS)


@dataclass(frozen=True)
class Placement:
    """Say where views lie in their pictures: view = turn @ ((picture - centre) / span) + the view's middle.

    Args:
        centre: (B, 2) x, y of the picture in the view's middle, pixels of the picture.
        span: (B, 2) picture's pixels per view's pixel, across and down.
        turn: (B, 2, 2) orthogonal: rotation, and mirroring where `flip`.
        flip: (B,) bool.
    """

    centre: Tensor
    span: Tensor
    turn: Tensor
    flip: Tensor

    def to_view(self, points: Tensor, size: tuple[int, int]) -> Tensor:
        """Map points (B, N, 2) of the pictures to pixels of views of `size` (H, W)."""
        local = (points - self.centre[:, None]) / self.span[:, None]
        return local @ self.turn.mT + _middle(size, points.device)

    def to_picture(self, points: Tensor, size: tuple[int, int]) -> Tensor:
        """Map pixels (N, 2) of views of `size` (H, W) to points (B, N, 2) of the pictures."""
        local = (points - _middle(size, points.device)) @ self.turn
        return self.centre[:, None] + self.span[:, None] * local


class Chance:
    """Draw random numbers on a device.

    Args:
        seed: makes them repeatable.
        device: where.
    """

    def __init__(self, seed: int, device: torch.device) -> None:
        self._own = {"generator": torch.Generator(device).manual_seed(seed), "device": device}

    def uniform(self, low: float, high: float, *shape: int) -> Tensor:
        """Draw float32 in [low, high)."""
        return torch.rand(*shape, **self._own) * (high - low) + low

    def normal(self, deviation: float, *shape: int) -> Tensor:
        """Draw float32 from a normal distribution around 0."""
        return torch.randn(*shape, **self._own) * deviation

    def below(self, high: int, *shape: int) -> Tensor:
        """Draw int64 in [0, high)."""
        return torch.randint(high, shape, **self._own)

    def happens(self, probability: float, *shape: int) -> Tensor:
        """Draw bool."""
        return torch.rand(*shape, **self._own) < probability


def draw_views(
    pool: PicturePool, count: int, size: tuple[int, int], person_share: float, chance: Chance
) -> dict[str, Tensor]:
    """Draw random views of the pictures in a pool.

    Args:
        pool: the pictures.
        count: B, how many views.
        size: (H, W) of the network's input.
        person_share: share of views that are one person's crop, as pose sees people.
        chance: source of randomness.

    Returns:
        `image` (B, 3, H, W) float32, 0 to 255; `parts` (B, H/2, W/2) int64; `mask` (B, H/2, W/2) bool;
        `depth` (B, H/2, W/2) float32, 0 near to 1 far over the people; `normals` (B, 3, H/2, W/2) float32;
        `keypoints` (B, 308, 2) float32, pixels of the input; `weights` (B, 308) float32, 0 where a point
        doesn't count.
    """
    rows = chance.below(len(pool), count)
    people = pool.field("people")[rows]
    person = (chance.uniform(0, 1, count) * people).long()
    kinds = _kinds(pool, rows, person_share, chance)
    placement = place(pool.field("size")[rows], pool.field("boxes")[rows, person], kinds, size, chance)
    views = Views(pool, rows, placement, size)
    # In a whole picture of several people nobody is the one whose keypoints are asked for.
    posed = (kinds == _PERSON) | (people == 1)
    return {
        "image": disturb(views.image(), chance),
        **views.labels(),
        **views.keypoints(person, posed),
    }


def _kinds(pool: PicturePool, rows: Tensor, person_share: float, chance: Chance) -> Tensor:
    """Choose each view's kind: a person's crop; the whole picture, stretched or framed; or any part of it."""
    boxes, height = pool.field("boxes")[rows], pool.field("size")[rows, 0]
    tallest = (boxes[..., 3] - boxes[..., 1]).amax(1) / height
    whole = ~chance.happens(person_share, len(rows)) & (tallest >= _SMALLEST_WHOLE)
    return torch.where(whole, 1 + chance.below(3, len(rows)), _PERSON)


def place(sizes: Tensor, boxes: Tensor, kinds: Tensor, size: tuple[int, int], chance: Chance) -> Placement:
    """Choose where views lie.

    Args:
        sizes: (B, 2) int, (H, W) of the pictures.
        boxes: (B, 4) of the person looked at.
        kinds: (B,) int, of the views.
        size: (H, W) of the views.
        chance: source of randomness.

    Returns:
        The placements.
    """
    count = len(sizes)
    picture = sizes.flip(1).float()  # width, height
    view = constant((float(size[1]), float(size[0])), sizes.device)
    wholes = torch.cat([torch.zeros_like(picture), picture], dim=1)
    boxes = torch.where((kinds == _FRAMED)[:, None], wholes, boxes)
    centre, span, angle = _around(boxes, view, chance)
    shares = torch.where(chance.happens(0.6, count, 1), chance.uniform(0.7, 1.0, count, 2), 1.0)
    widest = (picture / view).amin(1, keepdim=True) * chance.uniform(*_PART_SHARES, count, 1)
    window = torch.where((kinds == _STRETCHED)[:, None], picture * shares / view, widest)
    corner = chance.uniform(0, 1, count, 2) * (picture - window * view)
    windowed = (kinds == _STRETCHED) | (kinds == _PART)
    centre = torch.where(windowed[:, None], corner + window * (view - 1) / 2, centre)
    span = torch.where(windowed[:, None], window, span)
    angle = torch.where(windowed, 0.0, angle)
    flip = chance.happens(0.5, count)
    return Placement(centre, span, _turn(angle, flip), flip)


def _around(boxes: Tensor, view: Tensor, chance: Chance) -> tuple[Tensor, Tensor, Tensor]:
    """Look at a box as pose does, a little off."""
    count, extent = len(boxes), boxes[:, 2:] - boxes[:, :2]
    span = (extent / view).amax(1, keepdim=True) * 1.25 * chance.uniform(0.8, 1.25, count, 1)
    centre = (boxes[:, 2:] + boxes[:, :2]) / 2 + chance.normal(0.05, count, 2) * extent
    angle = torch.where(chance.happens(0.3, count), chance.normal(10, count).clamp(-40, 40), 0.0)
    return centre, span.expand(-1, 2), angle.deg2rad()


def _turn(angle: Tensor, flip: Tensor) -> Tensor:
    cosine, sine = angle.cos(), angle.sin()
    sign = torch.where(flip, -1.0, 1.0)
    return torch.stack([sign * cosine, -sign * sine, sine, cosine], dim=1).view(-1, 2, 2)


def _middle(size: tuple[int, int], device: torch.device) -> Tensor:
    return constant(((size[1] - 1) / 2, (size[0] - 1) / 2), device)


def _grid(size: tuple[int, int], step: int, device: torch.device) -> Tensor:
    """List the pixels of a view, (N, 2), row-major; with step 2 the middles of blocks of 2 by 2."""
    x, y = (torch.arange(0, length, step, device=device) + (step - 1) / 2 for length in (size[1], size[0]))
    return torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=2).flatten(0, 1)


@dataclass(frozen=True)
class Views:
    """Look up what pictures hold where views of them lie.

    Args:
        pool: the pictures.
        rows: (B,) which of them.
        placement: of the views.
        size: (H, W) of the views.
    """

    pool: PicturePool
    rows: Tensor
    placement: Placement
    size: tuple[int, int]

    def image(self) -> Tensor:
        """Interpolate pictures linearly; black beyond their edges.

        Returns:
            (B, 3, H, W) float32, 0 to 255.
        """
        points = self._points(step=1)
        first = points.floor()
        weight = points - first
        total = torch.zeros((*points.shape[:2], 3), device=points.device)
        for right in (0, 1):
            for down in (0, 1):
                share = (weight[..., 0] if right else 1 - weight[..., 0]) * (
                    weight[..., 1] if down else 1 - weight[..., 1]
                )
                index, inside = self._index(first.long() + constant((right, down), points.device))
                total += self._at("image", index) * (share * inside)[..., None]
        return total.unflatten(1, self.size).movedim(3, 1)

    def labels(self) -> dict[str, Tensor]:
        """Take the nearest pixels' labels on the half-size grid of logits and normals; 0 beyond the edges.

        Returns:
            `parts`, `mask`, `depth` and `normals`, as draw_views returns them.
        """
        half = (self.size[0] // 2, self.size[1] // 2)
        index, inside = self._index(self._points(step=2).round().long())
        depth = metres(self._at("depth", index), self.pool.field("far")[self.rows])
        mask = (depth > 0) & inside
        parts = self._at("parts", index).long() * mask
        swap = constant(_PART_SWAP, parts.device)
        normals = (self._at("normals", index).float() - 128) * mask[..., None]
        normals = F.normalize(_turned(normals, self.placement.turn), dim=2)
        return {
            "parts": torch.where(self.placement.flip[:, None], swap[parts], parts).unflatten(1, half),
            "mask": mask.unflatten(1, half),
            "depth": _relative(depth, mask).unflatten(1, half),
            "normals": normals.unflatten(1, half).movedim(3, 1),
        }

    def keypoints(self, person: Tensor, posed: Tensor) -> dict[str, Tensor]:
        """Map people's keypoints to the views.

        Args:
            person: (B,) index of the person looked at.
            posed: (B,) bool, whether that person's keypoints count.

        Returns:
            `keypoints` and `weights`, as draw_views returns them.
        """
        points = self.placement.to_view(self.pool.field("keypoints")[self.rows, person], self.size)
        corner = constant((self.size[1] - 1, self.size[0] - 1), points.device)
        inside = ((points >= 0) & (points <= corner)).all(2)
        # Hidden points count half: where they are can only be guessed.
        weights = self.pool.field("visibility")[self.rows, person] * 0.5 * inside * posed[:, None]
        swap = constant(_KEYPOINT_SWAP, points.device)
        flip = self.placement.flip[:, None]
        return {
            "keypoints": torch.where(flip[..., None], points[:, swap], points),
            "weights": torch.where(flip, weights[:, swap], weights),
        }

    def _points(self, step: int) -> Tensor:
        return self.placement.to_picture(_grid(self.size, step, self.rows.device), self.size)

    def _at(self, name: str, index: Tensor) -> Tensor:
        return self.pool.field(name)[self.rows[:, None], index]

    def _index(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Tell places (B, N) in row-major pictures for x, y (B, N, 2), and whether these lie inside."""
        height, width = self.pool.field("size")[self.rows].long().T[..., None]
        x, y = pixels.unbind(2)
        inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
        return torch.where(inside, y * width + x, 0), inside


def _turned(normals: Tensor, turn: Tensor) -> Tensor:
    """Turn normals (B, N, 3) with the view's rotation and mirroring; stretching it leaves them alone."""
    down = constant((1.0, -1.0), normals.device)  # rows run down, normals' y runs up
    flat = (normals[..., :2] * down) @ turn.mT * down
    return torch.cat([flat, normals[..., 2:]], dim=2)


def _relative(depth: Tensor, mask: Tensor) -> Tensor:
    """Scale depth (B, N) to 0 near and 1 far over each view's people; 0 elsewhere."""
    near = torch.where(mask, depth, torch.inf).amin(1, keepdim=True)
    far = torch.where(mask, depth, 0).amax(1, keepdim=True)
    return torch.where(mask, (depth - near) / (far - near).clamp(min=1e-3), 0)
