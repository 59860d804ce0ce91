"""What surfaces of the example pictures look like: skin, eyes, cloth, hair and plain things."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from sapiens_demo.training.keypoint_table import LOWER_BROW, LOWER_OUTER_LIP, UPPER_BROW, UPPER_OUTER_LIP
from sapiens_demo.training.noise import noise

RGB = tuple[float, float, float]

_UPPER_LASH = (
    (15.5, 792),
    (20, 795.5),
    (25, 798.3),
    (31.5, 799.3),
    (38, 798.3),
    (42.5, 796.3),
    (46.5, 793.8),
)
_LOWER_LASH = ((16.5, 792.3), (20, 790.8), (25, 789.8), (31.5, 789.5), (38, 790.2), (42.5, 792.5), (46, 794))
_EYE = (30.3, 795.9)  # the pupil's x (left eye) and z, mm


@dataclass(frozen=True)
class Finish:
    """Hold how points of a surface take light.

    Args:
        albedo: (N, 3) linear.
        gloss: (N,) strength of reflections, 0.04 for most things.
        polish: exponent of highlights.
        wrap: (3,) how far light creeps around into the shade, for each colour.
        glow: (N, 3) linear light added as it is, or 0.
        sheen: strength of a soft bright edge, as of wool.
    """

    albedo: np.ndarray
    gloss: np.ndarray | float = 0.04
    polish: float = 12
    wrap: RGB = (0.0, 0.0, 0.0)
    glow: np.ndarray | float = 0.0
    sheen: float = 0.0


class Look(Protocol):
    """Tell how a surface takes light at places (N, 3): in the average rest shape; things use the world's."""

    def finish(self, place: np.ndarray) -> Finish:
        """Tell how the surface takes light.

        Args:
            place: (N, 3) metres.
        """


def linear(color) -> np.ndarray:
    """Turn sRGB values, 0 to 255, into linear light, 0 to 1."""
    return ((np.asarray(color, np.float32) / 255 + 0.055) / 1.055) ** 2.4


def step(low: float, high: float, values: np.ndarray) -> np.ndarray:
    """Rise smoothly from 0 at `low` to 1 at `high`."""
    share = np.clip((values - low) / (high - low), 0, 1)
    return share * share * (3 - 2 * share)


def mix(first: np.ndarray, second, share: np.ndarray) -> np.ndarray:
    """Blend colours (N, 3) by shares (N,)."""
    return first + (second - first) * share[:, None]


def _curve(points, x: np.ndarray) -> np.ndarray:
    table = np.asarray(points, float)
    return np.interp(x, table[:, 0], table[:, 1])


def hair_distance(place: np.ndarray, hairline: float, nape: float) -> np.ndarray:
    """Measure how far places (N, 3) of the head lie inside the hair, metres."""
    x, y, z = place.T
    edge = np.interp(
        y,
        [-0.17, -0.13, -0.105, -0.09, -0.078, -0.066, -0.05, -0.02, -0.008, 0.01, 0.06],
        [
            hairline,
            hairline - 0.004,
            hairline - 0.02,
            0.815,
            0.79,
            0.785,
            0.81,
            0.80,
            0.765,
            nape + 0.02,
            nape,
        ],
    )
    edge = edge - 0.35 * np.clip(np.abs(x) - 0.03, 0, 0.03) * (y < -0.1)
    ear = (np.hypot((y + 0.045) / 0.024, (z - 0.775) / 0.036) - 1) * 0.03
    return np.minimum(z - edge, np.where(np.abs(x) > 0.06, ear, 1.0))


@dataclass(frozen=True)
class Skin:
    """Describe skin; colours are sRGB.

    Args:
        tone: its colour.
        hair: colour of brows and beard.
        flush: strength of red cheeks and nose.
        beard: density of the beard, 0 to 1.
        brows: density of the brows.
        lips: colour that lips lean to, and by how much.
        lashes: strength of the line along the lids.
        freckles: strength.
        hairline: heights of the hairline above forehead and nape, as for hair_distance; None for a bald head.
    """

    tone: RGB
    hair: RGB
    flush: float = 0.5
    beard: float = 0.0
    brows: float = 0.85
    lips: tuple[RGB, float] = ((176, 84, 84), 0.55)
    lashes: float = 1.0
    freckles: float = 0.0
    hairline: tuple[float, float] | None = None
    shadow: RGB = field(default=(0.34, 0.16, 0.1))

    def finish(self, place: np.ndarray) -> Finish:
        tone = linear(self.tone)
        color = tone * (1 + 0.06 * noise(place, 35, 3, 1) + 0.035 * noise(place, 420, 2, 4))[:, None]
        x, y, z = place.T * 1000
        face = place[:, 2] > 0.67
        color = self._flushed(color, tone, place)
        gloss = 0.045 + 0.02 * noise(place, 300, 2, 6)
        color[face], gloss[face] = self._face(
            color[face], gloss[face], np.abs(x[face]), y[face], z[face], place[face]
        )
        return Finish(color, gloss, 14, self.shadow, sheen=0.12)

    def _flushed(self, color: np.ndarray, tone: np.ndarray, place: np.ndarray) -> np.ndarray:
        x, y, z = np.abs(place[:, 0]) * 1000, place[:, 1] * 1000, place[:, 2] * 1000
        cheek = np.exp(-(((x - 42) / 17) ** 2) - ((z - 757) / 15) ** 2) * (y < -60)
        nose = np.exp(-((x / 13) ** 2) - ((z - 758) / 11) ** 2) * (y < -120)
        ear = step(66, 74, x) * (z > 740) * (y < -10) * (y > -75)
        red = self.flush * np.clip(0.75 * cheek + 0.6 * nose + 0.5 * ear, 0, 1)
        color = mix(color, tone * np.array([1.05, 0.66, 0.6]), red)
        if self.freckles:
            spots = (
                step(0.34, 0.5, noise(place, 260, 1, 8))
                * step(30, 0, np.abs(z - 766))
                * step(62, 30, x)
                * (y < -70)
            )
            color = mix(color, tone * np.array([0.72, 0.5, 0.38]), self.freckles * spots)
        return color

    def _face(self, color, gloss, x, y, z, place):
        hair, tone = linear(self.hair), linear(self.tone)
        lip = np.minimum(_curve(UPPER_OUTER_LIP, x) - z, z - _curve(LOWER_OUTER_LIP, x))
        lip = step(-0.8, 1.2, np.minimum(lip, (24 - x) * 0.5)) * (y < -95)
        lip_color = (
            tone * np.array([0.9, 0.5, 0.5]) * (1 - self.lips[1]) + linear(self.lips[0]) * self.lips[1] * 0.9
        )
        color = mix(color, lip_color, 0.9 * lip)
        gloss = gloss + 0.05 * lip
        brow = np.minimum(_curve(UPPER_BROW, x) - z, z - _curve(LOWER_BROW, x) + 0.6)
        hairs = noise(
            np.stack([place[:, 0] + 0.7 * place[:, 2] * np.sign(place[:, 0]), place[:, 2] * 0.3, y * 0], 1),
            750,
            2,
            3,
        )
        brow = step(-1.6, 1.6, brow + 1.1 * hairs) * step(10, 17, x) * step(53, 44, x) * (y < -80)
        color = mix(color, hair * 0.8, self.brows * brow)
        socket = np.exp(-(((x - 28) / 17) ** 2) - ((z - 786) / 7) ** 2) * (y < -100)
        color = mix(color, tone * np.array([0.78, 0.62, 0.62]), 0.3 * socket)
        inside = step(14.5, 17.5, x) * step(48.5, 45.5, x) * (y < -95)
        upper = np.exp(-(((z - _curve(_UPPER_LASH, x)) / (0.75 + 0.012 * (x - 15))) ** 2)) * inside
        lower = np.exp(-(((z - _curve(_LOWER_LASH, x)) / 0.6) ** 2)) * inside
        color = mix(
            color, hair * 0.25 + 0.004, np.clip(self.lashes * upper + 0.35 * self.lashes * lower, 0, 1)
        )
        if self.beard:
            color = mix(color, hair * 0.85, self.beard * self._beard(x, y, z, place))
        if self.hairline:
            down = noise(np.stack([place[:, 0], place[:, 1], place[:, 2] * 0.2], 1), 700, 2, 9)
            color = mix(
                color,
                hair * 0.8,
                0.9 * step(-0.009, 0.002, hair_distance(place, *self.hairline) + 0.004 * down),
            )
        return color, gloss

    def _beard(self, x, y, z, place) -> np.ndarray:
        jaw = step(772, 748, z - 0.12 * np.clip(x - 30, 0, 60)) * step(655, 678, z)
        side = np.maximum(step(28, 36, x - 0.4 * np.clip(718 - z, 0, 30)), step(719, 708, z))
        moustache = step(735, 737, z) * step(747, 743, z) * step(32, 26, x)
        mask = np.maximum(jaw * side, moustache) * step(-28, -42, y)
        mouth = np.minimum(_curve(UPPER_OUTER_LIP, x) - z, z - _curve(LOWER_OUTER_LIP, x)) + 2
        mask = mask * np.where(x < 25, step(2, -0.5, mouth), 1)
        return mask * (0.8 + 0.35 * noise(place, (900, 900, 350), 2, 7))


@dataclass(frozen=True)
class Eyes:
    """Describe eyeballs.

    Args:
        iris: colour, sRGB.
        gaze: (2,) shift of both irises to the person's left and up, mm.
        glint: (2,) where the light's reflection sits from the iris' middle, to the person's left and up, mm.
    """

    iris: RGB
    gaze: tuple[float, float] = (0.0, 0.0)
    glint: tuple[float, float] = (1.8, 2.0)

    def finish(self, place: np.ndarray) -> Finish:
        x, y, z = place.T * 1000
        dx = x - np.sign(x) * _EYE[0] - self.gaze[0]
        dz = z - _EYE[1] - self.gaze[1]
        radius, angle = np.hypot(dx, dz), np.arctan2(dz, dx)
        front = y < -122
        color = np.tile(linear((206, 198, 192)), (len(place), 1))
        color = mix(color, linear((205, 160, 150)), 0.5 * step(8, 14, np.abs(np.abs(x) - _EYE[0])))
        fibres = noise(np.stack([np.cos(angle) * 9, np.sin(angle) * 9, radius * 0.5], 1), 1, 2, 1)
        iris = linear(self.iris) * (1 + 0.5 * fibres + 0.35 * step(1, -5, dz) * step(2, 5, radius))[:, None]
        iris = iris * (1 - 0.75 * step(4.6, 5.9, radius))[:, None]
        color = mix(color, iris, front * step(6.1, 5.5, radius))
        color = mix(color, np.full(3, 0.004), front * step(2.7, 2.1, radius))
        color = color * (1 - 0.45 * step(797.5, 800.5, z))[:, None]  # the upper lid's shade
        gx, gz = dx - self.glint[0], dz - self.glint[1]
        glint = front * step(1.25, 0.75, np.hypot(gx, gz)) + 0.25 * front * step(
            0.9, 0.5, np.hypot(dx + 1.9, dz + 1.9)
        )
        return Finish(color, 0.02, 60, (0.2, 0.15, 0.15), glint[:, None] * np.full(3, 1.1))


@dataclass(frozen=True)
class Cloth:
    """Describe cloth; colours are sRGB.

    Args:
        color: of the cloth.
        other: second colour of stripes or trims.
        stripes: (period, share of the second colour, axis) in metres; None for plain cloth.
        weave: strength of the fine texture.
        rib: period of knitted ribs, metres; 0 for none.
        fade: how much lighter the fronts of the thighs are, as on jeans.
        sheen: strength of the bright edge.
        placket: draws a row of buttons with its seam down the front.
    """

    color: RGB
    other: RGB = (240, 240, 240)
    stripes: tuple[float, float, int] | None = None
    weave: float = 0.08
    rib: float = 0.0
    fade: float = 0.0
    sheen: float = 0.1
    placket: bool = False

    def finish(self, place: np.ndarray) -> Finish:
        x, y, z = place.T
        color = np.tile(linear(self.color), (len(place), 1))
        if self.stripes:
            period, share, axis = self.stripes
            phase = np.abs((place[:, axis] / period) % 1 - 0.5) * 2
            color = mix(color, linear(self.other), step(1 - share - 0.04, 1 - share + 0.04, phase))
        if self.fade:
            worn = np.exp(-(((z + 0.12) / 0.2) ** 2)) * step(0.0, -0.06, y) + 0.6 * np.exp(
                -(((z + 0.33) / 0.07) ** 2)
            ) * (y < 0)
            color = mix(
                color, linear((150, 172, 196)), self.fade * worn * (0.8 + 0.3 * noise(place, 30, 3, 5))
            )
        if self.placket:
            color = self._buttoned(color, x, y, z)
        grain = self.weave * (noise(place, (700, 700, 1100), 2, 2) + 0.5 * noise(place, 60, 2, 3))
        if self.rib:
            grain = (
                grain
                - 0.16 * np.abs(np.sin(np.pi * (np.arctan2(x, -y - 0.02) * 0.12 + x * 0.3) / self.rib)) ** 2
            )
        return Finish(color * (1 + grain)[:, None], 0.02, 6, (0.08, 0.08, 0.08), sheen=self.sheen)

    def _buttoned(self, color, x, y, z):
        front = y < -0.02
        seam = front * np.exp(-(((np.abs(x) - 0.016) / 0.0012) ** 2))
        color = color * (1 - 0.35 * seam)[:, None]
        row = np.hypot(x, (z % 0.085) - 0.04)
        button = front * step(0.0058, 0.0048, row)
        return mix(color, linear(self.other), button)


@dataclass(frozen=True)
class Hair:
    """Describe hair.

    Args:
        color: sRGB.
        long: strands run down, not away from the crown.
        curls: strength of curls; 0 for straight hair.
    """

    color: RGB
    long: bool = False
    curls: float = 0.0

    def finish(self, place: np.ndarray) -> Finish:
        x, y, z = place.T
        if self.curls:
            strands = noise(place, 150, 3, 2)
        elif self.long:
            around = np.arctan2(x, -(y + 0.03))
            strands = _strands(around, z * 6)
        else:
            away = np.stack([x, y, z - 0.80], axis=1)
            tilt = np.arccos(np.clip(away[:, 2] / np.linalg.norm(away, axis=1), -1, 1))
            strands = _strands(np.arctan2(y, x), tilt * 0.8)
        color = linear(self.color) * (1 + 0.6 * strands + 0.15 * noise(place, 40, 2, 5))[:, None]
        return Finish(
            np.clip(color, 0.002, 1),
            np.clip(0.045 + 0.06 * strands, 0.01, 0.12),
            12,
            (0.1, 0.08, 0.06),
            sheen=0.1,
        )


def _strands(across: np.ndarray, along: np.ndarray) -> np.ndarray:
    """Draw strands: fine across (an angle), long along; about -1 to 1."""
    wave = 0.02 * np.sin(along * 3 + across * 5)
    place = np.stack([np.cos(across + wave), np.sin(across + wave), along * 0.02], axis=1)
    return 0.45 * noise(place, 36, 2, 2) + 0.75 * noise(place, 120, 2, 7)


@dataclass(frozen=True)
class Plain:
    """Describe a thing of one sRGB colour with a little grain."""

    color: RGB
    gloss: float = 0.04
    polish: float = 30
    grain: float = 0.03

    def finish(self, place: np.ndarray) -> Finish:
        color = linear(self.color) * (1 + self.grain * noise(place, 40, 3, 1))[:, None]
        return Finish(color, self.gloss, self.polish)


@dataclass(frozen=True)
class Shoe:
    """Describe a shoe; see wardrobe.shoe_mesh for its places.

    Args:
        color, sole, laces: sRGB; None for no laces.
        thickness: of the sole, metres.
        gloss: strength of reflections.
    """

    color: RGB
    sole: RGB = (236, 234, 228)
    laces: RGB | None = (244, 242, 238)
    thickness: float = 0.024
    gloss: float = 0.04

    def finish(self, place: np.ndarray) -> Finish:
        across, along, height = place.T
        color = (
            np.tile(linear(self.color), (len(place), 1))
            * (1 + 0.05 * noise(place, (4, 30, 200), 2, 1))[:, None]
        )
        cap = np.exp(-(((along - 0.8 + 0.1 * across**2) / 0.006) ** 2)) + np.exp(
            -(((along - 0.24 - 0.3 * height) / 0.006) ** 2)
        )
        color = color * (1 - 0.3 * cap)[:, None]
        if self.laces:
            tongue = (
                step(0.5, 0.62, along)
                * step(0.8, 0.76, along)
                * step(0.36, 0.3, np.abs(across))
                * step(0.035, 0.045, height)
            )
            bars = step(0.45, 0.6, np.abs((along / 0.05) % 1 - 0.5) * 2)
            color = mix(color * (1 - 0.25 * tongue)[:, None], linear(self.laces), tongue * bars)
        edge = self.thickness + 0.004 * step(0.75, 1.0, along)
        color = mix(color, linear(self.sole), step(edge + 0.001, edge - 0.001, height))
        color = color * (1 - 0.4 * np.exp(-(((height - edge) / 0.0014) ** 2)))[:, None]
        return Finish(color, self.gloss, 20)
