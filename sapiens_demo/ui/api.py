"""The four endpoints that programs call: pose, segmentation, depth, normal."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any, Literal

import gradio as gr

from sapiens_demo.catalog import SIZES, has_checkpoint
from sapiens_demo.errors import DemoError
from sapiens_demo.ui import texts
from sapiens_demo.ui.downloads import write_files
from sapiens_demo.ui.handlers import explain
from sapiens_demo.ui.people_editor import checked_boxes
from sapiens_demo.ui.photo_input import PhotoInput
from sapiens_demo.ui.result_view import DEFAULT_THRESHOLD
from sapiens_demo.ui.service import SEATS, Choice, PhotoFile, Service

Size = Literal["mini", "0.3b", "0.6b", "1b", "2b"]
Framing = Literal["auto", "whole", "person"]
Boxes = list[list[float]] | None

_BOXES_SCHEMA = {
    "type": "array",
    "items": {"type": "array", "items": {"type": "number"}},
    "additional_description": "people to look at: [x1, y1, x2, y2] each, in pixels of the upright photo; "
    "none has them found, [] takes the whole photo",
}


class CheckedChoice(gr.Radio):
    """Take one of some choices, and say which there are to whoever asks for another."""

    is_template = True

    def preprocess(self, payload: Any) -> str:
        """Check the choice.

        Args:
            payload: what a client sent.
        """
        values = [value for _, value in self.choices]
        if payload not in values:
            raise gr.Error(texts.unknown_choice(self.label, payload, values), print_exception=False)
        return payload


class BoxesInput(gr.JSON):
    """Take boxes of people."""

    is_template = True

    def preprocess(self, payload: Any) -> Any:
        """Check that they are boxes; whether they lie in the photo is checked when it is read.

        Args:
            payload: what a client sent.

        Returns:
            x1, y1, x2, y2 each, or None.
        """
        return None if payload is None else checked_boxes(payload)

    def api_info(self) -> dict[str, Any]:
        """Describe the value: a list of lists of numbers."""
        return _BOXES_SCHEMA

    def example_payload(self) -> Any:
        """Return an example for the documentation."""
        return [[120, 40, 360, 700]]


def _photo_input() -> PhotoInput:
    return PhotoInput(label="photo", type="filepath", image_mode=None)


def _size_choice(task: str) -> CheckedChoice:
    return CheckedChoice([size for size in SIZES if has_checkpoint(task, size)], value="mini", label="size")


class Endpoints:
    """Answer programs. They wait in the same line as the page's visitors.

    Args:
        service: the engine's front.
    """

    def __init__(self, service: Service) -> None:
        self._service = service

    async def pose(
        self,
        photo: str,
        size: Size = "mini",
        flip_test: bool = False,
        boxes: Boxes = None,
        framing: Framing = "auto",
    ) -> tuple[Any, str]:
        """Find 308 keypoints of each person.

        Args:
            photo: an image file: JPEG, PNG, WebP, AVIF, GIF, BMP or TIFF, up to 50 megapixels.
            size: of the model.
            flip_test: also look at the mirrored photo and take the mean.
            boxes: people to look at, x1, y1, x2, y2 each in pixels of the upright photo; found if not given.
            framing: "whole" takes the whole photo for one person; else people are looked at one by one.

        Returns:
            people: names, x and y in pixels of the upright photo, and scores of all keypoints.
            picture: the photo with keypoints and skeleton drawn on it, PNG.
        """
        options = {"flip_test": flip_test, "boxes": boxes, "framing": framing}
        files = await self._files(photo, "pose", size, **options)
        return _read(files[".json"]), files[".png"]

    async def segmentation(
        self, photo: str, size: Size = "mini", boxes: Boxes = None, framing: Framing = "auto"
    ) -> tuple[Any, str, str]:
        """Label every pixel with one of 28 body parts.

        Args:
            photo: an image file: JPEG, PNG, WebP, AVIF, GIF, BMP or TIFF, up to 50 megapixels.
            size: of the model.
            boxes: people to look at, x1, y1, x2, y2 each in pixels of the upright photo; found if not given.
            framing: "whole" gives the network the whole photo, "person" a crop of each person.

        Returns:
            facts: the parts present and their shares of the person's pixels, and all classes.
            picture: the photo with the parts tinted, PNG.
            labels: class ids 0 (background) to 27 as 8-bit grey levels, PNG.
        """
        files = await self._files(photo, "segmentation", size, boxes=boxes, framing=framing)
        return _read(files[".json"]), files[".png"], files["_labels.png"]

    async def depth(
        self,
        photo: str,
        size: Size = "mini",
        person_only: bool = True,
        boxes: Boxes = None,
        framing: Framing = "auto",
    ) -> tuple[Any, str, str, str | None]:
        """Estimate relative depth.

        Args:
            photo: an image file: JPEG, PNG, WebP, AVIF, GIF, BMP or TIFF, up to 50 megapixels.
            size: of the model.
            person_only: leave the background out, by the body parts model.
            boxes: people to look at, x1, y1, x2, y2 each in pixels of the upright photo; found if not given.
            framing: "whole" gives the network the whole photo, "person" a crop of each person.

        Returns:
            facts: the range, and what the numbers mean.
            picture: depth in colours, near is bright, PNG.
            depth: float32 (height, width), larger is farther, NPY.
            mask: 255 where the person is, PNG; none without person_only.
        """
        options = {"person_only": person_only, "boxes": boxes, "framing": framing}
        files = await self._files(photo, "depth", size, **options)
        return _read(files[".json"]), files[".png"], files[".npy"], files.get("_mask.png")

    async def normal(
        self,
        photo: str,
        size: Size = "mini",
        person_only: bool = True,
        boxes: Boxes = None,
        framing: Framing = "auto",
    ) -> tuple[Any, str, str, str | None]:
        """Estimate surface normals.

        Args:
            photo: an image file: JPEG, PNG, WebP, AVIF, GIF, BMP or TIFF, up to 50 megapixels.
            size: of the model.
            person_only: leave the background out, by the body parts model.
            boxes: people to look at, x1, y1, x2, y2 each in pixels of the upright photo; found if not given.
            framing: "whole" gives the network the whole photo, "person" a crop of each person.

        Returns:
            facts: what the numbers mean.
            picture: normals in colours, PNG.
            normals: float32 (height, width, 3), x right, y up, z to the viewer, NPY.
            mask: 255 where the person is, PNG; none without person_only.
        """
        options = {"person_only": person_only, "boxes": boxes, "framing": framing}
        files = await self._files(photo, "normal", size, **options)
        return _read(files[".json"]), files[".png"], files[".npy"], files.get("_mask.png")

    async def _files(self, photo: str | None, task: str, size: str, **options: Any) -> dict[str, str]:
        """Return the files of a result, by the end of their names."""
        try:
            if photo is None:
                raise DemoError(texts.NO_PHOTO)
            choice = Choice(await asyncio.to_thread(PhotoFile.of, photo), task, size, **options)
            for ask in (self._service.fetch, self._service.run):
                job = await asyncio.to_thread(ask, choice)
                if job is not None:
                    estimate = await self._answer(job)
            files = await asyncio.to_thread(write_files, estimate, choice.photo.path, DEFAULT_THRESHOLD)
        except Exception as error:
            raise gr.Error(explain(error), print_exception=False) from error
        return {path.name.rpartition(f"_{task}")[2]: str(path) for path in files}

    async def _answer(self, job: Any) -> Any:
        try:
            return await asyncio.shield(asyncio.wrap_future(job.future))
        finally:
            job.leave()


def _read(path: str) -> Any:
    """Read a JSON file and delete it: only what goes out as a file is deleted by Gradio."""
    content = json.loads(Path(path).read_text(encoding="utf-8"))
    Path(path).unlink()
    return content


def add_endpoints(service: Service) -> None:
    """Add the endpoints to the Blocks that are being built.

    They need components for what goes in and out, which nobody sees.

    Args:
        service: the engine's front.
    """
    endpoints = Endpoints(service)
    shared = {"concurrency_id": "device", "concurrency_limit": SEATS}
    outputs = {
        "pose": [("people", gr.JSON), ("picture", gr.Image)],
        "segmentation": [("facts", gr.JSON), ("picture", gr.Image), ("labels", gr.File)],
        "depth": [("facts", gr.JSON), ("picture", gr.Image), ("depth", gr.File), ("mask", gr.File)],
        "normal": [("facts", gr.JSON), ("picture", gr.Image), ("normals", gr.File), ("mask", gr.File)],
    }
    switches = {
        "pose": ["flip_test"],
        "segmentation": [],
        "depth": ["person_only"],
        "normal": ["person_only"],
    }
    with gr.Row(visible=False):
        for task, results in outputs.items():
            options = [gr.Checkbox(name == "person_only", label=name) for name in switches[task]]
            people = [
                BoxesInput(label="boxes"),
                CheckedChoice(list(texts.FRAMINGS), value="auto", label="framing"),
            ]
            gr.Button().click(
                getattr(endpoints, task),
                [_photo_input(), _size_choice(task), *options, *people],
                [
                    kind(label=label, **({"type": "filepath", "format": "png"} if kind is gr.Image else {}))
                    for label, kind in results
                ],
                api_name=task,
                api_description=texts.API_DESCRIPTIONS[task],
                **shared,
            )
