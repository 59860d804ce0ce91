"""People placed in front of a camera: everything that is decided before pixels are drawn."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from sapiens_demo.training.body import Body, PosedBody, load_body, pose_body, rest_shape, vertex_normals
from sapiens_demo.training.clothing import (
    CLASS,
    Anatomy,
    Outfit,
    anatomy,
    dressed_classes,
    hidden_points,
    sample_outfit,
)
from sapiens_demo.training.keypoint_table import KEYPOINT_FILE
from sapiens_demo.training.poses import UP, rotate, sample_pose
from sapiens_demo.vocabulary import KEYPOINTS

# Picture sizes (H, W) and how often each is drawn.
_FORMATS = (((320, 240), 0.55), ((240, 320), 0.25), ((280, 280), 0.12), ((225, 400), 0.08))
# What the camera frames: share, then the part of the main person's height from feet (0) to crown (1).
_FRAMINGS = {
    "full": (0.6, (0.0, 1.0)),
    "half": (0.24, (0.45, 1.0)),
    "portrait": (0.12, (0.7, 1.02)),
    "face": (0.04, (0.83, 1.02)),
}


@dataclass(frozen=True)
class Person:
    """Hold one dressed, posed person in the world.

    Args:
        vertices: (V, 3) dressed surface, metres.
        normals: (V, 3) outward unit normals of it.
        faces: (F, 3) triangles that this outfit shows.
        classes: (V,) class of every vertex.
        keypoints: (308, 3) positions on the undressed body, metres.
        outfit: what is worn.
        body: the posed body underneath.
    """

    vertices: np.ndarray
    normals: np.ndarray
    faces: np.ndarray
    classes: np.ndarray
    keypoints: np.ndarray
    outfit: Outfit
    body: PosedBody


@dataclass(frozen=True)
class Camera:
    """Describe a pinhole camera.

    Args:
        position: (3,) metres, world frame.
        axes: (3, 3) rows: right, down, forward.
        focal: focal length in pixels.
        size: picture as (H, W).
    """

    position: np.ndarray
    axes: np.ndarray
    focal: float
    size: tuple[int, int]

    def project(self, points: np.ndarray) -> np.ndarray:
        """Project world points.

        Args:
            points: (N, 3) metres.

        Returns:
            (N, 3): x and y in pixels, depth in metres along the camera's axis.
        """
        local = (points - self.position) @ self.axes.T
        depth = np.maximum(local[:, 2], 1e-3)
        x = local[:, 0] / depth * self.focal + (self.size[1] - 1) / 2
        y = local[:, 1] / depth * self.focal + (self.size[0] - 1) / 2
        return np.stack([x, y, local[:, 2]], axis=1)


@dataclass(frozen=True)
class Scene:
    """Hold the people of a picture and the camera that sees them."""

    people: tuple[Person, ...]
    camera: Camera


def sample_scene(generator: np.random.Generator) -> Scene:
    """Draw people and a camera.

    Args:
        generator: source of randomness.

    Returns:
        The scene: one to three people.
    """
    body = load_body()
    count = int(generator.choice([1, 2, 3], p=[0.72, 0.2, 0.08]))
    people = [sample_person(body, generator) for _ in range(count)]
    placed = [people[0]]
    for index, person in enumerate(people[1:]):
        side = generator.choice([-1, 1]) if index == 0 else -np.sign(placed[1].vertices[:, 0].mean() or 1)
        shift = np.array([side * generator.uniform(0.35, 1.1), generator.uniform(-0.5, 1.8), 0])
        placed.append(_moved(person, shift))
    return Scene(tuple(placed), sample_camera(placed[0], generator))


def sample_person(body: Body, generator: np.random.Generator) -> Person:
    """Draw a person: shape, pose, clothes and heading.

    Args:
        body: the model.
        generator: source of randomness.

    Returns:
        The person, its feet or lowest point on the ground z = 0.
    """
    index = int(generator.integers(len(body.shapes)))
    pose = sample_pose(body, generator)
    outfit = sample_outfit(1 - float(body.phenotypes[index, 0]), generator)
    heading = generator.normal(0, 45) if generator.random() < 0.8 else generator.uniform(-180, 180)
    return make_person(body, body.shapes[index], pose, outfit, heading, generator)


def make_person(
    body: Body, shape, pose, outfit: Outfit, heading: float, generator: np.random.Generator
) -> Person:
    """Build a person from its parts.

    Args:
        body: the model.
        shape: (C,) shape coefficients.
        pose: a poses.Pose.
        outfit: what is worn.
        heading: turn about the vertical, degrees; 0 faces the camera's side (-y).
        generator: source of randomness for folds of cloth and hair.

    Returns:
        The person, its lowest point on the ground z = 0.
    """
    rest, bones = rest_shape(body, shape, pose.actions)
    posed = pose_body(body, rest, bones, pose.rotations)
    turn = rotate(UP, heading)
    vertices, heads = posed.vertices @ turn.T, posed.bones @ turn.T
    lift = np.array([0, 0, -vertices[body.layer_slices["body"], 2].min()], np.float32)
    center = np.array([*vertices[:, :2].mean(0), 0], np.float32)
    vertices, heads = vertices + lift - center, heads + lift - center
    points = anatomy(body)
    classes = dressed_classes(outfit, points)
    faces = body.faces[~hidden_points(outfit, points)[body.faces].any(1)]
    normals = vertex_normals(vertices, faces)
    dressed = vertices + normals * _thickness(outfit, points, classes, generator)[:, None]
    moved = PosedBody(vertices, heads, turn @ posed.rotations, rest)
    return Person(
        vertices=dressed.astype(np.float32),
        normals=vertex_normals(dressed, faces),
        faces=faces,
        classes=classes,
        keypoints=keypoint_positions(body, moved),
        outfit=outfit,
        body=moved,
    )


def _thickness(
    outfit: Outfit, points: Anatomy, classes: np.ndarray, generator: np.random.Generator
) -> np.ndarray:
    folds = smooth_noise(points.place, 7, generator)
    thickness = np.zeros(len(classes), np.float32)
    for name, looseness in (
        ("Upper_Clothing", outfit.top_looseness),
        ("Lower_Clothing", outfit.bottom_looseness),
        ("Left_Shoe", 0.009),
        ("Right_Shoe", 0.009),
        ("Left_Sock", 0.003),
        ("Right_Sock", 0.003),
        ("Hair", outfit.hair_thickness),
        ("Apparel", 0.018),
    ):
        own = (classes == CLASS[name]) & (points.layers == 0)
        thickness[own] = looseness * (1 + 0.3 * folds[own])
    return thickness


def smooth_noise(place: np.ndarray, frequency: float, generator: np.random.Generator) -> np.ndarray:
    """Evaluate a random smooth function in space: a sum of a few plane waves.

    Args:
        place: (N, 3) metres.
        frequency: typical waves a metre.
        generator: source of randomness.

    Returns:
        (N,) float32 of about unit variance.
    """
    ways = generator.normal(0, frequency * 2, (6, 3)).astype(np.float32)
    phases = generator.uniform(0, 2 * np.pi, 6).astype(np.float32)
    return np.sin(place @ ways.T + phases).sum(1) / np.sqrt(3)


@lru_cache(maxsize=1)
def _keypoint_rows() -> tuple[tuple[str, ...], ...]:
    import csv

    with KEYPOINT_FILE.open(newline="", encoding="utf-8") as file:
        return tuple(tuple(row["source"].split()) for row in csv.DictReader(file))


def keypoint_positions(body: Body, posed: PosedBody) -> np.ndarray:
    """Look up where the keypoints of a posed body are.

    Args:
        body: the model.
        posed: the posed body.

    Returns:
        (308, 3) metres.
    """
    positions = np.empty((len(KEYPOINTS), 3), np.float32)
    for index, (kind, *values) in enumerate(_keypoint_rows()):
        if kind == "bone":
            positions[index] = posed.bones[body.bone(values[0])]
        elif kind == "joint":
            vertices, weights = body.joints[values[0]]
            positions[index] = weights @ posed.vertices[vertices]
        else:
            positions[index] = np.asarray(values[3:], float) @ posed.vertices[[int(v) for v in values[:3]]]
    return positions


def sample_camera(person: Person, generator: np.random.Generator) -> Camera:
    """Draw a camera that frames a person.

    Args:
        person: the main person.
        generator: source of randomness.

    Returns:
        The camera.
    """
    sizes = [size for size, _ in _FORMATS]
    height, width = sizes[generator.choice(len(sizes), p=[share for _, share in _FORMATS])]
    names = list(_FRAMINGS)
    framing = names[generator.choice(len(names), p=[_FRAMINGS[name][0] for name in names])]
    target, extent = _framed(person, framing)
    view = np.radians(generator.uniform(22, 62))
    focal = height / 2 / np.tan(view / 2)
    fill = generator.uniform(0.55, 1.0) if framing == "full" else generator.uniform(0.75, 1.2)
    if framing == "full" and generator.random() < 0.15:
        fill *= 0.5
    distance = max(extent * focal / (height * fill), 0.35)
    pitch = np.clip(generator.normal(4, 8), -20, 40)
    forward = np.array([0, np.cos(np.radians(pitch)), -np.sin(np.radians(pitch))])
    right = np.array([1.0, 0, 0])
    down = np.cross(forward, right)
    roll = rotate(forward, generator.normal(0, 3)).astype(float)
    axes = np.stack([roll @ right, roll @ down, forward])
    slack = distance / focal * np.array([width, height]) * 0.13
    offset = right * generator.normal(0, slack[0]) + down * generator.normal(0, slack[1] * 0.6)
    return Camera(
        (target - forward * distance + offset).astype(np.float32),
        axes.astype(np.float32),
        focal,
        (height, width),
    )


def _framed(person: Person, framing: str) -> tuple[np.ndarray, float]:
    """Find the middle and the size of what the camera frames, in metres."""
    low, high = _FRAMINGS[framing][1]
    points = person.vertices[np.unique(person.faces)]
    if framing == "full":
        bottom, top = points.min(0), points.max(0)
        return (bottom + top) / 2, float(max(top[2] - bottom[2], (top[0] - bottom[0]) * 0.9, 0.5))
    head = person.keypoints[70]  # glabella: works for lying people too
    neck = person.keypoints[69]
    stature = float(np.linalg.norm(head - neck)) / 0.13
    along = (head - neck) / np.linalg.norm(head - neck)
    middle = head + along * stature * ((low + high) / 2 - 0.93)
    return middle, stature * (high - low)


def _moved(person: Person, shift: np.ndarray) -> Person:
    shift = shift.astype(np.float32)
    return Person(
        person.vertices + shift,
        person.normals,
        person.faces,
        person.classes,
        person.keypoints + shift,
        person.outfit,
        person.body,
    )
