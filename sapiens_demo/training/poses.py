"""Random poses within human limits, around plausible activities."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from sapiens_demo.training.body import Body

FORWARD = np.array([0.0, -1.0, 0.0])
UP = np.array([0.0, 0.0, 1.0])

Range = tuple[float, float]


@dataclass(frozen=True)
class Activity:
    """Describe a family of poses; angles in degrees, drawn evenly from their ranges.

    Args:
        share: how often it is drawn, relative to the others.
        arms: where the upper arms point: names of _ARM_WAYS.
        hip: flexion of the thighs.
        knee: flexion of the knees.
        spread: sideways angle of the thighs.
        bend: forward bend of the trunk.
        stride: thighs' difference in flexion, as in walking.
        lies: the whole body lies down.
    """

    share: float
    arms: tuple[str, ...] = (
        "down",
        "down",
        "down",
        "down",
        "lap",
        "forward",
        "side",
        "up",
        "hip",
        "face",
        "crossed",
        "any",
    )
    hip: Range = (-5, 12)
    knee: Range = (0, 10)
    spread: Range = (-3, 14)
    bend: Range = (-8, 12)
    stride: Range = (0, 6)
    lies: bool = False


ACTIVITIES = {
    "standing": Activity(0.4),
    "walking": Activity(0.2, arms=("down", "down", "swing", "forward", "any"), stride=(15, 60), knee=(0, 35)),
    "sitting": Activity(
        0.14, arms=("lap", "lap", "forward", "face", "any"), hip=(70, 105), knee=(55, 110), spread=(0, 30)
    ),
    "crouching": Activity(
        0.04, arms=("forward", "lap", "any"), hip=(80, 125), knee=(90, 140), bend=(5, 45), spread=(0, 35)
    ),
    "arms up": Activity(0.07, arms=("up", "up", "side")),
    "bending": Activity(0.04, bend=(30, 80), arms=("forward", "down", "any"), hip=(0, 25), knee=(0, 40)),
    "skiing": Activity(
        0.05, bend=(10, 45), arms=("forward", "swing", "lap"), hip=(20, 70), knee=(25, 80), stride=(0, 25)
    ),
    "jumping": Activity(
        0.03, arms=("any", "up"), hip=(-15, 80), knee=(10, 110), spread=(0, 40), stride=(0, 60)
    ),
    "lying": Activity(0.03, arms=("down", "any", "up"), hip=(-5, 60), knee=(0, 80), lies=True),
}

# Direction of the left upper arm (x to the person's left, y back, z up), its scatter, the elbow's flexion.
_ARM_WAYS: dict[str, tuple[tuple[float, float, float], float, Range]] = {
    "down": ((0.22, 0.0, -1.0), 0.12, (0, 45)),
    "swing": ((0.15, -0.2, -1.0), 0.45, (10, 80)),
    "forward": ((0.15, -1.0, -0.35), 0.4, (0, 110)),
    "side": ((1.0, -0.1, -0.05), 0.35, (0, 90)),
    "up": ((0.4, -0.2, 1.0), 0.4, (0, 100)),
    "hip": ((0.75, 0.15, -0.85), 0.12, (75, 110)),
    "face": ((0.3, -0.75, -0.6), 0.25, (115, 150)),
    "crossed": ((0.3, -0.5, -1.0), 0.1, (85, 110)),
    "lap": ((0.25, -0.45, -1.0), 0.15, (35, 85)),
    "any": ((0.5, -0.4, -0.2), 1.0, (0, 145)),
}

# Twist of the upper arm about its own axis, so that the forearm folds inwards, outwards or up.
_ARM_TWISTS: dict[str, Range] = {"hip": (50, 80), "crossed": (45, 75), "lap": (10, 45), "face": (-10, 35)}


@dataclass(frozen=True)
class Pose:
    """Hold the joint rotations of one person.

    Args:
        rotations: (J, 3, 3) float32, relative to the parent, in the rest pose's axes.
        activity: name in ACTIVITIES.
        actions: (A,) strengths of the facial actions.
    """

    rotations: np.ndarray
    activity: str
    actions: np.ndarray = field(repr=False)


def sample_pose(body: Body, generator: np.random.Generator) -> Pose:
    """Draw a random pose.

    Args:
        body: the model.
        generator: source of randomness.

    Returns:
        The pose; the root's rotation only tells lying from upright.
    """
    names = list(ACTIVITIES)
    shares = np.array([ACTIVITIES[name].share for name in names])
    name = names[generator.choice(len(names), p=shares / shares.sum())]
    activity = ACTIVITIES[name]
    rotations = np.tile(np.eye(3, dtype=np.float32), (len(body.bones), 1, 1))
    _bend_trunk(body, rotations, activity, generator)
    for side in ("L", "R"):
        _move_arm(body, rotations, side, activity, generator)
        _curl_hand(body, rotations, side, generator)
    _move_legs(body, rotations, activity, generator)
    if activity.lies:
        quarter = rotate(np.array([1.0, 0, 0]), generator.choice([-90, 90]) + generator.normal(0, 8))
        rotations[0] = quarter @ rotate(UP, generator.uniform(-180, 180))
    return Pose(rotations, name, _facial_actions(body, generator))


def rotate(axis: np.ndarray, degrees: float) -> np.ndarray:
    """Build a rotation matrix (Rodrigues' formula).

    Args:
        axis: (3,) vector, not zero.
        degrees: angle, counter-clockwise when the axis points at the viewer.

    Returns:
        (3, 3) float32.
    """
    x, y, z = axis / np.linalg.norm(axis)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    angle = np.radians(degrees)
    return (np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross).astype(np.float32)


def _turn_to(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    source, target = source / np.linalg.norm(source), target / np.linalg.norm(target)
    axis = np.cross(source, target)
    if np.linalg.norm(axis) < 1e-6:
        return np.eye(3, dtype=np.float32)
    return rotate(axis, np.degrees(np.arccos(np.clip(source @ target, -1, 1))))


def _bend_trunk(
    body: Body, rotations: np.ndarray, activity: Activity, generator: np.random.Generator
) -> None:
    bend = generator.uniform(*activity.bend)
    lean, twist = generator.normal(0, 6), generator.normal(0, 10)
    spine = [body.bone(f"spine0{number}") for number in (5, 4, 3, 2, 1)]
    for bone in spine:
        turn = rotate(UP, twist / 5) @ rotate(FORWARD, lean / 5) @ rotate(np.array([1.0, 0, 0]), bend / 5)
        rotations[bone] = turn
    nod, tilt, shake = generator.normal(-bend / 3, 12), generator.normal(0, 8), generator.normal(0, 22)
    for name in ("neck01", "neck02", "head"):
        turn = rotate(UP, shake / 3) @ rotate(FORWARD, tilt / 3) @ rotate(np.array([1.0, 0, 0]), nod / 3)
        rotations[body.bone(name)] = turn


def _move_arm(
    body: Body, rotations: np.ndarray, side: str, activity: Activity, generator: np.random.Generator
) -> None:
    way = str(generator.choice(activity.arms))
    mirror = np.array([1.0 if side == "L" else -1.0, 1, 1])
    target, scatter, flexion = _ARM_WAYS[way]
    target = np.asarray(target) / np.linalg.norm(target) + generator.normal(0, scatter, 3) * [0.7, 1, 1]
    if target[0] < -0.2:  # an upper arm doesn't cross the chest by much
        target[0] = -0.2
    heads = body.bones_mean
    shoulder, elbow = heads[body.bone(f"upperarm01.{side}")], heads[body.bone(f"lowerarm01.{side}")]
    wrist = heads[body.bone(f"wrist.{side}")]
    along = (wrist - shoulder) / np.linalg.norm(wrist - shoulder)
    fold = np.cross(along, FORWARD)
    twist = generator.uniform(*_ARM_TWISTS.get(way, (-35, 60))) * mirror[0]
    lift = rotate(FORWARD, mirror[0] * np.clip(target[2], 0, 1) * 20)
    rotations[body.bone(f"clavicle.{side}")] = lift
    turn = lift.T @ _turn_to(elbow - shoulder, target * mirror)
    rotations[body.bone(f"upperarm01.{side}")] = turn @ rotate(along, -twist)
    rotations[body.bone(f"lowerarm01.{side}")] = rotate(fold, generator.uniform(*flexion))
    rotations[body.bone(f"lowerarm02.{side}")] = rotate(along, mirror[0] * generator.uniform(-70, 70))
    across = np.cross(along, FORWARD)
    rotations[body.bone(f"wrist.{side}")] = rotate(across, generator.normal(0, 18)) @ rotate(
        FORWARD, generator.normal(0, 10)
    )


def _curl_hand(body: Body, rotations: np.ndarray, side: str, generator: np.random.Generator) -> None:
    heads = body.bones_mean
    wrist = heads[body.bone(f"wrist.{side}")]
    index, pinky = heads[body.bone(f"finger2-1.{side}")], heads[body.bone(f"finger5-1.{side}")]
    along = (index + pinky) / 2 - wrist
    across = index - pinky
    palm = np.cross(along, across) * (1 if side == "R" else -1)  # points out of the palm
    axis = np.cross(along, palm)
    curl = generator.choice([generator.uniform(0, 15), generator.uniform(5, 45), generator.uniform(45, 85)])
    for finger in range(2, 6):
        own = np.clip(curl + generator.normal(0, 12), -8, 90)
        fan = rotate(palm, generator.normal(0, 4))
        for joint in (1, 2, 3):
            turn = rotate(axis, own * (0.9 if joint != 3 else 0.7))
            rotations[body.bone(f"finger{finger}-{joint}.{side}")] = turn @ fan if joint == 1 else turn
    for joint in (1, 2, 3):
        rotations[body.bone(f"finger1-{joint}.{side}")] = rotate(axis, generator.uniform(-5, 25)) @ rotate(
            along, generator.normal(0, 8)
        )


def _move_legs(body: Body, rotations: np.ndarray, activity: Activity, generator: np.random.Generator) -> None:
    side_axis = np.array([1.0, 0, 0])
    hip, knee = generator.uniform(*activity.hip), generator.uniform(*activity.knee)
    stride = generator.uniform(*activity.stride) * generator.choice([-0.5, 0.5])
    for side, sign in (("L", 1), ("R", -1)):
        flexion = hip + sign * stride + generator.normal(0, 4)
        spread = generator.uniform(*activity.spread)
        own_knee = max(knee + generator.normal(0, 6) + max(-sign * stride, 0) * 0.6, 0)
        turn = rotate(FORWARD, sign * spread) @ rotate(side_axis, -flexion)
        rotations[body.bone(f"upperleg01.{side}")] = turn @ rotate(UP, sign * generator.normal(6, 10))
        rotations[body.bone(f"lowerleg01.{side}")] = rotate(side_axis, own_knee)
        rotations[body.bone(f"foot.{side}")] = rotate(side_axis, generator.normal(0, 12)) @ rotate(
            UP, generator.normal(0, 6)
        )


def _facial_actions(body: Body, generator: np.random.Generator) -> np.ndarray:
    strengths = np.zeros(len(body.action_names), np.float32)
    for name, chance, most in (
        ("jawOpen", 0.3, 0.8),
        ("browInnerUp", 0.2, 1.0),
        ("mouthPucker", 0.08, 0.8),
        ("mouthFunnel", 0.08, 0.7),
        ("tongueOut", 0.0, 0.0),
    ):
        if generator.random() < chance:
            strengths[body.action_names.index(name)] = generator.uniform(0, most)
    for pair, chance, most in (
        ("mouthSmile", 0.5, 0.9),
        ("eyeBlink", 0.15, 1.0),
        ("eyeSquint", 0.2, 0.8),
        ("browDown", 0.15, 0.8),
        ("browOuterUp", 0.15, 0.8),
        ("mouthUpperUp", 0.15, 0.7),
        ("mouthLowerDown", 0.15, 0.7),
        ("mouthFrown", 0.1, 0.7),
        ("cheekSquint", 0.2, 0.7),
    ):
        if generator.random() < chance:
            strength = generator.uniform(0, most)
            for side in ("Left", "Right"):
                strengths[body.action_names.index(pair + side)] = strength * generator.uniform(0.8, 1)
    return strengths
