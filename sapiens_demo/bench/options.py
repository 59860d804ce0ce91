"""What can be asked of the bench command; light, as the shell imports it with every command."""

from __future__ import annotations

import argparse
from pathlib import Path

from sapiens_demo.catalog import SIZES, TASKS

PRECISIONS = ("float32", "bfloat16", "float16")
# placement.COMPILE_MODES, which would bring torch along.
MODES = ("off", "default", "graphs", "max-autotune", "whole")
PARTS = ("host", "requests", "restart", "forward", "load", "rooflines")


def add_options(parser: argparse.ArgumentParser) -> None:
    """Describe the options of `python -m sapiens_demo bench`.

    Args:
        parser: of the command.
    """
    parser.add_argument("--task", nargs="+", choices=TASKS, help="default: all")
    parser.add_argument("--size", nargs="+", choices=SIZES, help="default: mini, and all sizes on a GPU")
    parser.add_argument(
        "--model",
        nargs="+",
        type=_model,
        metavar="TASK:SIZE",
        help="instead of --task and --size: such as pose:0.3b, the most important first, of which as "
        "many are measured as the time allows",
    )
    parser.add_argument(
        "--only",
        nargs="+",
        choices=PARTS,
        default=PARTS,
        help="default: all; load and rooflines go with forward, whose rows they complete",
    )
    parser.add_argument("--precision", nargs="+", choices=PRECISIONS, help="default: what the page uses")
    parser.add_argument("--compile", nargs="+", choices=MODES, help="default: off, and default on a GPU")
    parser.add_argument("--batch", nargs="+", type=_count, metavar="N", help="default: 1, and 8 on a GPU")
    parser.add_argument("--quick", action="store_true", help="about a minute on two cores")
    parser.add_argument(
        "--minutes", type=float, metavar="M", help="begin nothing new after that (default: 8.5 on a GPU)"
    )
    parser.add_argument("--device", choices=("cpu", "cuda", "mps"), help="default: the best there is")
    parser.add_argument(
        "--out", type=Path, default=Path(), metavar="DIR", help="for bench.md and bench.json (default: .)"
    )


def _model(text: str) -> tuple[str, str]:
    task, _, size = text.partition(":")
    if task not in TASKS or size not in SIZES:
        raise argparse.ArgumentTypeError(f"{text!r} is no task and size such as pose:0.3b")
    return task, size


def _count(text: str) -> int:
    count = int(text)
    if not 1 <= count <= 64:
        raise argparse.ArgumentTypeError(f"{text} is not between 1 and 64")
    return count
