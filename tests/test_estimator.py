from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from sapiens_demo import estimator as estimator_module
from sapiens_demo import masks
from sapiens_demo import people as people_module
from sapiens_demo.boxes import BoxError, People
from sapiens_demo.catalog import SIZES, TASKS, has_checkpoint
from sapiens_demo.estimator import (
    Boxes,
    ChoiceError,
    Estimate,
    Estimator,
    Options,
    Sapiens,
    choose_framing,
    shared_models,
)
from sapiens_demo.masks import photo_digest
from sapiens_demo.models import ModelCache, ModelKey
from sapiens_demo.people import PeopleFinder
from sapiens_demo.photo import PhotoError
from sapiens_demo.tasks import pose
from sapiens_demo.tasks.depth import DepthResult
from sapiens_demo.tasks.normal import NormalResult
from sapiens_demo.tasks.pose import PoseResult
from sapiens_demo.tasks.segmentation import SegmentationResult

pytest_plugins = ["tests.mini_weights"]

HEIGHT, WIDTH = 90, 70
WHOLE = Options(framing="whole")
TWO = ((5.0, 10.0, 30.0, 80.0), (30.0, 5.0, 65.0, 88.0))
TWELVE = tuple((5.0 * i, 4.0 * i, 5.0 * i + 12, 4.0 * i + 30) for i in range(12))
RESULTS = {
    "pose": PoseResult,
    "segmentation": SegmentationResult,
    "depth": DepthResult,
    "normal": NormalResult,
}


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    coarse = np.random.default_rng(3).integers(0, 256, (9, 7, 3), np.uint8)
    return np.array(Image.fromarray(coarse).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC))


@pytest.fixture
def estimator(random_mini: Path) -> Estimator:
    return Estimator(ModelCache("cpu"))


def _everywhere(random_mini: Path, folder: Path, winner: int) -> str:
    """Write a segmentation checkpoint that sees one class everywhere; return its path."""
    tensors = load_file(random_mini / "mini" / "sapiens_mini_segmentation.safetensors")
    tensors["decode_head.conv_seg.bias"][winner] = 1e4
    save_file(tensors, folder / "everywhere.safetensors")
    return str(folder / "everywhere.safetensors")


def _one_class(monkeypatch: pytest.MonkeyPatch, random_mini: Path, folder: Path, winner: int) -> None:
    """Let Mini's segmentation see one class everywhere."""
    path = _everywhere(random_mini, folder, winner)
    run = ModelCache.run

    def run_replaced(self, key: ModelKey, *arguments):
        own = ModelKey("segmentation", "mini", path)
        return run(self, own if key.task == "segmentation" else key, *arguments)

    monkeypatch.setattr(ModelCache, "run", run_replaced)


def _arrays(estimate: Estimate) -> list[np.ndarray]:
    result = estimate.result
    if isinstance(result, PoseResult):
        return [person.keypoints for person in result.people] + [person.scores for person in result.people]
    return [getattr(result, name) for name in ("labels", "depth", "normals") if hasattr(result, name)]


@pytest.mark.parametrize("task", TASKS)
def test_a_task_gives_its_result_at_the_photos_resolution(
    task: str, estimator: Estimator, photo: np.ndarray
) -> None:
    told: list[str] = []
    estimate = estimator.estimate(
        photo, task, "mini", WHOLE, progress=lambda sentence, _: told.append(sentence)
    )

    assert type(estimate.result) is RESULTS[task]
    assert np.array_equal(estimate.photo, photo)
    assert all(np.isfinite(array).all() for array in _arrays(estimate))
    if task == "pose":
        assert estimate.result.image_size == (HEIGHT, WIDTH)
        assert np.array_equal(estimate.result.people[0].box, [0, 0, WIDTH, HEIGHT])
    else:
        assert all(array.shape[:2] == (HEIGHT, WIDTH) for array in _arrays(estimate))
    assert "Running Mini on the CPU" in told


@pytest.mark.parametrize(
    ("task", "stages"),
    [
        ("pose", ["prepare", "load", "forward", "decode"]),
        ("segmentation", ["prepare", "load", "forward", "decode"]),
        ("depth", ["person mask", "prepare", "load", "forward", "decode"]),
        ("normal", ["person mask", "prepare", "load", "forward", "decode"]),
    ],
)
def test_the_report_says_what_ran(
    task: str, stages: list[str], estimator: Estimator, photo: np.ndarray
) -> None:
    first = estimator.estimate(photo, task, "mini", WHOLE).report
    second = estimator.estimate(photo, task, "mini", WHOLE).report

    assert (first.task, first.size, first.model_title) == (task, "mini", "Mini")
    assert (first.info.task, first.info.device, first.info.license) == (task, "cpu", "Apache-2.0")
    assert list(first.stages) == stages
    assert all(milliseconds > 0 for milliseconds in first.stages.values())
    assert second.stages["load"] == 0


@pytest.mark.parametrize("task", ["depth", "normal"])
def test_the_background_is_left_out(task: str, estimator: Estimator, photo: np.ndarray) -> None:
    labels = estimator.estimate(photo, "segmentation", "mini", WHOLE).result.labels
    estimate = estimator.estimate(photo, task, "mini", WHOLE)

    assert np.count_nonzero(labels) > 0
    assert np.array_equal(estimate.result.mask, labels > 0)
    assert estimate.report.notes == ()


@pytest.mark.parametrize("task", ["depth", "normal"])
def test_the_background_stays_where_it_is_wanted(task: str, estimator: Estimator, photo: np.ndarray) -> None:
    estimate = estimator.estimate(photo, task, "mini", Options(person_only=False, framing="whole"))

    assert estimate.result.mask is None
    assert "person mask" not in estimate.report.stages
    assert estimator.models.loaded() == (ModelKey(task, "mini"),)


@pytest.mark.parametrize("task", ["depth", "normal"])
def test_with_nobody_in_the_photo_the_full_map_is_given_and_said(
    task: str,
    estimator: Estimator,
    photo: np.ndarray,
    random_mini: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _one_class(monkeypatch, random_mini, tmp_path, winner=0)

    estimate = estimator.estimate(photo, task, "mini", WHOLE)

    assert estimate.result.mask is None
    assert estimate.report.notes == ("Nobody was found in this photo, so the full map is shown.",)


def test_the_mask_of_one_tab_serves_the_next(
    estimator: Estimator, photo: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[str] = []
    run = ModelCache.run

    def run_counted(self, key: ModelKey, *arguments):
        ran.append(key.task)
        return run(self, key, *arguments)

    monkeypatch.setattr(ModelCache, "run", run_counted)
    for task in ("segmentation", "depth", "normal", "depth"):
        estimator.estimate(photo, task, "mini", WHOLE)

    assert ran == ["segmentation", "depth", "normal", "depth"]


@pytest.mark.parametrize("task", ["segmentation", "depth"])
def test_a_photo_is_read_once_to_know_it_again(
    task: str, estimator: Estimator, photo: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    digests: list[bytes] = []

    def counted(pixels: np.ndarray) -> bytes:
        digests.append(photo_digest(pixels))
        return digests[-1]

    for module in (estimator_module, masks, people_module):
        monkeypatch.setattr(module, "photo_digest", counted)
    estimator.estimate(photo, task, "mini")

    assert len(digests) == 1


def test_a_users_own_segmentation_serves_nobody_else(
    estimator: Estimator, photo: np.ndarray, random_mini: Path, tmp_path: Path
) -> None:
    own = _everywhere(random_mini, tmp_path, winner=3)
    estimate = estimator.estimate(photo, "segmentation", "mini", WHOLE, checkpoint=own)
    depth = estimator.estimate(photo, "depth", "mini", WHOLE)

    assert (estimate.result.labels == 3).all()
    assert estimate.report.info.file == "everywhere.safetensors"
    assert not depth.result.mask.all()


def test_the_flip_test_averages_both_views(estimator: Estimator, photo: np.ndarray) -> None:
    prepared = pose.prepare(photo, _image_size("pose"), pose.whole_photo_box(photo))
    heatmaps = estimator.models.run(
        ModelKey("pose", "mini"), prepared.images, lambda output: output.clone()
    ).value
    mirrored = estimator.models.run(
        ModelKey("pose", "mini"), prepared.images.flip(-1), lambda output: pose.flip_heatmaps(output)
    ).value
    expected = pose.decode((heatmaps + mirrored) / 2, prepared, (HEIGHT, WIDTH)).people[0]

    plain = estimator.estimate(photo, "pose", "mini", WHOLE).result.people[0]
    mirroring = Options(flip_test=True, framing="whole")
    flipped = estimator.estimate(photo, "pose", "mini", mirroring).result.people[0]

    assert np.allclose(flipped.scores, expected.scores, atol=1e-4)
    assert not np.allclose(flipped.scores, plain.scores, atol=1e-4)


@pytest.mark.parametrize(
    ("task", "size", "words"),
    [
        ("poses", "mini", "no task 'poses'. Choose one of pose, segmentation, depth, normal."),
        ("", "mini", "no task ''"),
        ("depth", "3b", "no size '3b'. Choose one of mini, 0.3b, 0.6b, 1b, 2b."),
        ("pose", "4b", "no size '4b'. Choose one of mini, 0.3b, 0.6b, 1b."),
        ("pose", "2b", "Size 2b is not published for pose. Choose one of mini, 0.3b, 0.6b, 1b."),
        ("segmentation", "2b", "Size 2b is not published for segmentation."),
        ("depth", "1B", "no size '1B'"),
        ("depth", 1, "no size 1"),
    ],
)
def test_what_does_not_exist_is_refused(
    task: str, size: str, words: str, estimator: Estimator, photo: np.ndarray
) -> None:
    with pytest.raises(ChoiceError) as caught:
        estimator.estimate(photo, task, size)

    assert words in str(caught.value)
    assert estimator.models.loaded() == ()


@pytest.mark.parametrize("task", TASKS)
def test_every_size_with_weights_of_ones_own_is_a_choice(task: str) -> None:
    def is_choice(size: str, own: bool) -> bool:
        try:
            estimator_module.check_choice(task, size, own_checkpoint=own)
        except ChoiceError:
            return False
        return True

    assert [size for size in SIZES if not is_choice(size, own=True)] == []
    assert [size for size in SIZES if is_choice(size, own=False)] == [
        size for size in SIZES if has_checkpoint(task, size)
    ]


@pytest.mark.parametrize("faulty", [np.zeros((4, 4), np.int32), np.zeros((0, 5, 3), np.uint8), None])
def test_what_is_no_photo_is_refused(faulty: object, estimator: Estimator) -> None:
    with pytest.raises(PhotoError):
        estimator.estimate(faulty, "depth", "mini")


def test_a_mirrored_view_of_an_array_is_a_photo_too(estimator: Estimator, photo: np.ndarray) -> None:
    estimate = estimator.estimate(photo[:, ::-1], "segmentation", "mini")

    assert np.array_equal(estimate.photo, photo[:, ::-1])


# ---- People -----------------------------------------------------------------------------------------------


def _people(boxes: Boxes, finder: str = "detector", notes: tuple[str, ...] = ()) -> People:
    return People(np.float32(boxes), np.full(len(boxes), 0.5, np.float32), finder, notes)


@pytest.fixture
def found(estimator: Estimator, monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Return who is found in every photo, to be changed, and how often somebody looked."""
    told = SimpleNamespace(people=_people(TWO, notes=("By the finder.",)), asked=0)

    def find(self, photo: np.ndarray, size: str, progress, digest: bytes) -> People:
        told.asked += 1
        return told.people

    monkeypatch.setattr(PeopleFinder, "find", find)
    return told


@pytest.fixture
def forwards(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """Return the list of runs: task and number of pictures."""
    ran: list[tuple[str, int]] = []
    run = ModelCache.run

    def run_counted(self, key: ModelKey, images: torch.Tensor, *arguments):
        ran.append((key.task, len(images)))
        return run(self, key, images, *arguments)

    monkeypatch.setattr(ModelCache, "run", run_counted)
    return ran


def test_everybody_gets_a_pose(
    estimator: Estimator, photo: np.ndarray, found: SimpleNamespace, forwards: list[tuple[str, int]]
) -> None:
    estimate = estimator.estimate(photo, "pose", "mini")

    assert np.array_equal([person.box for person in estimate.result.people], np.float32(TWO))
    assert estimate.people is found.people and estimate.report.framing == "person"
    assert estimate.report.notes == ("By the finder.",)
    assert list(estimate.report.stages)[0] == "people"
    assert forwards == [("pose", 2)]
    for index, box in enumerate(TWO):
        alone = estimator.estimate(photo, "pose", "mini", Options(boxes=(box,))).result.people[0]
        assert np.allclose(alone.keypoints, estimate.result.people[index].keypoints, atol=1e-2)


@pytest.mark.parametrize(
    ("boxes", "flip_test", "batches"),
    [
        (TWELVE[:1], False, [1]),
        (TWELVE[:9], False, [8, 1]),
        (TWELVE, False, [8, 4]),
        ((*TWELVE, *TWELVE, *TWELVE[:8]), False, [8, 8, 8, 8]),
        (TWELVE[:1], True, [2]),
        (TWELVE[:5], True, [8, 2]),
    ],
)
def test_people_share_forwards(
    boxes: Boxes,
    flip_test: bool,
    batches: list[int],
    estimator: Estimator,
    photo: np.ndarray,
    forwards: list[tuple[str, int]],
) -> None:
    estimate = estimator.estimate(photo, "pose", "mini", Options(flip_test, boxes=boxes))

    assert forwards == [("pose", count) for count in batches]
    assert np.array_equal([person.box for person in estimate.result.people], np.float32(boxes))
    assert estimate.people.finder == "given" and "people" not in estimate.report.stages


@pytest.mark.parametrize(("task", "forward"), [("segmentation", [4]), ("depth", [4]), ("normal", [4])])
def test_dense_tasks_see_everybody_alone(
    task: str,
    forward: list[int],
    estimator: Estimator,
    photo: np.ndarray,
    forwards: list[tuple[str, int]],
) -> None:
    boxes = ((0.0, 0.0, 20.0, 25.0), (40.0, 0.0, 60.0, 25.0), (0.0, 60.0, 20.0, 85.0))
    estimate = estimator.estimate(photo, task, "mini", Options(boxes=boxes))

    assert estimate.report.framing == "person" and len(estimate.people) == 3
    assert [count for ran, count in forwards if ran == task] == forward
    assert all(np.isfinite(array).all() for array in _arrays(estimate))
    assert all(array.shape[:2] == (HEIGHT, WIDTH) for array in _arrays(estimate))
    assert "paste" in estimate.report.stages
    if task == "segmentation":
        assert set(np.unique(estimate.result.owners)) <= {0, 1, 2, 3}
        assert np.array_equal(estimate.result.owners > 0, estimate.result.labels > 0)
        assert (estimate.result.labels[35:50] == 0).all()
    else:
        parts = estimator.estimate(photo, "segmentation", "mini", Options(boxes=boxes)).result
        assert np.array_equal(estimate.result.mask, parts.mask)


def test_only_depth_is_said_to_be_fitted(estimator: Estimator, photo: np.ndarray) -> None:
    notes = {task: estimator.estimate(photo, task, "mini", Options(boxes=TWO)).report.notes for task in TASKS}

    assert [task for task in TASKS if notes[task]] == ["depth"]
    assert "on one scale" in notes["depth"][0]


@pytest.mark.parametrize("task", ["depth", "normal"])
def test_people_before_their_background(task: str, estimator: Estimator, photo: np.ndarray) -> None:
    estimate = estimator.estimate(photo, task, "mini", Options(person_only=False, boxes=TWO))
    whole = estimator.estimate(photo, task, "mini", Options(person_only=False, framing="whole"))

    assert estimate.result.mask is None
    (shown,), (expected,) = _arrays(estimate), _arrays(whole)
    assert not np.allclose(shown[45, 50], expected[45, 50], atol=1e-5)


def test_masks_of_the_same_people_serve_the_next_tab(
    estimator: Estimator, photo: np.ndarray, forwards: list[tuple[str, int]]
) -> None:
    for task in ("segmentation", "depth", "normal"):
        estimator.estimate(photo, task, "mini", Options(boxes=TWO))
    estimator.estimate(photo, "normal", "mini", Options(boxes=TWO[:1]))

    assert [task for task, _ in forwards] == ["segmentation", "depth", "normal", "segmentation", "normal"]


@pytest.mark.parametrize(
    ("options", "task", "asked", "framing", "people"),
    [
        (Options(), "pose", 1, "person", 2),
        (Options(framing="person"), "depth", 1, "person", 2),
        (Options(), "depth", 1, "whole", 0),
        (Options(framing="whole"), "pose", 0, "whole", 0),
        (Options(framing="whole"), "depth", 0, "whole", 0),
        (Options(boxes=()), "pose", 0, "whole", 0),
        (Options(boxes=(), framing="person"), "normal", 0, "whole", 0),
        (Options(boxes=TWO[:1]), "segmentation", 0, "person", 1),
        (Options(boxes=TWO, framing="whole"), "segmentation", 0, "whole", 0),
    ],
)
def test_what_the_network_is_given(
    options: Options,
    task: str,
    asked: int,
    framing: str,
    people: int,
    estimator: Estimator,
    photo: np.ndarray,
    found: SimpleNamespace,
) -> None:
    estimate = estimator.estimate(photo, task, "mini", options)

    assert (found.asked, estimate.report.framing, len(estimate.people)) == (asked, framing, people)
    assert ("By the finder." in estimate.report.notes) == (asked == 1 and framing == "person")


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("framing", ["auto", "person"])
def test_with_nobody_found_the_whole_photo_is_taken_and_said(
    task: str, framing: str, estimator: Estimator, photo: np.ndarray, found: SimpleNamespace
) -> None:
    found.people = People.nobody(("Nobody is here.",))
    estimate = estimator.estimate(photo, task, "mini", Options(framing=framing))
    expected = estimator.estimate(photo, task, "mini", WHOLE)

    assert estimate.report.framing == "whole" and estimate.report.notes[0] == "Nobody is here."
    for shown, wanted in zip(_arrays(estimate), _arrays(expected), strict=True):
        assert np.array_equal(shown, wanted)


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        pytest.param((30, 80, 5, 10), (5, 10, 30, 80), id="upside down"),
        pytest.param((-40, -40, 500, 500), (0, 0, WIDTH, HEIGHT), id="larger than the photo"),
        pytest.param((10, 10, 11.5, 11.5), (10, 10, 11.5, 11.5), id="tiny"),
    ],
)
@pytest.mark.parametrize("task", TASKS)
def test_strange_boxes_are_put_right(
    task: str, box: tuple, expected: tuple, estimator: Estimator, photo: np.ndarray
) -> None:
    estimate = estimator.estimate(photo, task, "mini", Options(boxes=(box,)))

    assert np.array_equal(estimate.people.boxes, np.float32([expected]))
    assert all(np.isfinite(array).all() for array in _arrays(estimate))


@pytest.mark.parametrize(
    "boxes",
    [
        pytest.param(((500, 500, 600, 600),), id="outside"),
        pytest.param(((10, 10, 10, 40),), id="of no size"),
        pytest.param(((10, 10, float("nan"), 40),), id="NaN"),
        pytest.param(TWELVE * 4, id="too many"),
    ],
)
def test_boxes_that_mean_nothing_are_refused(
    boxes: Boxes, estimator: Estimator, photo: np.ndarray, forwards: list[tuple[str, int]]
) -> None:
    with pytest.raises(BoxError):
        estimator.estimate(photo, "pose", "mini", Options(boxes=boxes))
    assert forwards == []


def test_options_are_compared_by_value_and_refuse_what_does_not_exist() -> None:
    assert {Options(boxes=TWO): 1}[Options(boxes=tuple(TWO))] == 1
    with pytest.raises(ChoiceError, match="no framing 'half'. Choose one of auto, whole, person."):
        Options(framing="half")


@pytest.mark.parametrize(
    ("boxes", "size", "expected"),
    [
        pytest.param([(0, 0, 50, 74)], (100, 100), "person", id="small"),
        pytest.param([(0, 0, 50, 75)], (100, 100), "whole", id="three quarters of the height"),
        pytest.param([(0, 0, 5, 5), (0, 0, 50, 90)], (100, 100), "whole", id="one is tall"),
        pytest.param([(0, 0, 50, 90)], (90, 90), "whole", id="square"),
        pytest.param([(0, 0, 50, 90)], (90, 91), "person", id="landscape"),
        pytest.param([], (90, 300), "whole", id="nobody"),
    ],
)
def test_auto_looks_at_the_size_of_people_and_the_shape_of_the_photo(
    boxes: list[tuple], size: tuple[int, int], expected: str
) -> None:
    people = _people(boxes) if boxes else People.nobody()

    assert choose_framing(people, size) == expected


# ---- Notebooks --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["path", "text", "bytes", "image", "array"])
def test_a_notebook_may_give_any_kind_of_photo(
    kind: str, random_mini: Path, photo: np.ndarray, tmp_path: Path
) -> None:
    path = tmp_path / "photo.png"
    image = Image.fromarray(photo)
    image.save(path)
    source = {"path": path, "text": str(path), "bytes": path.read_bytes(), "image": image, "array": photo}[
        kind
    ]

    result = Sapiens("segmentation", device="cpu")(source)

    expected = Estimator(ModelCache("cpu")).estimate(photo, "segmentation", "mini").result
    assert np.array_equal(result.labels, expected.labels)


def test_a_notebook_may_choose_how(random_mini: Path, photo: np.ndarray) -> None:
    sapiens = Sapiens("depth", size="mini", device="cpu")

    assert sapiens(photo, framing="whole").mask is not None
    assert sapiens(photo, framing="whole", person_only=False).mask is None
    assert len(Sapiens("pose", device="cpu")(photo, boxes=TWO).people) == 2


def test_a_notebook_may_bring_weights(random_mini: Path, photo: np.ndarray, tmp_path: Path) -> None:
    own = _everywhere(random_mini, tmp_path, winner=5)

    sapiens = Sapiens("segmentation", device="cpu", checkpoint=own)

    assert (sapiens(photo, framing="whole").labels == 5).all()


def test_a_notebook_is_told_at_once_what_does_not_exist() -> None:
    with pytest.raises(ChoiceError, match="2b is not published for pose"):
        Sapiens("pose", size="2b")


def test_models_are_shared_within_the_process(random_mini: Path) -> None:
    assert shared_models("cpu") is shared_models("cpu")
    assert Estimator().models is shared_models()


def _image_size(task: str) -> tuple[int, int]:
    return estimator_module.NetworkConfig.from_name(task, "mini").image_size


def test_the_default_device_can_be_overridden(random_mini: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAPIENS_DEVICE", "cpu")

    assert Estimator().models.device == torch.device("cpu")
