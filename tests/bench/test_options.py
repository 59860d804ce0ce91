from __future__ import annotations

import argparse

import pytest

from sapiens_demo.bench.options import MODES, PARTS, add_options
from sapiens_demo.placement import COMPILE_MODES


def _parsed(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_options(parser)
    return parser.parse_args(words)


def test_modes_are_those_that_exist() -> None:
    assert MODES == COMPILE_MODES


def test_several_of_each_can_be_asked_for() -> None:
    chosen = _parsed("--task", "pose", "depth", "--size", "0.3b", "--batch", "1", "8", "--compile", "off")
    assert (chosen.task, chosen.size, chosen.batch) == (["pose", "depth"], ["0.3b"], [1, 8])
    assert chosen.compile == ["off"] and chosen.precision is None and not chosen.quick


def test_models_can_be_named_one_by_one() -> None:
    chosen = _parsed("--model", "pose:1b", "depth:0.3b", "--only", "forward")
    assert chosen.model == [("pose", "1b"), ("depth", "0.3b")] and chosen.only == ["forward"]
    assert _parsed().only == PARTS


@pytest.mark.parametrize("words", [("--model", "pose"), ("--model", "pose:3b"), ("--only", "nothing")])
def test_models_and_parts_that_do_not_exist_are_refused(words: tuple[str, ...]) -> None:
    with pytest.raises(SystemExit):
        _parsed(*words)


@pytest.mark.parametrize(
    "words", [("--batch", "0"), ("--batch", "65"), ("--batch", "x"), ("--task", "all"), ("--compile", "on")]
)
def test_nonsense_is_refused(words: tuple[str, ...]) -> None:
    with pytest.raises(SystemExit):
        _parsed(*words)
