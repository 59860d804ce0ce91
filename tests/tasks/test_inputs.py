"""Photos in the networks' form, against the official pipeline."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from sapiens_demo.tasks import depth, normal, segmentation
from sapiens_demo.tasks.inputs import MEAN, STD, normalise, resize_whole

OFFICIAL = np.load(Path(__file__).parents[1] / "fixtures" / "image_preprocess.npz")


@pytest.mark.parametrize("name", ["up", "down"])
@pytest.mark.parametrize(
    "prepare", [resize_whole, segmentation.prepare, depth.prepare, normal.prepare], ids=lambda f: f.__module__
)
def test_equals_official_pipeline(name: str, prepare) -> None:
    photo = OFFICIAL[f"{name}_bgr"][..., ::-1].copy()
    prepared = prepare(photo, (128, 96))
    assert prepared.shape == (1, 3, 128, 96)
    assert prepared.dtype == torch.float32
    np.testing.assert_allclose(prepared[0, :, ::4].numpy(), OFFICIAL[f"{name}_full_rows"], atol=1e-5)


def test_normalise_a_batch() -> None:
    images = np.random.default_rng(0).integers(0, 256, (2, 5, 7, 3), np.uint8)
    expected = ((images - np.array(MEAN)) / np.array(STD)).transpose(0, 3, 1, 2)
    values = normalise(images)
    assert values.is_contiguous()
    np.testing.assert_allclose(values.numpy(), expected, atol=1e-5)


def test_normalise_keeps_its_source() -> None:
    images = np.full((1, 4, 4, 3), 7, np.uint8)
    normalise(images)
    assert (images == 7).all()
