from __future__ import annotations

import pytest
import torch

from sapiens_demo.bench import rate
from sapiens_demo.bench.rate import best_multiplication, memory_rate

CPU = torch.device("cpu")


def test_the_size_that_is_multiplied_fastest_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rate, "_SIDES", {"cpu": (4, 256)})
    monkeypatch.setattr(rate, "_TRIAL_SECONDS", 0.0)
    best = best_multiplication(CPU, torch.float32)  # a call alone takes longer than the work of side 4
    assert best.tflop == pytest.approx(2 * 256**3 / 1e12)
    assert best.multiply().shape == (256, 256)


def test_memory_has_a_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rate, "_COPIED_BYTES", {"cpu": 2**20})
    assert 0 < memory_rate(CPU) < 10
