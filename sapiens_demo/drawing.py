"""Results become pictures.

Every class takes its style in the constructor and the data in the call, and returns a new (H, W, 3) uint8 RGB
picture of the photo's size. Photo and result must have the same size: a large photo is first brought to the
size of the screen by shrink_for_display, and its result by shrink_result, so that nothing is drawn at 12
megapixels only to be shown at two.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import cv2
import numpy as np

from sapiens_demo.resizing import shrink
from sapiens_demo.vocabulary import KEYPOINTS, PARTS, SKELETON, Color, Link

if TYPE_CHECKING:
    from sapiens_demo.tasks.depth import DepthResult
    from sapiens_demo.tasks.normal import NormalResult
    from sapiens_demo.tasks.pose import Person, PoseResult
    from sapiens_demo.tasks.segmentation import SegmentationResult

DISPLAY_PIXELS = 2_000_000
NEUTRAL: Color = (100, 100, 100)

Result = TypeVar("Result", "PoseResult", "SegmentationResult", "DepthResult", "NormalResult")


# ---- Sizes and mixing -------------------------------------------------------------------------------------


def shrink_for_display(photo: np.ndarray, max_pixels: int = DISPLAY_PIXELS) -> np.ndarray:
    """Shrink a photo that has more pixels than a screen shows.

    Args:
        photo: (H, W, 3) uint8.
        max_pixels: most pixels of the answer, at least 1.

    Returns:
        The photo itself where it is small enough, else a copy of the same shape of frame.
    """
    height, width = photo.shape[:2]
    if height * width <= max_pixels:
        return photo
    scale = (max_pixels / (height * width)) ** 0.5
    return shrink(photo, (max(1, int(height * scale)), max(1, int(width * scale))))


def shrink_result(result: Result, size: tuple[int, int]) -> Result:
    """Bring a result to another picture size, as if it had been decoded at that size.

    Args:
        result: the result of any task.
        size: (H, W) of the picture it is to be drawn on.

    Returns:
        A result of the same type, or the same one where it already has this size. Keypoints move with the
        pixels' centres, labels and masks take the nearest pixel, depth and normals are interpolated.
    """
    # Whoever holds a result has paid for these modules, and with them for torch, already.
    from sapiens_demo.tasks.depth import DepthResult
    from sapiens_demo.tasks.normal import NormalResult
    from sapiens_demo.tasks.pose import PoseResult
    from sapiens_demo.tasks.segmentation import SegmentationResult

    shrinkers = {
        PoseResult: _shrink_pose,
        SegmentationResult: _shrink_segmentation,
        DepthResult: _shrink_depth,
        NormalResult: _shrink_normal,
    }
    return shrinkers[type(result)](result, size)


def _shrink_pose(result: PoseResult, size: tuple[int, int]) -> PoseResult:
    if tuple(result.image_size) == tuple(size):
        return result
    scale = np.float32([size[1] / result.image_size[1], size[0] / result.image_size[0]])
    people = tuple(
        replace(
            person,
            box=person.box * np.tile(scale, 2),  # edges of pixels
            keypoints=(person.keypoints + np.float32(0.5)) * scale - np.float32(0.5),  # centres of pixels
        )
        for person in result.people
    )
    return replace(result, image_size=tuple(size), people=people)


def _shrink_segmentation(result: SegmentationResult, size: tuple[int, int]) -> SegmentationResult:
    if result.labels.shape == tuple(size):
        return result
    owners = None if result.owners is None else _resize_nearest(result.owners, size)
    return replace(result, labels=_resize_nearest(result.labels, size), owners=owners)


def _shrink_depth(result: DepthResult, size: tuple[int, int]) -> DepthResult:
    if result.depth.shape == tuple(size):
        return result
    mask = _resize_mask(result.mask, size)
    return replace(result, depth=_resize_map(result.depth, result.mask, size), mask=mask)


def _shrink_normal(result: NormalResult, size: tuple[int, int]) -> NormalResult:
    if result.normals.shape[:2] == tuple(size):
        return result
    from sapiens_demo.tasks.normal import normalise_vectors

    normals = normalise_vectors(_resize_map(result.normals, result.mask, size))
    return replace(result, normals=normals, mask=_resize_mask(result.mask, size))


def _resize_nearest(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return cv2.resize(image, size[::-1], interpolation=cv2.INTER_NEAREST_EXACT)


def _resize_map(values: np.ndarray, mask: np.ndarray | None, size: tuple[int, int]) -> np.ndarray:
    """Interpolate a float map, but never between the person and what lies behind."""
    smooth = cv2.resize(values, size[::-1], interpolation=cv2.INTER_LINEAR)
    if mask is None:
        return smooth
    share = cv2.resize(mask.view(np.uint8) * np.uint8(255), size[::-1], interpolation=cv2.INTER_LINEAR)
    rows, columns = ((share > 0) & (share < 255)).nonzero()
    smooth[rows, columns] = values[
        _nearest(rows, values.shape[0] / size[0]), _nearest(columns, values.shape[1] / size[1])
    ]
    return smooth


def _nearest(positions: np.ndarray, scale: float) -> np.ndarray:
    """Return which pixels of a map scale times as large lie under the pixels' centres."""
    return ((positions + 0.5) * scale).astype(np.intp)


def _resize_mask(mask: np.ndarray | None, size: tuple[int, int]) -> np.ndarray | None:
    return None if mask is None else _resize_nearest(mask.view(np.uint8), size).view(bool)


def blend(photo: np.ndarray, picture: np.ndarray, opacity: float) -> np.ndarray:
    """Lay a picture over a photo.

    Args:
        photo: (H, W, 3) uint8.
        picture: (H, W, 3) uint8.
        opacity: 0 shows the photo alone, 1 the picture alone.

    Returns:
        (H, W, 3) uint8, a new array.

    Raises:
        ValueError: if the sizes differ or the opacity is out of range.
    """
    _check_opacity(opacity)
    _check_size(photo, picture.shape[:2])
    return cv2.addWeighted(photo, 1.0 - opacity, picture, opacity, 0.0)


def _check_opacity(opacity: float) -> None:
    if not 0.0 <= opacity <= 1.0:
        raise ValueError(f"Opacity {opacity} is not between 0 and 1.")


def _check_size(photo: np.ndarray, size: tuple[int, int]) -> None:
    if photo.shape[:2] != tuple(size):
        raise ValueError(f"The photo is {photo.shape[:2]} and its result {tuple(size)} pixels (H, W).")


# ---- Pose -------------------------------------------------------------------------------------------------

_INK: Color = (18, 18, 24)
_SHIFT = 4  # binary places of the positions given to OpenCV
_SPREAD = 0.65  # px: how much wider OpenCV's anti-aliased shapes come out than asked for
_SHARP_RADIUS = 3  # px: from here on OpenCV's dots are round
_MAX_FACTOR, _MAX_SHEET = 4, 4_000_000  # most enlargement, and most pixels, for drawing smaller ones

# Radius of a point as a share of the diagonal of what it belongs to: the person, a hand, the face.
_BODY_SHARE, _HAND_SHARE, _FACE_SHARE, _HEAD_SHARE = 0.0048, 0.022, 0.0075, 0.012
_BODY_MOST = 0.0045  # of the picture's diagonal
_LEAST = {"body": 1.3, "hand": 0.8, "face": 0.65}  # px
_NEIGHBOUR_SHARE = 0.36  # of the usual distance to the nearest point: the eyes get finer points
_HAND_MOST, _FACE_MOST = 0.8, 0.55  # of the radius of the body's points
_LINK_SHARE = 0.5  # half width of a link, as a share of the points at its ends
_OUTLINE_SHARE, _OUTLINE_LEAST, _OUTLINE_MOST = 0.26, 0.2, 2.5  # of the radius; px; px

_COLORS = tuple(point.color for point in KEYPOINTS)


def _ids(*groups: str) -> np.ndarray:
    return np.array([point.id for point in KEYPOINTS if point.group in groups])


_HANDS = (_ids("left_hand"), _ids("right_hand"))
_FACE = _ids("face")
# Eyes, lips, ears...: the official colours tell the features of the face apart.
_FEATURES = [
    np.array([i for i in _FACE if KEYPOINTS[i].color == color])
    for color in {KEYPOINTS[i].color for i in _FACE}
]
_BODY = _ids("body", "foot")
_HEAD = np.array([0, 1, 2, 3, 4])  # nose, eyes and ears: body points that lie on the face
_BODY_LINKS = [link for link in SKELETON if {link.start, link.end} <= set(_BODY.tolist())]
_HAND_LINKS = [[link for link in SKELETON if {link.start, link.end} & set(hand.tolist())] for hand in _HANDS]


@dataclass(frozen=True)
class PoseDrawing:
    """Draw keypoints and the skeleton in their official colours.

    Points and links are sized by the person, the hands' by the hand and the face's by the face.

    Args:
        threshold: points whose score is lower are left out, and links to them.
        radius: of the body's points, px; the rest follows. None: by the person's size.
        opacity: 0 to 1.
        dim: how much the photo is darkened, 0 to 1.
    """

    threshold: float = 0.3
    radius: float | None = None
    opacity: float = 1.0
    dim: float = 0.0

    def __post_init__(self) -> None:
        _check_opacity(self.opacity)
        _check_opacity(self.dim)
        if self.radius is not None and self.radius <= 0:
            raise ValueError(f"Radius {self.radius} is not above 0.")

    def __call__(self, photo: np.ndarray, result: PoseResult) -> np.ndarray:
        """Draw the people of a photo, small ones first.

        Args:
            photo: (H, W, 3) uint8, RGB.
            result: its people, in the photo's pixels.

        Returns:
            (H, W, 3) uint8, RGB.
        """
        _check_size(photo, result.image_size)
        ground = cv2.convertScaleAbs(photo, alpha=1.0 - self.dim) if self.dim else photo
        picture = ground.copy()
        figures = [self._figure(person, photo.shape[:2]) for person in result.people]
        for figure in sorted(figures, key=lambda figure: figure.extent):
            _draw_figure(picture, figure)
        return picture if self.opacity == 1.0 else blend(ground, picture, self.opacity)

    def _figure(self, person: Person, size: tuple[int, int]) -> _Figure:
        seen = (person.scores >= self.threshold) & (person.scores > 0)
        # What lies far outside is drawn in the right direction all the same, within what OpenCV can count.
        points = np.where(seen[:, None], person.keypoints, 0).clip(-3 * max(size), 4 * max(size))
        extent = _extent(points, seen)
        body = min(_BODY_SHARE * extent, _BODY_MOST * float(np.hypot(*size)))
        radii = _radii(points, seen, max(body, _LEAST["body"]))
        if self.radius is not None:
            radii *= self.radius / max(body, _LEAST["body"])
        return _Figure(points.astype(np.float32), seen, radii, extent)


@dataclass(frozen=True)
class _Figure:
    """Hold a person to draw: (308, 2) points, (308,) whether seen, (308,) radii and the extent, all px."""

    points: np.ndarray
    seen: np.ndarray
    radii: np.ndarray
    extent: float


def _extent(points: np.ndarray, seen: np.ndarray) -> float:
    return float(np.hypot(*np.ptp(points[seen], axis=0))) if seen.any() else 0.0


def _radii(points: np.ndarray, seen: np.ndarray, body: float) -> np.ndarray:
    """Return a radius for each of the 308 points, px."""
    radii = np.full(len(points), body, np.float32)
    for hand in _HANDS:
        share = _HAND_SHARE * _extent(points[hand], seen[hand])
        radii[hand] = min(max(share, _LEAST["hand"]), _HAND_MOST * body)
    face = _extent(points[_FACE], seen[_FACE])
    if face == 0:
        return radii
    radii[_HEAD] = min(max(_HEAD_SHARE * face, _LEAST["hand"]), body)
    gaps = _gaps(points, _FACE[seen[_FACE]])
    for feature in _FEATURES:
        usual = np.median(gaps[feature[seen[feature]]]) if seen[feature].any() else 0.0
        share = min(_FACE_SHARE * face, _NEIGHBOUR_SHARE * float(usual))
        radii[feature] = min(max(share, _LEAST["face"]), _FACE_MOST * body)
    return radii


def _gaps(points: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """Return the distance of each point named by ids to the nearest other of them; 0 for the rest."""
    gaps = np.zeros(len(points), np.float32)
    difference = points[ids, None] - points[None, ids]
    squares = np.einsum("ijk,ijk->ij", difference, difference)
    np.fill_diagonal(squares, np.inf)
    gaps[ids] = np.sqrt(squares.min(axis=1))
    return gaps


def _draw_figure(picture: np.ndarray, figure: _Figure) -> None:
    _draw_group(picture, figure, _BODY_LINKS, _BODY)
    for links, hand in zip(_HAND_LINKS, _HANDS, strict=True):
        _draw_group(picture, figure, links, hand)
    _draw_group(picture, figure, [], _FACE)


def _draw_group(picture: np.ndarray, figure: _Figure, links: list[Link], ids: np.ndarray) -> None:
    """Draw some links and points of a person: outlines below, colour above, points over links."""
    ids = ids[figure.seen[ids]]
    links = [link for link in links if figure.seen[link.start] and figure.seen[link.end]]
    if not len(ids):
        return
    ends = np.unique([*ids, *(link.start for link in links), *(link.end for link in links)])
    corner, part = _cut_out(picture, figure.points[ends], float(figure.radii[ends].max()))
    if not part.size:
        return
    with _enlarged(part, float(np.median(figure.radii[ends]))) as (sheet, factor):
        points = (figure.points + np.float32(0.5) - corner) * factor - np.float32(0.5)
        radii = figure.radii * factor
        rims = (radii * _OUTLINE_SHARE).clip(_OUTLINE_LEAST * factor, _OUTLINE_MOST * factor)
        halves = radii * _LINK_SHARE
        _draw_links(sheet, links, points, halves + rims, [_INK] * len(links))
        _draw_links(sheet, links, points, halves, [link.color for link in links])
        _draw_points(sheet, points[ids], (radii + rims)[ids], [_INK] * len(ids))
        _draw_points(sheet, points[ids], radii[ids], [_COLORS[i] for i in ids])


def _cut_out(picture: np.ndarray, points: np.ndarray, radius: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the part of a picture around points of a radius, a view, and its corner (x, y)."""
    margin = radius + _OUTLINE_MOST + 2
    size = np.array(picture.shape[1::-1])
    x1, y1 = (points.min(axis=0) - margin).astype(int).clip(0, size)
    x2, y2 = (points.max(axis=0) + margin).astype(int).clip(0, size)
    return np.float32([x1, y1]), picture[y1:y2, x1:x2]


@contextmanager
def _enlarged(part: np.ndarray, radius: float) -> Iterator[tuple[np.ndarray, int]]:
    """Lend a part of a picture for drawing, enlarged so that dots of a radius come out well.

    Each pixel becomes factor x factor equal ones, and their mean comes back: the rest stays as it is.
    """
    height, width = part.shape[:2]
    affordable = int((_MAX_SHEET / (height * width)) ** 0.5)
    factor = max(1, min(math.ceil(_SHARP_RADIUS / radius), affordable, _MAX_FACTOR))
    sheet = cv2.resize(part, (width * factor, height * factor), interpolation=cv2.INTER_NEAREST)
    yield sheet, factor
    part[:] = sheet if factor == 1 else cv2.resize(sheet, (width, height), interpolation=cv2.INTER_AREA)


def _fixed(values: np.ndarray) -> np.ndarray:
    return np.rint(values * (1 << _SHIFT)).astype(np.int32)


def _draw_links(
    sheet: np.ndarray, links: list[Link], points: np.ndarray, halves: np.ndarray, colors: list[Color]
) -> None:
    """Draw tapering bars; halves are the half widths at the points, px."""
    if not links:
        return
    starts, ends = np.array([(link.start, link.end) for link in links]).T
    along = points[ends] - points[starts]
    along /= np.maximum(np.linalg.norm(along, axis=1, keepdims=True), 1e-6)
    across = np.stack([-along[:, 1], along[:, 0]], axis=1)
    halves = np.maximum(halves - _SPREAD, 0.05)
    left, right = across * halves[starts][:, None], across * halves[ends][:, None]
    a, b = points[starts], points[ends]
    corners = _fixed(np.stack([a + left, b + right, b - right, a - left], axis=1))
    for polygon, color in zip(corners, colors, strict=True):
        cv2.fillConvexPoly(sheet, polygon, color, cv2.LINE_AA, _SHIFT)


def _draw_points(sheet: np.ndarray, points: np.ndarray, radii: np.ndarray, colors: list[Color]) -> None:
    centres = _fixed(points).tolist()
    sizes = _fixed(np.maximum(radii - _SPREAD, 0.1)).tolist()
    for centre, size, color in zip(centres, sizes, colors, strict=True):
        cv2.circle(sheet, centre, size, color, cv2.FILLED, cv2.LINE_AA, _SHIFT)


# ---- Body parts -------------------------------------------------------------------------------------------

_CONTOUR_SHARE, _CONTOUR_LEAST = 0.0011, 1.2  # width: of the picture's diagonal; px
_CONTOUR_OPACITY = 0.85
_CONTOUR_WHITE = 0.55  # share of white in the contours' colours


def _color_table(white: float) -> np.ndarray:
    table = np.zeros((256, 1, 3), np.float32)
    table[: len(PARTS), 0] = [part.color for part in PARTS]
    return np.rint(table + (255 - table) * white).astype(np.uint8)


_PART_COLORS, _CONTOUR_COLORS = _color_table(0.0), _color_table(_CONTOUR_WHITE)


@dataclass(frozen=True)
class SegmentationDrawing:
    """Tint body parts in their official colours, with a fine line around each; the background stays as it is.

    Args:
        opacity: of the tint, 0 to 1.
    """

    opacity: float = 0.5

    def __post_init__(self) -> None:
        _check_opacity(self.opacity)

    def __call__(self, photo: np.ndarray, result: SegmentationResult) -> np.ndarray:
        """Draw the parts over a photo.

        Args:
            photo: (H, W, 3) uint8, RGB.
            result: the labels of its pixels.

        Returns:
            (H, W, 3) uint8, RGB.
        """
        _check_size(photo, result.labels.shape)
        picture = photo.copy()
        person = cv2.compare(result.labels, 0, cv2.CMP_GT)
        x, y, width, height = cv2.boundingRect(person)
        if width == 0:
            return picture
        # Two pixels more on every side: an outline is where labels change.
        frame = np.s_[max(y - 2, 0) : y + height + 2, max(x - 2, 0) : x + width + 2]
        labels = np.ascontiguousarray(result.labels[frame])
        tinted = blend(photo[frame], cv2.applyColorMap(labels, _PART_COLORS), self.opacity)
        regions = labels if result.owners is None else _regions(labels, result.owners[frame])
        weight = self._contour_weight(regions, float(np.hypot(*photo.shape[:2])))
        tinted = cv2.blendLinear(tinted, cv2.applyColorMap(labels, _CONTOUR_COLORS), 1 - weight, weight)
        picture[frame] = cv2.copyTo(tinted, person[frame], picture[frame])
        return picture

    def _contour_weight(self, regions: np.ndarray, diagonal: float) -> np.ndarray:
        """Return (H, W) float32: how much of the contour's colour each pixel gets, with soft edges."""
        width = max(_CONTOUR_LEAST, _CONTOUR_SHARE * diagonal)
        steps = cv2.morphologyEx(regions, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8))
        edges = cv2.threshold(steps, 0, 255, cv2.THRESH_BINARY)[1]
        soft = cv2.GaussianBlur(edges, (0, 0), width / 2.2)
        most = min(_CONTOUR_OPACITY, 1.7 * self.opacity)
        return np.minimum(soft * np.float32(1.5 * most / 255), np.float32(most))


def _regions(labels: np.ndarray, owners: np.ndarray) -> np.ndarray:
    """Number parts so that those of one person differ from the same parts of others beside them.

    8 bits hold 9 people's; with more, two who are 9 apart share their numbers.
    """
    return labels + np.uint8(len(PARTS)) * (owners % np.uint8(9))


class LegendEntry(NamedTuple):
    """Tell of one part present: its title, colour (R, G, B) and share of the person's pixels, 0 to 1."""

    title: str
    color: Color
    share: float


def legend(result: SegmentationResult) -> list[LegendEntry]:
    """List the parts present.

    Args:
        result: labels.

    Returns:
        One entry a part, the largest first; empty without a person.
    """
    shares = sorted(result.shares().items(), key=lambda item: -item[1])
    return [LegendEntry(PARTS[part].title, PARTS[part].color, share) for part, share in shares]


# ---- Depth and normals ------------------------------------------------------------------------------------

_RELIEF_SIDE = 300  # px: square root of the person's area on the map that normals are derived from


def _inferno() -> np.ndarray:
    """Return the colours of inferno, (256, 3) uint8 RGB, from dark to bright."""
    steps = np.arange(256, dtype=np.uint8)[:, None]
    return np.ascontiguousarray(cv2.applyColorMap(steps, cv2.COLORMAP_INFERNO)[:, 0, ::-1])


@dataclass(frozen=True)
class DepthDrawing:
    """Paint depth in inferno's colours: near is bright, far is dark.

    Args:
        percentiles: of the person's depth that become the brightest and the darkest colour; (0, 100) is the
            plain minimum and maximum, which one stray pixel can spoil.
        background: colour where the mask says there is no person.
    """

    percentiles: tuple[float, float] = (1, 99)
    background: Color = NEUTRAL

    def __call__(self, photo: np.ndarray, result: DepthResult) -> np.ndarray:
        """Paint a depth map.

        Args:
            photo: (H, W, 3) uint8; only its size matters.
            result: depth and mask. A map without any depth in it gets the middle colour.

        Returns:
            (H, W, 3) uint8, RGB.
        """
        from sapiens_demo.tasks.depth import depth_range

        _check_size(photo, result.depth.shape)
        near, far = depth_range(result, self.percentiles)
        nearness = (result.depth - np.float32(near)) / np.float32(far - near)
        np.subtract(1, nearness, out=nearness).clip(0, 1, out=nearness)
        nearness *= 255
        picture = cv2.applyColorMap(nearness.astype(np.uint8), _inferno()[:, None])
        return _fill_background(picture, result.mask, self.background)


@dataclass(frozen=True)
class NormalDrawing:
    """Paint normals as colours: (x right, y up, z to the viewer) from -1 .. 1 to (R, G, B) from 0 to 255.

    Args:
        background: colour where the mask says there is no person.
    """

    background: Color = NEUTRAL

    def __call__(self, photo: np.ndarray, result: NormalResult) -> np.ndarray:
        """Paint a map of normals.

        Args:
            photo: (H, W, 3) uint8; only its size matters.
            result: normals and mask.

        Returns:
            (H, W, 3) uint8, RGB.
        """
        _check_size(photo, result.normals.shape[:2])
        return _fill_background(_normal_colors(result.normals), result.mask, self.background)


@dataclass(frozen=True)
class DepthNormalsDrawing:
    """Paint the normals of the surface that a depth map describes, as NormalDrawing does.

    Args:
        background: colour where the mask says there is no person.
    """

    background: Color = NEUTRAL

    def __call__(self, photo: np.ndarray, result: DepthResult) -> np.ndarray:
        """Paint the normals of a depth map.

        Args:
            photo: (H, W, 3) uint8; only its size matters.
            result: depth and mask.

        Returns:
            (H, W, 3) uint8, RGB.
        """
        _check_size(photo, result.depth.shape)
        return _fill_background(_relief_colors(result), result.mask, self.background)


def _relief_colors(result: DepthResult) -> np.ndarray:
    """Return (H, W, 3) uint8, the colours of a depth map's normals.

    They are smoothed by a share of the person's size: a large person is measured on a smaller map at no loss.
    """
    from sapiens_demo.tasks.depth import normals_from_depth

    height, width = result.depth.shape
    area = int(np.count_nonzero(result.mask)) if result.mask is not None else 0
    scale = _RELIEF_SIDE / (area or result.depth.size) ** 0.5
    if scale >= 1:
        return _normal_colors(normals_from_depth(result))
    small = _shrink_depth(result, (max(1, round(height * scale)), max(1, round(width * scale))))
    normals = normals_from_depth(small)
    if area:
        normals = _spread(normals, small.mask)
    return cv2.resize(_normal_colors(normals), (width, height), interpolation=cv2.INTER_LINEAR)


def _spread(normals: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Carry the normals inside a mask two pixels outwards, in place, so that enlarging them leaves no rim."""
    inside = mask.view(np.uint8)
    sums = cv2.blur(cv2.copyTo(normals, inside), (5, 5))
    near = cv2.dilate(inside, np.ones((5, 5), np.uint8)) > inside
    normals[near] = sums[near] / np.linalg.norm(sums[near], axis=1, keepdims=True).clip(1e-6)
    return normals


def _normal_colors(normals: np.ndarray) -> np.ndarray:
    """Return (H, W, 3) uint8 for (H, W, 3) float32; the fraction is cut off, as in the official pictures."""
    colors = np.empty(normals.shape, np.uint8)
    for top in range(0, len(normals), 64):  # strips that fit in the processor's cache
        strip = normals[top : top + 64] + np.float32(1)
        strip *= np.float32(0.5)
        strip *= np.float32(255)
        colors[top : top + 64] = strip.clip(0, 255, out=strip)
    return colors


def _fill_background(picture: np.ndarray, mask: np.ndarray | None, color: Color) -> np.ndarray:
    if mask is None or not mask.any():
        return picture
    ground = np.empty_like(picture)
    ground[:] = np.tile(np.uint8(color), (picture.shape[1], 1))  # copied by rows, far faster than by pixels
    return cv2.copyTo(picture, mask.view(np.uint8), ground)


def depth_color_bar(width: int = 256, height: int = 12) -> np.ndarray:
    """Paint the scale of depth colours.

    Args:
        width: px.
        height: px.

    Returns:
        (height, width, 3) uint8, RGB: near (bright) on the left, far (dark) on the right, as depth grows.
    """
    steps = np.rint(np.linspace(255, 0, width)).astype(int)
    return np.tile(_inferno()[steps], (height, 1, 1))


def normal_sphere(size: int = 128) -> np.ndarray:
    """Paint a ball on which every point has the colour of its normal: the key to pictures of normals.

    Args:
        size: px.

    Returns:
        (size, size, 4) uint8, RGBA, transparent around the ball.
    """
    steps = (np.arange(size, dtype=np.float32) + 0.5) / size * 2 - 1
    x, y = np.meshgrid(steps, -steps)
    distance = np.hypot(x, y)
    # Outside the ball the rim's colour goes on, so that its soft edge has no fringe.
    x, y = x / np.maximum(distance, 1), y / np.maximum(distance, 1)
    z = np.sqrt(np.maximum(1 - x * x - y * y, 0))
    opacity = ((1 - distance) * size / 2 + 0.5).clip(0, 1) * 255
    return np.dstack([_normal_colors(np.dstack([x, y, z])), np.rint(opacity).astype(np.uint8)])
