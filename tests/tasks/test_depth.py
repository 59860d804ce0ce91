"""Depth at the photo's size, its range, and normals made from it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sapiens_demo.tasks.depth import DepthResult, decode, depth_range, normals_from_depth

OFFICIAL = np.load(Path(__file__).parents[1] / "fixtures" / "visualisers_depth_normal.npz")


def disc(height: int, width: int, radius: float) -> np.ndarray:
    ys, xs = np.mgrid[:height, :width]
    return np.hypot(ys - (height - 1) / 2, xs - (width - 1) / 2) <= radius


def ramp(height: int, width: int, right: float, down: float) -> np.ndarray:
    ys, xs = np.mgrid[:height, :width]
    return (right * xs / width + down * ys / height).astype(np.float32)


def ball(side: int, radius: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return depth, mask and true normals of a ball seen from far away."""
    ys, xs = (np.mgrid[:side, :side] - (side - 1) / 2) / radius
    height = np.sqrt(np.clip(1 - xs**2 - ys**2, 0, None))
    return (-height).astype(np.float32), np.hypot(xs, ys) < 1, np.dstack([xs, -ys, height])


def test_decode_equals_official() -> None:
    expected = OFFICIAL["depth_saved"]
    depth = decode(torch.from_numpy(OFFICIAL["depth_in"])[None], expected.shape).depth
    np.testing.assert_allclose(depth, expected, atol=1e-4)


def test_decode_keeps_the_mask() -> None:
    mask = np.ones((16, 12), bool)
    result = decode(torch.rand(1, 1, 8, 6).bfloat16(), (16, 12), mask)
    assert result.depth.dtype == np.float32
    assert result.depth.flags.c_contiguous
    assert result.mask is mask


range_cases = {
    "whole map": (np.arange(101, dtype=np.float32)[None], None, (0, 100), (0, 100)),
    "percentiles": (np.arange(101, dtype=np.float32)[None], None, (1, 99), (1, 99)),
    "person only": (np.float32([[0, 1, 2, 90]]), np.array([[False, True, True, False]]), (0, 100), (1, 2)),
    "empty mask": (np.float32([[3, 5]]), np.zeros((1, 2), bool), (0, 100), (3, 5)),
    "flat": (np.full((4, 4), 7, np.float32), None, (1, 99), (6.5, 7.5)),
    "flat person": (np.float32([[2, 2, 9]]), np.array([[True, True, False]]), (1, 99), (1.5, 2.5)),
    "one pixel": (np.float32([[2, 9]]), np.array([[False, True]]), (1, 99), (8.5, 9.5)),
    "rounding only": (np.float32([[1000, 1000.0001]]), None, (0, 100), (999.5, 1000.5)),
    "negative": (np.float32([[-5, -3]]), None, (0, 100), (-5, -3)),
}


@pytest.mark.parametrize(("depth", "mask", "percentiles", "expected"), range_cases.values(), ids=range_cases)
def test_depth_range(depth: np.ndarray, mask: np.ndarray | None, percentiles: tuple, expected: tuple) -> None:
    near, far = depth_range(DepthResult(depth, mask), percentiles)
    assert far > near
    assert (near, far) == pytest.approx(expected)


def test_normals_of_a_ball() -> None:
    depth, mask, expected = ball(301, 130)
    normals = normals_from_depth(DepthResult(depth, mask))
    flat = mask & (np.hypot(expected[..., 0], expected[..., 1]) < 0.9)
    # the ball is deeper than a person of its size is taken to be: directions fit, slopes are gentler
    for axis in (0, 1):
        clear = flat & (np.abs(expected[..., axis]) > 0.1)
        assert (np.sign(normals[..., axis]) == np.sign(expected[..., axis]))[clear].all()
    turn = np.arctan2(normals[..., 1], normals[..., 0]) - np.arctan2(expected[..., 1], expected[..., 0])
    steep = flat & (np.hypot(expected[..., 0], expected[..., 1]) > 0.2)
    assert np.abs(np.sin(turn[steep])).max() < 0.05
    cosine = (normals * expected).sum(-1)[flat]
    assert np.degrees(np.arccos(cosine.clip(-1, 1))).mean() < 15


@pytest.mark.parametrize(("right", "down"), [(1, 0), (0, 1), (-1, 0.5), (0.3, -1)])
@pytest.mark.parametrize("size", [(60, 80), (700, 500)])
def test_no_rim(right: float, down: float, size: tuple[int, int]) -> None:
    """A tilted plane faces one way up to the mask's edge, whatever lies behind it."""
    mask = disc(*size, 0.4 * min(size))
    depth = np.where(mask, ramp(*size, right, down), 50).astype(np.float32)
    normals = normals_from_depth(DepthResult(depth, mask))
    middle = normals[size[0] // 2, size[1] // 2]
    assert np.abs(middle[:2] / np.hypot(*middle[:2]) - [right, -down] / np.hypot(right, down)).max() < 0.5
    assert np.abs(normals[mask] - middle).max() < 0.02
    assert (normals[~mask] == [0, 0, 1]).all()


def test_background_mixed_into_the_rim_hardly_shows() -> None:
    """Depth at an outline is stretched from few pixels and runs into the background's."""
    size = (960, 640)
    mask = disc(*size, 250)
    plane = ramp(*size, 1, 0)
    rim = mask & ~disc(*size, 246)
    depth = np.where(mask, plane, 50).astype(np.float32)
    depth[rim] += 1
    normals = normals_from_depth(DepthResult(depth, mask))
    away = np.degrees(np.arccos((normals @ normals[480, 320]).clip(-1, 1)))
    assert np.percentile(away[mask & ~rim], 99) < 5
    assert np.percentile(away[rim], 75) < 5


@settings(max_examples=40, deadline=None)
@given(
    size=st.tuples(st.integers(1, 160), st.integers(1, 160)),
    seed=st.integers(0, 999),
    hidden=st.sampled_from([0.0, 0.3, 0.9, 1.0]),
)
def test_mirrored_depth_gives_mirrored_normals(size: tuple[int, int], seed: int, hidden: float) -> None:
    rng = np.random.default_rng(seed)
    depth = rng.normal(0, 1, size).astype(np.float32)
    mask = rng.random(size) >= hidden
    normals = normals_from_depth(DepthResult(depth, mask))
    assert normals.shape == (*size, 3) and normals.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(normals, axis=-1), 1, atol=1e-5)
    mirrored = normals_from_depth(DepthResult(depth[:, ::-1].copy(), mask[:, ::-1].copy()))
    np.testing.assert_allclose(mirrored[:, ::-1] * [-1, 1, 1], normals, atol=2e-4)
    flipped = normals_from_depth(DepthResult(depth[::-1].copy(), mask[::-1].copy()))
    np.testing.assert_allclose(flipped[::-1] * [1, -1, 1], normals, atol=2e-4)


@pytest.mark.parametrize("factor", [0.01, 7.0])
def test_unit_and_offset_of_depth_do_not_matter(factor: float) -> None:
    depth, mask, _ = ball(121, 50)
    normals = normals_from_depth(DepthResult(depth, mask))
    other = normals_from_depth(DepthResult(depth * np.float32(factor) + 3, mask))
    np.testing.assert_allclose(other, normals, atol=2e-3)


def test_size_of_the_photo_does_not_matter() -> None:
    small, large = ball(201, 80), ball(804, 320)
    ours = normals_from_depth(DepthResult(*small[:2]))
    theirs = normals_from_depth(DepthResult(*large[:2]))[2::4, 2::4]
    inner = ball(201, 64)[1]
    assert np.abs(ours - theirs)[inner].max() < 0.05


@pytest.mark.parametrize(
    "result",
    [
        DepthResult(np.full((50, 40), 3, np.float32)),
        DepthResult(np.full((50, 40), 3, np.float32), disc(50, 40, 15)),
        DepthResult(np.full((50, 40), 3, np.float32), np.zeros((50, 40), bool)),
        DepthResult(np.full((1, 1), 3, np.float32)),
    ],
    ids=["whole map", "person", "empty mask", "one pixel"],
)
def test_flat_depth_faces_the_viewer(result: DepthResult) -> None:
    assert (normals_from_depth(result) == [0, 0, 1]).all()


def test_what_lies_outside_the_mask_does_not_count() -> None:
    depth, mask, _ = ball(121, 50)
    expected = normals_from_depth(DepthResult(depth, mask))
    depth[~mask] = np.random.default_rng(0).choice([np.nan, np.inf, -1e30], (~mask).sum())
    np.testing.assert_array_equal(normals_from_depth(DepthResult(depth, mask)), expected)


def test_empty_mask_counts_as_none() -> None:
    depth, mask, _ = ball(61, 25)
    empty = normals_from_depth(DepthResult(depth, np.zeros_like(mask)))
    np.testing.assert_array_equal(empty, normals_from_depth(DepthResult(depth)))


@pytest.mark.parametrize(
    ("depth", "mask", "error"),
    [
        (np.zeros((4, 4)), None, TypeError),
        (np.zeros((4, 4, 1), np.float32), None, ValueError),
        (np.zeros((4, 4), np.float32), np.zeros((5, 4), bool), ValueError),
        (np.zeros((4, 4), np.float32), np.zeros((4, 4), np.float32), TypeError),
    ],
)
def test_result_checks_its_arrays(depth: np.ndarray, mask: np.ndarray, error: type[Exception]) -> None:
    with pytest.raises(error):
        DepthResult(depth, mask)
