"""Clocks: several pieces of work take turns, so that whatever else the machine does troubles all alike."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import TypeVar

import torch

from sapiens_demo.devices import synchronize

Name = TypeVar("Name", bound=Hashable)

_LEAST_ROUNDS, _MOST_ROUNDS = 3, 100


@dataclass(frozen=True)
class Times:
    """Hold what a piece of work took, round by round.

    Args:
        seconds: on the clock on the wall.
        cpu_seconds: of all the processor's cores; where others use the machine too, the steadier figure.
    """

    seconds: tuple[float, ...]
    cpu_seconds: tuple[float, ...]

    @property
    def ms(self) -> float:
        """Return the median in milliseconds."""
        return 1000 * statistics.median(self.seconds)

    @property
    def cpu_ms(self) -> float:
        """Return the median of the processor's time in milliseconds."""
        return 1000 * statistics.median(self.cpu_seconds)

    @property
    def spread(self) -> float:
        """Return the distance between the quartiles / the median; large where others use the machine too."""
        if len(self.seconds) < 2:
            return 0.0
        first, middle, third = statistics.quantiles(self.seconds, n=4)
        return (third - first) / middle

    def times_faster_than(self, other: Times) -> float:
        """Compare with other work of the same rounds.

        Args:
            other: took turns with this.

        Returns:
            The median over the rounds of other / this.
        """
        pairs = zip(other.seconds, self.seconds, strict=True)
        return statistics.median(theirs / own for theirs, own in pairs)


def alternate(
    works: Mapping[Name, Callable[[], object]], device: torch.device, seconds: float
) -> dict[Name, Times]:
    """Let pieces of work take turns for some time.

    Args:
        works: name to work; each is done once before the clock runs.
        device: is waited for at the end of each.
        seconds: for all rounds; there are at least three.

    Returns:
        Name to times, equally many for each.
    """
    for work in works.values():
        timed(work, device)
    end = time.perf_counter() + seconds
    rounds: list[dict[Name, tuple[float, float]]] = []
    while len(rounds) < _LEAST_ROUNDS or (time.perf_counter() < end and len(rounds) < _MOST_ROUNDS):
        rounds.append({name: timed(work, device) for name, work in works.items()})
    return {name: Times(*zip(*(one[name] for one in rounds), strict=True)) for name in works}


def timed(work: Callable[[], object], device: torch.device) -> tuple[float, float]:
    """Do a piece of work and look at the clocks.

    Args:
        work: to be done.
        device: is waited for before and after.

    Returns:
        Seconds on the wall, and of all the processor's cores.
    """
    synchronize(device)
    start, cpu_start = time.perf_counter(), time.process_time()
    work()
    synchronize(device)
    return time.perf_counter() - start, time.process_time() - cpu_start
