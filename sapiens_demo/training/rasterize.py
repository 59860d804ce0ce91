"""A z-buffer rasteriser for triangle meshes on one CPU core."""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np

_NEAR = 0.05  # metres; triangles with a corner nearer to the camera are dropped


@dataclass(frozen=True)
class Fragments:
    """Hold the nearest surface under every pixel.

    Args:
        triangle: (H, W) int32, index of the triangle, -1 where there is none.
        barycentric: (H, W, 3) float32, weights of the triangle's corners, correct in perspective.
        depth: (H, W) float32, metres along the camera's axis; infinity where there is nothing.
    """

    triangle: np.ndarray
    barycentric: np.ndarray
    depth: np.ndarray


def rasterize(points: np.ndarray, triangles: np.ndarray, height: int, width: int) -> Fragments:
    """Find the nearest triangle under every pixel.

    Args:
        points: (V, 3) float32, x and y in pixels (centres at integers), z the depth in metres.
        triangles: (F, 3) integer corner indices; both sides are drawn.
        height: rows of the picture.
        width: columns of the picture.

    Returns:
        The fragments.
    """
    triangle = np.full((height, width), -1, np.int32)
    barycentric = np.zeros((height, width, 3), np.float32)
    depth = np.full((height, width), np.inf, np.float32)
    _fill(
        np.ascontiguousarray(points, np.float32),
        np.ascontiguousarray(triangles, np.int32),
        triangle,
        barycentric,
        depth,
    )
    return Fragments(triangle, barycentric, depth)


@numba.njit(cache=True, fastmath=True)
def _fill(points, triangles, triangle, barycentric, depth):  # pragma: no cover (compiled)
    height, width = depth.shape
    for index in range(triangles.shape[0]):
        a, b, c = triangles[index, 0], triangles[index, 1], triangles[index, 2]
        ax, ay, az = points[a, 0], points[a, 1], points[a, 2]
        bx, by, bz = points[b, 0], points[b, 1], points[b, 2]
        cx, cy, cz = points[c, 0], points[c, 1], points[c, 2]
        if az < _NEAR or bz < _NEAR or cz < _NEAR:
            continue
        area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
        if abs(area) < 1e-9:
            continue
        left = max(int(np.ceil(min(ax, bx, cx))), 0)
        right = min(int(np.floor(max(ax, bx, cx))), width - 1)
        top = max(int(np.ceil(min(ay, by, cy))), 0)
        bottom = min(int(np.floor(max(ay, by, cy))), height - 1)
        for y in range(top, bottom + 1):
            for x in range(left, right + 1):
                u = ((bx - x) * (cy - y) - (by - y) * (cx - x)) / area
                v = ((cx - x) * (ay - y) - (cy - y) * (ax - x)) / area
                w = 1.0 - u - v
                if u < 0.0 or v < 0.0 or w < 0.0:
                    continue
                u, v, w = u / az, v / bz, w / cz
                z = 1.0 / (u + v + w)
                if z < depth[y, x]:
                    depth[y, x] = z
                    triangle[y, x] = index
                    barycentric[y, x, 0] = u * z
                    barycentric[y, x, 1] = v * z
                    barycentric[y, x, 2] = w * z
