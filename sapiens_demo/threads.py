"""Who works in which thread: one for each device, and shared errands beside them.

What work tells of its progress is handed over and told in the thread of whoever waits for it. So a page's own
progress display finds the visitor it belongs to, and a callback that is slow or fails holds up nobody else.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, TypeVar

from sapiens_demo.progress import Progress, silent

T = TypeVar("T")
_Note = tuple[str, float | None]

_log = logging.getLogger(__name__)


class DeviceThread:
    """Do jobs one after the other, in the order of asking, always in the same thread.

    CUDA graphs may only be used by the thread that captured them, and a page's handlers run in many threads.

    Args:
        name: of the thread.
        quiet_seconds: how long nobody must have asked for anything before a job for idle times begins.
        patience_seconds: how long a job for idle times waits at most; then it takes its turn.
    """

    def __init__(self, name: str, quiet_seconds: float = 2.0, patience_seconds: float = 120.0) -> None:
        self._quiet_seconds = quiet_seconds
        self._patience_seconds = patience_seconds
        self._jobs: queue.SimpleQueue[_Job | _IdleJob] = queue.SimpleQueue()
        self._doing = ""
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    def call(self, job: Callable[[Progress], T], progress: Progress = silent) -> T:
        """Have a job done and wait for it.

        Args:
            job: takes a progress callback, returns the answer.
            progress: told, in the calling thread, what the job tells.

        Returns:
            The job's answer.

        Raises:
            Exception: whatever the job raises.
        """
        if threading.current_thread() is self._thread:
            return job(progress)
        listener = _Listener()
        if self._doing:
            listener.tell(self._doing, None)
        future: Future[T] = Future()
        self._jobs.put(_Job(future, lambda: job(listener.tell)))
        return listener.wait(future, progress)

    def when_idle(self, job: Callable[[], None], sentence: str) -> None:
        """Have a job done when nobody asks for anything; its failure goes to the log.

        Args:
            job: what to do.
            sentence: told to those who come while it goes on.
        """
        self._jobs.put(_IdleJob(job, sentence, time.monotonic() + self._patience_seconds))

    def _work(self) -> None:
        postponed: deque[_IdleJob] = deque()
        while True:
            job = self._next(postponed)
            self._doing = job.sentence
            job.run()
            self._doing = ""
            del job  # what it holds must not live until the next one comes

    def _next(self, postponed: deque[_IdleJob]) -> _Job | _IdleJob:
        while True:
            if postponed and time.monotonic() >= postponed[0].deadline:
                return postponed.popleft()
            try:
                job = self._jobs.get(timeout=self._quiet_seconds if postponed else None)
            except queue.Empty:
                return postponed.popleft()
            if isinstance(job, _Job):
                return job
            postponed.append(job)


class SharedErrands:
    """Run an errand once for however many ask for it at the same time, in a thread of its own."""

    def __init__(self) -> None:
        self._running: dict[Hashable, _Errand] = {}
        self._lock = threading.Lock()

    def call(self, key: Hashable, errand: Callable[[Progress], T], progress: Progress = silent) -> T:
        """Run an errand, or join those who wait for it already.

        Args:
            key: what tells this errand from others.
            errand: takes a progress callback, returns the answer.
            progress: told, in the calling thread, what the errand tells.

        Returns:
            The errand's answer, the same for all who waited.

        Raises:
            Exception: whatever the errand raises, for all who waited. The next call tries again.
        """
        listener = _Listener()
        with self._lock:
            running = self._running.get(key)
            if running is None:
                running = self._running[key] = _Errand()
                arguments = (key, running, errand)
                threading.Thread(target=self._run, args=arguments, name=f"errand {key}", daemon=True).start()
            running.join(listener)
        return listener.wait(running.future, progress)

    def _run(self, key: Hashable, running: _Errand, errand: Callable[[Progress], Any]) -> None:
        answer, failure = None, None
        try:
            answer = errand(running.tell)
        except BaseException as error:
            failure = error
        with self._lock:  # before the answer is out: whoever asks after it starts anew
            del self._running[key]
        if failure is None:
            running.future.set_result(answer)
        else:
            running.future.set_exception(failure)


@dataclass
class _Job:
    future: Future[Any]
    work: Callable[[], Any]
    sentence: str = "Waiting for somebody else's photo"

    def run(self) -> None:
        if not self.future.set_running_or_notify_cancel():
            return
        try:
            answer = self.work()
        except BaseException as error:
            self.future.set_exception(error)
            del self  # the error's traceback holds this frame, which would hold the error, tensors and all
        else:
            self.future.set_result(answer)


@dataclass
class _IdleJob:
    work: Callable[[], None]
    sentence: str
    deadline: float

    def run(self) -> None:
        try:
            self.work()
        except BaseException:
            _log.exception("Work for idle times failed")


class _Listener:
    """Carry notes from the thread that works to the one that waits."""

    def __init__(self) -> None:
        self._notes: queue.SimpleQueue[_Note | None] = queue.SimpleQueue()

    def tell(self, sentence: str, share: float | None) -> None:
        self._notes.put((sentence, share))

    def wait(self, future: Future[T], progress: Progress) -> T:
        future.add_done_callback(lambda _: self._notes.put(None))
        try:
            while (note := self._notes.get()) is not None:
                _tell(progress, note)
        except BaseException:  # such as Ctrl-C: nobody waits any more, so work that has not begun is dropped
            future.cancel()
            raise
        try:
            return future.result()
        finally:
            del future  # as above: an error must not hold itself


def _tell(progress: Progress, note: _Note) -> None:
    try:
        progress(*note)
    except Exception:
        _log.debug("A progress callback failed", exc_info=True)


@dataclass
class _Errand:
    future: Future[Any] = field(default_factory=Future)
    listeners: list[_Listener] = field(default_factory=list)
    last_note: _Note | None = None

    def __post_init__(self) -> None:
        self.future.set_running_or_notify_cancel()  # one who leaves must not cancel it for the others

    def join(self, listener: _Listener) -> None:
        self.listeners.append(listener)
        if self.last_note:
            listener.tell(*self.last_note)

    def tell(self, sentence: str, share: float | None) -> None:
        self.last_note = (sentence, share)
        for listener in tuple(self.listeners):
            listener.tell(sentence, share)
