"""What a container or a service may use of its machine: Linux control groups, version 1 and 2."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

_MEMBERSHIP = Path("/proc/self/cgroup")
_ROOT = Path("/sys/fs/cgroup")


def memory_left(membership: Path = _MEMBERSHIP, root: Path = _ROOT) -> int | None:
    """Read how much memory is left of the tightest limit set on this process.

    Args:
        membership: file that names the groups of this process.
        root: where groups are mounted.

    Returns:
        Bytes, counting as left what the system could drop at once; None where there is no limit.
    """
    left = []
    for folder, version in _folders("memory", membership, root):
        if version == 2:
            limit, usage, droppable = "memory.max", "memory.current", "inactive_file"
        else:
            limit, usage, droppable = "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"
        numbers = [_read(folder / name).strip() for name in (limit, usage)]
        if all(number.isdigit() for number in numbers):  # "max" stands for no limit
            counts = dict(line.split(" ", 1) for line in _read(folder / "memory.stat").splitlines())
            left.append(int(numbers[0]) - int(numbers[1]) + int(counts.get(droppable, 0)))
    return min(left, default=None)


def cores_allowed(membership: Path = _MEMBERSHIP, root: Path = _ROOT) -> int | None:
    """Read how many cores' worth of time this process may use; torch sees the whole machine's.

    Args:
        membership: file that names the groups of this process.
        root: where groups are mounted.

    Returns:
        Cores, at least 1, rounded up; None where there is no limit.
    """
    cores = []
    for folder, version in _folders("cpu", membership, root):
        if version == 2:
            numbers = _read(folder / "cpu.max").split()
        else:
            numbers = [_read(folder / name).strip() for name in ("cpu.cfs_quota_us", "cpu.cfs_period_us")]
        if len(numbers) == 2 and all(number.isdigit() for number in numbers):  # "max" and -1: no limit
            cores.append(max(math.ceil(int(numbers[0]) / int(numbers[1])), 1))
    return min(cores, default=None)


def _folders(controller: str, membership: Path, root: Path) -> Iterator[tuple[Path, int]]:
    """Yield folders of the groups this process is in, with their version.

    A container sees its own group at the root; outside one, every group above counts as well.
    """
    for line in _read(membership).splitlines():
        _, controllers, group = line.split(":", 2)
        if controllers == "":
            mount, version = root, 2
        elif controller in controllers.split(","):
            mount, version = root / controller, 1
        else:
            continue
        path = PurePosixPath(group.lstrip("/"))
        for above in (path, *path.parents):
            yield mount / above, version


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
