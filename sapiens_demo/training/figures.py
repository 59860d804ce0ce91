"""Posed people for the example pictures: a fine, smooth body that wears real layers of cloth and hair."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np

from sapiens_demo.training.body import load_body, pose_body, rest_shape
from sapiens_demo.training.clothing import CLASS, anatomy
from sapiens_demo.training.meshes import Subdivision
from sapiens_demo.training.poses import FORWARD, UP, rotate

_CHEST = (0.101, 0.442)  # |x| and z of the breasts' foremost points in the average rest shape, metres
_SIDEWAYS = np.array([1.0, 0, 0])


@dataclass(frozen=True)
class Arm:
    """Describe an arm; angles in degrees.

    Args:
        way: where the upper arm points from the chest: outwards, back, up.
        elbow: flexion.
        twist: turn of the upper arm about itself, inwards positive.
        roll: turn of the forearm about itself.
        wrist: bend of the hand towards its back.
        curl: bend of each finger joint.
        spread: angle between neighbouring fingers.
    """

    way: tuple[float, float, float] = (0.2, 0.02, -1.0)
    elbow: float = 12
    twist: float = 10
    roll: float = 0
    wrist: float = 0
    curl: float = 14
    spread: float = 2


@dataclass(frozen=True)
class Leg:
    """Describe a leg; angles in degrees.

    Args:
        hip, knee: flexion.
        spread: sideways, from the rest pose.
        out: turn of the toes outwards.
        toes: lift of the toes; the foot is level otherwise.
    """

    hip: float = 0
    knee: float = 2
    spread: float = 2
    out: float = 6
    toes: float = 0


@dataclass(frozen=True)
class Stance:
    """Describe a whole pose; angles in degrees, every part relative to the one that carries it.

    Args:
        left_arm, right_arm, left_leg, right_leg: the limbs.
        bend, lean, twist: of the trunk: forwards, to the person's left, about the vertical.
        nod, tilt, turn: of the head: downwards, to the person's left, about the vertical.
        face: strengths of facial actions; a name without a side moves both sides.
    """

    left_arm: Arm = Arm()
    right_arm: Arm = Arm()
    left_leg: Leg = Leg()
    right_leg: Leg = Leg()
    bend: float = 0
    lean: float = 0
    twist: float = 0
    nod: float = 0
    tilt: float = 0
    turn: float = 0
    face: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Foot:
    """Hold a foot that may get a shoe.

    Args:
        points: (N, 3) its vertices from the ankle, unposed, metres.
        ankle: (3,) where the ankle is in the world.
        rotation: (3, 3) turns the points into the world.
    """

    points: np.ndarray
    ankle: np.ndarray
    rotation: np.ndarray


@dataclass(frozen=True)
class Figure:
    """Hold a posed body on the fine mesh.

    Args:
        vertices: (V, 3) metres, world frame, the bare soles at z = 0.
        faces: (F, 3).
        layers: (F,) index of every triangle's layer.
        place: (V, 3) positions in the average rest shape, metres.
        arm, leg: (V,) place along the limb: 0 shoulder or hip, 0.5 elbow or knee, 1 wrist or ankle;
            -0.3 elsewhere.
        head: (V,) share of head and neck, 0 to 1.
        feet: the left and the right foot.
    """

    vertices: np.ndarray
    faces: np.ndarray
    layers: np.ndarray
    place: np.ndarray
    arm: np.ndarray
    leg: np.ndarray
    head: np.ndarray
    feet: tuple[Foot, Foot]

    @property
    def crown(self) -> float:
        """The height of the crown, metres."""
        return float(self.vertices[self.head > 0.5, 2].max())

    @property
    def seat(self) -> tuple[float, float, float]:
        """Where a sitting person touches the seat: x, y and height, metres."""
        hips = self.vertices[(self.arm < -0.2) & (self.place[:, 2] < 0.12) & (self.place[:, 2] > -0.05)]
        lowest = hips[hips[:, 2] < hips[:, 2].min() + 0.04]
        return float(lowest[:, 0].mean()), float(lowest[:, 1].mean()), float(hips[:, 2].min())


def make_figure(
    shape: int, stance: Stance, heading: float, position: tuple[float, float], fineness: int = 1
) -> Figure:
    """Pose a person.

    Args:
        shape: index of the body's sampled shapes.
        stance: the pose.
        heading: turn about the vertical in degrees; 0 faces -y.
        position: where it stands, x and y in metres.
        fineness: rounds of subdivision.
    """
    body = load_body()
    rest, bones = rest_shape(body, body.shapes[shape], _actions(stance.face))
    posed = pose_body(body, rest, bones, _rotations(stance))
    turn = rotate(UP, heading)
    points = posed.vertices @ turn.T
    on_body = points[body.layer_slices["body"]]
    shift = np.array([*(np.asarray(position) - on_body[:, :2].mean(0)), -on_body[:, 2].min()], np.float32)
    feet = []
    for side, letter in (("Left", "L"), ("Right", "R")):
        own, ankle = anatomy(body).classes == CLASS[f"{side}_Foot"], body.bone(f"foot.{letter}")
        feet.append(
            Foot(rest[own] - bones[ankle], turn @ posed.bones[ankle] + shift, turn @ posed.rotations[ankle])
        )
    points = points + shift
    fine = _fine_anatomy(fineness)
    for division in fine.divisions:
        points = division.smooth(points)
    points = _plain_chest(points, fine)
    return Figure(points, fine.faces, fine.layers, fine.place, fine.arm, fine.leg, fine.head, tuple(feet))


def _plain_chest(points: np.ndarray, fine: _FineAnatomy) -> np.ndarray:
    """Replace the middle of each breast by a smooth (quadratic) surface through its surroundings."""
    x, y, z = fine.place.T
    points = points.copy()
    for side in (-1, 1):
        across, up = (x - side * _CHEST[0]) / 0.03, (z - _CHEST[1]) / 0.03
        away = np.hypot(across, up) * 0.03
        near = (y < -0.06) & (away < 0.045) & (fine.arm < -0.2)
        around = near & (away > 0.02)
        basis = np.stack([across**0, across, up, across**2, across * up, up**2], axis=1)
        fit = np.linalg.lstsq(basis[around], points[around], rcond=None)[0]
        share = np.clip((0.03 - away[near]) / 0.014, 0, 1)[:, None]
        points[near] += (basis[near] @ fit - points[near]) * share * share * (3 - 2 * share)
    return points.astype(np.float32)


def _actions(face: dict[str, float]) -> np.ndarray:
    body = load_body()
    strengths = np.zeros(len(body.action_names), np.float32)
    for name, strength in face.items():
        names = [name] if name in body.action_names else [name + "Left", name + "Right"]
        strengths[[body.action_names.index(each) for each in names]] = strength
    return strengths


def _rotations(stance: Stance) -> np.ndarray:
    body = load_body()
    rotations = np.tile(np.eye(3, dtype=np.float32), (len(body.bones), 1, 1))
    back, lean, twist = stance.bend / 5, stance.lean / 5, stance.twist / 5
    for number in range(1, 6):
        rotations[body.bone(f"spine0{number}")] = (
            rotate(UP, twist) @ rotate(FORWARD, lean) @ rotate(_SIDEWAYS, back)
        )
    nod, tilt, turn = stance.nod / 3, stance.tilt / 3, stance.turn / 3
    for name in ("neck01", "neck02", "head"):
        rotations[body.bone(name)] = rotate(UP, turn) @ rotate(FORWARD, tilt) @ rotate(_SIDEWAYS, nod)
    for side, arm, leg in (
        ("L", stance.left_arm, stance.left_leg),
        ("R", stance.right_arm, stance.right_leg),
    ):
        _set_arm(rotations, side, arm)
        _set_hand(rotations, side, arm)
        _set_leg(rotations, side, leg)
    return rotations


def _set_arm(rotations: np.ndarray, side: str, arm: Arm) -> None:
    body = load_body()
    sign = 1.0 if side == "L" else -1.0
    way = np.asarray(arm.way) / np.linalg.norm(arm.way) * [sign, 1, 1]
    shoulder, elbow, wrist = (
        body.bones_mean[body.bone(f"{n}.{side}")] for n in ("upperarm01", "lowerarm01", "wrist")
    )
    along = (wrist - shoulder) / np.linalg.norm(wrist - shoulder)
    lift = rotate(FORWARD, sign * np.clip(way[2] + 0.3, 0, 1.3) * 20)
    rotations[body.bone(f"clavicle.{side}")] = lift
    rotations[body.bone(f"upperarm01.{side}")] = (
        lift.T @ _turn_to(elbow - shoulder, way) @ rotate(along, sign * arm.twist)
    )
    rotations[body.bone(f"lowerarm01.{side}")] = rotate(np.cross(along, FORWARD), arm.elbow)
    for bone in ("lowerarm01", "lowerarm02"):
        own = body.bone(f"{bone}.{side}")
        rotations[own] = rotations[own] @ rotate(wrist - elbow, sign * arm.roll / 2)
    rotations[body.bone(f"wrist.{side}")] = rotate(_palm_axis(side)[0], -arm.wrist)


def _palm_axis(side: str) -> tuple[np.ndarray, np.ndarray]:
    """Find the axis about which fingers curl, and the direction out of the palm."""
    body = load_body()
    wrist, index, pinky = (
        body.bones_mean[body.bone(f"{n}.{side}")] for n in ("wrist", "finger2-1", "finger5-1")
    )
    along = (index + pinky) / 2 - wrist
    palm = np.cross(along, index - pinky) * (1 if side == "R" else -1)
    return np.cross(along, palm), palm


def _set_hand(rotations: np.ndarray, side: str, arm: Arm) -> None:
    body = load_body()
    axis, palm = _palm_axis(side)
    for finger in range(2, 6):
        fan = rotate(palm, (finger - 3.3) * arm.spread * (1 if side == "L" else -1))
        curl = arm.curl * (0.8 + 0.1 * finger)
        for joint in (1, 2, 3):
            turn = rotate(axis, curl * (0.9 if joint != 3 else 0.7))
            rotations[body.bone(f"finger{finger}-{joint}.{side}")] = turn @ fan if joint == 1 else turn
    for joint in (1, 2, 3):
        rotations[body.bone(f"finger1-{joint}.{side}")] = rotate(axis, arm.curl * 0.35)


def _set_leg(rotations: np.ndarray, side: str, leg: Leg) -> None:
    body = load_body()
    sign = 1 if side == "L" else -1
    flexed = np.radians(leg.hip)
    outwards = rotate(UP, sign * leg.spread * np.sin(flexed)) @ rotate(
        FORWARD, sign * leg.spread * np.cos(flexed)
    )
    turn = outwards @ rotate(_SIDEWAYS, -leg.hip) @ rotate(UP, sign * leg.out * np.cos(flexed))
    rotations[body.bone(f"upperleg01.{side}")] = turn
    rotations[body.bone(f"lowerleg01.{side}")] = rotate(_SIDEWAYS, leg.knee)
    # The foot stays level whatever the leg does.
    carried = turn @ rotations[body.bone(f"lowerleg01.{side}")]
    rotations[body.bone(f"foot.{side}")] = (
        carried.T @ rotate(UP, sign * (leg.out + leg.spread * np.sin(flexed))) @ rotate(_SIDEWAYS, -leg.toes)
    )


def _turn_to(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    source, target = source / np.linalg.norm(source), target / np.linalg.norm(target)
    return rotate(np.cross(source, target), np.degrees(np.arccos(np.clip(source @ target, -1, 1))))


@dataclass(frozen=True)
class _FineAnatomy:
    divisions: tuple[Subdivision, ...]
    faces: np.ndarray
    layers: np.ndarray
    place: np.ndarray
    arm: np.ndarray
    leg: np.ndarray
    head: np.ndarray


@lru_cache(maxsize=2)
def _fine_anatomy(fineness: int) -> _FineAnatomy:
    body = load_body()
    points = anatomy(body)
    faces, layers, place = body.faces, body.face_layers, body.mean
    values = np.stack([_along("arm"), _along("leg"), points.head.astype(np.float32)], axis=1)
    divisions = []
    for _ in range(fineness):
        division = Subdivision(faces, len(place))
        divisions.append(division)
        faces, layers = division.faces, np.tile(layers, 4)
        place, values = division.smooth(place), division.middles(values)
    return _FineAnatomy(tuple(divisions), faces, layers, place, *values.T)


def _along(limb: str) -> np.ndarray:
    """Measure every vertex' place along its limb, without stopping at the limb's ends."""
    body = load_body()
    classes = anatomy(body).classes
    word, end, joints = {
        "arm": ("Arm", "Hand", ("upperarm01", "lowerarm01", "wrist")),
        "leg": ("Leg", "Foot", ("upperleg01", "lowerleg01", "foot")),
    }[limb]
    place = np.full(len(classes), -0.3, np.float32)
    for side, letter in (("Left", "L"), ("Right", "R")):
        ends = [body.bones_mean[body.bone(f"{joint}.{letter}")] for joint in joints]
        for half, names in enumerate(((f"{side}_Upper_{word}",), (f"{side}_Lower_{word}", f"{side}_{end}"))):
            own = np.isin(classes, [CLASS[name] for name in names])
            axis = ends[half + 1] - ends[half]
            place[own] = half / 2 + (body.mean[own] - ends[half]) @ axis / (axis @ axis) / 2
    return place
