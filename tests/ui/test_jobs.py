"""One line, one place for all who wait for the same."""

from __future__ import annotations

import gc
import threading
import weakref

import pytest

from sapiens_demo.progress import Progress
from sapiens_demo.ui.jobs import BusyError, JobLine


@pytest.fixture
def gate():
    event = threading.Event()
    yield event
    event.set()


def test_ten_who_ask_for_the_same_share_one_run() -> None:
    line, gate, runs = JobLine("test", 1, 4), threading.Event(), []

    def work(progress: Progress) -> str:
        gate.wait(5)
        runs.append(1)
        return "answer"

    jobs = [line.join("same", work) for _ in range(10)]
    gate.set()
    assert [job.future.result(5) for job in jobs] == ["answer"] * 10
    assert len(runs) == 1
    assert line.join("same", work).future.result(5) == "answer" and len(runs) == 2  # asked for again, later


def test_progress_and_places_are_known(gate: threading.Event) -> None:
    line, told = JobLine("test", 1, 4), threading.Event()

    def work(progress: Progress) -> None:
        progress("Loading", 0.25)
        told.set()
        gate.wait(5)

    first = line.join(1, work)
    second, third = line.join(2, work), line.join(3, work)
    assert told.wait(5)
    assert (first.sentence, first.share) == ("Loading", 0.25)
    assert [job.ahead for job in (first, second, third)] == [0, 1, 2]
    gate.set()
    third.future.result(5)
    assert third.ahead == 0


def test_work_nobody_waits_for_is_dropped(gate: threading.Event) -> None:
    line, done = JobLine("test", 1, 4), []
    first = line.join("first", lambda progress: gate.wait(5))
    dropped = line.join("dropped", lambda progress: done.append("dropped"))
    shared = line.join("shared", lambda progress: done.append("shared"))
    assert line.join("shared", lambda progress: None) is shared
    dropped.leave()
    shared.leave()  # one of two still waits
    first.leave()  # begun already: it is finished
    assert dropped.future.cancelled()
    again = line.join("dropped", lambda progress: done.append("again"))
    gate.set()
    again.future.result(5)
    assert first.future.result(5) is True and done == ["shared", "again"]


def test_an_answer_is_gone_with_its_job() -> None:
    """A result may have hundreds of megabytes: none may wait for the garbage collector."""

    class Answer:
        pass

    line = JobLine("test", 1, 4)
    gc.disable()
    try:
        job = line.join("key", lambda progress: Answer())
        answer = weakref.ref(job.future.result(5))
        line._executor.submit(lambda: None).result(5)  # the thread has turned to something else
        assert answer() is not None
        del job
        assert answer() is None
    finally:
        gc.enable()


def test_a_full_line_says_so(gate: threading.Event) -> None:
    line = JobLine("test", 1, 2)
    for key in range(2):
        line.join(key, lambda progress: gate.wait(5))
    line.join(0, lambda progress: None)
    with pytest.raises(BusyError, match="Too many people"):
        line.join(2, lambda progress: None)


def test_an_error_reaches_all_and_frees_the_place() -> None:
    line = JobLine("test", 1, 1)

    def work(progress: Progress) -> None:
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        line.join("a", work).future.result(5)
    assert line.join("b", lambda progress: "fine").future.result(5) == "fine"
