from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from sapiens_demo import devices
from sapiens_demo.devices import choose_device, choose_precision, compare_logits, device_title, labels_fault
from sapiens_demo.errors import DemoError

pytest_plugins = ["tests.mini_weights"]

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _forget(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let every test ask anew, on a machine without GPU."""
    monkeypatch.delenv("SAPIENS_DEVICE", raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    _clear()
    yield
    _clear()


_CACHED = (
    devices._cuda_fault,
    devices._mps_fault,
    devices._mps_precision,
    devices._cpu_precision,
    devices.cpu_gains_from_bfloat16,
)


def _clear() -> None:
    for cached in _CACHED:
        cached.cache_clear()


def _pretend_mps(monkeypatch: pytest.MonkeyPatch, fault: str | None) -> None:
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setattr(devices, "choose_precision", lambda _: torch.bfloat16)
    monkeypatch.setattr(devices, "labels_fault", lambda *_: fault)


@pytest.mark.parametrize(
    ("wanted", "variable", "expected"),
    [
        (None, None, "cpu"),
        (None, "", "cpu"),
        (None, "cpu", "cpu"),
        (None, " CPU ", "cpu"),
        ("cpu", None, "cpu"),
        ("cpu", "cuda", "cpu"),
        (CPU, None, "cpu"),
    ],
)
def test_without_a_gpu_it_is_the_cpu(
    wanted: str | None, variable: str | None, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if variable is not None:
        monkeypatch.setenv("SAPIENS_DEVICE", variable)

    assert choose_device(wanted) == torch.device(expected)


@pytest.mark.parametrize(
    ("wanted", "variable", "words"),
    [
        ("tpu", None, "no device 'tpu', which was asked for.*cpu, cuda or mps"),
        (None, "gpu", "no device 'gpu', which stands in SAPIENS_DEVICE.*cpu, cuda or mps"),
        ("cpu:1", None, "no device"),
        ("cuda:x", None, "no device"),
        ("cuda", None, "cuda cannot be used: torch finds no CUDA GPU"),
        (None, "cuda:1", "cuda:1 cannot be used: torch finds no CUDA GPU"),
        (None, "mps", "mps cannot be used: torch finds no Apple GPU"),
    ],
)
def test_what_cannot_be_used_is_refused(
    wanted: str | None, variable: str | None, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if variable is not None:
        monkeypatch.setenv("SAPIENS_DEVICE", variable)

    with pytest.raises(DemoError, match=words):
        choose_device(wanted)


def test_cuda_is_taken_where_it_works(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "_cuda_fault", lambda number: None)

    assert choose_device() == torch.device("cuda:0")
    assert choose_device("cuda:1") == torch.device("cuda:1")
    assert choose_device("cpu") == CPU


def test_a_cuda_gpu_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)

    with pytest.raises(DemoError, match="only 1 CUDA GPU"):
        choose_device("cuda:1")


def test_a_cuda_gpu_that_cannot_compute_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("CUDA error: no kernel image is available\nmore")

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch, "ones", fail)

    assert choose_device() == CPU
    with pytest.raises(DemoError, match="no kernel image"):
        choose_device("cuda")


def test_mps_is_taken_only_when_its_labels_are_right(monkeypatch: pytest.MonkeyPatch) -> None:
    _pretend_mps(monkeypatch, fault=None)
    assert choose_device() == torch.device("mps")
    assert choose_device("mps") == torch.device("mps")

    _clear()
    _pretend_mps(monkeypatch, fault="labels equal the CPU's in 3.0% of the pixels")
    assert choose_device() == CPU
    with pytest.raises(DemoError, match="3.0%"):
        choose_device("mps")


def test_mps_is_not_taken_when_the_check_itself_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("not implemented for MPS")

    _pretend_mps(monkeypatch, fault=None)
    monkeypatch.setattr(devices, "labels_fault", fail)

    assert choose_device() == CPU


@pytest.mark.parametrize(("supported", "expected"), [(True, torch.bfloat16), (False, torch.float16)])
def test_precision_on_cuda(supported: bool, expected: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: supported)
    monkeypatch.setattr(torch.cuda.device, "__enter__", lambda self: None)
    monkeypatch.setattr(torch.cuda.device, "__exit__", lambda *_: None)

    assert choose_precision(torch.device("cuda:0")) is expected


@pytest.mark.parametrize(
    ("hardware", "narrow_seconds", "fault", "expected"),
    [
        pytest.param(False, 0.1, None, torch.float32, id="emulated"),
        pytest.param(True, 0.5, None, torch.bfloat16, id="fast and right"),
        pytest.param(True, 0.9, None, torch.float32, id="hardly faster"),
        pytest.param(True, 3.0, None, torch.float32, id="slower"),
        pytest.param(True, 0.5, "labels differ", torch.float32, id="fast and wrong"),
    ],
)
def test_precision_on_the_cpu(
    hardware: bool,
    narrow_seconds: float,
    fault: str | None,
    expected: torch.dtype,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seconds = {torch.float32: 1.0, torch.bfloat16: narrow_seconds}
    monkeypatch.setattr(devices, "_has_bfloat16_hardware", lambda: hardware)
    monkeypatch.setattr(devices, "_layer_seconds", seconds.__getitem__)
    monkeypatch.setattr(devices, "labels_fault", lambda *_: fault)

    assert choose_precision(CPU) is expected


def test_the_probe_measures_something() -> None:
    assert 0 < devices._layer_seconds(torch.float32) < 60


def test_the_self_check_passes_where_it_must(random_mini: Path) -> None:
    assert labels_fault(CPU, torch.float32) is None


def test_the_self_check_notices_a_device_that_computes_something_else(
    random_mini: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = torch.nn.functional.gelu
    calls = []

    def wrong_in_the_second_network(tokens: torch.Tensor, **options: object) -> torch.Tensor:
        calls.append(1)
        return right(tokens, **options) * (1 if len(calls) <= 8 else -1)

    monkeypatch.setattr(torch.nn.functional, "gelu", wrong_in_the_second_network)

    assert labels_fault(CPU, torch.float32) is not None
    assert len(calls) == 16


LOGITS = torch.randn(1, 5, 20, 20, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    ("found", "agrees"),
    [
        pytest.param(LOGITS, True, id="the same"),
        pytest.param(LOGITS + 1e-4, True, id="rounding"),
        pytest.param(LOGITS.flip(1), False, id="other labels"),
        pytest.param(LOGITS * 2, False, id="other values"),
        pytest.param(LOGITS * torch.nan, False, id="no numbers"),
        pytest.param(torch.zeros_like(LOGITS), False, id="nothing"),
    ],
)
def test_logits_are_compared(found: torch.Tensor, agrees: bool) -> None:
    assert (compare_logits(found, LOGITS) is None) is agrees


def test_a_device_has_one_thread() -> None:
    assert devices.device_thread("test") is devices.device_thread("test")
    assert devices.device_thread("test") is not devices.device_thread("other")


@pytest.mark.parametrize(("allowed", "threads", "expected"), [(2, 8, [2]), (8, 2, []), (None, 2, [])])
def test_no_more_threads_than_a_container_may_run(
    allowed: int | None, threads: int, expected: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen: list[int] = []
    monkeypatch.setattr(devices, "cores_allowed", lambda: allowed)
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    monkeypatch.setattr(torch, "set_num_threads", chosen.append)

    devices.device_thread(f"test {allowed} {threads}")

    assert chosen == expected


def test_titles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"NVIDIA {device}")

    titles = [device_title(torch.device(name)) for name in ("cpu", "mps", "cuda:0")]

    assert titles == ["CPU", "Apple GPU", "NVIDIA cuda:0"]
