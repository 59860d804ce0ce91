"""Where a checkpoint is: on this machine, or on the Hugging Face Hub.

Searched in this order, and within each place the smallest file first: a path the user gave; assets/ (Mini);
the folder that SAPIENS_CHECKPOINTS names; the Hub cache; the Hub. A file's bfloat16 copy goes before it.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from huggingface_hub import constants
from huggingface_hub.file_download import repo_folder_name

from sapiens_demo.catalog import (
    CHECKPOINTS,
    DETECTOR_SIZES,
    KIND_ENDINGS,
    PEOPLE,
    SIZE_TITLES,
    TASKS,
    Checkpoint,
    CheckpointFile,
    find_checkpoint,
)
from sapiens_demo.copies import CopySource, copy_name, copy_path, copy_source, keeps_copies
from sapiens_demo.download import (
    NotOnHubError,
    choose_name,
    disk_trouble,
    fetch,
    folder_name,
    known_hub_trouble,
    offline_sentence,
)
from sapiens_demo.errors import CheckpointError
from sapiens_demo.progress import Progress, silent, size_text

_ASSETS = Path(__file__).parents[1] / "assets"

__all__ = [
    "Availability",
    "CheckpointError",
    "availability",
    "candidates",
    "copy_path",
    "find_local",
    "locate",
]


@dataclass(frozen=True)
class Availability:
    """Say whether a task can be had at a size.

    Args:
        state: "here", "download", "unreachable" (now) or "unpublished".
        bytes: what a download would fetch, about; 0 unless the state is "download" or "unreachable".
        path: the file on this machine, or None.
        sentence: what it costs, or why it cannot be had.
    """

    state: str
    bytes: int
    path: Path | None
    sentence: str


def locate(task: str, size: str, *, path: str | Path | None = None, progress: Progress = silent) -> Path:
    """Find the best checkpoint file of a task at a size, fetching it where this machine has none.

    Args:
        task: one of catalog.TASKS.
        size: one of catalog.SIZES.
        path: a file of the user's own, used as it is.
        progress: told about downloads and about files that cannot be had.

    Returns:
        A file on this machine.

    Raises:
        CheckpointError: there is no such checkpoint, or it cannot be fetched.
    """
    return next(candidates(task, size, path=path, progress=progress))


def candidates(
    task: str, size: str, *, path: str | Path | None = None, progress: Progress = silent
) -> Iterator[Path]:
    """Yield the files that hold the weights of a task at a size, best first.

    The next one is for when the one before cannot be read; it is fetched only when it is asked for.

    Args:
        task: one of catalog.TASKS.
        size: one of catalog.SIZES.
        path: a file of the user's own; nothing else is then offered.
        progress: told about downloads and about files that cannot be had.

    Yields:
        Files on this machine.

    Raises:
        CheckpointError: there is none, or no further one.
    """
    if path is not None:
        yield _users_own(Path(path))
        return
    checkpoint = _published(task, size)
    _report_missing_folder(progress)
    offered = []
    for found in _on_this_machine(checkpoint):
        offered.append(found)
        yield found
    if not checkpoint.files and not offered:
        raise CheckpointError(f"{_mini_path(task).name} is missing from assets/. Fetch the repository again.")
    yield from _from_hub(checkpoint, offered, progress)


def find_local(task: str, size: str) -> Path | None:
    """Find the best checkpoint file of a task at a size on this machine, without network.

    Args:
        task: one of catalog.TASKS.
        size: one of catalog.SIZES.

    Returns:
        A file, or None.
    """
    checkpoint = find_checkpoint(task, size)
    return next(_on_this_machine(checkpoint), None) if checkpoint else None


def availability(task: str, size: str, *, patience: float = 0.04) -> Availability:
    """Tell at once whether a task can be had at a size, and what that costs.

    The Hub is asked in the background, at most once a minute; until its first answer it counts as reachable.

    Args:
        task: one of catalog.TASKS.
        size: one of catalog.SIZES.
        patience: seconds to wait for the Hub's first answer. From 3 on the state is certain.

    Returns:
        The state, with a sentence for people.
    """
    checkpoint = find_checkpoint(task, size)
    if checkpoint is None:
        return Availability("unpublished", 0, None, _unpublished_sentence(task, size))
    found = find_local(task, size)
    if found:
        return Availability("here", 0, found, "On this machine.")
    if not checkpoint.files:
        return Availability("unreachable", 0, None, f"{_mini_path(task).name} is missing from assets/.")
    file = checkpoint.files[0]
    trouble = known_hub_trouble(patience)
    reason = offline_sentence(trouble, file) if trouble else disk_trouble(file.name, file.size)
    if reason:
        return Availability("unreachable", file.size, None, reason)
    return Availability("download", file.size, None, f"Downloads about {size_text(file.size)} first.")


def _users_own(path: Path) -> Path:
    if not path.is_file():
        raise CheckpointError(f"There is no file {path}. Check the path of the checkpoint.")
    return path


def _published(task: str, size: str) -> Checkpoint:
    checkpoint = find_checkpoint(task, size)
    if checkpoint is None:
        raise CheckpointError(_unpublished_sentence(task, size))
    return checkpoint


def _unpublished_sentence(task: str, size: str) -> str:
    if task == PEOPLE:
        return f"There is no people detector of size {size}. Choose {' or '.join(DETECTOR_SIZES)}."
    if task not in TASKS:
        return f"There is no task {task}. Choose one of {', '.join(TASKS)}."
    *others, last = [SIZE_TITLES[other] for named, other in CHECKPOINTS if named == task]
    title = SIZE_TITLES.get(size, size)
    return f"Sapiens {title} is not published for {task}. Choose {', '.join(others)} or {last}."


def _mini_path(task: str) -> Path:
    return _ASSETS / "mini" / f"sapiens_mini_{task}.safetensors"


def _report_missing_folder(progress: Progress) -> None:
    folder = os.environ.get("SAPIENS_CHECKPOINTS")
    if folder and not Path(folder).is_dir():
        progress(f"SAPIENS_CHECKPOINTS names {folder}, which is no folder; going on without it", None)


def _on_this_machine(checkpoint: Checkpoint) -> Iterator[Path]:
    if not checkpoint.files:
        mini = _mini_path(checkpoint.task)
        if mini.is_file():
            yield mini
        return
    in_folder = list(_in_folder(checkpoint))
    in_cache = list(filter(None, (_in_hub_cache(file, checkpoint) for file in checkpoint.files)))
    copy, source = _kept_copy(checkpoint)
    if source in map(CopySource.of, in_folder):
        yield copy
    yield from in_folder
    # A copy of a Hub file stays good after that file was cleared away, but not once another took its place.
    cleared = source and source.origin == "hub" and source.name not in {path.name for path in in_cache}
    if cleared or source in map(CopySource.of, in_cache):
        yield copy
    yield from in_cache


def _kept_copy(checkpoint: Checkpoint) -> tuple[Path, CopySource | None]:
    copy = copy_path(checkpoint.task, checkpoint.size)
    return copy, copy_source(copy, checkpoint.task, checkpoint.size) if keeps_copies() else None


def _in_folder(checkpoint: Checkpoint) -> Iterator[Path]:
    """Yield the official files in the folder that SAPIENS_CHECKPOINTS names, and a copy put there by hand."""
    folder = Path(os.environ.get("SAPIENS_CHECKPOINTS") or os.devnull)
    if checkpoint.companions:
        path = folder / folder_name(checkpoint.files[0]) / checkpoint.files[0].name
        yield from [path] if _is_whole(path, checkpoint) else []
        return
    names = _names(folder)
    copy = folder / copy_name(checkpoint.task, checkpoint.size)
    for file in checkpoint.files:
        ending = KIND_ENDINGS[file.kind]
        # The same model may come under the score or epoch of another training run.
        stem = re.sub(r"(AP|mIoU|epoch)_\d+", r"\1_\\d+", re.escape(file.name.removesuffix(ending)))
        official = [name for name in names if re.fullmatch(stem + re.escape(ending), name)]
        name = choose_name(official, file, checkpoint.avoid)
        if name:
            yield folder / name
        if file.kind == "bfloat16" and copy_source(copy, checkpoint.task, checkpoint.size):
            yield copy


def _in_hub_cache(file: CheckpointFile, checkpoint: Checkpoint) -> Path | None:
    """Look through the snapshots of a file's repository, the newest first."""
    repository = repo_folder_name(repo_id=file.repository, repo_type="model")
    snapshots = Path(constants.HF_HUB_CACHE, repository, "snapshots")
    commits = [file.revision] if file.revision else _names(snapshots)
    found = [
        snapshots / commit / name
        for commit in commits
        if (name := choose_name(_names(snapshots / commit), file, checkpoint.avoid)) is not None
    ]
    whole = [path for path in found if _is_whole(path, checkpoint)]
    return max(whole, key=lambda path: (path.name == file.name, path.stat().st_mtime_ns), default=None)


def _is_whole(path: Path, checkpoint: Checkpoint) -> bool:
    """Tell whether a file and all that must lie beside it are there; a snapshot's links may lead nowhere."""
    return path.is_file() and all((path.parent / other.name).is_file() for other in checkpoint.companions)


def _names(folder: Path) -> list[str]:
    with contextlib.suppress(OSError):
        return [entry.name for entry in folder.iterdir()]
    return []


def _from_hub(checkpoint: Checkpoint, offered: list[Path], progress: Progress) -> Iterator[Path]:
    """Fetch the published files one after the other, leaving out those that came from the Hub already."""
    cached = [path.name for path in offered if path.is_relative_to(constants.HF_HUB_CACHE)]
    refusals = []
    for file in checkpoint.files:
        if any(name.endswith(KIND_ENDINGS.get(file.kind, file.name)) for name in cached):
            continue
        try:
            found = fetch(file, avoid=checkpoint.avoid, progress=progress)
            for companion in checkpoint.companions:  # of the same commit, so that they lie beside it
                companion = replace(companion, revision=found.parent.name)
                fetch(companion, avoid=checkpoint.avoid, progress=progress)
        except NotOnHubError as refusal:
            refusals.append(refusal)
            progress(f"{refusal} Looking for the same model in another kind of file", None)
        else:
            yield found
    if refusals:
        raise refusals[0]
