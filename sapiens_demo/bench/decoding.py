"""Decoding of heatmaps against the two ways it is held against: a loop over channels, and a bare maximum."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from sapiens_demo.bench.baseline import decode_heatmaps_one_by_one
from sapiens_demo.bench.timing import alternate
from sapiens_demo.tasks.pose import decode_heatmaps

_INPUT_SIZE = (1024, 768)
_HOST = torch.device("cpu")
_SIGMA = 6.0 / 4  # px of the heatmap, somewhat sharper than trained networks draw


@dataclass(frozen=True)
class DecodingRow:
    """Hold what decoding 308 x 256 x 192 heatmaps on the CPU took; medians.

    Args:
        ms: of ours.
        loop_speedup: against the loop with Gaussian blur, in the same rounds.
        argmax_share: ours / one plain argmax over the same array, in the same rounds.
        largest_difference: between ours and the loop's keypoints, px of the input.
    """

    ms: float
    loop_speedup: float
    argmax_share: float
    largest_difference: float


def measure_decoding(seconds: float, shape: tuple[int, int, int] = (308, 256, 192)) -> DecodingRow:
    """Measure the decoding of keypoints.

    Args:
        seconds: for the alternating rounds.
        shape: of the heatmaps, (K, h, w).

    Returns:
        The medians.
    """
    heatmaps = example_heatmaps(shape)
    tensor = torch.from_numpy(heatmaps)[None]
    works = {
        "ours": lambda: decode_heatmaps(tensor, _INPUT_SIZE),
        "loop": lambda: decode_heatmaps_one_by_one(heatmaps, _INPUT_SIZE),
        "argmax": lambda: heatmaps.reshape(len(heatmaps), -1).argmax(1),
    }
    times = alternate(works, _HOST, seconds)
    difference = works["ours"]()[0][0].numpy() - works["loop"]()
    return DecodingRow(
        times["ours"].ms,
        times["ours"].times_faster_than(times["loop"]),
        times["argmax"].times_faster_than(times["ours"]),
        float(np.abs(difference).max()),
    )


def example_heatmaps(shape: tuple[int, int, int]) -> np.ndarray:
    """Draw a peak into every channel, with the noise around it that networks leave.

    Args:
        shape: (K, h, w).

    Returns:
        (K, h, w) float32, always the same.
    """
    channels, height, width = shape
    chance = np.random.default_rng(0)
    ys = chance.uniform(8, height - 9, (channels, 1)).astype(np.float32)
    xs = chance.uniform(8, width - 9, (channels, 1)).astype(np.float32)
    peaks = chance.uniform(0.3, 1, (channels, 1, 1)).astype(np.float32)
    down = np.exp(-0.5 * ((np.arange(height, dtype=np.float32) - ys) / np.float32(_SIGMA)) ** 2)
    across = np.exp(-0.5 * ((np.arange(width, dtype=np.float32) - xs) / np.float32(_SIGMA)) ** 2)
    noise = chance.uniform(0, 0.01, shape).astype(np.float32)
    return peaks * down[:, :, None] * across[:, None] + noise
