"""Files that visitors take home."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sapiens_demo.errors import DemoError
from sapiens_demo.estimator import Estimate, Options
from sapiens_demo.ui import texts
from sapiens_demo.ui.downloads import stem_of, write_file
from tests.ui.standins import StandInEstimator


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    return tmp_path


def estimate(task: str, person_only: bool = True) -> Estimate:
    gate = threading.Event()
    gate.set()
    photo = np.full((200, 150, 3), 200, np.uint8)
    return StandInEstimator(gate).estimate(photo, task, "mini", Options(person_only=person_only))


@pytest.mark.parametrize(
    "task, kind", [(task, row[0]) for task, rows in texts.DOWNLOADS.items() for row in rows]
)
def test_every_kind_offered_is_one_file_and_nothing_else(folder: Path, task: str, kind: str) -> None:
    path = write_file(estimate(task), kind, Path("me.jpg"), 0.3)
    assert [each for each in folder.rglob("*") if each.is_file()] == [path]
    assert path.name.startswith(f"me_{task}")
    if path.suffix == ".npy":
        assert np.load(path).shape[:2] == (200, 150)
    elif path.suffix == ".json":
        document = json.loads(path.read_text())
        assert document.get("info", document)["model"]["license"]
    else:
        assert Image.open(path).size == (150, 200)


def test_the_pose_picture_is_as_seen_on_the_page() -> None:
    pictures = [
        np.asarray(Image.open(write_file(estimate("pose"), "png", Path("me.jpg"), threshold)))
        for threshold in (0.3, 0.9)
    ]
    drawn = [int((picture != 200).any(axis=2).sum()) for picture in pictures]
    assert 0 < drawn[1] < drawn[0]


@pytest.mark.parametrize("kind", ["coco", "wholebody", "openpose"])
def test_files_for_other_tools_know_the_photo_and_the_visitors_threshold(kind: str) -> None:
    path = write_file(estimate("pose"), kind, Path("my photo.jpg"), 0.85)
    assert path.name == f"my_photo_pose_{kind}.json"
    document = json.loads(path.read_text())
    assert document["info"]["threshold"] == 0.85
    name = document["info"]["photo"] if kind == "openpose" else document["images"][0]["file_name"]
    assert name == "my photo.jpg"


@pytest.mark.parametrize(
    "task, kind, person_only",
    [("pose", "npy", True), ("depth", "mask", False), ("pose", "../x", True), ("depth", "coco", True)],
)
def test_what_does_not_exist_is_refused_and_leaves_nothing(
    folder: Path, task: str, kind: str, person_only: bool
) -> None:
    with pytest.raises(DemoError, match="no such file"):
        write_file(estimate(task, person_only), kind, Path("me.jpg"), 0.3)
    assert [each for each in folder.rglob("*") if each.is_file()] == []


@pytest.mark.parametrize(
    "name, stem",
    [
        ("holiday.jpg", "holiday"),
        ("my photo (1).jpeg", "my_photo_1"),
        ("../../etc/passwd.png", "passwd"),
        ("Ünïcode.webp", "Ünïcode"),
        ("....png", "photo"),
        ("x" * 300 + ".png", "x" * 60),
    ],
)
def test_names_of_files_are_harmless(name: str, stem: str) -> None:
    assert stem_of(Path(name)) == stem
