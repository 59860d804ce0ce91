"""Labels in strips equal labels at once, and the result's sums."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from sapiens_demo.tasks import segmentation
from sapiens_demo.tasks.segmentation import SegmentationResult, decode, decode_mask
from sapiens_demo.vocabulary import PARTS

ROOT = Path(__file__).parents[2]
CLASSES = len(PARTS)


def random_logits(h: int, w: int, seed: int, roughness: float = 1) -> torch.Tensor:
    """Return logits that change every pixel (roughness 1) or in larger patches."""
    generator = torch.Generator().manual_seed(seed)
    coarse = max(1, round(h * roughness)), max(1, round(w * roughness))
    return F.interpolate(torch.randn(1, CLASSES, *coarse, generator=generator), size=(h, w), mode="bilinear")


def decode_at_once(logits: torch.Tensor, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Return labels by the definition, and how clearly each won."""
    stretched = F.interpolate(logits.double(), size=size, mode="bilinear", align_corners=False)[0]
    best = stretched.topk(2, dim=0).values
    return stretched.argmax(0).numpy(), (best[0] - best[1]).numpy()


grid_sides, photo_sides = st.integers(1, 24), st.integers(1, 90)


@settings(max_examples=150, deadline=None)
@given(
    grid=st.tuples(grid_sides, grid_sides),
    size=st.tuples(photo_sides, photo_sides),
    seed=st.integers(0, 2**16),
    roughness=st.sampled_from([0.2, 0.5, 1]),
    strip_pixels=st.sampled_from([1, 100, 1 << 17]),
)
def test_strips_equal_the_whole(
    grid: tuple[int, int], size: tuple[int, int], seed: int, roughness: float, strip_pixels: int
) -> None:
    logits = random_logits(*grid, seed, roughness)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(segmentation, "_STRIP_PIXELS", strip_pixels)
        labels = decode(logits, size).labels
    expected, margin = decode_at_once(logits, size)
    assert labels.shape == size
    clear = margin > 1e-5
    assert clear.mean() > 0.95
    np.testing.assert_array_equal(labels[clear], expected[clear])


@settings(max_examples=50, deadline=None)
@given(
    grid=st.tuples(grid_sides, grid_sides),
    size=st.tuples(photo_sides, photo_sides),
    seed=st.integers(0, 2**16),
)
def test_strip_height_changes_nothing(grid: tuple[int, int], size: tuple[int, int], seed: int) -> None:
    logits = random_logits(*grid, seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(segmentation, "_STRIP_PIXELS", 1)
        row_by_row = decode(logits, size).labels
    np.testing.assert_array_equal(row_by_row, decode(logits, size).labels)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_takes_half_precision(dtype: torch.dtype) -> None:
    logits = random_logits(16, 12, 3).to(dtype)
    np.testing.assert_array_equal(decode(logits, (50, 40)).labels, decode(logits.float(), (50, 40)).labels)


@pytest.mark.parametrize("label", [0, 1, 27])
def test_one_class_everywhere(label: int) -> None:
    logits = torch.zeros(1, CLASSES, 8, 6)
    logits[:, label] = 1
    assert (decode(logits, (33, 21)).labels == label).all()


def test_equal_logits_take_the_first_class() -> None:
    assert (decode(torch.zeros(1, CLASSES, 8, 6), (33, 21)).labels == 0).all()


def test_a_class_can_win_between_others() -> None:
    """Second at every corner, first in between: the shortcut must not hide it."""
    logits = torch.zeros(1, CLASSES, 1, 2)
    logits[0, 3, 0], logits[0, 9, 0], logits[0, 5, 0] = torch.tensor([[1.0, 0], [0, 1.0], [0.8, 0.8]])
    assert decode(logits, (1, 20)).labels[0].tolist() == [3] * 7 + [5] * 6 + [9] * 7


@given(
    grid=st.tuples(grid_sides, grid_sides),
    size=st.tuples(photo_sides, photo_sides),
    seed=st.integers(0, 2**16),
    ahead=st.floats(-3, 3),
)
def test_the_mask_holds_every_part(
    grid: tuple[int, int], size: tuple[int, int], seed: int, ahead: float
) -> None:
    logits = random_logits(*grid, seed)
    logits[:, 0] += 1.8 + ahead  # about where parts and background are even
    mask = decode_mask(logits, size)
    expected, margin = decode_at_once(logits, size)
    assert mask.shape == size and mask.dtype == np.bool_
    assert mask[(expected > 0) & (margin > 1e-5)].all()
    alone = torch.cat([logits[:, :1], logits[:, 1:].amax(1, keepdim=True)], 1)  # all parts as one class
    foreground, clear = decode_at_once(alone, size)
    np.testing.assert_array_equal(mask[clear > 1e-5], foreground[clear > 1e-5] > 0)


def test_large_photo_takes_little_memory() -> None:
    pytest.importorskip("resource")
    code = """
import resource, sys, torch
from sapiens_demo.tasks.segmentation import decode
torch.set_num_threads(1)
logits = torch.nn.functional.interpolate(torch.randn(1, 28, 64, 48), size=(512, 384), mode="bilinear")
decode(logits[..., :64, :64], (64, 64))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
decode(logits, (4000, 3000))
grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
print(grown / (1024 if sys.platform != "darwin" else 1024**2))
"""
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=300, check=True)
    assert float(done.stdout) < 150


def test_mask_and_shares() -> None:
    labels = np.zeros((40, 30), np.uint8)
    labels[:10], labels[10:15] = 3, 27
    result = SegmentationResult(labels)
    assert result.mask.dtype == bool
    np.testing.assert_array_equal(result.mask, labels > 0)
    assert result.shares() == {3: pytest.approx(2 / 3), 27: pytest.approx(1 / 3)}


def test_nobody_has_no_shares() -> None:
    assert SegmentationResult(np.zeros((40, 30), np.uint8)).shares() == {}


@settings(max_examples=50, deadline=None)
@given(size=st.tuples(st.integers(1, 40), st.integers(1, 40)), seed=st.integers(0, 99))
def test_shares_sum_to_one(size: tuple[int, int], seed: int) -> None:
    labels = np.random.default_rng(seed).integers(0, CLASSES, size, np.uint8)
    shares = SegmentationResult(labels).shares()
    assert list(shares) == sorted(set(labels[labels > 0].tolist()))
    assert sum(shares.values()) == pytest.approx(1 if shares else 0)


@pytest.mark.parametrize(
    ("labels", "error"),
    [
        (np.zeros((4, 4), np.int64), TypeError),
        (np.zeros((4, 4, 1), np.uint8), ValueError),
        (np.full((4, 4), 28, np.uint8), ValueError),
    ],
)
def test_result_checks_its_labels(labels: np.ndarray, error: type[Exception]) -> None:
    with pytest.raises(error, match="labels"):
        SegmentationResult(labels)


@pytest.mark.parametrize(
    ("owners", "error"), [(np.zeros((4, 4), bool), TypeError), (np.zeros((4, 5), np.uint8), ValueError)]
)
def test_result_checks_its_owners(owners: np.ndarray, error: type[Exception]) -> None:
    with pytest.raises(error, match="owners"):
        SegmentationResult(np.zeros((4, 4), np.uint8), owners)
