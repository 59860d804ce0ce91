"""The shipped examples and what was computed for them."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import pytest

from sapiens_demo.catalog import TASKS
from sapiens_demo.ui.examples import FOLDER, ExampleShelf
from sapiens_demo.ui.service import Choice, PhotoFile


@pytest.fixture(scope="module")
def shelf(examples_folder: Path) -> ExampleShelf:
    return ExampleShelf(examples_folder)


def test_examples_come_in_the_listed_order_with_titles(shelf: ExampleShelf) -> None:
    assert [(each.name, each.title) for each in shelf.examples] == [
        ("blue_shirt", "Blue shirt"),
        ("red_shirt", "Red shirt"),
    ]
    assert shelf.find("red_shirt") == shelf.examples[1] and shelf.find("nobody") is None
    assert shelf.thumbnail(shelf.examples[0]).startswith("data:image/webp;base64,")


@pytest.mark.parametrize("task", TASKS)
def test_what_was_written_is_read(shelf: ExampleShelf, task: str) -> None:
    example = shelf.examples[1]
    view = shelf.find_view(Choice(PhotoFile.of(example.path), task, "mini"))
    assert view is not None and view == shelf.view(example, task)
    assert view.size == (480, 360) and view.layers and "beforehand" in view.caption
    assert all(layer.picture.suffix == ".webp" and layer.picture.data[:4] == b"RIFF" for layer in view.layers)
    assert all(layer.legend for layer in view.layers)


@pytest.mark.parametrize(
    "change",
    [
        {"size": "0.3b"},
        {"flip_test": True},
        {"person_only": False},
        {"threshold": 0.5},
        {"boxes": ((1.0, 1.0, 9.0, 9.0),)},
        {"framing": "whole"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_only_what_was_computed_is_shown(shelf: ExampleShelf, change: dict) -> None:
    choice = Choice(PhotoFile.of(shelf.examples[0].path), "pose", "mini")
    other = dataclasses.replace(choice, **change)
    assert shelf.find_view(choice) is not None and shelf.has_view(choice)
    assert shelf.find_view(other) is None and not shelf.has_view(other)


def test_people_were_found_beforehand(shelf: ExampleShelf) -> None:
    digest = PhotoFile.of(shelf.examples[1].path).digest
    people = shelf.find_people(digest, "mini")
    assert people.boxes.tolist() == [[0, 36, 240, 324], [240, 36, 480, 324]] and people.finder == "mini"
    assert shelf.find_people(digest, "1b") is None and shelf.find_people("other", "mini") is None
    view = shelf.find_view(Choice(PhotoFile.of(shelf.examples[1].path), "pose", "mini"))
    assert view.people == "2 people, found in Mini's body parts"


def test_results_without_people_are_read_too(examples_folder: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(examples_folder, tmp_path / "older")
    for path in (folder / "results").glob("*.json"):
        record = json.loads(path.read_text())
        del record["people"], record["photo"]["pixels"]
        for found in record["tasks"].values():
            del found["people"]
        path.write_text(json.dumps(record))
    shelf = ExampleShelf(folder)
    photo = PhotoFile.of(shelf.examples[0].path)
    view = shelf.find_view(Choice(photo, "pose", "mini"))
    assert shelf.find_people(photo.digest, "mini") is None
    assert (view.people, view.pixels) == ("", (320, 400))


def test_another_photo_of_the_same_name_is_not_taken_for_the_example(
    shelf: ExampleShelf, tmp_path: Path
) -> None:
    other = tmp_path / "blue_shirt.jpg"
    other.write_bytes(shelf.examples[1].path.read_bytes()[:-1])
    assert shelf.find_view(Choice(PhotoFile.of(other), "pose", "mini")) is None


def test_a_folder_without_examples_is_no_trouble(tmp_path: Path) -> None:
    assert ExampleShelf(tmp_path / "none").examples == ()


def test_all_shipped_examples_have_their_results() -> None:
    shelf = ExampleShelf()
    assert len(shelf.examples) >= 4
    for example in shelf.examples:
        for task in TASKS:
            assert shelf.find_view(Choice(PhotoFile.of(example.path), task, "mini")), (example.name, task)
    kept = {path.name for path in (FOLDER / "results").iterdir()}
    named = {example.record["thumbnail"] for example in shelf.examples}
    for example in shelf.examples:
        named |= {f"{example.name}.json", example.record["photo"]["picture"]}
        for found in example.record["tasks"].values():
            named |= {layer["picture"] for layer in found["layers"]}
            named |= {
                row["picture"] for layer in found["layers"] for row in layer["legend"] if row["picture"]
            }
    assert kept == named  # nothing left over from examples that are gone
