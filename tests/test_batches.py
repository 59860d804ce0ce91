from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from sapiens_demo.batches import BATCH_SIZES, Work, batch_size, run_in_batches
from sapiens_demo.memory import MemoryExhausted
from sapiens_demo.models import Answer, ModelInfo, ModelKey
from sapiens_demo.stages import Stages

KEY = ModelKey("pose", "mini")
INFO = ModelInfo("pose", "mini", "cpu", "CPU", "float32", False, "file", "licence")


class CountingModels:
    """Stand in for the cache: the identity as network; remember how many pictures each run got."""

    def __init__(self, at_once: int = 8, room_for: int = 8) -> None:
        self.runs: list[int] = []
        self._at_once, self._room_for = at_once, room_for

    def load(self, key: ModelKey, progress) -> float:
        progress("Loading", None)
        return 7.0

    def images_at_once(self, key: ModelKey, most: int) -> int:
        return min(self._at_once, most)

    def run(self, key: ModelKey, images: Tensor, decode, progress) -> Answer:
        self.runs.append(len(images))
        progress("Running", None)
        if len(images) > self._room_for:
            raise MemoryExhausted("Too small.")
        return Answer(decode(images), INFO, 0.0, 10.0, 1.0)


def run_all(models: CountingModels, count: int, views: int = 1, progress=lambda *_: None):
    """Send items 1 to count through; return what came back and the times."""
    seen: list[float] = []
    stages = Stages()

    def prepare(part: slice) -> Tensor:
        numbers = torch.arange(1.0, count + 1)[part].repeat_interleave(views)
        return numbers.view(-1, 1, 1, 1).expand(-1, 3, 2, 2)

    def decode(output: Tensor, part: slice) -> list[float]:
        assert len(output) == views * (part.stop - part.start)
        return output[::views, 0, 0, 0].tolist()

    work = Work(count, prepare, decode, lambda part, values: seen.extend(values), views)
    info = run_in_batches(models, KEY, work, stages, progress)
    assert info == INFO
    return seen, stages


@pytest.mark.parametrize(
    ("count", "batches"),
    [
        (1, [1]),
        (2, [2]),
        (3, [4]),
        (4, [4]),
        (5, [6]),
        (6, [6]),
        (7, [8]),
        (8, [8]),
        (9, [8, 1]),
        (12, [8, 4]),
        (13, [8, 6]),
        (32, [8, 8, 8, 8]),
    ],
)
def test_people_share_forwards(count: int, batches: list[int]) -> None:
    models = CountingModels()
    seen, stages = run_all(models, count)

    assert models.runs == batches
    assert seen == [*range(1, count + 1)]
    assert stages["forward"] == 10 * len(batches) and stages["decode"] == len(batches)
    assert stages["load"] == (0 if count == 1 else 7)


@pytest.mark.parametrize(
    ("count", "batches"), [(1, [2]), (2, [4]), (4, [8]), (5, [8, 2]), (7, [8, 8]), (12, [8, 8, 8])]
)
def test_two_views_of_each_take_two_places(count: int, batches: list[int]) -> None:
    models = CountingModels()
    seen, _ = run_all(models, count, views=2)

    assert models.runs == batches
    assert seen == [*range(1, count + 1)]


@pytest.mark.parametrize(
    ("at_once", "views", "batches"),
    [(4, 1, [4, 4, 1]), (1, 1, [1] * 9), (4, 2, [4] * 4 + [2]), (1, 2, [2] * 9)],
)
def test_little_memory_makes_small_batches(at_once: int, views: int, batches: list[int]) -> None:
    models = CountingModels(at_once)
    seen, _ = run_all(models, 9, views)

    assert models.runs == batches and seen == [*range(1, 10)]


def test_a_batch_that_does_not_fit_is_halved() -> None:
    models = CountingModels(room_for=2)
    seen, _ = run_all(models, 10)

    assert models.runs == [8, 4, 2, 2, 2, 2, 2]
    assert seen == [*range(1, 11)]


def test_what_never_fits_is_said() -> None:
    with pytest.raises(MemoryExhausted, match="Too small"):
        run_all(CountingModels(room_for=0), 3)


def test_progress_tells_how_many_are_done() -> None:
    told: list[tuple[str, float | None]] = []
    run_all(CountingModels(), 12, progress=lambda *note: told.append(note))

    assert told == [("Loading", None), ("Running", None), ("Running", pytest.approx(8 / 12))]


@given(count=st.integers(1, 100), most=st.sampled_from(BATCH_SIZES))
def test_batches_are_of_few_sizes_and_mostly_full(count: int, most: int) -> None:
    size = batch_size(count, most)

    assert size in BATCH_SIZES and size <= most
    assert min(count, size) >= 0.75 * size
    assert size >= min(count, most) / 2
