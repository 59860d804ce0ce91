"""What the stops of the size slider say for a task."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from sapiens_demo.catalog import SIZE_TITLES, SIZES, has_checkpoint
from sapiens_demo.progress import size_text
from sapiens_demo.ui import texts
from sapiens_demo.ui.size_slider import Stop

if TYPE_CHECKING:
    from sapiens_demo.hub import Availability


def list_stops(task: str, there: Mapping[str, Availability]) -> list[Stop]:
    """Describe all stops for a task.

    Args:
        task: one of catalog.TASKS.
        there: whether the task can be had, by size.

    Returns:
        One stop a size, smallest first.
    """
    return [_stop(task, size, there[size]) for size in SIZES]


def unknown_stops(task: str) -> list[Stop]:
    """Describe all stops before anybody has looked.

    Args:
        task: one of catalog.TASKS.
    """
    return [
        Stop(
            size, SIZE_TITLES[size], "unknown", texts.NOTE_UNKNOWN, texts.hint(task, size, texts.HINT_UNKNOWN)
        )
        if has_checkpoint(task, size)
        else Stop(size, SIZE_TITLES[size], "off", texts.NOTE_UNPUBLISHED, texts.unpublished([size], task))
        for size in SIZES
    ]


def _stop(task: str, size: str, there: Availability) -> Stop:
    title = SIZE_TITLES[size]
    if there.state == "here":
        return Stop(size, title, "here", texts.NOTE_HERE, texts.hint(task, size, texts.HINT_HERE))
    if there.state == "download":
        cost = size_text(there.bytes)
        return Stop(
            size, title, "download", cost, texts.hint(task, size, texts.HINT_DOWNLOAD.format(size=cost))
        )
    note = texts.NOTE_UNPUBLISHED if there.state == "unpublished" else texts.NOTE_UNREACHABLE
    return Stop(size, title, "off", note, texts.off_sentence(task, size, there))


def reasons_off(task: str, there: Mapping[str, Availability]) -> str:
    """Say in words why stops are off, those of one reason together.

    Args:
        task: one of catalog.TASKS.
        there: whether the task can be had, by size.

    Returns:
        Sentences, or "" where no stop is off.
    """
    unpublished = [size for size in SIZES if there[size].state == "unpublished"]
    unreachable = [size for size in SIZES if there[size].state == "unreachable"]
    sentences = []
    if unreachable:
        sentences.append(texts.unreachable(unreachable))
    if unpublished:
        sentences.append(texts.unpublished(unpublished, task))
    return " ".join(sentences)
