"""Where the people of a photo are: found by a detector, else in Mini's body parts, or given by hand."""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from dataclasses import replace
from functools import partial

import numpy as np
import torch

from sapiens_demo import detector
from sapiens_demo.boxes import MAX_PEOPLE, People, suppress
from sapiens_demo.catalog import DETECTOR_SIZES, PEOPLE
from sapiens_demo.errors import DemoError
from sapiens_demo.hub import availability, find_local, locate
from sapiens_demo.masks import photo_digest
from sapiens_demo.mini_finder import MiniFinder
from sapiens_demo.models import ModelCache, ModelKey
from sapiens_demo.progress import Progress, silent
from sapiens_demo.threads import SharedErrands

# Boxes that lie on each other this much are one person. D-FINE says everybody once, so this is a guard
# against doubles alone: the boxes of people who embrace reach 0.6. Mini's come from pixels that belong to one
# each.
_IOUS = {"detector": 0.7, "mini": 0.8}
_SECONDS_FOR_THE_HUB = 3.0
_NOBODY = "Nobody was found in this photo, so the whole photo is taken."
_BY_MINI = "People were {} by Mini's segmentation. A larger size fetches a detector that finds them better."

_log = logging.getLogger(__name__)


class PeopleFinder:
    """Find people, and remember those of the last photos for the next tab.

    Args:
        models: where networks are kept.
        capacity: of how many photos the people are remembered.
    """

    def __init__(self, models: ModelCache, capacity: int = 8) -> None:
        self._models = models
        self._mini = MiniFinder(models)
        self._capacity = capacity
        self._kept: OrderedDict[tuple[bytes, str], People] = OrderedDict()
        self._lock = threading.Lock()
        self._errands = SharedErrands()

    def find(
        self, photo: np.ndarray, size: str, progress: Progress = silent, digest: bytes | None = None
    ) -> People:
        """Find everybody in a photo; however many ask for the same photo at once, it is looked at once.

        The detector does it where it is on this machine or, unless the size is "mini", can be fetched; else
        Mini's segmentation does.

        Args:
            photo: (H, W, 3) uint8 RGB.
            size: of the model that is to look at the people; for "mini" nothing is downloaded.
            progress: told, in the calling thread, what is being done.
            digest: masks.photo_digest of the photo, where the caller has it already.

        Returns:
            At most MAX_PEOPLE people; the notes say why it was not the detector that found them, whether
            there are more, or that nobody was found.
        """
        digest = digest or photo_digest(photo)
        may_download = size != "mini"
        errand = partial(self._find, photo, digest, may_download)
        return self._errands.call((digest, may_download), errand, progress)

    def _find(self, photo: np.ndarray, digest: bytes, may_download: bool, progress: Progress) -> People:
        found = self._remembered(digest, "detector")
        if found is not None:
            return found
        size, fault = self._detector(may_download)
        if size is not None:
            try:
                return self._remember(digest, "detector", self._detect(photo, size, progress))
            except DemoError as error:
                fault = f"The people detector could not be used: {error}"
            except RuntimeError as error:  # of torch, on a device that lacks an operation
                _log.warning("The people detector failed", exc_info=True)
                fault = f"The people detector failed on this device ({type(error).__name__})."
        try:
            found = self._remembered(digest, "mini")
            if found is None:
                found = self._remember(digest, "mini", self._segment(photo, progress))
        except DemoError as error:
            return People.nobody((f"The whole photo is taken, as people could not be looked for: {error}",))
        by_mini = _BY_MINI.format("found" if len(found) else "looked for")
        return replace(found, notes=(*([fault] if fault else []), by_mini, *found.notes))

    def _detector(self, may_download: bool) -> tuple[str | None, str]:
        """Choose a detector's size, or None and why the one that was to be fetched cannot be had."""
        preferred = detector_size(self._models.device)
        for size in (preferred, *DETECTOR_SIZES):
            if find_local(PEOPLE, size) is not None:
                return size, ""
        if not may_download:
            return None, ""
        state = availability(PEOPLE, preferred, patience=_SECONDS_FOR_THE_HUB)
        return (preferred, "") if state.state == "download" else (None, state.sentence)

    def _detect(self, photo: np.ndarray, size: str, progress: Progress) -> People:
        photo_size = photo.shape[0], photo.shape[1]
        folder = locate(PEOPLE, size, progress=progress).parent
        progress("Preparing to look for people", None)  # the first time transformers is imported: seconds
        images = detector.prepare(photo, folder)
        answer = self._models.run(
            ModelKey(PEOPLE, size), images, lambda output: detector.decode(output, photo_size), progress
        )
        boxes, scores = answer.value
        return _ranked(boxes, scores, "detector")

    def _segment(self, photo: np.ndarray, progress: Progress) -> People:
        boxes, scores = self._mini.find(photo, progress)
        return _ranked(boxes, scores, "mini")

    def _remembered(self, digest: bytes, finder: str) -> People | None:
        with self._lock:
            found = self._kept.get((digest, finder))
            if found is not None:
                self._kept.move_to_end((digest, finder))
            return found

    def _remember(self, digest: bytes, finder: str, people: People) -> People:
        with self._lock:
            self._kept[digest, finder] = people
            self._kept.move_to_end((digest, finder))
            while len(self._kept) > self._capacity:
                self._kept.popitem(last=False)
        return people


def detector_size(device: torch.device) -> str:
    """Choose the detector for a device: the small one where computing is slow.

    Args:
        device: where it is to run.

    Returns:
        One of catalog.DETECTOR_SIZES.
    """
    return "small" if device.type == "cpu" else "medium"


def _ranked(boxes: np.ndarray, scores: np.ndarray, finder: str) -> People:
    """Take the best of what a finder says."""
    sides = boxes[:, 2:] - boxes[:, :2]
    real = np.flatnonzero((sides > 0).all(1) & np.isfinite(boxes).all(1) & np.isfinite(scores))
    kept = real[suppress(boxes[real], scores[real], _IOUS[finder])]
    if not len(kept):
        return People.nobody((_NOBODY,))
    notes = ()
    if len(kept) > MAX_PEOPLE:
        notes = (f"{len(kept)} people were found; the {MAX_PEOPLE} that are seen best are taken.",)
    kept = kept[:MAX_PEOPLE]
    people = People(boxes[kept], scores[kept], finder, notes)
    for array in (people.boxes, people.scores):
        array.flags.writeable = False  # several tabs are given the same people
    return people
