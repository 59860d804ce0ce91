"""Draw a scene: colours, and the labels that go with every pixel."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from sapiens_demo.training.body import load_body
from sapiens_demo.training.clothing import CLASS, Anatomy, anatomy, dressed_classes, is_scalp
from sapiens_demo.training.keypoint_table import LOWER_BROW, UPPER_BROW
from sapiens_demo.training.rasterize import Fragments, rasterize
from sapiens_demo.training.samples import Sample
from sapiens_demo.training.scene import Person, Scene, smooth_noise
from sapiens_demo.vocabulary import COCO_BODY_IDS, KEYPOINTS

_SKIN = np.array(
    [
        [255, 224, 196],
        [241, 194, 160],
        [224, 172, 135],
        [198, 134, 96],
        [160, 104, 70],
        [118, 74, 50],
        [80, 50, 36],
        [234, 192, 134],
    ],
    np.float32,
)
_HAIR = np.array(
    [
        [24, 20, 18],
        [44, 32, 24],
        [78, 52, 34],
        [120, 84, 52],
        [172, 130, 82],
        [214, 180, 124],
        [140, 60, 34],
        [150, 148, 146],
        [220, 218, 214],
    ],
    np.float32,
)
# What shops sell: blacks, greys, whites, denims, earth colours, and some strong ones.
_CLOTH = np.array(
    [
        [22, 22, 26],
        [48, 50, 56],
        [96, 98, 102],
        [168, 168, 166],
        [232, 230, 226],
        [30, 38, 66],
        [52, 74, 112],
        [96, 124, 160],
        [150, 178, 206],
        [120, 96, 70],
        [184, 160, 126],
        [92, 94, 62],
        [40, 84, 62],
        [150, 34, 40],
        [206, 70, 52],
        [222, 172, 60],
        [196, 120, 150],
        [104, 66, 122],
        [58, 140, 170],
    ],
    np.float32,
)
_IRIS = np.array([[62, 40, 24], [92, 64, 34], [70, 104, 132], [84, 112, 78], [110, 120, 128]], np.float32)

# How far behind the visible surface a labelled point may lie and still count as visible, metres.
_SURFACE_SLACK = 0.02
_JOINT_SLACK = {"body": 0.13, "foot": 0.05, "left_hand": 0.025, "right_hand": 0.025, "face": _SURFACE_SLACK}


@dataclass(frozen=True)
class Pixels:
    """Hold what is known about the pixels that show people.

    Args:
        rows, columns: (N,) where they are.
        person: (N,) index of the person.
        points: anatomy at the pixels.
        normals: (N, 3) world frame, facing the camera.
        depth: (N,) metres.
    """

    rows: np.ndarray
    columns: np.ndarray
    person: np.ndarray
    points: Anatomy
    normals: np.ndarray
    depth: np.ndarray


def render(scene: Scene, backgrounds: list[Path], generator: np.random.Generator) -> Sample:
    """Draw a scene with its labels.

    Args:
        scene: who is seen, and from where.
        backgrounds: photos without people; procedural backgrounds where the list is empty.
        generator: source of randomness for colours, light and noise.

    Returns:
        The labelled picture.
    """
    height, width = scene.camera.size
    pixels, fragments = _surface_pixels(scene)
    parts = np.zeros((height, width), np.uint8)
    people = np.zeros((height, width), np.uint8)
    depth = np.zeros((height, width), np.float32)
    normals = np.zeros((height, width, 3), np.float32)
    colors = np.zeros((height, width, 3), np.float32)
    photos = [_read_background(backgrounds, generator) for _ in range(2)] if backgrounds else []
    classes = np.empty(len(pixels.rows), np.uint8)
    albedo = np.empty((len(pixels.rows), 3), np.float32)
    for index, person in enumerate(scene.people):
        own = pixels.person == index
        points = _select(pixels.points, own)
        classes[own] = dressed_classes(person.outfit, points)
        albedo[own] = _albedo(person, points, classes[own], photos, generator)
    at = (pixels.rows, pixels.columns)
    parts[at], people[at], depth[at] = classes, pixels.person + 1, pixels.depth
    normals[at] = _to_viewer(pixels.normals, scene)
    colors[at] = np.minimum(albedo * _light(normals[at], pixels, generator), 300)
    background = _background(height, width, photos, generator)
    image = _composite(background, colors, people > 0, generator)
    image, hidden = _occlude(image, people > 0, photos, generator)
    for labels in (parts, people, depth, normals):
        labels[hidden] = 0
    keypoints, visibility = _keypoint_labels(scene, fragments, hidden)
    image = _camera_effects(image, generator)
    return _with_visible_people(image, parts, people, depth, normals, keypoints, visibility)


def _surface_pixels(scene: Scene) -> tuple[Pixels, Fragments]:
    offsets = np.cumsum([0] + [len(person.vertices) for person in scene.people])
    faces = np.concatenate([p.faces + start for p, start in zip(scene.people, offsets, strict=False)])
    owners = np.repeat(np.arange(len(scene.people)), [len(p.faces) for p in scene.people])
    points = np.concatenate([scene.camera.project(p.vertices) for p in scene.people])
    fragments = rasterize(points, faces, *scene.camera.size)
    rows, columns = np.nonzero(fragments.triangle >= 0)
    triangle = fragments.triangle[rows, columns]
    weights = fragments.barycentric[rows, columns]
    corners = faces[triangle]
    normals = np.concatenate([p.normals for p in scene.people])
    normal = np.einsum("nk,nkc->nc", weights, normals[corners])
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-6)
    away = normal @ scene.camera.axes[2] > 0.25
    normal[away] *= -1
    person = owners[triangle]
    local = corners - offsets[person][:, None]
    pixels = Pixels(
        rows, columns, person, _interpolate(local, weights), normal, fragments.depth[rows, columns]
    )
    return pixels, fragments


def _interpolate(corners: np.ndarray, weights: np.ndarray) -> Anatomy:
    """Carry the vertices' anatomy over to pixels: positions smoothly, classes from the nearest corner."""
    points = anatomy(load_body())
    nearest = corners[np.arange(len(corners)), weights.argmax(1)]
    return Anatomy(
        classes=points.classes[nearest],
        arm=_mix_along(points.arm, corners, weights, nearest),
        leg=_mix_along(points.leg, corners, weights, nearest),
        head=points.head[nearest],
        layers=points.layers[nearest],
        place=np.einsum("nk,nkc->nc", weights, points.place[corners]),
    )


def _mix_along(
    values: np.ndarray, corners: np.ndarray, weights: np.ndarray, nearest: np.ndarray
) -> np.ndarray:
    own = values[corners]
    valid = (own >= 0).all(1)
    return np.where(valid, (own * weights).sum(1), values[nearest])


def _select(points: Anatomy, own: np.ndarray) -> Anatomy:
    return Anatomy(
        points.classes[own],
        points.arm[own],
        points.leg[own],
        points.head[own],
        points.layers[own],
        points.place[own],
    )


def _albedo(
    person: Person, points: Anatomy, classes: np.ndarray, photos, generator: np.random.Generator
) -> np.ndarray:
    skin = _SKIN[generator.integers(len(_SKIN))] * generator.uniform(0.85, 1.1) + generator.normal(0, 6, 3)
    hair = _HAIR[generator.integers(len(_HAIR))] * generator.uniform(0.7, 1.2)
    mottled = 1 + 0.05 * smooth_noise(points.place, 30, generator)[:, None]
    colors = skin * mottled
    _paint_face(colors, person, points, classes, skin, hair, generator)
    for name in ("Upper_Clothing", "Lower_Clothing", "Apparel"):
        own = classes == CLASS[name]
        colors[own] = _fabric(points.place[own], photos, generator)
    for kind in ("Shoe", "Sock"):
        own = np.isin(classes, (CLASS[f"Left_{kind}"], CLASS[f"Right_{kind}"]))
        colors[own] = _fabric(points.place[own], photos, generator)
    own = classes == CLASS["Hair"]
    strands = smooth_noise(points.place[own] * [3, 3, 0.4], 120, generator)[:, None]
    colors[own] = hair * (1 + 0.22 * strands)
    for name, color in (
        ("Upper_Teeth", (235, 230, 215)),
        ("Lower_Teeth", (225, 220, 205)),
        ("Tongue", (190, 90, 90)),
    ):
        colors[classes == CLASS[name]] = color
    return np.clip(colors, 4, 255)


def _paint_face(
    colors, person: Person, points: Anatomy, classes, skin, hair, generator: np.random.Generator
) -> None:
    x, y, z = points.place.T * 1000
    lips = np.isin(classes, (CLASS["Upper_Lip"], CLASS["Lower_Lip"]))
    lip_color = skin * np.array([0.92, 0.68, 0.68]) * generator.uniform(0.8, 1.05)
    if generator.random() < 0.2:
        lip_color = np.array([170, 40, 60]) * generator.uniform(0.7, 1.2)
    colors[lips] = lip_color
    skin_pixels = points.head & (classes == CLASS["Face_Neck"])
    side = np.abs(x)
    brow = skin_pixels & (side > 12) & (side < 51) & (y < -80)
    brow &= (z < _curve(UPPER_BROW, side)) & (z > _curve(LOWER_BROW, side) - generator.uniform(0, 2))
    colors[brow] = 0.35 * colors[brow] + 0.65 * hair * generator.uniform(0.6, 1)
    if person.outfit.beard and person.outfit.hairline is not None:
        beard = (
            skin_pixels
            & (z < 752)
            & (z > 655)
            & (y < -35)
            & ((side > 26) | (z < 716) | ((z > 736) & (side < 30)))
        )
        colors[beard] += person.outfit.beard * (hair - colors[beard]) * 0.85
    if person.outfit.hairline is not None and person.outfit.hat is None:
        fuzzy = skin_pixels & is_scalp(points.place, person.outfit.hairline - 0.006)
        colors[fuzzy] = 0.5 * colors[fuzzy] + 0.5 * hair
    if person.outfit.glasses:
        frame = skin_pixels | (points.layers > 1)
        ring = np.hypot((side - 31) / 1.25, z - 795)
        dark = frame & (y < -85) & (((ring > 15.5) & (ring < 18.5)) | ((side < 12) & (np.abs(z - 797) < 2)))
        colors[dark] = generator.uniform(10, 90)
        if generator.random() < 0.35:
            colors[frame & (y < -85) & (ring <= 15.5)] *= 0.25
    _paint_eyes(colors, points, x, z, generator)


def _paint_eyes(colors, points: Anatomy, x, z, generator: np.random.Generator) -> None:
    body = load_body()
    eyes = np.isin(points.layers, (body.layers.index("left_eye"), body.layers.index("right_eye")))
    front = eyes & (points.place[:, 1] < -0.12)
    radius = np.hypot(np.abs(x) - 30.3, z - 795.9)
    colors[eyes] = (232, 226, 220)
    colors[front & (radius < 5.6)] = _IRIS[generator.integers(len(_IRIS))]
    colors[front & (radius < 2.3)] = 12
    colors[front & (np.hypot(np.abs(x) - 29, z - 798) < 0.8)] = 250


def _curve(curve, x: np.ndarray) -> np.ndarray:
    points = np.asarray(curve, float)
    return np.interp(x, points[:, 0], points[:, 1])


def _fabric(place: np.ndarray, photos, generator: np.random.Generator) -> np.ndarray:
    base, other = _cloth_color(generator), _cloth_color(generator)
    kind = generator.choice(
        ["plain", "stripes", "checks", "blotches", "photo"], p=[0.68, 0.1, 0.06, 0.06, 0.1]
    )
    colors = np.tile(base.astype(np.float32), (len(place), 1))
    period = generator.uniform(0.015, 0.09)
    axis = generator.choice([0, 2], p=[0.25, 0.75])
    if kind == "stripes":
        colors[(place[:, axis] / period) % 1 < generator.uniform(0.2, 0.7)] = other
    elif kind == "checks":
        cells = np.floor(place[:, 0] / period) + np.floor(place[:, 2] / period)
        colors[cells % 2 < 1] = other
    elif kind == "blotches":
        colors[smooth_noise(place, generator.uniform(10, 60), generator) > 0.3] = other
    elif kind == "photo" and photos:
        photo = photos[generator.integers(len(photos))]
        scale = generator.uniform(200, 900)
        u = (place[:, 0] * scale + 500 + place[:, 1] * scale).astype(int) % photo.shape[1]
        v = (500 - place[:, 2] * scale).astype(int) % photo.shape[0]
        colors = photo[v, u].astype(np.float32) * generator.uniform(0.6, 1.2)
    return colors * (1 + 0.06 * smooth_noise(place, 18, generator)[:, None])


def _cloth_color(generator: np.random.Generator) -> np.ndarray:
    if generator.random() < 0.15:
        return generator.uniform(10, 245, 3)
    color = _CLOTH[generator.integers(len(_CLOTH))] * generator.uniform(0.75, 1.25)
    return np.clip(color + generator.normal(0, 10, 3), 5, 250)


def _to_viewer(normals: np.ndarray, scene: Scene) -> np.ndarray:
    """Turn world normals into x right, y up, z to the viewer."""
    return normals @ (scene.camera.axes * np.array([[1], [-1], [-1]], np.float32)).T


def _light(normals: np.ndarray, pixels: Pixels, generator: np.random.Generator) -> np.ndarray:
    """Light the surface: sky from above, one or two lamps, and smooth patches of shade."""
    ambient = generator.uniform(0.35, 0.8)
    sky = ambient * (0.75 + 0.25 * normals[:, 1:2])
    total = sky * (1 + generator.normal(0, 0.05, 3))
    for strength in (generator.uniform(0.3, 1.0), generator.uniform(0, 0.4)):
        way = generator.normal(0, 1, 3) * [1, 0.7, 0.6] + [0, 0.5, 0.6]
        way /= np.linalg.norm(way)
        total = total + strength * np.maximum(normals @ way, 0)[:, None] * (1 + generator.normal(0, 0.08, 3))
    if generator.random() < 0.4:
        where = np.stack([pixels.columns, pixels.rows, np.zeros(len(pixels.rows))], axis=1) / 500
        total = total * (1 - generator.uniform(0, 0.5) * (smooth_noise(where, 4, generator) > 0.4)[:, None])
    return total.astype(np.float32)


def _read_background(paths: list[Path], generator: np.random.Generator) -> np.ndarray:
    photo = cv2.imread(str(paths[generator.integers(len(paths))]))
    if generator.random() < 0.5:
        photo = photo[:, ::-1]
    return photo[..., ::-1]


def _background(height: int, width: int, photos, generator: np.random.Generator) -> np.ndarray:
    if not photos or generator.random() < 0.2:
        return _procedural_background(height, width, generator)
    photo = photos[0]
    share = generator.uniform(0.45, 1.0)
    scale = min(photo.shape[0] / height, photo.shape[1] / width) * share
    crop_height, crop_width = int(height * scale), int(width * scale)
    top = generator.integers(photo.shape[0] - crop_height + 1)
    left = generator.integers(photo.shape[1] - crop_width + 1)
    crop = photo[top : top + crop_height, left : left + crop_width]
    return _out_of_focus(cv2.resize(crop, (width, height), interpolation=cv2.INTER_AREA), generator)


def _out_of_focus(background: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Blur and pale a background, as a camera that is focused on people does more often than not."""
    background = background.astype(np.float32)
    if generator.random() < 0.65:
        background = cv2.GaussianBlur(background, (0, 0), generator.uniform(0.6, 4) * len(background) / 320)
    if generator.random() < 0.4:
        gray = background.mean(axis=2, keepdims=True)
        background = gray + (background - gray) * np.float32(generator.uniform(0.1, 0.9))
    return background


def _procedural_background(height: int, width: int, generator: np.random.Generator) -> np.ndarray:
    """Make a wall with uneven light and colour, with rectangles as furniture, windows or the floor."""
    shape = generator.integers(2, 9), generator.integers(2, 9), 3
    coarse = generator.uniform(0, 255, shape).astype(np.float32)
    picture = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    flat = _cloth_color(generator)
    gray = picture.mean(axis=2, keepdims=True)
    picture = flat + (gray + (picture - gray) * generator.uniform(0, 0.5) - 127) * generator.uniform(0, 0.5)
    for _ in range(generator.integers(0, 7)):
        corner = generator.uniform(-0.2, 1, 2) * (width, height)
        extent = generator.uniform(0.05, 0.7, 2) * (width, height)
        end = corner + extent
        cv2.rectangle(
            picture,
            corner.astype(int).tolist(),
            end.astype(int).tolist(),
            _cloth_color(generator).tolist(),
            -1,
        )
    return _out_of_focus(picture, generator)


def _composite(background, colors, mask, generator: np.random.Generator) -> np.ndarray:
    """Lay people over the background with soft edges and, sometimes, a contact shadow."""
    solid = mask.astype(np.float32)
    background = background.astype(np.float32)
    alpha = cv2.GaussianBlur(solid, (0, 0), generator.uniform(0.5, 0.9))[..., None]
    # Colours reach a little beyond the outline, so that its soft edge doesn't turn black.
    spread = cv2.GaussianBlur(colors, (0, 0), 1.0) / np.maximum(
        cv2.GaussianBlur(solid, (0, 0), 1.0)[..., None], 1e-3
    )
    filled = np.where(mask[..., None], colors, spread)
    if generator.random() < 0.4:
        shift = np.float32([[1, 0, generator.normal(0, 12)], [0, 1, generator.uniform(0, 14)]])
        shade = cv2.warpAffine(alpha[..., 0], shift, mask.shape[::-1])
        shade = cv2.GaussianBlur(shade, (0, 0), generator.uniform(3, 12))[..., None]
        background = background * (1 - np.float32(generator.uniform(0.1, 0.55)) * shade)
    return background * (1 - alpha) + filled * alpha


def _occlude(image, mask, photos, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Put random objects in front of the people."""
    hidden = np.zeros(mask.shape, np.uint8)
    if generator.random() < 0.14 and mask.any():
        rows, columns = np.nonzero(mask)
        reach = max(np.ptp(rows), np.ptp(columns), 20)
        for _ in range(generator.integers(1, 3)):
            pick = generator.integers(len(rows))
            center = (int(columns[pick]), int(rows[pick]))
            axes = (generator.uniform(0.04, 0.18, 2) * reach).astype(int) + 2
            if generator.random() < 0.5:
                cv2.ellipse(hidden, center, axes.tolist(), generator.uniform(0, 180), 0, 360, 1, -1)
            else:
                box = cv2.boxPoints((center, (axes * 2).tolist(), generator.uniform(0, 90)))
                cv2.fillPoly(hidden, [box.astype(np.int32)], 1)
        texture = _background(*mask.shape, photos[1:], generator)
        image = np.where(hidden[..., None] > 0, texture, image)
    return image, hidden > 0


def _keypoint_labels(scene: Scene, fragments: Fragments, hidden: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    height, width = scene.camera.size
    slack = np.array([_JOINT_SLACK[keypoint.group] for keypoint in KEYPOINTS])
    slack[list(COCO_BODY_IDS[:5])] = 0.05
    positions, visibility = [], []
    for person in scene.people:
        projected = scene.camera.project(person.keypoints)
        column, row = np.round(projected[:, 0]).astype(int), np.round(projected[:, 1]).astype(int)
        inside = (column >= 0) & (column < width) & (row >= 0) & (row < height) & (projected[:, 2] > 0.05)
        column, row = column.clip(0, width - 1), row.clip(0, height - 1)
        seen = projected[:, 2] < fragments.depth[row, column] + slack
        seen &= ~hidden[row, column]
        positions.append(projected[:, :2])
        visibility.append(np.where(inside, np.where(seen, 2, 1), 0))
    return np.stack(positions).astype(np.float32), np.stack(visibility).astype(np.uint8)


def _camera_effects(image: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    image = image.astype(np.float32)
    if generator.random() < 0.3:
        image = cv2.GaussianBlur(image, (0, 0), generator.uniform(0.3, 1.3))
    gains = generator.uniform(0.75, 1.2) * (1 + generator.normal(0, 0.04, 3))
    image += generator.standard_normal(image.shape[:2] + (1,), np.float32) * np.float32(
        generator.uniform(0, 7)
    )
    image = np.clip(image * gains.astype(np.float32), 0, 255).astype(np.uint8)
    gamma = generator.uniform(0.8, 1.25)
    return cv2.LUT(image, (255 * (np.arange(256) / 255) ** gamma).astype(np.uint8))


def _with_visible_people(image, parts, people, depth, normals, keypoints, visibility) -> Sample:
    """Keep the people of whom something is left in the picture, and box them."""
    order, boxes = [], []
    for index in range(len(keypoints)):
        rows, columns = np.nonzero(people == index + 1)
        if len(rows) >= 60:
            order.append(index)
            boxes.append([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
    renumber = np.zeros(len(keypoints) + 1, np.uint8)
    renumber[[index + 1 for index in order]] = np.arange(1, len(order) + 1)
    people = renumber[people]
    gone = people == 0
    parts, depth, normals = parts.copy(), depth.copy(), normals.copy()
    parts[gone], depth[gone], normals[gone] = 0, 0, 0
    return Sample(
        image=image,
        parts=parts,
        people=people,
        depth=depth,
        normals=normals,
        keypoints=keypoints[order],
        visibility=visibility[order],
        boxes=np.array(boxes, np.float32).reshape(-1, 4),
    )
