"""Checks of results, and maps stretched over the photo."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from sapiens_demo.tasks.outputs import check_array, check_mask, resize_map


@pytest.mark.parametrize(
    ("array", "shape", "error"),
    [
        (np.zeros((2, 3), np.float32), (2, 3), None),
        (np.zeros((2, 3), np.float32), (None, 3), None),
        (np.zeros((2, 3), np.float32), (3, 2), ValueError),
        (np.zeros((2, 3), np.float32), (2, 3, 1), ValueError),
        (np.zeros((2, 3), np.float32), (None,), ValueError),
        (np.zeros((2, 3), np.float64), (2, 3), TypeError),
        (torch.zeros(2, 3), (2, 3), TypeError),
        ([[0.0]], (1, 1), TypeError),
    ],
)
def test_check_array(array: Any, shape: tuple[int | None, ...], error: type[Exception] | None) -> None:
    if error is None:
        check_array("values", array, shape, np.float32)
    else:
        with pytest.raises(error, match="values"):
            check_array("values", array, shape, np.float32)


def test_check_mask() -> None:
    check_mask(None, (2, 3))
    check_mask(np.zeros((2, 3), bool), (2, 3))
    with pytest.raises(ValueError, match="mask"):
        check_mask(np.zeros((3, 2), bool), (2, 3))
    with pytest.raises(TypeError, match="mask"):
        check_mask(np.zeros((2, 3), np.uint8), (2, 3))


sides = st.integers(1, 60)


@settings(max_examples=60, deadline=None)
@given(small=st.tuples(sides, sides), large=st.tuples(sides, sides), channels=st.sampled_from([1, 3]))
def test_resize_map_is_bilinear(small: tuple[int, int], large: tuple[int, int], channels: int) -> None:
    output = torch.rand(1, channels, *small, generator=torch.Generator().manual_seed(1))
    expected = F.interpolate(output, size=large, mode="bilinear", align_corners=False)
    stretched = resize_map(output, large)
    assert stretched.shape == (*large, channels)
    assert stretched.dtype == np.float32
    np.testing.assert_allclose(stretched, expected[0].permute(1, 2, 0).numpy(), atol=2e-5)


def test_resize_map_takes_bfloat16() -> None:
    assert resize_map(torch.ones(1, 1, 4, 3, dtype=torch.bfloat16), (8, 6)).dtype == np.float32
