"""From a map of body parts to a box for each person.

What hangs together is one person, unless it has several heads; then every pixel goes to the head it hangs
from. Sizes are shares of the map, so that its resolution does not matter.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import cv2
import numpy as np

from sapiens_demo.vocabulary import PARTS

_FACE_PARTS = ("Face_Neck", "Lower_Lip", "Upper_Lip", "Lower_Teeth", "Upper_Teeth", "Tongue")
_FACE = [part.id for part in PARTS if part.name in _FACE_PARTS]
_HEAD = [*_FACE, *(part.id for part in PARTS if part.name == "Hair")]

# Of the map's longer side: fragments this near to each other are one region.
_GAP = 0.01
# Of the map's longer side: what is thinner than twice this and a pixel is no part of a head.
_SPECK = 0.0025
# Of the map's area. A body whose head is not seen must be larger to be worth a box.
_SMALLEST_REGION, _SMALLEST_HEADLESS, _SMALLEST_HEAD = 0.0005, 0.002, 0.00005
# Of the largest head's area in the same region, and of the largest face's in the same head.
_SMALLEST_HEAD_BESIDE, _SMALLEST_FACE_BESIDE = 1 / 12, 1 / 4
# Two blobs are one head where their centres are nearer than this, in diameters of the larger one; a head and
# its neck are taller than wide, so vertical distances count less.
_SAME_HEAD, _SAME_HEAD_STRETCH = 0.9, 1.5
# Below a head its body hangs, so that downward distances to it count this much less.
_HANGS = 3.0
# A headless fragment is part of a person where it is this near above or below, in the person's heights, and
# this much of its width lies over or under the person.
_SAME_PERSON_GAP, _SAME_PERSON_OVERLAP = 0.25, 0.3
# What is smaller than this share of a person whose box it meets is a hand or a foot of that person, whatever
# parts it was taken for; as somebody farther away it would be five times as far.
_LIMB = 1 / 12
# A person is at least this many heads tall, however little of it is seen.
_BODY_HEADS = 6.0
# Of a person's pixels: smaller pieces of it that lie apart do not stretch its box.
_WORTHLESS_PIECE = 0.05
# Of a box's width and height, on each side.
_PADDING = 0.03
# Times the score of somebody whose head is not seen.
_HEADLESS_DOUBT = 0.9


@dataclass(frozen=True, eq=False)
class Regions:
    """Hold the people of a map of body parts.

    Args:
        boxes: (N, 4) float32 x1, y1, x2, y2 in pixels of the map, inside it, by falling score.
        scores: (N,) float32, 0 to 1.
        heads: (N,) float32 diameter of each person's head in pixels; 0 where none is seen.
    """

    boxes: np.ndarray
    scores: np.ndarray
    heads: np.ndarray


@dataclass(frozen=True)
class _Blob:
    """A connected piece of a mask: pixels, centre."""

    area: float
    x: float
    y: float

    @property
    def diameter(self) -> float:
        return 2 * float(np.sqrt(self.area / np.pi))

    def is_near(self, other: _Blob) -> bool:
        distance = np.hypot(self.x - other.x, (self.y - other.y) / _SAME_HEAD_STRETCH)
        return distance < _SAME_HEAD * max(self.diameter, other.diameter)

    def joined(self, other: _Blob) -> _Blob:
        area = self.area + other.area
        share = other.area / area
        return _Blob(area, self.x + share * (other.x - self.x), self.y + share * (other.y - self.y))


@dataclass(frozen=True, eq=False)
class _Person:
    """Somebody's pixels, and the head they hang from where it is seen."""

    pixels: np.ndarray  # [H, W] bool
    head: _Blob | None

    @property
    def height(self) -> float:
        """Return how tall somebody is, in pixels; of somebody who is partly hidden, about."""
        _, top, _, bottom = self.extent
        return max(bottom - top, _BODY_HEADS * self.head.diameter if self.head else 0)

    @cached_property
    def extent(self) -> tuple[int, int, int, int]:
        x, y, width, height = cv2.boundingRect(self.pixels.view(np.uint8))
        return x, y, x + width, y + height


def find_regions(labels: np.ndarray, certainty: np.ndarray) -> Regions:
    """Find the people in a map of body parts.

    Args:
        labels: (H, W) uint8, ids of vocabulary.PARTS.
        certainty: (H, W) float32, 0 to 1: how sure it is that there is a person at a pixel.

    Returns:
        A box for each, padded a little.
    """
    pieces = [piece for region in _connected(labels > 0) for piece in _people_of(labels, region)]
    people = [piece for piece in pieces if piece.head]
    people = _with_fragments(people, [piece for piece in pieces if not piece.head])
    smallest = _SMALLEST_REGION * labels.size
    people = [person for person in people if np.count_nonzero(person.pixels) >= smallest]
    return _measured(_without_limbs(people), certainty)


def _connected(mask: np.ndarray) -> list[np.ndarray]:
    """Take a mask apart, bridging small gaps; return the large enough pieces as masks, the largest first."""
    reach = max(1, round(_GAP * max(mask.shape) / 2))
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1))
    bridged = cv2.dilate(mask.astype(np.uint8), kernel)
    count, numbers = cv2.connectedComponents(bridged, connectivity=8)
    numbers = np.where(mask, numbers, 0)
    areas = np.bincount(numbers.ravel(), minlength=count)[1:]
    order = np.argsort(-areas, kind="stable")
    return [numbers == number + 1 for number in order if areas[number] >= _SMALLEST_REGION * mask.size]


def _people_of(labels: np.ndarray, region: np.ndarray) -> list[_Person]:
    """Split a region by its heads; without any it stays one headless piece."""
    x, y, width, height = cv2.boundingRect(region.view(np.uint8))
    frame = slice(y, y + height), slice(x, x + width)  # most of a map has nothing to do with the region
    heads = _heads(labels[frame], region[frame], _Scale.of(labels))
    people = []
    for head, part in zip(heads or [None], _split(region[frame], heads), strict=True):
        pixels = np.zeros_like(region)
        pixels[frame] = part
        people.append(_Person(pixels, head and replace(head, x=head.x + x, y=head.y + y)))
    return people


# ---- Heads ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Scale:
    """What the smallest things of a map measure."""

    head_area: float
    speck: int  # pixels

    @classmethod
    def of(cls, labels: np.ndarray) -> _Scale:
        return cls(_SMALLEST_HEAD * labels.size, max(1, round(_SPECK * max(labels.shape))))


def _heads(labels: np.ndarray, region: np.ndarray, scale: _Scale) -> list[_Blob]:
    """Find the heads of a region, the largest first, where they are large enough to be believed."""
    kernel = np.ones((2 * scale.speck + 1,) * 2, np.uint8)
    mask = (region & np.isin(labels, _HEAD)).astype(np.uint8)
    mask = cv2.morphologyEx(mask, cv2.MORPH_OPEN, kernel)
    heads = [
        head
        for component, blob in _blobs(mask, scale.head_area)
        for head in (_faces(labels, component, scale) or [blob])
    ]
    heads = _merged(heads)
    return [head for head in heads if head.area >= _SMALLEST_HEAD_BESIDE * heads[0].area]


def _faces(labels: np.ndarray, component: np.ndarray, scale: _Scale) -> list[_Blob]:
    """Return the faces of heads that touch, cheek to cheek; nothing where there is one face or none."""
    mask = (component & np.isin(labels, _FACE)).astype(np.uint8)
    faces = _merged([blob for _, blob in _blobs(mask, scale.head_area)])
    faces = [face for face in faces if face.area >= _SMALLEST_FACE_BESIDE * faces[0].area]
    return faces if len(faces) > 1 else []


def _blobs(mask: np.ndarray, smallest: float) -> list[tuple[np.ndarray, _Blob]]:
    count, numbers, stats, centres = cv2.connectedComponentsWithStats(mask, connectivity=8)
    found = []
    for number in range(1, count):
        area = float(stats[number, cv2.CC_STAT_AREA])
        if area >= smallest:
            found.append((numbers == number, _Blob(area, *map(float, centres[number]))))
    return found


def _merged(blobs: list[_Blob]) -> list[_Blob]:
    """Join pieces of one head, such as a face and the hair on both sides of it; the largest comes first."""
    waiting = sorted(blobs, key=lambda blob: -blob.area)
    heads: list[_Blob] = []
    for blob in waiting:
        near = next((number for number, head in enumerate(heads) if head.is_near(blob)), None)
        if near is None:
            heads.append(blob)
        else:
            heads[near] = heads[near].joined(blob)
    return sorted(heads, key=lambda head: -head.area)


# ---- People -----------------------------------------------------------------------------------------------


def _split(region: np.ndarray, heads: list[_Blob]) -> list[np.ndarray]:
    """Give every pixel of a region to the head it hangs from: the nearest, measured in that head's size."""
    if len(heads) < 2:
        return [region]
    ys, xs = np.nonzero(region)
    owners = np.full(region.shape, -1)
    owners[ys, xs] = np.stack([_distance(head, xs, ys) for head in heads]).argmin(0)
    return [owners == number for number in range(len(heads))]


def _distance(head: _Blob, xs: np.ndarray, ys: np.ndarray) -> np.ndarray:
    down = ys - head.y
    return np.hypot(xs - head.x, np.where(down > 0, down / _HANGS, down)) / head.diameter


def _with_fragments(people: list[_Person], fragments: list[_Person]) -> list[_Person]:
    """Give headless fragments to the person they are part of; the large ones that are left are people too."""
    grown = list(people)
    alone = []
    for piece in fragments:
        gaps = [_gap(person, piece) for person in grown]
        owner = int(np.argmin(gaps)) if gaps else 0
        if gaps and gaps[owner] <= _SAME_PERSON_GAP:
            grown[owner] = _Person(grown[owner].pixels | piece.pixels, grown[owner].head)
        elif np.count_nonzero(piece.pixels) >= _SMALLEST_HEADLESS * piece.pixels.size:
            alone.append(piece)
    return grown + alone


def _without_limbs(people: list[_Person]) -> list[_Person]:
    """Leave out pieces that are hands or feet of much larger people."""
    areas = [np.count_nonzero(person.pixels) for person in people]
    return [
        piece
        for piece, area in zip(people, areas, strict=True)
        if not any(
            area < _LIMB * other and _meet(piece, person) for person, other in zip(people, areas, strict=True)
        )
    ]


def _meet(first: _Person, second: _Person) -> bool:
    """Tell whether two people's boxes meet."""
    one, other = first.extent, second.extent
    return all(max(one[axis], other[axis]) <= min(one[axis + 2], other[axis + 2]) for axis in (0, 1))


def _gap(person: _Person, piece: _Person) -> float:
    """Measure how far a fragment is above or below a person, in their heights; infinite beside them."""
    left, top, right, bottom = person.extent
    piece_left, piece_top, piece_right, piece_bottom = piece.extent
    overlap = min(right, piece_right) - max(left, piece_left)
    if overlap < _SAME_PERSON_OVERLAP * (piece_right - piece_left):
        return float("inf")
    return max(top - piece_bottom, piece_top - bottom, 0) / person.height


def _measured(people: list[_Person], certainty: np.ndarray) -> Regions:
    height, width = certainty.shape
    limits = np.array([width, height, width, height], np.float32)
    boxes = np.array([_box(person) for person in people], np.float32).reshape(-1, 4).clip(0, limits)
    scores = np.array([_score(person, certainty) for person in people], np.float32)
    heads = np.array([person.head.diameter if person.head else 0 for person in people], np.float32)
    order = np.argsort(-scores, kind="stable")
    return Regions(boxes[order], scores[order], heads[order])


def _box(person: _Person) -> list[float]:
    count, numbers, stats, _ = cv2.connectedComponentsWithStats(person.pixels.astype(np.uint8))
    areas = stats[1:, cv2.CC_STAT_AREA]
    worth = stats[1:][areas >= min(_WORTHLESS_PIECE * areas.sum(), areas.max())]
    left, top = worth[:, cv2.CC_STAT_LEFT], worth[:, cv2.CC_STAT_TOP]
    right, bottom = left + worth[:, cv2.CC_STAT_WIDTH], top + worth[:, cv2.CC_STAT_HEIGHT]
    x1, y1, x2, y2 = left.min(), top.min(), right.max(), bottom.max()
    across, along = _PADDING * (x2 - x1), _PADDING * (y2 - y1)
    return [x1 - across, y1 - along, x2 + across, y2 + along]


def _score(person: _Person, certainty: np.ndarray) -> float:
    sure = float(certainty[person.pixels].mean())
    return min(max(sure * (1 if person.head else _HEADLESS_DOUBT), 0.0), 1.0)
