from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sapiens_demo import masks
from sapiens_demo.errors import DemoError
from sapiens_demo.masks import MaskFinder
from sapiens_demo.models import Answer, ModelKey
from sapiens_demo.tasks.segmentation import SegmentationResult

PHOTO = np.arange(30 * 20 * 3, dtype=np.uint8).reshape(30, 20, 3)
MASK = np.arange(600).reshape(30, 20) % 7 < 3


class FakeModels:
    """Stand in for the cache: answer with a mask, or fail for some sizes; remember who was asked."""

    def __init__(
        self, loaded: tuple[str, ...] = (), failing: tuple[str, ...] = (), mask: np.ndarray = MASK
    ) -> None:
        self.asked: list[str] = []
        self._loaded, self._failing, self._mask = loaded, failing, mask

    def loaded(self) -> tuple[ModelKey, ...]:
        own = ModelKey("segmentation", "1b", "/own/file")
        return (own, ModelKey("depth", "1b"), *(ModelKey("segmentation", size) for size in self._loaded))

    def run(self, key: ModelKey, images, decode, progress) -> Answer[np.ndarray]:
        assert key.task == "segmentation" and key.path is None
        self.asked.append(key.size)
        if key.size in self._failing:
            raise DemoError(f"No memory for {key.size}.")
        return Answer(self._mask, None, 0, 0, 0)


@pytest.fixture
def at_hand(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the sizes whose body-part model is on this machine: a list to be filled."""
    sizes: list[str] = []
    monkeypatch.setattr(masks, "find_local", lambda task, size: Path("file") if size in sizes else None)
    return sizes


@pytest.mark.parametrize(
    ("size", "loaded", "files", "expected"),
    [
        ("mini", (), ["mini"], ["mini"]),
        ("0.6b", (), ["mini", "0.6b", "1b"], ["0.6b", "mini"]),
        ("0.6b", ("0.6b",), ["mini"], ["0.6b", "mini"]),
        ("0.6b", ("mini",), ["mini", "0.3b", "1b"], ["1b", "mini"]),
        ("2b", ("0.3b",), ["mini"], ["0.3b", "mini"]),
        ("2b", (), ["mini"], ["mini"]),
        ("0.3b", (), [], ["mini"]),
    ],
)
def test_the_model_of_the_same_size_else_the_best_at_hand_else_mini(
    size: str, loaded: tuple[str, ...], files: list[str], expected: list[str], at_hand: list[str]
) -> None:
    at_hand += files

    assert MaskFinder(FakeModels(loaded)).candidates(size) == expected


@pytest.mark.parametrize(
    ("size", "files", "failing", "notes"),
    [
        ("1b", ["1b", "mini"], (), []),
        (
            "1b",
            ["mini"],
            (),
            ["found by the body-part model Mini; the one of size 1B is not on this machine"],
        ),
        ("2b", ["1b"], (), ["found by the body-part model Sapiens 1B; the one of size 2B is not published"]),
        ("1b", ["1b"], ("1b",), ["found by the body-part model Mini; the one of size 1B did not run"]),
    ],
)
def test_a_mask_of_another_size_is_said(
    size: str, files: list[str], failing: tuple[str, ...], notes: list[str], at_hand: list[str]
) -> None:
    at_hand += files

    found = MaskFinder(FakeModels(failing=failing)).find(PHOTO, size)

    assert np.array_equal(found.pixels, MASK)
    assert len(found.notes) == len(notes)
    assert all(expected in note for expected, note in zip(notes, found.notes, strict=True))


def test_nobody_is_said_and_masks_nothing(at_hand: list[str]) -> None:
    found = MaskFinder(FakeModels(mask=np.zeros((30, 20), bool))).find(PHOTO, "mini")

    assert found.pixels is None
    assert found.notes == ("Nobody was found in this photo, so the full map is shown.",)


def test_no_model_that_runs_costs_the_mask_and_not_the_result(at_hand: list[str]) -> None:
    at_hand += ["1b", "mini"]

    found = MaskFinder(FakeModels(failing=("1b", "mini"))).find(PHOTO, "1b")

    assert found.pixels is None
    assert "full map is shown" in found.notes[0] and "No memory for 1b." in found.notes[0]


@pytest.mark.parametrize(
    ("photo", "size", "asked_again"),
    [
        pytest.param(PHOTO.copy(), "mini", False, id="the same content"),
        pytest.param(np.asfortranarray(PHOTO), "mini", False, id="the same content in another order"),
        pytest.param(PHOTO[::-1], "mini", True, id="another photo"),
        pytest.param(PHOTO.reshape(20, 30, 3), "mini", True, id="another shape"),
        pytest.param(PHOTO, "1b", True, id="another size"),
    ],
)
def test_the_mask_of_a_photo_is_made_once(
    photo: np.ndarray, size: str, asked_again: bool, at_hand: list[str]
) -> None:
    at_hand += ["1b", "mini"]
    models = FakeModels()
    finder = MaskFinder(models)
    finder.find(PHOTO, "mini")

    found = finder.find(photo, size)

    assert (len(models.asked) == 2) is asked_again
    assert np.array_equal(found.pixels, MASK)


def test_a_mask_that_was_made_anyway_is_taken(at_hand: list[str]) -> None:
    models = FakeModels()
    finder = MaskFinder(models)
    finder.remember(PHOTO, "mini", SegmentationResult((~MASK).astype(np.uint8) * 7))

    assert np.array_equal(finder.find(PHOTO, "mini").pixels, ~MASK)
    assert models.asked == []


def test_people_who_are_looked_at_one_by_one_are_remembered_by_their_boxes(at_hand: list[str]) -> None:
    boxes = np.float32([[0, 0, 10, 20], [10, 5, 20, 30]])
    owners = np.zeros((30, 20), np.uint8)
    owners[2:20, :10], owners[20:, 10:] = 1, 2
    models = FakeModels()
    finder = MaskFinder(models)
    finder.remember(PHOTO, "mini", SegmentationResult(owners * 5, owners), boxes)

    found = finder.find(PHOTO, "mini", boxes=boxes.copy())

    assert models.asked == [] and np.array_equal(found.owners, owners)
    assert np.array_equal(found.pixels, owners > 0)
    assert np.array_equal(finder.find(PHOTO, "mini").pixels, MASK)


def test_people_are_looked_at_one_by_one(at_hand: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    boxes = np.float32([[0, 0, 10, 20], [10, 5, 20, 30]])
    owners = np.arange(600, dtype=np.uint8).reshape(30, 20) % 3
    asked = []

    def segment(self):
        asked.append((self.key, self.boxes.tolist()))
        return SegmentationResult(owners, owners), None

    monkeypatch.setattr(masks.PerPerson, "segment", segment)
    finder = MaskFinder(FakeModels())
    for _ in range(2):
        found = finder.find(PHOTO, "mini", boxes=boxes)
        assert np.array_equal(found.owners, owners)
    finder.find(PHOTO, "mini", boxes=boxes[:1])

    key = ModelKey("segmentation", "mini")
    assert asked == [(key, boxes.tolist()), (key, boxes[:1].tolist())]


def test_only_the_last_masks_are_kept(at_hand: list[str]) -> None:
    models = FakeModels()
    finder = MaskFinder(models, capacity=2)
    photos = [np.full((30, 20, 3), value, np.uint8) for value in range(3)]
    for photo in (photos[0], photos[1], photos[0], photos[2]):  # 1 was used least recently
        finder.find(photo, "mini")
    assert len(models.asked) == 3

    finder.find(photos[0], "mini")
    assert len(models.asked) == 3
    finder.find(photos[1], "mini")
    assert len(models.asked) == 4


def test_the_mask_is_the_segmentations(at_hand: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    people = np.arange(600).reshape(30, 20) % 7 > 3
    sizes = []

    class Models(FakeModels):
        def run(self, key: ModelKey, images, decode, progress) -> Answer[np.ndarray]:
            sizes.append(tuple(images.shape))
            return Answer(decode(None), None, 0, 0, 0)

    monkeypatch.setattr(
        masks.segmentation,
        "decode_mask",
        lambda logits, size: people.reshape(size),
    )

    found = MaskFinder(Models(("0.3b",))).find(PHOTO, "0.3b")

    assert np.array_equal(found.pixels, people)
    assert sizes == [(1, 3, 1024, 768)]
