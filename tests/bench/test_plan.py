from __future__ import annotations

import argparse
import time
from typing import Any

import pytest
import torch

from sapiens_demo.bench import plan as planning
from sapiens_demo.bench.options import PARTS
from sapiens_demo.bench.plan import Plan, Variant, make_plan
from sapiens_demo.catalog import TASKS
from sapiens_demo.errors import DemoError


def _plan(**options: Any) -> Plan:
    names = ("task", "size", "precision", "compile", "batch", "minutes", "model")
    usual = dict.fromkeys(names) | {"quick": False, "device": "cpu", "only": PARTS}
    return make_plan(argparse.Namespace(**usual | options))


@pytest.fixture(autouse=True)
def _float32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning, "choose_precision", lambda device: torch.float32)


def test_a_cpu_measures_mini_as_the_page_runs_it() -> None:
    plan = _plan()
    assert plan.models == tuple((task, "mini") for task in TASKS)
    assert plan.variants == (Variant("float32", "off", 1),)
    assert plan.seconds_left == float("inf")


def test_a_gpu_measures_all_sizes_within_nine_minutes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning, "choose_device", lambda wanted: torch.device("cuda:0"))
    monkeypatch.setattr(planning, "choose_precision", lambda device: torch.bfloat16)
    plan = _plan()
    assert ("pose", "2b") not in plan.models  # not published
    assert {("pose", "0.3b"), ("depth", "2b")} <= set(plan.models)
    assert {variant.compile for variant in plan.variants} == {"off", "default"}
    assert {variant.dtype for variant in plan.variants} == {torch.bfloat16}
    assert plan.seconds_left < 9 * 60
    assert [size for _, size in _plan(quick=True).models] == ["0.3b"] * 4


def test_what_is_asked_for_is_measured() -> None:
    plan = _plan(task=["depth"], size=["0.3b", "2b"], precision=["float32", "bfloat16"], batch=[4, 1])
    assert plan.models == (("depth", "0.3b"), ("depth", "2b"))
    assert len(plan.variants) == 4 and plan.batches == (1, 4)


def test_what_is_not_published_is_refused() -> None:
    with pytest.raises(DemoError, match="pose 2b"):
        _plan(task=["pose"], size=["2b"])


def test_models_and_parts_are_measured_in_the_order_of_asking() -> None:
    plan = _plan(model=[("pose", "1b"), ("pose", "2b"), ("depth", "0.3b")], only=["forward"])
    assert plan.models == (("pose", "1b"), ("depth", "0.3b"))  # pose 2b is not published
    assert plan.parts == ("forward",) and plan.in_order
    assert not _plan().in_order and _plan().parts == PARTS


def test_the_time_runs_out() -> None:
    plan = Plan(torch.device("cpu"), (), (), 1.0, 1, minutes=1, began=time.monotonic() - 50)
    assert 9 < plan.seconds_left <= 10
