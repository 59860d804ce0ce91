"""Files for use elsewhere: their names, what is in them, and what happens when they cannot be written."""

from __future__ import annotations

import errno
import json
import os
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from sapiens_demo.boxes import People
from sapiens_demo.drawing import DepthDrawing, NormalDrawing, PoseDrawing, SegmentationDrawing
from sapiens_demo.errors import DemoError
from sapiens_demo.estimator import Estimate, Report
from sapiens_demo.export import (
    WRITERS,
    ExportError,
    depth_json,
    normal_json,
    pose_json,
    segmentation_json,
    write_depth,
    write_normal,
    write_pose,
    write_segmentation,
)
from sapiens_demo.models import ModelInfo
from sapiens_demo.tasks.depth import DepthResult
from sapiens_demo.tasks.normal import NormalResult
from sapiens_demo.tasks.pose import Person, PoseResult
from sapiens_demo.tasks.segmentation import SegmentationResult
from sapiens_demo.vocabulary import KEYPOINTS, PARTS

HEIGHT, WIDTH = 60, 90
DEV_FULL = Path("/dev/full")

MASK = np.zeros((HEIGHT, WIDTH), bool)
MASK[10:50, 20:70] = True


def make_estimate(task: str, result: object) -> Estimate:
    photo = np.random.default_rng(4).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
    info = ModelInfo(
        task=task,
        size="mini",
        device="cpu",
        device_title="CPU",
        precision="float32",
        compiled=False,
        file=f"sapiens_mini_{task}.safetensors",
        license="Apache-2.0",
    )
    stages = {"prepare": 1.234, "load": 20.0, "forward": 300.06, "decode": 4.5}
    report = Report(
        task=task, size="mini", model_title="Mini", info=info, stages=stages, notes=("A note for people.",)
    )
    return Estimate(photo=photo, result=result, report=report)


def make_pose() -> Estimate:
    generator = np.random.default_rng(6)
    people = tuple(
        Person(
            np.float32([0, 0, WIDTH, HEIGHT]),
            generator.uniform(-5, 95, (308, 2)).astype(np.float32),
            generator.uniform(-0.1, 1.2, 308).astype(np.float32),
        )
        for _ in range(2)
    )
    return make_estimate("pose", PoseResult((HEIGHT, WIDTH), people))


def make_segmentation() -> Estimate:
    labels = np.zeros((HEIGHT, WIDTH), np.uint8)
    labels[10:40, 20:70], labels[40:50, 20:70] = 22, 3
    return make_estimate("segmentation", SegmentationResult(labels))


def make_depth(mask: np.ndarray | None = MASK) -> Estimate:
    depth = np.random.default_rng(7).uniform(0, 1, (HEIGHT, WIDTH)).astype(np.float32)
    depth[0, 0] = 99
    return make_estimate("depth", DepthResult(depth, mask))


def make_normal(mask: np.ndarray | None = MASK) -> Estimate:
    normals = np.random.default_rng(8).normal(size=(HEIGHT, WIDTH, 3)).astype(np.float32)
    normals /= np.linalg.norm(normals, axis=2, keepdims=True)
    return make_estimate("normal", NormalResult(normals, mask))


ESTIMATES = {"pose": make_pose, "segmentation": make_segmentation, "depth": make_depth, "normal": make_normal}


def read_picture(path: Path) -> np.ndarray:
    picture = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    return picture if picture.ndim == 2 else picture[..., ::-1]


# ---- Descriptions -----------------------------------------------------------------------------------------


def test_pose_json_names_all_keypoints_of_everybody():
    estimate = make_pose()
    document = pose_json(estimate, "photo")
    assert document["image"] == {"width": WIDTH, "height": HEIGHT}
    assert len(document["people"]) == 2
    for described, person in zip(document["people"], estimate.result.people, strict=True):
        assert set(described) == {"box", "score", "keypoints"}
        assert described["box"] == [0, 0, WIDTH, HEIGHT] and described["score"] is None
        rows = described["keypoints"]
        assert [(row["id"], row["name"]) for row in rows] == [(point.id, point.name) for point in KEYPOINTS]
        assert all(set(row) == {"id", "name", "x", "y", "score"} for row in rows)
        places = np.array([(row["x"], row["y"]) for row in rows])
        assert np.abs(places - person.keypoints).max() < 6e-4
        assert [row["score"] for row in rows] == pytest.approx(person.scores.tolist(), abs=6e-6)
    assert "not a probability" in document["score_kind"]
    assert (document["framing"], document["people_finder"]) == ("whole", None)


def test_pose_json_tells_who_found_whom_and_how_surely():
    whole = make_pose()
    boxes = np.array([person.box for person in whole.result.people])
    people = People(boxes, np.float32([0.9, 0.25]), "detector")
    report = replace(whole.report, framing="person")
    document = pose_json(Estimate(whole.photo, whole.result, report, people), "photo")
    assert [person["score"] for person in document["people"]] == [pytest.approx(0.9), 0.25]
    assert (document["framing"], document["people_finder"]) == ("person", "detector")


def test_segmentation_json_lists_parts_by_share_and_explains_the_labels():
    document = segmentation_json(make_segmentation(), "photo")
    assert document["labels"] == "photo_segmentation_labels.png"
    assert document["person_share"] == pytest.approx(2000 / (HEIGHT * WIDTH), abs=1e-6)
    assert [(part["id"], part["name"], part["pixels"], part["share"]) for part in document["parts"]] == [
        (22, "Upper_Clothing", 1500, 0.75),
        (3, "Hair", 500, 0.25),
    ]
    assert document["parts"][1]["color"] == "#ff006d"
    assert [row["name"] for row in document["classes"]] == [part.name for part in PARTS]


def test_segmentation_json_without_a_person():
    empty = make_estimate("segmentation", SegmentationResult(np.zeros((HEIGHT, WIDTH), np.uint8)))
    document = segmentation_json(empty, "photo")
    assert document["parts"] == [] and document["person_share"] == 0


def test_depth_json_gives_the_range_of_the_person():
    estimate = make_depth()
    document = depth_json(estimate, "photo")
    inside = estimate.result.depth[MASK]
    assert document["range"] == {"minimum": float(inside.min()), "maximum": float(inside.max())}
    assert 0 < document["colors"]["bright"] < document["colors"]["dark"] < 1
    assert document["depth"] == "photo_depth.npy" and document["mask"] == "photo_depth_mask.png"
    assert "larger is farther" in document["convention"]


def test_normal_json_gives_the_axes():
    document = normal_json(make_normal(), "photo")
    assert document["normals"] == "photo_normal.npy" and document["mask"] == "photo_normal_mask.png"
    assert "x right, y up, z to the viewer" in document["convention"]


@pytest.mark.parametrize("mask", [None, np.zeros((HEIGHT, WIDTH), bool)], ids=["no mask", "empty mask"])
def test_maps_without_a_person_are_described_whole(mask):
    assert depth_json(make_depth(mask), "photo")["range"]["maximum"] == 99
    assert (normal_json(make_normal(mask), "photo")["mask"] is None) == (mask is None)


@pytest.mark.parametrize("task", ESTIMATES)
def test_every_description_tells_what_ran_under_which_licence(task):
    describe = {
        "pose": pose_json,
        "segmentation": segmentation_json,
        "depth": depth_json,
        "normal": normal_json,
    }
    document = describe[task](ESTIMATES[task](), "photo")
    assert document["model"] == {
        "task": task,
        "size": "mini",
        "title": "Mini",
        "file": f"sapiens_mini_{task}.safetensors",
        "license": "Apache-2.0",
        "device": "cpu",
        "device_title": "CPU",
        "precision": "float32",
        "compiled": False,
    }
    assert document["milliseconds"] == {"prepare": 1.2, "load": 20.0, "forward": 300.1, "decode": 4.5}
    assert document["notes"] == ["A note for people."]
    assert document["privacy"] == "The demo does not keep photos."
    assert json.loads(json.dumps(document, allow_nan=False)) == document


# ---- Files ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("task", "endings"),
    [
        ("pose", ["pose.json", "pose.png"]),
        ("segmentation", ["segmentation.json", "segmentation.png", "segmentation_labels.png"]),
        ("depth", ["depth.json", "depth.npy", "depth.png", "depth_mask.png"]),
        ("normal", ["normal.json", "normal.npy", "normal.png", "normal_mask.png"]),
    ],
)
def test_files_have_the_promised_names_and_nothing_else_is_left(task, endings, tmp_path):
    folder = tmp_path / "new" / "folder"
    written = WRITERS[task](ESTIMATES[task](), folder, "IMG 1.x ü")
    assert sorted(written) == [folder / f"IMG 1.x ü_{ending}" for ending in endings]
    assert sorted(folder.iterdir()) == sorted(written)
    again = WRITERS[task](ESTIMATES[task](), folder, "IMG 1.x ü")
    assert again == written


def test_pose_files(tmp_path):
    estimate = make_pose()
    document, picture = write_pose(estimate, tmp_path, "a")
    assert json.loads(document.read_text(encoding="utf-8")) == pose_json(estimate, "a")
    assert np.array_equal(read_picture(picture), PoseDrawing()(estimate.photo, estimate.result))


def test_segmentation_files(tmp_path):
    estimate = make_segmentation()
    document, picture, labels = write_segmentation(estimate, tmp_path, "a")
    assert json.loads(document.read_text(encoding="utf-8")) == segmentation_json(estimate, "a")
    assert np.array_equal(read_picture(picture), SegmentationDrawing()(estimate.photo, estimate.result))
    assert np.array_equal(read_picture(labels), estimate.result.labels)
    assert read_picture(labels).dtype == np.uint8


def test_depth_files(tmp_path):
    estimate = make_depth()
    document, picture, array, mask = write_depth(estimate, tmp_path, "a")
    assert json.loads(document.read_text(encoding="utf-8")) == depth_json(estimate, "a")
    assert np.array_equal(read_picture(picture), DepthDrawing()(estimate.photo, estimate.result))
    depth = np.load(array)
    assert depth.dtype == np.float32 and np.array_equal(depth, estimate.result.depth)
    assert np.array_equal(read_picture(mask), MASK * np.uint8(255))


def test_normal_files(tmp_path):
    estimate = make_normal()
    document, picture, array, mask = write_normal(estimate, tmp_path, "a")
    assert json.loads(document.read_text(encoding="utf-8")) == normal_json(estimate, "a")
    assert np.array_equal(read_picture(picture), NormalDrawing()(estimate.photo, estimate.result))
    normals = np.load(array)
    assert normals.dtype == np.float32 and np.array_equal(normals, estimate.result.normals)
    assert np.array_equal(read_picture(mask), MASK * np.uint8(255))


def test_without_a_mask_no_mask_is_written(tmp_path):
    assert [path.suffix for path in write_depth(make_depth(None), tmp_path, "a")] == [".json", ".png", ".npy"]
    assert [path.suffix for path in write_normal(make_normal(None), tmp_path, "a")] == [
        ".json",
        ".png",
        ".npy",
    ]


# ---- What can go wrong ------------------------------------------------------------------------------------


@pytest.mark.parametrize("below", [".", "sub"])
def test_a_file_in_the_folders_place(below, tmp_path):
    (tmp_path / "file").write_text("kept")
    with pytest.raises(ExportError, match="a file, not a folder. Choose another folder"):
        write_pose(make_pose(), tmp_path / "file" / below, "a")
    assert (tmp_path / "file").read_text() == "kept"


@pytest.mark.skipif(not DEV_FULL.exists(), reason="this system has no /dev/full")
@pytest.mark.parametrize(
    ("task", "name"),
    [
        ("pose", "a_pose.json"),
        ("segmentation", "a_segmentation_labels.png"),
        ("depth", "a_depth.npy"),
        ("normal", "a_normal.npy"),
    ],
)
def test_a_full_disk_is_named_and_the_older_file_kept(task, name, tmp_path):
    (tmp_path / name).write_text("older")
    (tmp_path / f"{name}.part").symlink_to(DEV_FULL)
    with pytest.raises(ExportError, match=f"{name} could not be written: the disk is full. Free some space"):
        WRITERS[task](ESTIMATES[task](), tmp_path, "a")
    assert (tmp_path / name).read_text() == "older"
    assert not os.path.lexists(tmp_path / f"{name}.part")


@pytest.mark.parametrize(
    ("code", "sentence"),
    [
        (errno.EACCES, "writing there is not allowed. Choose another folder."),
        (errno.EROFS, "the disk is read-only. Choose another folder."),
        (errno.EIO, f"{os.strerror(errno.EIO)}. Choose another folder."),
    ],
)
def test_the_reason_is_given_in_plain_words(code, sentence, tmp_path, monkeypatch):
    def refuse(*_args, **_keywords):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(DemoError) as caught:
        write_pose(make_pose(), tmp_path, "a")
    assert str(caught.value) == f"{tmp_path / 'a_pose.json'} could not be written: {sentence}"


def test_a_name_that_is_too_long(tmp_path):
    with pytest.raises(ExportError, match="the name is too long. Give the photo a shorter name"):
        write_pose(make_pose(), tmp_path, "a" * 300)


@pytest.mark.parametrize("stem", ["", "../a", "a/b", "/a", "a\\b", "a\0b"])
def test_a_stem_cannot_lead_out_of_the_folder(stem, tmp_path):
    with pytest.raises(ExportError, match="cannot be part of a file's name"):
        write_pose(make_pose(), tmp_path / "out", stem)
    assert not (tmp_path / "out").exists() and list(tmp_path.iterdir()) == []
