"""How much memory there is and how much work takes, measured."""

from __future__ import annotations

import ctypes
import gc
import os
import sys
from collections.abc import Callable
from pathlib import Path

import torch

from sapiens_demo.cgroups import memory_left
from sapiens_demo.errors import DemoError

_VARIABLE = "SAPIENS_MEMORY_GB"
_HOST_RESERVE = 500 * 10**6  # for photos, pictures and the page
_DEVICE_RESERVE = 300 * 10**6  # for libraries' own workspaces
_OUT_OF_MEMORY = ("out of memory", "not enough memory", "can't allocate memory", "cublas_status_alloc_failed")


class MemoryExhausted(DemoError):
    """Say that a model does not fit into the memory, and what to do."""


def memory_limit() -> int | None:
    """Read how much memory models may take in all from SAPIENS_MEMORY_GB.

    Returns:
        Bytes, or None where it is not set.

    Raises:
        DemoError: it is not a positive number.
    """
    text = os.environ.get(_VARIABLE, "").strip()
    if not text:
        return None
    try:
        limit = float(text) * 1e9
    except ValueError:
        limit = 0.0
    if not 0 < limit < 1e18:  # False for NaN too
        raise DemoError(f"{_VARIABLE} is {text!r}, no amount of memory. Set it to gigabytes, such as 12.")
    return int(limit)


def available_bytes(device: torch.device) -> int:
    """Measure how much memory is left for more models.

    Args:
        device: where they would live.

    Returns:
        Bytes that can be taken now, less a reserve for what else needs memory there.
    """
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return free + kept - _DEVICE_RESERVE
    host = _host_bytes() - _HOST_RESERVE
    if device.type == "mps":  # shares the host's memory
        return min(host, torch.mps.recommended_max_memory() - torch.mps.current_allocated_memory())
    return host


def is_out_of_memory(error: BaseException) -> bool:
    """Tell an error that less memory in use would have avoided.

    Args:
        error: whatever was raised.

    Returns:
        True for MemoryError, torch.OutOfMemoryError and the errors that say so in words only.
    """
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error).lower() for words in _OUT_OF_MEMORY)


def release_memory(device: torch.device) -> None:
    """Give memory of things that are gone back to the system.

    Args:
        device: where they lived.
    """
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
    elif device.type == "mps":
        torch.mps.empty_cache()
    else:
        trim_heap()


def trim_heap() -> None:
    """Give back to the system what the allocator keeps of memory that nobody uses any more; takes some ms."""
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # of glibc only
        if trim is not None:
            trim(0)


def start_peak(device: torch.device) -> Callable[[], int]:
    """Begin to measure how much memory work takes at its peak, beyond what was in use before.

    Args:
        device: where the work goes on.

    Returns:
        Call it after the work: bytes, or 0 where nobody counts them. On the CPU other threads count too.
    """
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        return lambda: torch.cuda.max_memory_allocated(device) - before
    if device.type == "cpu" and _reset_high_water():
        start = _process_bytes()
        return lambda: _growth(start, _process_bytes())
    return lambda: 0


def _growth(start: dict[str, int], end: dict[str, int]) -> int:
    # Weights come in by memory map during the first run; they are counted with the model, not here.
    mapped = end["RssFile"] - start["RssFile"]
    return max(end["VmHWM"] - start["VmRSS"] - max(mapped, 0), 0)


def _reset_high_water() -> bool:
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


def _host_bytes() -> int:
    """Measure what is left of the machine's memory, or of the part of it that this process may use."""
    sizes = _fields(Path("/proc/meminfo"))
    if "MemAvailable" not in sizes:
        return _physical_bytes()
    # Mapped weights count as available, since the system could drop them; but every run reads them again.
    machine = sizes["MemAvailable"] - _process_bytes().get("RssFile", 0)
    group = memory_left()
    return machine if group is None else min(machine, group)


def _physical_bytes() -> int:
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return sys.maxsize


def _process_bytes() -> dict[str, int]:
    return _fields(Path("/proc/self/status"))


def _fields(path: Path) -> dict[str, int]:
    """Read the "Name: n kB" lines of a file in /proc as bytes; nothing where there is no such file."""
    lines = (line.split() for line in _read(path).splitlines())
    return {words[0].rstrip(":"): int(words[1]) * 1024 for words in lines if words[2:] == ["kB"]}


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
