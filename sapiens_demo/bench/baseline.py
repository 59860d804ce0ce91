"""What people run today: float32 TorchScript with attention spelled out, fed and decoded the official way.

Written from the description of the official demos, to be timed and to be compared with; the demo itself never
imports it.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sapiens_demo.network import NetworkConfig, build_network
from sapiens_demo.tasks import pose
from sapiens_demo.tasks.inputs import MEAN, STD

_BLUR = 11  # px of the heatmap, width of the kernel
_MARGIN = _BLUR // 2


class _ExplicitAttention(nn.Module):
    """Attend with all N x N weights in memory."""

    def __init__(self, attention: nn.Module) -> None:
        super().__init__()
        self.num_heads = attention.num_heads
        self.qkv, self.proj = attention.qkv, attention.proj

    def forward(self, tokens: Tensor) -> Tensor:
        batch, count, width = tokens.shape
        qkv = self.qkv(tokens).reshape(batch, count, 3, self.num_heads, width // self.num_heads)
        query, key, value = qkv.permute(2, 0, 3, 1, 4).unbind(0)  # each [B, heads, N, D]
        weights = query @ key.transpose(-2, -1) * query.shape[-1] ** -0.5
        mixed = weights.softmax(-1) @ value
        return self.proj(mixed.transpose(1, 2).reshape(batch, count, width))


def trace_baseline(config: NetworkConfig, weights: dict[str, Tensor], images: Tensor) -> nn.Module:
    """Trace a network to TorchScript in float32 with explicit attention.

    Args:
        config: the network.
        weights: name to float32 tensor, on the device; shared, not copied.
        images: (1, 3, H, W) float32 on the device, to trace with.

    Returns:
        The traced network; any batch size, as with the official files.
    """
    network = build_network(config, weights)
    for layer in network.backbone.layers:
        layer.attn = _ExplicitAttention(layer.attn)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of TorchScript itself
        warnings.simplefilter("ignore", torch.jit.TracerWarning)  # the image size is fixed, as officially
        return torch.jit.trace(network, images[:1], check_trace=False)


@dataclass(frozen=True)
class OfficialWay:
    """Feed and decode a task the official way.

    Args:
        prepare: (H, W, 3) uint8 RGB and the network's (H, W) become (1, 3, H, W) float32.
        decode: raw output on the device and the photo's (H, W) become the task's arrays at the photo's size.
    """

    prepare: Callable[[np.ndarray, tuple[int, int]], Tensor]
    decode: Callable[[Tensor, tuple[int, int]], np.ndarray]


def _stretch(photo: np.ndarray, image_size: tuple[int, int]) -> Tensor:
    height, width = image_size
    return _normalise(cv2.resize(photo, (width, height), interpolation=cv2.INTER_LINEAR))


def _cut_whole_photo(photo: np.ndarray, image_size: tuple[int, int]) -> Tensor:
    return pose.prepare(photo, image_size, pose.whole_photo_box(photo)).images  # the same crop, UDP's


def _normalise(picture: np.ndarray) -> Tensor:
    values = torch.from_numpy(np.ascontiguousarray(picture.transpose(2, 0, 1))).float()
    return ((values - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1))[None]


def _decode_labels(logits: Tensor, photo_size: tuple[int, int]) -> np.ndarray:
    full = F.interpolate(logits.float().cpu(), photo_size, mode="bilinear", align_corners=False)
    return full[0].argmax(0).numpy()


def _decode_depth(output: Tensor, photo_size: tuple[int, int]) -> np.ndarray:
    full = F.interpolate(output.float().cpu(), photo_size, mode="bilinear", align_corners=False)
    return full[0, 0].numpy()


def _decode_normals(output: Tensor, photo_size: tuple[int, int]) -> np.ndarray:
    full = F.interpolate(output.float().cpu(), photo_size, mode="bilinear", align_corners=False)
    vectors = full[0].permute(1, 2, 0).numpy()
    return vectors / (np.linalg.norm(vectors, axis=-1, keepdims=True) + 1e-5)


def _decode_pose(heatmaps: Tensor, photo_size: tuple[int, int]) -> np.ndarray:
    maps = heatmaps[0].float().cpu().numpy()
    return decode_heatmaps_one_by_one(maps, (4 * maps.shape[1], 4 * maps.shape[2]))


OFFICIAL_WAYS = {
    "pose": OfficialWay(_cut_whole_photo, _decode_pose),
    "segmentation": OfficialWay(_stretch, _decode_labels),
    "depth": OfficialWay(_stretch, _decode_depth),
    "normal": OfficialWay(_stretch, _decode_normals),
}


def decode_heatmaps_one_by_one(heatmaps: np.ndarray, input_size: tuple[int, int]) -> np.ndarray:
    """Find every channel's peak with the whole channel blurred, one channel after the other.

    Args:
        heatmaps: (K, h, w) float32.
        input_size: (H, W) of the network's input in pixels.

    Returns:
        (K, 2) float32 x and y in UDP's input units; NaN where nothing is positive.
    """
    height, width = heatmaps.shape[1:]
    places = np.array([_refined_peak(heatmap) for heatmap in heatmaps], np.float32)
    return places / np.float32([width - 1, height - 1]) * np.float32(input_size[::-1])


def _refined_peak(heatmap: np.ndarray) -> tuple[float, float]:
    row, column = np.unravel_index(heatmap.argmax(), heatmap.shape)
    peak = heatmap[row, column]
    if peak <= 0:
        return float("nan"), float("nan")
    padded = np.pad(heatmap, _MARGIN)
    blurred = cv2.GaussianBlur(padded, (_BLUR, _BLUR), 0)[_MARGIN:-_MARGIN, _MARGIN:-_MARGIN]
    logs = np.log(np.clip(blurred * (peak / blurred.max()), 1e-3, 50))
    near = np.pad(logs, 1, mode="edge")[row : row + 3, column : column + 3].astype(np.float64)
    gradient = np.array([near[1, 2] - near[1, 0], near[2, 1] - near[0, 1]]) / 2
    mixed = (near[2, 2] - near[1, 2] - near[2, 1] + 2 * near[1, 1] - near[1, 0] - near[0, 1] + near[0, 0]) / 2
    curvature = np.array(
        [
            [near[1, 2] - 2 * near[1, 1] + near[1, 0], mixed],
            [mixed, near[2, 1] - 2 * near[1, 1] + near[0, 1]],
        ]
    )
    curvature += np.finfo(np.float32).eps * np.eye(2)
    step = np.linalg.pinv(curvature) @ gradient
    return column - step[0], row - step[1]
