from __future__ import annotations

import gc
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor

import pytest

from sapiens_demo.threads import DeviceThread, SharedErrands

SECONDS = 10.0


@pytest.fixture(scope="module")
def thread() -> DeviceThread:
    return DeviceThread("test", quiet_seconds=0.05)


def test_all_jobs_run_in_one_thread(thread: DeviceThread) -> None:
    def job(_: object) -> tuple[int, int]:
        return threading.get_ident(), threading.active_count()

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: thread.call(job)[0], range(24)))

    assert len(set(found)) == 1
    assert found[0] != threading.get_ident()


def test_jobs_keep_their_order(thread: DeviceThread) -> None:
    started, gate, done = threading.Event(), threading.Event(), []

    def hold(_: object) -> None:
        started.set()
        gate.wait(SECONDS)

    with ThreadPoolExecutor(8) as pool:
        first = pool.submit(thread.call, hold)
        assert started.wait(SECONDS)
        others = []
        for number in range(5):
            before = thread._jobs.qsize()
            others.append(pool.submit(thread.call, lambda _, number=number: done.append(number)))
            _wait_until(lambda before=before: thread._jobs.qsize() > before)
        gate.set()
        for future in (first, *others):
            future.result(SECONDS)

    assert done == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("error", [ValueError("wrong"), KeyError("gone"), SystemExit(3), KeyboardInterrupt()])
def test_errors_travel_and_the_thread_survives(thread: DeviceThread, error: BaseException) -> None:
    def fail(_: object) -> None:
        raise error

    with pytest.raises(type(error)) as caught:
        thread.call(fail)

    assert caught.value is error
    assert thread.call(lambda _: 7) == 7


def test_progress_is_told_in_the_calling_thread(thread: DeviceThread) -> None:
    told: list[tuple[str, float | None, int]] = []

    def job(tell) -> str:
        tell("Half", 0.5)
        tell("Full", 1.0)
        return "done"

    answer = thread.call(job, lambda sentence, share: told.append((sentence, share, threading.get_ident())))

    assert answer == "done"
    assert told[-2:] == [("Half", 0.5, threading.get_ident()), ("Full", 1.0, threading.get_ident())]


def test_a_failing_progress_callback_costs_nothing(thread: DeviceThread) -> None:
    def job(tell) -> int:
        tell("One", None)
        return 1

    assert thread.call(job, lambda *_: 1 / 0) == 1


def test_a_stuck_progress_callback_holds_up_nobody_else(thread: DeviceThread) -> None:
    stuck, released = threading.Event(), threading.Event()

    def callback(*_: object) -> None:
        stuck.set()
        released.wait(SECONDS)

    def job(tell) -> int:
        tell("One", None)
        return 1

    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(thread.call, job, callback)
        assert stuck.wait(SECONDS)
        assert thread.call(lambda _: 2) == 2
        assert not slow.done()
        released.set()
        assert slow.result(SECONDS) == 1


def test_a_job_nobody_waits_for_any_more_is_dropped(thread: DeviceThread) -> None:
    gate, ran = threading.Event(), []

    def leave(*_: object) -> None:
        raise KeyboardInterrupt

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(thread.call, lambda _: gate.wait(SECONDS))
        _wait_until(lambda: thread._doing != "")
        with pytest.raises(KeyboardInterrupt):
            thread.call(lambda _: ran.append(1), leave)  # told that somebody else's photo comes first
        gate.set()
        first.result(SECONDS)
    thread.call(lambda _: None)

    assert ran == []


def test_a_job_may_ask_its_own_thread(thread: DeviceThread) -> None:
    assert thread.call(lambda tell: thread.call(lambda _: 5, tell)) == 5


def test_answers_are_not_kept(thread: DeviceThread) -> None:
    class Answer:
        pass

    reference = weakref.ref(thread.call(lambda _: Answer()))
    thread.call(lambda _: None)

    assert reference() is None


def test_errors_do_not_keep_what_their_frames_held(thread: DeviceThread) -> None:
    class Tensor:
        pass

    references = []

    def fail(_: object) -> None:
        tensor = Tensor()
        references.append(weakref.ref(tensor))
        raise ValueError("wrong")

    gc.disable()
    try:
        with pytest.raises(ValueError) as caught:
            thread.call(fail)
        caught.value.__traceback__ = None
        del caught
        thread.call(lambda _: None)
        assert references[0]() is None
    finally:
        gc.enable()


def test_idle_jobs_come_after_waiting_ones() -> None:
    thread = DeviceThread("idle", quiet_seconds=0.05)
    done, finished = [], threading.Event()

    def first(_: object) -> None:
        thread.when_idle(lambda: (done.append("idle"), finished.set()), "Tidying")
        done.append("first")

    thread.call(first)
    thread.call(lambda _: done.append("second"))
    assert finished.wait(SECONDS)

    assert done == ["first", "second", "idle"]


def test_idle_jobs_take_their_turn_when_it_never_gets_quiet() -> None:
    thread = DeviceThread("busy", quiet_seconds=SECONDS, patience_seconds=0.0)
    finished = threading.Event()

    thread.when_idle(finished.set, "Tidying")

    assert finished.wait(SECONDS / 2)


def test_a_failing_idle_job_goes_to_the_log(caplog: pytest.LogCaptureFixture) -> None:
    thread = DeviceThread("failing", quiet_seconds=0.0)

    thread.when_idle(lambda: 1 / 0, "Tidying")
    _wait_until(lambda: bool(caplog.records))

    assert "ZeroDivisionError" in caplog.text
    assert thread.call(lambda _: 3) == 3


def test_those_who_come_during_an_idle_job_are_told() -> None:
    thread = DeviceThread("told", quiet_seconds=0.0)
    gate, started, told = threading.Event(), threading.Event(), []
    thread.when_idle(lambda: (started.set(), gate.wait(SECONDS)), "Tidying")
    assert started.wait(SECONDS)

    def callback(sentence: str, share: float | None) -> None:
        told.append(sentence)
        gate.set()

    assert thread.call(lambda _: 1, callback) == 1
    assert told == ["Tidying"]


def test_an_errand_is_run_once_for_all_who_ask_at_once() -> None:
    errands, gate, runs, told = SharedErrands(), threading.Event(), [], []

    def errand(tell) -> str:
        runs.append(1)
        tell("Fetching", 0.5)
        gate.wait(SECONDS)
        return "file"

    def callback(sentence: str, share: float | None) -> None:
        told.append(sentence)
        if len(told) == 10:  # everybody is here
            gate.set()

    with ThreadPoolExecutor(10) as pool:
        answers = list(pool.map(lambda _: errands.call("model", errand, callback), range(10)))

    assert answers == ["file"] * 10
    assert len(runs) == 1
    assert told == ["Fetching"] * 10


def test_a_failed_errand_fails_for_all_and_is_tried_again_next_time() -> None:
    errands, gate, runs = SharedErrands(), threading.Event(), []

    def fail(_: object) -> None:
        runs.append(1)
        gate.wait(SECONDS)
        raise OSError("no cable")

    with ThreadPoolExecutor(3) as pool:
        calls = [pool.submit(errands.call, "model", fail) for _ in range(3)]
        _wait_until(lambda: "model" in errands._running and len(errands._running["model"].listeners) == 3)
        gate.set()
        outcomes = [str(call.exception(SECONDS)) for call in calls]

    assert outcomes == ["no cable"] * 3
    assert len(runs) == 1
    assert errands.call("model", lambda _: "file") == "file"


def test_errands_of_different_keys_run_side_by_side() -> None:
    errands, barrier = SharedErrands(), threading.Barrier(2)

    with ThreadPoolExecutor(2) as pool:
        positions = list(pool.map(lambda key: errands.call(key, lambda _: barrier.wait(SECONDS)), "ab"))

    assert sorted(positions) == [0, 1]


def test_one_who_leaves_an_errand_does_not_spoil_it_for_the_others() -> None:
    errands, gate = SharedErrands(), threading.Event()

    def errand(tell) -> str:
        tell("Fetching", None)
        gate.wait(SECONDS)
        return "file"

    def leave(*_: object) -> None:
        raise KeyboardInterrupt

    with ThreadPoolExecutor(1) as pool:
        patient = pool.submit(errands.call, "model", errand)
        with pytest.raises(KeyboardInterrupt):
            errands.call("model", errand, leave)
        gate.set()
        assert patient.result(SECONDS) == "file"


def _wait_until(condition) -> None:
    for _ in range(int(SECONDS / 0.01)):
        if condition():
            return
        threading.Event().wait(0.01)
    raise AssertionError("this should have happened by now")
