"""How long work tells what it does and how far it is."""

from __future__ import annotations

import time
from collections.abc import Callable

# Called with a plain sentence and the share done, 0 to 1, or None where it is unknown.
Progress = Callable[[str, float | None], None]

_SECONDS_BETWEEN_REPORTS = 0.2


def silent(sentence: str, share: float | None) -> None:
    """Take a report and drop it.

    Args:
        sentence: what is being done.
        share: how much of it is done, 0 to 1, or None.
    """


class Meter:
    """Report bytes as they are dealt with, a few times a second.

    Args:
        activity: what is being done, such as "Downloading weights.pth".
        total: bytes in all.
        progress: told "<activity>: <done> of <total>" and the share.
    """

    def __init__(self, activity: str, total: int, progress: Progress) -> None:
        self._activity, self._total, self._progress = activity, total, progress
        self._reported_at = float("-inf")

    def reach(self, done: int) -> None:
        """Take note of how far the work has come.

        Args:
            done: bytes dealt with so far.
        """
        now = time.monotonic()
        if done < self._total and now - self._reported_at < _SECONDS_BETWEEN_REPORTS:
            return
        self._reported_at = now
        share = min(done / self._total, 1.0) if self._total else 1.0
        self._progress(f"{self._activity}: {size_text(done)} of {size_text(self._total)}", share)


def size_text(count: int) -> str:
    """Write a number of bytes the way people do.

    Args:
        count: bytes.

    Returns:
        Decimal kB, MB or GB, such as "660 MB" or "4.7 GB".
    """
    if count >= 999_500_000:
        return f"{count / 1e9:.1f} GB"
    if count >= 999_500:
        return f"{count / 1e6:.0f} MB"
    return f"{count / 1e3:.0f} kB"
