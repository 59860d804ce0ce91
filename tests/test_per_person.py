"""Runs person by person, with networks that give back what they are shown."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor

from sapiens_demo.models import Answer, ModelInfo, ModelKey
from sapiens_demo.per_person import PerPerson
from sapiens_demo.tasks.crops import merge_depth, merge_normals
from sapiens_demo.tasks.inputs import MEAN, STD
from sapiens_demo.vocabulary import PARTS

SIZE = (120, 200)
BOXES = np.float32([[110, 30, 160, 110], [20, 10, 60, 80], [70, 5, 90, 40]])  # the nearest first
BRIGHT = 200


class MirrorModels:
    """Stand in for the cache: bright pixels are a part, colours are normals, red is depth."""

    def __init__(self) -> None:
        self.runs: list[int] = []

    def load(self, key: ModelKey, progress) -> float:
        return 0.0

    def images_at_once(self, key: ModelKey, most: int) -> int:
        return most

    def run(self, key: ModelKey, images: Tensor, decode, progress) -> Answer:
        self.runs.append(len(images))
        levels = images * torch.tensor(STD).view(3, 1, 1) + torch.tensor(MEAN).view(3, 1, 1)
        output = {"segmentation": _parts(levels), "depth": levels[:, :1] / 255, "normal": levels / 255}
        info = ModelInfo(key.task, key.size, "cpu", "CPU", "float32", False, "file", "licence")
        return Answer(decode(output[key.task]), info, 0.0, 1.0, 1.0)


def _parts(levels: Tensor) -> Tensor:
    logits = torch.zeros(len(levels), len(PARTS), *levels.shape[2:])
    logits[:, 0], logits[:, 22] = 150.0, levels[:, 0]
    return logits / 10


@pytest.fixture
def photo() -> np.ndarray:
    """Return a dark photo with a bright bar in the middle of each box."""
    photo = np.full((*SIZE, 3), 20, np.uint8)
    for x1, y1, x2, y2 in BOXES.astype(int):
        photo[y1 + 5 : y2 - 5, x1 + 5 : x2 - 5] = BRIGHT
    return photo


def _run(task: str, photo: np.ndarray, boxes: np.ndarray = BOXES) -> tuple[PerPerson, MirrorModels]:
    models = MirrorModels()
    return PerPerson(models, ModelKey(task, "mini"), photo, boxes), models


def test_pixels_are_owned_by_the_boxes_they_lie_in(photo: np.ndarray) -> None:
    run, models = _run("segmentation", photo)
    result, info = run.segment()

    assert models.runs == [4] and info.task == "segmentation"
    assert set(np.unique(result.labels)) == {0, 22}
    for number, (x1, y1, x2, y2) in enumerate(BOXES.astype(int), start=1):
        assert (result.owners[y1 + 7 : y2 - 7, x1 + 7 : x2 - 7] == number).all()
    bright = photo[..., 0] == BRIGHT
    assert ((result.labels == 22) == bright).mean() > 0.98
    assert list(run.stages) == ["load", "prepare", "forward", "decode", "paste"]


@pytest.mark.parametrize(
    ("task", "count", "expected"),
    [
        ("segmentation", 1, [1]),
        ("segmentation", 12, [8, 4]),
        ("depth", 1, [2]),  # the whole photo, too
        ("depth", 12, [8, 6]),
        ("normal", 12, [8, 6]),
    ],
)
def test_people_share_forwards(task: str, count: int, expected: list[int], photo: np.ndarray) -> None:
    run, models = _run(task, photo, np.repeat(BOXES[:1], count, axis=0))
    steps = {
        "segmentation": run.segment,
        "depth": partial(run.merge, merge_depth, None),
        "normal": partial(run.merge, merge_normals, None),
    }
    steps[task]()

    assert models.runs == expected


def test_depth_is_that_of_the_photo_but_sharper(photo: np.ndarray) -> None:
    result, _ = _run("depth", photo)[0].merge(merge_depth, None)

    assert np.abs(result.depth - photo[..., 0] / 255).mean() < 0.05
    assert result.mask is None


def test_normals_come_with_the_mask_of_the_owners(photo: np.ndarray) -> None:
    owners = np.zeros(SIZE, np.uint8)
    owners[40:100, 120:150] = 1
    result, _ = _run("normal", photo)[0].merge(merge_normals, owners)

    assert np.array_equal(result.mask, owners > 0)
    assert np.allclose(result.normals[60, 130], 3**-0.5, atol=1e-3)


def test_nobody_is_owned_where_nobody_is_seen(photo: np.ndarray) -> None:
    result, _ = _run("segmentation", np.zeros_like(photo))[0].segment()

    assert not result.labels.any() and not result.owners.any()
    depth, _ = _run("depth", photo)[0].merge(merge_depth, result.owners)
    assert depth.mask is None
