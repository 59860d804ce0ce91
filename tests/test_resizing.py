"""Photos become smaller smoothly."""

from __future__ import annotations

import numpy as np
import pytest

from sapiens_demo.resizing import shrink


@pytest.mark.parametrize(
    ("size", "reduced"),
    [
        pytest.param((3000, 4000), (480, 640), id="twelve megapixels"),
        pytest.param((2561, 1001), (640, 250), id="odd sides"),
        pytest.param((641, 500), (640, 499), id="hardly too large"),
        pytest.param((60, 45), (60, 45), id="small"),
        pytest.param((5000, 1), (640, 2), id="a line"),
    ],
)
def test_a_small_photo_holds_means_of_the_large_one_s_pixels(
    size: tuple[int, int], reduced: tuple[int, int]
) -> None:
    ramp = np.linspace(0, 255, size[0])[:, None, None]
    photo = np.broadcast_to(ramp, (*size, 3)).astype(np.uint8)

    small = shrink(photo, reduced)

    assert small.shape == (*reduced, 3)
    assert np.abs(small[:, 0, 0] - np.linspace(0, 255, reduced[0])).max() < 2
