"""The shipped examples, and what Mini found in them, computed beforehand.

    python -m sapiens_demo.ui.examples

runs Mini over the photos of assets/examples/ and writes a JSON file and small pictures for each into
assets/examples/results/.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sapiens_demo.boxes import People
from sapiens_demo.catalog import TASKS
from sapiens_demo.ui import texts
from sapiens_demo.ui.result_view import DEFAULT_THRESHOLD
from sapiens_demo.ui.view import Entry, Layer, Picture, View

if TYPE_CHECKING:
    from sapiens_demo.estimator import Estimator
    from sapiens_demo.ui.service import Choice

FOLDER = Path(__file__).parents[2] / "assets" / "examples"
SIZE = "mini"

_THUMBNAIL_SIDE = 144  # px


@dataclass(frozen=True)
class Example:
    """Name an example.

    Args:
        path: of the photo.
        title: what people call it.
        alt: what is to be seen on it.
        record: content of its JSON file in results/, or None where nothing was computed for it.
    """

    path: Path
    title: str
    alt: str
    record: dict[str, Any] | None

    @property
    def name(self) -> str:
        """Return what tells it from the others."""
        return self.path.stem


class ExampleShelf:
    """Hold the examples and what was found in them.

    Args:
        folder: with the photos; results/ in it holds what was computed.
    """

    def __init__(self, folder: Path = FOLDER) -> None:
        self._folder = folder

    @cached_property
    def examples(self) -> tuple[Example, ...]:
        """Return all examples, in the order of examples.json."""
        return tuple(
            Example(self._folder / row["file"], row["title"], row["alt"], self._read_record(row["file"]))
            for row in list_photos(self._folder)
        )

    def find(self, name: str) -> Example | None:
        """Return the example of a name, or None.

        Args:
            name: as Example.name.
        """
        return next((example for example in self.examples if example.name == name), None)

    def thumbnail(self, example: Example) -> str:
        """Return a small picture of an example as a data address, or "" where none was made.

        Args:
            example: one of this shelf's.
        """
        if example.record is None:
            return ""
        data = (self._folder / "results" / example.record["thumbnail"]).read_bytes()
        return "data:image/webp;base64," + base64.b64encode(data).decode()

    def find_view(self, choice: Choice) -> View | None:
        """Return what was computed beforehand for a choice, or None.

        Args:
            choice: what a visitor wants; only Mini with all options at their defaults was computed.
        """
        example = self._example_of(choice)
        return self.view(example, choice.task) if example else None

    def has_view(self, choice: Choice) -> bool:
        """Tell whether something was computed beforehand for a choice.

        Args:
            choice: what a visitor wants.
        """
        example = self._example_of(choice)
        return example is not None and choice.task in example.record["tasks"]

    def photo_view(self, digest: str) -> View | None:
        """Return an example's photo without a result, or None where it is no example.

        Args:
            digest: SHA-256 of the photo's file.
        """
        example = self._computed(digest)
        return self._photo_view(example) if example else None

    def _photo_view(self, example: Example) -> View:
        photo = example.record["photo"]
        size = photo["width"], photo["height"]
        return View(self._picture(photo["picture"]), size, pixels=tuple(photo.get("pixels", size)))

    def find_people(self, digest: str, size: str) -> People | None:
        """Return who was found beforehand in a photo, or None.

        Args:
            digest: SHA-256 of the photo's file.
            size: of the model that is to look at them; only for Mini people were looked for.
        """
        example = self._computed(digest) if size == SIZE else None
        found = example.record.get("people") if example else None
        if found is None:
            return None
        boxes = np.array(found["boxes"], np.float32).reshape(-1, 4)
        return People(boxes, np.array(found["scores"], np.float32), found["finder"])

    def _example_of(self, choice: Choice) -> Example | None:
        plain = choice == type(choice)(choice.photo, choice.task, SIZE)
        return self._computed(choice.photo.digest) if plain else None

    def _computed(self, digest: str) -> Example | None:
        """Return the example whose photo this is, where something was computed for it."""
        for example in self.examples:
            if example.record and example.record["photo"]["sha256"] == digest:
                return example
        return None

    def view(self, example: Example, task: str) -> View | None:
        """Return what was computed beforehand for an example, or None.

        Args:
            example: one of this shelf's.
            task: one of catalog.TASKS.
        """
        if example.record is None or task not in example.record["tasks"]:
            return None
        found = example.record["tasks"][task]
        layers = tuple(
            Layer(layer["id"], self._picture(layer["picture"]), tuple(map(self._entry, layer["legend"])))
            for layer in found["layers"]
        )
        return replace(
            self._photo_view(example),
            layers=layers,
            caption=found["caption"],
            notes=tuple(found["notes"]),
            files=tuple(found["files"]),
            people=found.get("people", ""),
        )

    def _entry(self, record: dict[str, Any]) -> Entry:
        picture = self._picture(record["picture"]) if record["picture"] else None
        return Entry(record["kind"], record["words"], picture)

    def _picture(self, name: str) -> Picture:
        path = self._folder / "results" / name
        return Picture(path.read_bytes(), path.suffix)

    def _read_record(self, file: str) -> dict[str, Any] | None:
        path = self._folder / "results" / f"{Path(file).stem}.json"
        return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def list_photos(folder: Path) -> list[dict[str, str]]:
    """List the examples of a folder.

    Args:
        folder: with examples.json.

    Returns:
        "file", "title" and "alt" of each, in order; empty without examples.json.
    """
    listing = folder / "examples.json"
    rows = json.loads(listing.read_text(encoding="utf-8")) if listing.is_file() else []
    return [row for row in rows if (folder / row["file"]).is_file()]


# ---- Computing them -------------------------------------------------------------------------------------


def write_results(folder: Path = FOLDER, estimator: Estimator | None = None) -> list[Path]:
    """Run Mini over the examples of a folder and write what it finds.

    Args:
        folder: with the photos.
        estimator: the engine; without one, the real one.

    Returns:
        The JSON files.
    """
    if estimator is None:
        from sapiens_demo.estimator import Estimator

        estimator = Estimator()
    target = folder / "results"
    target.mkdir(exist_ok=True)
    for old in target.iterdir():
        old.unlink()
    return [
        _write_example(estimator, path, target)
        for path in (folder / row["file"] for row in list_photos(folder))
    ]


def _write_example(estimator: Estimator, path: Path, target: Path) -> Path:
    from PIL import Image

    from sapiens_demo.photo import read_photo
    from sapiens_demo.ui.service import PhotoFile
    from sapiens_demo.ui.view import build_view, encode

    writer = partial(encode, format="WEBP", quality=86, method=6)
    photo = read_photo(path)
    record: dict[str, Any] = {"thumbnail": f"{path.stem}_thumbnail.webp", "tasks": {}}
    small = Image.fromarray(photo)
    small.thumbnail(
        (2 * _THUMBNAIL_SIDE, _THUMBNAIL_SIDE)
        if small.width > small.height
        else (_THUMBNAIL_SIDE, 2 * _THUMBNAIL_SIDE)
    )
    small.save(target / record["thumbnail"], quality=80, method=6)
    people = estimator.people.find(photo, SIZE)
    record["people"] = {
        "finder": people.finder,
        "boxes": people.boxes.tolist(),
        "scores": people.scores.tolist(),
    }
    for task in TASKS:
        estimator.estimate(photo, task, SIZE)  # the first run of a model pays for loading it
        view = build_view(estimator.estimate(photo, task, SIZE), DEFAULT_THRESHOLD, writer, people)
        view = replace(view, caption=f"{view.caption} · {texts.BEFOREHAND}")
        record["photo"] = {
            "sha256": PhotoFile.of(path).digest,
            "width": view.size[0],
            "height": view.size[1],
            "pixels": list(view.pixels),
            "picture": _keep(view.photo, target, f"{path.stem}_photo"),
        }
        record["tasks"][task] = _view_record(view, target, f"{path.stem}_")
    file = target / f"{path.stem}.json"
    file.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return file


def _view_record(view: View, target: Path, prefix: str) -> dict[str, Any]:
    return {
        "caption": view.caption,
        "people": view.people,
        "notes": list(view.notes),
        "files": list(view.files),
        "layers": [
            {
                "id": layer.id,
                "picture": _keep(layer.picture, target, prefix + layer.id),
                "legend": [
                    {
                        "kind": entry.kind,
                        "words": entry.words,
                        "picture": entry.picture and _keep(entry.picture, target, f"legend_{entry.kind}"),
                    }
                    for entry in layer.legend
                ],
            }
            for layer in view.layers
        ],
    }


def _keep(picture: Picture, target: Path, stem: str) -> str:
    name = stem + picture.suffix
    (target / name).write_bytes(picture.data)
    return name


if __name__ == "__main__":
    for written in write_results():
        print(written)
