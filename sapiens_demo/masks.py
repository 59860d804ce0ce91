"""Where the person is in a photo, found by a body-part model for the tasks that leave the background out."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from sapiens_demo.catalog import SIZE_TITLES, SIZES, has_checkpoint
from sapiens_demo.errors import DemoError
from sapiens_demo.hub import find_local
from sapiens_demo.models import ModelCache, ModelKey
from sapiens_demo.network import NetworkConfig
from sapiens_demo.per_person import PerPerson
from sapiens_demo.progress import Progress, silent
from sapiens_demo.tasks import segmentation
from sapiens_demo.tasks.segmentation import SegmentationResult

_Place = tuple[bytes, str, bytes]  # of a mask in the memory: photo, size of the model, boxes
_NOBODY = "Nobody was found in this photo, so the full map is shown."


@dataclass(frozen=True, eq=False)
class PersonMask:
    """Hold where the person is.

    Args:
        owners: (H, W) uint8 at the photo's size: 0 in the background, else 1, or 1 + the index of the person
            where people were told apart. None where nobody was found or looked for.
        notes: sentences for the person who asked.
    """

    owners: np.ndarray | None = None
    notes: tuple[str, ...] = ()

    @property
    def pixels(self) -> np.ndarray | None:
        """Return where anybody is: (H, W) bool, or None where nobody was found or looked for."""
        return None if self.owners is None else self.owners > 0


class MaskFinder:
    """Find people with a body-part model, and remember the masks of the last photos for the next tab.

    Args:
        models: where networks are kept.
        capacity: how many masks are remembered, compressed.
    """

    def __init__(self, models: ModelCache, capacity: int = 8) -> None:
        self._models = models
        self._capacity = capacity
        self._kept: OrderedDict[_Place, _Runs] = OrderedDict()
        self._lock = threading.Lock()

    def find(
        self,
        photo: np.ndarray,
        size: str,
        progress: Progress = silent,
        boxes: np.ndarray | None = None,
        digest: bytes | None = None,
    ) -> PersonMask:
        """Find the person with the body-part model of a size, else the best one at hand, else Mini.

        Args:
            photo: (H, W, 3) uint8 RGB.
            size: of the model whose result is to be masked.
            progress: told, in the calling thread, what is being done.
            boxes: (N, 4) float32 x1, y1, x2, y2 in photo pixels, of people who are to be looked at one by
                one; None looks at the whole photo.
            digest: photo_digest of the photo, where the caller has it already.

        Returns:
            The mask; notes say which model made it where that is of another size, and when nobody was found.
        """
        digest = digest or photo_digest(photo)
        failure: DemoError | None = None
        for candidate in self.candidates(size):
            try:
                place = _place(digest, candidate, boxes)
                owners = self._kept_owners(place, photo)
                if owners is None:
                    owners = self._segment(photo, candidate, progress, boxes)
                    self._keep(place, owners)
            except DemoError as error:  # such as no memory for it beside the task's own model
                failure = failure or error
                continue
            notes = () if candidate == size else (_other_size_sentence(size, candidate, failure),)
            return PersonMask(owners, notes) if owners.any() else PersonMask(None, (*notes, _NOBODY))
        return PersonMask(
            None, (f"The full map is shown, as the background could not be left out: {failure}",)
        )

    def remember(
        self,
        photo: np.ndarray,
        size: str,
        found: SegmentationResult,
        boxes: np.ndarray | None = None,
        digest: bytes | None = None,
    ) -> None:
        """Take a mask that was made anyway.

        Args:
            photo: (H, W, 3) uint8 RGB.
            size: of the body-part model that made it.
            found: what it made.
            boxes: as for find.
            digest: as for find.
        """
        self._keep(_place(digest or photo_digest(photo), size, boxes), _owners(found))

    def candidates(self, size: str) -> list[str]:
        """List the sizes of body-part models to try, without any that would have to be downloaded.

        Args:
            size: of the model whose result is to be masked.

        Returns:
            The same size where it is on this machine, else the best that is; then Mini.
        """
        loaded = self._models.loaded()
        at_hand = [
            other
            for other in reversed(SIZES)
            if ModelKey("segmentation", other) in loaded or find_local("segmentation", other) is not None
        ]
        first = [size] if size in at_hand else at_hand[:1]
        return list(dict.fromkeys([*first, "mini"]))

    def _segment(
        self, photo: np.ndarray, size: str, progress: Progress, boxes: np.ndarray | None
    ) -> np.ndarray:
        key = ModelKey("segmentation", size)
        if boxes is not None:
            return _owners(PerPerson(self._models, key, photo, boxes, progress).segment()[0])
        images = segmentation.prepare(photo, NetworkConfig.from_name("segmentation", size).image_size)
        height, width = photo.shape[:2]
        return self._models.run(
            key,
            images,
            lambda logits: segmentation.decode_mask(logits, (height, width)).view(np.uint8),
            progress,
        ).value

    def _kept_owners(self, place: _Place, photo: np.ndarray) -> np.ndarray | None:
        with self._lock:
            kept = self._kept.get(place)
            if kept is None:
                return None
            self._kept.move_to_end(place)
        return kept.unpacked()

    def _keep(self, place: _Place, owners: np.ndarray) -> None:
        packed = _Runs.of(owners)
        with self._lock:
            self._kept[place] = packed
            self._kept.move_to_end(place)
            while len(self._kept) > self._capacity:
                self._kept.popitem(last=False)


@dataclass(frozen=True, eq=False)
class _Runs:
    """Hold a map as its runs of equal pixels: a hundredth of the size, and quicker than any compression."""

    shape: tuple[int, int]
    values: np.ndarray  # [runs] uint8
    lengths: np.ndarray  # [runs] uint32

    @classmethod
    def of(cls, owners: np.ndarray) -> _Runs:
        flat = owners.ravel()
        starts = np.append(0, np.flatnonzero(flat[1:] != flat[:-1]) + 1)
        lengths = np.diff(starts, append=flat.size).astype(np.uint32)
        return cls((owners.shape[0], owners.shape[1]), flat[starts], lengths)

    def unpacked(self) -> np.ndarray:
        return np.repeat(self.values, self.lengths).reshape(self.shape)


def _place(digest: bytes, size: str, boxes: np.ndarray | None) -> _Place:
    return digest, size, b"" if boxes is None else boxes.tobytes()


def _owners(found: SegmentationResult) -> np.ndarray:
    return found.mask.view(np.uint8) if found.owners is None else found.owners


def photo_digest(photo: np.ndarray) -> bytes:
    """Tell photos apart by their content.

    Args:
        photo: (H, W, 3) uint8 RGB.

    Returns:
        SHA-256 of the shape and of the SHA-256 of each half of the pixels, which are taken side by side.
    """
    halves = np.array_split(np.ascontiguousarray(photo), 2)
    with ThreadPoolExecutor(2) as pool:
        digests = pool.map(lambda half: hashlib.sha256(half).digest(), halves)
        return hashlib.sha256(b"".join([repr(photo.shape).encode(), *digests])).digest()


def _other_size_sentence(size: str, used: str, failure: DemoError | None) -> str:
    if failure is not None:
        why = "did not run"
    else:
        why = "is not on this machine" if has_checkpoint("segmentation", size) else "is not published"
    title = ModelKey("segmentation", used).title
    return f"The person was found by the body-part model {title}; the one of size {SIZE_TITLES[size]} {why}."
