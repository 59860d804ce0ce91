from __future__ import annotations

import pytest
import torch

from sapiens_demo.bench.timing import Times, alternate, timed

CPU = torch.device("cpu")


def test_works_take_turns() -> None:
    done: list[str] = []
    times = alternate({"a": lambda: done.append("a"), "b": lambda: done.append("b")}, CPU, seconds=0.0)
    assert done == ["a", "b"] * 4  # one round before the clock runs
    assert len(times["a"].seconds) == len(times["b"].cpu_seconds) == 3


@pytest.mark.parametrize(
    ("own", "other", "factor"),
    [((1, 2, 4), (3, 6, 12), 3), ((1, 1, 1), (2, 2, 50), 2), ((4, 1, 4), (2, 1, 2), 0.5)],
)
def test_ratios_are_taken_round_by_round(own: tuple, other: tuple, factor: float) -> None:
    assert Times(own, own).times_faster_than(Times(other, other)) == factor


def test_medians_and_spread() -> None:
    times = Times((0.001, 0.003, 0.002), (0.004, 0.004, 0.1))
    assert times.ms == pytest.approx(2) and times.cpu_ms == pytest.approx(4)
    assert times.spread == pytest.approx(1)
    assert Times((1.0,), (1.0,)).spread == 0


def test_a_fault_is_not_hidden() -> None:
    with pytest.raises(ZeroDivisionError):
        timed(lambda: 1 / 0, CPU)
