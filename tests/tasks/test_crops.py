"""Crops of people and the way back: where they are, how they blend, and what survives."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sapiens_demo.tasks import crops
from sapiens_demo.tasks.crops import (
    Frame,
    PartsCanvas,
    cut,
    decode_parts,
    far_to_near,
    fit_depth,
    merge_depth,
    merge_normals,
    person_frames,
    whole_frame,
)
from sapiens_demo.tasks.inputs import MEAN, STD, resize_whole
from sapiens_demo.vocabulary import PARTS

CLASSES = len(PARTS)
SIZE = (120, 200)


def frames_of(*boxes: tuple[float, float, float, float], size: tuple[int, int] = SIZE) -> list[Frame]:
    return person_frames(np.array(boxes, np.float32), size)


def inside(box: tuple[float, float, float, float], size: tuple[int, int] = SIZE) -> np.ndarray:
    """Return the pixels whose centres lie in a box."""
    ys, xs = np.mgrid[: size[0], : size[1]] + 0.5
    return (xs >= box[0]) & (xs <= box[2]) & (ys >= box[1]) & (ys <= box[3])


@st.composite
def photos_and_boxes(draw: st.DrawFn, most: int = 4) -> tuple[tuple[int, int], np.ndarray]:
    height, width = draw(st.tuples(st.integers(8, 160), st.integers(8, 160)))
    share = st.floats(0, 1, width=32)
    boxes = []
    for x, y, across, down in draw(
        st.lists(st.tuples(share, share, share, share), min_size=1, max_size=most)
    ):
        left, top = x * (width - 1), y * (height - 1)
        boxes.append((left, top, left + 1 + across * (width - 1 - left), top + 1 + down * (height - 1 - top)))
    return (height, width), np.array(boxes, np.float32)


# ---- Frames -----------------------------------------------------------------------------------------------


@settings(max_examples=200, deadline=None)
@given(case=photos_and_boxes())
def test_a_frame_holds_its_box_and_stays_in_the_photo(case: tuple[tuple[int, int], np.ndarray]) -> None:
    (height, width), boxes = case
    for frame, (x1, y1, x2, y2) in zip(person_frames(boxes, (height, width)), boxes.tolist(), strict=True):
        assert 0 <= frame.left <= x1 and x2 <= frame.right <= width
        assert 0 <= frame.top <= y1 and y2 <= frame.bottom <= height
        assert min(frame.size) >= 1
        assert np.array_equal(frame.box, np.float32([x1, y1, x2, y2]))


@pytest.mark.parametrize(
    ("box", "size", "expected"),
    [
        pytest.param((40, 30, 70, 70), (200, 200), (36, 25, 74, 75), id="3:4 grows by a quarter"),
        pytest.param((100, 60, 110, 140), (400, 400), (67, 50, 143, 150), id="narrow is widened"),
        pytest.param((100, 100, 220, 110), (400, 400), (85, 5, 235, 205), id="flat is heightened"),
        pytest.param((0, 60, 10, 140), (400, 400), (0, 50, 75, 150), id="moved into the photo"),
        pytest.param((0, 0, 300, 100), (100, 300), (0, 0, 300, 100), id="all of a wide photo"),
        pytest.param((0, 0, 90, 120), (120, 90), (0, 0, 90, 120), id="all of an upright photo"),
        pytest.param((20, 2, 60, 98), (100, 300), (2, 0, 78, 100), id="too tall to be padded"),
        pytest.param((50, 50, 51, 51), (100, 100), (49, 49, 52, 52), id="a pixel"),
    ],
)
def test_a_frame_has_the_networks_shape_where_there_is_room(
    box: tuple[float, ...], size: tuple[int, int], expected: tuple[int, ...]
) -> None:
    (frame,) = frames_of(box, size=size)

    assert (frame.left, frame.top, frame.right, frame.bottom) == pytest.approx(expected, abs=1)


@settings(max_examples=200, deadline=None)
@given(case=photos_and_boxes())
def test_weights_are_one_in_the_box_and_fade_to_the_edge(case: tuple[tuple[int, int], np.ndarray]) -> None:
    size, boxes = case
    for frame, box in zip(person_frames(boxes, size), boxes.tolist(), strict=True):
        rows, columns = frame.weights(size)
        weight = np.minimum(rows[:, None], columns)
        assert weight.shape == frame.size and weight.dtype == np.float32
        assert (weight[inside(box, size)[frame.part]] > 1 - 1e-4).all()
        assert (weight > 0).all() and (weight <= 1).all()
        for line in (rows, columns):
            peak = line.argmax()
            assert (np.diff(line[: peak + 1]) >= 0).all() and (np.diff(line[peak:]) <= 1e-6).all()


def test_nothing_fades_at_the_photos_own_edge() -> None:
    rows, columns = whole_frame(SIZE).weights(SIZE)

    assert (rows == 1).all() and (columns == 1).all()


def test_the_whole_photos_crop_is_the_whole_photo() -> None:
    photo = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), np.uint8)

    assert torch.equal(cut(photo, [whole_frame(SIZE)], (64, 48)), resize_whole(photo, (64, 48)))


@pytest.mark.parametrize(
    ("boxes", "expected"),
    [
        pytest.param([(0, 0, 9, 50), (9, 0, 20, 90), (30, 0, 40, 70)], [0, 2, 1], id="lower is nearer"),
        pytest.param([(0, 5, 9, 120), (9, 60, 20, 119.7)], [1, 0], id="the same feet: taller is nearer"),
        pytest.param([(0, 5, 9, 90), (9, 5, 20, 90)], [0, 1], id="equal ones in their order"),
        pytest.param([], [], id="nobody"),
    ],
)
def test_people_are_ordered_by_their_feet(boxes: list[tuple[float, ...]], expected: list[int]) -> None:
    assert far_to_near(frames_of(*boxes) if boxes else [], SIZE) == expected


# ---- Body parts -------------------------------------------------------------------------------------------


def logits_of(labels: np.ndarray, sure: float = 8.0) -> torch.Tensor:
    """Return (1, 28, h, w) logits of a network that is sure of (h, w) labels."""
    return (
        sure
        * torch.nn.functional.one_hot(torch.from_numpy(labels.astype(np.int64)), CLASSES)
        .permute(2, 0, 1)[None]
        .float()
    )


def everywhere(label: int, sure: float = 8.0) -> torch.Tensor:
    return logits_of(np.full((16, 12), label), sure)


def lay_all(frames: list[Frame], logits: list[torch.Tensor], size: tuple[int, int] = SIZE):
    canvas = PartsCanvas(size)
    for index in far_to_near(frames, size):
        canvas.lay(decode_parts(logits[index], frames[index]), frames[index], index + 1)
    return canvas.result()


@settings(max_examples=100, deadline=None)
@given(case=photos_and_boxes(), label=st.integers(1, CLASSES - 1))
def test_one_part_everywhere_fills_every_box(case: tuple[tuple[int, int], np.ndarray], label: int) -> None:
    size, boxes = case
    result = lay_all(person_frames(boxes, size), [everywhere(label)] * len(boxes), size)

    assert set(np.unique(result.labels)) <= {0, label}
    for box in boxes.tolist():
        assert (result.labels[inside(box, size)] == label).all()
    assert ((result.owners > 0) == (result.labels > 0)).all() and result.owners.max() <= len(boxes)


@settings(max_examples=60, deadline=None)
@given(order=st.permutations(range(3)), seed=st.integers(0, 99))
def test_the_order_of_boxes_apart_does_not_matter(order: list[int], seed: int) -> None:
    boxes = [(10, 20, 30, 60), (80, 30, 110, 100), (160, 10, 180, 40)]
    rough = torch.randn(3, CLASSES, 4, 3, generator=torch.Generator().manual_seed(seed))
    logits = torch.nn.functional.interpolate(4 * rough, size=(16, 12), mode="bilinear").split(1)
    straight = lay_all(frames_of(*boxes), list(logits))
    turned = lay_all(frames_of(*(boxes[i] for i in order)), [logits[i] for i in order])

    assert np.array_equal(turned.labels, straight.labels)
    numbers = np.array([0, *(1 + order.index(i) for i in range(3))], np.uint8)
    assert np.array_equal(turned.owners, numbers[straight.owners])


def test_the_nearer_person_is_in_front() -> None:
    far, near = (20, 10, 80, 90), (50, 20, 110, 115)
    for boxes, labels in (((far, near), (3, 22)), ((near, far), (22, 3))):
        result = lay_all(frames_of(*boxes), [everywhere(label) for label in labels])
        assert (result.labels[inside(near)] == 22).all()
        assert (result.labels[inside(far) & ~inside(near) & (np.mgrid[:120, :200][1] < 40)] == 3).all()


def test_a_nearer_crop_that_sees_nobody_hides_nobody() -> None:
    far, near = (20, 10, 80, 90), (50, 20, 110, 115)
    result = lay_all(frames_of(far, near), [everywhere(3), everywhere(0)])

    assert (result.labels[inside(far)] == 3).all()
    assert set(np.unique(result.owners)) == {0, 1}


def test_whoever_a_crop_shows_beside_its_person_does_not_cover_the_others_own() -> None:
    """The nearer, larger crop sees the other person too, but less well."""
    small, large = (150, 40, 170, 80), (20, 5, 180, 118)
    seen = np.zeros((40, 60), np.uint8)
    frame = frames_of(large)[0]
    ys, xs = (np.mgrid[:40, :60] + 0.5) * np.reshape([frame.size[0] / 40, frame.size[1] / 60], (2, 1, 1))
    ys, xs = ys + frame.top, xs + frame.left
    seen[(np.abs(xs - 90) < 40)] = 22  # the person in the middle
    seen[(np.abs(xs - 160) < 10) & (np.abs(ys - 60) < 20)] = 9  # somebody else
    result = lay_all(frames_of(small, large), [everywhere(3), logits_of(seen)])

    assert (result.labels[inside(small)] == 3).all() and (result.owners[inside(small)] == 1).all()
    alone = lay_all(frames_of(large), [logits_of(seen)])
    assert (alone.labels[inside((152, 45, 168, 75))] == 9).all()


def test_what_is_surer_reaches_farther_between_two_boxes() -> None:
    boxes = (10, 20, 70, 100), (110, 20, 170, 100)
    row = {}
    for sure in (2.0, 20.0):
        result = lay_all(frames_of(*boxes), [everywhere(3, sure), everywhere(22, 5.0)])
        row[sure] = np.count_nonzero(result.labels[60] == 3)

    assert row[20.0] > row[2.0] >= 60


def test_nobody_is_seen_far_from_the_boxes() -> None:
    result = lay_all(frames_of((10, 20, 40, 60)), [everywhere(5)])

    assert (result.labels[:, 60:] == 0).all() and (result.labels[90:] == 0).all()


# ---- Maps -------------------------------------------------------------------------------------------------


def smooth_photo(size: tuple[int, int]) -> np.ndarray:
    ys, xs = np.mgrid[: size[0], : size[1]].astype(np.float32)
    waves = [np.sin(xs / 23 + i) * np.cos(ys / 19 - i) for i in range(3)]
    return (127 + 100 * np.dstack(waves)).astype(np.uint8)


@settings(max_examples=40, deadline=None)
@given(case=photos_and_boxes())
def test_what_an_idle_network_gives_back_is_the_photo(case: tuple[tuple[int, int], np.ndarray]) -> None:
    """Cut out, passed through unchanged and laid down, the photo comes back but for interpolation."""
    size, boxes = case
    photo = smooth_photo(size)
    frames = person_frames(boxes, size)
    canvas = np.full((*size, 3), -1000, np.float32)
    for number, values in enumerate(cut(photo, frames, (128, 96)).permute(0, 2, 3, 1).numpy(), start=1):
        crops._lay_map(canvas, values * np.float32(STD) + np.float32(MEAN), frames[number - 1], None, number)

    for box in boxes.tolist():
        pixels = inside(box, size)
        assert np.abs(canvas[pixels] - photo[pixels]).max(initial=0) < 12


@settings(max_examples=60, deadline=None)
@given(case=photos_and_boxes(), value=st.floats(-5, 5, width=32))
def test_one_depth_everywhere_stays_one_depth(case: tuple[tuple[int, int], np.ndarray], value: float) -> None:
    size, boxes = case
    whole = torch.full((1, 16, 12), 0.75)
    result = merge_depth(
        whole, [torch.full((1, 16, 12), value)] * len(boxes), person_frames(boxes, size), size
    )

    assert result.depth.shape == size and result.mask is None
    np.testing.assert_allclose(result.depth, 0.75, atol=1e-4)


@settings(max_examples=60, deadline=None)
@given(case=photos_and_boxes(), seed=st.integers(0, 99))
def test_normals_have_length_one(case: tuple[tuple[int, int], np.ndarray], seed: int) -> None:
    size, boxes = case
    maps = torch.randn(len(boxes) + 1, 3, 16, 12, generator=torch.Generator().manual_seed(seed))
    result = merge_normals(maps[0], list(maps[1:]), person_frames(boxes, size), size)

    np.testing.assert_allclose(np.linalg.norm(result.normals, axis=-1), 1, atol=1e-4)


def ramp_depth(size: tuple[int, int]) -> np.ndarray:
    ys, xs = np.mgrid[: size[0], : size[1]].astype(np.float32)
    return 0.3 + 0.002 * xs + 0.001 * ys + 0.05 * np.sin(xs / 15)


@pytest.mark.parametrize("owned", [True, False])
def test_depths_are_brought_to_the_scale_of_the_whole_photo(owned: bool) -> None:
    truth = ramp_depth(SIZE)
    boxes = (20, 20, 80, 100), (120, 30, 170, 110)
    frames = frames_of(*boxes)
    changed = [
        torch.from_numpy(cv2.resize(truth[frame.part], (96, 128)) * factor + shift)[None]
        for frame, factor, shift in zip(frames, (4.0, 0.3), (-3.0, 2.0), strict=True)
    ]
    owners = np.zeros(SIZE, np.uint8)
    owners[inside(boxes[0])], owners[inside(boxes[1])] = 1, 2
    result = merge_depth(torch.from_numpy(truth)[None], changed, frames, SIZE, owners if owned else None)

    assert np.abs(result.depth - truth).max() < 0.01
    assert (result.mask is None) != owned
    if owned:
        assert np.array_equal(result.mask, owners > 0)


def test_a_person_keeps_their_own_crop_in_front_of_and_behind_others() -> None:
    boxes = (20, 20, 120, 100), (70, 30, 170, 110)
    owners = np.zeros(SIZE, np.uint8)
    owners[inside((20, 20, 100, 100))] = 1
    owners[inside((100, 30, 170, 110))] = 2
    toward = [torch.zeros(3, 8, 6) for _ in range(3)]
    for vector, axis in zip(toward, (2, 0, 1), strict=True):
        vector[axis] = 1
    result = merge_normals(toward[0], toward[1:], frames_of(*boxes), SIZE, owners)

    assert (result.normals[inside((20, 20, 100, 100))] == [1, 0, 0]).all()
    assert (result.normals[inside((100, 30, 170, 110)) & (owners == 2)] == [0, 1, 0]).all()
    assert (result.normals[:, 190:] == [0, 0, 1]).all()


@settings(max_examples=100, deadline=None)
@given(
    factor=st.floats(0.05, 20), shift=st.floats(-5, 5), outliers=st.floats(0, 0.2), seed=st.integers(0, 999)
)
def test_the_fit_finds_the_scale_in_spite_of_outliers(
    factor: float, shift: float, outliers: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    own = rng.uniform(0, 1, 800)
    whole = factor * own + shift + rng.normal(0, 0.02 * factor, 800)
    wrong = rng.random(800) < outliers
    whole[wrong] += 3 * factor
    found = fit_depth(own, whole)

    assert found[0] == pytest.approx(factor, rel=0.1)
    assert np.median(np.abs(found[0] * own + found[1] - whole)[~wrong]) < 0.15 * factor


@pytest.mark.parametrize(
    ("own", "whole", "expected"),
    [
        pytest.param([], [], (1, 0), id="nothing"),
        pytest.param([2.0], [5.0], (1, 3), id="one pixel"),
        pytest.param([2.0] * 9, [5.0] * 9, (1, 3), id="flat"),
        pytest.param(np.linspace(0, 1, 50), np.linspace(3, 1, 50), (2, 1), id="turned about"),
    ],
)
def test_a_fit_never_turns_near_and_far_about(own, whole, expected: tuple[float, float]) -> None:
    assert fit_depth(np.array(own), np.array(whole)) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("count", [1, 32])
def test_people_cost_little_memory(count: int) -> None:
    """32 people as large as the photo: nothing of its size is held for each."""
    import tracemalloc

    size = (1500, 2000)
    frames = frames_of(*[(0, 0, 2000, 1500)] * count, size=size)
    maps = torch.rand(count + 1, 3, 64, 48)
    tracemalloc.start()
    merge_normals(maps[0], list(maps[1:]), frames, size)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2.2 * 1500 * 2000 * 3 * 4
