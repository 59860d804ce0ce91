"""From an estimate to what the page shows."""

from __future__ import annotations

import dataclasses
import threading
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sapiens_demo.boxes import People
from sapiens_demo.catalog import TASKS
from sapiens_demo.estimator import Estimate, Options
from sapiens_demo.ui.view import Picture, View, as_props, build_view, percent, photo_view
from tests.ui.standins import StandInEstimator


def estimate(task: str, height: int = 60, width: int = 80, **options: Any) -> Estimate:
    gate = threading.Event()
    gate.set()
    photo = np.random.default_rng(0).integers(0, 255, (height, width, 3), np.uint8)
    return StandInEstimator(gate).estimate(photo, task, "mini", Options(**options))


def pixels(picture: Picture) -> np.ndarray:
    return np.asarray(Image.open(BytesIO(picture.data)))


LAYERS = {
    "pose": ["pose"],
    "segmentation": ["segmentation"],
    "depth": ["depth", "depth_normals"],
    "normal": ["normal"],
}
FILES = {
    "pose": ("png", "json", "coco", "wholebody", "openpose"),
    "segmentation": ("png", "labels", "people", "json"),
    "depth": ("png", "npy", "mask", "json"),
    "normal": ("png", "npy", "mask", "json"),
}


@pytest.mark.parametrize("task", TASKS)
def test_a_view_has_the_photos_shape_and_the_tasks_layers(task: str) -> None:
    view = build_view(estimate(task), 0.3)
    assert view.size == (80, 60) and pixels(view.photo).shape == (60, 80, 3)
    assert [layer.id for layer in view.layers] == LAYERS[task]
    assert all(pixels(layer.picture).shape == (60, 80, 3) for layer in view.layers)
    assert view.caption == "Mini · CPU · float32 · not compiled · prepare 3 ms · forward 250 ms"
    assert view.files == FILES[task]


@pytest.mark.parametrize("task", ["depth", "normal"])
def test_without_a_mask_there_is_no_file_of_it(task: str) -> None:
    assert "mask" not in build_view(estimate(task, person_only=False), 0.3).files


@pytest.mark.parametrize("task", TASKS)
def test_large_photos_are_shown_at_two_megapixels(task: str) -> None:
    view = build_view(estimate(task, 1800, 2400), 0.3)
    width, height = view.size
    assert view.pixels == (2400, 1800)
    assert 1_900_000 < width * height <= 2_000_000 and abs(width / height - 4 / 3) < 0.01
    assert pixels(view.layers[0].picture).shape[:2] == pixels(view.photo).shape[:2] == (height, width)


@pytest.mark.parametrize("threshold, seen", [(0.0, 308), (0.5, 154), (1.0, 1)])
def test_the_threshold_counts_and_hides_keypoints(threshold: float, seen: int) -> None:
    view = build_view(estimate("pose", 80, 60), threshold)
    facts = [entry.words["title"] for entry in view.layers[0].legend]
    assert facts == [f"{seen} of 308 keypoints score {threshold:.2f} or more"]


@pytest.mark.parametrize("count, fact", [(0, "Nobody found"), (3, "3 people")])
def test_people_are_counted_where_it_says_something(count: int, fact: str) -> None:
    one = estimate("pose", 80, 60)
    some = dataclasses.replace(one, result=dataclasses.replace(one.result, people=one.result.people * count))
    assert build_view(some, 0.3).layers[0].legend[0].words["title"] == fact


FOUND = People(np.float32([[0, 0, 40, 60]]), np.float32([0.9]), "detector")
WHOLE = "The photo was looked at as a whole"
BOX = (10.0, 10.0, 40.0, 50.0)


@pytest.mark.parametrize(
    "task, options, found, line",
    [
        ("pose", {}, None, "2 people, found in Mini's body parts"),
        ("pose", {"boxes": (BOX,)}, None, "1 person, chosen by hand"),
        ("pose", {"framing": "whole"}, None, WHOLE),
        ("depth", {}, None, WHOLE),
        ("depth", {}, FOUND, f"1 person, found by the detector. {WHOLE}"),
        ("depth", {}, People.nobody(), WHOLE),
        (
            "normal",
            {"framing": "person"},
            FOUND,
            "2 people, found in Mini's body parts; shown to the model one by one",
        ),
        ("segmentation", {"boxes": (BOX,)}, None, "1 person, chosen by hand; shown to the model alone"),
    ],
)
def test_it_is_said_who_was_looked_at_and_who_found_them(
    task: str, options: dict[str, Any], found: People | None, line: str
) -> None:
    view = build_view(estimate(task, **options), 0.3, found=found)
    assert view.people == as_props(view)["people"] == line


def test_the_legend_lists_the_parts_present_with_shares_that_sum_to_all() -> None:
    entries = build_view(estimate("segmentation", 300, 300), 0.3).layers[0].legend
    shares = [float(entry.words["share"].rstrip(" %")) for entry in entries]
    assert shares == sorted(shares, reverse=True) and abs(sum(shares) - 100) < 1.5
    assert all(entry.words["color"].startswith("#") and entry.words["title"] for entry in entries)


@pytest.mark.parametrize(
    "share, words",
    [(1, "100 %"), (0.1, "10 %"), (0.0994, "9.9 %"), (0.012, "1.2 %"), (0.001, "0.1 %"), (0.0001, "<0.1 %")],
)
def test_shares_read_well(share: float, words: str) -> None:
    assert percent(share) == words


def test_pictures_become_temporary_files_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    view = build_view(estimate("depth"), 0.3)
    props = as_props(view, scroll=True)
    files = [Path(props["photo"]["path"]), Path(props["layers"][1]["legend"][0]["picture"]["path"])]
    assert [path.read_bytes() for path in files] == [view.photo.data, view.layers[1].legend[0].picture.data]
    assert props["scroll"] is True and (props["width"], props["height"]) == (80, 60)
    before = sorted(tmp_path.rglob("*"))
    assert as_props(view)["photo"] == props["photo"]
    assert sorted(tmp_path.rglob("*")) == before


def test_a_file_shown_again_lives_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    view = View(Picture(b"photo", ".jpg"), (1, 1))
    path = Path(as_props(view)["photo"]["path"])
    first = path.stat().st_ctime_ns
    threading.Event().wait(0.02)
    as_props(view)
    assert path.stat().st_ctime_ns > first  # Gradio deletes by this time


def test_a_photo_without_result_has_no_layers() -> None:
    view = photo_view(np.zeros((40, 50, 3), np.uint8))
    assert (view.size, view.pixels, view.layers, view.files) == ((50, 40), (50, 40), (), ())
