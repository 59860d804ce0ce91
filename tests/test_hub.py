"""A checkpoint is looked for in the promised order, and whatever is passed over is said."""

import os
import shutil
from collections import namedtuple
from itertools import islice
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants

from sapiens_demo import hub
from sapiens_demo.catalog import CHECKPOINTS, DETECTORS, TASKS
from sapiens_demo.copies import copy_name, write_copy
from sapiens_demo.download import NotOnHubError, fetch
from sapiens_demo.errors import CheckpointError
from sapiens_demo.hub import availability, candidates, copy_path, find_local, locate
from tests.hub_server import COMMIT, StandInHub, use_endpoint

ROW = CHECKPOINTS["pose", "0.3b"]
BFLOAT16, TORCHSCRIPT, PTH = ROW.files
OTHER_EPOCH = "sapiens_0.3b_goliath_best_goliath_AP_580.pth"
AVOIDED = "sapiens_0.3b_goliath_best_goliath_AP_575.pth"


Disk = namedtuple("Disk", "total used free")


class World:
    """Places where files can be, all of them empty; the Hub hands out what `published` holds."""

    def __init__(self, root):
        self.assets, self.folder, self.cache = root / "assets", root / "folder", root / "home" / "hub"
        self.folder.mkdir()
        self.published = []
        self.fetched = []

    def put(self, name, content=b"weights"):
        path = self.folder / name
        path.write_bytes(content)
        return path

    def cache_file(self, file, name=None, commit="1" * 40):
        folder = self.cache / ("models--" + file.repository.replace("/", "--")) / "snapshots" / commit
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / (name or file.name)
        path.write_bytes(b"weights")
        return path

    def keep_copy(self, source):
        write_copy("pose", "0.3b", source, {"x": (1,)}, [torch.zeros(1, dtype=torch.bfloat16)])
        return copy_path("pose", "0.3b")

    def fetch(self, file, *, avoid, progress):
        if file not in self.published:
            raise NotOnHubError(f"{file.name} is not on the Hub.")
        self.fetched.append(file)
        return self.cache_file(file)


@pytest.fixture
def world(monkeypatch, tmp_path):
    world = World(tmp_path)
    monkeypatch.setattr(hub, "_ASSETS", world.assets)
    monkeypatch.setattr(hub, "fetch", world.fetch)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(world.cache))
    monkeypatch.setenv("SAPIENS_CHECKPOINTS", str(world.folder))
    return world


def test_users_own_path_comes_before_everything(world, tmp_path):
    own = tmp_path / "own.bin"
    own.write_bytes(b"x")
    world.put(BFLOAT16.name)
    assert list(candidates("pose", "0.3b", path=str(own))) == [own]


def test_users_own_path_must_exist(world):
    with pytest.raises(CheckpointError, match="no file .*gone.pth"):
        locate("pose", "0.3b", path="gone.pth")


def test_users_own_path_serves_sizes_that_are_not_published(world, tmp_path):
    own = tmp_path / "own.bin"
    own.write_bytes(b"x")
    assert locate("pose", "2b", path=own) == own


@pytest.mark.parametrize("task", TASKS)
def test_mini_comes_from_assets(world, task):
    assert find_local(task, "mini") is None
    with pytest.raises(CheckpointError, match=f"sapiens_mini_{task}.safetensors is missing"):
        locate(task, "mini")
    path = world.assets / "mini" / f"sapiens_mini_{task}.safetensors"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"x")
    assert locate(task, "mini") == find_local(task, "mini") == path


@pytest.mark.parametrize("task, size", [("pose", "2b"), ("segmentation", "2b"), ("pose", "5b")])
def test_unpublished_sizes_are_named_with_what_there_is(world, task, size):
    with pytest.raises(CheckpointError, match=r"is not published for .*Choose Mini, 0.3B, 0.6B or 1B\."):
        locate(task, size)
    assert find_local(task, size) is None


@pytest.mark.parametrize(
    "names, found",
    [
        ([BFLOAT16.name], BFLOAT16.name),
        ([TORCHSCRIPT.name], TORCHSCRIPT.name),
        ([PTH.name], PTH.name),
        ([PTH.name, TORCHSCRIPT.name, BFLOAT16.name], BFLOAT16.name),
        ([PTH.name, TORCHSCRIPT.name], TORCHSCRIPT.name),
        ([OTHER_EPOCH], OTHER_EPOCH),
        ([OTHER_EPOCH, PTH.name], PTH.name),
        ([AVOIDED], None),
        ([AVOIDED, OTHER_EPOCH], OTHER_EPOCH),
        (["sapiens_0.6b_goliath_best_goliath_AP_609.pth"], None),
        (["sapiens_0.3b_goliath_best_goliath_mIoU_7673_epoch_194.pth"], None),
        (["sapiens_0x3b_goliath_best_goliath_AP_573.pth"], None),
        (["my.pth", "README.md"], None),
    ],
)
def test_folder_of_checkpoints(world, names, found):
    for name in names:
        world.put(name)
    assert find_local("pose", "0.3b") == (world.folder / found if found else None)


def test_copy_put_into_the_folder_by_hand_is_found(world):
    copy = world.keep_copy(world.put(PTH.name))
    moved = copy.rename(world.folder / copy_name("pose", "0.3b"))
    (world.folder / PTH.name).unlink()
    assert find_local("pose", "0.3b") == moved


def test_missing_folder_is_said(world, monkeypatch):
    monkeypatch.setenv("SAPIENS_CHECKPOINTS", str(world.folder / "gone"))
    world.published = [BFLOAT16]
    said = []
    locate("pose", "0.3b", progress=lambda sentence, _: said.append(sentence))
    assert any("SAPIENS_CHECKPOINTS names" in sentence for sentence in said)


def test_folder_goes_before_the_hub_cache(world):
    world.cache_file(BFLOAT16)
    assert find_local("pose", "0.3b").parent != world.folder
    world.put(PTH.name)
    assert find_local("pose", "0.3b") == world.folder / PTH.name


def test_hub_cache_goes_before_the_hub(world):
    world.published = list(ROW.files)
    cached = world.cache_file(PTH)
    assert locate("pose", "0.3b") == cached
    assert world.fetched == []


def test_hub_cache_knows_files_that_came_under_another_name(world):
    world.cache_file(PTH, AVOIDED)
    assert find_local("pose", "0.3b") is None
    other = world.cache_file(PTH, OTHER_EPOCH)
    assert find_local("pose", "0.3b") == other
    right = world.cache_file(PTH, commit="2" * 40)
    assert find_local("pose", "0.3b") == right


def test_link_that_leads_nowhere_does_not_count(world):
    path = world.cache_file(PTH)
    path.unlink()
    path.symlink_to(world.cache / "gone")
    assert find_local("pose", "0.3b") is None


def test_smallest_file_is_fetched(world):
    world.published = list(ROW.files)
    assert locate("pose", "0.3b").name == BFLOAT16.name
    assert world.fetched == [BFLOAT16]


def test_files_that_cannot_be_had_are_passed_over_aloud(world):
    world.published = [PTH]
    said = []
    assert locate("pose", "0.3b", progress=lambda sentence, _: said.append(sentence)).name == PTH.name
    assert [name for sentence in said for name in (BFLOAT16.name, TORCHSCRIPT.name) if name in sentence] == [
        BFLOAT16.name,
        TORCHSCRIPT.name,
    ]


def test_nothing_can_be_had(world):
    with pytest.raises(CheckpointError, match="not on the Hub"):
        locate("pose", "0.3b")


def test_next_candidates_are_fetched_only_when_asked_for(world):
    world.published = list(ROW.files)
    files = candidates("pose", "0.3b")
    assert next(files).name == BFLOAT16.name
    assert world.fetched == [BFLOAT16]
    assert [path.name for path in files] == [TORCHSCRIPT.name, PTH.name]


def test_unknown_task_is_named(world):
    with pytest.raises(CheckpointError, match="no task flow. Choose one of pose, segmentation"):
        locate("flow", "1b")


def test_damaged_file_in_the_folder_can_be_fetched(world):
    world.published = list(ROW.files)
    named = world.put(BFLOAT16.name)
    assert [path.name for path in islice(candidates("pose", "0.3b"), 2)] == [BFLOAT16.name] * 2
    assert world.fetched == [BFLOAT16]
    assert find_local("pose", "0.3b") == named


def test_files_of_the_hub_cache_are_not_fetched_again(world):
    world.published = list(ROW.files)
    world.cache_file(BFLOAT16)
    assert [path.name for path in candidates("pose", "0.3b")] == [file.name for file in ROW.files]
    assert world.fetched == [TORCHSCRIPT, PTH]


def test_copy_goes_before_its_source(world):
    source = world.put(TORCHSCRIPT.name)
    copy = world.keep_copy(source)
    assert list(islice(candidates("pose", "0.3b"), 2)) == [copy, source]


def test_copy_of_a_changed_file_is_not_used(world):
    source = world.put(TORCHSCRIPT.name)
    world.keep_copy(source)
    source.write_bytes(b"other weights")
    assert find_local("pose", "0.3b") == source


def test_copy_of_a_folder_that_is_no_longer_named_is_not_used(world, monkeypatch):
    world.keep_copy(world.put(TORCHSCRIPT.name))
    monkeypatch.delenv("SAPIENS_CHECKPOINTS")
    assert find_local("pose", "0.3b") is None


def test_copy_of_a_hub_file_outlives_it(world):
    source = world.cache_file(TORCHSCRIPT)
    copy = world.keep_copy(source)
    assert find_local("pose", "0.3b") == copy
    source.unlink()
    assert find_local("pose", "0.3b") == copy


def test_copy_of_a_hub_file_gives_way_to_a_new_version(world):
    source = world.cache_file(TORCHSCRIPT)
    world.keep_copy(source)
    source.unlink()
    new = world.cache_file(TORCHSCRIPT, commit="2" * 40)
    os.utime(new, ns=(1, 1))
    assert find_local("pose", "0.3b") == new


def test_copy_of_a_hub_file_goes_before_a_file_that_could_not_be_read(world):
    world.cache_file(BFLOAT16)
    copy = world.keep_copy(world.cache_file(TORCHSCRIPT))
    assert find_local("pose", "0.3b") == copy


def test_folder_goes_before_the_copy_of_a_hub_file(world):
    world.keep_copy(world.cache_file(TORCHSCRIPT))
    assert find_local("pose", "0.3b") == copy_path("pose", "0.3b")
    named = world.put(PTH.name)
    assert find_local("pose", "0.3b") == named


def test_copies_can_be_switched_off(world, monkeypatch):
    source = world.put(TORCHSCRIPT.name)
    world.keep_copy(source)
    monkeypatch.setenv("SAPIENS_KEEP_BF16", "0")
    assert find_local("pose", "0.3b") == source


def test_availability_here(world):
    path = world.put(PTH.name)
    answer = availability("pose", "0.3b")
    assert (answer.state, answer.bytes, answer.path) == ("here", 0, path)


def test_availability_unpublished(world):
    answer = availability("segmentation", "2b")
    assert (answer.state, answer.bytes, answer.path) == ("unpublished", 0, None)
    assert "not published for segmentation" in answer.sentence


def test_availability_of_mini_that_is_missing(world):
    assert availability("pose", "mini").state == "unreachable"


@pytest.mark.parametrize(
    "trouble, state, words",
    [(None, "download", "659 MB"), ("it answers 503", "unreachable", "cannot be reached (it answers 503)")],
)
def test_availability_goes_by_what_is_known_of_the_hub(world, monkeypatch, trouble, state, words):
    monkeypatch.setattr(hub, "known_hub_trouble", lambda patience: trouble)
    answer = availability("pose", "0.3b")
    assert (answer.state, answer.bytes, answer.path) == (state, BFLOAT16.size, None)
    assert words in answer.sentence


def test_availability_says_when_the_disk_is_too_small(world, monkeypatch):
    monkeypatch.setattr(hub, "known_hub_trouble", lambda patience: None)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Disk(10**9, 0, 10**6))
    answer = availability("pose", "0.3b")
    assert answer.state == "unreachable"
    assert "needs 723 MB" in answer.sentence and "1 MB are free" in answer.sentence


# ---- Detectors, whose three files belong together ----------------------------------------------------------

DETECTOR = DETECTORS["people", "small"]
PARTS = (*DETECTOR.files, *DETECTOR.companions)
NAMES = {part.name for part in PARTS}


def _put_detector(folder, names=NAMES):
    folder.mkdir(parents=True)
    for name in names:
        (folder / name).write_bytes(b"x")
    return folder / "model.safetensors"


@pytest.mark.parametrize("missing", [None, *sorted(NAMES)])
def test_detector_in_the_folder_counts_once_it_is_whole(world, missing):
    path = _put_detector(world.folder / "dfine-small-obj2coco", NAMES - {missing})
    assert find_local("people", "small") == (None if missing else path)
    assert find_local("people", "medium") is None


@pytest.mark.parametrize("missing", [None, *sorted(NAMES)])
def test_detector_in_the_hub_cache_counts_once_it_is_whole(world, missing):
    path = None
    for part in PARTS:
        if part.name != missing:
            path = world.cache_file(part)
    assert find_local("people", "small") == (None if missing else path.with_name("model.safetensors"))


def test_detector_in_the_folder_goes_before_that_of_the_hub_cache(world):
    cached = [world.cache_file(part) for part in PARTS][0]
    named = _put_detector(world.folder / "dfine-small-obj2coco")
    assert list(candidates("people", "small")) == [named, cached]


def test_detectors_of_another_size_are_named(world):
    with pytest.raises(CheckpointError, match=r"no people detector of size 1b\. Choose small or medium\."):
        locate("people", "1b")
    assert availability("people", "1b").state == "unpublished"


def test_detector_that_cannot_be_had_says_which_folder_to_put_where(world, monkeypatch):
    monkeypatch.setattr(hub, "known_hub_trouble", lambda patience: "it answers 503")
    answer = availability("people", "small")
    assert (answer.state, answer.bytes) == ("unreachable", DETECTOR.files[0].size)
    assert "put dfine-small-obj2coco into the folder that SAPIENS_CHECKPOINTS names." in answer.sentence


@pytest.fixture
def served(world, monkeypatch):
    monkeypatch.setattr(hub, "fetch", fetch)
    content = {(part.repository, part.name): part.name.encode() * 40 for part in PARTS}
    with StandInHub(content) as server:
        use_endpoint(monkeypatch, server.url)
        yield server


def test_detector_is_fetched_whole_and_of_one_commit(world, served):
    path = locate("people", "small")
    assert path.parent.name == COMMIT and path.is_relative_to(world.cache)
    assert {file.name: file.read_bytes() for file in path.parent.iterdir()} == {
        name: name.encode() * 40 for name in NAMES
    }
    assert all(COMMIT in asked for asked, _ in served.asked("GET"))
    assert find_local("people", "small") == locate("people", "small") == path
    assert len(served.asked("GET")) == 3


def test_detector_whose_download_was_cut_goes_on_with_what_is_missing(world, served, monkeypatch):
    monkeypatch.setattr("sapiens_demo.download._SECONDS_BEFORE_GOING_ON", 0.0)
    served.cuts += [100, None, 0, 0, 0, 0, 0]
    with pytest.raises(CheckpointError, match="config.json was cut off"):
        locate("people", "small")
    assert find_local("people", "small") is None

    path = locate("people", "small")

    assert path.read_bytes() == b"model.safetensors" * 40
    parts = [part for asked, part in served.asked("GET") if asked.endswith("model.safetensors")]
    assert parts == [None, "bytes=100-"]


def test_detector_that_lacks_a_file_on_the_hub_is_said(world, served):
    del served.files[DETECTOR.files[0].repository, "config.json"]
    with pytest.raises(NotOnHubError, match="config.json is not on the Hub"):
        locate("people", "small")


def test_mini_of_this_repository_is_where_the_code_looks_for_it():
    repository = Path(__file__).parents[1]
    assert hub._ASSETS.relative_to(repository) == Path("assets")
