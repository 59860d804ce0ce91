import json
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from sapiens_demo.tasks.depth import DepthResult
from sapiens_demo.tasks.normal import NormalResult
from sapiens_demo.tasks.pose import Person, PoseResult
from sapiens_demo.tasks.segmentation import SegmentationResult
from sapiens_demo.training.metrics import Overlap
from sapiens_demo.training.people_evaluation import (
    SIZE_CLASSES,
    Dense,
    Measured,
    PhotoCount,
    aims,
    as_markdown,
    count_in_photos,
    match_boxes,
    measure,
    read_samples,
)
from sapiens_demo.training.people_scenes import LANDSCAPE, SEED, UPRIGHT, people_sample, people_samples
from sapiens_demo.training.samples import write_sample

LEFT, RIGHT = [0, 0, 10, 20], [100, 0, 110, 20]
NOWHERE = np.empty((0, 4), np.float32)


@pytest.fixture(scope="module")
def crowd():
    """Return the set's first two pictures and its first upright one."""
    return list(people_samples(3, []))


class Finder:
    """Find given boxes in every photo."""

    def __init__(self, *boxes) -> None:
        self._boxes = np.array(boxes, np.float32).reshape(-1, 4)

    def find(self, photo):
        return self._boxes, np.ones(len(self._boxes), np.float32)


class Knowing:
    """Know the truth about people seen one by one in a sample, and little about its whole."""

    def __init__(self, sample) -> None:
        self._sample = sample

    def estimate(self, photo, task, size, options):
        assert size == "mini"
        return SimpleNamespace(result=getattr(self, f"_{task}")(options))

    def _pose(self, options):
        boxes = np.array(options.boxes, np.float32)
        return PoseResult(self._sample.parts.shape, tuple(map(self._person, boxes)))

    def _person(self, box):
        """Give the keypoints of the person whose box is nearest."""
        nearest = np.abs(self._sample.boxes - box).sum(1).argmin()
        return Person(box, self._sample.keypoints[nearest], np.ones(308, np.float32))

    def _segmentation(self, options):
        parts = self._sample.parts
        return SegmentationResult(parts if options.framing == "person" else np.zeros_like(parts))

    def _depth(self, options):
        return DepthResult(self._sample.depth * (1 if options.framing == "person" else -1))

    def _normal(self, options):
        normals = self._sample.normals
        return NormalResult(normals if options.framing == "person" else np.roll(normals, 1, -1))


def _measured(share=0.2, upright=False, given=(1, 1), found=(1, 0), both=(1, 5), either=(10, 10)):
    """Return a person of whom class 1 has these intersections and unions, whole and per person."""
    dense = {}
    for framing, common, union in zip(("whole", "person"), both, either, strict=True):
        overlap = Overlap()
        overlap.both[1], overlap.either[1] = common, union
        dense[framing] = Dense(overlap, angle=30.0, rank=0.5)
    return Measured(share, upright, any(found), np.array(given, bool), np.array(found, bool), dense)


@pytest.mark.parametrize(
    ("found", "true", "expected"),
    [
        ([LEFT, RIGHT], [RIGHT, LEFT], [1, 0]),
        ([RIGHT], [LEFT, RIGHT], [-1, 0]),
        ([], [LEFT], [-1]),
        ([LEFT], [], []),
        ([[0, 0, 10, 9.9]], [LEFT], [-1]),
        ([[0, 0, 10, 10.1]], [LEFT], [0]),
        # One box serves one person: the one on whom it lies better.
        ([[0, 0, 10, 20]], [[0, 0, 12, 20], [0, 0, 10, 19]], [-1, 0]),
        # Of two boxes on a person the better one is taken, the other is free for the neighbour.
        ([[0, 0, 12, 20], [0, 0, 10, 20]], [LEFT, [2, 0, 14, 20]], [1, 0]),
    ],
)
def test_people_are_matched_one_to_one(found, true, expected):
    found, true = (np.array(boxes, float).reshape(-1, 4) for boxes in (found, true))
    assert match_boxes(found, true, 0.5).tolist() == expected


def test_the_set_is_the_same_every_time(crowd):
    again = people_sample(0, LANDSCAPE, [])
    assert np.array_equal(again.image, crowd[0].image)
    assert np.array_equal(again.keypoints, crowd[0].keypoints)
    other = people_sample(0, LANDSCAPE, [], SEED + 1)
    assert not np.array_equal(other.image, again.image)
    assert [sample.parts.shape for sample in crowd] == [LANDSCAPE, LANDSCAPE, UPRIGHT]
    assert all(2 <= len(sample.boxes) <= 3 for sample in crowd)
    assert len({sample.image.tobytes() for sample in crowd}) == 3


def test_the_set_is_not_one_that_training_or_the_card_uses():
    from sapiens_demo.training.generate import EVALUATION_SEED

    assert SEED != EVALUATION_SEED


def test_who_knows_the_truth_is_right(crowd):
    sample = crowd[0]
    people = measure(Knowing(sample), Finder(*sample.boxes), [sample])
    assert len(people) == len(sample.boxes)
    for person, box in zip(people, sample.boxes, strict=True):
        assert person.share == pytest.approx((box[3] - box[1]) / LANDSCAPE[0])
        assert person.found and not person.upright
        assert len(person.given_points) > 0 and person.given_points.all() and person.found_points.all()
        right, wrong = person.dense["person"], person.dense["whole"]
        assert right.overlap.mean() == 1 and wrong.overlap.mean() < 0.2
        assert right.angle < 0.1 and wrong.angle > 20
        assert right.rank == pytest.approx(1) and wrong.rank == pytest.approx(-1, abs=0.05)


@pytest.mark.parametrize("boxes", [NOWHERE, [[0, 0, 3, 3]]])
def test_points_of_people_who_are_not_found_are_wrong(crowd, boxes):
    sample = crowd[0]
    people = measure(Knowing(sample), Finder(*boxes), [sample])
    assert not any(person.found for person in people)
    assert all(person.given_points.all() for person in people)
    assert not all(person.found_points.all() for person in people)


def test_other_people_in_a_crop_do_not_count(crowd):
    sample = crowd[0]
    alone = np.where(sample.people == 1, sample.parts, 0).astype(np.uint8)
    knowing = Knowing(sample)
    knowing._segmentation = lambda options: SegmentationResult(alone)
    first = measure(knowing, Finder(), [sample])[0]
    assert first.dense["person"].overlap.mean() == 1


def test_aims_are_taken_from_known_people():
    people = [
        _measured(given=(1, 1, 1, 1), found=(1, 1, 1, 0)),
        _measured(share=0.3, given=(1, 0), found=(0, 0), both=(3, 9)),
        _measured(share=0.9, given=(1,), found=(1,), both=(10, 0)),  # too large for the second aim
        _measured(upright=True, given=(1,) * 9, found=(0,) * 9, both=(10, 0)),  # for none
    ]
    photos = [PhotoCount("a.jpg", 4, 3, 9), PhotoCount("nobody.jpg", 0, 0, 1)]
    ratio, gain, photo = aims(people, photos)
    assert ratio.value == pytest.approx(4 / 6) and ratio.bar == 0.9
    assert gain.value == pytest.approx((5 + 9) / 20 - (1 + 3) / 20) and gain.bar == 0.1 and gain.reached
    assert photo.value == 0.75 and "a.jpg" in photo.name


def test_without_people_there_are_no_aims():
    assert aims([]) == []


@pytest.mark.parametrize(
    ("share", "row"), [(0.1, 0), (0.2, 1), (0.3, 1), (0.34, 2), (0.6, 3), (0.75, 4), (1.0, 4)]
)
def test_people_are_listed_by_their_height(share, row):
    text = as_markdown([_measured(share=share)])
    landscape = text.split("## Landscape")[1].split("## Upright")[0]
    for index, (name, _) in enumerate(SIZE_CLASSES):
        assert f"| {name} | {int(index == row)} |" in landscape
    assert f"| {SIZE_CLASSES[row][0]} | 1 | 0.100 | 0.500 | 30.0 | 30.0 | 0.500 | 0.500 |" in landscape


def test_the_text_has_every_table():
    text = as_markdown([_measured(), _measured(upright=True)], [PhotoCount("a.jpg", 4, 3, 9)])
    assert "| landscape | 1 | 1 | 1.000 | 0.500 | 0.50 |" in text
    assert "| upright | 1 | 1 | 1.000 | 0.500 | 0.50 |" in text
    assert "| a.jpg | 4 | 3 | 9 |" in text
    assert text.count("## ") == 5


def test_people_in_annotated_photos_are_counted(tmp_path):
    names = ("one.png", "two.png")
    for name in names:
        cv2.imwrite(str(tmp_path / name), np.zeros((300, 400, 3), np.uint8))
    images = [{"id": index, "file_name": name} for index, name in enumerate(names)]
    boxes = [(0, [10, 10, 60, 200]), (0, [200, 10, 60, 200]), (0, [300, 10, 60, 80]), (1, [5, 5, 9, 81])]
    rows = [{"image_id": image, "bbox": box} for image, box in boxes]
    (tmp_path / "annotations.json").write_text(json.dumps({"images": images, "annotations": rows}))
    finder = Finder([12, 10, 70, 205], [300, 10, 360, 90], [0, 0, 400, 300])
    assert count_in_photos(finder, tmp_path) == [
        PhotoCount("one.png", people=2, found=1, boxes=3),
        PhotoCount("two.png", people=1, found=0, boxes=3),
    ]


def test_pictures_are_read_from_a_folder(crowd, tmp_path):
    for index, sample in enumerate(crowd):
        folder = tmp_path / f"{index:05d}"
        folder.mkdir()
        write_sample(folder / "0.npz", sample)
    read = list(read_samples(tmp_path, 2))
    assert [len(sample.boxes) for sample in read] == [len(sample.boxes) for sample in crowd[:2]]


def test_mini_itself_is_measured(crowd):
    from sapiens_demo.estimator import Estimator
    from sapiens_demo.mini_finder import MiniFinder
    from sapiens_demo.models import ModelCache

    estimator = Estimator(ModelCache("cpu"))
    people = measure(estimator, MiniFinder(estimator.models), crowd[2:])
    assert len(people) >= 2 and all(person.upright for person in people)
    for person in people:
        for dense in person.dense.values():
            assert 0 <= dense.overlap.mean() <= 1 and 0 <= dense.angle <= 180 and -1 <= dense.rank <= 1
