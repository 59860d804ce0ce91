"""Whether two ways to run a network say the same, in terms of what people read off its maps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from sapiens_demo.network import NetworkConfig
from sapiens_demo.tasks.pose import decode_heatmaps

_TINY_MARGIN = 0.05  # of the logits' spread: nearer than this, two labels are equally right
_NEAREST_RIVAL = 3  # px of the heatmap: what is farther from a peak is a rival, not its slope
_CLEAR = 0.9  # of a peak's height: its highest rival is lower
_SAME_PLACE = 0.5  # px of the input


@dataclass(frozen=True)
class Agreement:
    """Say how far two outputs agree.

    Args:
        measure: what was compared, with the tolerance.
        value: how much.
        holds: whether it is within the tolerance.
    """

    measure: str
    value: float
    holds: bool


def compare(config: NetworkConfig, found: Tensor, expected: Tensor) -> Agreement:
    """Compare a network's output with the one to be trusted.

    Args:
        config: the network.
        found: (B, C, h, w) of any precision.
        expected: (B, C, h, w) float32.

    Returns:
        The agreement, in the task's own terms.
    """
    return _COMPARISONS[config.task](found.float(), expected.float(), config)


def _compare_keypoints(found: Tensor, expected: Tensor, config: NetworkConfig) -> Agreement:
    height, width = expected.shape[-2:]
    scale = config.image_size[0] / config.output_size[0]
    input_size = round(height * scale), round(width * scale)
    own, _ = decode_heatmaps(found, input_size)
    theirs, _ = decode_heatmaps(expected, input_size)
    clear = _clear_peaks(expected)
    near = (own - theirs).norm(dim=-1)[clear] <= _SAME_PLACE
    measure = f"clear keypoints within {_SAME_PLACE} px of the input ({int(clear.sum())} of {clear.numel()})"
    return _at_least(f"{measure}, >= 99 %", _share(near), 0.99)


def _clear_peaks(heatmaps: Tensor) -> Tensor:
    """Return (B, K) bool: where the peak is positive and nothing away from it comes near its height."""
    maps = heatmaps.flatten(0, 1)
    height, width = maps.shape[-2:]
    peaks, places = maps.flatten(1).max(1)
    ys = torch.arange(height, device=maps.device)[None, :, None] - (places // width)[:, None, None]
    xs = torch.arange(width, device=maps.device)[None, None] - (places % width)[:, None, None]
    slope = (ys.abs() <= _NEAREST_RIVAL) & (xs.abs() <= _NEAREST_RIVAL)
    rivals = _local_maxima(maps).masked_fill(slope, -torch.inf).amax((1, 2))
    return ((peaks > 0) & (rivals < _CLEAR * peaks)).view(heatmaps.shape[:2])


def _local_maxima(maps: Tensor) -> Tensor:
    """Return (N, h, w) maps in which all but the local maxima is -inf."""
    highest = F.max_pool2d(maps[:, None], 3, stride=1, padding=1)[:, 0]
    return maps.masked_fill(maps < highest, -torch.inf)


def _compare_labels(found: Tensor, expected: Tensor, config: NetworkConfig) -> Agreement:
    first, second = expected.topk(2, dim=1).values.unbind(1)
    clear = first - second > _TINY_MARGIN * expected.std()
    same = (found.argmax(1) == expected.argmax(1))[clear]
    measure = f"labels equal where the margin is not tiny ({_share(clear):.0%} of the pixels), >= 99 %"
    return _at_least(measure, _share(same), 0.99)


def _compare_depth(found: Tensor, expected: Tensor, config: NetworkConfig) -> Agreement:
    both = torch.stack([found.flatten(), expected.flatten()]).double().cpu()
    correlation = torch.corrcoef(both)[0, 1].item()
    return _at_least("correlation of depth, >= 0.999", correlation, 0.999)


def _compare_normals(found: Tensor, expected: Tensor, config: NetworkConfig) -> Agreement:
    own, theirs = F.normalize(found, dim=1), F.normalize(expected, dim=1)
    # By the chord: the arc cosine of two nearly equal directions is lost in rounding.
    degrees = torch.rad2deg(2 * ((own - theirs).norm(dim=1) / 2).clip(max=1).asin())
    median = degrees.flatten().median().item()
    return Agreement("median angle of normals in degrees, <= 1", median, median <= 1)  # False for NaN too


_COMPARISONS: dict[str, Callable[[Tensor, Tensor, NetworkConfig], Agreement]] = {
    "pose": _compare_keypoints,
    "segmentation": _compare_labels,
    "depth": _compare_depth,
    "normal": _compare_normals,
}


def _share(flags: Tensor) -> float:
    return flags.float().mean().item() if flags.numel() else float("nan")


def _at_least(measure: str, value: float, bar: float) -> Agreement:
    return Agreement(measure, value, value >= bar)  # False for NaN too
