"""Crops, sub-pixel decoding and the way back, against the official pipeline and by their properties."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sapiens_demo.tasks import pose
from sapiens_demo.tasks.pose import decode_heatmaps
from sapiens_demo.vocabulary import KEYPOINTS

FIXTURES = Path(__file__).parents[1] / "fixtures"
CROPS = np.load(FIXTURES / "pose_topdown_affine.npz")
COUNT = len(KEYPOINTS)


def slow_decode(heatmap: np.ndarray, input_size: tuple[int, int]) -> np.ndarray:
    """Decode one (h, w) channel by the definition: blur, scale, clip the whole map, take its logarithm."""
    height, width = heatmap.shape
    y, x = np.unravel_index(heatmap.argmax(), heatmap.shape)
    blurred = cv2.GaussianBlur(np.pad(heatmap, 5), (11, 11), 0)[5:-5, 5:-5]
    blurred = blurred * (heatmap.max() / blurred.max())
    log = np.pad(np.log(np.clip(blurred, 1e-3, 50)), 1, mode="edge").astype(np.float64)
    near = log[y : y + 3, x : x + 3]
    gradient = np.array([near[1, 2] - near[1, 0], near[2, 1] - near[0, 1]]) / 2
    mixed = near[2, 2] - near[1, 2] - near[2, 1] + 2 * near[1, 1] - near[1, 0] - near[0, 1] + near[0, 0]
    hessian = np.array(
        [
            [near[1, 2] - 2 * near[1, 1] + near[1, 0], mixed / 2],
            [mixed / 2, near[2, 1] - 2 * near[1, 1] + near[0, 1]],
        ]
    )
    step = np.linalg.solve(hessian + np.finfo(np.float32).eps * np.eye(2), gradient)
    return (np.array([x, y]) - step) / [width - 1, height - 1] * input_size[::-1]


def bump(x: float, y: float, size: tuple[int, int], sigma: float = 6, height: float = 1) -> np.ndarray:
    ys, xs = np.mgrid[: size[0], : size[1]]
    return (height * np.exp(-((xs - x) ** 2 + (ys - y) ** 2) / (2 * sigma**2))).astype(np.float32)


def decode_one(heatmap: np.ndarray, input_size: tuple[int, int] = (1024, 768)) -> tuple[np.ndarray, float]:
    xy, scores = decode_heatmaps(torch.from_numpy(heatmap)[None, None], input_size)
    return xy[0, 0].numpy(), scores.item()


@pytest.mark.parametrize(
    ("name", "input_size"), [("pose_decode_17x32x24", (128, 96)), ("pose_decode_256x192", (1024, 768))]
)
def test_decode_equals_official(name: str, input_size: tuple[int, int]) -> None:
    official = np.load(FIXTURES / f"{name}.npz")
    xy, scores = decode_heatmaps(torch.from_numpy(official["heatmaps"])[None], input_size)
    finite = np.isfinite(official["keypoints"]).all(-1)
    assert finite.sum() >= 17
    np.testing.assert_allclose(xy[0].numpy()[finite], official["keypoints"][finite], rtol=0, atol=1e-3)
    np.testing.assert_array_equal(scores[0].numpy(), np.maximum(official["scores"], 0))
    assert torch.isfinite(xy).all()


def test_decode_takes_people_together() -> None:
    heatmaps = torch.from_numpy(np.load(FIXTURES / "pose_decode_17x32x24.npz")["heatmaps"])
    together, scores = decode_heatmaps(torch.stack([heatmaps, heatmaps.flip(0)]), (128, 96))
    alone, score = decode_heatmaps(heatmaps[None], (128, 96))
    torch.testing.assert_close(together, torch.cat([alone, alone.flip(1)]), rtol=0, atol=1e-4)
    assert torch.equal(scores, torch.cat([score, score.flip(1)]))


rough_maps = {
    "faint noise": lambda rng: rng.normal(0, 2e-3, (24, 18)),
    "noise above nothing": lambda rng: rng.random((24, 18)) ** 8,
    "a spike in a pit": lambda rng: np.where(rng.random((24, 18)) > 0.98, 0.3, -0.02 * rng.random((24, 18))),
    "faint bump": lambda rng: bump(*rng.uniform(3, 14, 2), (24, 18), 3, 3e-3) + rng.normal(0, 1e-5, (24, 18)),
    "above the ceiling": lambda rng: bump(*rng.uniform(3, 14, 2), (24, 18), 3, 400),
    "plain noise": lambda rng: rng.normal(0, 1, (24, 18)),
    "steps": lambda rng: np.kron(rng.integers(0, 4, (6, 6)), np.ones((4, 3))) / 4,
}


@pytest.mark.parametrize("make", rough_maps.values(), ids=rough_maps)
def test_decode_equals_definition(make: Callable[[np.random.Generator], np.ndarray]) -> None:
    """Where the clip bites, the scale of the blurred map matters and must be the official one."""
    rng = np.random.default_rng(5)
    maps = np.stack([make(rng) for _ in range(200)]).astype(np.float32)
    found = decode_heatmaps(torch.from_numpy(maps)[None], (384, 288))[0][0].numpy()
    compared = 0
    for heatmap, xy in zip(maps, found, strict=True):
        try:
            expected = slow_decode(heatmap, (384, 288))
        except np.linalg.LinAlgError:
            continue
        peak = np.array(np.unravel_index(heatmap.argmax(), heatmap.shape))[::-1]
        step = expected / [288, 384] * [17, 23] - peak
        if (
            np.abs(step).max() < 4
        ):  # longer steps come from a nearly flat neighbourhood: rounding decides them
            assert np.abs(xy - expected).max() < 2e-2
            compared += 1
    assert compared > 100


@settings(max_examples=200, deadline=None)
@given(
    size=st.tuples(st.integers(48, 96), st.integers(48, 72)),
    place=st.tuples(st.floats(0, 1), st.floats(0, 1)),
    sigma=st.floats(2, 6),
    height=st.floats(0.05, 1.5),
)
def test_decode_finds_a_bump(
    size: tuple[int, int], place: tuple[float, float], sigma: float, height: float
) -> None:
    margin = 11
    x = margin + place[0] * (size[1] - 1 - 2 * margin)
    y = margin + place[1] * (size[0] - 1 - 2 * margin)
    xy, score = decode_one(bump(x, y, size, sigma, height), size)
    in_heatmap = xy / size[::-1] * [size[1] - 1, size[0] - 1]
    assert np.abs(in_heatmap - [x, y]).max() < 0.05
    assert 0.9 * height < score <= height * 1.00001


@settings(max_examples=100, deadline=None)
@given(size=st.tuples(st.integers(1, 20), st.integers(1, 20)), seed=st.integers(0, 2**32 - 1), data=st.data())
def test_decode_is_always_finite(size: tuple[int, int], seed: int, data: st.DataObject) -> None:
    """Whatever a map holds, a place near the peak comes out."""
    heatmap = np.random.default_rng(seed).normal(0, 1, size).astype(np.float32)
    strange = st.sampled_from([0.0, -1.0, 1e-30, -1e-30, 1e30, np.nan, np.inf, -np.inf])
    for _ in range(data.draw(st.integers(0, 4))):
        heatmap[data.draw(st.integers(0, size[0] - 1)), data.draw(st.integers(0, size[1] - 1))] = data.draw(
            strange
        )
    xy, score = decode_one(heatmap, (64, 48))
    assert np.isfinite(xy).all() and np.isfinite(score) and score >= 0
    reach = 8.01 * np.array([48, 64]) / np.maximum(np.array(size[::-1]) - 1, 1)
    assert (xy >= -reach).all() and (xy <= [48, 64] + reach).all()


@pytest.mark.parametrize(
    ("heatmap", "peak"),
    [
        (np.zeros((32, 24), np.float32), (0, 0)),
        (np.full((32, 24), -0.1, np.float32), (0, 0)),
        (-1 + 0.5 * bump(7, 9, (32, 24)), (7, 9)),
        (np.full((32, 24), np.nan, np.float32), (0, 0)),
    ],
    ids=["zeros", "negative", "negative with a peak", "NaN"],
)
def test_decode_scores_nothing_as_zero(heatmap: np.ndarray, peak: tuple[int, int]) -> None:
    xy, score = decode_one(heatmap, (31, 23))
    assert score == 0
    np.testing.assert_allclose(xy, peak, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_decode_takes_other_precisions(dtype: torch.dtype) -> None:
    heatmap = torch.from_numpy(bump(20.3, 31.7, (64, 48)))[None, None]
    xy, scores = decode_heatmaps(heatmap.to(dtype), (63, 47))
    assert xy.dtype == scores.dtype == torch.float32
    assert (xy[0, 0] - torch.tensor([20.3, 31.7])).abs().max() < 1.5


def test_flip_equals_official() -> None:
    official = np.load(FIXTURES / "flip_heatmaps.npz")
    assert [keypoint.swap_id for keypoint in KEYPOINTS] == official["flip_indices"].tolist()
    assert torch.equal(
        pose.flip_heatmaps(torch.from_numpy(official["inp"])), torch.from_numpy(official["out"])
    )


def test_flip_twice_changes_nothing() -> None:
    heatmaps = torch.rand(2, COUNT, 8, 6)
    assert torch.equal(pose.flip_heatmaps(pose.flip_heatmaps(heatmaps)), heatmaps)


def test_crops_equal_official() -> None:
    photo = CROPS["image_bgr"][..., ::-1].copy()
    prepared = pose.prepare(photo, (128, 96), CROPS["boxes_xyxy"])
    frames = np.concatenate([prepared.centers, prepared.scales], -1)
    np.testing.assert_allclose(frames, CROPS["center_scale"], rtol=1e-6)
    for index, expected in enumerate(CROPS["crops_96x128"]):
        assert np.abs(grey_levels(prepared.images[index]) - expected[..., ::-1]).max() <= 4


def test_large_crop_equals_official() -> None:
    photo = CROPS["image_bgr"][..., ::-1].copy()
    prepared = pose.prepare(photo, (1024, 768), CROPS["boxes_xyxy"][:1])
    difference = grey_levels(prepared.images[0])[::32] - CROPS["crop0_768x1024_rows"][..., ::-1]
    assert np.abs(difference).max() <= 4


def grey_levels(image: torch.Tensor) -> np.ndarray:
    mean, std = np.array([123.675, 116.28, 103.53]), np.array([58.395, 57.12, 57.375])
    return (image.permute(1, 2, 0).numpy() * std + mean).round()


@pytest.mark.parametrize(("name", "size"), [("warp_96x128", (128, 96)), ("warp_768x1024", (1024, 768))])
def test_crop_matrix_equals_official(name: str, size: tuple[int, int]) -> None:
    for frame, expected in zip(CROPS["center_scale"], CROPS[name], strict=True):
        matrix = pose.crop_matrix(frame[:2], frame[2:], size)
        np.testing.assert_allclose(matrix, expected, rtol=1e-4, atol=1e-2)


def test_way_back_equals_official(monkeypatch: pytest.MonkeyPatch) -> None:
    for frame, given_xy, expected in zip(
        CROPS["center_scale"], CROPS["inverse_in_input_px"], CROPS["inverse_out_image_px"], strict=True
    ):
        heatmaps = torch.zeros(1, COUNT, 32, 24)
        prepared = pose_input(frame[None, :2], frame[None, 2:])
        count = given_xy.shape[1]

        xy = torch.zeros(1, COUNT, 2)
        xy[0, :count] = torch.from_numpy(given_xy[0])
        monkeypatch.setattr(pose, "decode_heatmaps", lambda *_, xy=xy: (xy, torch.ones(1, COUNT)))
        person = pose.decode(heatmaps, prepared, (180, 240)).people[0]
        np.testing.assert_allclose(person.keypoints[:count], expected[0], rtol=1e-5, atol=1e-3)


def pose_input(centers: np.ndarray, scales: np.ndarray) -> pose.PoseInput:
    boxes = np.zeros((len(centers), 4), np.float32)
    images = torch.zeros(len(centers), 3, *input_size_of(CROPS))
    return pose.PoseInput(images, centers.astype(np.float32), scales.astype(np.float32), boxes)


def input_size_of(crops: np.lib.npyio.NpzFile) -> tuple[int, int]:
    """Return the (H, W) whose pixels the fixture's places are counted in."""
    places = crops["inverse_in_input_px"]
    return (1024, 768) if places.max() > 200 else (128, 96)


boxes = st.tuples(st.floats(-200, 800), st.floats(-200, 800), st.floats(1, 900), st.floats(1, 900)).map(
    lambda b: np.array([[b[0], b[1], b[0] + b[2], b[1] + b[3]]], np.float32)
)


@settings(max_examples=60, deadline=None)
@given(box=boxes, place=st.tuples(st.floats(0.25, 0.75), st.floats(0.25, 0.75)))
def test_there_and_back(box: np.ndarray, place: tuple[float, float]) -> None:
    """A peak drawn where the crop shows a photo's pixel decodes to that pixel."""
    photo = np.zeros((700, 900, 3), np.uint8)
    prepared = pose.prepare(photo, (128, 96), box)
    matrix = pose.crop_matrix(prepared.centers[0], prepared.scales[0], (128, 96))
    wanted = prepared.centers[0] + (np.array(place) - 0.5) * prepared.scales[0]
    in_crop = matrix @ [*wanted, 1]
    in_heatmap = in_crop * [(24 - 1) / (96 - 1), (32 - 1) / (128 - 1)]
    heatmaps = torch.from_numpy(bump(*in_heatmap, (32, 24), 2)).expand(1, COUNT, -1, -1)
    person = pose.decode(heatmaps, prepared, (700, 900)).people[0]
    pixel = prepared.scales[0] / [23, 31]
    assert (np.abs(person.keypoints - wanted) < 0.08 * pixel + 1e-3).all()
    np.testing.assert_array_equal(person.box, box[0])


@settings(max_examples=60, deadline=None)
@given(box=boxes, size=st.sampled_from([(1024, 768), (384, 288), (100, 100)]))
def test_crop_holds_the_box(box: np.ndarray, size: tuple[int, int]) -> None:
    prepared = pose.prepare(np.zeros((64, 64, 3), np.uint8), (16, 12), box)
    matrix = pose.crop_matrix(prepared.centers[0], prepared.scales[0], size)
    inverse = cv2.invertAffineTransform(matrix)
    corners = np.array([[*box[0, :2], 1], [*box[0, 2:], 1]], float)
    inside = corners @ matrix.T
    assert (inside > -1e-3).all() and (inside < np.array(size[::-1]) + 1e-3).all()
    back = np.c_[inside, [1, 1]] @ inverse.T
    np.testing.assert_allclose(back, corners[:, :2], atol=2e-3)


@pytest.mark.parametrize("box", [(5, 5, 5, 5), (9, 9, 3, 3), (-500, -500, -400, -300)], ids=str)
def test_strange_boxes_break_nothing(box: tuple[int, ...]) -> None:
    prepared = pose.prepare(np.full((40, 30, 3), 200, np.uint8), (128, 96), np.array([box]))
    result = pose.decode(torch.rand(1, COUNT, 32, 24), prepared, (40, 30))
    assert np.isfinite(result.people[0].keypoints).all()


def test_nobody() -> None:
    prepared = pose.prepare(np.zeros((40, 30, 3), np.uint8), (128, 96), np.zeros((0, 4), np.float32))
    assert prepared.images.shape == (0, 3, 128, 96)
    assert pose.decode(torch.zeros(0, COUNT, 32, 24), prepared, (40, 30)).people == ()


def test_whole_photo_box() -> None:
    box = pose.whole_photo_box(np.zeros((40, 30, 3), np.uint8))
    assert box.dtype == np.float32
    assert box.tolist() == [[0, 0, 30, 40]]


def person_arrays() -> dict[str, np.ndarray]:
    return {
        "box": np.zeros(4, np.float32),
        "keypoints": np.zeros((COUNT, 2), np.float32),
        "scores": np.zeros(COUNT, np.float32),
    }


@pytest.mark.parametrize(
    ("name", "array", "error"),
    [
        ("box", np.zeros(5, np.float32), ValueError),
        ("keypoints", np.zeros((COUNT, 2)), TypeError),
        ("keypoints", np.zeros((17, 2), np.float32), ValueError),
        ("keypoints", np.full((COUNT, 2), np.nan, np.float32), ValueError),
        ("scores", np.zeros((COUNT, 1), np.float32), ValueError),
        ("scores", np.full(COUNT, np.inf, np.float32), ValueError),
    ],
)
def test_person_checks_its_arrays(name: str, array: np.ndarray, error: type[Exception]) -> None:
    pose.Person(**person_arrays())
    with pytest.raises(error, match=name):
        pose.Person(**{**person_arrays(), name: array})
