"""Label maps with drawn people become one box a person."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from sapiens_demo.boxes import box_iou
from sapiens_demo.regions import find_regions
from sapiens_demo.vocabulary import PARTS

IDS = {part.name: part.id for part in PARTS}
FACE, HAIR, TOP, BOTTOM = (IDS[name] for name in ("Face_Neck", "Hair", "Upper_Clothing", "Lower_Clothing"))
SHOE, HAND, LIP = IDS["Left_Shoe"], IDS["Left_Hand"], IDS["Upper_Lip"]
HEIGHT, WIDTH = 300, 400


class Scene:
    """A label map to draw people on, nearer ones last."""

    def __init__(self, height: int = HEIGHT, width: int = WIDTH) -> None:
        self.labels = np.zeros((height, width), np.uint8)
        self.boxes: list[list[float]] = []

    def person(self, x: int, y: int, head: int = 20) -> Scene:
        """Draw somebody who stands: x is the middle, y the top, the whole 7.5 heads tall."""
        self.block(x - head, y + int(1.3 * head), x + head, y + 4 * head, TOP)
        self.block(x - int(0.8 * head), y + 4 * head, x + int(0.8 * head), y + int(7.5 * head), BOTTOM)
        self.head(x, y + head // 2, head)
        self.boxes.append([x - head, y, x + head, y + 7.5 * head])
        return self

    def head(self, x: int, y: int, head: int = 20) -> Scene:
        """Draw hair, a face in front of it and a neck; x and y are the middle."""
        self._ellipse(x, y, head // 2, int(0.55 * head), HAIR)
        self._ellipse(x, y + head // 10, int(0.35 * head), int(0.45 * head), FACE)
        self.block(x - head // 6, y + head // 3, x + head // 6, y + head, FACE)
        return self

    def block(self, x1: int, y1: int, x2: int, y2: int, label: int) -> Scene:
        self.labels[max(y1, 0) : max(y2, 0), max(x1, 0) : max(x2, 0)] = label
        return self

    def expect(self, *boxes: list[float]) -> Scene:
        self.boxes = list(boxes)
        return self

    def _ellipse(self, x: int, y: int, across: int, along: int, label: int) -> None:
        cv2.ellipse(self.labels, (x, y), (across, along), 0, 0, 360, label, -1)


def _many() -> Scene:
    scene = Scene(600, 800)
    for row in range(4):
        for column in range(10):
            scene.person(40 + 80 * column, 5 + 150 * row, 18)
    return scene


SCENES = {
    "nobody": Scene(),
    "one": Scene().person(200, 60),
    "two apart": Scene().person(100, 60).person(300, 60),
    "two shoulder to shoulder": Scene().person(180, 60).person(220, 60),
    "three shoulder to shoulder": Scene().person(160, 60).person(200, 70).person(240, 60),
    "a child beside its mother": Scene().person(180, 60, 24).person(217, 135, 14),
    "far and near, not touching": Scene().person(60, 100, 8).person(250, 20, 34),
    "forty": _many(),
    "cut off by the left edge": Scene().person(5, 60).expect([0, 60, 25, 210]),
    "head and shoulders fill the map": Scene(300, 225)
    .block(10, 190, 215, 300, TOP)
    .head(112, 110, 140)
    .expect([10, 33, 215, 300]),
    "a hole in the shirt": Scene().person(200, 60).block(190, 100, 210, 120, 0),
    "a thin gap at the belt": Scene().person(200, 60).block(150, 138, 250, 141, 0),
    "legs behind a table": Scene().person(200, 60).block(150, 140, 250, 165, 0),
    "a head that floats above a missing collar": Scene().person(200, 60).block(150, 84, 250, 92, 0),
    "a hand labelled as a face": Scene().person(200, 60).block(216, 150, 221, 155, FACE),
    "specks": Scene().person(200, 60).block(20, 20, 24, 24, TOP).block(350, 250, 353, 260, FACE),
    "a beard between face and neck": Scene().person(200, 60).block(190, 76, 210, 80, TOP),
    "a face between two curtains of hair": Scene()
    .person(200, 60)
    .block(184, 60, 187, 100, HAIR)
    .block(213, 60, 216, 100, HAIR),
    "an open mouth": Scene().person(200, 60).block(197, 75, 203, 78, LIP),
    "a body without a head": Scene().block(100, 100, 150, 250, TOP).expect([100, 100, 150, 250]),
    "a small thing without a head": Scene().block(100, 100, 110, 115, TOP),
    "a glove above somebody": Scene()
    .person(200, 90)
    .block(195, 70, 205, 82, HAND)
    .expect([180, 70, 220, 240]),
    "a big coat beside somebody": Scene()
    .person(100, 60)
    .block(250, 100, 290, 200, TOP)
    .expect([80, 60, 120, 210], [250, 100, 290, 200]),
    "somebody lies beside somebody": Scene()
    .person(80, 60)
    .block(220, 220, 360, 250, TOP)
    .head(205, 235, 24)
    .expect([60, 60, 100, 210], [193, 220, 360, 250]),
}


@pytest.mark.parametrize("name", SCENES)
def test_everybody_gets_one_box(name: str) -> None:
    scene = SCENES[name]

    found = find_regions(scene.labels, (scene.labels > 0).astype(np.float32))

    assert len(found.boxes) == len(scene.boxes) == len(found.scores) == len(found.heads)
    assert found.boxes.shape == (len(scene.boxes), 4) and found.boxes.dtype == np.float32
    if scene.boxes:
        overlap = box_iou(np.array(scene.boxes), found.boxes)
        assert sorted(overlap.argmax(1)) == list(range(len(scene.boxes)))
        assert overlap.max(1).min() > 0.6


@pytest.mark.parametrize(("dx", "count"), [(40, 2), (24, 2), (18, 2), (10, 1)])
def test_heads_cheek_to_cheek_are_two_until_one_hides_the_other(dx: int, count: int) -> None:
    scene = Scene().person(200, 60).person(200 + dx, 62)

    assert len(find_regions(scene.labels, (scene.labels > 0).astype(np.float32)).boxes) == count


def test_a_box_has_a_little_room_and_stays_inside() -> None:
    inside = Scene().block(100, 100, 200, 200, TOP)
    corner = Scene().block(0, 0, WIDTH, HEIGHT, TOP)

    (box,) = find_regions(inside.labels, np.ones((HEIGHT, WIDTH), np.float32)).boxes
    (whole,) = find_regions(corner.labels, np.ones((HEIGHT, WIDTH), np.float32)).boxes

    assert np.allclose(box, [97, 97, 203, 203])
    assert np.allclose(whole, [0, 0, WIDTH, HEIGHT])


def test_scores_fall_and_doubt_is_theirs() -> None:
    scene = Scene().person(60, 60).person(200, 60).block(320, 60, 360, 200, TOP)
    certainty = np.full((HEIGHT, WIDTH), 0.6, np.float32)
    certainty[:, 120:] = 0.9

    found = find_regions(scene.labels, certainty)

    assert np.allclose(found.scores, [0.9, 0.9 * 0.9, 0.6])
    assert found.boxes[:, 0].tolist() == sorted(found.boxes[:, 0])[1:] + [found.boxes[:, 0].min()]
    assert found.heads[1] == 0 and np.allclose(found.heads[[0, 2]], 20, atol=5)


@pytest.mark.parametrize("scale", [0.5, 1, 3])
@pytest.mark.parametrize("name", ["two shoulder to shoulder", "legs behind a table", "specks", "forty"])
def test_resolution_does_not_matter(name: str, scale: float) -> None:
    scene = SCENES[name]
    labels = cv2.resize(scene.labels, None, fx=scale, fy=scale, interpolation=cv2.INTER_NEAREST)

    found = find_regions(labels, (labels > 0).astype(np.float32))

    assert len(found.boxes) == len(scene.boxes)
    assert box_iou(scale * np.array(scene.boxes), found.boxes).max(1).min() > 0.6


def test_noise_makes_no_crowd() -> None:
    labels = np.random.default_rng(0).integers(0, len(PARTS), (HEIGHT, WIDTH)).astype(np.uint8)

    found = find_regions(labels, np.full(labels.shape, 0.5, np.float32))

    assert len(found.boxes) <= 3


@pytest.mark.parametrize(
    ("x", "count"),
    [
        pytest.param(155, 1, id="beside the trunk: a hand taken for a face"),
        pytest.param(330, 2, id="far off: somebody small"),
    ],
)
def test_a_small_piece_at_a_large_person_is_no_person(x: int, count: int) -> None:
    scene = Scene().person(200, 30, 34).block(x, 150, x + 11, 164, FACE)

    found = find_regions(scene.labels, np.ones(scene.labels.shape, np.float32))

    assert len(found.boxes) == count
