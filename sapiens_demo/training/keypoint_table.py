"""Say where on the body each of the 308 keypoints sits, and write it as a table.

Body and finger joints are joints of the rig. The points of the face were read off orthographic pictures of
the average head, in millimetres; every point is then fixed to the triangle it falls on. The fine points of
ears, lids and lips are spread along such curves by their names: they are plausible, not anatomical survey
points. Run: python -m sapiens_demo.training.keypoint_table
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from sapiens_demo.training.body import Body, load_body
from sapiens_demo.training.rasterize import Fragments, rasterize
from sapiens_demo.vocabulary import COCO_BODY_IDS, KEYPOINTS

KEYPOINT_FILE = Path(__file__).with_name("keypoints.csv")

_PIXELS_PER_METRE = 6000.0
_VIEW_SIZE = 1600  # pixels
_FRONT_CENTER = (0.0, 0.765)  # x, z in metres
_SIDE_CENTER = (-0.05, 0.775)  # y, z in metres

# Fractions of a curve's length, from the picture's left to its right, for "midpoint n" in a name.
_EIGHTHS = {"3": 0.125, "1": 0.25, "4": 0.375, "center": 0.5, "5": 0.625, "2": 0.75, "6": 0.875}
_QUARTERS = {"2": 0.25, "1": 0.5, "3": 0.75}

# Curves of the person's left eye and brow: (x, z) in mm from the inner to the outer end.
_UPPER_LASH = (
    (16.5, 792.5),
    (20, 795.5),
    (25, 798.3),
    (31.5, 799.3),
    (38, 798.3),
    (42.5, 796.3),
    (45.5, 794.5),
)
_LOWER_LASH = (
    (16.5, 792.3),
    (20, 790.8),
    (25, 789.8),
    (31.5, 789.5),
    (38, 790.2),
    (42.5, 792.5),
    (45.5, 794.3),
)
UPPER_BROW = ((14, 811.5), (22, 814.5), (30, 816.5), (40, 815), (50, 808))
LOWER_BROW = ((14, 806.5), (22, 809.5), (30, 811.5), (40, 811), (50, 808))

# Curves of the mouth, from the person's right corner to the left one.
UPPER_OUTER_LIP = (
    (-23.5, 724.5),
    (-18, 729),
    (-12, 733),
    (-5, 735),
    (0, 733.3),
    (5, 735),
    (12, 733),
    (18, 729),
    (23.5, 724.5),
)
LOWER_OUTER_LIP = (
    (-23.5, 724.5),
    (-18, 717.5),
    (-12, 713),
    (-6, 711.3),
    (0, 711),
    (6, 711.3),
    (12, 713),
    (18, 717.5),
    (23.5, 724.5),
)
UPPER_INNER_LIP = ((-21.5, 725.5), (-10, 727.8), (0, 727.5), (10, 727.8), (21.5, 725.5))
LOWER_INNER_LIP = ((-21.5, 724.5), (-10, 722.8), (0, 722.5), (10, 722.8), (21.5, 724.5))

_FACE_POINTS = {
    "center_of_glabella": (0, 808),
    "center_of_nose_root": (0, 799),
    "midpoint_2_of_nose_bridge": (0, 791),
    "midpoint_1_of_nose_bridge": (0, 783),
    "midpoint_3_of_nose_bridge": (0, 775),
    "tip_of_nose_bridge": (0, 768),
    "tip_of_nose": (0, 759),
    "bottom_center_of_nose": (0, 748.5),
    "l_outer_corner_of_nose": (17.3, 757),
    "inner_corner_of_l_nostril": (5.5, 752.5),
    "outer_corner_of_l_nostril": (13.5, 752.8),
    "upper_corner_of_l_nostril": (9.5, 754),
    "center_of_labiomental_groove": (0, 706),
    "tip_of_chin": (0, 691),
    "l_outer_corner_of_mouth": (23.5, 724.5),
    "l_inner_corner_of_mouth": (21.5, 725),
}

# The left ear in the side view: (y, z) in mm.
_EAR_POINTS = {
    "top_end_of_inferior_crus": (-55, 784),
    "top_end_of_superior_crus": (-47, 790.5),
    "start_of_antihelix": (-44, 786),
    "end_of_antihelix": (-48, 760.5),
    "midpoint_1_of_antihelix": (-41, 780),
    "midpoint_1_of_inferior_crus": (-49, 782.5),
    "midpoint_2_of_antihelix": (-40.5, 772),
    "midpoint_3_of_antihelix": (-43.5, 765),
    "point_1_of_inner_helix": (-56, 789),
    "point_2_of_inner_helix": (-51.5, 793),
    "point_3_of_inner_helix": (-46, 795),
    "point_4_of_inner_helix": (-40, 793),
    "point_5_of_inner_helix": (-36.5, 787),
    "point_6_of_inner_helix": (-35, 779),
    "point_7_of_inner_helix": (-36, 771),
    "point_8_of_inner_helix": (-40, 763.5),
    "highest_point_of_antitragus": (-51.5, 761),
    "bottom_point_of_tragus": (-56.5, 760.5),
    "protruding_point_of_tragus": (-57.5, 766),
    "top_point_of_tragus": (-57.5, 771.5),
    "start_point_of_crus_of_helix": (-56, 777),
    "deepest_point_of_concha": (-50, 769),
    "tip_of_ear_lobe": (-52.5, 748),
    "midpoint_between_22_15": (-45, 757),
    "bottom_connecting_point_of_ear_lobe": (-60, 750),
    "top_connecting_point_of_helix": (-58.5, 783),
}

_EYE_CENTER = (30.3, 795.9)
_IRIS_RADIUS = 5.6
_PUPIL_RADIUS = 2.3
# Clock positions as seen in the picture: (right, up).
_CLOCK = {
    "3": (1, 0),
    "midpoint_1": (0.707, 0.707),
    "12": (0, 1),
    "midpoint_4": (-0.707, 0.707),
    "9": (-1, 0),
    "midpoint_3": (-0.707, -0.707),
    "6": (0, -1),
    "midpoint_2": (0.707, -0.707),
}

_FINGERS = {"thumb": 1, "forefinger": 2, "middle_finger": 3, "ring_finger": 4, "pinky_finger": 5}
_FINGER_JOINTS = {"3": 3, "2": 2, "_third_joint": 1}

# Points of arm and shoulder that show on the skin: their joint, and direction from it (x for the left arm).
_SKIN_POINTS = {
    "left_olecranon": ("lowerarm01.L", (0.3, 1.0, 0.0)),
    "left_cubital_fossa": ("lowerarm01.L", (-0.3, -1.0, 0.0)),
    "left_acromion": ("upperarm01.L", (0.15, 0.2, 1.0)),
}


def write_table(path: Path) -> None:
    """Write the table of keypoint positions.

    Args:
        path: file to write (.csv): id, name, and the source: `joint NAME`, `bone NAME`, or `surface` with
            three vertices and their weights.
    """
    sources = keypoint_sources(load_body())
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["id", "name", "source"])
        for keypoint in KEYPOINTS:
            writer.writerow([keypoint.id, keypoint.name, sources[keypoint.id]])


def keypoint_sources(body: Body) -> dict[int, str]:
    """Find the place of every keypoint.

    Args:
        body: the body model.

    Returns:
        Keypoint id to its source, as written in the table.
    """
    front, side = _orthographic_views(body)
    left = {
        **_joint_sources(body),
        **_hand_sources(body),
        **{name: _pick(body, front, _FRONT_CENTER, point) for name, point in _face_targets().items()},
        **{f"l_{name}": _pick(body, side, _SIDE_CENTER, point) for name, point in _EAR_POINTS.items()},
        **{name: _nearest_skin(body, bone, way) for name, (bone, way) in _SKIN_POINTS.items()},
    }
    ids = {keypoint.name: keypoint.id for keypoint in KEYPOINTS}
    sources = {ids[name]: source for name, source in left.items()}
    mirror = _mirror_vertices(body)
    for keypoint in KEYPOINTS:
        if keypoint.id not in sources:
            sources[keypoint.id] = _mirrored(sources[keypoint.swap_id], mirror)
    return sources


def _joint_sources(body: Body) -> dict[str, str]:
    names = {KEYPOINTS[i].name for i in COCO_BODY_IDS} | {k.name for k in KEYPOINTS if k.group == "foot"}
    return {**{name: f"joint {name}" for name in names}, "neck": "bone neck01"}


def _hand_sources(body: Body) -> dict[str, str]:
    sources = {}
    for finger, number in _FINGERS.items():
        for suffix, joint in _FINGER_JOINTS.items():
            sources[f"left_{finger}{suffix}"] = f"bone finger{number}-{joint}.L"
        last = body.bone(f"finger{number}-3.L")
        own = np.flatnonzero((body.influences[:, 0] == last) & (body.weights[:, 0] > 0.9))
        along = body.bones_mean[last] - body.bones_mean[body.bone(f"finger{number}-2.L")]
        tip = own[np.argsort((body.mean[own] - body.bones_mean[last]) @ along)[-3:]]
        sources[f"left_{finger}4"] = _surface(tip, np.full(3, 1 / 3))
    return sources


def _face_targets() -> dict[str, tuple[float, float]]:
    targets = dict(_FACE_POINTS)
    for place, curve in (("upper", _UPPER_LASH), ("lower", _LOWER_LASH)):
        targets[f"l_inner_end_of_{place}_lash_line"] = curve[0]
        targets[f"l_outer_end_of_{place}_lash_line"] = curve[-1]
        sign = 1 if place == "upper" else -1
        lines = (
            {"lash": 0.3, "eyelid": 2.0, "crease": 4.5} if place == "upper" else {"lash": 0.3, "eyelid": 2.5}
        )
        for line, offset in lines.items():
            shifted = [(x, z + sign * offset) for x, z in curve]
            if line == "eyelid":
                targets[f"l_outer_end_of_{place}_eyelid_line"] = (curve[-1][0] + 2.0, curve[-1][1])
            for number, fraction in _EIGHTHS.items():
                word = "centerpoint" if number == "center" else f"midpoint_{number}"
                targets[f"l_{word}_of_{place}_{line}_line"] = _along(shifted, fraction)
    for place, curve in (("upper", UPPER_BROW), ("lower", LOWER_BROW)):
        targets[f"{place}_startpoint_of_l_eyebrow"] = curve[0]
        for number, fraction in _QUARTERS.items():
            targets[f"{place}_midpoint_{number}_of_l_eyebrow"] = _along(curve, fraction)
    targets["end_of_l_eyebrow"] = UPPER_BROW[-1]
    return targets | _mouth_targets() | _iris_targets()


def _mouth_targets() -> dict[str, tuple[float, float]]:
    targets = {}
    curves = {
        "upper_outer": UPPER_OUTER_LIP,
        "lower_outer": LOWER_OUTER_LIP,
        "upper_inner": UPPER_INNER_LIP,
        "lower_inner": LOWER_INNER_LIP,
    }
    for name, curve in curves.items():
        for number, fraction in _EIGHTHS.items():
            word = f"center_of_{name}_lip" if number == "center" else f"midpoint_{number}_of_{name}_lip"
            targets["center_of_cupid_bow" if word == "center_of_upper_outer_lip" else word] = _along(
                curve, fraction
            )
    return targets


def _iris_targets() -> dict[str, tuple[float, float]]:
    targets = {}
    for ring, radius in (("iris", _IRIS_RADIUS), ("pupil", _PUPIL_RADIUS)):
        targets[f"l_center_of_{ring}"] = _EYE_CENTER
        for hour, (right, up) in _CLOCK.items():
            targets[f"l_border_of_{ring}_{hour}"] = (
                _EYE_CENTER[0] + radius * right,
                _EYE_CENTER[1] + radius * up,
            )
    return targets


def _along(curve, fraction: float) -> tuple[float, float]:
    points = np.asarray(curve, float)
    lengths = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))])
    at = fraction * lengths[-1]
    return float(np.interp(at, lengths, points[:, 0])), float(np.interp(at, lengths, points[:, 1]))


def _orthographic_views(body: Body) -> tuple[Fragments, Fragments]:
    wanted = [body.layers.index(name) for name in ("body", "left_eye", "right_eye")]
    faces = np.where(np.isin(body.face_layers, wanted)[:, None], body.faces, 0)
    x, y, z = body.mean.T
    front = _orthographic(faces, x, z, y, _FRONT_CENTER)
    side = _orthographic(faces, y, z, -x, _SIDE_CENTER)
    return front, side


def _orthographic(faces, across, up, away, center) -> Fragments:
    half = _VIEW_SIZE / 2
    points = np.stack(
        [
            (across - center[0]) * _PIXELS_PER_METRE + half,
            half - (up - center[1]) * _PIXELS_PER_METRE,
            away + 1e3,  # far away, so that perspective correction has no effect
        ],
        axis=1,
    )
    # A depth near 1e3 leaves float32 a step of 0.06 mm, finer than the mesh.
    return rasterize(points, faces, _VIEW_SIZE, _VIEW_SIZE)


def _pick(body: Body, view: Fragments, center, point_mm) -> str:
    column = round((point_mm[0] / 1000 - center[0]) * _PIXELS_PER_METRE + _VIEW_SIZE / 2)
    row = round(_VIEW_SIZE / 2 - (point_mm[1] / 1000 - center[1]) * _PIXELS_PER_METRE)
    triangle = view.triangle[row, column]
    if triangle < 0:
        raise ValueError(f"The point {point_mm} falls beside the body.")
    return _surface(body.faces[triangle], view.barycentric[row, column])


def _nearest_skin(body: Body, bone: str, way) -> str:
    joint = body.bones_mean[body.bone(bone)]
    way = np.asarray(way) / np.linalg.norm(way)
    skin = np.arange(body.layer_slices["body"].stop)
    offset = body.mean[skin] - joint
    along = offset @ way
    aside = np.linalg.norm(offset - along[:, None] * way, axis=1)
    near = (along > 0) & (np.linalg.norm(offset, axis=1) < 0.12)
    best = skin[near][np.argsort(aside[near])[:3]]
    return _surface(best, np.full(3, 1 / 3))


def _surface(vertices, weights) -> str:
    numbers = " ".join(str(int(v)) for v in vertices)
    return f"surface {numbers} " + " ".join(f"{w:.4f}" for w in weights)


def _mirror_vertices(body: Body) -> np.ndarray:
    mirrored = body.mean * np.array([-1, 1, 1], np.float32)
    partner = np.empty(len(body.mean), np.int64)
    pairs = {"left_eye": "right_eye", "right_eye": "left_eye"}
    for layer, own in body.layer_slices.items():
        other = body.layer_slices[pairs.get(layer, layer)]
        for start in range(own.start, own.stop, 1000):
            stop = min(start + 1000, own.stop)
            distance = ((mirrored[start:stop, None] - body.mean[None, other]) ** 2).sum(2)
            partner[start:stop] = other.start + distance.argmin(1)
    return partner


def _mirrored(source: str, mirror: np.ndarray) -> str:
    kind, *rest = source.split()
    if kind == "surface":
        return _surface(mirror[[int(v) for v in rest[:3]]], [float(w) for w in rest[3:]])
    return f"{kind} " + " ".join(rest).replace("left_", "right_").replace(".L", ".R")


if __name__ == "__main__":
    write_table(KEYPOINT_FILE)
