from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from sapiens_demo.bench.baseline import trace_baseline
from sapiens_demo.bench.requests import STAGES, encoded_photo, measure_requests
from sapiens_demo.catalog import TASKS
from sapiens_demo.network import NetworkConfig
from sapiens_demo.photo import read_photo
from sapiens_demo.weights import load_state_dict

pytest_plugins = ["tests.mini_weights"]

CPU = torch.device("cpu")
CONTENT = encoded_photo(np.random.default_rng(0).integers(0, 256, (80, 60, 3), np.uint8))


@pytest.fixture(autouse=True)
def _mini(random_mini: Path) -> None:
    pass


def test_a_photo_becomes_a_file() -> None:
    assert read_photo(CONTENT).shape == (80, 60, 3)


@pytest.mark.parametrize("task", TASKS)
def test_every_stage_has_its_time(task: str) -> None:
    row = measure_requests(CONTENT, task, "mini", CPU, repeats=1)
    assert tuple(row.stages) == STAGES
    assert min(row.stages[name] for name in ("read", "detect", "forward", "decode", "draw", "encode")) > 0
    assert row.rest_ms == pytest.approx(sum(row.stages.values()) - row.stages["forward"])
    assert row.megapixels == pytest.approx(0.0048)
    assert row.official == {} and row.official_peak_bytes == 0


@pytest.mark.parametrize("task", TASKS)
def test_the_official_way_takes_turns(task: str) -> None:
    config = NetworkConfig.from_name(task, "mini")
    state = load_state_dict(task, "mini", torch.float32, CPU)
    official = trace_baseline(config, state, torch.zeros(1, 3, *config.image_size))
    row = measure_requests(CONTENT, task, "mini", CPU, repeats=2, official=official)
    assert list(row.official) == ["prepare", "forward", "decode"]
    assert min(row.official.values()) > 0
