"""A catalogue row becomes a state dict: found, read, checked and converted, one tensor at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor

from sapiens_demo.archives import ArchiveError, StoredTensor, find_tensors, read_archive
from sapiens_demo.copies import keeps_copies, write_copy
from sapiens_demo.errors import CheckpointError
from sapiens_demo.hub import candidates
from sapiens_demo.network import NetworkConfig, SapiensNetwork
from sapiens_demo.progress import Meter, Progress, silent

T = TypeVar("T")

_NAMES_SHOWN = 4
# Buffers of the official TorchScript files that their networks don't use.
_UNUSED = ("data_preprocessor.mean", "data_preprocessor.std")

__all__ = [
    "CheckpointError",
    "LoadedWeights",
    "check_state_dict",
    "first_readable",
    "load_state_dict",
    "load_weights",
    "read_state_dict",
]


@dataclass(frozen=True)
class LoadedWeights:
    """Hold weights together with where they came from.

    Args:
        state_dict: name to tensor, contiguous, of one precision, on one device.
        path: the file they were read from.
    """

    state_dict: dict[str, Tensor]
    path: Path


def read_state_dict(path: str | Path) -> dict[str, Tensor]:
    """Read the tensors of a checkpoint file of any kind, without running anything in it.

    Args:
        path: .safetensors, official .pth, TorchScript or torch.export archive.

    Returns:
        Name to CPU tensor, in the file's precision; memory-mapped where the format allows.

    Raises:
        CheckpointError: the file is missing, damaged or of an unknown kind.
    """
    path = Path(path)
    with _readable(path):
        return _used(read_archive(path))


def check_state_dict(state_dict: Mapping[str, Tensor | StoredTensor], config: NetworkConfig) -> None:
    """Compare a state dict with the network it is meant for.

    Args:
        state_dict: name to tensor.
        config: the network.

    Raises:
        CheckpointError: tensors are missing, extra or of another shape; the sentence names them.
    """
    with torch.device("meta"):
        expected = {name: tuple(value.shape) for name, value in SapiensNetwork(config).state_dict().items()}
    missing = [name for name in expected if name not in state_dict]
    extra = [name for name in state_dict if name not in expected]
    misshaped = [
        f"{name} is {tuple(state_dict[name].shape)} and not {shape}"
        for name, shape in expected.items()
        if name in state_dict and tuple(state_dict[name].shape) != shape
    ]
    faults = [
        f"{word}: {_shortened(names)}"
        for word, names in (("missing", missing), ("not expected", extra), ("of another shape", misshaped))
        if names
    ]
    if faults:
        raise CheckpointError(
            f"This checkpoint is not the {config.task} network that was asked for ({'; '.join(faults)}). "
            "Choose the file of this task and size."
        )


def load_state_dict(
    task: str,
    size: str,
    dtype: torch.dtype,
    device: torch.device,
    *,
    path: str | Path | None = None,
    progress: Progress = silent,
) -> dict[str, Tensor]:
    """Find, read, check and convert the weights of a task at a size.

    Args:
        task: one of catalog.TASKS.
        size: one of catalog.SIZES.
        dtype: precision wanted.
        device: where the tensors go.
        path: a checkpoint of the user's own; searched for where None.
        progress: told about downloads and reading.

    Returns:
        Name to tensor on the device, contiguous, of the wanted precision.

    Raises:
        CheckpointError: there is no such checkpoint, it cannot be fetched, or it doesn't fit.
    """
    return load_weights(task, size, dtype, device, path=path, progress=progress).state_dict


def load_weights(
    task: str,
    size: str,
    dtype: torch.dtype,
    device: torch.device,
    *,
    path: str | Path | None = None,
    progress: Progress = silent,
) -> LoadedWeights:
    """Do what `load_state_dict` does and say which file it was.

    A file that cannot be read is passed over for the next one of the same model, and `progress` is told so.
    Of a float32 file a bfloat16 copy is kept for the next load, unless the user named the file.

    Args:
        task: one of catalog.TASKS.
        size: one of catalog.SIZES.
        dtype: precision wanted. Official bfloat16 files serve all of them.
        device: where the tensors go.
        path: a checkpoint of the user's own; searched for where None.
        progress: told about downloads and reading.

    Returns:
        The weights and their file.

    Raises:
        CheckpointError: there is no such checkpoint, it cannot be fetched, or it doesn't fit.
    """
    config = NetworkConfig.from_name(task, size)
    files = candidates(task, size, path=path, progress=progress)
    # Only official weights come in several files, so that there is another one to go on to.
    official = path is None and size != "mini"
    found, tensors = first_readable(files, lambda path: _find(path, config), progress if official else silent)
    with _readable(found):
        state_dict = dict(_converted(tensors, f"Reading {found.name}", dtype, device, progress))
    if official:
        _keep_copy(task, size, found, tensors, progress)
    return LoadedWeights(state_dict, found)


def first_readable(
    files: Iterator[Path], read: Callable[[Path], T], progress: Progress = silent
) -> tuple[Path, T]:
    """Read the first of several files of a model that can be read.

    Args:
        files: from hub.candidates; the next one is asked for only when it is needed.
        read: reads a file or raises CheckpointError.
        progress: told which files were passed over, and why.

    Returns:
        The file and what was read.

    Raises:
        CheckpointError: none can be read; it is the first one's failure.
    """
    first_failure = None
    while True:
        try:
            found = next(files, None)
        except CheckpointError as error:
            if first_failure is None:
                raise
            progress(str(error), None)
            raise first_failure from error
        if found is None:
            raise first_failure
        try:
            return found, read(found)
        except CheckpointError as failure:
            first_failure = first_failure or failure
            progress(f"{failure} Going on to the next file of this model", None)


def _find(path: Path, config: NetworkConfig) -> dict[str, StoredTensor]:
    with _readable(path):
        tensors = _used(find_tensors(path))
    check_state_dict(tensors, config)
    return tensors


def _converted(
    tensors: dict[str, StoredTensor],
    activity: str,
    dtype: torch.dtype,
    device: torch.device,
    progress: Progress,
) -> Iterator[tuple[str, Tensor]]:
    """Copy tensor after tensor out of the file, so that never more than one of them is mapped."""
    meter = Meter(activity, sum(stored.size for stored in tensors.values()), progress)
    done = 0
    for name, stored in tensors.items():
        source = stored.read()
        yield name, source.to(device, dtype, copy=True, memory_format=torch.contiguous_format)
        done += stored.size
        meter.reach(done)


def _keep_copy(
    task: str, size: str, found: Path, tensors: dict[str, StoredTensor], progress: Progress
) -> None:
    """Keep a bfloat16 copy of a float32 file; go on without it where there is no room for it."""
    wide = all(stored.dtype == torch.float32 for stored in tensors.values())
    if not (wide and keeps_copies()):
        return
    cpu = torch.device("cpu")
    narrow = (tensor for _, tensor in _converted(tensors, "", torch.bfloat16, cpu, silent))
    shapes = {name: stored.shape for name, stored in tensors.items()}
    try:
        write_copy(task, size, found, shapes, narrow, progress=progress)
    except (OSError, ArchiveError) as error:
        progress(f"No half-size copy of {found.name} was kept: {error}", None)


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    if not path.is_file():
        raise CheckpointError(f"There is no file {path}. Check the path of the checkpoint.")
    try:
        yield
    except ArchiveError as error:
        raise CheckpointError(
            f"{path.name} cannot be read as a checkpoint: {error}. "
            "Fetch the file again or choose another one."
        ) from error


def _used(tensors: dict) -> dict:
    return {name: tensor for name, tensor in tensors.items() if name not in _UNUSED}


def _shortened(names: list[str]) -> str:
    shown = ", ".join(names[:_NAMES_SHOWN])
    more = len(names) - _NAMES_SHOWN
    return f"{shown} and {more} more" if more > 0 else shown
