"""A kept copy holds the rounded weights, tells its source, and counts only when it is complete."""

import shutil
from collections import namedtuple
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants
from huggingface_hub.utils import WeakFileLock
from safetensors.torch import load_file

from sapiens_demo.copies import CopySource, copy_path, copy_source, keeps_copies, write_copy

Disk = namedtuple("Disk", "total used free")
TENSORS = {"a.weight": torch.randn(3, 5), "a.bias": torch.randn(5), "scale": torch.tensor(2.0)}


@pytest.fixture(autouse=True)
def own_cache(monkeypatch, tmp_path):
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "home" / "hub"))


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "official.pth"
    path.write_bytes(b"x" * 100)
    return path


def write(source, tensors=None):
    narrow = (tensor.bfloat16() for tensor in TENSORS.values()) if tensors is None else tensors
    write_copy("pose", "1b", source, {name: tuple(t.shape) for name, t in TENSORS.items()}, narrow)


def test_copy_lies_beside_the_hub_cache(tmp_path):
    assert copy_path("pose", "1b").parent.parent == tmp_path / "home"
    assert copy_path("pose", "1b") != copy_path("pose", "0.3b") != copy_path("depth", "0.3b")


def test_copy_is_a_safetensors_file_of_the_rounded_weights(source):
    write(source)
    read = load_file(copy_path("pose", "1b"))
    assert list(read) == list(TENSORS) or set(read) == set(TENSORS)
    assert all(torch.equal(read[name], tensor.bfloat16()) for name, tensor in TENSORS.items())


def test_copy_tells_its_source(source):
    write(source)
    assert copy_source(copy_path("pose", "1b"), "pose", "1b") == CopySource.of(source)


def test_copy_of_another_task_or_size_does_not_count(source):
    write(source)
    assert copy_source(copy_path("pose", "1b"), "depth", "1b") is None
    assert copy_source(copy_path("pose", "1b"), "pose", "0.6b") is None


@pytest.mark.parametrize("change", [b"longer", b"x" * 100 + b"y"])
def test_changed_source_is_another_source(source, change):
    before = CopySource.of(source)
    source.write_bytes(change)
    assert CopySource.of(source) != before


def test_source_tells_whether_it_is_the_hubs(source):
    snapshot = Path(constants.HF_HUB_CACHE, "models--a--b", "snapshots", "0", source.name)
    snapshot.parent.mkdir(parents=True)
    shutil.copy2(source, snapshot)
    assert CopySource.of(source).origin == "folder"
    assert CopySource.of(snapshot).origin == "hub"


@pytest.mark.parametrize("keep", [0, 5, 8, 100, -1], ids="{}".format)
def test_half_written_copy_does_not_count(source, keep):
    write(source)
    path = copy_path("pose", "1b")
    path.write_bytes(path.read_bytes()[:keep])
    assert copy_source(path, "pose", "1b") is None


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff" * 64, (2).to_bytes(8, "little") + b"[]"])
def test_other_files_are_no_copies(tmp_path, content):
    path = tmp_path / "x.safetensors"
    path.write_bytes(content)
    assert copy_source(path, "pose", "1b") is None


def test_failure_while_writing_leaves_nothing_behind(source):
    def failing():
        yield torch.zeros(3, 5, dtype=torch.bfloat16)
        raise OSError("no space left")

    with pytest.raises(OSError, match="no space"):
        write(source, failing())
    assert not copy_path("pose", "1b").exists()
    assert not list(copy_path("pose", "1b").parent.glob("*.incomplete"))


def test_failure_while_writing_leaves_the_former_copy(source):
    write(source)
    former = copy_path("pose", "1b").read_bytes()
    with pytest.raises(RuntimeError):
        write(source, (torch.zeros(1).view(7) for _ in range(1)))
    assert copy_path("pose", "1b").read_bytes() == former


def test_small_disk_is_refused_first(source, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Disk(10, 9, 1))
    with pytest.raises(OSError, match="too small"):
        write(source)


def test_two_processes_do_not_write_at_once(source):
    copy_path("pose", "1b").parent.mkdir(parents=True)
    with WeakFileLock(copy_path("pose", "1b").with_suffix(".lock")), pytest.raises(OSError):
        write(source)


@pytest.mark.parametrize("value, kept", [(None, True), ("1", True), ("0", False)])
def test_switch(monkeypatch, value, kept):
    if value is not None:
        monkeypatch.setenv("SAPIENS_KEEP_BF16", value)
    assert keeps_copies() is kept
