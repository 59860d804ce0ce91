"""What each task is trained towards."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from sapiens_demo.training.constants import constant
from sapiens_demo.vocabulary import KEYPOINTS

# Sapiens trains on Gaussians of sigma 6 on heatmaps 256 high; Mini's, far smaller, learn sooner from wider.
_SIGMA_SHARE = 9 / 256

# Weighs peaks up against the empty rest, lest heatmaps stay empty. It also makes unsure maxima too high: with
# weight w, a point that is here with probability p gets (1 + w) p / (1 + w p). So it falls at the end.
_PEAK_WEIGHT, _LAST_PEAK_WEIGHT = 4.0, 1.0

# Squared errors alone leave heatmaps empty for long; telling a point's place among all learns sooner.
# A peak of height 1 over an empty rest holds nearly all of the softmax; this makes maxima too high, too.
_PLACE_SHARPNESS = 10.0
_PLACE_WEIGHT, _LAST_PLACE_WEIGHT = 0.5, 0.1

# Share of a run after which only honest heights are left to learn.
_END = 0.85

# Three quarters of the keypoints crowd the face; without this the trunk would learn little else.
_GROUP_WEIGHTS = {"body": 5.0, "foot": 2.0, "left_hand": 1.0, "right_hand": 1.0, "face": 0.5}
_FACE = tuple(index for index, keypoint in enumerate(KEYPOINTS) if keypoint.group == "face")
_REST = tuple(index for index, keypoint in enumerate(KEYPOINTS) if keypoint.group != "face")
# A face's points hang together so much that a few of them a step, others each time, teach as much as all.
_FACE_POINTS_A_STEP = 40

# Rare classes count more: about the inverse square root of their share of the pixels.
_BACKGROUND_WEIGHT = 0.5
# Cross-entropy alone gives small parts up; Dice's coefficient counts them as much as large ones.
_OVERLAP_WEIGHT = 1.0
_SMALL_PARTS = {
    23: 2.5,
    24: 2.5,
    25: 3.0,
    26: 3.0,
    27: 3.0,
    4: 2.0,
    13: 2.0,
    9: 2.0,
    18: 2.0,
    8: 1.6,
    17: 1.6,
    5: 1.6,
    14: 1.6,
}


@torch.compiler.disable  # fused into the loss, its exponentials would be taken anew for every pixel
def target_heatmaps(keypoints: Tensor, heatmap_size: tuple[int, int], image_size: tuple[int, int]) -> Tensor:
    """Draw a Gaussian at every keypoint, in UDP coordinates.

    Args:
        keypoints: (B, K, 2) pixels of the input.
        heatmap_size: (h, w).
        image_size: (H, W); the corners of both grids coincide.

    Returns:
        (B, K, h, w), maxima near 1.
    """
    height, width = heatmap_size
    sigma = _SIGMA_SHARE * height
    x = keypoints[..., :1] * ((width - 1) / (image_size[1] - 1))
    y = keypoints[..., 1:] * ((height - 1) / (image_size[0] - 1))
    across = torch.exp(-((torch.arange(width, device=x.device) - x) ** 2) / (2 * sigma**2))  # [B, K, w]
    down = torch.exp(-((torch.arange(height, device=y.device) - y) ** 2) / (2 * sigma**2))  # [B, K, h]
    return down[..., :, None] * across[..., None, :]


def choose_keypoints(device: torch.device) -> tuple[Tensor, Tensor]:
    """Choose the keypoints that a step learns: all but the face's, and some of those at random.

    Args:
        device: where the answer is wanted.

    Returns:
        Indices (K,) int64, always as many, and weights (K,) float32, where the face's stand for all of it.
    """
    some = torch.randperm(len(_FACE), device=device)[:_FACE_POINTS_A_STEP]
    face = _GROUP_WEIGHTS["face"] * len(_FACE) / _FACE_POINTS_A_STEP
    rest = tuple(_GROUP_WEIGHTS[KEYPOINTS[index].group] for index in _REST)
    return (
        torch.cat([constant(_REST, device), constant(_FACE, device)[some]]),
        constant(rest + (face,) * _FACE_POINTS_A_STEP, device),
    )


def pose_loss(heatmaps: Tensor, batch: dict[str, Tensor]) -> Tensor:
    """Measure heatmaps: squared error, peaks weighted up against the empty rest, and the places of the peaks.

    Args:
        heatmaps: (B, K, h, w).
        batch: what draw_views returns; `chosen` and `importance`, (K,), which keypoints the heatmaps are of
            and their weights; and `progress`, (B,), the share of the run that is over.

    Returns:
        Scalar.
    """
    chosen = batch["chosen"]
    keypoints = batch["keypoints"][:, chosen]
    target = target_heatmaps(keypoints, heatmaps.shape[2:], batch["image"].shape[2:])
    ends = batch["progress"][0] >= _END
    peak_weight = torch.where(ends, _LAST_PEAK_WEIGHT, _PEAK_WEIGHT)
    place_weight = torch.where(ends, _LAST_PLACE_WEIGHT, _PLACE_WEIGHT)
    error = (heatmaps - target) ** 2 * (1 + peak_weight * target)
    sigma = _SIGMA_SHARE * heatmaps.shape[2]
    places = F.log_softmax(_PLACE_SHARPNESS * heatmaps.flatten(2), dim=2)
    shares = target.flatten(2) / target.sum((2, 3)).clamp(min=1e-3)[..., None]
    each = error.sum((2, 3)) / (3.14 * sigma**2) - place_weight * (places * shares).sum(2)
    weights = batch["weights"][:, chosen] * batch["importance"]
    return (each * weights).sum() / weights.sum().clamp(min=1)


def segmentation_loss(logits: Tensor, batch: dict[str, Tensor]) -> Tensor:
    """Measure logits: weighted cross-entropy, and the overlap of each class that the batch shows.

    Args:
        logits: (B, 28, H/2, W/2).
        batch: what draw_views returns.

    Returns:
        Scalar.
    """
    weights = torch.ones(logits.shape[1], device=logits.device)
    weights[0] = _BACKGROUND_WEIGHT
    for part, weight in _SMALL_PARTS.items():
        weights[part] = weight
    return F.cross_entropy(logits, batch["parts"], weights) + _OVERLAP_WEIGHT * _overlap_loss(
        logits, batch["parts"]
    )


def _overlap_loss(logits: Tensor, parts: Tensor) -> Tensor:
    """Take 1 - Dice's coefficient of each class that the batch shows, in the mean (Milletari et al. 2016)."""
    chances = logits.softmax(dim=1)
    wanted = F.one_hot(parts, logits.shape[1]).movedim(3, 1).float()
    common = (chances * wanted).sum((0, 2, 3))
    sizes = (chances.square() + wanted).sum((0, 2, 3))
    shown = (wanted.sum((0, 2, 3)) > 0).float()
    return ((1 - 2 * common / sizes.clamp(min=1)) * shown).sum() / shown.sum().clamp(min=1)


def depth_loss(depth: Tensor, batch: dict[str, Tensor]) -> Tensor:
    """Measure relative depth over the people, whose scale is free: correlation, error and slopes.

    Args:
        depth: (B, 1, H, W).
        batch: what draw_views returns.

    Returns:
        Scalar.
    """
    # At full resolution: compared at the targets' half, neighbours could differ by anything, and did.
    mask = F.interpolate(batch["mask"][:, None].float(), scale_factor=2)[:, 0]
    target = F.interpolate(batch["depth"][:, None], scale_factor=2, mode="bilinear")[:, 0]
    found, wanted = depth[:, 0], _standardised(target, mask)
    correlation = (_standardised(found, mask) * wanted).sum((1, 2)) / mask.sum((1, 2)).clamp(min=1)
    seen = (mask.sum((1, 2)) > 0).float()
    error = (found - wanted) * mask
    down = (error[:, 1:] - error[:, :-1]) * mask[:, 1:] * mask[:, :-1]
    across = (error[:, :, 1:] - error[:, :, :-1]) * mask[:, :, 1:] * mask[:, :, :-1]
    differences = (0.3 * error.abs().sum() + down.abs().sum() + across.abs().sum()) / mask.sum().clamp(min=1)
    return ((1 - correlation) * seen).sum() / seen.sum().clamp(min=1) + differences


def _standardised(depth: Tensor, mask: Tensor) -> Tensor:
    """Bring (B, h, w) maps to mean 0 and deviation 1 over their masks; 0 elsewhere."""
    count = mask.sum((1, 2), keepdim=True).clamp(min=1)
    centred = (depth - (depth * mask).sum((1, 2), keepdim=True) / count) * mask
    return centred / (centred.square().sum((1, 2), keepdim=True) / count + 1e-6).sqrt()


def normal_loss(normals: Tensor, batch: dict[str, Tensor]) -> Tensor:
    """Measure normals over the people: absolute error and angle.

    Args:
        normals: (B, 3, H/2, W/2), of any length.
        batch: what draw_views returns.

    Returns:
        Scalar.
    """
    mask = batch["mask"]
    target = batch["normals"]
    unit = F.normalize(normals, dim=1)
    cosine = (unit * target).sum(1)
    error = (unit - target).abs().sum(1) + (1 - cosine)
    return (error * mask).sum() / mask.sum().clamp(min=1)


LOSSES = {"pose": pose_loss, "segmentation": segmentation_loss, "depth": depth_loss, "normal": normal_loss}
