"""Labelled pictures at hand on the training device, read while training runs."""

from __future__ import annotations

import threading
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from sapiens_demo.memory import available_bytes
from sapiens_demo.training.samples import DEPTH_STEPS, decode_jpeg
from sapiens_demo.vocabulary import KEYPOINTS

# The most that the renderer makes: pixels of a picture, people in it.
_PIXELS, _PEOPLE = 90_000, 3
_K = len(KEYPOINTS)
# A picture and its labels as one row of bytes: one copy brings it to the device.
_RECORD = np.dtype(
    [
        ("image", np.uint8, (_PIXELS, 3)),
        ("normals", np.uint8, (_PIXELS, 3)),
        ("depth", np.int16, (_PIXELS,)),
        ("parts", np.uint8, (_PIXELS,)),
        ("keypoints", np.float32, (_PEOPLE, _K, 2)),
        ("visibility", np.uint8, (_PEOPLE, _K)),
        ("boxes", np.float32, (_PEOPLE, 4)),
        ("size", np.int32, (2,)),
        ("people", np.int32),
        ("far", np.float32),
    ],
    align=True,
)
_MEMORY_SHARE = 0.45
_PAUSE_SECONDS = 0.3


class PicturePool:
    """Keep pictures on a device, and add those that appear in a folder.

    Args:
        folder: holds samples (.npz) in sub-folders; more may be written to it at any time.
        device: where the pictures are kept.
        workers: processes that read; 0 reads in the thread that adds.

    Raises:
        FileNotFoundError: the folder holds no sample.
    """

    def __init__(self, folder: Path, device: torch.device, workers: int = 1) -> None:
        if not sample_files(folder):
            raise FileNotFoundError(
                f"There are no pictures in {folder}; make some with the generate command."
            )
        # Readers start before much memory is taken, which a fork might have to promise twice, and not in the
        # thread: a fork amid other threads' work can hang. Records come in whatever order: else a reader with
        # nothing new would keep the others' waiting.
        loader = DataLoader(_Records(folder), batch_size=None, num_workers=workers, in_order=False)
        records = iter(loader)
        capacity = int(_MEMORY_SHARE * available_bytes(device) / _RECORD.itemsize)
        self._rows = torch.empty((capacity, _RECORD.itemsize), dtype=torch.uint8, device=device)
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None
        self._count = 0
        self._closed = False
        self._failure: BaseException | None = None
        self._arrived = threading.Condition()
        self._adding = threading.Thread(target=self._add, args=(records,), daemon=True)
        self._adding.start()

    def __enter__(self) -> PicturePool:
        return self

    def __exit__(self, *_: object) -> None:
        """Stop reading; the pictures go with the pool."""
        self._closed = True
        self._adding.join()

    def __len__(self) -> int:
        return self._count

    @property
    def device(self) -> torch.device:
        """Return where the pictures are."""
        return self._rows.device

    def wait(self, count: int = 1) -> None:
        """Wait until some pictures are at hand.

        Args:
            count: how many.

        Raises:
            RuntimeError: a picture could not be read.
        """
        with self._arrived:
            self._arrived.wait_for(lambda: self._failure or self._count >= min(count, len(self._rows)))
        if self._failure:
            raise RuntimeError(f"The pictures could not be read: {self._failure}") from self._failure

    def field(self, name: str) -> Tensor:
        """Look at one kind of data of every picture.

        Args:
            name: "image" or "normals", (N, P, 3) uint8, row-major pixels with 128 for 0 in normals; "depth",
                (N, P) int16, steps above -32768; "parts", (N, P) uint8; "keypoints" (N, M, 308, 2) float32;
                "visibility" (N, M, 308) uint8; "boxes" (N, M, 4) float32; "size" (N, 2) int32, (H, W);
                "people" (N,) int32; "far" (N,) float32, metres.

        Returns:
            A view of the pool's memory.
        """
        kind, offset = _RECORD.fields[name]
        base, shape = kind.subdtype or (kind, ())
        own = self._rows[: self._count, offset : offset + kind.itemsize]
        values = own.view(getattr(torch, base.name))
        return values.unflatten(1, shape) if shape else values[:, 0]

    def _add(self, records: Iterator[Tensor]) -> None:
        try:
            for row in records:
                if self._closed or self._count == len(self._rows):
                    return
                if len(row):
                    self._copy(row)
                    with self._arrived:
                        self._count += 1
                        self._arrived.notify_all()
        except Exception as failure:  # told to whoever waits
            with self._arrived:
                self._failure = failure
                self._arrived.notify_all()

    def _copy(self, row: Tensor) -> None:
        with torch.cuda.stream(self._stream):  # on training's own it would wait for all that is queued there
            self._rows[self._count].copy_(row)


class _Records(IterableDataset):
    """Read samples as rows of bytes, without end: those that are there, then those that appear.

    Where none is new, rows are empty: whoever waits for one can then stop waiting.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __iter__(self) -> Iterator[Tensor]:
        worker = get_worker_info()
        number, workers = (worker.id, worker.num_workers) if worker else (0, 1)
        done: set[Path] = set()
        while True:
            new = [path for path in sample_files(self.folder) if path not in done]
            for path in new:
                if zlib.crc32(path.name.encode()) % workers == number:  # whenever a worker looks
                    yield torch.from_numpy(_record(path))
            done.update(new)
            if not new:
                time.sleep(_PAUSE_SECONDS)
                yield torch.empty(0, dtype=torch.uint8)


def sample_files(folder: Path) -> list[Path]:
    """List the finished samples of a folder and its sub-folders.

    Args:
        folder: where to look.

    Returns:
        Paths in order.
    """
    return sorted(path for path in folder.rglob("*.npz") if ".part" not in path.name)


def _record(path: Path) -> np.ndarray:
    record = np.zeros(1, _RECORD)
    with np.load(path) as file:
        parts = file["parts"]
        pixels, people = parts.size, len(file["boxes"])
        record["size"], record["people"], record["far"] = parts.shape, people, file["far"]
        record["image"][0, :pixels] = decode_jpeg(file["image"]).reshape(pixels, 3)
        record["normals"][0, :pixels] = file["normals"].reshape(pixels, 3)
        record["depth"][0, :pixels] = file["depth"].astype(np.int32).ravel() - 2**15
        record["parts"][0, :pixels] = parts.ravel()
        for name in ("keypoints", "visibility", "boxes"):
            record[name][0, :people] = file[name]
    return record.view(np.uint8)


def metres(depth: Tensor, far: Tensor) -> Tensor:
    """Turn stored depth into metres.

    Args:
        depth: (B, ...) int16, as the pool keeps it.
        far: (B,) of the same pictures.

    Returns:
        (B, ...) float32.
    """
    steps = depth.float() + 2**15
    return steps * (far / DEPTH_STEPS).view(-1, *[1] * (depth.ndim - 1))
