"""What the page asks of the engine: is it there, fetch it, run it, and what was it again."""

from __future__ import annotations

import hashlib
import logging
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sapiens_demo.catalog import SIZES, has_checkpoint
from sapiens_demo.errors import DemoError
from sapiens_demo.progress import Progress
from sapiens_demo.ui import texts
from sapiens_demo.ui.examples import ExampleShelf
from sapiens_demo.ui.jobs import Job, JobLine
from sapiens_demo.ui.result_view import DEFAULT_THRESHOLD
from sapiens_demo.ui.store import Store
from sapiens_demo.ui.view import View, build_view, photo_view, temporary_folder

if TYPE_CHECKING:
    from sapiens_demo.boxes import People
    from sapiens_demo.estimator import Boxes, Estimate, Estimator
    from sapiens_demo.hub import Availability

_log = logging.getLogger(__name__)

SEATS = 64  # different pieces of work that may wait
_RUNNERS = 2  # one on the device while another prepares or draws
_FETCHERS = 2
_READERS = 8
_SECONDS_TO_TIDY_UP = 2.0  # after a run
_SECONDS_TO_BE_SURE = 3.0  # of waiting for the Hub's first answer


@dataclass(frozen=True)
class PhotoFile:
    """Name a photo by its content.

    Args:
        path: a temporary file, or a shipped example.
        digest: SHA-256 of its bytes.
    """

    path: Path
    digest: str

    @classmethod
    def of(cls, path: str | Path) -> PhotoFile:
        """Look at a file.

        Args:
            path: of the photo.

        Raises:
            DemoError: if it is gone.
        """
        try:
            content = Path(path).read_bytes()
        except OSError as error:
            raise DemoError(texts.PHOTO_GONE) from error
        return cls(Path(path), hashlib.sha256(content).hexdigest())

    def keep_alive(self) -> None:
        """Put off the deletion of the temporary file, for it is in use; a shipped example stays anyway.

        Raises:
            DemoError: if the file is gone.
        """
        try:
            if self.path.resolve().is_relative_to(temporary_folder()):
                os.utime(self.path)
        except OSError as error:
            raise DemoError(texts.PHOTO_GONE) from error


@dataclass(frozen=True)
class Choice:
    """Say what a visitor wants to see. Options that a task does not have are left at their defaults.

    Args:
        photo: the photo.
        task: one of catalog.TASKS.
        size: one of catalog.SIZES.
        flip_test: pose only.
        person_only: depth and normals only.
        threshold: keypoints that score less are not drawn; pose only.
        boxes: people to look at, x1, y1, x2, y2 each in photo pixels; None has them found, () is the whole
            photo.
        framing: what the network is given: "auto", "whole" or "person".
    """

    photo: PhotoFile
    task: str
    size: str
    flip_test: bool = False
    person_only: bool = True
    threshold: float = DEFAULT_THRESHOLD
    boxes: Boxes | None = None
    framing: str = "auto"

    @property
    def run(self) -> tuple[Any, ...]:
        """Return what tells this run from others: all but how it is drawn."""
        options = self.flip_test, self.person_only, self.boxes, self.framing
        return self.photo.digest, self.task, self.size, *options


class Service:
    """Answer the page's questions; shared by all visitors.

    The engine is imported and built at the first use, for a page can be shown without it.

    Args:
        make_estimator: builds the engine.
        examples: the shipped examples and their results.
        store: where results are remembered.
    """

    def __init__(
        self,
        make_estimator: Callable[[], Estimator] | None = None,
        examples: ExampleShelf | None = None,
        store: Store | None = None,
    ) -> None:
        self._make_estimator = make_estimator or _make_estimator
        self.examples = examples or ExampleShelf()
        self._store = store or Store()
        self._runs = JobLine("run", _RUNNERS, SEATS)
        self._fetches = JobLine("fetch", _FETCHERS, SEATS)
        self._building = threading.Lock()
        self._tidying = threading.Timer(0, lambda: None)
        self._reading = tuple(threading.Lock() for _ in range(_READERS))

    # ---- What there is

    def availability(self, task: str, size: str, patience: float = 0.04) -> Availability:
        """Tell whether a model can be had.

        Args:
            task: one of catalog.TASKS.
            size: one of catalog.SIZES.
            patience: seconds to wait for the Hub's first answer, until which it counts as reachable.
        """
        from sapiens_demo.hub import availability

        return availability(task, size, patience=patience)

    def availabilities(self, task: str) -> dict[str, Availability]:
        """Tell for all sizes whether a model can be had, once that is certain: it may take some seconds.

        Args:
            task: one of catalog.TASKS.
        """
        return {size: self.availability(task, size, _SECONDS_TO_BE_SURE) for size in SIZES}

    def start_size(self, task: str) -> str:
        """Choose the best size that this machine serves at once.

        Args:
            task: one of catalog.TASKS.

        Returns:
            On a GPU the largest on this machine, on a CPU Mini; "mini" where there is nothing at all.
        """
        from sapiens_demo.hub import find_local

        here = [size for size in SIZES if has_checkpoint(task, size) and find_local(task, size)]
        if here in ([], ["mini"]):
            return "mini"
        if here[0] == "mini" and not self._device_is_fast:
            return "mini"
        return here[-1] if self._device_is_fast else here[0]

    @cached_property
    def _device_is_fast(self) -> bool:
        from sapiens_demo.models import choose_device

        return choose_device(None).type != "cpu"

    def warm_up(self) -> threading.Thread:
        """Build the engine and try it in the background, so that the first visitor need not wait for that."""
        thread = threading.Thread(target=self._try_engine, name="warm-up", daemon=True)
        thread.start()
        return thread

    def _try_engine(self) -> None:
        try:
            self._estimator.estimate(np.zeros((64, 64, 3), np.uint8), "pose", "mini")
        except DemoError as error:
            _log.warning("%s", error)  # whoever wants a result is told the same

    @property
    def _estimator(self) -> Estimator:
        with self._building:
            return self._built_estimator

    @cached_property
    def _built_estimator(self) -> Estimator:
        return self._make_estimator()

    # ---- What was found before

    def find_view(self, choice: Choice) -> View | None:
        """Return what is to be shown, where nothing has to be run for it.

        Args:
            choice: what the visitor wants.
        """
        kept = self._store.get(("view", choice.run, choice.threshold))
        if kept is not None:
            return kept
        example = self.examples.find_view(choice)
        if example is not None:
            return example
        estimate = self.find_estimate(choice)
        return self._draw(choice, estimate) if estimate is not None else None

    def has_view(self, choice: Choice) -> bool:
        """Tell whether there is something to be shown without running anything.

        Args:
            choice: what the visitor wants.
        """
        kept = ("view", choice.run, choice.threshold), ("estimate", choice.run)
        return any(key in self._store for key in kept) or self.examples.has_view(choice)

    def find_people(self, photo: PhotoFile, size: str) -> People | None:
        """Return who is in a photo, where that is known already.

        Args:
            photo: the photo.
            size: of the model that is to look at them.
        """
        kept = self._store.get(_people_key(photo, size))
        return self.examples.find_people(photo.digest, size) if kept is None else kept

    def find_estimate(self, choice: Choice) -> Estimate | None:
        """Return the full result, where it is still remembered.

        Args:
            choice: what the visitor wants.
        """
        return self._store.get(("estimate", choice.run))

    def photo_view(self, photo: PhotoFile) -> View:
        """Show a photo without a result.

        Args:
            photo: the photo.

        Raises:
            DemoError: if it cannot be read.
        """
        kept = self._store.get(("photo", photo.digest)) or self.examples.photo_view(photo.digest)
        if kept is None:
            kept = photo_view(self._pixels(photo))
            self._store.put(("photo", photo.digest), kept)
        return kept

    def _pixels(self, photo: PhotoFile) -> np.ndarray:
        """Return a photo decoded; all who work on it at about the same time share one array."""
        from sapiens_demo.photo import read_photo

        with self._reading[int(photo.digest[:2], 16) % len(self._reading)]:
            pixels = self._store.get(("pixels", photo.digest))
            if pixels is None:
                pixels = read_photo(photo.path)
                self._store.put(("pixels", photo.digest), pixels)
        return pixels

    # ---- What has to be done

    def fetch(self, choice: Choice) -> Job | None:
        """Have the weights fetched, if this machine has none.

        Downloads have a line of their own: they take minutes, and nobody else has to wait for them.

        Args:
            choice: what the visitor wants.
        """
        from sapiens_demo.hub import find_local, locate

        if find_local(choice.task, choice.size):
            return None
        return self._fetches.join(
            (choice.task, choice.size),
            lambda progress: locate(choice.task, choice.size, progress=progress),
        )

    def look(self, photo: PhotoFile, size: str) -> Job | None:
        """Have people looked for, unless they are known already; the job's future holds the People.

        Args:
            photo: the photo.
            size: of the model that is to look at them; for "mini" nothing is downloaded.
        """
        if self.find_people(photo, size) is not None:
            return None
        key = _people_key(photo, size)
        return self._runs.join(key, lambda progress: self._look(photo, size, progress))

    def _look(self, photo: PhotoFile, size: str, progress: Progress) -> People:
        pixels, start = self._pixels(photo), time.perf_counter()
        people = self._estimator.people.find(pixels, size, progress)
        self._store.put(("search", photo.digest), 1000 * (time.perf_counter() - start))
        self._store.put(_people_key(photo, size), people)
        return people

    def run(self, choice: Choice) -> Job:
        """Have the model run; the job's future holds the Estimate.

        Args:
            choice: what the visitor wants.
        """
        return self._runs.join(choice.run, lambda progress: self._estimate(choice, progress))

    def _estimate(self, choice: Choice, progress: Progress) -> Estimate:
        kept = self.find_estimate(choice)
        if kept is not None:
            return kept
        from sapiens_demo.estimator import Options

        photo = self._pixels(choice.photo)
        options = Options(choice.flip_test, choice.person_only, choice.boxes, choice.framing)
        estimate = self._estimator.estimate(photo, choice.task, choice.size, options, progress=progress)
        estimate = self._with_search(choice, estimate)
        self._store.put(("estimate", choice.run), estimate)
        self._draw(choice, estimate)
        self._tidy_up_soon()
        return estimate

    def _with_search(self, choice: Choice, estimate: Estimate) -> Estimate:
        """Count the search for people to the first run that needed it, though it was asked for before."""
        stages = estimate.report.stages
        if "people" not in stages:
            return estimate
        spent = self._store.get(("search", choice.photo.digest)) or 0.0
        self._store.put(("search", choice.photo.digest), 0.0)
        report = replace(estimate.report, stages={**stages, "people": stages["people"] + spent})
        return replace(estimate, report=report)

    def _tidy_up_soon(self) -> None:
        """Give unused memory back when the run is over: for a large photo it is hundreds of megabytes."""
        from sapiens_demo.memory import trim_heap

        if not self._tidying.is_alive():
            self._tidying = threading.Timer(_SECONDS_TO_TIDY_UP, trim_heap)
            self._tidying.daemon = True
            self._tidying.start()

    def _draw(self, choice: Choice, estimate: Estimate) -> View:
        found = self.find_people(choice.photo, choice.size) if choice.boxes is None else None
        shown = self._store.get(("photo", choice.photo.digest))
        view = build_view(estimate, choice.threshold, found=found, shown=shown)
        self._store.put(("view", choice.run, choice.threshold), view)
        return view

    def view_of(self, choice: Choice, estimate: Estimate) -> View:
        """Return what the page shows of an estimate.

        Args:
            choice: what the visitor wants.
            estimate: what was found.
        """
        return self._store.get(("view", choice.run, choice.threshold)) or self._draw(choice, estimate)


def _people_key(photo: PhotoFile, size: str) -> tuple[str, str, bool]:
    return "people", photo.digest, size == "mini"


def _make_estimator() -> Estimator:
    from sapiens_demo.estimator import Estimator

    return Estimator()
