from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from sapiens_demo import __main__ as shell
from sapiens_demo.bench import command, decoding, rate

pytest_plugins = ["tests.mini_weights"]


@pytest.fixture(autouse=True)
def _quick(random_mini: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAPIENS_DEVICE", "cpu")
    monkeypatch.setattr(rate, "_SIDES", {"cpu": (32,)})
    monkeypatch.setattr(rate, "_TRIAL_SECONDS", 0.0)
    monkeypatch.setattr(command, "large_photo", lambda photo: np.ascontiguousarray(photo[:96, :72]))
    monkeypatch.setattr(command, "measure_decoding", lambda _: decoding.measure_decoding(0.0, (4, 32, 24)))
    monkeypatch.setattr(command, "memory_rate", lambda _: 0.01)
    monkeypatch.setattr(command, "import_seconds", lambda: 0.1)
    monkeypatch.setattr(torch._dynamo, "reset", lambda: None)


def test_the_shell_measures_and_writes_both_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "speed"
    words = ["bench", "--quick", "--task", "depth", "--precision", "float32", "--out", str(out)]
    assert shell.main(words) == 0
    printed = capsys.readouterr().out
    assert (out / "bench.md").read_text() == printed.rstrip("\n") + "\n"
    read = json.loads((out / "bench.json").read_text())
    assert [row["variant"] and row["variant"]["precision"] for row in read["forwards"]] == [None, "float32"]
    assert [row["task"] for row in read["requests"]] == ["depth"]
    assert read["matrix_tflops"]["float32"] > 0 and read["seconds"] > 0 and read["quick"] is True
    assert list(read["rooflines"]) == ["depth mini"] and read["restart"] is None
    assert "not measured" in printed  # the rows that need a GPU


def test_only_what_is_asked_for_is_measured_and_kept_model_by_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: list[int] = []
    write = command.as_json
    monkeypatch.setattr(command, "as_json", lambda found: kept.append(len(found.forwards)) or write(found))
    words = ["--precision", "float32", "--model", "depth:mini", "normal:mini", "--only", "forward"]
    assert shell.main(["bench", "--quick", *words, "--out", str(tmp_path)]) == 0
    assert kept == [2, 4, 4]
    read = json.loads((tmp_path / "bench.json").read_text())
    assert [row["load_seconds"] for row in read["forwards"]] == [None] * 4
    assert (read["requests"], read["import_seconds"], read["rooflines"]) == ([], None, {})


def test_what_is_not_published_is_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert shell.main(["bench", "--task", "pose", "--size", "2b"]) == 1
    assert "none is published" in capsys.readouterr().err
