"""What happens when a visitor does something.

Two steps follow every action. The first is quick: look up what is known and show it, or say what is missing.
The second runs only if the first left something to do: it waits for the engine and tells how far it is. A
visitor who does something else meanwhile moves on at once; what was begun is finished and remembered.

Every handler answers with updates by name: "photo", "strip", "people", "slider", "marks", "file", and the
names of the tasks for the views of their tabs. What it does not name stays as it is. A handler that answers
more than once ends with nothing, {}, where what it said before no longer holds.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import replace
from functools import partial, wraps
from typing import TYPE_CHECKING, Any

import gradio as gr

from sapiens_demo.boxes import check_boxes
from sapiens_demo.catalog import TASKS
from sapiens_demo.errors import DemoError
from sapiens_demo.ui import texts
from sapiens_demo.ui.downloads import write_file
from sapiens_demo.ui.examples import SIZE as EXAMPLE_SIZE
from sapiens_demo.ui.jobs import Job
from sapiens_demo.ui.people_editor import PeopleChoice
from sapiens_demo.ui.people_editor import as_props as people_props
from sapiens_demo.ui.result_view import DEFAULT_THRESHOLD
from sapiens_demo.ui.service import Choice, PhotoFile, Service
from sapiens_demo.ui.session import Session, Settings
from sapiens_demo.ui.size_slider import as_props as stop_props
from sapiens_demo.ui.stops import list_stops, reasons_off
from sapiens_demo.ui.view import as_props, file_data

if TYPE_CHECKING:
    import numpy as np

    from sapiens_demo.estimator import Boxes, Estimate

_SECONDS_BETWEEN_LOOKS = 0.04
_SECONDS_BETWEEN_REPORTS = 0.2

_log = logging.getLogger(__name__)

Update = dict[str, Any]
Updates = dict[str, Any]
IDLE = {"state": "idle"}


def explain(error: Exception) -> str:
    """Turn an exception into a sentence for visitors; what nobody foresaw goes to the log.

    Args:
        error: what was raised.
    """
    if isinstance(error, DemoError):
        return str(error)
    _log.error("A visitor's request failed.", exc_info=error)
    return texts.UNEXPECTED


def in_plain_words(function: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap a handler so that whatever it raises reaches the visitor as one sentence.

    Args:
        function: a handler that is no generator.
    """

    @wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except gr.Error:
            raise
        except Exception as error:
            raise gr.Error(explain(error), print_exception=False) from error

    return wrapped


class Handlers:
    """Answer the page's events.

    Args:
        service: the engine's front.
    """

    def __init__(self, service: Service) -> None:
        self._service = service

    # ---- First steps

    def new_session(self) -> Session:
        """Return how every visit begins: with the first example, which is on the screen already."""
        session = Session()
        examples = self._service.examples.examples
        if examples:
            session.begin(PhotoFile.of(examples[0].path))
            session.shown[session.task] = session.choice(session.task)
        return session

    def first_people(self) -> dict[str, Any] | None:
        """Return what the people editor shows before anybody has done anything."""
        session = self.new_session()
        return self._people(session)["people"].get("value")

    @in_plain_words
    def load(self, session: Session) -> Updates:
        """Begin a visit: the slider goes to the best size, and the example to a result of that size.

        Returns:
            Updates; the session is among them so that Gradio forgets it in time.
        """
        size = self._service.start_size(session.task)
        session.adjust(Settings(size))
        updates = self._look_up(session)
        return {**updates, **self._people(session), "session": session, "slider": gr.update(value=size)}

    async def take_photo(self, path: str | None, session: Session, *settings: Any) -> AsyncIterator[Updates]:
        """Take what is in the photo input now: another photo, none, or what this page put there itself.

        Yields:
            Updates: first that the photo is being read, then the photo.
        """
        try:
            session.adjust(Settings(*settings))
            photo = await asyncio.to_thread(PhotoFile.of, path) if path is not None else None
            if not session.is_news(photo):
                yield {}
                return
            session.begin(photo)
            if photo is None:
                yield self._empty(session)
                return
            yield self._reading(session)
            yield await asyncio.to_thread(self._show_photo, session, photo)
        except Exception as error:
            raise gr.Error(explain(error), print_exception=False) from error

    def _show_photo(self, session: Session, photo: PhotoFile) -> Updates:
        try:
            self._service.photo_view(photo)
        except Exception as error:
            if session.photo is not photo:
                return {}
            session.begin(None)
            session.refused = photo.digest
            gr.Warning(explain(error))
            return {**self._empty(session, explain(error)), "photo": None}
        if session.photo is not photo:  # the visitor took another one meanwhile
            return {}
        return {**self._look_up(session, scroll=True), **self._people(session)}

    @in_plain_words
    def take_example(self, name: str, session: Session, *settings: Any) -> Updates:
        """Take an example."""
        session.adjust(Settings(*settings))
        example = self._service.examples.find(name)
        if example is None:
            return {}
        session.begin(PhotoFile.of(example.path))
        updates = self._look_up(session, scroll=True)
        return {**updates, **self._people(session), "photo": str(example.path)}

    @in_plain_words
    def open_tab(self, task: str, session: Session, *settings: Any) -> Updates:
        """Open a tab."""
        session.adjust(Settings(*settings))
        session.task = task
        return self._look_up(session)

    @in_plain_words
    def look_at_stops(self, session: Session) -> Updates:
        """Say which sizes the open tab's task has, all at once when that is certain."""
        return {"slider": self._stops(session)}

    @in_plain_words
    def choose(self, session: Session, *settings: Any) -> Updates:
        """Show the open tab anew, after another size or option was chosen."""
        session.adjust(Settings(*settings))
        return self._look_up(session)

    @in_plain_words
    def choose_people(self, people: PeopleChoice, session: Session, *settings: Any) -> Updates:
        """Look at other people: one of those found, or boxes that the visitor drew."""
        session.adjust(Settings(*settings))
        if session.photo is None:
            return {}
        width, height = self._photo_size(session.photo)
        boxes = _as_boxes(check_boxes(people.boxes, (height, width)))
        session.choose_people(replace(people, boxes=boxes))
        return self._look_up(session)

    @in_plain_words
    def go_on(self, session: Session, *settings: Any) -> Updates:
        """Do what the button in the middle of the stage says: download and run, or try again."""
        session.adjust(Settings(*settings))
        return self._look_up(session, agreed=True)

    @in_plain_words
    def set_threshold(self, event: gr.EventData, session: Session, *settings: Any) -> Updates:
        """Draw keypoints anew for another score threshold."""
        session.adjust(Settings(*settings))
        wanted = event._data.get("threshold")
        session.threshold = (
            min(1.0, max(0.0, float(wanted))) if isinstance(wanted, (int, float)) else DEFAULT_THRESHOLD
        )
        return self._look_up(session)

    @in_plain_words
    def start_all(self, session: Session, *settings: Any) -> Updates:
        """Begin to run every task that can be run at once and whose result is not there yet."""
        session.adjust(Settings(*settings))
        if session.photo is None:
            return {}
        states = self._states(session)
        session.pending = {task for task in TASKS if states[task] in ("open", "running")}
        return self._look_up(session)

    def _look_up(self, session: Session, *, agreed: bool = False, scroll: bool = False) -> Updates:
        """Show what is known for the open tab, or say what comes; leave in the session what is to be run."""
        session.turn += 1
        session.wanted = session.running = None
        if session.photo is None:
            return {session.task: gr.update(value=None, status=_status("empty", texts.EMPTY))}
        session.photo.keep_alive()
        choice = session.choice(session.task)
        view = self._service.find_view(choice)
        if view is not None:
            session.shown[session.task] = choice
            update = gr.update(value=as_props(view, scroll=scroll), status=IDLE)
            return {session.task: update, **self._marks(session)}
        status = self._what_comes(choice, agreed)
        if status["state"] == "running":
            session.wanted, session.running = choice, choice.task
        before = session.shown.get(session.task)
        if before is not None and before.photo == choice.photo and status["state"] == "running":
            update = gr.update(status=status)  # the last result stays while the next one comes
        else:
            update = self._without_result(session, choice, status, scroll=scroll)
        return {session.task: update, **self._marks(session)}

    def _without_result(
        self, session: Session, choice: Choice, status: Update, *, scroll: bool = False
    ) -> Update:
        """Show the photo alone, so that no result of another size is taken for what was asked for."""
        session.shown.pop(choice.task, None)
        return gr.update(value=as_props(self._service.photo_view(choice.photo), scroll=scroll), status=status)

    def _failure(self, session: Session, choice: Choice, sentence: str) -> Update:
        status = _status("failed", sentence, texts.TRY_AGAIN)
        try:
            return self._without_result(session, choice, status)
        except DemoError:  # the photo cannot be shown either
            return gr.update(value=None, status=status)

    def _what_comes(self, choice: Choice, agreed: bool) -> Update:
        there = self._service.availability(choice.task, choice.size)
        if there.state == "here" or (there.state == "download" and agreed):
            return _status("running", texts.STARTING)
        if there.state == "download":
            return _status("ask", texts.download_question(choice.size), texts.download_action(there.bytes))
        return _status("ask", texts.off_sentence(choice.task, choice.size, there))

    # ---- Second step

    async def run(self, session: Session) -> AsyncIterator[Updates]:
        """Look for the photo's people, run what the first step left to do, and tell how far it is.

        Yields:
            Updates.
        """
        choice, turn = session.wanted, session.turn
        session.wanted = None
        if session.photo is None:
            yield {}
            return
        async with aclosing(self._work(session, choice, turn)) as steps:
            async for updates in steps:
                if session.turn != turn:  # the work goes on; this visitor looks at something else
                    yield {}
                    return
                yield updates

    async def _work(self, session: Session, choice: Choice | None, turn: int) -> AsyncIterator[Updates]:
        photo = session.photo
        try:
            first = [partial(self._service.fetch, choice)] if choice else []
            look = partial(self._service.look, photo, choice.size if choice else EXAMPLE_SIZE)
            async with aclosing(_report(choice, *first, look)) as steps:
                async for updates in steps:
                    yield updates
            yield await asyncio.to_thread(self._people, session)
            if choice is None:
                return
            job = await asyncio.to_thread(self._service.run, choice)
            async with aclosing(_follow(job)) as reports:
                async for status in reports:
                    yield {choice.task: gr.update(status=status)}
            if session.turn == turn:
                yield await asyncio.to_thread(self._result, session, choice, job.future.result())
            else:
                yield {}
        except Exception as error:
            sentence = explain(error)
            if session.turn == turn:
                yield await asyncio.to_thread(self._trouble, session, choice, sentence)
            else:
                yield {}

    def _result(self, session: Session, choice: Choice, estimate: Estimate) -> Updates:
        session.running, session.shown[choice.task] = None, choice
        view = self._service.view_of(choice, estimate)
        update = gr.update(value=as_props(view), status=IDLE)
        return {choice.task: update, **self._marks(session), "slider": self._stops(session)}

    def _trouble(self, session: Session, choice: Choice | None, sentence: str) -> Updates:
        session.running = None
        updates = {**self._marks(session), **self._people(session, failed=True)}
        if choice is None:
            return updates
        failure = self._failure(session, choice, sentence)
        return {choice.task: failure, **updates, "slider": self._stops(session)}

    async def run_all(self, session: Session) -> AsyncIterator[Updates]:
        """Run what start_all found to be done, back to back; mark each tab whose result is there.

        Yields:
            Updates of the marks alone: the open tab is told by `run`, which waits for the same work, and any
            other looks its result up when it is opened.
        """
        this_round = session.round
        yield {}
        jobs: dict[str, Job] = {}
        try:
            for task in sorted(session.pending, key=lambda task: (task != session.task, TASKS.index(task))):
                jobs[task] = await asyncio.to_thread(self._service.run, session.choice(task))
            while jobs and session.round == this_round:
                for task in [task for task, job in jobs.items() if job.future.done()]:
                    jobs.pop(task).leave()
                    session.pending.discard(task)
                    yield await asyncio.to_thread(self._marks, session)
                await asyncio.sleep(_SECONDS_BETWEEN_LOOKS)
            if session.round != this_round:
                yield {}
        except Exception as error:
            gr.Warning(explain(error))
            session.pending.clear()
            yield await asyncio.to_thread(self._marks, session)
        finally:
            for job in jobs.values():
                job.leave()

    # ---- Downloads

    async def download(self, session: Session, event: gr.EventData) -> AsyncIterator[Updates]:
        """Write the file that a visitor asks for; what is no longer remembered is computed again.

        Yields:
            Updates.
        """
        task = session.task
        choice = session.shown.get(task)
        trouble = None
        updates: Updates = {}
        try:
            if choice is None:
                raise DemoError(texts.NO_RESULT)
            estimate = self._service.find_estimate(choice)
            if estimate is None:
                job = await asyncio.to_thread(self._service.run, choice)
                async with aclosing(_follow(job)) as reports:
                    async for status in reports:
                        yield {task: gr.update(status=status)}
                estimate = job.future.result()
            kind = str(event._data.get("kind"))
            file = await asyncio.to_thread(write_file, estimate, kind, choice.photo.path, choice.threshold)
            updates["file"] = str(file)
        except Exception as error:
            trouble = gr.Error(explain(error), print_exception=False)
        yield {**updates, task: gr.update(status=IDLE, saved=time.time())}
        if trouble is not None:
            raise trouble

    # ---- Updates

    def _stops(self, session: Session) -> Update:
        there = self._service.availabilities(session.task)
        stops = stop_props(list_stops(session.task, there))
        return gr.update(stops=stops, reasons=reasons_off(session.task, there))

    def _states(self, session: Session) -> dict[str, str]:
        """Tell of each tab whether its result is there, is coming, or could be had."""
        states = {}
        for task in TASKS:
            choice = session.choice(task)
            if self._service.has_view(choice):
                states[task] = "ready"
            elif task == session.running or task in session.pending:
                states[task] = "running"
            else:
                there = self._service.availability(task, choice.size)
                states[task] = "open" if there.state == "here" else "off"
        return states

    def _marks(self, session: Session) -> Updates:
        session.marked += 1
        states = self._states(session) if session.photo else {}
        value = {**states, "busy": bool(session.pending), "stamp": session.marked}
        return {"marks": gr.update(value=value)}

    def _people(self, session: Session, failed: bool = False) -> Updates:
        """Show the photo with its people; those found are taken until the visitor has chosen otherwise."""
        photo = session.photo
        if photo is None:
            return {"people": gr.update(value=None)}
        people = self._service.find_people(photo, session.settings.size)
        if people is None:
            people = self._service.find_people(photo, EXAMPLE_SIZE)
        found = None if people is None else _as_boxes(people.boxes)
        if found is not None and session.people.wanted is None:
            session.people = replace(session.people, boxes=found)
        view = self._service.photo_view(photo)
        state = "known" if found is not None else "failed" if failed else "looking"
        size = self._photo_size(photo)
        return {
            "people": gr.update(value=people_props(file_data(view.photo), size, session.people, found, state))
        }

    def _photo_size(self, photo: PhotoFile) -> tuple[int, int]:
        """Return (width, height) of a photo in pixels."""
        view = self._service.photo_view(photo)
        return view.pixels or view.size

    def _reading(self, session: Session) -> Updates:
        views = {task: gr.update(value=None, status=IDLE) for task in TASKS}
        views[session.task] = gr.update(value=None, status=_status("running", texts.READING))
        return {**views, "strip": "", "people": gr.update(value=None), **self._marks(session)}

    def _empty(self, session: Session, sentence: str = texts.EMPTY) -> Updates:
        views = {task: gr.update(value=None, status=_status("empty", sentence)) for task in TASKS}
        return {**views, "strip": "", "people": gr.update(value=None), **self._marks(session)}


def _as_boxes(boxes: np.ndarray) -> Boxes:
    return tuple(tuple(map(float, box)) for box in boxes)


def _status(state: str, sentence: str, action: str | None = None, share: float | None = None) -> Update:
    return {"state": state, "sentence": sentence, "action": action, "share": share}


async def _report(choice: Choice | None, *asks: Callable[[], Job | None]) -> AsyncIterator[Updates]:
    """Have things done one after the other, and tell on the choice's tab how far they are."""
    for ask in asks:
        job = await asyncio.to_thread(ask)
        async with aclosing(_follow(job)) as reports:
            async for status in reports:
                yield {choice.task: gr.update(status=status)} if choice else {}


async def _follow(job: Job | None) -> AsyncIterator[Update]:
    """Tell a few times a second how far a job is, until it is done; then raise what it raised."""
    if job is None:
        return
    try:
        last, due = None, 0.0
        while not job.future.done():
            status = _progress(job)
            if status != last and time.monotonic() >= due:
                last, due = status, time.monotonic() + _SECONDS_BETWEEN_REPORTS
                yield status
            await asyncio.sleep(_SECONDS_BETWEEN_LOOKS)
        job.future.result()
    finally:
        job.leave()


def _progress(job: Job) -> Update:
    ahead = job.ahead
    if ahead:
        return _status("running", texts.WAITING.format(count=ahead))
    return _status("running", job.sentence, share=job.share)
