"""From a photo, a task and a size to a result: the one way in, for page, shell and notebook alike."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache, cached_property, partial
from pathlib import Path
from types import ModuleType
from typing import Any, TypeAlias

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from sapiens_demo.batches import Work, run_in_batches
from sapiens_demo.boxes import People, given_people
from sapiens_demo.catalog import FRAMINGS, SIZES, TASKS, has_checkpoint
from sapiens_demo.devices import choose_device
from sapiens_demo.errors import DemoError
from sapiens_demo.masks import MaskFinder, PersonMask, photo_digest
from sapiens_demo.models import ModelCache, ModelInfo, ModelKey
from sapiens_demo.network import NetworkConfig
from sapiens_demo.people import PeopleFinder
from sapiens_demo.per_person import PerPerson
from sapiens_demo.photo import MAX_PIXELS, read_photo
from sapiens_demo.progress import Progress, silent
from sapiens_demo.stages import Stages
from sapiens_demo.tasks import depth, normal, pose, segmentation
from sapiens_demo.tasks.crops import merge_depth, merge_normals
from sapiens_demo.tasks.depth import DepthResult
from sapiens_demo.tasks.normal import NormalResult
from sapiens_demo.tasks.pose import Person, PoseInput, PoseResult
from sapiens_demo.tasks.segmentation import SegmentationResult

Result: TypeAlias = PoseResult | SegmentationResult | DepthResult | NormalResult


# Where Auto looks at everybody one by one: people are small, or a wide photo would be squeezed. Measured with
# Mini; `python -m sapiens_demo.training people` prints the table, which the README holds.
_SMALL_PERSON = 0.75  # height of the tallest box / height of the photo
_WIDE_PHOTO = 1.0  # width / height

_ONE_SCALE = "Every person's depth was fitted to that of the whole photo, so that all are on one scale."


class ChoiceError(DemoError):
    """Say that there is no such task, size or framing, and which there are."""


Boxes: TypeAlias = tuple[tuple[float, float, float, float], ...]


@dataclass(frozen=True)
class Options:
    """Choose how a task is done.

    Args:
        flip_test: pose: also look at the mirrored crop and average, for twice the time.
        person_only: depth and normals: leave the background out.
        boxes: people to look at, x1, y1, x2, y2 in photo pixels each; None has them found, and none at all,
            (), takes the whole photo.
        framing: one of catalog.FRAMINGS. "whole" gives the network the whole photo and looks for nobody;
            "person" gives it a crop of each person, or the whole photo where there is nobody. "auto" decides:
            pose sees people one by one, and so do the other tasks where boxes are given; where people are
            found, the other tasks do as choose_framing says.

    Raises:
        ChoiceError: there is no such framing.
    """

    flip_test: bool = False
    person_only: bool = True
    boxes: Boxes | None = None
    framing: str = "auto"

    def __post_init__(self) -> None:
        if self.framing not in FRAMINGS:
            raise ChoiceError(f"There is no framing {self.framing!r}. Choose one of {', '.join(FRAMINGS)}.")


@dataclass(frozen=True)
class Report:
    """Say what ran and how long it took.

    Args:
        task: one of catalog.TASKS.
        size: one of catalog.SIZES.
        model_title: "Mini", "Sapiens 0.3B", ...
        info: device, precision and so on of the task's own model.
        stages: name to milliseconds, in order.
        notes: sentences for the person.
        framing: "whole" or "person": what the network was given.
    """

    task: str
    size: str
    model_title: str
    info: ModelInfo
    stages: dict[str, float]
    notes: tuple[str, ...] = ()
    framing: str = "whole"


@dataclass(frozen=True, eq=False)
class Estimate:
    """Hold what a task made of a photo.

    Args:
        photo: (H, W, 3) uint8 RGB, upright.
        result: at the photo's own resolution.
        report: what ran.
        people: whom the network was shown one by one; nobody where it was given the whole photo.
    """

    photo: np.ndarray
    result: Result
    report: Report
    people: People = field(default_factory=People.nobody)


class Estimator:
    """Estimate tasks on photos; may be used from any thread.

    Args:
        models: where networks are kept; None takes the cache that the whole process shares.
    """

    def __init__(self, models: ModelCache | None = None) -> None:
        self._own_models = models

    @cached_property
    def models(self) -> ModelCache:
        """Return where networks are kept, chosen when they are first needed.

        Raises:
            DemoError: the device cannot be used, or a setting makes no sense.
        """
        return self._own_models or shared_models()

    @cached_property
    def people(self) -> PeopleFinder:
        """Return what finds everybody's box.

        Raises:
            DemoError: as for models.
        """
        return PeopleFinder(self.models)

    @cached_property
    def masks(self) -> MaskFinder:
        """Return what finds people's pixels, for the tasks that leave the background out.

        Raises:
            DemoError: as for models.
        """
        return MaskFinder(self.models)

    def estimate(
        self,
        photo: np.ndarray,
        task: str,
        size: str,
        options: Options = Options(),
        *,
        checkpoint: str | Path | None = None,
        progress: Progress = silent,
    ) -> Estimate:
        """Do a task on a photo.

        Args:
            photo: (H, W, 3) uint8 RGB, upright, as photo.read_photo gives it.
            task: one of catalog.TASKS.
            size: one of catalog.SIZES.
            options: how it is done.
            checkpoint: a weights file of the user's own for this task and size, or None.
            progress: told, in the calling thread, what is being done.

        Returns:
            The result at the photo's resolution, with a report.

        Raises:
            ChoiceError: there is no such task or size, or they are not published together.
            DemoError: the photo cannot be used, or the model cannot be had or doesn't fit into the memory.
        """
        check_choice(task, size, own_checkpoint=checkpoint is not None)
        photo = _checked(photo)
        key = ModelKey(task, size, None if checkpoint is None else str(checkpoint))
        run = _Run(self, photo, key, options, progress)
        found = run.look_for_people()
        framing = run.choose_framing(found)
        people = found if framing == "person" else People.nobody()
        outcome = _STEPS[task, framing](run, people.boxes)
        notes = () if framing == "whole" and len(found) else found.notes
        report = Report(task, size, key.title, outcome.info, run.stages, (*notes, *outcome.notes), framing)
        return Estimate(photo, outcome.result, report, people)


def choose_framing(people: People, photo_size: tuple[int, int]) -> str:
    """Decide for the dense tasks whether people are looked at one by one.

    Args:
        people: who was found in the photo.
        photo_size: (H, W) of the photo in pixels.

    Returns:
        "person" where all of the people are small or the photo is wide, else, or without people, "whole".
    """
    if not len(people):
        return "whole"
    height, width = photo_size
    tallest = float((people.boxes[:, 3] - people.boxes[:, 1]).max())
    return "person" if tallest < _SMALL_PERSON * height or width > _WIDE_PHOTO * height else "whole"


@dataclass(frozen=True)
class _Outcome:
    """What a task's steps come to."""

    result: Result
    info: ModelInfo
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Run:
    """One estimate under way."""

    estimator: Estimator
    photo: np.ndarray
    key: ModelKey
    options: Options
    progress: Progress
    stages: Stages = field(default_factory=Stages)

    @property
    def photo_size(self) -> tuple[int, int]:
        return self.photo.shape[0], self.photo.shape[1]

    @cached_property
    def digest(self) -> bytes:
        return photo_digest(self.photo)

    @property
    def image_size(self) -> tuple[int, int]:
        return NetworkConfig.from_name(self.key.task, self.key.size).image_size

    def look_for_people(self) -> People:
        boxes = self.options.boxes
        if boxes is not None:
            return given_people(boxes, self.photo_size)
        if self.options.framing == "whole":
            return People.nobody()
        with self.stages.timed("people"):
            return self.estimator.people.find(self.photo, self.key.size, self.progress, self.digest)

    def choose_framing(self, people: People) -> str:
        if self.options.framing == "whole" or not len(people):
            return "whole"
        sure = self.options.framing == "person" or self.key.task == "pose" or people.finder == "given"
        return "person" if sure else choose_framing(people, self.photo_size)

    def in_batches(self, work: Work[Any]) -> ModelInfo:
        return run_in_batches(self.estimator.models, self.key, work, self.stages, self.progress)

    def whole_photo(
        self,
        prepare: Callable[[np.ndarray, tuple[int, int]], Tensor],
        decode: Callable[[Tensor], Result],
    ) -> tuple[Any, ModelInfo]:
        results: list[Result] = []
        work = Work(
            1,
            prepare=lambda _: prepare(self.photo, self.image_size),
            decode=lambda output, _: decode(output),
            take=lambda _, result: results.append(result),
        )
        info = self.in_batches(work)
        return results[0], info

    def per_person(self, boxes: np.ndarray) -> PerPerson:
        return PerPerson(self.estimator.models, self.key, self.photo, boxes, self.progress, self.stages)

    def person_mask(self, boxes: np.ndarray | None = None) -> PersonMask:
        if not self.options.person_only:
            return PersonMask()
        with self.stages.timed("person mask"):
            return self.estimator.masks.find(self.photo, self.key.size, self.progress, boxes, self.digest)

    def remember_mask(self, found: SegmentationResult, boxes: np.ndarray | None = None) -> None:
        if self.key.path is None:  # whose file it is may mean something else by its parts
            self.estimator.masks.remember(self.photo, self.key.size, found, boxes, self.digest)


def _estimate_pose(run: _Run, boxes: np.ndarray) -> _Outcome:
    if not len(boxes):
        boxes = pose.whole_photo_box(run.photo)
    people: list[Person] = []
    prepared: list[PoseInput] = []

    def prepare(part: slice) -> Tensor:
        prepared[:] = [pose.prepare(run.photo, run.image_size, boxes[part])]
        return prepared[0].images

    def prepare_both(part: slice) -> Tensor:
        images = prepare(part)
        return torch.stack([images, images.flip(-1)], 1).flatten(0, 1)

    def decode(heatmaps: Tensor, _: slice) -> tuple[Person, ...]:
        return pose.decode(heatmaps, prepared[0], run.photo_size).people

    def decode_both(heatmaps: Tensor, part: slice) -> tuple[Person, ...]:
        return decode((heatmaps[::2] + pose.flip_heatmaps(heatmaps[1::2])) / 2, part)

    def take(_: slice, some: tuple[Person, ...]) -> None:
        people.extend(some)

    plain, both = (
        Work(len(boxes), prepare, decode, take),
        Work(len(boxes), prepare_both, decode_both, take, 2),
    )
    info = run.in_batches(both if run.options.flip_test else plain)
    return _Outcome(PoseResult(run.photo_size, tuple(people)), info)


def _segment_photo(run: _Run, _: np.ndarray) -> _Outcome:
    size = run.photo_size
    result, info = run.whole_photo(segmentation.prepare, lambda output: segmentation.decode(output, size))
    run.remember_mask(result)
    return _Outcome(result, info)


def _segment_people(run: _Run, boxes: np.ndarray) -> _Outcome:
    result, info = run.per_person(boxes).segment()
    run.remember_mask(result, boxes)
    return _Outcome(result, info)


def _map_photo(task: ModuleType, run: _Run, _: np.ndarray) -> _Outcome:
    mask, size = run.person_mask(), run.photo_size
    result, info = run.whole_photo(task.prepare, lambda output: task.decode(output, size, mask.pixels))
    return _Outcome(result, info, mask.notes)


def _map_people(
    merge: Callable[..., Result], notes: tuple[str, ...], run: _Run, boxes: np.ndarray
) -> _Outcome:
    mask = run.person_mask(boxes)
    result, info = run.per_person(boxes).merge(merge, mask.owners)
    return _Outcome(result, info, (*notes, *mask.notes))


_STEPS: dict[tuple[str, str], Callable[[_Run, np.ndarray], _Outcome]] = {
    ("pose", "whole"): _estimate_pose,
    ("pose", "person"): _estimate_pose,
    ("segmentation", "whole"): _segment_photo,
    ("segmentation", "person"): _segment_people,
    ("depth", "whole"): partial(_map_photo, depth),
    ("depth", "person"): partial(_map_people, merge_depth, (_ONE_SCALE,)),
    ("normal", "whole"): partial(_map_photo, normal),
    ("normal", "person"): partial(_map_people, merge_normals, ()),
}


def check_choice(task: str, size: str, *, own_checkpoint: bool = False) -> None:
    """Refuse a task or size that does not exist.

    Args:
        task: should be one of catalog.TASKS.
        size: should be one of catalog.SIZES.
        own_checkpoint: whether the user brings the weights, so that they need not be published.

    Raises:
        ChoiceError: the sentence lists what exists.
    """
    if task not in TASKS:
        raise ChoiceError(f"There is no task {task!r}. Choose one of {', '.join(TASKS)}.")
    published = [other for other in SIZES if has_checkpoint(task, other)]
    if size not in SIZES:
        raise ChoiceError(f"There is no size {size!r}. Choose one of {', '.join(published)}.")
    if size not in published and not own_checkpoint:
        raise ChoiceError(f"Size {size} is not published for {task}. Choose one of {', '.join(published)}.")


def _checked(photo: np.ndarray) -> np.ndarray:
    """Return the photo itself where it is ready, so that the usual way needs no second copy of it."""
    is_array = isinstance(photo, np.ndarray) and photo.dtype == np.uint8 and photo.flags.c_contiguous
    ready = is_array and photo.ndim == 3 and photo.shape[2] == 3 and 0 < photo.size <= 3 * MAX_PIXELS
    return photo if ready else read_photo(photo)


@cache
def _models_on(device: torch.device) -> ModelCache:
    return ModelCache(device)


def shared_models(device: str | None = None) -> ModelCache:
    """Return the model cache that all of the process uses for a device.

    Args:
        device: "cpu", "cuda" or "mps"; None takes SAPIENS_DEVICE, else the best there is.

    Returns:
        The same cache for the same device.

    Raises:
        DemoError: the device cannot be used.
    """
    chosen = choose_device(device)
    with _sharing:
        return _models_on(chosen)


_sharing = threading.Lock()


class Sapiens:
    """Do one task at one size, for notebooks: `Sapiens("segmentation", size="1b")("photo.jpg").labels`.

    Args:
        task: "pose", "segmentation", "depth" or "normal".
        size: "mini", "0.3b", "0.6b", "1b" or "2b".
        device: "cpu", "cuda" or "mps"; the best there is where None.
        checkpoint: a weights file of your own for this task and size.

    Raises:
        ChoiceError: there is no such task or size.
    """

    def __init__(
        self, task: str, size: str = "mini", device: str | None = None, checkpoint: str | Path | None = None
    ) -> None:
        check_choice(task, size, own_checkpoint=checkpoint is not None)
        self.task, self.size = task, size
        self._device, self._checkpoint = device, checkpoint

    def __call__(self, photo: str | Path | bytes | Image.Image | np.ndarray, **options: Any) -> Result:
        """Do the task on a photo; the model is fetched and loaded when it is first needed.

        Args:
            photo: path, content of a file, PIL image, or array, (H, W, 3) uint8 RGB.
            options: those of Options, such as person_only=False or framing="person".

        Returns:
            PoseResult, SegmentationResult, DepthResult or NormalResult, at the photo's resolution.

        Raises:
            DemoError: the photo cannot be used, or the model cannot be had; the message says what to do.
        """
        estimator = _estimator_on(shared_models(self._device))
        picture, settings = read_photo(photo), Options(**options)
        return estimator.estimate(picture, self.task, self.size, settings, checkpoint=self._checkpoint).result


@cache
def _estimator_on(models: ModelCache) -> Estimator:
    return Estimator(models)
