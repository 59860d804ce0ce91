from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from sapiens_demo.bench import forward, rate
from sapiens_demo.bench.forward import ForwardBench, weights_file
from sapiens_demo.bench.plan import Plan, Variant
from sapiens_demo.bench.weights import TestWeights
from sapiens_demo.placement import CompiledDiffers, Placed

pytest_plugins = ["tests.mini_weights"]

CPU = torch.device("cpu")
MODELS = (("depth", "mini"), ("normal", "mini"))
PHOTOS = [np.random.default_rng(0).integers(0, 256, (64, 48, 3), np.uint8)]


@pytest.fixture(autouse=True)
def _quick(random_mini: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rate, "_SIDES", {"cpu": (32,)})
    monkeypatch.setattr(rate, "_TRIAL_SECONDS", 0.0)


def _bench(*variants: Variant, minutes: float | None = None) -> ForwardBench:
    return ForwardBench(Plan(CPU, MODELS, variants, 0.0, 1, minutes), PHOTOS)


def test_every_way_takes_turns_with_the_baseline() -> None:
    narrow, plain = Variant("bfloat16", "off", 1), Variant("float32", "off", 1)
    several = dataclasses.replace(plain, batch=2)
    bench = _bench(plain, narrow, several)
    rows = bench.measure("depth", "mini")
    assert [row.variant for row in rows] == [None, plain, narrow, None, several]
    assert [row.batch for row in rows] == [1, 1, 1, 2, 2]
    for row in rows:
        assert row.weights == "shipped" and not row.note
        assert min(row.ms, row.share, row.speedup) > 0 and row.peak_bytes >= 0
        assert (row.agreement is None) == (row.variant is None)
    assert rows[1].agreement.holds and rows[4].agreement.holds
    assert rows[3].tflop == pytest.approx(2 * rows[0].tflop)
    assert rows[0].speedup == 1
    assert set(bench.rates.tflops) == {"float32", "bfloat16"}


def test_what_there_is_no_time_for_is_not_measured() -> None:
    rows = _bench(Variant("float32", "off", 1), minutes=0).measure("depth", "mini")
    assert [row.ms for row in rows] == [None, None]
    assert all("time" in row.note for row in rows)


def test_nothing_is_compiled_at_the_cost_of_the_other_models() -> None:
    plain, compiled = Variant("float32", "off", 1), Variant("float32", "default", 1)
    rows = _bench(plain, compiled, minutes=0.6).measure("depth", "mini")  # 36 s: 30 here and 12 for the other
    assert [row.ms is None for row in rows] == [False, False, True]
    assert "time" in rows[2].note


@pytest.mark.parametrize(
    ("error", "words"),
    [(RuntimeError("CUDA out of memory"), "does not fit"), (ValueError("a\nb"), "ValueError: a b")],
)
def test_a_model_that_fails_costs_only_its_own_rows(
    error: Exception, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(forward, "find_weights", fail)
    rows = _bench(Variant("float32", "off", 1)).measure("depth", "mini")
    assert len(rows) == 2 and all(words in row.note and row.ms is None for row in rows)


def test_a_compiler_that_fails_costs_only_its_own_row(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("no compiler")

    monkeypatch.setattr(forward.LazyPlacement, "after_first_use", fail)
    rows = _bench(Variant("float32", "off", 1), Variant("float32", "default", 1)).measure("depth", "mini")
    assert [row.ms is None for row in rows] == [False, False, True]
    assert "no compiler" in rows[2].note


def test_a_compiled_network_that_differs_is_measured_with_a_note(monkeypatch: pytest.MonkeyPatch) -> None:
    def differ(_: object, placed: Placed, images: torch.Tensor) -> Placed:
        error = CompiledDiffers("by far")
        error.refused = placed
        raise error

    monkeypatch.setattr(forward.LazyPlacement, "after_first_use", differ)
    rows = _bench(Variant("float32", "default", 1)).measure("depth", "mini")
    assert rows[1].ms is not None and "by far" in rows[1].note


def test_the_first_models_of_a_given_order_get_the_time() -> None:
    bench = _bench(Variant("float32", "default", 1), minutes=1.1)
    assert bench._spare_seconds(*MODELS[0]) < 60
    bench.plan = dataclasses.replace(bench.plan, in_order=True)
    assert bench._spare_seconds(*MODELS[0]) > 60


def test_made_up_weights_are_lent_as_a_file(random_mini: Path) -> None:
    made_up = TestWeights({"a": torch.ones(3)}, "random")
    with weights_file("depth", "0.3b", made_up) as path:
        assert load_file(path)["a"].dtype == torch.bfloat16
    assert not path.exists()
    with weights_file("depth", "mini", TestWeights({}, "shipped")) as path:
        assert path.parent.parent == random_mini
