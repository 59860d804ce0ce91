"""Measure what Mini makes of pictures with several people, and whether to look at them one by one.

People are found by Mini alone, whether or not there is a detector on this machine.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sapiens_demo.boxes import MAX_PEOPLE, box_iou
from sapiens_demo.estimator import Boxes, Estimator, Options, Result
from sapiens_demo.mini_finder import MiniFinder
from sapiens_demo.photo import read_photo
from sapiens_demo.tasks.crops import person_frames
from sapiens_demo.tasks.pose import Person, whole_photo_box
from sapiens_demo.training.evaluate import Figure, as_table
from sapiens_demo.training.metrics import Overlap, angles, correct_keypoints, rank_correlation
from sapiens_demo.training.samples import Sample, read_sample
from sapiens_demo.vocabulary import COCO_BODY_IDS

FRAMINGS = ("whole", "person")
# Height of the person's box / height of the picture, below which a class ends.
SIZE_CLASSES = (
    ("under 1/5", 1 / 5),
    ("1/5 to 1/3", 1 / 3),
    ("1/3 to 1/2", 1 / 2),
    ("1/2 to 3/4", 3 / 4),
    ("over 3/4", np.inf),
)

_SMALL = 1 / 3  # the people of whom the gain of looking at each is asked
_LEAST_IOU = 0.5  # of a box with a person's own, for the person to count as found
_SAME_IOU = 0.1  # of a box with a person's own, for its keypoints to be taken for the person's
_TALL = 80  # px of a photo; smaller people need not be found
_FEWEST_PIXELS = 200  # of a person in a rendered picture, to count
_BODY = list(COCO_BODY_IDS)


@dataclass(frozen=True, eq=False)
class Dense:
    """Hold how right the dense tasks are about a person.

    Args:
        overlap: of body parts, on the person's pixels and on the background's around them.
        angle: mean of the normals' errors on the person's pixels, degrees.
        rank: correlation of depths on the person's pixels, -1 to 1.
    """

    overlap: Overlap
    angle: float
    rank: float


@dataclass(frozen=True, eq=False)
class Measured:
    """Hold what was measured of a person in a rendered picture.

    Args:
        share: height of the person's box / height of the picture.
        upright: whether the picture is taller than wide.
        found: whether one of the boxes that were found is the person's.
        given_points: (P,) bool, which body points in the picture are right, from the true box.
        found_points: (P,) bool, which are right from the box that was found; none, without one.
        dense: framing to figures, the people being given by their true boxes.
    """

    share: float
    upright: bool
    found: bool
    given_points: np.ndarray
    found_points: np.ndarray
    dense: dict[str, Dense]


@dataclass(frozen=True)
class PhotoCount:
    """Hold how many people were found in an annotated photo.

    Args:
        name: of the photo's file.
        people: over _TALL pixels, as annotated.
        found: how many of them were found.
        boxes: that were found in all.
    """

    name: str
    people: int
    found: int
    boxes: int


def match_boxes(found: np.ndarray, true: np.ndarray, least_iou: float) -> np.ndarray:
    """Give every person at most one box, and every box to at most one person: the best pairs first.

    Args:
        found: (N, 4) x1, y1, x2, y2.
        true: (M, 4), the people's.
        least_iou: intersection over union that a pair must have, above 0.

    Returns:
        (M,) int64, the index of each person's box, -1 where there is none.
    """
    ious = box_iou(found, true)
    matches = np.full(len(true), -1, np.int64)
    while ious.size and ious.max() >= least_iou:
        box, person = np.unravel_index(ious.argmax(), ious.shape)
        matches[person] = box
        ious[box], ious[:, person] = 0, 0
    return matches


def measure(estimator: Estimator, finder: MiniFinder, samples: Iterable[Sample]) -> list[Measured]:
    """Measure everybody in rendered pictures; tells on the standard error stream how far it is.

    Args:
        estimator: does the tasks, at size "mini".
        finder: finds the people.
        samples: the pictures.

    Returns:
        One entry for each person of whom enough is seen.
    """
    people: list[Measured] = []
    for number, sample in enumerate(samples, start=1):
        people += measure_picture(estimator, finder, sample)
        if number % 10 == 0:
            print(f"{number} pictures, {len(people)} people", file=sys.stderr, flush=True)
    return people


def measure_picture(estimator: Estimator, finder: MiniFinder, sample: Sample) -> list[Measured]:
    """Measure everybody in a rendered picture.

    Args:
        estimator: does the tasks, at size "mini".
        finder: finds the people.
        sample: the picture.

    Returns:
        One entry for each person of whom enough is seen.
    """
    height, width = sample.parts.shape
    count = len(sample.boxes)
    boxes = finder.find(sample.image)[0][: MAX_PEOPLE - count]
    tried = boxes if len(boxes) else whole_photo_box(sample.image)  # as the demo does where nobody is found
    poses = _look_at(estimator, sample.image, np.concatenate([sample.boxes, tried]))
    given_points, found_points = (_right_points(some, sample) for some in (poses[:count], poses[count:]))
    found = match_boxes(boxes, sample.boxes, _LEAST_IOU) >= 0
    dense = {framing: _dense_results(estimator, sample, framing) for framing in FRAMINGS}
    people = []
    for index, box in enumerate(sample.boxes):
        if (sample.people == index + 1).sum() < _FEWEST_PIXELS:
            continue
        people.append(
            Measured(
                share=float(box[3] - box[1]) / height,
                upright=height > width,
                found=bool(found[index]),
                given_points=given_points[index],
                found_points=found_points[index],
                dense={framing: _compare(results, sample, index) for framing, results in dense.items()},
            )
        )
    return people


def count_in_photos(finder: MiniFinder, folder: Path) -> list[PhotoCount]:
    """Count who is found in annotated photos.

    Args:
        finder: finds the people.
        folder: holds the photos and annotations.json in COCO's format.

    Returns:
        One entry a photo, in the file's order.
    """
    annotations = json.loads((folder / "annotations.json").read_text(encoding="utf-8"))
    counts = []
    for image in annotations["images"]:
        rows = [row["bbox"] for row in annotations["annotations"] if row["image_id"] == image["id"]]
        corners = [[x, y, x + width, y + height] for x, y, width, height in rows if height > _TALL]
        true = np.array(corners, np.float32).reshape(-1, 4)
        boxes = finder.find(read_photo(folder / image["file_name"]))[0]
        found = int((match_boxes(boxes, true, _LEAST_IOU) >= 0).sum())
        counts.append(PhotoCount(image["file_name"], len(true), found, len(boxes)))
    return counts


def read_samples(folder: Path, count: int) -> Iterator[Sample]:
    """Read pictures that lie in a folder.

    Args:
        folder: holds samples, in sub-folders or not.
        count: how many to take at most.

    Yields:
        The samples, in the order of their paths.
    """
    yield from map(read_sample, sorted(folder.rglob("*.npz"))[:count])


def as_markdown(people: Sequence[Measured], photos: Sequence[PhotoCount] = ()) -> str:
    """Write what was measured as Markdown.

    Args:
        people: of rendered pictures.
        photos: annotated ones.

    Returns:
        Tables with headings, the aims last.
    """
    sections = ["## Pose: found boxes against true boxes", _pose_table(people)]
    for title, upright in (("Landscape pictures", False), ("Upright pictures", True)):
        some = [person for person in people if person.upright == upright]
        sections += [f"## {title}: the whole photo against each person's crop", _dense_table(some)]
    if photos:
        sections += ["## Photos: people found", _photo_table(photos)]
    return "\n\n".join([*sections, "## Aims", as_table(aims(people, photos))])


def aims(people: Sequence[Measured], photos: Sequence[PhotoCount] = ()) -> list[Figure]:
    """Compare with what is aimed at.

    Args:
        people: of rendered pictures; only landscape ones count.
        photos: annotated ones; only those with people over _TALL pixels count.

    Returns:
        The figures, as far as there are people to measure them on.
    """
    people = [person for person in people if not person.upright]
    small = [person for person in people if person.share < _SMALL]
    figures = []
    if people:
        ratio = _found_pck(people) / max(_given_pck(people), 1e-9)
        figures.append(Figure("body PCK at 5 %, found boxes / true boxes, landscape", "rendered", ratio, 0.9))
    if small:
        gain = _mean_iou(small, "person") - _mean_iou(small, "whole")
        name = "body parts of people under 1/3, landscape: mean IoU per person - whole photo"
        figures.append(Figure(name, "rendered", gain, 0.1))
    for photo in photos:
        if photo.people:
            name = f"people over {_TALL} px found, {photo.name}"
            figures.append(Figure(name, "real", photo.found / photo.people, 0.5))
    return figures


# ---- One picture ------------------------------------------------------------------------------------------


def _as_options(boxes: np.ndarray) -> Boxes:
    return tuple((x1, y1, x2, y2) for x1, y1, x2, y2 in boxes.tolist())


def _look_at(estimator: Estimator, photo: np.ndarray, boxes: np.ndarray) -> tuple[Person, ...]:
    return estimator.estimate(photo, "pose", "mini", Options(boxes=_as_options(boxes))).result.people


def _right_points(people: Sequence[Person], sample: Sample) -> list[np.ndarray]:
    """Tell which of each person's body points in the picture are right; none, where nobody is theirs."""
    boxes = np.stack([person.box for person in people])
    points = []
    for index, match in enumerate(match_boxes(boxes, sample.boxes, _SAME_IOU)):
        right = np.zeros(len(_BODY), bool)
        if match >= 0:
            keypoints = people[match].keypoints[_BODY]
            right = correct_keypoints(keypoints, sample.keypoints[index][_BODY], sample.boxes[index])
        points.append(right[sample.visibility[index][_BODY] > 0])
    return points


def _dense_results(estimator: Estimator, sample: Sample, framing: str) -> dict[str, Result]:
    options = Options(boxes=_as_options(sample.boxes), framing=framing)
    tasks = ("segmentation", "depth", "normal")  # the first one's people are the others' mask
    return {task: estimator.estimate(sample.image, task, "mini", options).result for task in tasks}


def _compare(results: dict[str, Result], sample: Sample, index: int) -> Dense:
    own = sample.people == index + 1
    place = person_frames(sample.boxes[index : index + 1], sample.parts.shape)[0].part
    others = (sample.people[place] > 0) & ~own[place]
    overlap = Overlap()
    overlap.add(results["segmentation"].labels[place][~others], sample.parts[place][~others])
    angle = angles(results["normal"].normals[own], sample.normals[own]).mean()
    return Dense(overlap, float(angle), rank_correlation(results["depth"].depth[own], sample.depth[own]))


# ---- Many people ------------------------------------------------------------------------------------------


def _given_pck(people: Sequence[Measured]) -> float:
    return float(np.concatenate([person.given_points for person in people]).mean())


def _found_pck(people: Sequence[Measured]) -> float:
    return float(np.concatenate([person.found_points for person in people]).mean())


def _mean_iou(people: Sequence[Measured], framing: str) -> float:
    total = Overlap()
    for person in people:
        total.both += person.dense[framing].overlap.both
        total.either += person.dense[framing].overlap.either
    return total.mean()


def _class_of(person: Measured) -> str:
    return next(name for name, end in SIZE_CLASSES if person.share < end)


# ---- Tables -----------------------------------------------------------------------------------------------


def _table(titles: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [titles, ["---"] * len(titles), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def _pose_table(people: Sequence[Measured]) -> str:
    rows = []
    for title, upright in (("landscape", False), ("upright", True)):
        some = [person for person in people if person.upright == upright]
        if some:
            given, found = _given_pck(some), _found_pck(some)
            counts = (len(some), sum(person.found for person in some))
            rows.append((title, *counts, f"{given:.3f}", f"{found:.3f}", f"{found / max(given, 1e-9):.2f}"))
    measures = ("body PCK at 5 %, true boxes", "found boxes", "ratio")
    return _table(("pictures", "people", f"found at IoU {_LEAST_IOU:g}", *measures), rows)


def _dense_table(people: Sequence[Measured]) -> str:
    measures = ("body parts, mean IoU", "normals, mean angle in degrees", "depth, rank correlation")
    titles = [f"{name}: {kind}" for name in measures for kind in ("whole photo", "per person")]
    rows = []
    for name, _ in SIZE_CLASSES:
        some = [person for person in people if _class_of(person) == name]
        rows.append((name, len(some), *(_dense_figures(some) if some else ["-"] * len(titles))))
    return _table(("height of the person / of the picture", "people", *titles), rows)


def _dense_figures(people: Sequence[Measured]) -> list[str]:
    parts = [f"{_mean_iou(people, framing):.3f}" for framing in FRAMINGS]
    turns = [f"{np.mean([person.dense[framing].angle for person in people]):.1f}" for framing in FRAMINGS]
    ranks = [f"{np.mean([person.dense[framing].rank for person in people]):.3f}" for framing in FRAMINGS]
    return [*parts, *turns, *ranks]


def _photo_table(photos: Sequence[PhotoCount]) -> str:
    rows = [(photo.name, photo.people, photo.found, photo.boxes) for photo in photos]
    return _table(("photo", f"people over {_TALL} px", f"found at IoU {_LEAST_IOU:g}", "boxes"), rows)
