"""The files that visitors take home, written only when somebody asks for one."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from sapiens_demo.catalog import FORMATS
from sapiens_demo.errors import DemoError
from sapiens_demo.ui import texts
from sapiens_demo.ui.result_view import DEFAULT_THRESHOLD
from sapiens_demo.ui.view import temporary_folder

if TYPE_CHECKING:
    from sapiens_demo.estimator import Estimate

# kind of texts.DOWNLOADS to the end of the file's name
_ENDINGS = {"png": ".png", "json": ".json", "labels": "_labels.png", "npy": ".npy", "mask": "_mask.png"}


def write_file(estimate: Estimate, kind: str, photo: Path, threshold: float) -> Path:
    """Write one file of an estimate.

    Args:
        estimate: of any task.
        kind: which file, as in texts.DOWNLOADS.
        photo: file of the photo; its name begins the file's name.
        threshold: keypoints that score less are left out of the picture and of files for other tools.

    Returns:
        A file where Gradio serves and deletes temporary files.

    Raises:
        DemoError: if there is no such file.
    """
    if FORMATS.get(kind) == estimate.report.task:
        return _write_format(estimate, kind, photo, threshold)
    files = write_files(estimate, photo, threshold)
    wanted = f"_{estimate.report.task}{_ENDINGS.get(kind)}"
    chosen = [path for path in files if path.name.endswith(wanted)]
    for path in files:
        if path not in chosen:
            path.unlink()
    if not chosen:
        raise DemoError(texts.NO_FILE)
    return chosen[0]


def write_files(estimate: Estimate, photo: Path, threshold: float) -> list[Path]:
    """Write all files of an estimate.

    Args:
        estimate: of any task.
        photo: file of the photo; its name begins the files' names.
        threshold: keypoints that score less are left out of the picture.

    Returns:
        Files where Gradio serves and deletes temporary files.
    """
    from sapiens_demo.export import WRITERS

    files = WRITERS[estimate.report.task](estimate, _new_folder(), stem_of(photo))
    if estimate.report.task == "pose" and threshold != DEFAULT_THRESHOLD:
        _draw_pose_again(estimate, next(path for path in files if path.suffix == ".png"), threshold)
    return files


def _new_folder() -> Path:
    return temporary_folder() / os.urandom(16).hex()


def _write_format(estimate: Estimate, kind: str, photo: Path, threshold: float) -> Path:
    from sapiens_demo.export import write_format

    return write_format(estimate, kind, _new_folder(), stem_of(photo), photo.name, threshold)


def _draw_pose_again(estimate: Estimate, path: Path, threshold: float) -> None:
    """Put the picture as the visitor sees it in the place of the standard one."""
    from PIL import Image

    from sapiens_demo.drawing import PoseDrawing

    Image.fromarray(PoseDrawing(threshold)(estimate.photo, estimate.result)).save(path, compress_level=1)


def stem_of(photo: Path) -> str:
    """Turn the name of a photo into the beginning of a file's name.

    Args:
        photo: its file.

    Returns:
        Letters, digits, "_", "-" and ".", at most 60; "photo" where nothing is left.
    """
    return re.sub(r"[^\w.-]+", "_", photo.stem).strip("._")[:60] or "photo"
