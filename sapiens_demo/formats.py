"""Results in the forms that other tools read: COCO, COCO-WholeBody, OpenPose, and a mask of each person.

Which of the 308 keypoints stand for a point of another scheme is said in tables/wholebody.csv and
tables/body25.csv. A counterpart is the mean of its sources, as sure as the least sure of them. It is "exact"
where both schemes mean the same place by name, "near" where the 308 only have a point close by, and "missing"
where they have none: the jaw line. The face's 68 points are those of Multi-PIE and 300-W; the near ones along
brows, lids and lips lie at the shares of the curve where the mean face of that scheme has them.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sapiens_demo.boxes import MAX_PEOPLE
from sapiens_demo.regions import find_regions
from sapiens_demo.vocabulary import KEYPOINTS

if TYPE_CHECKING:
    from sapiens_demo.estimator import Estimate
    from sapiens_demo.tasks.pose import Person
    from sapiens_demo.tasks.segmentation import SegmentationResult

THRESHOLD = 0.3

_TABLES = Path(__file__).parent / "tables"
_IDS = {point.name: point.id for point in KEYPOINTS}

_REACH = 1.25  # half sides of a box, from its centre: so far a person's pixels may lie
_STRIP_ROWS = 256  # given to people at a time, so that distances take little memory
_SIDE_FOR_REGIONS = 512  # pixels: people are told apart in a map of about this size

# Pairs of positions in COCO's list of 17, counted from 1, as its own annotation files have them.
_SKELETON = (
    (16, 14), (14, 12), (17, 15), (15, 13), (12, 13), (6, 12), (7, 13), (6, 7), (6, 8), (7, 9),
    (8, 10), (9, 11), (2, 3), (1, 2), (1, 3), (2, 4), (3, 5), (4, 6), (5, 7),
)  # fmt: skip

_PIXELS = "x to the right, y down, in pixels of the upright photo, the centre of the first pixel at (0, 0)"
_SEEN = "points that score less than the threshold or lie outside the photo are all zeros"
_BOX = "what the person was looked for in, the whole photo where nobody was found; area is width x height"


# ---- Counterparts -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Counterpart:
    """Say what stands for a point of another scheme.

    Args:
        name: of the point in its own scheme.
        sources: ids among the 308 whose mean it is; empty where it is missing.
        match: "exact", "near" or "missing".
    """

    name: str
    sources: tuple[int, ...]
    match: str


def _read_table(name: str) -> tuple[Counterpart, ...]:
    with (_TABLES / name).open(newline="", encoding="utf-8") as file:
        return tuple(
            Counterpart(row["name"], tuple(_IDS[source] for source in row["sources"].split()), row["match"])
            for row in csv.DictReader(file)
        )


def _names(points: Sequence[Counterpart], match: str) -> tuple[str, ...]:
    return tuple(point.name for point in points if point.match == match)


# The 133 points in the order of COCO-WholeBody, and their groups.
WHOLEBODY = _read_table("wholebody.csv")
BODY, FEET, FACE = slice(0, 17), slice(17, 23), slice(23, 91)
LEFT_HAND, RIGHT_HAND = slice(91, 112), slice(112, 133)
MISSING_WHOLEBODY = _names(WHOLEBODY, "missing")
NEAR_WHOLEBODY = _names(WHOLEBODY, "near")

BODY_25 = _read_table("body25.csv")
# OpenPose's face ends with the pupils, the right one first.
FACE_70 = (
    *WHOLEBODY[FACE],
    Counterpart("face-68", (_IDS["r_center_of_pupil"],), "exact"),
    Counterpart("face-69", (_IDS["l_center_of_pupil"],), "exact"),
)
_OPENPOSE = {
    "pose_keypoints_2d": BODY_25,
    "face_keypoints_2d": FACE_70,
    "hand_left_keypoints_2d": WHOLEBODY[LEFT_HAND],
    "hand_right_keypoints_2d": WHOLEBODY[RIGHT_HAND],
}


def place_points(
    person: Person, points: Sequence[Counterpart], photo_size: tuple[int, int], threshold: float = THRESHOLD
) -> np.ndarray:
    """Find the points of another scheme on a person.

    Args:
        person: with the 308 keypoints.
        points: of the other scheme.
        photo_size: (H, W) of the photo in pixels.
        threshold: points that score less, or nothing, are not seen.

    Returns:
        (K, 3) float64 of x and y in photo pixels and the score, inside the photo; all zero where not seen.
    """
    rows = np.zeros((len(points), 3))
    for row, point in zip(rows, points, strict=True):
        if point.sources:
            sources = list(point.sources)
            row[:2], row[2] = person.keypoints[sources].mean(0), person.scores[sources].min()
    last = np.array([photo_size[1], photo_size[0]]) - 1
    inside = ((rows[:, :2] >= -0.5) & (rows[:, :2] <= last + 0.5)).all(1)
    rows[~inside | (rows[:, 2] < threshold) | (rows[:, 2] <= 0)] = 0
    rows[:, :2] = rows[:, :2].clip(0, last)
    return rows


def _seen_people(
    estimate: Estimate, points: Sequence[Counterpart], threshold: float
) -> Iterator[tuple[int, Person, np.ndarray]]:
    """Yield number from 1, person and placed points of everybody of whom a point is seen."""
    for number, person in enumerate(estimate.result.people, 1):
        rows = place_points(person, points, estimate.result.image_size, threshold)
        if rows.any():
            yield number, person, rows


# ---- COCO -------------------------------------------------------------------------------------------------


def to_coco(estimate: Estimate, name: str, threshold: float = THRESHOLD) -> dict[str, Any]:
    """Write the people of a photo as COCO's annotations of 17 keypoints.

    Args:
        estimate: of the task pose.
        name: the photo's file name.
        threshold: keypoints that score less have visibility 0; the others have 2. Nobody knows who is hidden,
            so there is no 1.

    Returns:
        Plain values, ready for JSON; an annotation's id is the person's number. Somebody of whom no point is
        seen is left out.
    """
    annotations = [
        _annotation(number, person, rows, estimate)
        for number, person, rows in _seen_people(estimate, WHOLEBODY[BODY], threshold)
    ]
    return _coco_file(estimate, name, annotations, _info(estimate, WHOLEBODY[BODY], threshold), {})


def to_wholebody(estimate: Estimate, name: str, threshold: float = THRESHOLD) -> dict[str, Any]:
    """Write the people of a photo as COCO-WholeBody's annotations of 133 keypoints.

    As in that data set's own files, "keypoints" holds the body's 17, and "foot_kpts", "face_kpts",
    "lefthand_kpts" and "righthand_kpts" the others.

    Args:
        estimate: of the task pose.
        name: the photo's file name.
        threshold: as for to_coco.

    Returns:
        As from to_coco; "info" lists the points without a counterpart, MISSING_WHOLEBODY, and the near ones.
    """
    annotations = [
        {**_annotation(number, person, rows, estimate), **_group_fields(rows)}
        for number, person, rows in _seen_people(estimate, WHOLEBODY, threshold)
    ]
    names = {f"{group}_kpts": [point.name for point in WHOLEBODY[part]] for group, part in _GROUPS.items()}
    return _coco_file(estimate, name, annotations, _info(estimate, WHOLEBODY, threshold), names)


_GROUPS = {"foot": FEET, "face": FACE, "lefthand": LEFT_HAND, "righthand": RIGHT_HAND}


def _group_fields(rows: np.ndarray) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for group, part in _GROUPS.items():
        fields[f"{group}_kpts"] = _triples(rows[part])
        fields[f"{group}_valid"] = bool(rows[part].any())
        if group != "foot":  # the data set has no box of the feet
            fields[f"{group}_box"] = _box_around(rows[part])
    return fields


def _coco_file(
    estimate: Estimate,
    name: str,
    annotations: list[dict[str, Any]],
    info: dict[str, Any],
    more_names: dict[str, list[str]],
) -> dict[str, Any]:
    height, width = estimate.result.image_size
    return {
        "info": {**info, "box": _BOX},
        "licenses": [],
        "images": [{"id": 1, "file_name": name, "width": width, "height": height}],
        "annotations": annotations,
        "categories": [
            {
                "supercategory": "person",
                "id": 1,
                "name": "person",
                "keypoints": [point.name for point in WHOLEBODY[BODY]],
                "skeleton": [list(pair) for pair in _SKELETON],
                **more_names,
            }
        ],
    }


def _annotation(number: int, person: Person, rows: np.ndarray, estimate: Estimate) -> dict[str, Any]:
    """Describe a person; the body's 17 points are the first of the rows."""
    height, width = estimate.result.image_size
    x1, y1, x2, y2 = person.box.astype(np.float64).clip(0, [width, height, width, height]).round(2).tolist()
    box = [x1, y1, round(x2 - x1, 2), round(y2 - y1, 2)]
    scores = rows[:, 2]
    return {
        "id": number,
        "image_id": 1,
        "category_id": 1,
        "iscrowd": 0,
        "bbox": box,
        "area": round(box[2] * box[3], 2),
        "segmentation": [],
        "num_keypoints": int(np.count_nonzero(scores[BODY])),
        "keypoints": _triples(rows[BODY]),
        "score": round(min(float(scores[scores > 0].mean()), 1.0), 5),
    }


def _triples(rows: np.ndarray) -> list[float]:
    """Return x, y and visibility of each point, one after the other."""
    return [value for x, y, score in rows.tolist() for value in (round(x, 2), round(y, 2), 2 if score else 0)]


def _box_around(rows: np.ndarray) -> list[float]:
    """Return x, y, width and height around the points that are seen, or zeros."""
    places = rows[rows[:, 2] > 0, :2].round(2)
    if not len(places):
        return [0, 0, 0, 0]
    return [*places.min(0).tolist(), *np.ptp(places, axis=0).round(2).tolist()]


# ---- OpenPose ---------------------------------------------------------------------------------------------


def to_openpose(estimate: Estimate, name: str, threshold: float = THRESHOLD) -> dict[str, Any]:
    """Write the people of a photo as OpenPose does: BODY_25, a face of 70 points and two hands of 21.

    Neck and MidHip are, as in OpenPose's training, the midpoints of shoulders and hips.

    Args:
        estimate: of the task pose.
        name: the photo's file name.
        threshold: keypoints that score less are 0, 0, 0.

    Returns:
        Plain values, ready for JSON: version 1.3, and beside "people" an "info" of our own. Confidences are
        scores, at most 1. Somebody of whom no point is seen is left out.
    """
    points = [point for own in _OPENPOSE.values() for point in own]
    people = [_openpose_person(rows) for _, _, rows in _seen_people(estimate, points, threshold)]
    return {"version": 1.3, "people": people, "info": {"photo": name, **_info(estimate, points, threshold)}}


def _openpose_person(rows: np.ndarray) -> dict[str, Any]:
    rows = np.concatenate([rows[:, :2].round(3), rows[:, 2:].clip(max=1).round(5)], axis=1)
    ends = np.cumsum([len(points) for points in _OPENPOSE.values()])
    flat = [part.ravel().tolist() for part in np.split(rows, ends[:-1])]
    empty: dict[str, list[float]] = {field.replace("_2d", "_3d"): [] for field in _OPENPOSE}
    return {"person_id": [-1], **dict(zip(_OPENPOSE, flat, strict=True)), **empty}


# ---- What all of them say ---------------------------------------------------------------------------------


def _info(estimate: Estimate, points: Sequence[Counterpart], threshold: float) -> dict[str, Any]:
    model = estimate.report.info
    return {
        "description": f"Keypoints estimated by {estimate.report.model_title}, not annotated by people",
        "version": "1.0",
        "model": {"title": estimate.report.model_title, "file": model.file, "license": model.license},
        "people_finder": estimate.people.finder if len(estimate.people) else None,
        "coordinates": _PIXELS,
        "threshold": threshold,
        "seen": _SEEN,
        "missing_keypoints": list(_names(points, "missing")),
        "near_keypoints": list(_names(points, "near")),
    }


# ---- Masks of people --------------------------------------------------------------------------------------


def number_people(result: SegmentationResult) -> np.ndarray:
    """Say whose each pixel is.

    Args:
        result: of the task segmentation.

    Returns:
        (H, W) uint8, 0 in the background, else 1 + the person's index. Where the network saw the whole photo,
        people are told apart by their heads, and numbered by size.
    """
    if result.owners is not None:
        return result.owners
    return person_masks(result.labels, _boxes_in(result.labels))


def _boxes_in(labels: np.ndarray) -> np.ndarray:
    step = -(-max(labels.shape) // _SIDE_FOR_REGIONS)
    small = np.ascontiguousarray(labels[::step, ::step])
    return find_regions(small, (small > 0).astype(np.float32)).boxes[:MAX_PEOPLE] * step


def person_masks(labels: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Share a photo's people pixels out among boxes.

    A pixel goes to the box in which it lies farthest from the edges, measured in the box's own width and
    height. It may lie a little outside; farther away it is nobody's.

    Args:
        labels: (H, W) uint8, ids of vocabulary.PARTS.
        boxes: (N, 4) x1, y1, x2, y2 in photo pixels, N at most 255.

    Returns:
        (H, W) uint8, 0 nobody's, else 1 + the index of the box.
    """
    height, width = labels.shape
    x1, y1, x2, y2 = np.asarray(boxes, np.float32).reshape(-1, 4).T
    rows, columns = _distances(height, y1, y2), _distances(width, x1, x2)
    numbers = np.zeros(labels.shape, np.uint8)
    for top in range(0, height, _STRIP_ROWS):
        strip = slice(top, top + _STRIP_ROWS)
        numbers[strip] = _nearest_box(rows[:, strip], columns)
    numbers[labels == 0] = 0
    return numbers


def _distances(length: int, first: np.ndarray, last: np.ndarray) -> np.ndarray:
    """Return (N, length) distances from the middles of N spans, in their half lengths."""
    centres = np.arange(length, dtype=np.float32) + np.float32(0.5)
    half = np.maximum(last - first, 1)[:, None] / 2
    return abs(centres - (first + last)[:, None] / 2) / half


def _nearest_box(rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Return 1 + the index of the box that is nearest to each pixel, 0 where none is in reach."""
    numbers = np.zeros((rows.shape[1], columns.shape[1]), np.uint8)
    nearest = np.full(numbers.shape, _REACH, np.float32)
    for number, (own_rows, own_columns) in enumerate(zip(rows, columns, strict=True), 1):
        if own_rows.min() < _REACH:
            distance = np.maximum(own_rows[:, None], own_columns)
            closer = distance < nearest
            numbers[closer], nearest[closer] = number, distance[closer]
    return numbers
