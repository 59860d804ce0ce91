"""Places in which the people of the example pictures stand: a park, a street, a room, a studio."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np

from sapiens_demo.training.lighting import Shade
from sapiens_demo.training.looks import RGB, Look, Plain, linear, mix, step
from sapiens_demo.training.meshes import Mesh, box, ellipsoid, with_normals
from sapiens_demo.training.noise import noise
from sapiens_demo.training.scene import Camera

Thing = tuple[Mesh, Look]
_UP = np.array([0, 0, 1], np.float32)
_TO_CAMERA = np.array([0, -1, 0], np.float32)


@dataclass(frozen=True)
class View:
    """Hold what a backdrop shows: linear colours (H, W, 3) and depth along the camera's axis (H, W), m."""

    colors: np.ndarray
    depth: np.ndarray


class Backdrop(Protocol):
    """Describe a place; `things` stand in it and cast shadows, `view` paints the rest."""

    def things(self) -> list[Thing]:
        """Return what stands in the place."""

    def view(self, camera: Camera, shade: Shade) -> View:
        """Paint what is behind the things.

        Args:
            camera: who looks.
            shade: how light falls on the ground.
        """


def rays(camera: Camera) -> np.ndarray:
    """Find the direction behind every pixel, (H, W, 3), one metre along the camera's axis."""
    height, width = camera.size
    x = (np.arange(width) - (width - 1) / 2) / camera.focal
    y = (np.arange(height) - (height - 1) / 2) / camera.focal
    right, down, forward = camera.axes
    return (x[None, :, None] * right + y[:, None, None] * down + forward).astype(np.float32)


def meet(camera: Camera, ways: np.ndarray, axis: int, value: float) -> np.ndarray:
    """Find how far along every ray the plane `axis` = `value` lies, (H, W); infinity where it doesn't."""
    with np.errstate(divide="ignore"):
        along = (value - camera.position[axis]) / ways[..., axis]
    return np.where(along > 0, along, np.inf).astype(np.float32)


def light_on(points: np.ndarray, normal: np.ndarray, shade: Shade, softness: float = 0.001) -> np.ndarray:
    """Light the points of a plane, coarsely and then smoothly enlarged.

    Args:
        points: (H, W, 3) metres.
        normal: (3,) of the plane.
        shade: what light reaches them.
        softness: how far to blur the surrounding's light, relative to the picture's width.

    Returns:
        (H, W, 3) linear.
    """
    height, width = points.shape[:2]
    small = cv2.resize(points, (width // 2, height // 2), interpolation=cv2.INTER_AREA)
    flat = small.reshape(-1, 3)
    normals = np.broadcast_to(normal, flat.shape).astype(np.float32)
    toward = np.asarray(shade.light.way) / np.linalg.norm(shade.light.way)
    facing = max(float(normal @ toward), 0)
    light = shade.ambient(flat, normals).reshape(small.shape)
    light = cv2.GaussianBlur(light, (0, 0), max(softness * width / 2, 0.5))
    if facing:
        key = (shade.key(flat, normals) * facing)[:, None] * np.asarray(shade.light.color, np.float32)
        light = light + cv2.GaussianBlur(key.reshape(small.shape).astype(np.float32), (0, 0), 1.2)
    return cv2.resize(light, (width, height), interpolation=cv2.INTER_CUBIC)


def out_of_focus(view: View, focus: float, aperture: float) -> np.ndarray:
    """Blur what is not at the distance in focus.

    Args:
        view: what the backdrop shows.
        focus: distance in focus, metres.
        aperture: radius of the blur at infinity, in pixels.

    Returns:
        (H, W, 3) linear.
    """
    radius = aperture * np.clip(np.abs(1 - focus / np.maximum(view.depth, 0.1)) - 0.03, 0, 1)
    radius = cv2.GaussianBlur(radius.astype(np.float32), (0, 0), 2)
    levels = aperture * np.array([0, 0.1, 0.22, 0.4, 0.65, 1.0])
    result, below = view.colors.copy(), view.colors
    for low, high in zip(levels[:-1], levels[1:], strict=True):
        above = _disk_blur(view.colors, high)
        share = np.clip((radius - low) / (high - low), 0, 1)[..., None]
        inside = (radius >= low)[..., None]
        result = np.where(inside, below * (1 - share) + above * share, result)
        below = above
    return result


def _disk_blur(colors: np.ndarray, radius: float) -> np.ndarray:
    size = int(np.ceil(radius)) * 2 + 1
    steps = np.arange(size) - size // 2
    kernel = np.clip(radius + 0.5 - np.hypot(steps[:, None], steps), 0, 1).astype(np.float32)
    return cv2.filter2D(colors.astype(np.float32), -1, kernel / kernel.sum(), borderType=cv2.BORDER_REPLICATE)


def _points(camera: Camera, ways: np.ndarray, along: np.ndarray) -> np.ndarray:
    return camera.position + ways * np.minimum(along, 400)[..., None]


@dataclass(frozen=True)
class Studio:
    """Describe a seamless paper sweep.

    Args:
        color: of the paper, sRGB.
        wall: where it rises, metres behind the origin.
        curve: radius of the rise, metres.
        stands: what people sit or lean on.
    """

    color: RGB
    wall: float = 2.2
    curve: float = 1.2
    stands: tuple[Thing, ...] = ()

    def things(self) -> list[Thing]:
        return list(self.stands)

    def view(self, camera: Camera, shade: Shade) -> View:
        ways = rays(camera)
        floor, wall = meet(camera, ways, 2, 0.0), meet(camera, ways, 1, self.wall)
        along = np.minimum(floor, wall)
        points = _points(camera, ways, along)
        rise = step(self.wall - self.curve, self.wall, points[..., 1]) * 0.5 + 0.5 * step(
            0, self.curve, points[..., 2]
        )
        level = light_on(points, _UP, shade)
        upright = light_on(points, _TO_CAMERA, shade, 0.02)
        light = level * (1 - rise[..., None]) + upright * rise[..., None]
        center = np.exp(-((points[..., 0] / 2.2) ** 2) - ((points[..., 2] - 1.0) / 2.4) ** 2)
        light = light * (0.72 + 0.36 * center)[..., None]
        return View((light * linear(self.color)).astype(np.float32), along)


@dataclass(frozen=True)
class Room:
    """Describe a room seen towards one wall.

    Args:
        wall_color, floor_color: sRGB.
        wall: how far behind the origin the wall is, metres.
        sunlight: colour of the window's light on the wall, linear; black for none.
        sun_at: x of that light, metres.
        frames: pictures on the wall: x, z, width, height in metres and a colour.
        furniture: what stands in the room.
    """

    wall_color: RGB
    floor_color: RGB
    wall: float = 2.0
    sunlight: RGB = (0.0, 0.0, 0.0)
    sun_at: float = 0.0
    frames: tuple[tuple[float, float, float, float, RGB], ...] = ()
    furniture: tuple[Thing, ...] = ()

    def things(self) -> list[Thing]:
        return list(self.furniture)

    def view(self, camera: Camera, shade: Shade) -> View:
        ways = rays(camera)
        floor, wall = meet(camera, ways, 2, 0.0), meet(camera, ways, 1, self.wall)
        along = np.minimum(floor, wall)
        points = _points(camera, ways, along)
        on_floor = floor < wall
        light = np.where(
            on_floor[..., None],
            light_on(points, _UP, shade),
            light_on(points, _TO_CAMERA, shade, 0.02) * 0.95,
        )
        flat = points.reshape(-1, 3)
        color = np.where(on_floor.reshape(-1, 1), self._floor(flat), self._wall(flat)).reshape(points.shape)
        light = light + (~on_floor)[..., None] * self._sun(points)[..., None] * np.asarray(
            self.sunlight, np.float32
        )
        corner = np.where(on_floor, self.wall - points[..., 1], points[..., 2])
        light = light * (1 - 0.35 * np.exp(-corner / 0.25))[..., None]
        return View((color * light).astype(np.float32), along)

    def _floor(self, points: np.ndarray) -> np.ndarray:
        x, y, _ = points.T
        row = np.floor(x / 0.16)
        plank = np.floor((y + row * 0.731) / 1.4)
        ident = np.stack([row * 3.7, plank * 5.3, 0 * x], axis=1)
        tone = 0.1 * noise(ident, 1, 1, 3)
        grain = 0.07 * noise(points + ident * 0.3, (60, 5, 1), 3, 1)
        joint = np.maximum(
            np.abs((x / 0.16) % 1 - 0.5) > 0.485, np.abs(((y + row * 0.731) / 1.4) % 1 - 0.5) > 0.498
        )
        return linear(self.floor_color) * ((1 + tone + grain) * (1 - 0.35 * joint))[:, None]

    def _wall(self, points: np.ndarray) -> np.ndarray:
        x, _, z = points.T
        color = (
            np.tile(linear(self.wall_color), (len(points), 1)) * (1 + 0.02 * noise(points, 3, 3, 2))[:, None]
        )
        for left, low, width, height, paint in self.frames:
            inside = np.minimum(width / 2 - np.abs(x - left), height / 2 - np.abs(z - low))
            color = mix(color, linear((52, 42, 36)), step(-0.005, 0.005, inside))
            color = mix(color, linear((238, 234, 226)), step(0.015, 0.025, inside))
            waves = step(-0.1, 0.1, z - low + 0.12 * height * np.sin((x - left) * 7 / width))
            art = mix(np.tile(linear(paint), (len(points), 1)), linear(paint) * 0.45 + 0.3, waves)
            color = np.where((inside > 0.09)[:, None], art, color)
        board = step(0.125, 0.12, z)
        return mix(color, linear((236, 232, 224)), board * 0.9)

    def _sun(self, points: np.ndarray) -> np.ndarray:
        """Shape the light of a window with two by three panes that falls on the wall at a slant."""
        x, z = points[..., 0] - self.sun_at, points[..., 2]
        u, v = x / 0.9, (z - 1.5 + 0.35 * x) / 0.8
        edge = 0.035
        pane = step(0.0, edge, 1 - np.abs(u)) * step(0.0, edge, 1 - np.abs(v))
        bars = step(0.02, 0.06, np.abs(u)) * step(0.02, 0.06, np.abs(np.abs(v) - 0.34))
        return pane * bars


@dataclass(frozen=True)
class Park:
    """Describe a path between lawns, with trees.

    Args:
        seed: picks trees and clouds.
        path: half width of the path, metres.
        bend: sideways shift of the path a metre further away.
    """

    seed: int
    path: float = 1.3
    bend: float = 0.12

    def things(self) -> list[Thing]:
        return []

    def view(self, camera: Camera, shade: Shade) -> View:
        ways = rays(camera)
        along = meet(camera, ways, 2, 0.0)
        points = _points(camera, ways, along)
        colors = _sky(ways, self.seed)
        ground = along < 300
        lit = (self._ground(points.reshape(-1, 3)).reshape(points.shape)) * light_on(points, _UP, shade)
        haze = (1 - np.exp(-np.minimum(along, 400) / 160))[..., None]
        colors = np.where(ground[..., None], lit * (1 - haze) + linear((196, 212, 222)) * haze, colors)
        depth = np.where(ground, along, 400).astype(np.float32)
        return _with_trees(View(colors.astype(np.float32), depth), camera, shade, self.seed)

    def _ground(self, points: np.ndarray) -> np.ndarray:
        x, y, _ = points.T
        near = np.exp(-np.maximum(np.hypot(x, y) - 4, 0) / 12)
        middle = self.bend * y + 0.5 * np.sin(y * 0.12)
        edge = np.abs(x - middle) - self.path + 0.05 * noise(points, 3, 3, 4)
        blades = noise(points, (60, 22, 1), 3, 1) * near + 0.7 * noise(points, 0.6, 3, 6)
        grass = linear((104, 138, 66)) * (1 + 0.4 * blades)[:, None]
        dapple = 1 - 0.45 * step(0.05, 0.35, noise(points, (0.35, 0.16, 1), 3, 9)) * step(3, 9, y)
        gravel = (
            linear((206, 190, 164))
            * (1 + 0.1 * near * noise(points, 90, 3, 2) + 0.06 * noise(points, 2, 3, 3))[:, None]
        )
        color = mix(gravel, grass, step(-0.05, 0.05, edge))
        return color * (1 - 0.25 * np.exp(-((edge / 0.04) ** 2)))[:, None] * dapple[:, None]


def _sky(ways: np.ndarray, seed: int) -> np.ndarray:
    height = (ways[..., 2] / np.linalg.norm(ways, axis=2)).reshape(-1)
    sky = mix(
        np.tile(linear((214, 228, 238)), (len(height), 1)), linear((118, 168, 218)), step(-0.02, 0.5, height)
    )
    flat = ways.reshape(-1, 3)
    clouds = noise(flat / np.linalg.norm(flat, axis=1, keepdims=True), (3, 3, 9), 4, seed)
    return (mix(sky, linear((250, 250, 250)), 0.8 * step(0.0, 0.45, clouds)) * 1.6).reshape(ways.shape)


def _with_trees(view: View, camera: Camera, shade: Shade, seed: int) -> View:
    """Paint trees from the farthest to the nearest, as heaps of lit leaf clusters."""
    generator = np.random.default_rng(seed)
    colors, depth = view.colors.copy(), view.depth.copy()
    places = [
        (generator.uniform(-60, 60), generator.uniform(45, 80), generator.uniform(7, 12)) for _ in range(46)
    ]
    for side in (-1, 1):
        places += [
            (side * generator.uniform(4.5, 22), generator.uniform(13, 40), generator.uniform(5, 9))
            for _ in range(9)
        ]
    for x, y, height in sorted(places, key=lambda place: -place[1]):
        _paint_tree(colors, depth, camera, shade, (x, y, height), generator)
    return View(colors, depth)


def _paint_tree(colors, depth, camera: Camera, shade: Shade, tree, generator: np.random.Generator) -> None:
    x, y, height = tree
    crown = height * generator.uniform(0.28, 0.36)
    middle = np.array([x, y, height - crown])
    count = 800
    ways = generator.normal(0, 1, (count, 3))
    ways /= np.linalg.norm(ways, axis=1, keepdims=True)
    offsets = ways * generator.uniform(0.2, 1, (count, 1)) ** 0.5 * [crown, crown, crown * 1.05]
    offsets += 0.35 * crown * np.sin(ways * 5 + generator.uniform(0, 6, 3))
    sun = np.asarray(shade.light.way) / np.linalg.norm(shade.light.way)
    bright = 0.5 + 0.5 * np.clip(offsets @ sun / crown, -1, 1)
    hue = np.array([(92, 128, 58), (120, 142, 62), (74, 116, 68), (142, 148, 70)])[generator.integers(4)]
    haze = 1 - np.exp(-y / 110)
    distance = float((np.array([x, y, 1]) - camera.position) @ camera.axes[2])
    ends = camera.project(np.array([[x, y, 0], [x, y, height - crown]]))[:, :2]
    width = max(int(0.035 * height / distance * camera.focal), 1)
    bark = linear((92, 76, 62)) * 0.8 * (1 - haze) + linear((190, 206, 216)) * haze
    for image, value in ((colors, bark.tolist()), (depth, distance)):
        cv2.line(image, ends[0].astype(int).tolist(), ends[1].astype(int).tolist(), value, width)
    for index in np.argsort(-offsets[:, 1]):
        spot = camera.project((middle + offsets[index])[None])[0]
        radius = max(int(crown * generator.uniform(0.06, 0.125) / distance * camera.focal), 1)
        color = linear(hue) * (0.25 + 1.35 * bright[index] ** 1.6) * generator.uniform(0.8, 1.2)
        color = color * (1 - haze) + linear((190, 206, 216)) * haze
        cv2.circle(colors, spot[:2].astype(int).tolist(), radius, color.tolist(), -1, cv2.LINE_AA)
        cv2.circle(depth, spot[:2].astype(int).tolist(), radius, distance, -1)


@dataclass(frozen=True)
class Street:
    """Describe a paved street between plastered houses, seen along it.

    Args:
        seed: picks colours of houses.
        half: half width of the street, metres.
    """

    seed: int
    half: float = 4.5

    def things(self) -> list[Thing]:
        return []

    def view(self, camera: Camera, shade: Shade) -> View:
        ways = rays(camera)
        colors, depth = _sky(ways, self.seed), np.full(camera.size, 400, np.float32)
        ground = meet(camera, ways, 2, 0.0)
        points = _points(camera, ways, ground)
        seen = ground < 200
        paved = self._pavement(points.reshape(-1, 3)).reshape(points.shape) * light_on(points, _UP, shade)
        colors, depth = np.where(seen[..., None], paved, colors), np.where(seen, ground, depth)
        for axis, value in ((1, 46.0), (0, -self.half), (0, self.half)):
            along = meet(camera, ways, axis, value)
            at = _points(camera, ways, along)
            colors_here, roof = self._house(at.reshape(-1, 3), axis, value, shade)
            front = (
                (along < depth + 1e-3)
                & (at[..., 2] > 0)
                & (at[..., 2] < roof.reshape(camera.size))
                & (at[..., 1] < 46.1)
            )
            colors = np.where(front[..., None], colors_here.reshape(points.shape), colors)
            depth = np.where(front, along, depth)
        haze = (1 - np.exp(-depth / 220))[..., None]
        return View(
            (colors * (1 - haze) + linear((216, 222, 228)) * haze).astype(np.float32),
            depth.astype(np.float32),
        )

    def _pavement(self, points: np.ndarray) -> np.ndarray:
        x, y, _ = points.T
        near = np.exp(-np.maximum(np.hypot(x, y) - 3, 0) / 8)
        row = np.floor(y / 0.42)
        joint = np.maximum(
            np.abs(((x + row * 0.29) / 0.6) % 1 - 0.5) > 0.492, np.abs((y / 0.42) % 1 - 0.5) > 0.488
        )
        ident = np.stack([np.floor((x + row * 0.29) / 0.6) * 3.1, row * 5.7, 0 * x], axis=1)
        tone = (
            0.06 * noise(ident, 1, 1, 3)
            + 0.05 * noise(points, 1.5, 3, 3)
            + 0.05 * near * noise(points, 120, 2, 5)
        )
        return linear((186, 180, 172)) * ((1 + tone) * (1 - 0.3 * joint * near))[:, None]

    def _house(
        self, points: np.ndarray, axis: int, value: float, shade: Shade
    ) -> tuple[np.ndarray, np.ndarray]:
        along, z = points[:, 1 - axis], points[:, 2]
        house = np.floor(along / 7.3 + 0.4)
        pick = np.abs((house * 7 + (value > 0) * 3 + self.seed).astype(int)) % 5
        paint = linear([(226, 196, 150), (214, 168, 140), (232, 222, 204), (188, 196, 190), (222, 178, 120)])[
            pick
        ]
        roof = 7.5 + pick * 0.8
        u, v = (along / 2.43) % 1 - 0.5, ((z - 0.4) / 3.1) % 1 - 0.5
        window = np.minimum(0.2 - np.abs(u), 0.28 - np.abs(v))
        color = paint * (1 + 0.05 * noise(points, 0.8, 3, 3))[:, None]
        color = mix(color, linear((244, 240, 232)), step(-0.05, -0.03, window))
        color = mix(
            color,
            linear((74, 88, 100)) * (1 + 0.5 * noise(points, 0.7, 2, 6))[:, None],
            step(0.0, 0.02, window),
        )
        color = (
            color
            * (1 - 0.5 * step(0.5, 0.0, z))[:, None]
            * (1 - 0.3 * step(0.03, 0.01, np.abs((along / 7.3 + 0.4) % 1)))[:, None]
        )
        normal = np.zeros(3)
        normal[axis] = -np.sign(value)
        toward = np.asarray(shade.light.way) / np.linalg.norm(shade.light.way)
        light = (
            max(float(normal @ toward), 0) * np.asarray(shade.light.color) * 0.8
            + np.asarray(shade.light.horizon) * 0.8
        )
        return color * light, roof


# --- furniture ---


def sofa(x: float, y: float, width: float, color: RGB) -> tuple[Thing, ...]:
    """Build a sofa facing the camera's side whose middle is at (x, y)."""
    look, half = Plain(color, 0.02, grain=0.06), width / 2
    seat = [
        box(
            (x - half + 0.15 + i * (width - 0.3) / 2, y - 0.42, 0.2),
            (x - half + 0.14 + (i + 1) * (width - 0.3) / 2, y + 0.3, 0.46),
            0.06,
        )
        for i in (0, 1)
    ]
    back = [
        box(
            (x - half + 0.15 + i * (width - 0.3) / 2, y + 0.18, 0.4),
            (x - half + 0.14 + (i + 1) * (width - 0.3) / 2, y + 0.42, 0.86),
            0.09,
        )
        for i in (0, 1)
    ]
    arms = [
        box((x + s * half - 0.1, y - 0.42, 0.1), (x + s * half + 0.1, y + 0.42, 0.64), 0.07) for s in (-1, 1)
    ]
    base = [box((x - half, y - 0.4, 0.08), (x + half, y + 0.4, 0.3), 0.03)]
    return tuple((mesh, look) for mesh in seat + back + arms + base)


def plant(x: float, y: float, height: float, seed: int) -> tuple[Thing, ...]:
    """Build a potted plant with broad leaves."""
    generator = np.random.default_rng(seed)
    things: list[Thing] = [
        (box((x - 0.16, y - 0.16, 0), (x + 0.16, y + 0.16, 0.34), 0.12), Plain((212, 204, 192)))
    ]
    for index in range(60):
        turn, rise = generator.uniform(0, 2 * np.pi), generator.uniform(0.15, 1.25)
        start = np.array([x, y, generator.uniform(0.4, 0.75) * height])
        way = np.array([np.cos(turn) * np.cos(rise), np.sin(turn) * np.cos(rise), np.sin(rise)])
        size = generator.uniform(0.13, 0.22)
        middle = start + way * size * 1.5
        green = [(72, 108, 66), (92, 128, 74), (56, 90, 60)][index % 3]
        things.append((_leaf(middle, way, size), Plain(green, 0.05)))
    things.append((ellipsoid((x, y, height * 0.45), (0.02, 0.02, height * 0.4), 6), Plain((96, 78, 58))))
    return tuple(things)


def _leaf(middle: np.ndarray, way: np.ndarray, size: float) -> Mesh:
    """Build a leaf that points along `way`."""
    across = np.cross(way, _UP) / np.linalg.norm(np.cross(way, _UP))
    axes = np.stack([way * size, across * size * 0.36, np.cross(across, way) * size * 0.07])
    sphere = ellipsoid((0, 0, 0), (1, 1, 1), 5)
    points = sphere.vertices @ axes + middle
    return with_normals(points, sphere.faces, points)


def shelf(x: float, y: float, width: float, height: float, color: RGB, seed: int) -> tuple[Thing, ...]:
    """Build a shelf with books against a wall at y."""
    generator = np.random.default_rng(seed)
    look, things = Plain(color), []
    for z in np.arange(0.1, height + 0.01, 0.38):
        things.append((box((x - width / 2, y - 0.3, z), (x + width / 2, y - 0.01, z + 0.03), 0.008), look))
        at = x - width / 2 + 0.05
        while at < x + width / 2 - 0.12 and z < height - 0.2:
            thick, tall = generator.uniform(0.025, 0.06), generator.uniform(0.2, 0.3)
            if generator.random() < 0.8:
                paint = [
                    (176, 92, 74),
                    (72, 98, 122),
                    (226, 216, 196),
                    (110, 130, 104),
                    (206, 166, 96),
                    (84, 74, 86),
                ]
                things.append(
                    (
                        box((at, y - 0.26, z + 0.03), (at + thick, y - 0.06, z + 0.03 + tall), 0.006),
                        Plain(paint[generator.integers(6)]),
                    )
                )
            at += thick + 0.004
    for side in (-1, 1):
        edge = x + side * width / 2
        things.append((box((edge - 0.02, y - 0.3, 0), (edge + 0.02, y - 0.01, height + 0.03), 0.008), look))
    return tuple(things)


def stool(x: float, y: float, height: float, color: RGB) -> tuple[Thing, ...]:
    """Build a plain block to sit on."""
    return ((box((x - 0.22, y - 0.22, 0), (x + 0.22, y + 0.22, height), 0.012), Plain(color, 0.03)),)
