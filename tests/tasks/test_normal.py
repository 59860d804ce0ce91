"""Normals at the photo's size: stretched in one step, then brought to length 1."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sapiens_demo.tasks.normal import NormalResult, decode

OFFICIAL = np.load(Path(__file__).parents[1] / "fixtures" / "visualisers_depth_normal.npz")


def test_equals_official() -> None:
    expected = OFFICIAL["normal_saved"]
    normals = decode(torch.from_numpy(OFFICIAL["normal_in"])[None], expected.shape[:2]).normals
    np.testing.assert_allclose(normals, expected, atol=5e-4)


sides = st.integers(1, 150)


@settings(max_examples=50, deadline=None)
@given(size=st.tuples(sides, sides), scale=st.sampled_from([1e-3, 1.0, 1e3]), seed=st.integers(0, 99))
def test_lengths_are_one(size: tuple[int, int], scale: float, seed: int) -> None:
    output = scale * torch.randn(1, 3, 9, 7, generator=torch.Generator().manual_seed(seed))
    normals = decode(output, size).normals
    assert normals.shape == (*size, 3) and normals.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(normals, axis=-1), 1, atol=1e-5)


def test_vectors_without_direction_face_the_viewer() -> None:
    output = torch.zeros(1, 3, 8, 6)
    output[:, 0, 4:] = -2
    normals = decode(output, (8, 6)).normals
    assert (normals[:4] == [0, 0, 1]).all()
    assert (normals[4:] == [-1, 0, 0]).all()


def test_keeps_the_mask() -> None:
    mask = np.zeros((16, 12), bool)
    assert decode(torch.rand(1, 3, 8, 6), (16, 12), mask).mask is mask


@pytest.mark.parametrize(
    ("normals", "mask", "error"),
    [
        (np.zeros((4, 4, 3)), None, TypeError),
        (np.zeros((4, 4), np.float32), None, ValueError),
        (np.zeros((4, 4, 3), np.float32), np.zeros((4, 3), bool), ValueError),
        (np.zeros((4, 4, 3), np.float32), np.zeros((4, 4), np.uint8), TypeError),
    ],
)
def test_result_checks_its_arrays(normals: np.ndarray, mask: np.ndarray, error: type[Exception]) -> None:
    with pytest.raises(error):
        NormalResult(normals, mask)
