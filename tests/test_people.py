"""Who finds the people of a photo, what is said of it, and how often it is done."""

from __future__ import annotations

import shutil
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from huggingface_hub import constants

from sapiens_demo import detector, mini_finder, models, people
from sapiens_demo.boxes import MAX_PEOPLE, People
from sapiens_demo.catalog import DETECTORS, PEOPLE
from sapiens_demo.errors import CheckpointError, DemoError
from sapiens_demo.hub import Availability
from sapiens_demo.models import ModelCache, ModelKey
from sapiens_demo.people import PeopleFinder, detector_size
from tests.hub_server import StandInHub, use_endpoint

pytest_plugins = ["tests.mini_weights", "tests.tiny_detector"]

PHOTO = np.random.default_rng(0).integers(0, 256, (75, 50, 3), np.uint8)
SMALL = ModelKey(PEOPLE, "small")
ADVICE = "A larger size fetches a detector that finds them better."


@pytest.fixture
def checkpoints(random_mini: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder that SAPIENS_CHECKPOINTS names, without a detector."""
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    monkeypatch.setenv("SAPIENS_CHECKPOINTS", str(folder))
    detector._processor.cache_clear()
    return folder


@pytest.fixture
def detector_here(checkpoints: Path, tiny_detector_folder: Path) -> Path:
    return Path(shutil.copytree(tiny_detector_folder, checkpoints / tiny_detector_folder.name))


@pytest.fixture
def segmented(monkeypatch: pytest.MonkeyPatch) -> list[np.ndarray]:
    """Let Mini find one person, and return the photos it was asked about."""
    asked: list[np.ndarray] = []

    def find(self, photo: np.ndarray, progress) -> tuple[np.ndarray, np.ndarray]:
        asked.append(photo)
        return np.array([[1, 2, 30, 40]], np.float32), np.array([0.8], np.float32)

    monkeypatch.setattr(mini_finder.MiniFinder, "find", find)
    return asked


def _finder(**options) -> PeopleFinder:
    return PeopleFinder(ModelCache("cpu"), **options)


# ---- Who finds them ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", ["mini", "0.3b", "2b"])
def test_the_detector_is_used_where_it_is_on_this_machine(size: str, detector_here: Path) -> None:
    finder = _finder()

    found = finder.find(PHOTO, size)

    assert found.finder == "detector" and found.notes == () and len(found) >= 1
    assert finder._models.loaded() == (SMALL,)
    assert (found.boxes >= 0).all() and (found.boxes <= [50, 75, 50, 75]).all()
    assert (np.diff(found.scores) <= 0).all() and found.scores.min() >= 0.3


def test_doubles_go_and_people_who_embrace_stay(detector_here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    boxes = np.array([[0, 0, 20, 20], [1, 0, 21, 20], [0, 0, 20, 9], [30, 30, 40, 60]], np.float32)
    scores = np.array([0.5, 0.9, 0.6, 0.4], np.float32)
    monkeypatch.setattr(detector, "decode", lambda output, size: (boxes, scores))

    found = _finder().find(PHOTO, "mini")

    assert np.array_equal(found.boxes, boxes[[1, 2, 3]])


def test_for_mini_nothing_is_asked_of_the_network(
    checkpoints: Path, segmented: list, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(people, "availability", lambda *_, **__: pytest.fail("the Hub was asked"))

    found = _finder().find(PHOTO, "mini")

    assert found.finder == "mini" and len(segmented) == 1
    assert len(found.notes) == 1 and ADVICE in found.notes[0] and "Mini's segmentation" in found.notes[0]


def test_for_other_sizes_the_detector_is_fetched_and_told(
    checkpoints: Path, tiny_detector_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository = DETECTORS[PEOPLE, "small"].files[0].repository
    files = {(repository, path.name): path.read_bytes() for path in tiny_detector_folder.iterdir()}
    told: list[str] = []
    with StandInHub(files) as hub:
        use_endpoint(monkeypatch, hub.url)
        finder = _finder()
        found = finder.find(PHOTO, "1b", lambda sentence, share: told.append(sentence))
        again = _finder().find(PHOTO, "mini")

    assert found.finder == again.finder == "detector"
    assert np.array_equal(found.boxes, again.boxes)
    assert any(sentence.startswith("Downloading model.safetensors") for sentence in told)
    names = sorted(path.rpartition("/")[2] for path, _ in hub.asked("GET"))
    assert names == ["config.json", "model.safetensors", "preprocessor_config.json"]


def test_without_the_network_mini_finds_them_within_three_seconds(checkpoints: Path, segmented: list) -> None:
    start = time.monotonic()
    found = _finder().find(PHOTO, "1b")

    assert time.monotonic() - start < 3
    assert found.finder == "mini" and len(found.notes) == 2
    assert "cannot be reached (HF_HUB_OFFLINE is set)" in found.notes[0] and ADVICE in found.notes[1]


def test_a_hub_that_does_not_answer_is_waited_for_once(
    checkpoints: Path, segmented: list, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(people, "locate", lambda *_, **__: pytest.fail("a download was tried"))
    asked: list[float] = []

    def no_answer(task: str, size: str, *, patience: float) -> Availability:
        asked.append(patience)
        return Availability("unreachable", 1, None, "The Hub does not answer.")

    monkeypatch.setattr(people, "availability", no_answer)
    found = _finder().find(PHOTO, "1b")

    assert asked == [people._SECONDS_FOR_THE_HUB] and asked[0] <= 3
    assert found.notes[0] == "The Hub does not answer." and found.finder == "mini"


@pytest.mark.parametrize(
    ("error", "note"),
    [
        (CheckpointError("It was cut off."), "The people detector could not be used: It was cut off."),
        (DemoError("No memory."), "The people detector could not be used: No memory."),
        (RuntimeError("aten::x is not there"), "The people detector failed on this device (RuntimeError)."),
    ],
)
def test_a_detector_that_fails_is_said_and_mini_takes_over(
    error: Exception,
    note: str,
    detector_here: Path,
    segmented: list,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(models.ModelCache, "run", fail)

    found = _finder().find(PHOTO, "0.3b")

    assert found.finder == "mini" and found.notes[0] == note and ADVICE in found.notes[1]


def test_a_damaged_detector_is_said_and_mini_takes_over(detector_here: Path, segmented: list) -> None:
    (detector_here / "config.json").write_text("{")

    found = _finder().find(PHOTO, "mini")

    assert found.finder == "mini" and "cannot be read" in found.notes[0]


def test_the_other_detector_serves_where_only_it_is_here(
    checkpoints: Path, tiny_detector_folder: Path
) -> None:
    shutil.copytree(tiny_detector_folder, checkpoints / "dfine-medium-obj2coco")
    finder = _finder()

    assert finder.find(PHOTO, "1b").finder == "detector"
    assert finder._models.loaded() == (ModelKey(PEOPLE, "medium"),)


def test_a_fault_of_the_program_is_not_hidden(detector_here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(detector, "decode", lambda output, size: {}["a mistake"])

    with pytest.raises(KeyError):
        _finder().find(PHOTO, "mini")


@pytest.mark.parametrize(("device", "size"), [("cpu", "small"), ("cuda", "medium"), ("mps", "medium")])
def test_the_small_detector_is_for_the_cpu(device: str, size: str) -> None:
    assert detector_size(torch.device(device)) == size


# ---- What is said ------------------------------------------------------------------------------------------


def _found(count: int) -> tuple[np.ndarray, np.ndarray]:
    left = 10 * np.arange(count, dtype=np.float32)
    boxes = np.stack([left, left * 0, left + 8, left * 0 + 8], -1)
    return boxes, np.linspace(0.4, 0.9, count, dtype=np.float32)


@pytest.mark.parametrize(
    ("count", "kept", "notes"),
    [
        (0, 0, ["Nobody was found in this photo, so the whole photo is taken."]),
        (1, 1, []),
        (2, 2, []),
        (9, 9, []),
        (32, 32, []),
        (40, 32, ["40 people were found; the 32 that are seen best are taken."]),
    ],
)
def test_at_most_so_many_are_kept_and_it_is_said(
    count: int, kept: int, notes: list[str], detector_here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(detector, "decode", lambda output, size: _found(count))

    found = _finder().find(PHOTO, "mini")

    assert len(found) == kept <= MAX_PEOPLE and list(found.notes) == notes
    assert np.allclose(found.scores, np.sort(_found(count)[1])[::-1][:kept])
    assert found.finder == ("detector" if count else "nobody")


def test_boxes_that_are_none_are_left_out(detector_here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    boxes, scores = _found(5)
    boxes[0, 2] = boxes[0, 0]
    boxes[1, 3] = -1
    boxes[2, 0] = np.nan
    scores[3] = np.nan
    monkeypatch.setattr(detector, "decode", lambda output, size: (boxes, scores))

    assert np.array_equal(_finder().find(PHOTO, "mini").boxes, boxes[4:])


def test_nobody_by_mini_is_said_with_the_detectors_command(
    checkpoints: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mini_finder.MiniFinder, "find", lambda *_: _found(0))

    found = _finder().find(PHOTO, "mini")

    assert found.finder == "nobody" and len(found) == 0
    assert found.notes == (
        f"People were looked for by Mini's segmentation. {ADVICE}",
        "Nobody was found in this photo, so the whole photo is taken.",
    )


def test_where_nobody_can_look_the_whole_photo_is_taken(
    checkpoints: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise DemoError("Mini is missing.")

    monkeypatch.setattr(mini_finder.MiniFinder, "find", fail)

    found = _finder().find(PHOTO, "mini")

    assert found.finder == "nobody"
    assert found.notes == ("The whole photo is taken, as people could not be looked for: Mini is missing.",)


# ---- How often ---------------------------------------------------------------------------------------------


def test_four_tabs_at_once_load_and_look_once(detector_here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loads, looks = [], []
    load, decode = detector.load_detector, detector.decode

    def slow_load(*arguments, **options):
        loads.append(1)
        time.sleep(0.2)
        return load(*arguments, **options)

    def counted(output, size):
        looks.append(1)
        return decode(output, size)

    monkeypatch.setattr(detector, "load_detector", slow_load)
    monkeypatch.setattr(detector, "decode", counted)
    finder, together = _finder(), threading.Barrier(8)

    def ask(number: int) -> People:
        together.wait(20)
        return finder.find(PHOTO if number < 4 else 255 - PHOTO, "mini")

    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(ask, range(8)))

    assert len(loads) == 1 and len(looks) == 2
    assert all(np.array_equal(one.boxes, found[0].boxes) for one in found[:4])


@pytest.mark.parametrize(
    ("photo", "looked_again"),
    [(PHOTO.copy(), False), (np.asfortranarray(PHOTO), False), (PHOTO[::-1], True)],
)
def test_a_photo_is_known_by_its_content(
    photo: np.ndarray, looked_again: bool, checkpoints: Path, segmented: list
) -> None:
    finder = _finder()
    first = finder.find(PHOTO, "mini")

    second = finder.find(photo, "0.3b")

    assert (len(segmented) == 2) is looked_again
    assert np.array_equal(first.boxes, second.boxes)


def test_what_a_tab_does_to_its_boxes_is_not_seen_by_others(checkpoints: Path, segmented: list) -> None:
    found = _finder().find(PHOTO, "mini")

    with pytest.raises(ValueError, match="read-only"):
        found.boxes[0] = 0


def test_only_the_last_photos_are_remembered(checkpoints: Path, segmented: list) -> None:
    finder = _finder(capacity=2)
    photos = [np.full((30, 20, 3), value, np.uint8) for value in range(3)]
    for number in (0, 1, 0, 2):  # 1 was asked for least recently
        finder.find(photos[number], "mini")
    assert len(segmented) == 3

    finder.find(photos[0], "mini")
    assert len(segmented) == 3
    finder.find(photos[1], "mini")
    assert len(segmented) == 4


def test_a_detector_that_comes_later_is_used(
    checkpoints: Path, segmented: list, tiny_detector_folder: Path
) -> None:
    finder = _finder()
    assert finder.find(PHOTO, "mini").finder == "mini"

    shutil.copytree(tiny_detector_folder, checkpoints / tiny_detector_folder.name)

    assert finder.find(PHOTO, "mini").finder == "detector"


def test_progress_is_told_to_everybody_who_waits(detector_here: Path) -> None:
    told: list[str] = []
    threads: set[int] = set()

    def tell(sentence: str, share: float | None) -> None:
        told.append(sentence)
        threads.add(threading.get_ident())

    _finder().find(PHOTO, "mini", tell)

    assert "Loading D-FINE small" in told and "Running D-FINE small on the CPU" in told
    assert threads == {threading.get_ident()}


def test_mini_itself_finds_whom_it_can(checkpoints: Path) -> None:
    found = _finder().find(PHOTO, "mini")

    assert found.finder in ("mini", "nobody") and ADVICE in " ".join(found.notes)
