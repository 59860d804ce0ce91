"""An estimate becomes what the page shows of it: small pictures, a legend and one line of figures.

This is the seam between data and screen. `build_view` knows results, the components know only what `as_props`
returns, and a component that draws in the browser would change nothing but this file.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from sapiens_demo.ui import texts

if TYPE_CHECKING:
    from sapiens_demo.boxes import People
    from sapiens_demo.estimator import Estimate, Report

_JPEG = {"format": "JPEG", "quality": 90, "subsampling": 0}


@dataclass(frozen=True)
class Picture:
    """Hold an encoded picture.

    Args:
        data: content of the file.
        suffix: ".jpg", ".png" or ".webp".
    """

    data: bytes
    suffix: str


@dataclass(frozen=True)
class Entry:
    """Describe one entry of a legend.

    Args:
        kind: "parts", "fact", "scale" or "ball"; the script draws each in its own way.
        words: what it says, by name.
        picture: what it shows, or None.
    """

    kind: str
    words: dict[str, str]
    picture: Picture | None = None


@dataclass(frozen=True)
class Layer:
    """Hold one way to look at a result.

    Args:
        id: key of texts.LAYER_TITLES.
        picture: the result at full strength, of the photo's shape.
        legend: what its colours mean.
    """

    id: str
    picture: Picture
    legend: tuple[Entry, ...] = ()


@dataclass(frozen=True)
class View:
    """Hold all that the page shows of a photo and, if there is one, of a result.

    Args:
        photo: the photo at display size.
        size: (width, height) of the photo at display size, px.
        layers: empty where there is no result yet.
        caption: what ran and how long it took.
        notes: sentences for the visitor.
        files: the kinds of download there are, keys of texts.DOWNLOADS.
        people: whom the model looked at, and who found them.
        pixels: (width, height) of the photo itself, px; None where that is the display size.
    """

    photo: Picture
    size: tuple[int, int]
    layers: tuple[Layer, ...] = ()
    caption: str = ""
    notes: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    people: str = ""
    pixels: tuple[int, int] | None = None


Encode = Callable[[np.ndarray], Picture]


# ---- From results to views ------------------------------------------------------------------------------


def encode(pixels: np.ndarray, **options: Any) -> Picture:
    """Encode a picture for the browser.

    Args:
        pixels: (H, W, 3) uint8 RGB.
        options: for PIL's writer; without any, JPEG with full colour resolution.
    """
    options = options or _JPEG
    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, **options)
    return Picture(buffer.getvalue(), "." + options["format"].lower().replace("jpeg", "jpg"))


encode_png = partial(encode, format="PNG")


def photo_view(photo: np.ndarray) -> View:
    """Show a photo that has no result yet.

    Args:
        photo: (H, W, 3) uint8 RGB.
    """
    from sapiens_demo.drawing import shrink_for_display

    small = shrink_for_display(photo)
    return View(encode(small), _size(small), pixels=_size(photo))


def _size(picture: np.ndarray) -> tuple[int, int]:
    return picture.shape[1], picture.shape[0]


def build_view(
    estimate: Estimate,
    threshold: float,
    encode: Encode = encode,
    found: People | None = None,
    shown: View | None = None,
) -> View:
    """Show an estimate.

    Args:
        estimate: of any task.
        threshold: keypoints that score less are not drawn; other tasks take no notice.
        encode: makes pictures into files.
        found: who is in the photo, where that is known though the model looked at all of it.
        shown: of the same photo without a result, whose picture need not be made again; or None.
    """
    from sapiens_demo.drawing import shrink_for_display, shrink_result

    photo = shrink_for_display(estimate.photo)
    small = shrink_result(estimate.result, photo.shape[:2])
    layers = _LAYERS[estimate.report.task](photo, small, threshold, encode)
    files = tuple(
        kind for kind, *_ in texts.DOWNLOADS[estimate.report.task] if kind != "mask" or _has_mask(small)
    )
    return View(
        shown.photo if shown else encode(photo),
        _size(photo),
        layers,
        caption(estimate.report),
        tuple(estimate.report.notes),
        files,
        people_line(estimate, found),
        _size(estimate.photo),
    )


def _has_mask(result: Any) -> bool:
    return getattr(result, "mask", None) is not None


def _pose_layers(photo: np.ndarray, result: Any, threshold: float, encode: Encode) -> tuple[Layer, ...]:
    from sapiens_demo.drawing import PoseDrawing

    scores = np.concatenate([person.scores for person in result.people]) if result.people else np.zeros(0)
    seen = int((scores >= threshold).sum())
    titles = [texts.KEYPOINTS_SEEN.format(seen=seen, all=len(scores), threshold=f"{threshold:.2f}")]
    if not result.people:
        titles = [texts.NOBODY_SEEN]
    if len(result.people) > 1:
        titles.insert(0, texts.PEOPLE_SEEN.format(count=len(result.people)))
    facts = tuple(Entry("fact", {"title": title}) for title in titles)
    return (Layer("pose", encode(PoseDrawing(threshold)(photo, result)), facts),)


def _segmentation_layers(
    photo: np.ndarray, result: Any, threshold: float, encode: Encode
) -> tuple[Layer, ...]:
    from sapiens_demo.drawing import SegmentationDrawing, legend

    entries = tuple(
        Entry(
            "parts",
            {
                "title": part.title,
                "color": "#{:02x}{:02x}{:02x}".format(*part.color),
                "share": percent(part.share),
            },
        )
        for part in legend(result)
    )
    return (Layer("segmentation", encode(SegmentationDrawing(1.0)(photo, result)), entries),)


def _depth_layers(photo: np.ndarray, result: Any, threshold: float, encode: Encode) -> tuple[Layer, ...]:
    from sapiens_demo.drawing import DepthDrawing, DepthNormalsDrawing, depth_color_bar

    words = {"near": texts.LEGEND_NEAR, "far": texts.LEGEND_FAR, "alt": texts.RESULT_ALTS["depth"]}
    scale = Entry("scale", words, encode_png(depth_color_bar()))
    return (
        Layer("depth", encode(DepthDrawing()(photo, result)), (scale,)),
        Layer("depth_normals", encode(DepthNormalsDrawing()(photo, result)), (_ball(),)),
    )


def _normal_layers(photo: np.ndarray, result: Any, threshold: float, encode: Encode) -> tuple[Layer, ...]:
    from sapiens_demo.drawing import NormalDrawing

    return (Layer("normal", encode(NormalDrawing()(photo, result)), (_ball(),)),)


def _ball() -> Entry:
    from sapiens_demo.drawing import normal_sphere

    return Entry("ball", {"sentence": texts.LEGEND_SPHERE}, encode_png(normal_sphere(128)))


_LAYERS: dict[str, Callable[[np.ndarray, Any, float, Encode], tuple[Layer, ...]]] = {
    "pose": _pose_layers,
    "segmentation": _segmentation_layers,
    "depth": _depth_layers,
    "normal": _normal_layers,
}


def percent(share: float) -> str:
    """Write a share of a person, "12 %", "0.4 %" or "<0.1 %".

    Args:
        share: 0 to 1.
    """
    value = 100 * share
    if value >= 9.95:
        return f"{value:.0f} %"
    return f"{value:.1f} %" if value >= 0.1 else "<0.1 %"


def caption(report: Report) -> str:
    """Say in one line what ran.

    Args:
        report: of an estimate.
    """
    info = report.info
    compiled = texts.COMPILED if info.compiled else texts.NOT_COMPILED
    stages = [f"{name} {texts.milliseconds(value)}" for name, value in report.stages.items() if value >= 0.5]
    return " · ".join([report.model_title, info.device_title, info.precision, compiled, *stages])


def people_line(estimate: Estimate, found: People | None = None) -> str:
    """Say in one line whom the model looked at, and who found them.

    Args:
        estimate: of any task.
        found: who is in the photo, where that is known though the model looked at all of it.
    """
    people = estimate.people if len(estimate.people) else found
    count = 0 if people is None else len(people)
    who = texts.found_by(count, people.finder) if count else ""
    if not len(estimate.people):
        return ". ".join(filter(None, (who, texts.WHOLE_PHOTO)))
    return who if estimate.report.task == "pose" else texts.one_by_one(who, count)


# ---- From views to what components read -----------------------------------------------------------------


def as_props(view: View, *, scroll: bool = False) -> dict[str, Any]:
    """Turn a view into the value of a ResultView, with its pictures as temporary files.

    Files rather than data addresses, because Gradio keeps every visitor's last values in memory, and because
    files go away by themselves.

    Args:
        view: what is to be shown.
        scroll: whether a phone brings the result into sight.
    """
    return {
        "photo": file_data(view.photo),
        "width": view.size[0],
        "height": view.size[1],
        "layers": [
            {
                "id": layer.id,
                "title": texts.LAYER_TITLES[layer.id],
                "alt": texts.RESULT_ALTS[layer.id],
                "picture": file_data(layer.picture),
                "legend": [_legend_props(entry) for entry in layer.legend],
            }
            for layer in view.layers
        ],
        "caption": view.caption,
        "people": view.people,
        "notes": list(view.notes),
        "files": list(view.files),
        "scroll": scroll,
    }


def _legend_props(entry: Entry) -> dict[str, Any]:
    picture = {"picture": file_data(entry.picture)} if entry.picture else {}
    return {"kind": entry.kind, **entry.words, **picture}


def file_data(picture: Picture) -> dict[str, Any]:
    """Write a picture where Gradio serves and deletes temporary files; one that is there already lives on.

    Args:
        picture: what is to be shown.

    Returns:
        What Gradio turns into an address on its way to the browser.
    """
    digest = hashlib.sha256(picture.data).hexdigest()
    path = temporary_folder() / digest / f"view{picture.suffix}"
    if path.exists():
        os.utime(path)  # files are deleted by age
    else:
        path.parent.mkdir(parents=True, exist_ok=True)
        written = path.with_name(f".{os.getpid()}-{os.urandom(4).hex()}")
        written.write_bytes(picture.data)
        written.replace(path)
    return {"path": str(path), "meta": {"_type": "gradio.FileData"}}


def temporary_folder() -> Path:
    """Return the folder in which Gradio keeps temporary files."""
    return Path(os.environ.get("GRADIO_TEMP_DIR") or Path(tempfile.gettempdir()) / "gradio").resolve()
