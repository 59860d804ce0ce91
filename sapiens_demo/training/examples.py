"""The example pictures of the page: people made by computer, composed and lit by hand."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from sapiens_demo.training import wardrobe
from sapiens_demo.training.backdrops import Park, Room, Street, Studio, Thing, plant, shelf, sofa, stool
from sapiens_demo.training.body import load_body
from sapiens_demo.training.figures import Arm, Figure, Leg, Stance, make_figure
from sapiens_demo.training.lighting import Light
from sapiens_demo.training.looks import Cloth, Eyes, Hair, Look, Plain, Shoe, Skin
from sapiens_demo.training.meshes import Mesh, with_normals
from sapiens_demo.training.pictures import Shot, draw, enlarged
from sapiens_demo.training.scene import Camera
from sapiens_demo.training.wardrobe import Garment

QUALITY = 90
_TALL, _WIDE = (1600, 1200), (1200, 1600)  # (H, W) pixels

Worn = tuple[Garment, Look]


@dataclass(frozen=True)
class Example:
    """Describe an example: its file, a title, a text for people who don't see it, and how to compose it."""

    file: str
    title: str
    alt: str
    compose: Callable[[], Shot]


def write_examples(out: Path, only: str | None = None, scale: float = 1.0) -> None:
    """Draw the example pictures and write them with their list.

    Args:
        out: folder to write to.
        only: name of one file to draw; all by default.
        scale: size relative to the pictures that ship.
    """
    out.mkdir(parents=True, exist_ok=True)
    for example in EXAMPLES:
        if only in (None, example.file):
            image = draw_example(example, scale)
            cv2.imwrite(str(out / example.file), image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
            print(example.file, f"{(out / example.file).stat().st_size / 1000:.0f} kB", flush=True)
    rows = [{"file": each.file, "title": each.title, "alt": each.alt} for each in EXAMPLES]
    (out / "examples.json").write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")


def draw_example(example: Example, scale: float = 1.0) -> np.ndarray:
    """Draw one example, (H, W, 3) uint8 RGB."""
    shot = example.compose()
    camera = enlarged(shot.camera, scale)
    return draw(
        Shot(shot.people, shot.backdrop, shot.light, camera, shot.focus, shot.aperture, shot.exposure)
    )


def dressed(
    figure: Figure, skin: Skin, eyes: Eyes, worn: list[Worn], shoe: Shoe | None = None
) -> list[Thing]:
    """Put skin, eyes, clothes and hair on a figure.

    Args:
        figure: the posed body.
        skin, eyes: their looks.
        worn: layers of cloth and hair.
        shoe: what both shoes look like; None for bare feet.
    """
    layers = load_body().layers
    whole = with_normals(figure.vertices, figure.faces, figure.place)
    levels = [garment.level for garment, _ in worn] + ([wardrobe.inside_shoe] if shoe else [])
    things: list[Thing] = [(with_normals(*wardrobe.bare(figure, levels)), skin)]
    looks = {
        "left_eye": eyes,
        "right_eye": eyes,
        "tongue": Plain((170, 84, 84)),
        "upper_teeth": Plain((232, 226, 214), 0.06),
    }
    for layer, look in looks.items():
        things.append((whole.part(figure.layers == layers.index(layer)), look))
    things.append((whole.part(figure.layers == layers.index("lower_teeth")), Plain((226, 220, 206), 0.06)))
    things += [(wardrobe.shell(figure, garment), look) for garment, look in worn]
    return things + ([(wardrobe.shoe_mesh(foot), shoe) for foot in figure.feet] if shoe else [])


def look_at(
    target, distance: float, heading: float, pitch: float, view: float, size: tuple[int, int]
) -> Camera:
    """Place a camera.

    Args:
        target: (3,) what is in the picture's middle, metres.
        distance: from it, metres.
        heading: degrees to the right of -y that the camera stands.
        pitch: degrees that it looks down.
        view: angle of view across the picture's longer side, degrees.
        size: (H, W) pixels.
    """
    turn, down = np.radians(heading), np.radians(pitch)
    forward = np.array([-np.sin(turn) * np.cos(down), np.cos(turn) * np.cos(down), -np.sin(down)])
    right = np.array([np.cos(turn), np.sin(turn), 0])
    axes = np.stack([right, np.cross(forward, right), forward])
    focal = max(size) / 2 / np.tan(np.radians(view) / 2)
    return Camera(
        (np.asarray(target) - forward * distance).astype(np.float32), axes.astype(np.float32), focal, size
    )


def raised(things: list[Thing], lift: float) -> list[Thing]:
    """Move pieces up, so that soles rather than bare feet touch the ground."""
    floor, shift = np.array([-np.inf, -np.inf, -lift], np.float32), np.array([0, 0, lift], np.float32)
    return [
        (Mesh(np.maximum(mesh.vertices, floor) + shift, mesh.faces, mesh.place, mesh.normals), look)
        for mesh, look in things
    ]


def _hair(hairline: float, nape: float, volume: float) -> Garment:
    return Garment(wardrobe.scalp(hairline, nape), volume, 8, 0.002, 0.0, taper=0.03, fineness=1)


def _curly(hairline: float, nape: float, volume: float) -> Garment:
    return Garment(
        wardrobe.scalp(hairline, nape),
        volume,
        8,
        0.006,
        0.0,
        taper=0.035,
        wrinkles=wardrobe.curls,
        fineness=1,
    )


_SMILE = {"mouthSmile": 0.75, "cheekSquint": 0.3, "eyeSquint": 0.12}
_SUN = Light(
    (-0.55, -0.75, 0.75), (2.3, 2.1, 1.8), 3.5, (0.62, 0.78, 1.0), (0.62, 0.66, 0.68), (0.36, 0.35, 0.26)
)


def _summer_path() -> Shot:
    stance = Stance(
        left_arm=Arm((0.2, 0.04, -1), 12, 12, curl=18),
        right_arm=Arm((0.6, 0.35, -0.75), 95, 75, wrist=30, curl=24),
        left_leg=Leg(2, 3, -4, 8),
        right_leg=Leg(-2, 2, -3, 12),
        lean=2,
        twist=-4,
        turn=8,
        tilt=-5,
        face=_SMILE,
    )
    figure = make_figure(283, stance, 8, (0, 0))
    worn = [
        (
            Garment(wardrobe.top(0.04, 0.36), 0.012, 80, 0.005, flare=wardrobe.loose_hem(0.04, 0.014)),
            Cloth((214, 112, 88), weave=0.06),
        ),
        (
            Garment(wardrobe.bottom(0.065, 0.965), 0.009, 24, 0.005, flare=wardrobe.straight_legs(0.018)),
            Cloth((66, 88, 122), fade=0.6, weave=0.14),
        ),
        (_hair(0.862, 0.7, 0.016), Hair((72, 46, 32))),
    ]
    people = dressed(
        figure,
        Skin((222, 170, 140), (60, 40, 30), hairline=(0.862, 0.7)),
        Eyes((96, 70, 42)),
        worn,
        Shoe((240, 238, 232), (252, 252, 250)),
    )
    people = raised([*people, (wardrobe.bob(figure, 0.66), Hair((72, 46, 32), long=True))], 0.012)
    camera = look_at((0.02, 0, 0.5 * figure.crown), 2.55 * figure.crown, 0, 3, 30, _TALL)
    return Shot(people, Park(11), _SUN, camera, 4.3, 17, 0.5)


def _old_town() -> Shot:
    stance = Stance(
        left_arm=Arm((0.14, 0.5, -1), 10, 5, curl=28),
        right_arm=Arm((0.14, -0.45, -1), 30, 12, curl=28),
        left_leg=Leg(24, 10, -4, 4, 14),
        right_leg=Leg(-16, 26, -4, 6, -34),
        bend=3,
        twist=8,
        turn=-16,
        face={"mouthSmile": 0.4},
    )
    figure = make_figure(180, stance, 32, (0, 0))
    worn = [
        (Garment(wardrobe.top(0.16, 0.95, 0.078, 0.01), 0.008, 16, 0.004), Cloth((232, 226, 212), rib=0.012)),
        (
            Garment(wardrobe.top(-0.0, 0.93, 0.09, 0.02, opening=0.05), 0.02, 70, 0.006, 0.008),
            Cloth((46, 62, 84), weave=0.1),
        ),
        (
            Garment(wardrobe.bottom(0.18, 0.975), 0.012, 24, 0.006, flare=wardrobe.straight_legs(0.02)),
            Cloth((168, 146, 112), weave=0.07),
        ),
        (_hair(0.872, 0.71, 0.01), Hair((128, 124, 120))),
    ]
    skin = Skin((212, 160, 128), (150, 146, 142), beard=0.85, hairline=(0.872, 0.71))
    people = raised(
        dressed(figure, skin, Eyes((88, 108, 128)), worn, Shoe((104, 66, 42), (58, 44, 36), (70, 46, 32))),
        0.012,
    )
    light = Light(
        (-0.8, -0.55, 0.75), (2.4, 2.05, 1.65), 3, (0.6, 0.75, 1.0), (0.6, 0.62, 0.65), (0.4, 0.37, 0.32)
    )
    camera = look_at((0.03, 0, 0.5 * figure.crown), 2.55 * figure.crown, 0, 2, 30, _TALL)
    return Shot(people, Street(3), light, camera, 4.4, 15, 0.5)


_WINDOW = Light(
    (-1.0, -0.75, 0.55),
    (1.5, 1.35, 1.15),
    9,
    (0.5, 0.49, 0.47),
    (0.5, 0.46, 0.42),
    (0.3, 0.25, 0.2),
    (0.8, 0.85, 0.95),
    (-1, -0.6, 0.3),
)


def _good_news() -> Shot:
    stance = Stance(
        left_arm=Arm((0.62, -0.5, -0.9), 122, -16, roll=50, curl=9, spread=6),
        right_arm=Arm((0.2, 0.0, -1), 88, 42, curl=18),
        twist=-6,
        nod=-3,
        tilt=7,
        turn=6,
        face={
            "mouthSmile": 1.0,
            "cheekSquint": 0.5,
            "eyeSquint": 0.2,
            "mouthUpperUp": 0.35,
            "mouthDimple": 0.3,
            "jawOpen": 0.1,
        },
    )
    figure = make_figure(63, stance, 6, (0, 0))
    worn = [
        (
            Garment(wardrobe.top(0.0, 0.96, 0.0, 0.0, 0.66), 0.012, 60, 0.005, 0.006),
            Cloth((196, 148, 60), rib=0.01, sheen=0.3),
        ),
        (Garment(wardrobe.bottom(0.03, 0.96), 0.008, 12), Cloth((60, 60, 70))),
        (_curly(0.862, 0.69, 0.05), Hair((30, 22, 18), curls=1.0)),
    ]
    people = dressed(
        figure,
        Skin((126, 80, 56), (22, 16, 14), lips=((140, 60, 60), 0.5), hairline=(0.86, 0.69)),
        Eyes((62, 40, 26)),
        worn,
    )
    room = Room(
        (198, 204, 196),
        (178, 138, 100),
        2.2,
        (0.9, 0.75, 0.5),
        0.5,
        ((-0.75, 1.65, 0.6, 0.8, (206, 142, 102)),),
        (*plant(0.95, 1.6, 1.5, 2), *shelf(-1.3, 2.2, 0.9, 1.15, (166, 124, 84), 4)),
    )
    camera = look_at((0.0, 0, figure.crown - 0.33), 2.1, 0, 2, 26, _TALL)
    return Shot(people, room, _WINDOW, camera, 2.05, 13, 0.62)


def _older_woman() -> list[Thing]:
    stance = Stance(
        left_arm=Arm((0.2, 0.04, -1), 12, 12, curl=20),
        right_arm=Arm((0.2, 0.0, -1), 80, 45, curl=20),
        left_leg=Leg(0, 2, -4, 8),
        right_leg=Leg(0, 3, -4, 8),
        turn=18,
        tilt=3,
        face=_SMILE,
    )
    figure = make_figure(161, stance, 14, (-0.36, 0))
    worn = [
        (Garment(wardrobe.top(0.15, 0.94, 0.09, 0.03), 0.007, 14, 0.003), Cloth((244, 240, 232))),
        (
            Garment(wardrobe.top(-0.03, 0.92, 0.1, 0.03, opening=0.045), 0.019, 70, 0.005, 0.007),
            Cloth((112, 132, 120), rib=0.014, sheen=0.3),
        ),
        (
            Garment(wardrobe.bottom(0.17, 0.97), 0.011, 24, flare=wardrobe.straight_legs(0.02)),
            Cloth((74, 70, 78)),
        ),
        (_hair(0.862, 0.7, 0.02), Hair((206, 202, 198))),
    ]
    skin = Skin((228, 182, 154), (180, 172, 166), flush=0.7, brows=0.6, hairline=(0.862, 0.7))
    return dressed(figure, skin, Eyes((92, 116, 130)), worn, Shoe((70, 62, 64), (222, 218, 210)))


def _young_man() -> tuple[Figure, list[Thing]]:
    stance = Stance(
        left_arm=Arm((0.3, -0.1, -0.9), 70, -5, curl=12),
        right_arm=Arm((0.2, 0.02, -1), 14, 12, curl=18),
        left_leg=Leg(1, 2, -4, 10),
        right_leg=Leg(-1, 3, -2, 8),
        turn=-18,
        nod=4,
        face={"mouthSmile": 0.65, "jawOpen": 0.1},
    )
    figure = make_figure(297, stance, -12, (0.36, 0.05))
    worn = [
        (
            Garment(
                wardrobe.top(0.03, 0.4, 0.085, 0.01), 0.012, 80, 0.005, flare=wardrobe.loose_hem(0.03, 0.012)
            ),
            Cloth((236, 234, 228), (58, 84, 120), (0.036, 0.42, 2)),
        ),
        (
            Garment(wardrobe.bottom(0.055, 0.97), 0.009, 24, 0.005, flare=wardrobe.straight_legs(0.018)),
            Cloth((52, 62, 86), fade=0.35, weave=0.12),
        ),
        (_hair(0.868, 0.71, 0.012), Hair((30, 24, 22))),
    ]
    skin = Skin((172, 116, 80), (26, 20, 18), beard=0.25, hairline=(0.868, 0.71))
    return figure, dressed(figure, skin, Eyes((70, 46, 28)), worn, Shoe((196, 84, 66), (246, 244, 240)))


def _neighbours() -> Shot:
    man, his = _young_man()
    people = raised(_older_woman() + his, 0.012)
    room = Room(
        (222, 206, 186),
        (166, 126, 92),
        2.3,
        (0.8, 0.68, 0.45),
        -0.2,
        ((1.25, 1.6, 0.55, 0.7, (110, 140, 150)),),
        (*sofa(0.75, 1.75, 1.9, (128, 140, 150)), *plant(-1.5, 1.8, 1.6, 5)),
    )
    camera = look_at((0.0, 0, man.crown - 0.68), 3.6, 0, 3, 36, _WIDE)
    return Shot(people, room, _WINDOW, camera, 3.55, 11, 0.62)


def _time_out() -> Shot:
    stance = Stance(
        left_arm=Arm((0.2, -0.3, -1), 34, 8, roll=55, curl=16),
        right_arm=Arm((0.2, -0.25, -1), 38, 12, roll=55, curl=16),
        left_leg=Leg(84, 86, 6, 8),
        right_leg=Leg(84, 72, 6, 8),
        bend=14,
        nod=-8,
        turn=12,
        face=_SMILE,
    )
    figure = make_figure(447, stance, -22, (0, 0))
    worn = [
        (
            Garment(
                wardrobe.top(0.11, 0.34, 0.082, 0.01),
                0.012,
                80,
                0.006,
                flare=wardrobe.loose_hem(0.11, 0.012),
            ),
            Cloth((74, 112, 106)),
        ),
        (Garment(wardrobe.bottom(0.14, 0.42), 0.014, 24, 0.004), Cloth((58, 60, 66))),
        (Garment(wardrobe.sock(-0.62), 0.004, 6, 0.0, 0.003), Cloth((240, 238, 232))),
        (_hair(0.872, 0.71, 0.014), Hair((96, 60, 36))),
    ]
    people = raised(
        dressed(
            figure,
            Skin((236, 190, 162), (90, 58, 38), freckles=0.5, hairline=(0.872, 0.71)),
            Eyes((84, 110, 84)),
            worn,
            Shoe((222, 158, 72), (250, 248, 244)),
        ),
        0.012,
    )
    light = Light(
        (-0.8, -0.9, 0.9),
        (1.7, 1.65, 1.6),
        10,
        (0.55, 0.55, 0.56),
        (0.42, 0.42, 0.44),
        (0.34, 0.32, 0.3),
        (0.35, 0.38, 0.42),
        (1, -0.3, 0.2),
    )
    camera = look_at((0.02, -0.2, 0.5 * figure.crown), 4.0, 0, 5, 23.5, _TALL)
    x, y, height = figure.seat
    return Shot(
        people,
        Studio((206, 196, 184), stands=stool(x, y + 0.05, height + 0.012, (226, 222, 214))),
        light,
        camera,
        4.0,
        5,
        0.58,
    )


def _portrait() -> Shot:
    stance = Stance(
        turn=-14,
        tilt=4,
        nod=2,
        twist=12,
        face={"mouthSmile": 0.85, "mouthDimple": 0.3, "cheekSquint": 0.35, "eyeSquint": 0.1},
    )
    figure = make_figure(318, stance, -4, (0, 0))
    worn = [
        (Garment(wardrobe.top(0.0, 0.4, 0.095, 0.02), 0.008, 30, 0.003), Cloth((70, 92, 104), weave=0.1)),
        (Garment(wardrobe.bottom(0.16, 0.9), 0.008, 12), Cloth((60, 60, 70))),
        (_hair(0.866, 0.7, 0.018), Hair((62, 42, 32))),
    ]
    people = dressed(
        figure,
        Skin((214, 160, 122), (30, 22, 18), lips=((178, 76, 78), 0.6), hairline=(0.866, 0.7)),
        Eyes((80, 54, 32)),
        worn,
    )
    people.append((wardrobe.bob(figure, 0.64), Hair((62, 42, 32), long=True)))
    light = Light(
        (-0.7, -1.0, 0.7),
        (1.5, 1.4, 1.3),
        9,
        (0.5, 0.56, 0.66),
        (0.46, 0.46, 0.44),
        (0.3, 0.27, 0.22),
        (0.35, 0.3, 0.25),
        (1, -0.2, 0.4),
    )
    camera = look_at((0.0, 0, figure.crown - 0.16), 1.25, 0, 1, 21, _TALL)
    return Shot(people, Park(5), light, camera, 1.2, 22, 0.62)


EXAMPLES = (
    Example(
        "summer-path.jpg",
        "Summer path",
        "A woman in a coral T-shirt and jeans stands on a park path, one hand behind her hip.",
        _summer_path,
    ),
    Example(
        "neighbours.jpg",
        "Neighbours",
        "An older woman and a young man stand side by side in a living room and talk with their hands.",
        _neighbours,
    ),
    Example(
        "good-news.jpg",
        "Good news",
        "A smiling woman in a mustard jumper waves with one hand and holds the other to her chest.",
        _good_news,
    ),
    Example(
        "old-town-walk.jpg",
        "Old town walk",
        "An older man with grey hair and a navy cardigan walks across a paved square.",
        _old_town,
    ),
    Example(
        "time-out.jpg",
        "Time out",
        "A man in a green T-shirt and shorts sits on a white block in a photo studio.",
        _time_out,
    ),
    Example(
        "portrait.jpg",
        "Portrait",
        "The face of a smiling woman with shoulder-length brown hair, close up, outdoors.",
        _portrait,
    ),
)
