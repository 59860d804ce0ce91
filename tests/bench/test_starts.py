from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import torch

from sapiens_demo.bench.starts import import_seconds, measure_restart

pytest_plugins = ["tests.mini_weights"]


def test_an_import_is_timed_in_a_new_process() -> None:
    assert 0 < import_seconds(repeats=1) < 60


def test_two_starts_are_timed_in_new_processes(random_mini: Path) -> None:
    file = random_mini / "mini" / "sapiens_mini_depth.safetensors"
    row = measure_restart("depth", "mini", "off", file, torch.device("cpu"))
    assert 0 < row.first_seconds <= row.warm_seconds and row.cold_seconds > 0


def test_a_start_that_fails_is_told_of(tmp_path: Path) -> None:
    with pytest.raises(subprocess.SubprocessError):
        measure_restart("depth", "mini", "off", tmp_path / "missing.safetensors", torch.device("cpu"))
