"""Which device does the work and in which precision; both proved by Mini before they are trusted."""

from __future__ import annotations

import logging
import os
import time
from functools import cache, lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from sapiens_demo.cgroups import cores_allowed
from sapiens_demo.errors import DemoError
from sapiens_demo.network import NetworkConfig, SapiensNetwork, build_network
from sapiens_demo.threads import DeviceThread
from sapiens_demo.weights import load_state_dict

_VARIABLE = "SAPIENS_DEVICE"
_KINDS = ("cpu", "cuda", "mps")
_EQUAL_LABELS = 0.99  # share of pixels: rounding moves a few outlines, a wrong kernel moves everything
_EQUAL_LOGITS = 0.05  # norm of the difference / norm
_WORTHWHILE = 0.8  # a narrower precision must take at most this share of float32's time

_log = logging.getLogger(__name__)


@cache
def device_thread(name: str) -> DeviceThread:
    """Return the one thread in which all work of a device is done.

    Args:
        name: the device's, such as "cuda:0".

    Returns:
        The same thread for the same name.
    """
    cores = cores_allowed()
    if cores is not None and cores < torch.get_num_threads():
        torch.set_num_threads(cores)  # more threads than that would only take turns, and wait for each other
    return DeviceThread(f"sapiens {name}")


def choose_device(wanted: str | torch.device | None = None) -> torch.device:
    """Choose the device that does the work: as asked, else CUDA, else a proved Apple GPU, else the CPU.

    Args:
        wanted: "cpu", "cuda", "cuda:1", "mps"; None takes what SAPIENS_DEVICE says, if anything.

    Returns:
        The device; a CUDA device with its number.

    Raises:
        DemoError: the device is unknown, not there, or computes wrongly.
    """
    asked = str(wanted or os.environ.get(_VARIABLE, "")).strip().lower()
    if not asked:
        return _best_device()
    device = _parse(asked, given=wanted is not None)
    fault = _fault(device)
    if fault:
        raise DemoError(f"The device {asked} cannot be used: {fault}. Choose another one, such as cpu.")
    return device


def choose_precision(device: torch.device) -> torch.dtype:
    """Choose bfloat16 on GPUs that have it, else float16; on the CPU the fastest that is right.

    Call it in the device's thread.

    Args:
        device: from choose_device.

    Returns:
        torch.float32, torch.bfloat16 or torch.float16.
    """
    if device.type == "cuda":
        with torch.cuda.device(device):
            has_bfloat16 = torch.cuda.is_bf16_supported(including_emulation=False)
        return torch.bfloat16 if has_bfloat16 else torch.float16
    return _mps_precision() if device.type == "mps" else _cpu_precision()


def device_title(device: torch.device) -> str:
    """Name a device the way people do.

    Args:
        device: from choose_device.

    Returns:
        Such as "CPU" or "NVIDIA H100 80GB HBM3".
    """
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return {"cpu": "CPU", "mps": "Apple GPU"}[device.type]


def synchronize(device: torch.device) -> None:
    """Wait until a device has done all it was given, so that a clock tells the truth.

    Args:
        device: from choose_device.
    """
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def _best_device() -> torch.device:
    for name in ("cuda:0", "mps"):
        device = torch.device(name)
        fault = _fault(device)
        if not fault:
            return device
        _log.info("%s is not used: %s", name, fault)
    return torch.device("cpu")


def _parse(asked: str, *, given: bool) -> torch.device:
    kind, _, number = asked.partition(":")
    known = kind in _KINDS and (not number or (kind == "cuda" and number.isdecimal()))
    if not known:
        source = "was asked for" if given else f"stands in {_VARIABLE}"
        raise DemoError(f"There is no device {asked!r}, which {source}. Choose cpu, cuda or mps.")
    return torch.device(f"cuda:{number or 0}" if kind == "cuda" else kind)


def _fault(device: torch.device) -> str | None:
    """Say why a device cannot be used, or return None."""
    if device.type == "cuda":
        return _cuda_fault(device.index)
    return _mps_fault() if device.type == "mps" else None


@cache
def _cuda_fault(number: int) -> str | None:
    if not torch.cuda.is_available():
        return "torch finds no CUDA GPU on this machine"
    if number >= torch.cuda.device_count():
        return f"this machine has only {torch.cuda.device_count()} CUDA GPU(s), counted from 0"
    try:
        (torch.ones(8, device=f"cuda:{number}") + 1).sum().item()
    except RuntimeError as error:  # too old for this torch, or the driver is
        return f"this torch cannot compute on it ({str(error).splitlines()[0]})"
    return None


@lru_cache(maxsize=1)
def _mps_fault() -> str | None:
    if not torch.backends.mps.is_available():
        return "torch finds no Apple GPU on this machine"
    device = torch.device("mps")
    thread = device_thread(str(device))
    try:
        return thread.call(lambda _: labels_fault(device, choose_precision(device)))
    except (DemoError, RuntimeError) as error:
        return f"the self-check failed ({error})"


@lru_cache(maxsize=1)
def _mps_precision() -> torch.dtype:
    try:
        torch.ones(8, device="mps", dtype=torch.bfloat16).sum().item()
    except (RuntimeError, TypeError):  # before macOS 14
        return torch.float16
    return torch.bfloat16


@lru_cache(maxsize=1)
def _cpu_precision() -> torch.dtype:
    """Take bfloat16 where the CPU is measured to be faster with it and Mini agrees."""
    if not cpu_gains_from_bfloat16():
        return torch.float32
    fault = labels_fault(torch.device("cpu"), torch.bfloat16)
    _log.info("bfloat16 on this CPU: %s", fault or "labels agree")
    return torch.float32 if fault else torch.bfloat16


@lru_cache(maxsize=1)
def cpu_gains_from_bfloat16() -> bool:
    """Tell whether this CPU multiplies bfloat16 faster than float32, by trying both.

    Some have the instructions and take twice as long with them.

    Returns:
        Whether a layer takes at most _WORTHWHILE of the time.
    """
    if not _has_bfloat16_hardware():
        return False
    gain = _layer_seconds(torch.bfloat16) / _layer_seconds(torch.float32)
    _log.info("bfloat16 on this CPU takes %.2f of float32's time", gain)
    return gain <= _WORTHWHILE


def _has_bfloat16_hardware() -> bool:
    """Tell whether the CPU multiplies bfloat16; emulated, it was 6 to 7 times slower than float32 (AVX2)."""
    checks = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, name, lambda: False)() for name in checks)


def _layer_seconds(dtype: torch.dtype) -> float:
    """Time what a transformer layer of 0.3B spends its time on; the best of three."""
    tokens = torch.ones(768, 1024, dtype=dtype)
    weight = torch.ones(4096, 1024, dtype=dtype)
    heads = torch.ones(1, 16, 768, 64, dtype=dtype)
    times = []
    with torch.inference_mode():
        for _ in range(4):  # the first one warms up
            start = time.perf_counter()
            F.gelu(F.linear(tokens, weight))
            F.scaled_dot_product_attention(heads, heads, heads)
            times.append(time.perf_counter() - start)
    return min(times[1:])


def labels_fault(device: torch.device, dtype: torch.dtype) -> str | None:
    """Compare what Mini's segmentation says on a device with what it says on the CPU in float32.

    Args:
        device: the one to check; call it in that device's thread.
        dtype: precision on that device.

    Returns:
        None where the label maps agree, else how far they don't.

    Raises:
        CheckpointError: Mini is missing.
    """
    config = NetworkConfig.from_name("segmentation", "mini")
    weights = load_state_dict("segmentation", "mini", torch.float32, torch.device("cpu"))
    images = _test_picture(config.image_size)
    expected = _logits(build_network(config, weights), images)
    moved = {name: tensor.to(device, dtype) for name, tensor in weights.items()}
    found = _logits(build_network(config, moved), images.to(device, dtype))
    return compare_logits(found, expected)


def compare_logits(found: Tensor, expected: Tensor) -> str | None:
    """Compare two outputs of a segmentation network.

    Args:
        found: (B, C, h, w) float32 to be judged.
        expected: (B, C, h, w) float32 to be trusted.

    Returns:
        None where they are the same but for rounding, else how far they are not.
    """
    same = (found.argmax(1) == expected.argmax(1)).float().mean().item()
    difference = ((found - expected).norm() / expected.norm()).item()
    # Written so that NaN fails: an argmax over NaN may look like background everywhere.
    if same >= _EQUAL_LABELS and difference <= _EQUAL_LOGITS:
        return None
    return f"labels equal the CPU's in {same:.1%} of the pixels and values differ by {difference:.1%}"


def _logits(network: SapiensNetwork, images: Tensor) -> Tensor:
    with torch.inference_mode():
        return network(images).float().cpu()


def _test_picture(image_size: tuple[int, int]) -> Tensor:
    """Return (1, 3, H, W) soft spots of colour, always the same."""
    spots = torch.randn(1, 3, 12, 9, generator=torch.Generator().manual_seed(0))
    return F.interpolate(spots, size=image_size, mode="bilinear", align_corners=False)
