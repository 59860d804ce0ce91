from __future__ import annotations

import json
from dataclasses import replace

import pytest

from sapiens_demo.bench.agreement import Agreement
from sapiens_demo.bench.decoding import DecodingRow
from sapiens_demo.bench.forward import ForwardRow
from sapiens_demo.bench.plan import Variant
from sapiens_demo.bench.report import Findings, Machine, as_json, as_markdown, bars
from sapiens_demo.bench.requests import STAGES, RequestRow
from sapiens_demo.bench.starts import RestartRow
from sapiens_demo.bench.work import Limit

MACHINE = Machine("Some GPU", "Some CPU", 2, "2.13.0", False)
BFLOAT16 = Variant("bfloat16", "default", 1)
AGREES = Agreement("labels equal, >= 99 %", 0.998, True)


def _row(task: str, size: str, variant: Variant | None = BFLOAT16, **values: object) -> ForwardRow:
    usual = {
        "tflop": 4.7, "ms": 10.0, "spread": 0.01, "share": 0.7, "speedup": 9.0, "peak_bytes": 10**9,
        "weights": "random", "agreement": AGREES if variant else None,
    }  # fmt: skip
    return ForwardRow(task, size, variant, variant.batch if variant else 1, **usual | values)


def _findings(*rows: ForwardRow, **values: object) -> Findings:
    return Findings(MACHINE, False, forwards=list(rows), **values)


def _reached(findings: Findings, words: str) -> list[bool | None]:
    return [bar.reached for bar in bars(findings) if words in bar.measure]


def test_nothing_measured_is_said_of_every_bar() -> None:
    assert all(bar.reached is None and bar.value == "not measured" for bar in bars(_findings()))


@pytest.mark.parametrize(
    ("row", "words", "reached"),
    [
        (_row("pose", "0.3b", share=0.51), "0.3b, one image: share", True),
        (_row("pose", "0.3b", share=0.49), "0.3b, one image: share", False),
        (_row("depth", "2b", share=0.59), "0.6b to 2b", False),
        (_row("depth", "1b", speedup=7.9), "1b and 2b", False),
        (_row("depth", "1b", speedup=8.0), "1b and 2b", True),
        (_row("pose", "mini", speedup=1.4), "Mini", False),
        (_row("pose", "0.3b", agreement=replace(AGREES, holds=False)), "narrow", False),
        (_row("pose", "0.3b"), "narrow", True),
        (_row("pose", "0.3b", Variant("float32", "off", 1)), "narrow", None),
        (_row("pose", "0.3b", ms=None, agreement=None), "0.3b, one image: share", None),
        (_row("pose", "0.3b", replace(BFLOAT16, batch=8)), "0.3b, one image: share", None),
        (_row("pose", "0.3b", agreement=replace(AGREES, holds=False)), "0.3b, one image: share", None),
    ],
)
def test_forwards_are_held_against_their_bars(row: ForwardRow, words: str, reached: bool | None) -> None:
    assert _reached(_findings(row), words) == [reached]


def test_the_fastest_way_of_each_model_counts_and_the_worst_model_decides() -> None:
    slow = _row("pose", "0.3b", Variant("bfloat16", "off", 1), ms=20.0, share=0.3)
    findings = _findings(slow, _row("pose", "0.3b", share=0.6), _row("depth", "0.3b", share=0.55))
    bar = next(bar for bar in bars(findings) if "0.3b, one image: share" in bar.measure)
    assert bar.reached and bar.value == "55% to 60%"


def _request(task: str, rest_ms: float, peak: int) -> RequestRow:
    stages = dict.fromkeys(STAGES, 10.0)
    return RequestRow(task, "mini", 12.0, stages, rest_ms, 100.0, peak, {"prepare": 1.0}, 10**9)


@pytest.mark.parametrize(
    ("values", "words", "reached"),
    [
        ({"import_seconds": 0.21}, "import", [False]),
        ({"import_seconds": 0.02}, "import", [True]),
        ({"restart": RestartRow("pose", "0.3b", "default", 90, 15, 4)}, "restart", [True]),
        ({"restart": RestartRow("pose", "0.3b", "default", 90, 25, 4)}, "restart", [False]),
        ({"decoding": DecodingRow(8, 20, 1.9, 1e-5)}, "argmax", [True]),
        ({"decoding": DecodingRow(8, 20, 2.1, 1e-5)}, "argmax", [False]),
        ({"decoding": DecodingRow(8, 4, 1.9, float("nan"))}, "difference", [False]),
        ({"requests": [_request("pose", 349, 10**8)]}, "megapixel", [True, True]),
        ({"requests": [_request("pose", 351, 5 * 10**8)]}, "megapixel", [False, False]),
    ],
)
def test_the_rest_is_held_against_its_bars(values: dict, words: str, reached: list[bool]) -> None:
    assert _reached(_findings(**values), words) == reached


def test_the_tables_hold_what_was_measured_and_say_what_was_not() -> None:
    findings = _findings(
        _row("pose", "0.3b", None),
        _row("pose", "0.3b"),
        _row("depth", "2b", ms=None, agreement=None, note="not measured: the time was over"),
        _row("normal", "1b", agreement=Agreement("median angle", 3.2, False)),
        requests=[_request("pose", 300, 10**8)],
        rooflines={"pose 0.3b": [Limit("norms", 0.0, 3.0, 1.25, "memory"), Limit("matrices", 2, 1, 3, "")]},
        matrix_tflops={"bfloat16": 612.0},
    )
    text = as_markdown(findings)
    for words in (
        "612 TFLOP/s", "9.00 x", "| depth | 2b | bfloat16 | default | 1 |  | not measured: the time was over",
        "**no**: 3.2", "| pose 0.3b | all | 2 | 4 | 4.25 |",
    ):  # fmt: skip
        assert words in text
    for part in text.split("\n\n"):
        lines = [line for line in part.splitlines() if line.startswith("|")]
        assert len({line.count("|") for line in lines}) <= 1  # all rows of a table have equally many cells


def test_a_busy_machine_is_told_of() -> None:
    assert "Others used" in as_markdown(_findings(_row("pose", "mini", spread=0.5)))
    assert "Others used" not in as_markdown(_findings(_row("pose", "mini", spread=0.05)))


def test_the_json_holds_everything() -> None:
    findings = _findings(_row("pose", "0.3b"), decoding=DecodingRow(8, 20, 1.9, float("nan")))
    read = json.loads(as_json(findings))
    assert read["machine"]["torch"] == "2.13.0"
    assert read["forwards"][0]["variant"] == {"precision": "bfloat16", "compile": "default", "batch": 1}
    assert read["forwards"][0]["agreement"]["holds"] is True
    assert read["decoding"]["largest_difference"] is None  # JSON has no NaN
