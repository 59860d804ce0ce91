"""What can be asked of the bench command; light, as the shell imports it with every command."""

from __future__ import annotations

import argparse
from pathlib import Path

from sapiens_demo.catalog import SIZES, TASKS

PRECISIONS = ("float32", "bfloat16", "float16")
MODES = ("off", "default", "max-autotune")  # placement.COMPILE_MODES, which would bring torch along


def add_options(parser: argparse.ArgumentParser) -> None:
    """Describe the options of `python -m sapiens_demo bench`.

    Args:
        parser: of the command.
    """
    parser.add_argument("--task", nargs="+", choices=TASKS, help="default: all")
    parser.add_argument("--size", nargs="+", choices=SIZES, help="default: mini, and all sizes on a GPU")
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


def _count(text: str) -> int:
    count = int(text)
    if not 1 <= count <= 64:
        raise argparse.ArgumentTypeError(f"{text} is not between 1 and 64")
    return count
