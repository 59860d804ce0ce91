"""What happens when a visitor does something, without a browser."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
import pytest

from sapiens_demo.catalog import TASKS
from sapiens_demo.errors import DemoError
from sapiens_demo.ui import texts
from sapiens_demo.ui.handlers import Handlers, Updates, explain, in_plain_words
from sapiens_demo.ui.people_editor import PeopleChoice
from sapiens_demo.ui.session import Session, Settings
from tests.ui.standins import StandInService, draw_photo

MINI = Settings("mini")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "gradio"))
    monkeypatch.setattr(gr, "Warning", lambda sentence: None)  # no visitor, no toast
    return tmp_path


@pytest.fixture
def service(examples_folder: Path) -> StandInService:
    return StandInService(examples_folder)


@pytest.fixture
def handlers(service: StandInService) -> Handlers:
    return Handlers(service)


@pytest.fixture
def session(handlers: Handlers, folder: Path) -> Session:
    """Return a visit with a photo whose pose is still to be run."""
    session = handlers.new_session()
    take_photo(handlers, session, draw_photo(folder / "me.png", 200, 300))
    return session


def collect(updates: AsyncIterator[Updates]) -> list[Updates]:
    async def all_of_them() -> list[Updates]:
        return [update async for update in updates]

    return asyncio.run(all_of_them())


def merged(steps: list[Updates]) -> Updates:
    """Put together what is on the screen after some updates."""
    screen: dict[str, Any] = {}
    for step in steps:
        for name, update in step.items():
            screen[name] = {**screen.get(name, {}), **update} if isinstance(update, dict) else update
    return screen


def take_photo(handlers: Handlers, session: Session, path: Path | None, settings: Settings = MINI) -> Updates:
    return merged(collect(handlers.take_photo(path and str(path), session, *settings)))


def run(handlers: Handlers, session: Session) -> Updates:
    return merged(collect(handlers.run(session)))


def state(updates: Updates, task: str = "pose") -> str | None:
    return updates.get(task, {}).get("status", {}).get("state")


def boxes_on_screen(updates: Updates) -> list[list[float]]:
    return updates["people"]["value"]["boxes"]


def test_a_visit_begins_with_the_example_and_runs_nothing(
    handlers: Handlers, service: StandInService
) -> None:
    session = handlers.new_session()
    updates = handlers.load(session)
    assert updates["session"] is session and state(updates) == "idle" and session.wanted is None
    assert updates["slider"]["value"] == "mini"
    assert boxes_on_screen(updates) == handlers.first_people()["boxes"] == [[0, 40, 320, 360]]
    assert state(run(handlers, session)) is None
    assert service.engine.asked == [] and service.engine.people.asked == 0


def test_all_stops_are_told_at_once_and_for_sure(
    handlers: Handlers, service: StandInService, monkeypatch: pytest.MonkeyPatch
) -> None:
    patience: list[float] = []
    look = service.availability
    monkeypatch.setattr(service, "availability", lambda *what: (patience.append(what[2]), look(*what))[1])
    slider = handlers.look_at_stops(handlers.new_session())["slider"]
    assert [stop["id"] for stop in slider["stops"]] == ["mini", "0.3b", "0.6b", "1b", "2b"]
    assert slider["reasons"] == "2B: never published for pose."
    assert len(patience) == 5 and min(patience) >= 3  # as hub.availability asks for certainty


def test_a_visit_begins_with_the_best_size_and_keeps_the_example_meanwhile(
    handlers: Handlers, service: StandInService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "start_size", lambda task: "0.3b")
    session = handlers.new_session()
    updates = handlers.load(session)
    assert updates["slider"]["value"] == "0.3b" and state(updates) == "running"
    assert "value" not in updates["pose"]
    last = run(handlers, session)
    assert state(last) == "idle" and last["pose"]["value"]["caption"].startswith("Sapiens 0.3B")


def test_a_new_photo_is_shown_at_once_and_then_run(handlers: Handlers, session: Session) -> None:
    assert session.wanted is not None and session.wanted.task == "pose"
    last = run(handlers, session)
    assert state(last) == "idle" and last["pose"]["value"]["layers"]
    assert session.shown["pose"].photo == session.photo


def test_while_a_photo_is_read_the_one_before_is_gone(handlers: Handlers, folder: Path) -> None:
    session = handlers.new_session()
    path = str(draw_photo(folder / "large.png", 600, 800))
    first, second = collect(handlers.take_photo(path, session, *MINI))
    assert first["pose"]["value"] is None and first["pose"]["status"]["sentence"] == texts.READING
    assert all(first[task]["value"] is None for task in TASKS) and first["people"]["value"] is None
    assert second["pose"]["value"]["width"] == 600 and second["people"]["value"]["width"] == 600


def test_a_photo_that_was_replaced_while_it_was_read_does_not_come_back(
    handlers: Handlers, folder: Path
) -> None:
    session = handlers.new_session()
    path = str(draw_photo(folder / "large.png", 600, 800))

    async def change_of_mind() -> list[Updates]:
        updates = []
        async for update in handlers.take_photo(path, session, *MINI):
            updates.append(update)
            if len(updates) == 1:
                handlers.take_example("red_shirt", session, *MINI)
        return updates

    assert asyncio.run(change_of_mind())[1:] == [{}]
    assert session.photo.path.stem == "red_shirt"


def test_a_tab_opened_while_a_photo_is_read_is_the_one_that_is_served(
    handlers: Handlers, folder: Path
) -> None:
    session = handlers.new_session()
    path = str(draw_photo(folder / "large.png", 600, 800))

    async def look_elsewhere() -> list[Updates]:
        updates = []
        async for update in handlers.take_photo(path, session, *MINI):
            updates.append(update)
            if len(updates) == 1:
                handlers.open_tab("depth", session, *MINI)
        return updates

    assert "depth" in asyncio.run(look_elsewhere())[1] and session.wanted.task == "depth"


def test_what_the_page_itself_put_into_the_input_is_no_news(handlers: Handlers, session: Session) -> None:
    turn = session.turn
    assert take_photo(handlers, session, session.photo.path) == {} and session.turn == turn


def test_a_bad_photo_empties_the_input_and_says_why(handlers: Handlers, folder: Path) -> None:
    bad = folder / "bad.png"
    bad.write_bytes(b"\x89PNG and nothing more")
    session = handlers.new_session()
    updates = take_photo(handlers, session, bad)
    assert updates["photo"] is None and updates["strip"] == "" and session.photo is None
    assert [state(updates, task) for task in TASKS] == ["empty"] * 4
    assert "damaged" in updates["pose"]["status"]["sentence"]


def test_a_bad_photo_is_told_of_once_each_time(
    handlers: Handlers, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    toasts: list[str] = []
    monkeypatch.setattr(gr, "Warning", toasts.append)
    bad = folder / "bad.png"
    bad.write_bytes(b"\x89PNG and nothing more")
    session = handlers.new_session()
    for path in (bad, bad, None, bad):
        take_photo(handlers, session, path)
    assert len(toasts) == 2


def test_no_photo_no_run(handlers: Handlers, session: Session) -> None:
    updates = take_photo(handlers, session, None)
    assert session.photo is None and session.wanted is None
    assert updates["people"]["value"] is None and "pose" not in updates["marks"]["value"]
    assert state(handlers.choose(session, *MINI)) == "empty"
    assert run(handlers, session) == {} and handlers.start_all(session, *MINI) == {}


def test_an_unknown_example_changes_nothing(handlers: Handlers, session: Session) -> None:
    turn = session.turn
    handlers.take_example("nobody", session, *MINI)
    assert session.turn == turn


def test_options_reach_only_the_tab_that_has_them(
    handlers: Handlers, session: Session, service: StandInService
) -> None:
    settings = Settings("mini", True, "person", "whole", False, "auto", True)
    for task in TASKS:
        handlers.open_tab(task, session, *settings)
        run(handlers, session)
    asked = [
        (task, options.flip_test, options.person_only, options.framing)
        for task, _, options in service.engine.asked
    ]
    assert asked == [
        ("pose", True, True, "auto"),
        ("segmentation", False, True, "person"),
        ("depth", False, False, "whole"),
        ("normal", False, True, "auto"),
    ]


@pytest.mark.parametrize(
    "size, wanted, sentence",
    [("1b", False, "Sapiens 1B is not on this machine yet."), ("2b", False, "2B: never published for pose.")],
)
def test_what_cannot_run_at_once_is_not_run(
    handlers: Handlers, session: Session, size: str, wanted: bool, sentence: str
) -> None:
    updates = handlers.choose(session, *Settings(size))
    assert state(updates) == "ask" and updates["pose"]["status"]["sentence"] == sentence
    assert (session.wanted is not None) == wanted


def test_only_who_agrees_downloads(handlers: Handlers, session: Session, service: StandInService) -> None:
    assert state(handlers.go_on(session, *Settings("1b"))) == "running"
    last = run(handlers, session)
    assert service.downloaded == {"pose"} and last["pose"]["value"]["caption"].startswith("Sapiens 1B")
    assert last["slider"]["stops"][3]["state"] == "here"


def test_a_failure_is_told_and_shows_no_other_result(handlers: Handlers, session: Session) -> None:
    run(handlers, session)
    handlers.choose(session, *Settings("0.6b"))
    last = run(handlers, session)
    assert state(last) == "failed" and last["pose"]["status"]["action"] == texts.TRY_AGAIN
    assert last["pose"]["value"]["layers"] == [] and "pose" not in session.shown


def test_the_unforeseen_is_logged_and_told_calmly(
    handlers: Handlers,
    session: Session,
    service: StandInService,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def break_down(*args: object, **kwargs: object) -> None:
        raise RuntimeError("secret path /root/x")

    monkeypatch.setattr(service.engine, "estimate", break_down)
    last = run(handlers, session)
    assert last["pose"]["status"]["sentence"] == texts.UNEXPECTED
    assert "secret path" in caplog.text


def test_a_late_result_does_not_reach_who_looks_elsewhere(
    handlers: Handlers, session: Session, service: StandInService
) -> None:
    async def change_of_mind() -> list[Updates]:
        handlers.choose(session, *Settings("0.3b"))
        service.gate.clear()
        updates = []
        async for update in handlers.run(session):
            updates.append(update)
            if state(update) == "running":
                handlers.choose(session, *MINI)
                service.gate.set()
        return updates

    run(handlers, session)  # people are known from now on
    updates = asyncio.run(change_of_mind())
    assert any(state(update) == "running" for update in updates)
    assert all("value" not in update.get("pose", {}) for update in updates) and updates[-1] == {}
    assert session.shown["pose"].size == "mini"


def test_waiting_in_line_is_told(handlers: Handlers, session: Session, service: StandInService) -> None:
    async def wait() -> list[str]:
        handlers.choose(session, *Settings("0.3b"))
        sentences = []
        async for update in handlers.run(session):
            sentences.append(update.get("pose", {}).get("status", {}).get("sentence", ""))
            service.gate.set()
        return sentences

    service.gate.clear()
    started = threading.Barrier(3)

    def block(progress: object) -> None:
        started.wait(5)
        service.gate.wait(10)

    for key in ("one", "two"):
        service._runs.join(key, block)
    started.wait(5)
    assert asyncio.run(wait())[0] == texts.WAITING.format(count=2)


@pytest.mark.parametrize("value, kept", [(0.5, 0.5), (7, 1.0), (-1, 0.0), ("much", 0.3), (None, 0.3)])
def test_a_threshold_is_checked(handlers: Handlers, session: Session, value: object, kept: float) -> None:
    handlers.set_threshold(SimpleNamespace(_data={"threshold": value}), session, *MINI)
    assert session.threshold == kept


# ---- People


@pytest.fixture
def pair(handlers: Handlers, folder: Path) -> Session:
    """Return a visit with a photo of two people, who have been found."""
    session = handlers.new_session()
    take_photo(handlers, session, draw_photo(folder / "pair.png", 400, 300))
    run(handlers, session)
    return session


LEFT, RIGHT = [0.0, 30.0, 200.0, 270.0], [200.0, 30.0, 400.0, 270.0]
DRAWN = ((50.0, 60.0, 150.0, 200.0),)


def boxes_asked(service: StandInService) -> list[tuple[str, object]]:
    return [(task, options.boxes) for task, _, options in service.engine.asked]


def test_people_are_shown_before_the_result(handlers: Handlers, folder: Path) -> None:
    session = handlers.new_session()
    looking = take_photo(handlers, session, draw_photo(folder / "pair.png", 400, 300))
    assert looking["people"]["value"]["state"] == "looking" and boxes_on_screen(looking) == []
    steps = [set(update) & {"people", "pose"} for update in collect(handlers.run(session)) if update]
    names = [name for names in steps for name in names]
    assert names.index("people") < len(names) - 1 and names[-1] == "pose"


def test_found_people_are_looked_for_once_and_shown(
    handlers: Handlers, service: StandInService, session: Session
) -> None:
    updates = run(handlers, session)
    people = updates["people"]["value"]
    assert people["found"] == people["boxes"] == [[0, 30, 200, 270]] and people["state"] == "known"
    once = service.engine.people.asked
    for task in TASKS[1:]:
        handlers.open_tab(task, session, *MINI)
        run(handlers, session)
    asked_by_the_page = service.engine.people.asked - once
    assert asked_by_the_page == 3  # by the stand-in engine itself, once a task


def test_a_chosen_person_is_chosen_for_every_tab(
    handlers: Handlers, service: StandInService, pair: Session
) -> None:
    updates = handlers.choose_people(PeopleChoice((tuple(LEFT), tuple(RIGHT)), 1), pair, *MINI)
    assert state(updates) == "running"
    run(handlers, pair)
    for task in TASKS[1:]:
        handlers.open_tab(task, pair, *MINI)
        run(handlers, pair)
    assert boxes_asked(service)[1:] == [(task, (tuple(RIGHT),)) for task in TASKS]
    handlers.choose_people(PeopleChoice((tuple(LEFT), tuple(RIGHT))), pair, *MINI)
    assert pair.wanted is None or pair.wanted.boxes is None


def test_boxes_drawn_by_hand_are_looked_at(
    handlers: Handlers, service: StandInService, pair: Session
) -> None:
    upside_down = ((150, 200, 50, 60),)
    handlers.choose_people(PeopleChoice(upside_down, edited=True, stamp=1), pair, *MINI)
    last = run(handlers, pair)
    assert boxes_asked(service)[-1] == ("pose", DRAWN)
    assert last["pose"]["value"]["people"] == "1 person, chosen by hand"
    people = last["people"]["value"]
    assert people["boxes"] == [list(DRAWN[0])] and people["found"] == [LEFT, RIGHT]
    assert people["edited"] and people["stamp"] == 1


def test_no_boxes_are_the_whole_photo(handlers: Handlers, service: StandInService, pair: Session) -> None:
    handlers.choose_people(PeopleChoice((), edited=True), pair, *MINI)
    run(handlers, pair)
    assert boxes_asked(service)[-1] == ("pose", ())


def test_the_whole_photo_is_one_run_whoever_is_chosen(
    handlers: Handlers, service: StandInService, pair: Session
) -> None:
    whole = Settings("mini", depth_framing="whole")
    handlers.open_tab("depth", pair, *whole)
    run(handlers, pair)
    handlers.choose_people(PeopleChoice((tuple(LEFT), tuple(RIGHT)), 0), pair, *whole)
    assert pair.wanted is None and boxes_asked(service)[-1] == ("depth", None)


def test_a_new_photo_forgets_boxes(
    handlers: Handlers, service: StandInService, pair: Session, folder: Path
) -> None:
    handlers.choose_people(PeopleChoice(DRAWN, edited=True), pair, *MINI)
    take_photo(handlers, pair, draw_photo(folder / "other.png", 320, 240, shade=150))
    last = run(handlers, pair)
    assert boxes_asked(service)[-1] == ("pose", None)
    assert boxes_on_screen(last) == [[0, 24, 160, 216], [160, 24, 320, 216]]


def test_boxes_beside_the_photo_are_refused(handlers: Handlers, pair: Session) -> None:
    with pytest.raises(gr.Error, match="Box 1 covers nothing of the photo"):
        handlers.choose_people(PeopleChoice(((900, 900, 950, 950),), edited=True), pair, *MINI)
    assert pair.people.wanted is None


def test_people_are_looked_for_though_the_size_is_not_here(
    handlers: Handlers, service: StandInService, folder: Path
) -> None:
    session = handlers.new_session()
    path = draw_photo(folder / "pair.png", 400, 300)
    assert state(take_photo(handlers, session, path, Settings("1b"))) == "ask"
    assert boxes_on_screen(run(handlers, session)) == [LEFT, RIGHT]
    assert service.engine.asked == []


def test_a_search_that_fails_is_no_reason_to_stop(
    handlers: Handlers,
    service: StandInService,
    session: Session,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def break_down(*args: object) -> None:
        raise RuntimeError("no more memory")

    monkeypatch.setattr(service.engine.people, "find", break_down)
    handlers.choose(session, *Settings("1b"))  # nothing else to be run
    assert run(handlers, session)["people"]["value"]["state"] == "failed"
    assert "no more memory" in caplog.text


# ---- All four at once


def run_all(handlers: Handlers, session: Session) -> list[Updates]:
    """Do what the page does: the open tab and all the others, both at once."""

    async def both() -> list[Updates]:
        async def rest() -> list[Updates]:
            return [update async for update in handlers.run_all(session)]

        async def own() -> list[Updates]:
            return [update async for update in handlers.run(session)]

        return sum(await asyncio.gather(own(), rest()), [])

    return asyncio.run(both())


def marks(updates: Updates) -> list[str]:
    return [updates["marks"]["value"][task] for task in TASKS]


def test_all_four_run_once_each_and_mark_their_tabs(
    handlers: Handlers, session: Session, service: StandInService
) -> None:
    first = handlers.start_all(session, *MINI)
    assert marks(first) == ["running"] * 4 and first["marks"]["value"]["busy"]
    last = merged(run_all(handlers, session))
    assert sorted(task for task, *_ in service.engine.asked) == sorted(TASKS)
    assert last["pose"]["value"]["layers"] and marks(last) == ["ready"] * 4
    final = handlers.choose(session, *MINI)
    assert marks(final) == ["ready"] * 4 and not final["marks"]["value"]["busy"]
    for task in TASKS:  # and nothing is left to do
        handlers.open_tab(task, session, *MINI)
        assert session.wanted is None


def test_all_four_leave_out_what_cannot_be_had(
    handlers: Handlers, session: Session, service: StandInService
) -> None:
    first = handlers.start_all(session, *Settings("2b"))
    assert marks(first) == ["off", "off", "off", "running"]
    run_all(handlers, session)
    assert [task for task, *_ in service.engine.asked] == ["normal"]


def test_going_from_tab_to_tab_does_not_stop_the_others(
    handlers: Handlers, session: Session, service: StandInService
) -> None:
    async def wander() -> None:
        handlers.start_all(session, *MINI)
        tabs = iter(TASKS[1:])
        async for _ in handlers.run_all(session):
            task = next(tabs, None)
            if task:
                handlers.open_tab(task, session, *MINI)

    asyncio.run(wander())
    assert len(service.engine.asked) == 4 and marks(handlers.choose(session, *MINI)) == ["ready"] * 4


def test_another_photo_stops_the_rest(handlers: Handlers, session: Session, service: StandInService) -> None:
    async def change_of_mind() -> list[Updates]:
        handlers.start_all(session, *Settings("0.3b"))
        service.gate.clear()
        updates = []
        steps = handlers.run_all(session)
        await anext(steps)
        waiting = asyncio.ensure_future(anext(steps))
        await asyncio.sleep(0.3)
        handlers.take_example("red_shirt", session, *MINI)
        updates.append(await waiting)
        service.gate.set()
        await steps.aclose()
        return updates

    assert asyncio.run(change_of_mind()) == [{}]
    assert len(service.engine.asked) <= 2 and session.pending == set()


def test_a_failure_among_all_four_leaves_its_tab_open(
    handlers: Handlers, session: Session, service: StandInService
) -> None:
    handlers.start_all(session, *Settings("0.6b"))
    last = merged(run_all(handlers, session))
    assert state(last) == "failed" and "open" in marks(last)
    assert "value" not in last.get("depth", {})


# ---- Downloads and errors


def test_a_download_without_result_is_refused(handlers: Handlers, session: Session) -> None:
    session.shown.clear()
    with pytest.raises(gr.Error, match="no result to download"):
        collect(handlers.download(session, SimpleNamespace(_data={"kind": "png"})))


def test_errors_become_sentences(caplog: pytest.LogCaptureFixture) -> None:
    @in_plain_words
    def handler(error: Exception) -> None:
        raise error

    with pytest.raises(gr.Error, match="Too dark"):
        handler(DemoError("Too dark."))
    with caplog.at_level(logging.CRITICAL), pytest.raises(gr.Error) as caught:
        handler(KeyError("internal"))
    assert caught.value.message == texts.UNEXPECTED
    with pytest.raises(gr.Error, match="as it is"):
        handler(gr.Error("as it is"))
    assert explain(DemoError("Too dark.")) == "Too dark."
