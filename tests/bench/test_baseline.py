"""What people run today, against what the demo makes of the same."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from sapiens_demo.bench.baseline import OFFICIAL_WAYS, decode_heatmaps_one_by_one, trace_baseline
from sapiens_demo.bench.decoding import example_heatmaps
from sapiens_demo.bench.weights import random_weights
from sapiens_demo.catalog import TASKS
from sapiens_demo.network import NetworkConfig, build_network
from sapiens_demo.tasks import depth, normal, pose, segmentation

PHOTO = np.random.default_rng(0).integers(0, 256, (70, 50, 3), np.uint8)


@pytest.mark.parametrize("task", TASKS)
def test_it_computes_the_same_with_attention_spelled_out(
    task: str, tiny: Callable[[str], NetworkConfig], images: torch.Tensor
) -> None:
    config = tiny(task)
    state = random_weights(config, images, torch.randn(2, config.out_channels, 6, 4))
    traced = trace_baseline(config, state, images)
    with torch.inference_mode():
        expected, found = build_network(config, state)(images), traced(images)  # traced with one image only
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)
    graph = str(traced.inlined_graph)
    assert "aten::softmax" in graph and "scaled_dot_product" not in graph


@pytest.mark.parametrize(
    ("task", "ours"), [("segmentation", segmentation), ("depth", depth), ("normal", normal)]
)
def test_dense_tasks_are_fed_and_decoded_alike(task: str, ours) -> None:
    way = OFFICIAL_WAYS[task]
    torch.testing.assert_close(way.prepare(PHOTO, (32, 24)), ours.prepare(PHOTO, (32, 24)))
    channels = {"segmentation": 28, "depth": 1, "normal": 3}[task]
    output = torch.randn(1, channels, 16, 12, generator=torch.Generator().manual_seed(0))
    result = ours.decode(output, (70, 50))
    found = way.decode(output, (70, 50))
    if task == "segmentation":
        assert (found == result.labels).mean() > 0.999
    else:
        np.testing.assert_allclose(found, getattr(result, {"normal": "normals"}.get(task, task)), atol=1e-3)


def test_pose_is_fed_and_decoded_alike() -> None:
    way = OFFICIAL_WAYS["pose"]
    prepared = pose.prepare(PHOTO, (64, 48), pose.whole_photo_box(PHOTO))
    torch.testing.assert_close(way.prepare(PHOTO, (64, 48)), prepared.images)
    heatmaps = torch.from_numpy(example_heatmaps((6, 48, 40)))[None]
    expected, _ = pose.decode_heatmaps(heatmaps, (192, 160))
    np.testing.assert_allclose(way.decode(heatmaps, (70, 50)), expected[0], atol=1e-3)


def test_peaks_by_the_definition() -> None:
    ys, xs = torch.meshgrid(torch.arange(64), torch.arange(48), indexing="ij")
    exact = torch.tensor([[20.3, 30.6], [11.0, 40.0]])
    maps = [torch.exp(-((xs - x) ** 2 + (ys - y) ** 2) / (2 * 3.0**2)) for x, y in exact]
    found = decode_heatmaps_one_by_one(torch.stack(maps).numpy(), (64, 48))
    np.testing.assert_allclose(found / [48 / 47, 64 / 63], exact, atol=0.02)


def test_a_channel_without_a_peak_is_no_place() -> None:
    maps = F.pad(torch.ones(1, 1, 1), (8, 8, 8, 8)).repeat(2, 1, 1).numpy()
    maps[1] = 0
    found = decode_heatmaps_one_by_one(maps, (68, 68))
    assert np.isfinite(found[0]).all() and np.isnan(found[1]).all()
