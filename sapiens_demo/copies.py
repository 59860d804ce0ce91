"""The bfloat16 copy that is kept of a float32 checkpoint: where it lies, whose copy it is, how it is written.

One copy per task and size, in a folder beside the Hub cache, so that the next load reads half the bytes.
"""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from huggingface_hub import constants
from huggingface_hub.utils import WeakFileLock

from sapiens_demo.progress import Meter, Progress, silent

if TYPE_CHECKING:
    import torch

_FOLDER = "sapiens-bfloat16"
_LONGEST_HEADER = 10_000_000
_SECONDS_FOR_THE_LOCK = 0.5
_SPARE_DISK = 64 * 10**6


@dataclass(frozen=True)
class CopySource:
    """Identify the file that a copy was made of.

    Args:
        origin: "hub" for a file of the Hub cache, "folder" for any other.
        name: file name.
        size: bytes.
        modified: time of its last change in nanoseconds.
    """

    origin: str
    name: str
    size: int
    modified: int

    @classmethod
    def of(cls, path: Path) -> CopySource:
        """Identify a file on this machine.

        Args:
            path: the file.

        Returns:
            What a copy of it would carry.
        """
        status = path.stat()
        origin = "hub" if path.is_relative_to(constants.HF_HUB_CACHE) else "folder"
        return cls(origin, path.name, status.st_size, status.st_mtime_ns)


def copy_name(task: str, size: str) -> str:
    """Name the bfloat16 copy of a task at a size.

    Args:
        task: one of catalog.TASKS.
        size: one of catalog.SIZES.

    Returns:
        A file name.
    """
    return f"sapiens_{size}_{task}_bfloat16.safetensors"


def copy_path(task: str, size: str) -> Path:
    """Tell where the bfloat16 copy of a task at a size is kept.

    Args:
        task: one of catalog.TASKS.
        size: one of catalog.SIZES.

    Returns:
        A path beside the Hub cache; there need not be a file.
    """
    return Path(constants.HF_HUB_CACHE).parent / _FOLDER / copy_name(task, size)


def keeps_copies() -> bool:
    """Tell whether copies are kept and used: unless SAPIENS_KEEP_BF16 is 0.

    Returns:
        True where they are.
    """
    return os.environ.get("SAPIENS_KEEP_BF16", "1") != "0"


def copy_source(path: Path, task: str, size: str) -> CopySource | None:
    """Read off a copy what it was made of.

    Args:
        path: where a copy may be.
        task: what it must be of.
        size: what it must be of.

    Returns:
        The source; None where there is no copy, a half-written one, or one of another task or size.
    """
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(min(length, _LONGEST_HEADER)))
            about = header.pop("__metadata__")
            end = 8 + length + max(entry["data_offsets"][1] for entry in header.values())
            if (about["task"], about["size"]) != (task, size) or os.fstat(file.fileno()).st_size != end:
                return None
            return CopySource(**json.loads(about["source"]))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def write_copy(
    task: str,
    size: str,
    source: Path,
    shapes: dict[str, tuple[int, ...]],
    tensors: Iterable[torch.Tensor],
    *,
    progress: Progress = silent,
) -> None:
    """Write the bfloat16 copy of a checkpoint, one tensor at a time; it counts only once it is complete.

    The layout is safetensors': the header's length in 8 bytes, the header as JSON, then tensor after tensor.

    Args:
        task: what it is of.
        size: what it is of.
        source: file the tensors come from.
        shapes: name to shape, in the order of the tensors.
        tensors: contiguous bfloat16 CPU tensors, which may be made as they are asked for.
        progress: told the bytes written.

    Raises:
        OSError: the disk is too small or not writable, or another process is writing the same copy.
    """
    target = copy_path(task, size)
    about = {"format": "pt", "task": task, "size": size, "source": json.dumps(asdict(CopySource.of(source)))}
    header, total = _header(shapes, about)
    target.parent.mkdir(parents=True, exist_ok=True)
    if shutil.disk_usage(target.parent).free < total + _SPARE_DISK:
        raise OSError("the disk is too small")
    part = target.with_suffix(".incomplete")
    meter = Meter(f"Keeping a half-size copy of {source.name}", total, progress)
    with WeakFileLock(target.with_suffix(".lock"), timeout=_SECONDS_FOR_THE_LOCK):
        try:
            with part.open("wb") as file:
                file.write(header)
                for tensor in tensors:
                    file.write(_bytes(tensor))
                    meter.reach(file.tell())
                file.flush()
                os.fsync(file.fileno())  # else a power cut could leave a complete name on incomplete bytes
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)


def _header(shapes: dict[str, tuple[int, ...]], about: dict[str, str]) -> tuple[bytes, int]:
    """Build the header; return it with the size of the whole file."""
    entries: dict[str, object] = {"__metadata__": about}
    end = 0
    for name, shape in shapes.items():
        start, end = end, end + 2 * math.prod(shape)
        entries[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [start, end]}
    text = json.dumps(entries).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text, 8 + len(text) + end


def _bytes(tensor: torch.Tensor) -> memoryview:
    import torch  # late: whoever only asks where a copy is doesn't wait for torch

    return memoryview(tensor.reshape(-1).view(torch.uint8).numpy())
