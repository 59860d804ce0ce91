"""One line for each scarce thing, in which everybody who waits for the same answer shares one place."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from sapiens_demo.errors import DemoError
from sapiens_demo.progress import Progress
from sapiens_demo.ui import texts


class BusyError(DemoError):
    """Say that too many people are waiting."""


class Job:
    """One piece of work, and how far it is. Made by JobLine.join."""

    def __init__(self, line: JobLine, key: Hashable, number: int) -> None:
        self._line = line
        self.key = key
        self.number = number
        self.visitors = 1
        self.started = False
        self.sentence = texts.STARTING
        self.share: float | None = None
        self.future: Future[Any]

    def report(self, sentence: str, share: float | None) -> None:
        """Take the progress of the work, from the thread that does it.

        Args:
            sentence: what is being done.
            share: how much of it is done, 0 to 1, or None.
        """
        self.sentence, self.share = sentence, share

    def leave(self) -> None:
        """Stop waiting; work that nobody waits for and that has not begun is dropped."""
        self._line.leave(self)

    @property
    def ahead(self) -> int:
        """Return how many pieces of work come before this one; 0 once it is begun."""
        return self._line.ahead(self)


class JobLine:
    """Do work in a few threads, in the order of asking.

    Args:
        name: of the threads.
        workers: how many pieces of work go on at once.
        seats: how many different pieces may wait or go on.
    """

    def __init__(self, name: str, workers: int, seats: int) -> None:
        self._executor = ThreadPoolExecutor(workers, thread_name_prefix=name)
        self._seats = seats
        self._jobs: dict[Hashable, Job] = {}
        self._lock = threading.RLock()
        self._count = 0

    def join(self, key: Hashable, work: Callable[[Progress], Any]) -> Job:
        """Ask for work, or join those who wait for the same.

        Args:
            key: what tells this work from other work.
            work: takes a progress callback, returns the answer.

        Returns:
            The job; its future holds the answer.

        Raises:
            BusyError: if the line is full.
        """
        with self._lock:
            job = self._jobs.get(key)
            if job is not None:
                job.visitors += 1
                return job
            if len(self._jobs) >= self._seats:
                raise BusyError(texts.BUSY)
            self._count += 1
            job = self._jobs[key] = Job(self, key, self._count)
            job.future = self._executor.submit(self._run, job, work)
            return job

    def leave(self, job: Job) -> None:
        """Stop waiting; work that nobody waits for and that has not begun is dropped.

        Args:
            job: from join.
        """
        with self._lock:
            job.visitors -= 1
            if job.visitors <= 0 and job.future.cancel():
                self._forget(job)

    def ahead(self, job: Job) -> int:
        """Count the pieces of work before a job; 0 once it is begun.

        Args:
            job: from join.
        """
        with self._lock:
            if job.started:
                return 0
            return sum(other.number < job.number for other in self._jobs.values())

    def _run(self, job: Job, work: Callable[[Progress], Any]) -> Any:
        # Not a callback of the future: that would tie job and future into a circle, in which results of many
        # megabytes wait for the garbage collector.
        job.started = True
        try:
            return work(job.report)
        finally:
            self._forget(job)

    def _forget(self, job: Job) -> None:
        with self._lock:
            if self._jobs.get(job.key) is job:
                del self._jobs[job.key]
