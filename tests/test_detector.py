"""A tiny D-FINE, saved in its own format, is read, run and decoded as transformers does it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from sapiens_demo import detector
from sapiens_demo.catalog import PEOPLE
from sapiens_demo.detector import DetectorNetwork, decode, load_detector, prepare
from sapiens_demo.errors import CheckpointError
from sapiens_demo.models import ModelCache, ModelKey

pytest_plugins = ["tests.mini_weights", "tests.tiny_detector"]

CPU = torch.device("cpu")
INPUT_SIZE = (96, 128)
PHOTO = np.random.default_rng(0).integers(0, 256, (75, 50, 3), np.uint8)


@pytest.fixture
def folder(
    tiny_detector_folder: Path, random_mini: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """Return a tiny detector of one's own, in the folder that SAPIENS_CHECKPOINTS names."""
    monkeypatch.setenv("SAPIENS_CHECKPOINTS", str(tmp_path / "models"))
    detector._processor.cache_clear()
    return Path(shutil.copytree(tiny_detector_folder, tmp_path / "models" / tiny_detector_folder.name))


def test_the_boxes_are_those_of_transformers(folder: Path) -> None:
    from transformers import DFineForObjectDetection, RTDetrImageProcessorPil

    processor = RTDetrImageProcessorPil.from_pretrained(folder)
    model = DFineForObjectDetection.from_pretrained(folder).eval()
    with torch.inference_mode():
        output = model(**processor(images=PHOTO, return_tensors="pt"))
    expected = processor.post_process_object_detection(
        output, threshold=detector.THRESHOLD, target_sizes=[PHOTO.shape[:2]]
    )[0]
    people = expected["labels"] == 1
    assert people.sum() >= 2 and not people.all()  # else this test would show nothing

    network, file = load_detector("small", CPU)
    with torch.inference_mode():
        boxes, scores = decode(network(prepare(PHOTO, folder)), PHOTO.shape[:2])

    order = np.argsort(-scores)
    limits = torch.tensor([50, 75, 50, 75])
    assert file == folder / "model.safetensors"
    assert np.allclose(scores[order], expected["scores"][people], atol=1e-5)
    assert np.allclose(boxes[order], expected["boxes"][people].clip(0 * limits, limits), atol=1e-3)
    assert boxes.dtype == scores.dtype == np.float32


def test_the_photo_is_stretched_and_only_scaled(folder: Path) -> None:
    images = prepare(np.full((30, 20, 3), (255, 51, 0), np.uint8), folder)

    assert images.shape == (1, 3, *INPUT_SIZE) and images.dtype == torch.float32
    assert torch.allclose(images[0, :, 40, 50], torch.tensor([1, 0.2, 0]))


@pytest.mark.parametrize("shape", [(3, 3, 3), (1, 400, 3), (3, 200, 3)])
def test_photos_of_odd_shapes_are_not_mistaken_for_channels(shape: tuple[int, ...], folder: Path) -> None:
    assert prepare(np.zeros(shape, np.uint8), folder).shape == (1, 3, *INPUT_SIZE)


def _output(*rows: tuple[float, ...]) -> torch.Tensor:
    """Make the detector's output of rows of score, then centre x, centre y, width and height."""
    guesses = torch.tensor(rows).reshape(1, -1, 5)
    return torch.cat([guesses[..., :1].logit(), guesses[..., 1:]], -1)


@pytest.mark.parametrize(
    ("rows", "boxes"),
    [
        pytest.param([(0.9, 0.5, 0.5, 0.5, 0.5)], [[50, 25, 150, 75]], id="in the middle"),
        pytest.param([(0.301, 0.5, 0.5, 1, 1)], [[0, 0, 200, 100]], id="just sure enough"),
        pytest.param([(0.299, 0.5, 0.5, 1, 1)], [], id="not sure enough"),
        pytest.param([(0.9, 0.1, 0.9, 0.4, 0.4)], [[0, 70, 60, 100]], id="over two edges"),
        pytest.param(
            [(0.4, 0.5, 0.5, 1, 1), (0.1, 0, 0, 1, 1), (0.8, 0.25, 0.5, 0.5, 1)],
            [[0, 0, 200, 100], [0, 0, 100, 100]],
            id="several",
        ),
        pytest.param([], [], id="none"),
    ],
)
def test_guesses_become_boxes_in_the_photo(rows: list, boxes: list) -> None:
    found, scores = decode(_output(*rows), (100, 200))

    assert np.allclose(found, np.array(boxes).reshape(-1, 4), atol=1e-4) and found.shape == (len(boxes), 4)
    assert np.allclose(scores, [row[0] for row in rows if row[0] > 0.3])


@pytest.mark.parametrize(
    ("classes", "number"),
    [
        ({0: "person", 1: "bicycle"}, 0),
        ({0: "background", 1: "Person "}, 1),
        ({0: "personal computer", 7: "PERSON"}, 7),
    ],
)
def test_the_person_is_known_by_name(classes: dict[int, str], number: int) -> None:
    logits, boxes = torch.arange(24.0).reshape(1, 3, 8), torch.rand(1, 3, 4)
    model = torch.nn.Identity()
    model.config = SimpleNamespace(id2label=classes)
    model.forward = lambda images: SimpleNamespace(logits=logits, pred_boxes=boxes)

    output = DetectorNetwork(model)(torch.zeros(1, 3, 4, 4))

    assert torch.equal(output[..., 0], logits[..., number]) and torch.equal(output[..., 1:], boxes)


def test_a_detector_that_knows_no_person_is_refused(
    random_mini: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    save_detector: Callable[..., Path],
) -> None:
    monkeypatch.setenv("SAPIENS_CHECKPOINTS", str(tmp_path))
    save_detector(tmp_path / "dfine-small-obj2coco", classes=("cat", "kite"))

    with pytest.raises(CheckpointError, match="no class called person"):
        load_detector("small", CPU)


def _cut(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:1000])


def _without_a_weight(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    weights.popitem()
    save_file(weights, folder / "model.safetensors", {"format": "pt"})


def _of_another_shape(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    name = next(name for name, value in weights.items() if value.ndim == 2)
    save_file({**weights, name: torch.zeros(1, 2)}, folder / "model.safetensors", {"format": "pt"})


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(_cut, id="cut off"),
        pytest.param(_without_a_weight, id="a weight is missing"),
        pytest.param(_of_another_shape, id="a weight of another shape"),
        pytest.param(lambda folder: (folder / "model.safetensors").write_bytes(b""), id="empty"),
        pytest.param(lambda folder: (folder / "config.json").write_text("{"), id="no settings"),
        pytest.param(lambda folder: (folder / "config.json").write_text("[]"), id="other settings"),
    ],
)
def test_a_damaged_detector_is_refused_in_one_sentence(spoil, folder: Path) -> None:
    spoil(folder)

    with pytest.raises(CheckpointError) as caught:
        load_detector("small", CPU)

    assert str(folder) in str(caught.value) and "again" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_damaged_detector_is_passed_over_for_the_next_place(folder: Path, tmp_path: Path) -> None:
    cached = tmp_path / "hub" / "models--ustc-community--dfine-small-obj2coco" / "snapshots" / ("1" * 40)
    shutil.copytree(folder, cached)
    _cut(folder)
    told: list[str] = []

    _, file = load_detector("small", CPU, lambda sentence, share: told.append(sentence))

    assert file == cached / "model.safetensors"
    assert any("cannot be read" in sentence for sentence in told)


def test_settings_of_the_preparation_that_cannot_be_read_are_said(folder: Path) -> None:
    (folder / "preprocessor_config.json").write_text("{")

    with pytest.raises(CheckpointError, match="cannot be read"):
        prepare(PHOTO, folder)


def test_a_missing_package_is_said(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)

    with pytest.raises(CheckpointError, match="needs the package transformers"):
        load_detector("small", CPU)
    with pytest.raises(CheckpointError, match="pip install"):
        prepare(PHOTO, folder)


def test_nothing_but_sentences_is_shown(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()

    network, _ = load_detector("small", CPU)
    with torch.inference_mode():
        network(prepare(PHOTO, folder))

    assert capfd.readouterr() == ("", "")
    assert logging.is_progress_bar_enabled() == shown


def test_the_cache_holds_the_detector_as_it_holds_other_models(folder: Path) -> None:
    cache, key = ModelCache("cpu"), ModelKey(PEOPLE, "small")

    answer = cache.run(key, prepare(PHOTO, folder), lambda output: tuple(output.shape))

    assert answer.value == (1, 12, 5) and cache.loaded() == (key,)
    info = answer.info
    assert (info.task, info.size, info.precision, info.file) == (
        "people",
        "small",
        "float32",
        "model.safetensors",
    )
    assert info.license == "Apache-2.0" and not info.compiled
    assert key.title == "D-FINE small"


def test_the_detector_counts_against_the_memory_and_makes_room(folder: Path) -> None:
    small_budget, large_budget = 20_000_000, 400_000_000
    images, mini = prepare(PHOTO, folder), ModelKey("depth", "mini")
    with pytest.raises(Exception, match="D-FINE small .* needs 41 MB of memory"):
        ModelCache("cpu", budget=small_budget).run(ModelKey(PEOPLE, "small"), images, tuple)

    cache = ModelCache("cpu", budget=large_budget)
    cache.load(mini)
    cache.load(ModelKey(PEOPLE, "small"))
    assert set(cache.loaded()) == {mini, ModelKey(PEOPLE, "small")}

    tight = ModelCache("cpu", budget=45_000_000)
    tight.load(mini)
    tight.load(ModelKey(PEOPLE, "small"))
    assert tight.loaded() == (ModelKey(PEOPLE, "small"),)


def test_transformers_waits_until_a_detector_is_used(folder: Path) -> None:
    probe = (
        "import sys, sapiens_demo, sapiens_demo.people, sapiens_demo.estimator\n"
        "print('transformers' in sys.modules)\n"
        "from sapiens_demo.detector import load_detector, prepare\n"
        "import numpy, torch, pathlib\n"
        "load_detector('small', torch.device('cpu'))\n"
        f"prepare(numpy.zeros((9, 9, 3), numpy.uint8), pathlib.Path({json.dumps(str(folder))}))\n"
        "print('transformers' in sys.modules, 'torchvision' in sys.modules, 'timm' in sys.modules)\n"
    )
    answer = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True).stdout

    assert answer.split() == ["False", "True", "False", "False"]
