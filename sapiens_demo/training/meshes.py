"""Triangle meshes: smooth subdivision, smoothing, cutting along a level, and simple solids."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from sapiens_demo.training.body import vertex_normals


@dataclass(frozen=True)
class Mesh:
    """Hold a triangle mesh.

    Args:
        vertices: (V, 3) float32, metres, world frame.
        faces: (F, 3) int32.
        place: (V, 3) float32, where textures are anchored: positions in the average rest shape.
        normals: (V, 3) float32, outward unit normals.
    """

    vertices: np.ndarray
    faces: np.ndarray
    place: np.ndarray
    normals: np.ndarray

    def part(self, keep: np.ndarray) -> Mesh:
        """Keep the triangles for which `keep` (F,) holds; vertices stay."""
        return replace(self, faces=self.faces[keep])


class Subdivision:
    """Split every triangle in four, by the rules of Loop (1987).

    Args:
        faces: (F, 3) triangles of a mesh.
        count: its number of vertices.
    """

    def __init__(self, faces: np.ndarray, count: int):
        sides = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]).astype(np.int64)
        opposite = np.concatenate([faces[:, 2], faces[:, 0], faces[:, 1]])
        sides.sort(axis=1)
        keys, index, uses = np.unique(
            sides[:, 0] * count + sides[:, 1], return_inverse=True, return_counts=True
        )
        self.edges = np.stack([keys // count, keys % count], axis=1)
        self._opposite, self._side_edge = opposite, index
        self._border = uses < 2
        self._degree = np.bincount(self.edges.ravel(), minlength=count)
        self._fixed = np.zeros(count, bool)
        self._fixed[self.edges[self._border].ravel()] = True
        middle = (count + index).reshape(3, -1)  # of the sides ab, bc, ca of every face
        a, b, c = faces.T
        ab, bc, ca = middle
        new = [(a, ab, ca), (ab, b, bc), (ca, bc, c), (ab, bc, ca)]
        self.faces = np.concatenate([np.stack(triangle, axis=1) for triangle in new]).astype(np.int32)

    def middles(self, values: np.ndarray) -> np.ndarray:
        """Carry values to the new vertices by plain means: (V, ...) becomes (V', ...)."""
        return np.concatenate([values, values[self.edges].mean(1)]).astype(np.float32)

    def smooth(self, points: np.ndarray) -> np.ndarray:
        """Carry positions (V, 3) to the new vertices of the smooth surface, (V', 3)."""
        degree = np.maximum(self._degree, 3)
        beta = (5 / 8 - (3 / 8 + np.cos(2 * np.pi / degree) / 4) ** 2) / degree
        around = neighbour_sum(points, self.edges)
        even = (1 - degree * beta)[:, None] * points + beta[:, None] * around
        even[self._fixed | (self._degree == 0)] = points[self._fixed | (self._degree == 0)]
        across = np.stack(
            [
                np.bincount(self._side_edge, points[self._opposite, axis], len(self.edges))
                for axis in range(3)
            ],
            axis=1,
        )
        ends = points[self.edges].sum(1)
        odd = np.where(self._border[:, None], ends / 2, ends * 3 / 8 + across / 8)
        return np.concatenate([even, odd]).astype(np.float32)


def neighbour_sum(values: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Sum the values (V, C) of every vertex's neighbours along edges (E, 2)."""
    first, second = edges.T
    columns = [
        np.bincount(first, column[second], len(values)) + np.bincount(second, column[first], len(values))
        for column in values.T
    ]
    return np.stack(columns, axis=1)


def mesh_edges(faces: np.ndarray) -> np.ndarray:
    """List the edges (E, 2) of triangles (F, 3) once each."""
    sides = np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]), axis=1).astype(
        np.int64
    )
    keys = np.unique(sides[:, 0] * (sides.max() + 1) + sides[:, 1])
    return np.stack([keys // (sides.max() + 1), keys % (sides.max() + 1)], axis=1)


def relax(points: np.ndarray, faces: np.ndarray, rounds: int) -> np.ndarray:
    """Smooth positions by moving every vertex to its neighbours' mean, again and again.

    Args:
        points: (V, C) values; vertices without triangles stay.
        faces: (F, 3).
        rounds: how often.

    Returns:
        (V, C) float32.
    """
    edges = mesh_edges(faces)
    degree = np.bincount(edges.ravel(), minlength=len(points))[:, None]
    for _ in range(rounds):
        points = np.where(
            degree > 0, 0.4 * points + 0.6 * neighbour_sum(points, edges) / np.maximum(degree, 1), points
        )
    return points.astype(np.float32)


def with_normals(vertices: np.ndarray, faces: np.ndarray, place: np.ndarray) -> Mesh:
    """Build a mesh and its vertex normals."""
    return Mesh(vertices.astype(np.float32), faces, place.astype(np.float32), vertex_normals(vertices, faces))


def cut(values: np.ndarray, faces: np.ndarray, level: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Keep what lies where a level is positive, cutting triangles at its zero.

    Args:
        values: (V, C) anything known at the vertices.
        faces: (F, 3).
        level: (V,).

    Returns:
        Values (V', C), the old vertices followed by those on the cut, and faces (F', 3).
    """
    inside = level[faces] > 0
    count = inside.sum(1)
    one, two = count == 1, count == 2
    a, b, c = _alone_first(faces[one], inside[one])
    d, e, f = _alone_first(faces[two], ~inside[two])
    ends = np.sort(np.concatenate([np.stack(side, 1) for side in ((a, b), (a, c), (d, e), (d, f))]), axis=1)
    edges, index = np.unique(ends, axis=0, return_inverse=True)
    low, high = edges.T
    share = (level[low] / (level[low] - level[high]))[:, None]
    ab, ac, de, df = np.split(index.ravel() + len(values), np.cumsum([len(a), len(a), len(d)]))
    new = [(a, ab, ac), (de, e, f), (de, f, df)]
    cut_faces = np.concatenate([faces[count == 3]] + [np.stack(triangle, axis=1) for triangle in new])
    values = np.concatenate([values, values[low] * (1 - share) + values[high] * share])
    return values.astype(np.float32), cut_faces.astype(np.int32)


def _alone_first(faces: np.ndarray, alone: np.ndarray) -> list[np.ndarray]:
    """Turn every triangle so that the corner that is alone on its side comes first."""
    first, rows = alone.argmax(1), np.arange(len(faces))
    return [faces[rows, (first + shift) % 3] for shift in range(3)]


def border_edges(faces: np.ndarray) -> np.ndarray:
    """List the directed edges (E, 2) that only one triangle has."""
    sides = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]).astype(np.int64)
    low, high = sides.min(1), sides.max(1)
    _, index, uses = np.unique(low * (sides.max() + 1) + high, return_inverse=True, return_counts=True)
    return sides[uses[index] == 1]


def box(low, high, bevel: float = 0.01) -> Mesh:
    """Build an axis-parallel box with rounded edges.

    Args:
        low, high: (3,) corners, metres.
        bevel: radius of its edges, metres.
    """
    low, high = np.asarray(low, float), np.asarray(high, float)
    quarter = np.linspace(0, np.pi / 2, 5)
    tilt = np.concatenate([quarter, quarter + np.pi / 2])
    turn = np.concatenate([quarter + start * np.pi / 2 for start in range(4)])
    # Which of the two corners a point belongs to, along each axis.
    top = np.repeat([True, False], 5)[:, None]
    right, back = np.repeat([1, 0, 0, 1], 5)[None] > 0, np.repeat([1, 1, 0, 0], 5)[None] > 0
    tilt, turn = tilt[:, None], turn[None]
    way = np.stack(
        np.broadcast_arrays(np.sin(tilt) * np.cos(turn), np.sin(tilt) * np.sin(turn), np.cos(tilt)), axis=2
    )
    side = np.stack(np.broadcast_arrays(right, back, top), axis=2)
    points = (np.where(side, high - bevel, low + bevel) + way * bevel).reshape(-1, 3).astype(np.float32)
    return Mesh(points, _grid_faces(*way.shape[:2]), points, way.reshape(-1, 3).astype(np.float32))


def ellipsoid(center, radii, rings: int = 24) -> Mesh:
    """Build an ellipsoid with 2 x rings segments around; the grid avoids the planes between octants."""
    tilt = (np.arange(2 * rings) + 0.5) / (2 * rings) * np.pi
    turn = (np.arange(4 * rings) + 0.5) / (4 * rings) * 2 * np.pi
    tilt, turn = np.meshgrid(tilt, turn, indexing="ij")
    way = np.stack([np.sin(tilt) * np.cos(turn), np.sin(tilt) * np.sin(turn), np.cos(tilt)], axis=2)
    faces = _grid_faces(*way.shape[:2])
    points = np.asarray(center, float) + way.reshape(-1, 3) * np.asarray(radii, float)
    return with_normals(points, faces, points)


def _grid_faces(rows: int, columns: int) -> np.ndarray:
    """List the triangles of a grid that closes around its columns and at both ends."""
    index = np.arange(rows * columns).reshape(rows, columns)
    right = np.roll(index, -1, axis=1)
    caps = [[index[0, 0], index[0, k], index[0, k + 1]] for k in range(1, columns - 1)]
    caps += [[index[-1, 0], index[-1, k + 1], index[-1, k]] for k in range(1, columns - 1)]
    sides = [
        np.stack([index[:-1], index[1:], right[1:]], 2),
        np.stack([index[:-1], right[1:], right[:-1]], 2),
    ]
    return np.concatenate([side.reshape(-1, 3) for side in sides] + [caps]).astype(np.int32)
