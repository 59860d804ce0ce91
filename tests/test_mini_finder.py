"""Mini's looks at a photo cover it, are averaged, and end in boxes of the photo's own size."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from sapiens_demo import mini_finder
from sapiens_demo.boxes import box_iou
from sapiens_demo.mini_finder import MiniFinder, Votes, new_windows, person_windows, share, tiles
from sapiens_demo.models import Answer, ModelCache, ModelKey
from sapiens_demo.regions import Regions
from sapiens_demo.vocabulary import PARTS

pytest_plugins = ["tests.mini_weights"]

TOP = next(part.id for part in PARTS if part.name == "Upper_Clothing")
FACE = next(part.id for part in PARTS if part.name == "Face_Neck")


@pytest.mark.parametrize(
    ("size", "count"),
    [
        ((400, 300), 0),
        ((400, 350), 0),
        ((400, 260), 0),
        ((400, 400), 2),
        ((400, 600), 3),
        ((360, 640), 4),
        ((640, 320), 2),
        ((640, 100), 9),
        ((80, 640), 15),
    ],
)
def test_parts_have_the_networks_shape_cover_the_photo_and_overlap(size: tuple[int, int], count: int) -> None:
    height, width = size
    seen = np.zeros(size, int)

    windows = tiles(size)
    for x1, y1, x2, y2 in windows:
        assert 0 <= x1 < x2 <= width and 0 <= y1 < y2 <= height
        assert (x2 - x1) / (y2 - y1) == pytest.approx(3 / 4, rel=0.02)
        seen[y1:y2, x1:x2] += 1

    assert len(windows) == count
    assert count == 0 or (seen.min() == 1 and seen.max() >= 2)


def _regions(*people: tuple[float, float, float, float, float]) -> Regions:
    rows = np.array(people, np.float32).reshape(-1, 5)
    return Regions(rows[:, :4], np.ones(len(rows), np.float32), rows[:, 4])


@pytest.mark.parametrize(
    ("person", "inside"),
    [
        pytest.param((100, 100, 140, 250, 0), (100, 100, 140, 250), id="standing"),
        pytest.param((100, 300, 300, 340, 0), (100, 300, 300, 340), id="lying"),
        pytest.param((0, 0, 40, 90, 0), (0, 0, 40, 90), id="in the corner"),
        pytest.param((600, 400, 640, 480, 0), (600, 400, 640, 480), id="in the other corner"),
        pytest.param((0, 0, 640, 480, 0), (0, 0, 640, 480), id="the whole photo"),
        pytest.param((100, 100, 120, 120, 20), (80, 100, 140, 250), id="a head, whose body was missed"),
        pytest.param((300, 460, 320, 480, 20), (285, 460, 335, 480), id="a head at the lower edge"),
        pytest.param((10, 10, 10.2, 10.2, 0), (10, 10, 10.2, 10.2), id="hardly anything"),
    ],
)
def test_a_person_is_framed_with_room(person: tuple, inside: tuple) -> None:
    ((x1, y1, x2, y2),) = person_windows(_regions(person), (480, 640))

    assert 0 <= x1 < x2 <= 640 and 0 <= y1 < y2 <= 480
    assert x1 <= inside[0] and y1 <= inside[1] and x2 >= inside[2] and y2 >= inside[3]
    assert all(isinstance(edge, int) for edge in (x1, y1, x2, y2))


def test_a_frame_in_the_open_has_the_networks_shape() -> None:
    ((x1, y1, x2, y2),) = person_windows(_regions((300, 200, 340, 300, 0)), (480, 640))

    assert (x2 - x1) / (y2 - y1) == pytest.approx(3 / 4, rel=0.02)
    assert y2 - y1 == pytest.approx(130, abs=2)


def _says(label: int, sure: float, size: tuple[int, int] = (8, 6)) -> np.ndarray:
    probabilities = np.zeros((*size, len(PARTS)), np.float32)
    probabilities[..., 0], probabilities[..., label] = 1 - sure, sure
    return probabilities


@pytest.mark.parametrize(
    ("looks", "count"),
    [
        pytest.param([(0.9, 1)], 1, id="one look"),
        pytest.param([(0.4, 1)], 0, id="one doubtful look"),
        pytest.param([(0.9, 1), (0.05, 1)], 0, id="two that do not agree"),
        pytest.param([(0.9, 2), (0.05, 1)], 1, id="the closer look counts more"),
        pytest.param([(0.9, 1), (0.3, 1)], 1, id="sure and doubtful"),
    ],
)
def test_what_looks_say_is_averaged(looks: list[tuple[float, float]], count: int) -> None:
    votes = Votes((80, 60))
    for sure, weight in looks:
        votes.add((0, 0, 60, 80), _says(TOP, sure), weight)

    assert len(votes.regions().boxes) == count


def test_several_doubtful_parts_make_a_sure_person() -> None:
    probabilities = _says(TOP, 0.35)
    probabilities[..., FACE], probabilities[..., 0] = 0.3, 0.35
    votes = Votes((80, 60))
    votes.add((0, 0, 60, 80), probabilities)

    (score,) = votes.regions().scores
    assert score == pytest.approx(0.65 * 0.9)


def test_where_nobody_looked_is_nobody() -> None:
    votes = Votes((80, 120))
    votes.add((0, 0, 60, 80), _says(TOP, 1.0))

    (box,) = votes.regions().boxes
    assert box[2] <= 63


def test_a_cut_through_the_photo_weighs_less_than_the_middle() -> None:
    votes = Votes((80, 120))
    votes.add((0, 0, 70, 80), _says(TOP, 1.0))
    votes.add((50, 0, 120, 80), _says(TOP, 0.0))

    (box,) = votes.regions().boxes
    assert box[2] == pytest.approx(60, abs=3)  # in the middle of where both looked


class FakeModels:
    """See everything that is red as clothes, in pictures of the network's size."""

    def __init__(self, sure: float = 8.0) -> None:
        self.looks: list[int] = []
        self.sure = sure

    def load(self, key: ModelKey, progress) -> float:
        assert key == ModelKey("segmentation", "mini")
        return 0.0

    def images_at_once(self, key: ModelKey, most: int) -> int:
        return most

    def run(self, key: ModelKey, images: torch.Tensor, decode, progress) -> Answer[np.ndarray]:
        assert images.shape[1:] == (3, 256, 192)
        self.looks.append(len(images))
        red = (images[:, 0] > 0.5) & (images[:, 1] < 0)
        logits = torch.full((len(images), len(PARTS), 128, 96), -20.0)
        logits[:, 0] = 0
        logits[:, TOP] = torch.where(red, self.sure, -8.0)[:, ::2, ::2]
        return Answer(decode(logits), None, 0, 0, 0)


def _photo(size: tuple[int, int], *boxes: tuple[int, int, int, int]) -> np.ndarray:
    photo = np.full((*size, 3), 90, np.uint8)
    for x1, y1, x2, y2 in boxes:
        photo[y1:y2, x1:x2] = (255, 0, 0)
    return photo


@pytest.mark.parametrize(
    ("size", "boxes", "looks"),
    [
        ((480, 640), [(100, 100, 200, 400)], [4, 1]),
        ((960, 1280), [(200, 200, 400, 800), (900, 300, 1100, 700)], [4, 2]),
        ((3000, 4000), [(625, 625, 1250, 2500)], [4, 1]),
        ((400, 300), [(50, 50, 250, 350)], [1]),  # a closer look would show the same
        ((1200, 300), [(50, 50, 250, 350), (20, 700, 280, 1100)], [6, 1]),
        ((60, 45), [(10, 10, 30, 50)], [1]),
        ((480, 640), [], [4]),
    ],
)
def test_boxes_are_the_photos(size: tuple[int, int], boxes: list, looks: list[int]) -> None:
    models = FakeModels()

    found, scores = MiniFinder(models).find(_photo(size, *boxes))

    assert found.shape == (len(boxes), 4) and scores.shape == (len(boxes),)
    assert found.dtype == scores.dtype == np.float32
    assert (found >= 0).all() and (found <= [size[1], size[0]] * 2).all()
    if boxes:
        assert box_iou(np.array(boxes), found).max(1).min() > 0.75
    assert models.looks == looks


@pytest.mark.parametrize(("chance", "count"), [(0.55, 0), (0.7, 0), (0.85, 1)])
def test_who_is_not_sure_is_left_out(chance: float, count: int) -> None:
    models = FakeModels(sure=float(np.log(chance / (1 - chance))))

    found, scores = MiniFinder(models).find(_photo((480, 640), (100, 100, 200, 400)))

    assert len(found) == len(scores) == count


@pytest.mark.parametrize(
    ("wanted", "seen", "expected"),
    [
        ([], [(0, 0, 10, 10)], []),
        ([(0, 0, 10, 10)], [(0, 0, 10, 10)], []),
        ([(0, 0, 10, 10)], [(0, 0, 10, 11), (5, 5, 9, 9)], []),
        ([(0, 0, 10, 10)], [(0, 0, 20, 10)], [(0, 0, 10, 10)]),
        ([(0, 0, 10, 10), (30, 0, 40, 10)], [(0, 0, 10, 10)], [(30, 0, 40, 10)]),
    ],
)
def test_nobody_is_looked_at_twice_in_the_same_way(wanted: list, seen: list, expected: list) -> None:
    assert new_windows(wanted, seen) == expected


@pytest.mark.parametrize(
    ("window", "expected"), [((0, 0, 100, 80), 1), ((0, 0, 50, 80), 0.5), ((10, 10, 20, 18), 0.01)]
)
def test_a_windows_share_is_that_of_its_pixels(window: tuple, expected: float) -> None:
    assert share(window, (80, 100)) == pytest.approx(expected)


@pytest.mark.parametrize("size", [(1, 1), (1, 500), (500, 1), (3, 2)])
def test_photos_that_hold_nobody_by_their_shape_do_no_harm(size: tuple[int, int]) -> None:
    found, _ = MiniFinder(FakeModels()).find(_photo(size))

    assert found.shape == (0, 4)


def test_a_crowd_is_looked_at_in_a_bounded_number_of_looks() -> None:
    boxes = [(x, y, x + 20, y + 60) for x in range(10, 620, 40) for y in range(10, 400, 100)]
    models = FakeModels()

    found, _ = MiniFinder(models).find(_photo((480, 640), *boxes))

    assert len(found) == len(boxes)
    assert sum(models.looks) == 4 + 32


def test_minis_own_network_is_run(random_mini: Path) -> None:
    photo = np.random.default_rng(0).integers(0, 256, (90, 160, 3), np.uint8)

    found, scores = MiniFinder(ModelCache("cpu")).find(photo)

    assert found.shape[1:] == (4,) and len(found) == len(scores)


def test_probabilities_are_minis() -> None:
    logits = torch.randn(2, len(PARTS), 4, 3, generator=torch.Generator().manual_seed(0))

    probabilities = mini_finder._probabilities(logits)

    assert probabilities.shape == (2, 4, 3, len(PARTS)) and np.allclose(probabilities.sum(-1), 1, atol=1e-5)
    assert probabilities[1, 2, 1, 5] == pytest.approx(float(logits.softmax(1)[1, 5, 2, 1]))
