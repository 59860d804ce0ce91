"""Results are remembered for a while, within bounds, so that nothing runs twice."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any

import numpy as np

MAX_BYTES = 1 << 30
MAX_SECONDS = 15 * 60


@dataclass
class _Entry:
    value: Any
    parts: dict[int, int]  # bytes of the arrays and files in it, by identity
    used: float


class Store:
    """Keep values by key: the least recently used go when memory is short, and all go after some time unused.

    One store serves all visitors: what is kept never exceeds the bound, however many there are. A value that
    is larger than the whole bound is not kept.

    Args:
        max_bytes: of all values together.
        max_seconds: a value lives after its last use.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        max_bytes: int = MAX_BYTES,
        max_seconds: float = MAX_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._max_bytes = max_bytes
        self._max_seconds = max_seconds
        self._clock = clock
        self._entries: OrderedDict[Hashable, _Entry] = OrderedDict()
        self._lock = threading.Lock()
        self._sweeper: threading.Timer | None = None

    def __contains__(self, key: Hashable) -> bool:
        with self._lock:
            self._sweep()
            return key in self._entries

    def get(self, key: Hashable) -> Any | None:
        """Return the value of a key, or None where it is not kept (any more).

        Args:
            key: as given to put.
        """
        with self._lock:
            self._sweep()
            entry = self._entries.get(key)
            if entry is None:
                return None
            entry.used = self._clock()
            self._entries.move_to_end(key)
            return entry.value

    def put(self, key: Hashable, value: Any) -> None:
        """Keep a value.

        Args:
            key: its name.
            value: anything; arrays and bytes in it, in dataclasses, tuples and lists, are what counts. What
                several values share counts once.
        """
        entry = _Entry(value, _parts_of(value), self._clock())
        with self._lock:
            self._entries.pop(key, None)
            if sum(entry.parts.values()) <= self._max_bytes:
                self._entries[key] = entry
            self._sweep()
            self._plan_sweep()

    @property
    def bytes(self) -> int:
        """Return the size of all that is kept."""
        with self._lock:
            return self._total()

    def _total(self) -> int:
        parts: dict[int, int] = {}
        for entry in self._entries.values():
            parts.update(entry.parts)
        return sum(parts.values())

    def _sweep(self) -> None:
        oldest = self._clock() - self._max_seconds
        while self._entries:
            key, entry = next(iter(self._entries.items()))
            if entry.used > oldest and self._total() <= self._max_bytes:
                break
            del self._entries[key]

    def _plan_sweep(self) -> None:
        """See to it that the last visitor's photos go too, when nobody comes after."""
        if self._entries and (self._sweeper is None or not self._sweeper.is_alive()):
            oldest = next(iter(self._entries.values())).used
            wait = max(1.0, oldest + self._max_seconds + 1 - self._clock())
            self._sweeper = threading.Timer(wait, self._sweep_later)
            self._sweeper.daemon = True
            self._sweeper.start()

    def _sweep_later(self) -> None:
        with self._lock:
            self._sweep()
            self._sweeper = None
            self._plan_sweep()


def size_of(value: Any) -> int:
    """Measure how many bytes of arrays and files a value holds.

    Args:
        value: anything; dataclasses, tuples and lists are looked into.
    """
    return sum(_parts_of(value).values())


def _parts_of(value: Any) -> dict[int, int]:
    if isinstance(value, np.ndarray):
        while isinstance(value.base, np.ndarray):  # a view keeps all of what it looks at
            value = value.base
        return {id(value): value.nbytes}
    if isinstance(value, bytes):
        return {id(value): len(value)}
    parts: dict[int, int] = {}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = [getattr(value, field.name) for field in dataclasses.fields(value)]
    if isinstance(value, (tuple, list)):
        for part in value:
            parts.update(_parts_of(part))
    return parts
