"""The demo from the shell: estimate photos, list the models, fetch them ahead, measure how fast it is."""

from __future__ import annotations

import argparse
import logging
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from sapiens_demo.bench.options import add_options
from sapiens_demo.catalog import (
    CHECKPOINTS,
    DETECTOR_SIZES,
    DETECTORS,
    FORMATS,
    FRAMINGS,
    PEOPLE,
    SIZES,
    TASKS,
    find_checkpoint,
)
from sapiens_demo.errors import DemoError
from sapiens_demo.progress import size_text

if TYPE_CHECKING:
    import numpy as np

    from sapiens_demo.estimator import Estimator

_ALL = "all"
_DONE, _SOME_FAILED, _USAGE, _INTERRUPTED = 0, 1, 2, 130
_SECONDS_FOR_THE_HUB = 3.0
_SECONDS_BETWEEN_LINES = 10.0
_PLACES = {"download": "on the Hub", "unreachable": "cannot be had now", "unpublished": "-"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command of the shell.

    Args:
        arguments: words after `python -m sapiens_demo`; those of the process where None.

    Returns:
        Exit code: 0 done, 1 something failed (each failure has its line on stderr), 2 wrong usage.
    """
    chosen = _parser().parse_args(arguments)
    logging.getLogger("sapiens_demo").addHandler(logging.NullHandler())  # people get sentences, not logs
    try:
        return chosen.command(chosen)
    except DemoError as error:
        _complain("", error)
        return _SOME_FAILED
    except KeyboardInterrupt:
        return _INTERRUPTED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m sapiens_demo", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    predict = commands.add_parser("predict", help="estimate photos and write the results as files")
    predict.add_argument("photos", nargs="+", type=Path, metavar="PHOTO")
    predict.add_argument("--task", choices=(*TASKS, _ALL), default=_ALL, help="default: all")
    predict.add_argument("--size", choices=SIZES, default="mini", help="of the model (default: mini)")
    predict.add_argument("--out", type=Path, default=Path(), metavar="DIR", help="default: this folder")
    predict.add_argument("--device", choices=("cpu", "cuda", "mps"), help="default: the best there is")
    predict.add_argument("--checkpoint", type=Path, metavar="FILE", help="weights of your own")
    predict.add_argument(
        "--framing",
        choices=FRAMINGS,
        default=FRAMINGS[0],
        help="give the model the whole photo or a crop of each person (default: auto, as suits the photo)",
    )
    predict.add_argument(
        "--box",
        action="append",
        type=_box,
        metavar="X1,Y1,X2,Y2",
        dest="boxes",
        help="a person, in pixels of the photo, instead of those who are found; may be given several times",
    )
    predict.add_argument(
        "--formats",
        type=_formats,
        default=(),
        metavar="NAME,NAME",
        help=f"also write files for other tools: {', '.join(FORMATS)}",
    )
    predict.set_defaults(command=_predict)
    models = commands.add_parser("models", help="list what there is and what is on this machine")
    models.set_defaults(command=_list_models)
    download = commands.add_parser("download", help="fetch models ahead of a live demo")
    download.add_argument(
        "--task", choices=(*TASKS, _ALL, PEOPLE), default=_ALL, help="default: all; people: what finds them"
    )
    download.add_argument(
        "--size", choices=(*SIZES, *DETECTOR_SIZES, _ALL), help="people: the one for this machine where none"
    )
    download.set_defaults(command=_download, refuse=download.error)
    bench = commands.add_parser("bench", help="measure how fast it is here, against what people run today")
    add_options(bench)
    bench.set_defaults(command=_bench)
    return parser


# ---- predict ----------------------------------------------------------------------------------------------


def _box(text: str) -> tuple[float, ...]:
    try:
        x1, y1, x2, y2 = map(float, text.split(","))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not four numbers with commas between") from error
    return x1, y1, x2, y2


def _formats(text: str) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(text.split(",")))
    unknown = [name for name in names if name not in FORMATS]
    if unknown:
        raise argparse.ArgumentTypeError(f"{unknown[0]!r} is none of {', '.join(FORMATS)}")
    return names


def _predict(chosen: argparse.Namespace) -> int:
    from sapiens_demo.estimator import Estimator, check_choice
    from sapiens_demo.models import LazyPlacement, ModelCache, choose_device

    tasks = TASKS if chosen.task == _ALL else (chosen.task,)
    try:
        if chosen.checkpoint is not None and len(tasks) > 1:
            raise DemoError("A checkpoint is made for one task: say which with --task.")
        if chosen.boxes and len(chosen.photos) > 1:
            raise DemoError("Boxes belong to one photo: give one photo with --box.")
        for name in chosen.formats:
            if FORMATS[name] not in tasks:
                raise DemoError(f"The format {name} comes with the task {FORMATS[name]}: choose that or all.")
        for task in tasks:
            check_choice(task, chosen.size, own_checkpoint=chosen.checkpoint is not None)
        # Compiling takes a minute, which few commands last: only where it is asked for.
        strategy = LazyPlacement(os.environ.get("SAPIENS_COMPILE") or "off")
        estimator = Estimator(ModelCache(choose_device(chosen.device), strategy=strategy))
    except DemoError as error:
        _complain("", error)
        return _USAGE
    outcomes = [
        _predict_photo(estimator, photo, stem, tasks, chosen)
        for photo, stem in zip(chosen.photos, _stems(chosen.photos), strict=True)
    ]
    return _DONE if all(outcomes) else _SOME_FAILED


def _predict_photo(
    estimator: Estimator, path: Path, stem: str, tasks: Sequence[str], chosen: argparse.Namespace
) -> bool:
    """Do all tasks on a photo; return whether all went well."""
    from sapiens_demo.estimator import Options
    from sapiens_demo.export import WRITERS, write_format
    from sapiens_demo.photo import read_photo

    options = Options(boxes=tuple(chosen.boxes) if chosen.boxes else None, framing=chosen.framing)

    def read() -> None:
        photos.append(read_photo(path))

    def do(task: str) -> None:
        with _ProgressLine(f"{path}, {task}") as line:
            estimate = estimator.estimate(
                photos[0], task, chosen.size, options, checkpoint=chosen.checkpoint, progress=line.tell
            )
        for note in estimate.report.notes:
            print(f"{path}, {task}: {note}", file=sys.stderr)
        for file in WRITERS[task](estimate, chosen.out, stem):
            print(file)
        for name in chosen.formats:
            if FORMATS[name] == task:
                print(write_format(estimate, name, chosen.out, stem, path.name))

    photos: list[np.ndarray] = []
    if not _attempt(str(path), read):
        return False
    outcomes = [_attempt(f"{path}, {task}", partial(do, task)) for task in tasks]
    return all(outcomes)


def _stems(photos: Sequence[Path]) -> Iterator[str]:
    """Name the results after the photos; the second a.jpg, from another folder, becomes a-2."""
    taken: set[str] = set()
    for photo in photos:
        stem, count = photo.stem, 1
        while stem in taken:
            count += 1
            stem = f"{photo.stem}-{count}"
        taken.add(stem)
        yield stem


# ---- models and download ----------------------------------------------------------------------------------


def _list_models(chosen: argparse.Namespace) -> int:
    from sapiens_demo.hub import availability

    rows = [("TASK", "SIZE", "PARAMETERS", "LICENCE", "SCORE", "DOWNLOAD", "WHERE")]
    tasks = sorted(CHECKPOINTS.items(), key=lambda row: _place(*row[0]))
    for (task, size), checkpoint in (*tasks, *DETECTORS.items()):
        state = availability(task, size, patience=_SECONDS_FOR_THE_HUB)
        where = str(state.path) if state.path else _PLACES[state.state]
        cost = size_text(checkpoint.files[0].size) if checkpoint.files else "-"
        count = f"{checkpoint.parameters / 1e6:,.1f} M"
        rows.append((task, size, count, checkpoint.license, checkpoint.score or "-", cost, where))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    return _DONE


def _place(task: str, size: str) -> tuple[int, int]:
    return TASKS.index(task), SIZES.index(size)


def _download(chosen: argparse.Namespace) -> int:
    from sapiens_demo.hub import locate

    if chosen.size is None and chosen.task != PEOPLE:
        chosen.refuse("the following arguments are required: --size")
    tasks = TASKS if chosen.task == _ALL else (chosen.task,)
    every = (*SIZES, *DETECTOR_SIZES)
    sizes = every if chosen.size == _ALL else (chosen.size or _own_detector_size(),)
    wanted = [(task, size) for task in tasks for size in sizes if find_checkpoint(task, size)]
    if not wanted:
        published = ", ".join(size for size in every if any(find_checkpoint(task, size) for task in tasks))
        _complain("", f"Size {chosen.size} is not published for {chosen.task}. Choose one of {published}.")
        return _USAGE

    def fetch(task: str, size: str) -> None:
        with _ProgressLine(f"{task} {size}") as line:
            path = locate(task, size, progress=line.tell)
        print(f"{task} {size}: {path}")

    outcomes = [_attempt(f"{task} {size}", partial(fetch, task, size)) for task, size in wanted]
    return _DONE if all(outcomes) else _SOME_FAILED


def _own_detector_size() -> str:
    from sapiens_demo.devices import choose_device
    from sapiens_demo.people import detector_size

    return detector_size(choose_device())


# ---- bench ------------------------------------------------------------------------------------------------


def _bench(chosen: argparse.Namespace) -> int:
    from sapiens_demo.bench.command import run_bench

    with _ProgressLine("bench") as line:
        text = run_bench(chosen, line.tell)
    print(text)
    return _DONE


# ---- What people read on stderr ---------------------------------------------------------------------------


def _attempt(subject: str, work: Callable[[], None]) -> bool:
    """Return whether work went well; where it did not, say why in one line, and the rest goes on."""
    try:
        work()
    except DemoError as error:
        _complain(subject, error)
    except Exception as error:  # a fault of this program; the other photos may still go well
        _complain(subject, f"this should not happen, please report it: {type(error).__name__}: {error}")
    else:
        return True
    return False


def _complain(subject: str, error: object) -> None:
    sentence = " ".join(str(error).split())
    print(f"{subject}: {sentence}" if subject else f"error: {sentence}", file=sys.stderr)


class _ProgressLine:
    """Show what goes on in one line of a terminal, overwritten; elsewhere tell now and then of what lasts."""

    def __init__(self, subject: str) -> None:
        self._subject = subject
        self._overwrites = sys.stderr.isatty()
        self._told_at = time.monotonic()
        self._length = 0

    def __enter__(self) -> _ProgressLine:
        return self

    def __exit__(self, *_: object) -> None:
        if self._length:
            print("\r" + " " * self._length + "\r", end="", file=sys.stderr, flush=True)

    def tell(self, sentence: str, share: float | None) -> None:
        """Take a report.

        Args:
            sentence: what is being done.
            share: how much of it is done, 0 to 1, or None.
        """
        text = f"{self._subject}: {sentence}" + ("" if share is None else f" ({share:.0%})")
        if self._overwrites:
            text = text[: shutil.get_terminal_size().columns - 1]
            print("\r" + text.ljust(self._length), end="", file=sys.stderr, flush=True)
            self._length = len(text)
        elif time.monotonic() - self._told_at >= _SECONDS_BETWEEN_LINES:
            self._told_at = time.monotonic()
            print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
