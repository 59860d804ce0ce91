from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from sapiens_demo.bench import weights
from sapiens_demo.bench.weights import (
    example_images,
    example_photos,
    find_weights,
    large_photo,
    random_weights,
)
from sapiens_demo.catalog import TASKS
from sapiens_demo.errors import DemoError
from sapiens_demo.network import NetworkConfig, build_network

pytest_plugins = ["tests.mini_weights"]


@pytest.mark.parametrize("task", TASKS)
def test_random_weights_say_about_what_is_wanted(
    task: str, tiny: Callable[[str], NetworkConfig], images: torch.Tensor
) -> None:
    config = tiny(task)
    image = images[:1]
    soft = torch.randn(1, config.out_channels, 3, 2, generator=torch.Generator().manual_seed(2))
    wanted = F.interpolate(soft, (12, 8), mode="bilinear")
    state = random_weights(config, image, wanted)
    with torch.inference_mode():
        output = build_network(config, state)(image)
    target = F.interpolate(wanted, output.shape[2:], mode="bilinear")
    correlation = torch.corrcoef(torch.stack([output.flatten(), target.flatten()]))[0, 1]
    assert correlation > 0.8
    assert all(value.dtype == torch.float32 and value.isfinite().all() for value in state.values())


def test_random_weights_are_always_the_same(
    tiny: Callable[[str], NetworkConfig], images: torch.Tensor
) -> None:
    first, second = (random_weights(tiny("depth"), images, images[:, :1]) for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_some_channels_are_loud(tiny: Callable[[str], NetworkConfig], images: torch.Tensor) -> None:
    table = random_weights(tiny("depth"), images, images[:, :1])["backbone.pos_embed"][0]
    assert table[:, :4].mean() > 20 and table[:, 4:].abs().max() < 2


def test_weights_of_this_machine_come_first(random_mini: Path) -> None:
    found = find_weights("normal", "mini", torch.device("cpu"), torch.zeros(1, 3, 384, 288))
    assert found.origin == "shipped"
    assert found.state_dict["decode_head.conv_seg.weight"].shape == (3, 32, 1, 1)


def test_images_differ_even_where_photos_are_few() -> None:
    chance = np.random.default_rng(0)
    photos = [chance.integers(0, 256, (20, 30, 3), np.uint8) for _ in range(2)]
    images = example_images(photos, (16, 12), 4)
    assert images.shape == (4, 3, 16, 12) and images.dtype == torch.float32
    assert torch.equal(images[2], images[0].flip(-1)) and not torch.equal(images[0], images[1])


@pytest.mark.parametrize("megapixels", [0.05, 12.0])
def test_a_large_photo_keeps_its_shape(megapixels: float) -> None:
    large = large_photo(np.full((40, 30, 3), 128, np.uint8), megapixels)
    height, width = large.shape[:2]
    assert large.dtype == np.uint8
    assert height * width == pytest.approx(megapixels * 1e6, rel=0.01)
    assert height / width == pytest.approx(4 / 3, rel=0.01)
    assert 1 < large.std() < 5  # a camera's noise


def test_the_shipped_pictures_are_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert all(photo.ndim == 3 for photo in example_photos())
    monkeypatch.setattr(weights, "_EXAMPLES", tmp_path)
    with pytest.raises(DemoError):
        example_photos()
