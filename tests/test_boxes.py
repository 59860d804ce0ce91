from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from sapiens_demo.boxes import MAX_PEOPLE, BoxError, People, box_iou, check_boxes, given_people, suppress

NAN, INF = float("nan"), float("inf")
SIZE = (100, 200)  # H, W


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        pytest.param([], [], id="none"),
        pytest.param(np.empty((0, 4)), [], id="none, as an array"),
        pytest.param(((10, 20, 30, 40),), [[10, 20, 30, 40]], id="as it is"),
        pytest.param([[30, 40, 10, 20]], [[10, 20, 30, 40]], id="upside down"),
        pytest.param([[10, 40, 30, 20]], [[10, 20, 30, 40]], id="one corner swapped"),
        pytest.param([[-5, -1e9, 30.5, 40]], [[0, 0, 30.5, 40]], id="over the left and upper edge"),
        pytest.param([[150, 90, 250, 1e30]], [[150, 90, 200, 100]], id="over the right and lower edge"),
        pytest.param([[-1, -1, 999, 999]], [[0, 0, 200, 100]], id="over all edges"),
        pytest.param(
            [[100, 0, 200, 100], [0, 0, 50, 50]], [[100, 0, 200, 100], [0, 0, 50, 50]], id="order is kept"
        ),
        pytest.param([[0, 0, 1, 1]], [[0, 0, 1, 1]], id="one pixel"),
        pytest.param([[i, 0, i + 5, 5] for i in range(32)], [[i, 0, i + 5, 5] for i in range(32)], id="32"),
    ],
)
def test_boxes_are_brought_into_order(given, expected) -> None:
    boxes = check_boxes(given, SIZE)

    assert boxes.dtype == np.float32
    assert np.array_equal(boxes, np.array(expected, np.float32).reshape(-1, 4))


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        pytest.param([[NAN, 0, 5, 5]], "four numbers", id="not a number"),
        pytest.param([[0, 0, INF, 5]], "four numbers", id="endless"),
        pytest.param([[0, 0, 5]], "four numbers", id="three numbers"),
        pytest.param([0, 0, 5, 5], "four numbers", id="a single box that is no list of boxes"),
        pytest.param([[[0, 0, 5, 5]]], "four numbers", id="too deep"),
        pytest.param([[0, 0, 5, 5], [0, 0, 5]], "four numbers", id="of several lengths"),
        pytest.param([["a", "b", "c", "d"]], "four numbers", id="words"),
        pytest.param([[0, 0, None, 5]], "four numbers", id="nothing in place of a number"),
        pytest.param("abcd", "four numbers", id="text"),
        pytest.param(7, "four numbers", id="a number"),
        pytest.param(None, "four numbers", id="nothing"),
        pytest.param([[10, 20, 10, 40]], "Box 1 covers nothing", id="no width"),
        pytest.param([[0, 0, 9, 9], [10, 20, 30, 20]], "Box 2 covers nothing", id="no height"),
        pytest.param([[300, 0, 400, 50]], "Box 1 covers nothing", id="right of the photo"),
        pytest.param([[0, -50, 50, -1]], "200 x 100 pixels", id="above the photo"),
        pytest.param([[0, 0, 5, 5]] * 40, "There are 40 boxes; take at most 32", id="40"),
    ],
)
def test_boxes_that_make_no_sense_are_refused_in_one_sentence(given, sentence: str) -> None:
    with pytest.raises(BoxError, match=sentence) as caught:
        check_boxes(given, SIZE)

    assert "\n" not in str(caught.value)


def test_a_box_inside_a_photo_of_any_size_stays_inside_in_float32() -> None:
    (box,) = check_boxes([[0.1, 0.1, 16_777_217.0, 9]], (10, 3))

    assert 0 <= box[0] < box[2] <= 3 and 0 <= box[1] < box[3] <= 10


def test_given_people_keep_their_order_and_are_sure() -> None:
    people = given_people([[50, 0, 60, 50], [0, 0, 200, 100]], SIZE)

    assert people.finder == "given" and people.notes == () and len(people) == 2
    assert np.array_equal(people.boxes[0], [50, 0, 60, 50])
    assert np.array_equal(people.scores, [1, 1]) and people.scores.dtype == np.float32


def test_no_given_boxes_are_nobody() -> None:
    people = given_people((), SIZE)

    assert (len(people), people.finder, people.notes) == (0, "nobody", ())


FOUR = np.array([[0, 0, 10, 10], [1, 0, 11, 10], [20, 0, 30, 10], [22, 0, 32, 10]], np.float32)


@pytest.mark.parametrize(
    ("boxes", "scores", "iou", "kept"),
    [
        (FOUR, [0.5, 0.9, 0.8, 0.7], 0.3, [1, 2]),
        (FOUR, [0.5, 0.9, 0.8, 0.7], 0.7, [1, 2, 3]),  # IoU 0.82 and 0.67
        (FOUR, [0.5, 0.9, 0.8, 0.7], 1.0, [1, 2, 3, 0]),
        (FOUR, [0.5, 0.5, 0.5, 0.5], 0.3, [0, 2]),
        (FOUR[[0, 0, 0]], [0.1, 0.3, 0.2], 0.99, [1]),
        (FOUR[:0], [], 0.3, []),
        # A chain: the middle one goes with the first, so the last, which only meets the middle one, stays.
        ([[0, 0, 10, 10], [4, 0, 14, 10], [8, 0, 18, 10]], [0.9, 0.8, 0.7], 0.3, [0, 2]),
    ],
)
def test_the_worse_of_two_boxes_on_each_other_goes(boxes, scores, iou: float, kept: list[int]) -> None:
    assert suppress(np.array(boxes, np.float32), np.array(scores, np.float32), iou).tolist() == kept


def test_intersection_over_union() -> None:
    first = np.array([[0, 0, 2, 2], [5, 5, 5, 5]], np.float32)
    second = np.array([[0, 0, 2, 2], [1, 1, 3, 3], [2, 0, 4, 2], [0, 0, 4, 4]], np.float32)

    assert np.allclose(box_iou(first, second), [[1, 1 / 7, 0, 1 / 4], [0, 0, 0, 0]])


@pytest.mark.parametrize(
    "fields",
    [
        {"boxes": np.zeros((2, 4))},
        {"boxes": np.zeros((2, 3), np.float32)},
        {"scores": np.zeros(1, np.float32)},
        {"scores": np.zeros(2)},
        {"finder": "nobody"},
        {"finder": "magic"},
    ],
    ids=str,
)
def test_people_are_checked(fields: dict) -> None:
    right = {"boxes": np.zeros((2, 4), np.float32), "scores": np.zeros(2, np.float32), "finder": "given"}
    assert len(People(**right)) == 2

    with pytest.raises(ValueError):
        People(**{**right, **fields})


def test_nobody_is_told_apart_from_somebody() -> None:
    with pytest.raises(ValueError, match="0 boxes"):
        People(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), "detector")


def test_as_many_people_as_promised() -> None:
    assert MAX_PEOPLE == 32


def test_boxes_need_neither_torch_nor_a_picture_library() -> None:
    probe = "import sys, sapiens_demo.boxes\nprint({'torch', 'cv2', 'transformers'} & set(sys.modules))"
    answer = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True).stdout

    assert answer.strip() == "set()"
