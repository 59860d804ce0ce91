"""What cameras, light and files do to pictures, done to rendered ones: a batch at once, on any device."""

from __future__ import annotations

import math
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from sapiens_demo.training.constants import constant

_GRAY = (0.299, 0.587, 0.114)
_BLUR_REACH = 4

# ITU-T T.81, annex K: quantisation of brightness and colour at quality 50.
_BRIGHTNESS_STEPS = (
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77),
    (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)
_COLOR_STEPS = (
    (17, 18, 24, 47, 99, 99, 99, 99),
    (18, 21, 26, 66, 99, 99, 99, 99),
    (24, 26, 56, 99, 99, 99, 99, 99),
    (47, 66, 99, 99, 99, 99, 99, 99),
    *((99,) * 8,) * 4,
)
# ITU-T T.871: red, green, blue to brightness and two colour differences.
_TO_YCC = ((0.299, 0.587, 0.114), (-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312))
_TO_RGB = ((1.0, 0.0, 1.402), (1.0, -0.344136, -0.714136), (1.0, 1.772, 0.0))
# The orthonormal cosine transform of 8 values: frequencies by places.
_COSINES = tuple(
    tuple(math.cos(math.pi / 8 * u * (i + 0.5)) * (0.5 if u else math.sqrt(0.125)) for i in range(8))
    for u in range(8)
)


class _Chance(Protocol):
    def uniform(self, low: float, high: float, *shape: int) -> Tensor:
        """Draw float32 in [low, high)."""

    def normal(self, deviation: float, *shape: int) -> Tensor:
        """Draw float32 from a normal distribution around 0."""

    def happens(self, probability: float, *shape: int) -> Tensor:
        """Draw bool."""


def disturb(images: Tensor, chance: _Chance) -> Tensor:
    """Disturb each picture in some of the ways, by chance.

    Args:
        images: (B, 3, H, W) float32, 0 to 255; H and W multiples of 16.
        chance: source of randomness.

    Returns:
        (B, 3, H, W) float32, 0 to 255.
    """
    count = len(images)
    one = (count, 1, 1, 1)
    images = _toned(images, chance)
    gray = (images * constant(_GRAY, images.device).view(3, 1, 1)).sum(1, keepdim=True)
    images = gray + (images - gray) * _where(chance, 0.3, chance.uniform(0, 1.6, *one), 1)
    images = (images * _where(chance, 0.3, chance.uniform(0.8, 1.2, count, 3, 1, 1), 1)).clamp(0, 255)
    images = blurred(images, _where(chance, 0.25, chance.uniform(0.4, 1.3, *one), 0.05))
    grain = chance.normal(1, *images.shape) * _where(chance, 0.3, chance.uniform(2, 9, *one), 0)
    images = (images + grain).clamp(0, 255)
    through_jpeg = jpeg(images, chance.uniform(25, 80, count))
    return torch.where(chance.happens(0.3, *one), through_jpeg, images)


def _where(chance: _Chance, probability: float, values: Tensor, otherwise: float) -> Tensor:
    return torch.where(chance.happens(probability, len(values), 1, 1, 1), values, otherwise)


def _toned(images: Tensor, chance: _Chance) -> Tensor:
    """Change contrast, brightness and gamma of half of the pictures."""
    one = (len(images), 1, 1, 1)
    changed = (images / 255 - 0.5) * chance.uniform(0.75, 1.25, *one) + 0.5 + chance.normal(0.06, *one)
    changed = 255 * changed.clamp(1e-4, 1) ** chance.uniform(0.7, 1.4, *one)
    return torch.where(chance.happens(0.5, *one), changed, images)


def blurred(images: Tensor, sigma: Tensor) -> Tensor:
    """Blur pictures with Gaussians.

    Args:
        images: (B, C, H, W).
        sigma: (B, 1, 1, 1), pixels, at most 1.5.

    Returns:
        (B, C, H, W).
    """
    steps = torch.arange(-_BLUR_REACH, _BLUR_REACH + 1, device=images.device)
    weights = torch.exp(-(steps**2) / (2 * sigma**2))
    weights = weights / weights.sum(3, keepdim=True)  # [B, 1, 1, 9]
    for axis in (2, 3):
        length = images.shape[axis]
        padding = [0, 0, 0, 0]
        padding[2 * (3 - axis) : 2 * (3 - axis) + 2] = [_BLUR_REACH, _BLUR_REACH]
        padded = F.pad(images, padding, mode="reflect")
        images = sum(
            padded.narrow(axis, start, length) * weights[..., start : start + 1]
            for start in range(len(steps))
        )
    return images


def jpeg(images: Tensor, quality: Tensor) -> Tensor:
    """Do to pictures what storing them as baseline JPEG with halved colour does.

    Args:
        images: (B, 3, H, W) RGB, 0 to 255; H and W multiples of 16.
        quality: (B,), 1 to 99, in libjpeg's sense.

    Returns:
        (B, 3, H, W) RGB, 0 to 255.
    """
    planes = torch.einsum("dc,bchw->bdhw", constant(_TO_YCC, images.device), images - 128)
    scale = torch.where(quality < 50, 50 / quality, 2 - quality / 50)  # libjpeg's jpeg_quality_scaling
    brightness = _quantised(planes[:, :1], _BRIGHTNESS_STEPS, scale)
    colors = _quantised(F.avg_pool2d(planes[:, 1:], 2), _COLOR_STEPS, scale)
    colors = F.interpolate(colors, scale_factor=2, mode="bilinear")
    planes = torch.cat([brightness, colors], dim=1)
    return (torch.einsum("dc,bchw->bdhw", constant(_TO_RGB, images.device), planes) + 128).clamp(0, 255)


def _quantised(planes: Tensor, steps: tuple[tuple[int, ...], ...], scale: Tensor) -> Tensor:
    """Round the cosine transform of every block of 8 by 8."""
    height, width = planes.shape[2:]
    blocks = planes.unflatten(3, (width // 8, 8)).unflatten(2, (height // 8, 8))  # [B, C, h, 8, w, 8]
    cosines = constant(_COSINES, planes.device)
    waves = torch.einsum("ui,vj,bchiwj->bchuwv", cosines, cosines, blocks)
    table = (
        (constant(steps, planes.device) * scale.view(-1, 1, 1))
        .round()
        .clamp(1, 255)[:, None, None, :, None, :]
    )
    waves = (waves / table).round() * table
    blocks = torch.einsum("ui,vj,bchuwv->bchiwj", cosines, cosines, waves)
    return blocks.flatten(4, 5).flatten(2, 3)
