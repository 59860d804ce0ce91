"""One labelled picture, and the compact file that holds it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

# Depth is stored in steps of this share of the picture's farthest point.
DEPTH_STEPS = 65000


@dataclass(frozen=True)
class Sample:
    """Hold a picture of people with everything that is known about them.

    Args:
        image: (H, W, 3) uint8, RGB.
        parts: (H, W) uint8, classes 0 to 27.
        people: (H, W) uint8, 0 for the background, else 1 + index of the person.
        depth: (H, W) float32, metres along the camera's axis, 0 where there is no person.
        normals: (H, W, 3) float32, unit vectors (x right, y up, z to the viewer), 0 where there is no person.
        keypoints: (N, 308, 2) float32, pixels of the picture, centres at integers.
        visibility: (N, 308) uint8, 0 outside the picture, 1 hidden, 2 visible.
        boxes: (N, 4) float32, x1, y1, x2, y2 around each person's part in the picture.
    """

    image: np.ndarray
    parts: np.ndarray
    people: np.ndarray
    depth: np.ndarray
    normals: np.ndarray
    keypoints: np.ndarray
    visibility: np.ndarray
    boxes: np.ndarray


def write_sample(path: Path, sample: Sample, quality: int = 92) -> None:
    """Write a sample to one file. Labels are not compressed: training reads each of them many times.

    Args:
        path: file to write (.npz).
        sample: what to write; depth keeps 16 bits and normals 8 bits a channel.
        quality: JPEG quality of the picture, 1 to 100.
    """
    far = max(float(sample.depth.max()), 1e-3)
    np.savez(
        path,
        image=_encode_jpeg(sample.image, quality),
        parts=sample.parts,
        people=sample.people,
        depth=np.round(sample.depth / far * DEPTH_STEPS).astype(np.uint16),
        normals=np.round(sample.normals * 127 + 128).clip(0, 255).astype(np.uint8),
        far=np.float32(far),
        keypoints=sample.keypoints,
        visibility=sample.visibility,
        boxes=sample.boxes,
    )


def read_sample(path: Path) -> Sample:
    """Read a sample that write_sample wrote.

    Args:
        path: the file.

    Returns:
        The sample.
    """
    with np.load(path) as file:
        people = file["people"]
        return Sample(
            image=decode_jpeg(file["image"]),
            parts=file["parts"],
            people=people,
            depth=file["depth"].astype(np.float32) * (float(file["far"]) / DEPTH_STEPS),
            normals=unit_normals(file["normals"], people > 0),
            keypoints=file["keypoints"],
            visibility=file["visibility"],
            boxes=file["boxes"],
        )


def unit_normals(steps: np.ndarray, people: np.ndarray) -> np.ndarray:
    """Turn stored normals into unit vectors.

    Args:
        steps: (h, w, 3) uint8, 128 for 0 and 127 steps to 1.
        people: (h, w) bool, where there are normals.

    Returns:
        (h, w, 3) float32, 0 where there are none.
    """
    normals = (steps.astype(np.float32) - 128) * people[..., None]
    # linalg.norm takes ten times as long
    length = np.sqrt(np.einsum("hwc,hwc->hw", normals, normals))[..., None]
    return normals / np.maximum(length, 1e-6)


def decode_jpeg(data: np.ndarray) -> np.ndarray:
    """Decode a JPEG.

    Args:
        data: (N,) uint8, the file's bytes.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    return cv2.cvtColor(cv2.imdecode(data, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)


def _encode_jpeg(image: np.ndarray, quality: int) -> np.ndarray:
    done, data = cv2.imencode(
        ".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality]
    )
    if not done:
        raise ValueError("The picture could not be encoded as JPEG.")
    return data.ravel()
