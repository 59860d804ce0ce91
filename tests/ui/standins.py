"""An engine that answers at once, fails or takes its time as told, in place of the real one."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import cv2
import numpy as np

from sapiens_demo.boxes import People, given_people
from sapiens_demo.catalog import has_checkpoint
from sapiens_demo.errors import DemoError
from sapiens_demo.estimator import Estimate, Options, Report
from sapiens_demo.hub import Availability
from sapiens_demo.models import ModelInfo, ModelKey
from sapiens_demo.progress import Progress, silent
from sapiens_demo.tasks.depth import DepthResult
from sapiens_demo.tasks.normal import NormalResult
from sapiens_demo.tasks.pose import Person, PoseResult
from sapiens_demo.tasks.segmentation import SegmentationResult
from sapiens_demo.ui.examples import ExampleShelf, write_results
from sapiens_demo.ui.jobs import Job
from sapiens_demo.ui.service import Choice, Service
from sapiens_demo.ui.store import Store

# What the sizes stand for.
READY, BROKEN, ABROAD, CUT_OFF = "0.3b", "0.6b", "1b", "2b"
_PLAIN = Options()
BROKEN_SENTENCE = "The memory of the CPU is too small for Sapiens 0.6B. Choose a smaller size."
CUT_OFF_SENTENCE = "The Hugging Face Hub cannot be reached. Choose Mini."


def draw_photo(path: Path, width: int = 320, height: int = 400, shade: int = 60) -> Path:
    """Write a photo of nobody in particular: a figure of discs and bars before a plain wall."""
    photo = np.full((height, width, 3), (190, 200, 205), np.uint8)
    x, y, unit = width // 2, height // 2, height // 10
    skin, cloth = (150, 175, 220), (shade, 90, 160)
    cv2.rectangle(photo, (x - unit, y - 2 * unit), (x + unit, y + unit), cloth, cv2.FILLED)
    cv2.rectangle(photo, (x - unit, y + unit), (x - unit // 4, y + 4 * unit), (70, 60, 50), cv2.FILLED)
    cv2.rectangle(photo, (x + unit // 4, y + unit), (x + unit, y + 4 * unit), (70, 60, 50), cv2.FILLED)
    cv2.circle(photo, (x, y - 3 * unit), unit, skin, cv2.FILLED, cv2.LINE_AA)
    cv2.imwrite(str(path), photo)
    return path


class StandInFinder:
    """Find one person in an upright photo, two in a wide one, nobody in an empty one; count how often."""

    def __init__(self) -> None:
        self.asked = 0

    def find(self, photo: np.ndarray, size: str, progress: Progress = silent) -> People:
        self.asked += 1
        height, width = photo.shape[:2]
        count = 0 if photo.min() == photo.max() else 2 if width > height else 1
        if not count:
            return People.nobody(("Nobody was found in this photo.",))
        step = width / count
        boxes = [(step * place, 0.1 * height, step * (place + 1), 0.9 * height) for place in range(count)]
        return People(np.float32(boxes), np.float32([0.9] * count), "mini")


class StandInEstimator:
    """Make up results of the right kind; remember what was asked.

    Args:
        gate: 0.3B waits here and reports "Running Sapiens 0.3B" meanwhile.
    """

    def __init__(self, gate: threading.Event) -> None:
        self.gate = gate
        self.asked: list[tuple[str, str, Options]] = []
        self.people = StandInFinder()

    def estimate(
        self,
        photo: np.ndarray,
        task: str,
        size: str,
        options: Options = _PLAIN,
        *,
        progress: Progress = silent,
    ) -> Estimate:
        self.asked.append((task, size, options))
        if size == READY:
            progress("Running Sapiens 0.3B", 0.5)
            self.gate.wait(20)
        if size == BROKEN:
            raise DemoError(BROKEN_SENTENCE)
        info = ModelInfo(task, size, "cpu", "CPU", "float32", False, f"{task}.safetensors", "CC BY-NC 4.0")
        stages, title = {"prepare": 3.0, "forward": 250.0}, ModelKey(task, size).title
        if options.boxes is None and options.framing != "whole":
            stages = {"people": 0.0, **stages}
        people = self._people(photo, task, size, options)
        report = Report(task, size, title, info, stages, people.notes, "person" if len(people) else "whole")
        return Estimate(photo, _result(photo, task, options, people), report, people)

    def _people(self, photo: np.ndarray, task: str, size: str, options: Options) -> People:
        if options.framing == "whole":
            return People.nobody()
        if options.boxes is not None:
            return given_people(options.boxes, photo.shape[:2])
        found = self.people.find(photo, size)
        return found if task == "pose" or options.framing == "person" else People.nobody(found.notes)


def _result(
    photo: np.ndarray, task: str, options: Options, people: People
) -> PoseResult | SegmentationResult | DepthResult | NormalResult:
    height, width = photo.shape[:2]
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j].astype(np.float32)
    ball = np.hypot(x / 0.6, y / 0.8)
    mask = ball < 1
    if task == "pose":
        boxes = people.boxes if len(people) else np.float32([[0, 0, width, height]])
        scores = np.linspace(0, 1, 308, dtype=np.float32)
        places = np.random.default_rng(0).uniform(0.25, 0.75, (308, 2))
        everybody = (
            Person(box, (box[:2] + places * (box[2:] - box[:2])).astype(np.float32), scores) for box in boxes
        )
        return PoseResult((height, width), tuple(everybody))
    if task == "segmentation":
        return SegmentationResult(np.where(mask, np.clip(14 + 14 * y, 1, 27), 0).astype(np.uint8))
    kept = mask if options.person_only else None
    if task == "depth":
        return DepthResult(ball, kept)
    normals = np.dstack([x / 0.6, -y / 0.8, np.sqrt(np.maximum(1 - ball**2, 0.01))])
    return NormalResult((normals / np.linalg.norm(normals, axis=2, keepdims=True)).astype(np.float32), kept)


class StandInService(Service):
    """A front to the stand-in engine.

    Mini and 0.3B are here, 0.6B breaks, 1B must be downloaded, and 2B, but for normals, cannot be had.
    """

    def __init__(self, folder: Path) -> None:
        self.gate = threading.Event()
        self.engine = StandInEstimator(self.gate)
        self.downloaded: set[str] = set()
        super().__init__(lambda: self.engine, ExampleShelf(folder))  # type: ignore[arg-type, return-value]
        self.forget()

    def forget(self) -> None:
        """Be as if nobody had asked for anything."""
        self.gate.set()
        self.engine.asked.clear()
        self.engine.people.asked = 0
        self.downloaded.clear()
        self._store = Store()

    def availability(self, task: str, size: str, patience: float = 0.0) -> Availability:
        if not has_checkpoint(task, size):
            return Availability("unpublished", 0, None, "Not published.")
        if size == ABROAD and task not in self.downloaded:
            return Availability("download", 2_340_000_000, None, "Downloads about 2.3 GB first.")
        if size == CUT_OFF and task != "normal":
            return Availability("unreachable", 4_300_000_000, None, CUT_OFF_SENTENCE)
        return Availability("here", 0, Path("somewhere"), "On this machine.")

    def start_size(self, task: str) -> str:
        return "mini"

    def fetch(self, choice: Choice) -> Job | None:
        if self.availability(choice.task, choice.size).state != "download":
            return None

        def download(progress: Progress) -> None:
            progress("Downloading sapiens.pt2: 1.2 GB of 2.3 GB", 0.5)
            self.gate.wait(20)
            self.downloaded.add(choice.task)

        return self._fetches.join((choice.task, choice.size), download)


def make_examples(folder: Path) -> Path:
    """Put two examples and their results into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    draw_photo(folder / "blue_shirt.jpg", 320, 400, shade=200)
    draw_photo(folder / "red_shirt.jpg", 480, 360, shade=20)
    rows = [
        {"file": "blue_shirt.jpg", "title": "Blue shirt", "alt": "A figure in a blue shirt."},
        {"file": "red_shirt.jpg", "title": "Red shirt", "alt": "A figure in a red shirt."},
    ]
    (folder / "examples.json").write_text(json.dumps(rows), encoding="utf-8")
    gate = threading.Event()
    gate.set()
    write_results(folder, StandInEstimator(gate))
    return folder
