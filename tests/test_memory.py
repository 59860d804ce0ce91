from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from sapiens_demo import memory
from sapiens_demo.errors import DemoError
from sapiens_demo.memory import available_bytes, is_out_of_memory, memory_limit, release_memory, start_peak

CPU = torch.device("cpu")
ON_LINUX = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells through /proc")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (None, None),
        ("", None),
        ("  ", None),
        ("12", 12_000_000_000),
        ("0.5", 500_000_000),
        (" 3 ", 3_000_000_000),
    ],
)
def test_the_limit_is_read(text: str | None, expected: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SAPIENS_MEMORY_GB", raising=False)
    if text is not None:
        monkeypatch.setenv("SAPIENS_MEMORY_GB", text)

    assert memory_limit() == expected


@pytest.mark.parametrize("text", ["lots", "0", "-4", "nan", "inf", "12 GB"])
def test_a_senseless_limit_is_refused(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAPIENS_MEMORY_GB", text)

    with pytest.raises(DemoError, match="SAPIENS_MEMORY_GB"):
        memory_limit()


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (MemoryError(), True),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), True),
        (
            RuntimeError(
                "[enforce fail] DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes"
            ),
            True,
        ),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"), True),
        (RuntimeError("MPS backend out of memory (MPS allocated: 9 GB)"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate"), True),
        (RuntimeError("size mismatch"), False),
        (ValueError("out of memory"), False),
        (DemoError("out of memory"), False),
    ],
)
def test_out_of_memory_is_recognised(error: Exception, expected: bool) -> None:
    assert is_out_of_memory(error) is expected


def test_what_numpy_and_torch_really_raise_is_recognised() -> None:
    too_much = 1 << 52

    with pytest.raises(MemoryError) as from_numpy:
        np.empty(too_much, np.float64)
    with pytest.raises(RuntimeError) as from_torch:
        torch.empty(too_much, dtype=torch.float64)

    assert is_out_of_memory(from_numpy.value)
    assert is_out_of_memory(from_torch.value)


@ON_LINUX
def test_the_available_memory_is_some() -> None:
    assert 0 < available_bytes(CPU) < 1 << 50


MEMINFO = "MemTotal: 9 kB\nMemAvailable: 8000000 kB"


@pytest.mark.parametrize(
    ("status", "group", "expected"),
    [
        pytest.param("", None, 8_000_000, id="the machine"),
        pytest.param("Name: x\nRssFile: 3000000 kB", None, 5_000_000, id="less the weights that are mapped"),
        pytest.param("", 3_000_000 * 1024, 3_000_000, id="a container"),
        pytest.param("", 9_000_000 * 1024, 8_000_000, id="a container larger than the machine"),
    ],
)
def test_the_available_memory_is_read(
    status: str, group: int | None, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {"/proc/meminfo": MEMINFO, "/proc/self/status": status}
    monkeypatch.setattr(memory, "_read", lambda path: files[str(path)])
    monkeypatch.setattr(memory, "memory_left", lambda: group)

    assert available_bytes(CPU) == expected * 1024 - memory._HOST_RESERVE


def test_without_proc_the_physical_memory_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_read", lambda path: "")

    assert available_bytes(CPU) > 1 << 28


@ON_LINUX
def test_the_peak_of_work_is_measured() -> None:
    size = 200 << 20
    peak = start_peak(CPU)
    torch.ones(size // 4).amax()

    assert 0.9 * size < peak() < 2 * size


@ON_LINUX
def test_mapped_weights_count_neither_as_peak_nor_as_available(tmp_path: Path) -> None:
    size = 200 << 20
    file = tmp_path / "weights"
    file.write_bytes(b"\1" * size)
    before = memory._process_bytes()["RssFile"]
    peak = start_peak(CPU)
    mapped = np.memmap(file, np.uint8, mode="r")
    mapped.max()

    assert peak() < size / 2
    assert memory._process_bytes()["RssFile"] - before > 0.9 * size


def test_releasing_on_a_cpu_trims_the_heap(monkeypatch: pytest.MonkeyPatch) -> None:
    trimmed: list[int] = []
    monkeypatch.setattr(memory, "trim_heap", lambda: trimmed.append(1))
    release_memory(CPU)
    assert trimmed == [1]
