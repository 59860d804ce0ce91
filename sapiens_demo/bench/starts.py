"""How long things take in a new process: the import, and a restart with what was compiled before."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import torch

_IMPORT = "import time; start = time.perf_counter(); import sapiens_demo; print(time.perf_counter() - start)"
_PATIENCE = 300  # seconds


@dataclass(frozen=True)
class RestartRow:
    """Hold what two starts took, from the start of the process; the second finds what the first compiled.

    Args:
        task: one of catalog.TASKS.
        size: one of catalog.SIZES.
        mode: one of placement.COMPILE_MODES.
        cold_seconds: until compiled, with nothing kept.
        warm_seconds: until compiled, with what the first start kept on the disk.
        first_seconds: until the first result of the second start, not compiled yet.
    """

    task: str
    size: str
    mode: str
    cold_seconds: float
    warm_seconds: float
    first_seconds: float


def import_seconds(repeats: int = 5) -> float:
    """Measure `import sapiens_demo` in new processes.

    Args:
        repeats: processes.

    Returns:
        The median.
    """
    return statistics.median(float(_python("-c", _IMPORT)) for _ in range(repeats))


def measure_restart(task: str, size: str, mode: str, file: Path, device: torch.device) -> RestartRow:
    """Start twice with an empty folder for what is compiled.

    Args:
        task: one of catalog.TASKS.
        size: one of catalog.SIZES.
        mode: one of placement.COMPILE_MODES.
        file: with the weights.
        device: where.

    Returns:
        What both took.

    Raises:
        subprocess.SubprocessError: a start failed or took too long.
    """
    words = ("-m", __spec__.name, task, size, mode, str(file.absolute()), str(device))
    with tempfile.TemporaryDirectory() as kept:
        cold = json.loads(_python(*words, TORCHINDUCTOR_CACHE_DIR=kept))
        warm = json.loads(_python(*words, TORCHINDUCTOR_CACHE_DIR=kept))
    return RestartRow(task, size, mode, cold["compiled"], warm["compiled"], warm["first"])


def _python(*words: str, **settings: str) -> str:
    """Run a new Python where this one runs; return the last line that it prints."""
    began = str(time.time())
    run = subprocess.run(
        [sys.executable, *words],
        cwd=Path(__file__).parents[2],
        env={**os.environ, **settings, "SAPIENS_BENCH_BEGAN": began},
        capture_output=True,
        text=True,
        timeout=_PATIENCE,
        check=True,
    )
    return run.stdout.strip().splitlines()[-1]


def _start(task: str, size: str, mode: str, file: str, place: str) -> dict[str, float]:
    """Do what a new process does until a model is compiled; return seconds since the process was started."""
    from sapiens_demo.devices import choose_precision, synchronize
    from sapiens_demo.network import NetworkConfig, build_network
    from sapiens_demo.placement import LazyPlacement
    from sapiens_demo.weights import load_state_dict

    began = float(os.environ["SAPIENS_BENCH_BEGAN"])
    device = torch.device(place)
    dtype = choose_precision(device)
    config = NetworkConfig.from_name(task, size)
    images = torch.zeros(1, 3, *config.image_size, device=device, dtype=dtype)
    strategy = LazyPlacement(mode, (device.type,))
    with torch.inference_mode():
        network = build_network(config, load_state_dict(task, size, dtype, device, path=file))
        placed = strategy.place(network, device, dtype)
        placed(images)
        synchronize(device)
        first = time.time() - began
        for _ in strategy.after_first_use(placed, images + 1):
            pass
        synchronize(device)
    return {"first": first, "compiled": time.time() - began}


if __name__ == "__main__":
    print(json.dumps(_start(*sys.argv[1:])))
