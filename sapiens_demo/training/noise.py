"""Smooth random functions in space that are the same on every machine."""

from __future__ import annotations

import numba
import numpy as np


def noise(points: np.ndarray, frequency, octaves: int = 3, seed: int = 0) -> np.ndarray:
    """Evaluate value noise.

    Args:
        points: (N, 3) positions.
        frequency: cells a unit, one number or one for each axis.
        octaves: layers, each of half the size and strength of the one before.
        seed: picks the function.

    Returns:
        (N,) float32, about -1 to 1.
    """
    scaled = np.ascontiguousarray(np.asarray(points, np.float32) * np.asarray(frequency, np.float32))
    return _fractal(scaled, octaves, seed)


@numba.njit(cache=True)
def _corner(i, j, k, seed):  # pragma: no cover (compiled)
    value = (i * 374761393 + j * 668265263 + k * 2147483647 + seed * 1274126177) & 0xFFFFFFFF
    value = ((value ^ (value >> 13)) * 1274126177) & 0xFFFFFFFF
    value = ((value ^ (value >> 16)) * 668265263) & 0xFFFFFFFF
    return (value ^ (value >> 15)) / 2147483648.0 - 1.0


@numba.njit(cache=True)
def _fractal(points, octaves, seed):  # pragma: no cover (compiled)
    result = np.zeros(points.shape[0], np.float32)
    for n in range(points.shape[0]):
        x, y, z = points[n, 0], points[n, 1], points[n, 2]
        strength, total = 0.62, 0.0
        for octave in range(octaves):
            i, j, k = int(np.floor(x)), int(np.floor(y)), int(np.floor(z))
            u, v, w = x - i, y - j, z - k
            u, v, w = u * u * (3 - 2 * u), v * v * (3 - 2 * v), w * w * (3 - 2 * w)
            value = 0.0
            for a in range(2):
                for b in range(2):
                    for c in range(2):
                        share = (u if a else 1 - u) * (v if b else 1 - v) * (w if c else 1 - w)
                        value += share * _corner(i + a, j + b, k + c, seed + octave)
            total += strength * value
            strength *= 0.5
            x, y, z = x * 2.03 + 7.1, y * 2.03 + 3.7, z * 2.03 + 5.3
        result[n] = total
    return result
