"""Light for the example pictures: a soft lamp or sun, and a surrounding that people shade from each other."""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np

from sapiens_demo.training.rasterize import rasterize

_FAR = 100.0  # metres; keeps depths towards a light positive
_AMBIENT_MAP, _KEY_MAP = 320, 1024  # pixels
_KEY_SAMPLES = 24


@dataclass(frozen=True)
class Light:
    """Describe the light of a scene; colours are linear.

    Args:
        way: (3,) towards the sun or lamp.
        color: (3,) of it.
        softness: its radius as seen from the scene, degrees.
        above, horizon, below: (3,) what surrounds the scene, seen upwards, level and downwards.
        window: (3,) extra light from a broad window or reflector.
        window_way: (3,) towards it.
    """

    way: tuple[float, float, float]
    color: tuple[float, float, float]
    softness: float
    above: tuple[float, float, float]
    horizon: tuple[float, float, float]
    below: tuple[float, float, float]
    window: tuple[float, float, float] = (0.0, 0.0, 0.0)
    window_way: tuple[float, float, float] = (0.0, -1.0, 0.3)

    def surrounding(self, ways: np.ndarray) -> np.ndarray:
        """Look up what surrounds the scene in directions (N, 3): (N, 3) linear colours."""
        up = ways[:, 2:3]
        above, horizon, below, window = (
            np.array(c) for c in (self.above, self.horizon, self.below, self.window)
        )
        color = (
            horizon
            + (above - horizon) * np.clip(up, 0, 1) ** 0.7
            + (below - horizon) * np.clip(-up * 3, 0, 1)
        )
        toward = ways @ (np.array(self.window_way) / np.linalg.norm(self.window_way))
        return color + window * np.clip((toward - 0.35) / 0.5, 0, 1)[:, None] ** 2


class Shade:
    """Work out how much light reaches points, past everything that stands in the way.

    Args:
        light: the light.
        vertices: (V, 3) of all that casts shadows, metres.
        faces: (F, 3).
        focus: (N, 3) points between which shadows must be fine.
    """

    def __init__(self, light: Light, vertices: np.ndarray, faces: np.ndarray, focus: np.ndarray):
        self.light = light
        self._center = (focus.min(0) + focus.max(0)) / 2
        self._radius = float(np.linalg.norm(focus - self._center, axis=1).max()) + 0.05
        self._vertices, self._faces = vertices, faces
        self._keys = [
            (way, self._map(way, _KEY_MAP)) for way in _cone(light.way, light.softness, _KEY_SAMPLES)
        ]
        self._ambient = [(way, self._map(way, _AMBIENT_MAP)) for way in _sphere(56)]

    def key(self, points: np.ndarray, normals: np.ndarray) -> np.ndarray:
        """Tell what share of the sun or lamp is visible from points (N, 3): (N,)."""
        bias = 3.5 * self._radius / _KEY_MAP
        seen = np.zeros(len(points), np.float32)
        for way, depths in self._keys:
            seen += self._visible(points + normals * bias, way, depths, bias)
        return seen / len(self._keys)

    def ambient(self, points: np.ndarray, normals: np.ndarray, wrap: float = 0.0) -> np.ndarray:
        """Sum the surrounding's light at points (N, 3) with normals (N, 3): (N, 3) linear."""
        bias = 3 * self._radius / _AMBIENT_MAP
        total = np.zeros((len(points), 3), np.float32)
        colors = self.light.surrounding(np.stack([way for way, _ in self._ambient])).astype(np.float32)
        for color, (way, depths) in zip(colors, self._ambient, strict=True):
            facing = np.clip((normals @ way + wrap) / (1 + wrap), 0, None)
            total += (facing * self._visible(points + normals * bias, way, depths, bias))[:, None] * color
        return total * (4 / len(self._ambient))

    def _project(self, points: np.ndarray, way: np.ndarray, size: int) -> np.ndarray:
        right, down = _axes(way)
        local = points - self._center
        scale = (size / 2 - 2) / self._radius
        x, y = local @ right * scale + size / 2, local @ down * scale + size / 2
        return np.stack([x, y, _FAR - local @ way], axis=1).astype(np.float32)

    def _map(self, way: np.ndarray, size: int) -> np.ndarray:
        return rasterize(self._project(self._vertices, way, size), self._faces, size, size).depth

    def _visible(self, points: np.ndarray, way: np.ndarray, depths: np.ndarray, bias: float) -> np.ndarray:
        return _lookup(self._project(points, way, len(depths)), depths, np.float32(bias))


@numba.njit(cache=True)
def _lookup(points, depths, bias):  # pragma: no cover (compiled)
    size = depths.shape[0]
    result = np.ones(points.shape[0], np.float32)
    for n in range(points.shape[0]):
        x, y = points[n, 0], points[n, 1]
        if x < 0 or y < 0 or x >= size - 1 or y >= size - 1:
            continue
        i, j = int(x), int(y)
        u, v, z = x - i, y - j, points[n, 2] - bias
        lit = 0.0
        for a in range(2):
            for b in range(2):
                if z <= depths[j + b, i + a]:
                    lit += (u if a else 1 - u) * (v if b else 1 - v)
        result[n] = lit
    return result


def _axes(way: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Find two directions across another one."""
    right = np.cross(way, [0, 0, 1.0] if abs(way[2]) < 0.99 else [0, 1.0, 0])
    right /= np.linalg.norm(right)
    return right, np.cross(way, right)


def _cone(way, degrees: float, count: int) -> np.ndarray:
    """Spread directions evenly over a disk around a direction (a sunflower's pattern)."""
    way = np.asarray(way, float) / np.linalg.norm(way)
    right, up = _axes(way)
    steps = np.arange(count)
    radius = np.tan(np.radians(degrees)) * np.sqrt((steps + 0.5) / count)
    angle = steps * 2.39996
    ways = way + radius[:, None] * (np.cos(angle)[:, None] * right + np.sin(angle)[:, None] * up)
    return (ways / np.linalg.norm(ways, axis=1, keepdims=True)).astype(np.float32)


def _sphere(count: int) -> np.ndarray:
    """Spread directions evenly over the sphere."""
    steps = np.arange(count) + 0.5
    up = 1 - 2 * steps / count
    angle = steps * 2.39996
    level = np.sqrt(1 - up**2)
    return np.stack([level * np.cos(angle), level * np.sin(angle), up], axis=1).astype(np.float32)
