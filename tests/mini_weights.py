"""Mini weights of random numbers, in place of those that ship with the code."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import save_file

from sapiens_demo import estimator, hub
from sapiens_demo.catalog import TASKS
from sapiens_demo.network import NetworkConfig, SapiensNetwork


@pytest.fixture(scope="session")
def random_mini_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder like assets/, with random Mini weights of all four tasks."""
    folder = tmp_path_factory.mktemp("assets")
    (folder / "mini").mkdir()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for task in TASKS:
            network = SapiensNetwork(NetworkConfig.from_name(task, "mini"))
            save_file(network.state_dict(), folder / "mini" / f"sapiens_mini_{task}.safetensors")
    return folder


@pytest.fixture
def random_mini(random_mini_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Let Mini be random, and nothing else be on this machine, on the network or in memory."""
    monkeypatch.setattr(hub, "_ASSETS", random_mini_folder)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    for name in ("CHECKPOINTS", "DEVICE", "MEMORY_GB", "COMPILE"):
        monkeypatch.delenv(f"SAPIENS_{name}", raising=False)
    _forget_models()
    yield random_mini_folder
    _forget_models()


def _forget_models() -> None:
    estimator._models_on.cache_clear()
    estimator._estimator_on.cache_clear()
