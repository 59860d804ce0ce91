"""What a person wears: random outfits, and which of the 28 classes every point of the body then shows."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from sapiens_demo.training.body import Body
from sapiens_demo.training.keypoint_table import (
    LOWER_OUTER_LIP,
    UPPER_INNER_LIP,
    UPPER_OUTER_LIP,
)
from sapiens_demo.vocabulary import PARTS

CLASS = {part.name: part.id for part in PARTS}

_LIMBS = {
    "Left_Upper_Arm": ("upperarm01.L", "upperarm02.L"),
    "Right_Upper_Arm": ("upperarm01.R", "upperarm02.R"),
    "Left_Lower_Arm": ("lowerarm01.L", "lowerarm02.L"),
    "Right_Lower_Arm": ("lowerarm01.R", "lowerarm02.R"),
    "Left_Upper_Leg": ("upperleg01.L", "upperleg02.L"),
    "Right_Upper_Leg": ("upperleg01.R", "upperleg02.R"),
    "Left_Lower_Leg": ("lowerleg01.L", "lowerleg02.L"),
    "Right_Lower_Leg": ("lowerleg01.R", "lowerleg02.R"),
}
_LAYER_CLASSES = {
    "tongue": "Tongue",
    "left_eye": "Face_Neck",
    "right_eye": "Face_Neck",
    "lower_teeth": "Lower_Teeth",
    "upper_teeth": "Upper_Teeth",
    "skirt": "Lower_Clothing",
    "hair": "Hair",
}


@dataclass(frozen=True)
class Anatomy:
    """Hold what every vertex is, before clothes.

    Args:
        classes: (V,) uint8, bare class of the vertex.
        arm: (V,) float32, place along the arm: 0 shoulder, 0.5 elbow, 1 wrist; -1 elsewhere.
        leg: (V,) float32, place along the leg: 0 hip, 0.5 knee, 1 ankle; -1 elsewhere.
        head: (V,) bool, head and neck of the body layer.
        layers: (V,) uint8, index of the vertex's layer.
        place: (V, 3) float32, position in the average rest shape, in metres.
    """

    classes: np.ndarray
    arm: np.ndarray
    leg: np.ndarray
    head: np.ndarray
    layers: np.ndarray
    place: np.ndarray


@dataclass(frozen=True)
class Outfit:
    """Describe what a person wears; limb lengths are places along the limb, as in Anatomy.

    Args:
        top: wears something on the trunk.
        sleeve: where the sleeves end; negative for none.
        top_hem: height of the top's lower edge in the rest shape, metres.
        neck_radius: radius of the neckline, metres.
        bottom_leg: where trousers or shorts end on the legs.
        bottom_waist: height of the lower garment's upper edge, metres.
        skirt_hem: height of the skirt's lower edge; None without a skirt.
        dress: the skirt belongs to the top.
        shoes: wears shoes.
        sock: where the socks end on the legs; 1 for none.
        hat: height above which a hat covers the head; None without.
        glasses: wears glasses.
        scarf: wears a scarf.
        gloves: wears gloves.
        hairline: height of the hair above the forehead; None for a bald head.
        long_hair: height down to which long hair falls; None for short hair.
        beard: strength of the beard, 0 to 1.
        top_looseness, bottom_looseness, hair_thickness: distance from the skin, metres.
    """

    top: bool
    sleeve: float
    top_hem: float
    neck_radius: float
    bottom_leg: float
    bottom_waist: float
    skirt_hem: float | None
    dress: bool
    shoes: bool
    sock: float
    hat: float | None
    glasses: bool
    scarf: bool
    gloves: bool
    hairline: float | None
    long_hair: float | None
    beard: float
    top_looseness: float
    bottom_looseness: float
    hair_thickness: float


def sample_outfit(male: float, generator: np.random.Generator) -> Outfit:
    """Draw random clothes and hair.

    Args:
        male: 0 for a female body to 1 for a male one.
        generator: source of randomness.

    Returns:
        The outfit. The lower trunk is always covered, the chest of female bodies too.
    """
    chance = generator.random
    skirt = chance() < 0.28 * (1 - male)
    hat = chance() < 0.16
    bald = chance() < 0.1 * male
    return Outfit(
        top=not (male > 0.6 and chance() < 0.05),
        sleeve=float(
            generator.choice(
                [-1.0, generator.uniform(0.12, 0.45), generator.uniform(0.85, 1.0)], p=[0.14, 0.41, 0.45]
            )
        ),
        top_hem=generator.uniform(-0.03, 0.17),
        neck_radius=generator.uniform(0.055, 0.12),
        bottom_leg=float(
            generator.choice([generator.uniform(0.12, 0.5), generator.uniform(0.85, 1.0)], p=[0.3, 0.7])
        ),
        bottom_waist=generator.uniform(0.1, 0.21),
        skirt_hem=generator.uniform(-0.65, -0.2) if skirt else None,
        dress=skirt and chance() < 0.5,
        shoes=chance() < 0.85,
        sock=generator.uniform(0.75, 0.97) if chance() < 0.4 else 1.0,
        hat=generator.uniform(0.835, 0.86) if hat else None,
        glasses=chance() < 0.14,
        scarf=chance() < 0.06,
        gloves=chance() < 0.07,
        hairline=None if bald else generator.uniform(0.835, 0.87),
        long_hair=generator.uniform(0.45, 0.72) if not bald and chance() < 0.65 - 0.55 * male else None,
        beard=generator.uniform(0.3, 1) if male > 0.6 and chance() < 0.35 else 0.0,
        top_looseness=generator.uniform(0.002, 0.022),
        bottom_looseness=generator.uniform(0.002, 0.018),
        hair_thickness=generator.uniform(0.004, 0.028),
    )


@lru_cache(maxsize=1)
def anatomy(body: Body) -> Anatomy:
    """Work out what every vertex of the body is.

    Args:
        body: the model (kept by identity).

    Returns:
        The anatomy of its vertices.
    """
    strongest = np.array(body.bones, dtype=object)[body.influences[:, 0]]
    classes = np.full(len(strongest), CLASS["Torso"], np.uint8)
    for index, bone in enumerate(strongest):
        classes[index] = _bone_class(str(bone))
    layers = np.zeros(len(strongest), np.uint8)
    for number, layer in enumerate(body.layers):
        layers[body.layer_slices[layer]] = number
        if layer in _LAYER_CLASSES:
            classes[body.layer_slices[layer]] = CLASS[_LAYER_CLASSES[layer]]
    return Anatomy(
        classes=classes,
        arm=_along_limb(body, classes, "Arm", ("upperarm01", "lowerarm01", "wrist")),
        leg=_along_limb(body, classes, "Leg", ("upperleg01", "lowerleg01", "foot")),
        head=(classes == CLASS["Face_Neck"]) & (layers == 0),
        layers=layers,
        place=body.mean,
    )


def _bone_class(bone: str) -> int:
    side = "Left" if bone.endswith(".L") else "Right"
    for name, bones in _LIMBS.items():
        if bone in bones:
            return CLASS[name]
    if bone.startswith(("wrist", "metacarpal", "finger")):
        return CLASS[f"{side}_Hand"]
    if bone.startswith(("foot", "toe")):
        return CLASS[f"{side}_Foot"]
    if bone.startswith(("neck", "head", "eye")):
        return CLASS["Face_Neck"]
    return CLASS["Torso"]


def _along_limb(body: Body, classes: np.ndarray, word: str, joints: tuple[str, str, str]) -> np.ndarray:
    place = np.full(len(classes), -1, np.float32)
    for side, letter in (("Left", "L"), ("Right", "R")):
        ends = [body.bones_mean[body.bone(f"{joint}.{letter}")] for joint in joints]
        for half, name in enumerate((f"{side}_Upper_{word}", f"{side}_Lower_{word}")):
            own = classes == CLASS[name]
            axis = ends[half + 1] - ends[half]
            share = (body.mean[own] - ends[half]) @ axis / (axis @ axis)
            place[own] = half / 2 + np.clip(share, 0, 1) / 2
    return place


def dressed_classes(outfit: Outfit, points: Anatomy) -> np.ndarray:
    """Tell which class shows at given points of a dressed person.

    Args:
        outfit: what the person wears.
        points: the anatomy of the points: of all vertices, or interpolated at pixels.

    Returns:
        (N,) uint8 classes.
    """
    classes = points.classes.copy()
    bare = points.classes
    height = points.place[:, 2]
    on_body = points.layers == 0
    side_of = {"Left": points.place[:, 0] > 0, "Right": points.place[:, 0] <= 0}
    _paint_head(classes, outfit, points, on_body)
    trunk = on_body & (bare == CLASS["Torso"])
    legs = on_body & (points.leg >= 0)
    _paint_feet(classes, outfit, points, on_body, side_of)
    classes[trunk & (height < outfit.bottom_waist)] = CLASS["Lower_Clothing"]
    classes[legs & (points.leg < max(outfit.bottom_leg, 0.1))] = CLASS["Lower_Clothing"]
    if outfit.top:
        neck = np.hypot(points.place[:, 0], points.place[:, 1] + 0.02)
        collar = (neck < outfit.neck_radius) & (height > 0.54)
        classes[trunk & (height > outfit.top_hem) & ~collar] = CLASS["Upper_Clothing"]
        classes[on_body & (points.arm >= 0) & (points.arm < outfit.sleeve)] = CLASS["Upper_Clothing"]
    if outfit.gloves:
        classes[on_body & np.isin(bare, (CLASS["Left_Hand"], CLASS["Right_Hand"]))] = CLASS["Apparel"]
    if outfit.dress:
        classes[(points.layers == 6) | (trunk & (height < outfit.bottom_waist))] = CLASS["Upper_Clothing"]
    return classes


def hidden_points(outfit: Outfit, points: Anatomy) -> np.ndarray:
    """Tell which points of the skirt and hair layers this outfit leaves out.

    Args:
        outfit: what the person wears.
        points: the anatomy of the points.

    Returns:
        (N,) bool.
    """
    height = points.place[:, 2]
    skirt, hair = points.layers == 6, points.layers == 7
    no_skirt = skirt if outfit.skirt_hem is None else skirt & (height < outfit.skirt_hem)
    no_hair = hair if outfit.long_hair is None else hair & (height < outfit.long_hair)
    no_hair |= (
        hair & (points.place[:, 1] < -0.075) & (height < 0.84)
    )  # the helper's fringe would cover the face
    return no_skirt | no_hair


def _paint_head(classes: np.ndarray, outfit: Outfit, points: Anatomy, on_body: np.ndarray) -> None:
    x, y, z = points.place.T * 1000  # mm
    face = on_body & points.head
    front = face & (y < -95) & (np.abs(x) < 26) & (z > 705) & (z < 740)
    upper = (z <= _height(UPPER_OUTER_LIP, x)) & (z >= _height(UPPER_INNER_LIP, x) - 1.5)
    lower = (z >= _height(LOWER_OUTER_LIP, x)) & (z < _height(UPPER_INNER_LIP, x) - 1.5)
    inside = np.abs(x) < 23.5
    classes[front & inside & upper] = CLASS["Upper_Lip"]
    classes[front & inside & lower] = CLASS["Lower_Lip"]
    if outfit.hairline is not None:
        classes[face & is_scalp(points.place, outfit.hairline)] = CLASS["Hair"]
    if outfit.hat is not None:
        classes[face & (points.place[:, 2] > outfit.hat + 0.12 * (points.place[:, 1] + 0.05) * -0.3)] = CLASS[
            "Apparel"
        ]
    if outfit.scarf:
        classes[face & (points.place[:, 2] < 0.7)] = CLASS["Apparel"]


def is_scalp(place: np.ndarray, hairline: float) -> np.ndarray:
    """Tell which points of the head carry hair.

    Args:
        place: (N, 3) positions in the average rest shape, metres.
        hairline: height of the hair above the forehead.

    Returns:
        (N,) bool.
    """
    x, y, z = place.T
    ear = (np.abs(x) > 0.068) & (np.abs(y + 0.048) < 0.022) & (z > 0.742) & (z < 0.806)
    temple = np.interp(
        y, [-0.16, -0.11, -0.06, -0.035, 0.0, 0.08], [hairline, hairline - 0.01, 0.79, 0.755, 0.71, 0.69]
    )
    return (z > temple) & ~ear


def _paint_feet(
    classes, outfit: Outfit, points: Anatomy, on_body: np.ndarray, side_of: dict[str, np.ndarray]
) -> None:
    for side, here in side_of.items():
        foot = on_body & here & np.isin(points.classes, (CLASS["Left_Foot"], CLASS["Right_Foot"]))
        if outfit.sock < 1:
            classes[foot | (on_body & here & (points.leg > outfit.sock))] = CLASS[f"{side}_Sock"]
        if outfit.shoes:
            classes[foot] = CLASS[f"{side}_Shoe"]


def _height(curve, x: np.ndarray) -> np.ndarray:
    points = np.asarray(curve, float)
    return np.interp(x, points[:, 0], points[:, 1])
