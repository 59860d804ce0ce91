"""Multiply-adds as they are counted on paper."""

from __future__ import annotations

import pytest
import torch

from sapiens_demo.bench.work import count_tflop, roofline
from sapiens_demo.network import NetworkConfig

# TFLOP of one 1024 x 768 picture.
PUBLISHED = {
    "pose": (3.24, 5.89, 9.77, 17.05),
    "segmentation": (4.73, 7.38, 11.26, 18.54),
    "depth": (4.51, 7.15, 11.02, 18.29),
    "normal": (4.72, 7.37, 11.26, 18.54),
}
CASES = [
    (task, size, tflop)
    for task, row in PUBLISHED.items()
    for size, tflop in zip(("0.3b", "0.6b", "1b", "2b"), row, strict=True)
]


@pytest.mark.parametrize(("task", "size", "tflop"), CASES)
def test_a_forward_costs_what_is_said(task: str, size: str, tflop: float) -> None:
    assert count_tflop(NetworkConfig.from_name(task, size)) == pytest.approx(tflop, abs=0.006)


def test_mini_by_hand() -> None:
    tokens, width, depth = 24 * 18, 192, 8
    linear = 2 * tokens * (3 + 1 + 4 + 4) * width**2 * depth
    attention = 2 * 2 * tokens**2 * width * depth
    patches = 2 * tokens * 3 * 16**2 * width
    head = 0
    pixels, channels = tokens, width
    for wide in (64, 48, 32):
        head += 2 * pixels * channels * wide * 16  # every input pixel reaches sixteen output pixels
        pixels, channels = 4 * pixels, wide
    head += 3 * 2 * pixels * 32 * 32 + 2 * pixels * 32 * 28
    config = NetworkConfig.from_name("segmentation", "mini")
    assert count_tflop(config, batch=3) == pytest.approx(3 * (linear + attention + patches + head) / 1e12)


def test_limits_add_up_to_the_whole() -> None:
    config = NetworkConfig.from_name("segmentation", "0.3b")
    limits = roofline(config, 1, torch.bfloat16, matrix_rate=600, memory_rate=3)
    assert sum(limit.tflop for limit in limits) == pytest.approx(count_tflop(config))
    assert [limit.ms for limit in limits] == sorted((limit.ms for limit in limits), reverse=True)
    bound = {limit.kind: limit.bound for limit in limits}
    assert bound["matrices"] == bound["attention"] == bound["convolutions"] == "compute"
    assert bound["norms"] == bound["activations"] == "memory"
    # The head's largest activation, 302 MB, is written by three layers and read and written by six more.
    norms = next(limit for limit in limits if limit.kind == "norms")
    assert norms.gigabytes > 4 * 2 * 0.302


def test_a_faster_memory_changes_what_is_waited_for() -> None:
    config = NetworkConfig.from_name("depth", "mini")
    bounds = [
        {limit.kind: limit.bound for limit in roofline(config, 1, torch.float32, 1.0, memory)}["matrices"]
        for memory in (1e-6, 1e6)
    ]
    assert bounds == ["memory", "compute"]
