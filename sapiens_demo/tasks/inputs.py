"""What the tasks' inputs share: normalised colours, and the whole photo stretched to the network's size."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torch import Tensor

# Of the official training pipeline, RGB, in grey levels. (The official lite demos round them.)
MEAN = (123.675, 116.28, 103.53)
STD = (58.395, 57.12, 57.375)


def normalise(images: np.ndarray) -> Tensor:
    """Bring pictures into the range the networks were trained on: (value - mean) / std.

    Args:
        images: (B, H, W, 3) uint8 RGB.

    Returns:
        (B, 3, H, W) float32 on the CPU, contiguous.
    """
    planes = torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2)
    values = planes.to(torch.float32, memory_format=torch.contiguous_format)
    mean = torch.tensor(MEAN).view(3, 1, 1)
    std = torch.tensor(STD).view(3, 1, 1)
    return values.sub_(mean).div_(std)


def resize_whole(photo: np.ndarray, image_size: tuple[int, int]) -> Tensor:
    """Stretch the whole photo to the network's input, as segmentation, depth and normals were trained.

    The aspect ratio is not kept and nothing is smoothed before shrinking: both as in training.

    Args:
        photo: (H, W, 3) uint8 RGB.
        image_size: (H, W) of the network's input in pixels.

    Returns:
        (1, 3, H, W) float32, normalised.
    """
    height, width = image_size
    stretched = cv2.resize(photo, (width, height), interpolation=cv2.INTER_LINEAR)
    return normalise(stretched[None])
