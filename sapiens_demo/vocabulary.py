"""What the models' channels mean: 308 keypoints, their skeleton, and 28 body parts."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

_TABLES = Path(__file__).parent / "tables"

Color = tuple[int, int, int]


@dataclass(frozen=True)
class Keypoint:
    """Describe one pose channel.

    Args:
        id: channel, 0 to 307.
        name: official name; left and right are the person's own.
        swap_id: channel that takes its place in a mirrored picture (its own id for middle points).
        group: "body", "foot", "left_hand", "right_hand" or "face".
        sigma: falloff constant of the OKS measure, as a share of the person's scale.
        color: (R, G, B), 0 to 255.
    """

    id: int
    name: str
    swap_id: int
    group: str
    sigma: float
    color: Color


@dataclass(frozen=True)
class Link:
    """Join two keypoints with a line.

    Args:
        start: keypoint id.
        end: keypoint id.
        color: (R, G, B), 0 to 255.
    """

    start: int
    end: int
    color: Color


@dataclass(frozen=True)
class Part:
    """Describe one segmentation class.

    Args:
        id: class, 0 (background) to 27.
        name: official name; left and right are the person's own.
        swap_id: class that takes its place in a mirrored picture.
        color: (R, G, B), 0 to 255.
    """

    id: int
    name: str
    swap_id: int
    color: Color

    @property
    def title(self) -> str:
        """Return the name as people write it."""
        return self.name.replace("_", " ").capitalize()


def _read_rows(name: str) -> list[dict[str, str]]:
    with (_TABLES / name).open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _color(text: str) -> Color:
    red, green, blue = bytes.fromhex(text.removeprefix("#"))
    return red, green, blue


KEYPOINTS: tuple[Keypoint, ...] = tuple(
    Keypoint(
        int(row["id"]),
        row["name"],
        int(row["swap_id"]),
        row["group"],
        float(row["sigma"]),
        _color(row["color"]),
    )
    for row in _read_rows("keypoints.csv")
)

SKELETON: tuple[Link, ...] = tuple(
    Link(int(row["from_id"]), int(row["to_id"]), _color(row["color"])) for row in _read_rows("skeleton.csv")
)

PARTS: tuple[Part, ...] = tuple(
    Part(int(row["id"]), row["name"], int(row["swap_id"]), _color(row["color"]))
    for row in _read_rows("parts.csv")
)

# The 17 COCO body points, in COCO's order, as ids among the 308.
COCO_BODY_IDS: tuple[int, ...] = (0, 1, 2, 3, 4, 5, 6, 7, 8, 62, 41, 9, 10, 11, 12, 13, 14)
