"""Clothes and hair for the example pictures, cut from smooth shells around the body."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from sapiens_demo.training.body import vertex_normals
from sapiens_demo.training.figures import Figure, Foot
from sapiens_demo.training.looks import hair_distance
from sapiens_demo.training.meshes import Mesh, Subdivision, border_edges, cut, relax, with_normals
from sapiens_demo.training.noise import noise

# Heights in the average rest shape, metres: crown 0.91, chin 0.69, shoulder 0.56, hip 0.1, knee -0.32,
# ankle -0.74, sole -0.82.
Level = Callable[[Figure], np.ndarray]


def cloth_folds(figure: Figure) -> np.ndarray:
    """Wrinkle more around elbows, knees and the waist."""
    place = figure.place
    joints = np.exp(-((figure.arm - 0.5) ** 2) / 0.02) + np.exp(-((figure.leg - 0.5) ** 2) / 0.008)
    joints += np.exp(-((figure.leg - 0.97) ** 2) / 0.004) + np.exp(-((place[:, 2] - 0.17) ** 2) / 0.006) * (
        figure.arm < -0.2
    )
    across = noise(place + 3.1, (9, 9, 26), 2, 5)
    return (0.35 + joints) * across + 0.6 * noise(place, 7, 2, 9)


def curls(figure: Figure) -> np.ndarray:
    """Break a head of hair up into curls, (V,) about -1 to 1."""
    return 1.3 * noise(figure.place, 48, 2, 4)


@dataclass(frozen=True)
class Garment:
    """Describe a layer of cloth or hair.

    Args:
        level: signed distance from the edge of the covered skin, metres, positive inside.
        gap: least distance from the skin, metres.
        drape: rounds of smoothing: how much of the body's shape the cloth bridges.
        folds: height of random folds, metres.
        thickness: depth of the turned-in edge, metres.
        flare: extra distance in metres, at vertices.
        taper: distance from the edge over which the gap grows to its full size, metres; 0 for a plain edge.
        wrinkles: shape of the folds at vertices, about -1 to 1.
        fineness: further rounds of subdivision.
    """

    level: Level
    gap: float = 0.006
    drape: int = 14
    folds: float = 0.003
    thickness: float = 0.004
    flare: Level | None = None
    taper: float = 0.0
    wrinkles: Level = cloth_folds
    fineness: int = 0


def shell(figure: Figure, garment: Garment) -> Mesh:
    """Cut a garment for a figure."""
    level = garment.level(figure)
    own = (figure.layers == 0) & (level[figure.faces] > -0.09).all(1)
    faces = figure.faces[own]
    flare = garment.flare(figure) if garment.flare else 0.0
    grown = _rise(0.0, garment.taper, level) if garment.taper else np.ones(len(level), np.float32)
    close = 0.45 + 0.55 * _rise(0.0, 0.035, level)
    points = _draped(
        figure.vertices,
        faces,
        0.0012 + garment.gap * grown * close + flare,
        garment.drape,
        _rise(0.0, 0.06, level),
    )
    normals = relax(vertex_normals(points, faces), faces, 3)
    points = points + normals * (garment.folds * grown * garment.wrinkles(figure))[:, None]
    values, faces = cut(np.concatenate([points, figure.place], axis=1), faces, level)
    points, place = values[:, :3], values[:, 3:]
    for _ in range(garment.fineness):
        division = Subdivision(faces, len(points))
        points, place, faces = division.smooth(points), division.middles(place), division.faces
    return _with_rim(points, faces, place, garment.thickness)


def bare(
    figure: Figure, levels: list[Level], margin: float = 0.008
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Cut away the skin that lies inside levels: vertices, faces and places of the rest."""
    level = np.max([level(figure) for level in levels], axis=0)
    values = np.concatenate([figure.vertices, figure.place], axis=1)
    values, faces = cut(values, figure.faces[figure.layers == 0], margin - level)
    return values[:, :3], faces, values[:, 3:]


def _draped(
    vertices: np.ndarray, faces: np.ndarray, gap: np.ndarray, rounds: int, looseness: np.ndarray
) -> np.ndarray:
    """Smooth the skin, then push the result out until it clears the skin everywhere."""
    normals = relax(vertex_normals(vertices, faces), faces, rounds)
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-6)
    # Only towards or away from the skin: sideways, hems would lose their line. Edges keep close to the skin.
    moved = np.einsum("nc,nc->n", relax(vertices, faces, rounds) - vertices, normals) * looseness
    points = vertices + normals * moved[:, None]
    for _ in range(3):
        lift = np.maximum(gap - np.einsum("nc,nc->n", points - vertices, normals), 0)
        lift = np.maximum(relax(lift[:, None], faces, 3)[:, 0], lift)
        points = points + normals * lift[:, None]
    return points


def _rise(low: float, high: float, values: np.ndarray) -> np.ndarray:
    share = np.clip((values - low) / (high - low), 0, 1)
    return (share * share * (3 - 2 * share)).astype(np.float32)


def _with_rim(points: np.ndarray, faces: np.ndarray, place: np.ndarray, thickness: float) -> Mesh:
    """Turn the edges of a shell inwards, as a hem does."""
    mesh = with_normals(points, faces, place)
    edges = border_edges(faces)
    if not len(edges):
        return mesh
    ring = np.unique(edges)
    index = np.zeros(len(points), np.int64)
    index[ring] = np.arange(len(ring))
    outer, inner = len(points) + index[edges], len(points) + len(ring) + index[edges]
    strip = np.concatenate(
        [
            np.stack([outer[:, 1], outer[:, 0], inner[:, 0]], 1),
            np.stack([outer[:, 1], inner[:, 0], inner[:, 1]], 1),
        ]
    )
    all_points = np.concatenate([points, points[ring], points[ring] - mesh.normals[ring] * thickness])
    all_place = np.concatenate([place, place[ring], place[ring]])
    return with_normals(all_points, np.concatenate([faces, strip]).astype(np.int32), all_place)


# --- where garments end ---


def top(
    hem: float,
    sleeve: float,
    neck: float = 0.085,
    scoop: float = 0.02,
    collar: float = 0.655,
    opening: float = 0.0,
) -> Level:
    """Cover the trunk and the arms.

    Args:
        hem: height of the lower edge.
        sleeve: place along the arm where sleeves end; 0 or less for none.
        neck: radius of the neckline, metres; 0 for a collar around the neck.
        scoop: how much lower the neckline is in front, metres.
        collar: height where a collar around the neck ends.
        opening: half width of a gap down the front, metres.
    """

    def level(figure: Figure) -> np.ndarray:
        x, y, z = figure.place.T
        arm = figure.arm
        on_arm = arm > -0.2
        end = (sleeve - arm) * 0.55 if sleeve > 0 else 0.152 - np.abs(x)
        low = np.where(on_arm, 1.0, z - hem)
        inside = np.minimum(np.where(on_arm | (sleeve <= 0), end, 1.0), low)
        depth = np.where(y < 0, 0.75 - 6 * scoop, 0.75) * (0.63 - z)
        round_neck = np.sqrt(x**2 + (y + 0.012) ** 2 + depth**2) - neck
        inside = np.where(z > 0.4, np.minimum(inside, round_neck), inside)
        inside = np.minimum(inside, collar + 0.3 * (y + 0.02) - z)
        inside = np.where(figure.leg > -0.2, z - hem, inside)
        if opening:
            inside = np.where((y < -0.02) & ~on_arm, np.minimum(inside, np.abs(x) - opening), inside)
        return np.where((figure.head > 0.5) & (z > 0.685), -1.0, inside).astype(np.float32)

    return level


def bottom(waist: float, end: float) -> Level:
    """Cover hips and legs from the height `waist` down to the place `end` along the legs."""

    def level(figure: Figure) -> np.ndarray:
        on_leg = figure.leg > -0.2
        inside = np.where(on_leg, (end - figure.leg) * 0.84, 1.0)
        inside = np.where(figure.arm > -0.2, -1.0, np.minimum(inside, waist - figure.place[:, 2]))
        return inside.astype(np.float32)

    return level


def straight_legs(width: float) -> Level:
    """Widen trouser legs towards the ankles by up to `width` metres."""

    def flare(figure: Figure) -> np.ndarray:
        return (width * _rise(0.25, 0.8, figure.leg)).astype(np.float32)

    return flare


def loose_hem(hem: float, width: float) -> Level:
    """Let the lower edge of a top stand off by `width` metres."""

    def flare(figure: Figure) -> np.ndarray:
        near = _rise(hem + 0.16, hem, figure.place[:, 2])
        return np.where(figure.arm > -0.2, 0, width * near).astype(np.float32)

    return flare


def sock(height: float) -> Level:
    """Cover the ankles, and what of the feet a shoe leaves bare, up to a height."""

    def level(figure: Figure) -> np.ndarray:
        z = figure.place[:, 2]
        return np.where(figure.leg > 0.6, np.minimum(height - z, z + 0.785), -1.0).astype(np.float32)

    return level


def scalp(hairline: float = 0.86, nape: float = 0.7, ragged: float = 0.003) -> Level:
    """Cover the head above the hairline, around the ears."""

    def level(figure: Figure) -> np.ndarray:
        inside = hair_distance(figure.place, hairline, nape) + ragged * noise(figure.place, 160, 1, 3)
        return np.where(figure.head > 0.5, inside, -1.0).astype(np.float32)

    return level


def inside_shoe(figure: Figure) -> np.ndarray:
    """Measure how deep the skin lies inside a shoe, metres."""
    return np.where(figure.leg > 0.6, -0.77 - figure.place[:, 2], -1.0).astype(np.float32)


def shoe_mesh(foot: Foot, collar: float = 0.075, heel: float = 0.022) -> Mesh:
    """Build a shoe around a foot as a tube of cross-sections from heel to toe.

    Args:
        foot: the foot.
        collar: height of the shoe at the ankle, metres.
        heel: thickness of the sole, metres.

    Returns:
        The shoe; its places are: across (-1 to 1), along (0 heel to 1 toe), height above ground in metres.
    """
    x, y, z = foot.points.T
    floor, back, front = z.min(), y.max() + 0.006, y.min() - 0.016
    stations, turns = (
        0.5 - 0.5 * np.cos(np.linspace(0, np.pi, 61)),
        np.linspace(0, 2 * np.pi, 48, endpoint=False),
    )
    at = back + (front - back) * stations
    low_part = z < floor + 0.06
    rows = []
    for value in at:
        near = np.abs(y - np.clip(value, y.min() + 0.012, y.max() - 0.012)) < 0.014
        sole = near & low_part
        rows.append((x[sole].min(), x[sole].max(), min(z[near].max() - floor, collar)))
    left, right, tall = relax_rows(np.array(rows), 5).T
    ends = (
        np.clip(1 - ((0.1 - stations) / 0.1).clip(0) ** 2.4 - ((stations - 0.78) / 0.22).clip(0) ** 3, 0.0, 1)
        ** 0.5
    )
    middle, half = (left + right) / 2, ((right - left) / 2 + 0.011) * (0.02 + 0.98 * ends)
    height = (tall + 0.009) * (0.4 + 0.6 * ends) + 0.004
    across, up = np.cos(turns), np.sin(turns)
    across, up = np.sign(across) * np.abs(across) ** 0.72, np.sign(up) * np.abs(up) ** 0.72
    px = middle[:, None] + half[:, None] * across * np.where(up > 0, 1 - 0.34 * up**2, 1)
    above = heel + np.where(up > 0, height[:, None] - heel * 0.4, heel) * up * (0.02 + 0.98 * ends[:, None])
    points = np.stack([px, np.broadcast_to(at[:, None], px.shape), floor - 0.012 + above], axis=2)
    place = np.stack(np.broadcast_arrays(across, stations[:, None], above), axis=2)
    world = points.reshape(-1, 3) @ foot.rotation.T + foot.ankle
    return with_normals(world, _tube(len(stations), len(turns)), place.reshape(-1, 3))


def relax_rows(rows: np.ndarray, rounds: int) -> np.ndarray:
    """Smooth a table (N, C) down its rows."""
    for _ in range(rounds):
        padded = np.concatenate([rows[:1], rows, rows[-1:]])
        rows = (padded[:-2] + 2 * rows + padded[2:]) / 4
    return rows


def _tube(rings: int, around: int) -> np.ndarray:
    """List the triangles of a closed tube of rings, outwards for rings that run towards -y."""
    index = np.arange(rings * around).reshape(rings, around)
    right = np.roll(index, -1, axis=1)
    a, b, c, d = index[:-1].ravel(), index[1:].ravel(), right[1:].ravel(), right[:-1].ravel()
    caps = [[index[0, 0], index[0, k], index[0, k + 1]] for k in range(1, around - 1)]
    caps += [[index[-1, 0], index[-1, k + 1], index[-1, k]] for k in range(1, around - 1)]
    return np.concatenate([np.stack([a, c, b], 1), np.stack([a, d, c], 1), caps]).astype(np.int32)


def bob(figure: Figure, end: float = 0.665, volume: float = 0.022, front: float = -0.085) -> Mesh:
    """Hang a curtain of hair around the back and the sides of the head.

    Args:
        figure: who wears it.
        end: height of its lower edge in the average rest shape, metres.
        volume: distance from the skull, metres.
        front: how far forward it reaches, metres in the average rest shape.
    """
    center, radii = np.array([0, -0.037, 0.80]), np.array([0.077, 0.118, 0.107])
    stop = np.arccos(np.clip((front - center[1]) / radii[1], -1, 1))
    turn, down = np.meshgrid(np.linspace(-stop, stop, 160), np.linspace(0, 1, 90), indexing="ij")
    dome = np.clip(down / 0.5, 0, 1) * np.pi / 2
    fall = np.clip((down - 0.5) / 0.5, 0, 1)
    reach = np.sin(dome) * (1 - 0.10 * _rise(0.2, 1.0, fall))
    # Towards the face the curtain dips into the hair of the scalp.
    crown = _rise(0.0, 1.2, dome)
    thick = 0.016 * (1 - crown) + crown * (volume * _rise(-0.02, 0.6, stop - np.abs(turn)) + 0.004)
    points = np.stack([np.sin(turn) * reach, np.cos(turn) * reach, np.cos(dome)], 2) * (
        radii + thick[..., None]
    )
    points[..., 2] -= fall * (center[2] - end - 0.012 * np.cos(turn * 2))
    flow = np.stack([np.sin(turn), np.cos(turn), 0.12 * down], 2).reshape(-1, 3)
    strands = noise(flow, (9, 9, 9), 2, 3) + 0.4 * noise(flow, (40, 40, 6), 1, 5)
    outwards = np.stack([np.sin(turn), np.cos(turn), 0 * turn], 2).reshape(-1, 3)
    place = center + points.reshape(-1, 3) + outwards * (0.006 * strands * np.sin(dome).ravel())[:, None]
    place[:, 2] += (0.006 * noise(flow, (30, 30, 0.1), 2, 8)) * fall.ravel() ** 4
    index = np.arange(turn.size).reshape(turn.shape)
    a, b, c, d = (
        index[:-1, :-1].ravel(),
        index[1:, :-1].ravel(),
        index[1:, 1:].ravel(),
        index[:-1, 1:].ravel(),
    )
    faces = np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, d], 1)]).astype(np.int32)
    return _with_rim(on_head(figure, place).astype(np.float32), faces, place.astype(np.float32), 0.0015)


def on_head(figure: Figure, place: np.ndarray) -> np.ndarray:
    """Carry places (N, 3) around the average head to a figure's own head."""
    skull = (figure.head > 0.9) & (figure.place[:, 2] > 0.74)
    known = np.concatenate([figure.place[skull], np.ones((skull.sum(), 1))], axis=1)
    fit = np.linalg.lstsq(known, figure.vertices[skull], rcond=None)[0]
    return place @ fit[:3] + fit[3]
