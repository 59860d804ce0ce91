"""What the page asks of the engine."""

from __future__ import annotations

import dataclasses
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from PIL import Image

from sapiens_demo import hub, memory
from sapiens_demo import photo as photo_module
from sapiens_demo.boxes import People
from sapiens_demo.catalog import TASKS
from sapiens_demo.errors import DemoError
from sapiens_demo.photo import PhotoError
from sapiens_demo.ui import service as service_module
from sapiens_demo.ui.service import Choice, PhotoFile, Service
from tests.ui.standins import StandInService, draw_photo


@pytest.fixture
def service(examples_folder: Path) -> StandInService:
    return StandInService(examples_folder)


@pytest.fixture
def choice(tmp_path: Path) -> Choice:
    return Choice(PhotoFile.of(draw_photo(tmp_path / "me.png")), "pose", "mini")


def test_a_photo_is_known_by_its_content(tmp_path: Path) -> None:
    one, two = draw_photo(tmp_path / "one.png"), draw_photo(tmp_path / "two.png")
    assert PhotoFile.of(one).digest == PhotoFile.of(two).digest
    with pytest.raises(DemoError, match="Add the photo again"):
        PhotoFile.of(tmp_path / "gone.png")


def test_a_photo_in_use_is_not_deleted_by_age(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = draw_photo(tmp_path / "me.png")
    photo = PhotoFile.of(path)
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    os.utime(path, (1, 1))
    photo.keep_alive()
    assert path.stat().st_mtime > 1
    path.unlink()
    with pytest.raises(DemoError, match="Add the photo again"):
        photo.keep_alive()


def test_a_run_is_remembered_with_its_view(service: StandInService, choice: Choice) -> None:
    assert service.find_view(choice) is None and service.find_estimate(choice) is None
    estimate = service.run(choice).future.result(10)
    assert service.find_estimate(choice) is estimate
    assert service.find_view(choice).caption.startswith("Mini")
    assert service.run(choice).future.result(10) is estimate and len(service.engine.asked) == 1


def test_another_threshold_draws_anew_and_runs_nothing(service: StandInService, choice: Choice) -> None:
    service.run(choice).future.result(10)
    view = service.find_view(dataclasses.replace(choice, threshold=0.8))
    assert "score 0.80" in view.layers[0].legend[0].words["title"]
    assert len(service.engine.asked) == 1


@pytest.mark.parametrize(
    "change",
    [
        {"task": "depth"},
        {"size": "0.3b"},
        {"flip_test": True},
        {"person_only": False},
        {"boxes": ((10.0, 10.0, 90.0, 90.0),)},
        {"boxes": ()},
        {"framing": "whole"},
    ],
    ids=str,
)
def test_another_wish_is_another_run(service: StandInService, choice: Choice, change: dict) -> None:
    service.run(choice).future.result(10)
    other = dataclasses.replace(choice, **change)
    assert service.has_view(choice) and not service.has_view(other)
    assert service.find_view(other) is None and other.run != choice.run


def test_boxes_and_framing_reach_the_engine(service: StandInService, choice: Choice) -> None:
    wish = dataclasses.replace(choice, task="depth", boxes=((10.0, 10.0, 90.0, 90.0),), framing="person")
    service.run(wish).future.result(10)
    options = service.engine.asked[0][2]
    assert (options.boxes, options.framing) == (wish.boxes, "person")


def test_people_are_looked_for_once(service: StandInService, choice: Choice) -> None:
    assert service.find_people(choice.photo, "mini") is None
    people = service.look(choice.photo, "mini").future.result(10)
    assert len(people) == 1 and service.find_people(choice.photo, "mini") is people
    assert service.look(choice.photo, "mini") is None
    assert service.find_people(choice.photo, "0.3b") is None  # for which a better finder may be fetched
    assert service.engine.people.asked == 1


def test_the_search_for_people_is_counted_once(
    service: StandInService, choice: Choice, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = service.engine.people.find

    def slowly(*args: object) -> People:
        time.sleep(0.05)
        return find(*args)

    monkeypatch.setattr(service.engine.people, "find", slowly)
    service.look(choice.photo, "mini").future.result(10)
    monkeypatch.undo()
    first, second = (
        service.run(dataclasses.replace(choice, task=task)).future.result(10).report.stages
        for task in ("pose", "depth")
    )
    assert list(first) == ["people", "prepare", "forward"]
    assert first["people"] >= 50 and second["people"] == 0


def test_nobody_is_an_answer_too(service: StandInService, tmp_path: Path) -> None:
    path = tmp_path / "wall.png"
    Image.new("RGB", (90, 120), "grey").save(path)
    photo = PhotoFile.of(path)
    service.look(photo, "mini").future.result(10)
    assert len(service.find_people(photo, "mini")) == 0 and service.look(photo, "mini") is None


def test_a_photo_is_decoded_once_for_all_tasks(
    service: StandInService, choice: Choice, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: list[Path] = []
    read = photo_module.read_photo
    monkeypatch.setattr(photo_module, "read_photo", lambda path: (reads.append(path), read(path))[1])
    with ThreadPoolExecutor(4) as visitors:
        runs = [dataclasses.replace(choice, task=task) for task in TASKS]
        estimates = [job.future.result(10) for job in visitors.map(service.run, runs)]
    service.photo_view(choice.photo)
    service.look(choice.photo, "mini").future.result(10)
    assert reads == [choice.photo.path]
    assert len({id(estimate.photo) for estimate in estimates}) == 1


def test_the_photos_own_picture_is_made_once_for_all_tasks(service: StandInService, choice: Choice) -> None:
    shown = service.photo_view(choice.photo)
    for task in TASKS:
        run = dataclasses.replace(choice, task=task)
        assert service.view_of(run, service.run(run).future.result(10)).photo is shown.photo


def test_ten_visitors_at_once_cause_one_run(service: StandInService, choice: Choice) -> None:
    service.gate.clear()
    slow = dataclasses.replace(choice, size="0.3b")
    with ThreadPoolExecutor(10) as visitors:
        jobs = list(visitors.map(lambda _: service.run(slow), range(10)))
    service.gate.set()
    assert len({id(job.future.result(10)) for job in jobs}) == 1 and len(service.engine.asked) == 1


def test_unused_memory_is_given_back_once_after_a_run(
    service: StandInService, choice: Choice, monkeypatch: pytest.MonkeyPatch
) -> None:
    tidied = threading.Semaphore(0)
    monkeypatch.setattr(service_module, "_SECONDS_TO_TIDY_UP", 0.05)
    monkeypatch.setattr(memory, "trim_heap", tidied.release)

    service.run(choice).future.result(10)

    assert tidied.acquire(timeout=10)
    assert not tidied.acquire(timeout=0.2)


def test_a_photo_that_cannot_be_read_says_why(service: StandInService, tmp_path: Path) -> None:
    path = tmp_path / "notes.jpg"
    path.write_text("no photo")
    photo = PhotoFile.of(path)
    with pytest.raises(PhotoError):
        service.photo_view(photo)
    with pytest.raises(PhotoError):
        service.run(Choice(photo, "pose", "mini")).future.result(10)


@pytest.mark.parametrize(
    "here, fast, size",
    [
        ([], True, "mini"),
        (["mini"], True, "mini"),
        (["mini", "0.3b", "1b"], False, "mini"),
        (["mini", "0.3b", "1b"], True, "1b"),
        (["0.6b", "1b"], False, "0.6b"),
        (["mini", "2b"], True, "2b"),
    ],
)
def test_the_start_is_the_best_size_that_answers_at_once(
    monkeypatch: pytest.MonkeyPatch, here: list[str], fast: bool, size: str
) -> None:
    monkeypatch.setattr(hub, "find_local", lambda task, each: Path(each) if each in here else None)
    service = Service()
    service._device_is_fast = fast
    assert service.start_size("depth") == size


def test_weights_that_are_here_are_not_fetched(monkeypatch: pytest.MonkeyPatch, choice: Choice) -> None:
    fetched = []
    monkeypatch.setattr(hub, "find_local", lambda task, size: Path(size) if size == "mini" else None)
    monkeypatch.setattr(hub, "locate", lambda task, size, progress: fetched.append((task, size)))
    service = Service()
    assert service.fetch(choice) is None
    service.fetch(dataclasses.replace(choice, size="1b")).future.result(10)
    assert fetched == [("pose", "1b")]


def test_warming_up_may_fail(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    class Broken:
        def estimate(self, *args: object) -> None:
            raise DemoError("Mini is missing.")

    monkeypatch.setattr(service_module, "_make_estimator", Broken)
    Service().warm_up().join(10)
    assert "Mini is missing." in caplog.text
