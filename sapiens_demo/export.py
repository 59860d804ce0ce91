"""Results become files that people can use elsewhere.

The functions *_json describe an estimate in plain values, and the functions write_* put a task's files into a
folder under the names <stem>_<task>... Maps are written whole, as the model gave them. Outside the person the
numbers mean nothing: a mask beside them (<stem>_<task>_mask.png, 255 where the person is) tells which pixels
count. So the arrays hold finite numbers everywhere and nothing is lost.
"""

from __future__ import annotations

import errno
import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import cv2
import numpy as np

from sapiens_demo.drawing import DepthDrawing, NormalDrawing, PoseDrawing, SegmentationDrawing
from sapiens_demo.errors import DemoError
from sapiens_demo.formats import THRESHOLD, number_people, to_coco, to_openpose, to_wholebody
from sapiens_demo.vocabulary import KEYPOINTS, PARTS

if TYPE_CHECKING:
    from sapiens_demo.estimator import Estimate
    from sapiens_demo.tasks.pose import Person

PRIVACY = "The demo does not keep photos."

_SCORE_KIND = "heatmap maximum: the raw peak of the keypoint's heatmap, not a probability, may exceed 1"
_PIXELS = "x to the right, y down, in pixels of the upright photo, the centre of the first pixel at (0, 0)"
_BOX_KIND = "x1, y1, x2, y2 in pixels; its score: how sure it is that somebody is there, null if not known"
_DEPTH_CONVENTION = "relative depth without unit; larger is farther; about 0 to 1 within the person"
_NORMAL_CONVENTION = "unit vectors in camera axes, channels x, y, z: x right, y up, z to the viewer"
_PERCENTILES = (1, 99)
_FASTEST = [cv2.IMWRITE_PNG_COMPRESSION, 1]


class ExportError(DemoError):
    """Say why a file could not be written."""


# ---- Descriptions -----------------------------------------------------------------------------------------


def pose_json(estimate: Estimate, name: str) -> dict[str, Any]:
    """Describe the people of a photo.

    Args:
        estimate: of the task pose.
        name: what the photo is called.

    Returns:
        Plain values, ready for JSON; all 308 keypoints of everybody, whatever their score.
    """
    return {
        **_header(estimate, name),
        "score_kind": _SCORE_KIND,
        "coordinates": _PIXELS,
        "box_kind": _BOX_KIND,
        "people": [
            _describe_person(person, score)
            for person, score in zip(estimate.result.people, _box_scores(estimate), strict=True)
        ],
    }


def _box_scores(estimate: Estimate) -> list[float | None]:
    """Return how sure it is that somebody is in each box; nobody knows of the whole photo."""
    if not len(estimate.people):
        return [None] * len(estimate.result.people)
    return [round(score, 5) for score in estimate.people.scores.tolist()]


def _describe_person(person: Person, score: float | None) -> dict[str, Any]:
    rows = zip(KEYPOINTS, person.keypoints.tolist(), person.scores.tolist(), strict=True)
    return {
        "box": [round(edge, 2) for edge in person.box.tolist()],
        "score": score,
        "keypoints": [
            {"id": point.id, "name": point.name, "x": round(x, 3), "y": round(y, 3), "score": round(score, 5)}
            for point, (x, y), score in rows
        ],
    }


def segmentation_json(estimate: Estimate, name: str) -> dict[str, Any]:
    """Describe the body parts of a photo.

    Args:
        estimate: of the task segmentation.
        name: what the photo is called, the stem of the files.

    Returns:
        Plain values, ready for JSON: the parts present, the largest first, and the key to the label picture.
    """
    labels = estimate.result.labels
    shares = sorted(estimate.result.shares().items(), key=lambda item: -item[1])
    person = int(np.count_nonzero(labels))
    return {
        **_header(estimate, name),
        "labels": f"{name}_segmentation_labels.png",
        "person_share": round(person / labels.size, 6),
        "parts": [
            {**_describe_part(part), "pixels": round(share * person), "share": round(share, 6)}
            for part, share in shares
        ],
        "share_kind": "share of the person's pixels, background left out",
        "classes": [_describe_part(part.id) for part in PARTS],
    }


def _describe_part(id: int) -> dict[str, Any]:
    part = PARTS[id]
    return {"id": id, "name": part.name, "title": part.title, "color": "#" + bytes(part.color).hex()}


def depth_json(estimate: Estimate, name: str) -> dict[str, Any]:
    """Describe the depth map of a photo.

    Args:
        estimate: of the task depth.
        name: what the photo is called, the stem of the files.

    Returns:
        Plain values, ready for JSON: files, the person's range, and what the numbers mean.
    """
    from sapiens_demo.tasks.depth import depth_range

    result = estimate.result
    near, far = depth_range(result, _PERCENTILES)
    inside = result.depth[result.mask] if result.mask is not None and result.mask.any() else result.depth
    return {
        **_header(estimate, name),
        "depth": f"{name}_depth.npy",
        **_describe_mask(result.mask, f"{name}_depth_mask.png"),
        "convention": _DEPTH_CONVENTION,
        "range": {"minimum": float(inside.min()), "maximum": float(inside.max())},
        "colors": {"map": "inferno", "bright": near, "dark": far, "percentiles": list(_PERCENTILES)},
    }


def normal_json(estimate: Estimate, name: str) -> dict[str, Any]:
    """Describe the surface normals of a photo.

    Args:
        estimate: of the task normal.
        name: what the photo is called, the stem of the files.

    Returns:
        Plain values, ready for JSON: files and what the numbers mean.
    """
    return {
        **_header(estimate, name),
        "normals": f"{name}_normal.npy",
        **_describe_mask(estimate.result.mask, f"{name}_normal_mask.png"),
        "convention": _NORMAL_CONVENTION,
        "colors": "(R, G, B) = (n + 1) / 2 x 255",
    }


def _describe_mask(mask: np.ndarray | None, file: str) -> dict[str, Any]:
    if mask is None:
        return {"mask": None, "mask_kind": "no mask: the whole map counts"}
    return {
        "mask": file,
        "mask_kind": "255 where the person is; elsewhere the map's values mean nothing",
        "person_share": round(float(np.count_nonzero(mask) / mask.size), 6),
    }


def _header(estimate: Estimate, name: str) -> dict[str, Any]:
    """Return what the description of every task begins with."""
    height, width = estimate.photo.shape[:2]
    report, info = estimate.report, estimate.report.info
    return {
        "photo": name,
        "image": {"width": width, "height": height},
        "model": {
            "task": report.task,
            "size": report.size,
            "title": report.model_title,
            "file": info.file,
            "license": info.license,
            "device": info.device,
            "device_title": info.device_title,
            "precision": info.precision,
            "compiled": info.compiled,
        },
        "framing": report.framing,
        "people_finder": estimate.people.finder if len(estimate.people) else None,
        "milliseconds": {stage: round(float(time), 1) for stage, time in report.stages.items()},
        "notes": list(report.notes),
        "privacy": PRIVACY,
    }


# ---- Files ------------------------------------------------------------------------------------------------


def write_pose(estimate: Estimate, folder: Path, stem: str) -> list[Path]:
    """Write <stem>_pose.json and <stem>_pose.png, the photo with skeletons.

    Args:
        estimate: of the task pose.
        folder: where to; made where it does not exist.
        stem: what the files' names begin with.

    Returns:
        The files.

    Raises:
        ExportError: if a file cannot be written.
    """
    base = _base(folder, stem)
    return [
        _write_json(base, "_pose.json", pose_json(estimate, stem)),
        _write_png(base, "_pose.png", PoseDrawing()(estimate.photo, estimate.result)),
    ]


def write_segmentation(estimate: Estimate, folder: Path, stem: str) -> list[Path]:
    """Write <stem>_segmentation.json, .png (parts over the photo) and _labels.png (8-bit class ids).

    Args:
        estimate: of the task segmentation.
        folder: where to; made where it does not exist.
        stem: what the files' names begin with.

    Returns:
        The files.

    Raises:
        ExportError: if a file cannot be written.
    """
    base = _base(folder, stem)
    return [
        _write_json(base, "_segmentation.json", segmentation_json(estimate, stem)),
        _write_png(base, "_segmentation.png", SegmentationDrawing()(estimate.photo, estimate.result)),
        _write_png(base, "_segmentation_labels.png", estimate.result.labels),
    ]


def write_depth(estimate: Estimate, folder: Path, stem: str) -> list[Path]:
    """Write <stem>_depth.json, .png (in colours), .npy (float32, H x W, whole) and _mask.png if masked.

    Args:
        estimate: of the task depth.
        folder: where to; made where it does not exist.
        stem: what the files' names begin with.

    Returns:
        The files.

    Raises:
        ExportError: if a file cannot be written.
    """
    base, result = _base(folder, stem), estimate.result
    return [
        _write_json(base, "_depth.json", depth_json(estimate, stem)),
        _write_png(base, "_depth.png", DepthDrawing(_PERCENTILES)(estimate.photo, result)),
        _write_array(base, "_depth.npy", result.depth),
        *_write_mask(base, "_depth_mask.png", result.mask),
    ]


def write_normal(estimate: Estimate, folder: Path, stem: str) -> list[Path]:
    """Write <stem>_normal.json, .png (in colours), .npy (float32, H x W x 3, whole) and _mask.png if masked.

    Args:
        estimate: of the task normal.
        folder: where to; made where it does not exist.
        stem: what the files' names begin with.

    Returns:
        The files.

    Raises:
        ExportError: if a file cannot be written.
    """
    base, result = _base(folder, stem), estimate.result
    return [
        _write_json(base, "_normal.json", normal_json(estimate, stem)),
        _write_png(base, "_normal.png", NormalDrawing()(estimate.photo, result)),
        _write_array(base, "_normal.npy", result.normals),
        *_write_mask(base, "_normal_mask.png", result.mask),
    ]


WRITERS: dict[str, Callable[[Estimate, Path, str], list[Path]]] = {
    "pose": write_pose,
    "segmentation": write_segmentation,
    "depth": write_depth,
    "normal": write_normal,
}

_DOCUMENTS = {"coco": to_coco, "wholebody": to_wholebody, "openpose": to_openpose}


def write_format(
    estimate: Estimate, name: str, folder: Path, stem: str, photo: str, threshold: float = THRESHOLD
) -> Path:
    """Write <stem>_pose_<name>.json or, for "people", <stem>_segmentation_people.png (8-bit person numbers).

    Args:
        estimate: of the task that catalog.FORMATS says.
        name: one of catalog.FORMATS.
        folder: where to; made where it does not exist.
        stem: what the file's name begins with.
        photo: the photo's own file name.
        threshold: keypoints that score less are left out.

    Returns:
        The file.

    Raises:
        ExportError: if it cannot be written.
    """
    base = _base(folder, stem)
    if name == "people":
        return _write_png(base, "_segmentation_people.png", number_people(estimate.result))
    return _write_json(base, f"_pose_{name}.json", _DOCUMENTS[name](estimate, photo, threshold))


def _base(folder: Path, stem: str) -> Path:
    """Return folder / stem, the folder made."""
    if not stem or Path(stem).name != stem or "\\" in stem or "\0" in stem:
        raise ExportError(f"{stem!r} cannot be part of a file's name. Choose a name without slashes.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ExportError(_explain(error, folder)) from error
    return folder / stem


def _write_json(base: Path, ending: str, document: dict[str, Any]) -> Path:
    text = json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    return _write(base, ending, lambda file: file.write(text.encode()))


def _write_png(base: Path, ending: str, picture: np.ndarray) -> Path:
    """Write (H, W) uint8 as grey levels or (H, W, 3) uint8 RGB as colours."""
    pixels = picture if picture.ndim == 2 else cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)
    encoded = cv2.imencode(".png", pixels, _FASTEST)[1]
    return _write(base, ending, lambda file: file.write(encoded.data))


def _write_mask(base: Path, ending: str, mask: np.ndarray | None) -> list[Path]:
    return [] if mask is None else [_write_png(base, ending, mask.astype(np.uint8) * 255)]


def _write_array(base: Path, ending: str, array: np.ndarray) -> Path:
    array = np.ascontiguousarray(array, np.float32)

    def fill(file: BinaryIO) -> None:
        # numpy.save would do, but for a full disk it raises an error without the reason.
        np.lib.format.write_array_header_1_0(file, np.lib.format.header_data_from_array_1_0(array))
        file.write(array.data)

    return _write(base, ending, fill)


def _write(base: Path, ending: str, fill: Callable[[BinaryIO], Any]) -> Path:
    """Write a file whole or not at all: what breaks off leaves nothing behind and an older file as it was."""
    path = base.with_name(base.name + ending)
    unfinished = path.with_name(path.name + ".part")
    try:
        with unfinished.open("wb") as file:
            fill(file)
        unfinished.replace(path)
    except OSError as error:
        with suppress(OSError):  # Why writing failed is what matters, not this.
            unfinished.unlink(missing_ok=True)
        raise ExportError(_explain(error, path)) from error
    return path


_REASONS = {
    errno.ENOSPC: "the disk is full. Free some space or choose another folder.",
    errno.EDQUOT: "your share of the disk is used up. Free some space or choose another folder.",
    errno.EACCES: "writing there is not allowed. Choose another folder.",
    errno.EPERM: "writing there is not allowed. Choose another folder.",
    errno.EROFS: "the disk is read-only. Choose another folder.",
    errno.ENOTDIR: "part of the path is a file, not a folder. Choose another folder.",
    errno.EEXIST: "it is a file, not a folder. Choose another folder.",
    errno.EISDIR: "a folder has that name. Choose another folder.",
    errno.ENAMETOOLONG: "the name is too long. Give the photo a shorter name.",
}


def _explain(error: OSError, path: Path) -> str:
    reason = _REASONS.get(error.errno or 0, f"{error.strerror or error}. Choose another folder.")
    return f"{path} could not be written: {reason}"
