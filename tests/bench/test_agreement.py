from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from sapiens_demo.bench.agreement import compare
from sapiens_demo.bench.decoding import example_heatmaps
from sapiens_demo.catalog import TASKS
from sapiens_demo.network import NetworkConfig

CHANNELS = {"pose": 40, "segmentation": 28, "depth": 1, "normal": 3}


def _output(task: str) -> torch.Tensor:
    if task == "pose":
        return torch.from_numpy(example_heatmaps((40, 64, 48)))[None]
    soft = torch.randn(1, CHANNELS[task], 8, 6, generator=torch.Generator().manual_seed(0))
    return F.interpolate(soft, (64, 48), mode="bilinear")


def _noise(like: torch.Tensor) -> torch.Tensor:
    return torch.randn(like.shape, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize(
    ("spoil", "holds"),
    [
        (lambda output: output, True),
        (lambda output: output.to(torch.bfloat16), True),
        (lambda output: output + 0.002 * _noise(output), True),
        (lambda output: output + _noise(output), False),
        (lambda output: output.roll(3, -1), False),
        (lambda output: torch.full_like(output, torch.nan), False),
    ],
    ids=["same", "bfloat16", "rounding", "noise", "shifted", "nan"],
)
def test_what_people_read_off_decides(task: str, spoil, holds: bool) -> None:
    output = _output(task)
    agreement = compare(NetworkConfig.from_name(task, "mini"), spoil(output), output)
    assert agreement.holds is holds, agreement


def test_two_labels_of_nearly_the_same_value_are_equally_right() -> None:
    expected = torch.zeros(1, 28, 2, 50)
    expected[:, 1], expected[:, 2] = 10, 9.99
    expected[:, 3, 0] = 20  # half of the pixels are clear
    found = expected.clone()
    found[:, 2] = 10.01
    agreement = compare(NetworkConfig.from_name("segmentation", "mini"), found, expected)
    assert agreement.holds and "50%" in agreement.measure
    found[:, 3, 0, :2] = 0  # two of fifty clear ones
    assert compare(NetworkConfig.from_name("segmentation", "mini"), found, expected).value == pytest.approx(
        0.96
    )


def test_a_peak_with_a_rival_is_not_judged() -> None:
    expected = torch.from_numpy(example_heatmaps((2, 64, 48)))[None]
    expected[0, 1] = torch.maximum(expected[0, 1], 0.99 * expected[0, 1].flip(0))
    found = expected.clone()
    found[0, 1] = found[0, 1].flip(0)
    agreement = compare(NetworkConfig.from_name("pose", "mini"), found, expected)
    assert agreement.holds and "1 of 2" in agreement.measure
