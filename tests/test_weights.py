"""Every kind of file gives the same weights; what doesn't fit is refused by name; memory stays small."""

import io
import json
import os
import subprocess
import sys
import warnings
import zipfile
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import save_file
from torch import nn

from sapiens_demo import hub, network
from sapiens_demo.catalog import CHECKPOINTS, TASKS
from sapiens_demo.download import NotOnHubError
from sapiens_demo.errors import CheckpointError
from sapiens_demo.hub import copy_path
from sapiens_demo.network import NetworkConfig, SapiensNetwork, build_network
from sapiens_demo.weights import check_state_dict, load_state_dict, load_weights, read_state_dict
from tests.hub_server import StandInHub, use_endpoint
from tests.official import official, write_pth

CPU = torch.device("cpu")
BFLOAT16, TORCHSCRIPT, PTH = CHECKPOINTS["depth", "0.3b"].files


class Wrapped(nn.Module):
    """Put the two buffers beside a network that the official TorchScript files have."""

    def __init__(self, network):
        super().__init__()
        for name, child in network.named_children():
            setattr(self, name, child)
        self.data_preprocessor = nn.Module()
        self.data_preprocessor.register_buffer("mean", torch.ones(3, 1, 1))
        self.data_preprocessor.register_buffer("std", torch.ones(3, 1, 1))

    def forward(self, images):
        head = self.head if hasattr(self, "head") else self.decode_head
        return head(self.backbone(images))


def write_torchscript(known, path):
    network = build_network(known.config, known.state_dict)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tracing is deprecated and tells what it cannot follow
        torch.jit.trace(Wrapped(network), known.native.image[:1]).save(str(path))


def write_export(known, path):
    narrow = {name: tensor.bfloat16() for name, tensor in known.state_dict.items()}
    batch = {0: torch.export.Dim("batch", min=1, max=32)}
    program = torch.export.export(
        build_network(known.config, narrow), (known.native.image.bfloat16(),), dynamic_shapes=(batch,)
    )
    torch.export.save(program, path)


def write_old_export(known, path):
    inner = io.BytesIO()
    torch.save({name: nn.Parameter(tensor.bfloat16()) for name, tensor in known.state_dict.items()}, inner)
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("serialized_exported_program.json", "{}")
        file.writestr("serialized_state_dict.pt", inner.getvalue())
        file.writestr("serialized_constants.pt", b"")
        file.writestr("version", "5.1")


def write_safetensors(known, path):
    save_file(known.state_dict, path)


@pytest.mark.parametrize("task", ["pose", "depth"])
@pytest.mark.parametrize(
    "write, dtype",
    [
        (write_torchscript, torch.float32),
        (write_export, torch.bfloat16),
        (write_old_export, torch.bfloat16),
        (write_safetensors, torch.float32),
    ],
)
def test_archives_of_our_own_network_come_back(tmp_path, task, write, dtype):
    known = official(task)
    path = tmp_path / ("x.safetensors" if write is write_safetensors else "x.pt2")
    write(known, path)
    read = read_state_dict(path)
    check_state_dict(read, known.config)
    assert all(torch.equal(read[name], tensor.to(dtype)) for name, tensor in known.state_dict.items())
    output = build_network(known.config, {name: tensor.float() for name, tensor in read.items()})(
        known.native.image
    )
    rounded = {name: tensor.to(dtype).float() for name, tensor in known.state_dict.items()}
    assert torch.equal(output, build_network(known.config, rounded)(known.native.image))


@pytest.mark.parametrize(
    "name, task",
    [("pose_cleaned", "pose"), ("pose_runner_style", "pose"), ("seg_cleaned", "segmentation")],
)
def test_official_pth_files_load(tmp_path, name, task):
    known = official(task)
    read = read_state_dict(write_pth(name, task, tmp_path))
    assert list(read) == list(known.state_dict)
    assert all(torch.equal(read[key], tensor) for key, tensor in known.state_dict.items())
    build_network(known.config, read)


def test_pickle_of_pose_files_names_what_torch_refuses(tmp_path):
    # Else the test above would show nothing.
    with pytest.raises(Exception, match=r"mmengine|numpy"):
        torch.load(write_pth("pose_cleaned", "pose", tmp_path), weights_only=True)


@pytest.mark.parametrize("content", [b"", b"nonsense", b"PK\x03\x04nonsense"])
@pytest.mark.parametrize("suffix", [".pth", ".pt2", ".safetensors"])
def test_unreadable_files_are_refused_in_a_sentence(tmp_path, content, suffix):
    path = tmp_path / f"weights{suffix}"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=rf"^weights{suffix} cannot be read as a checkpoint: .*\.$"):
        read_state_dict(path)


def test_missing_file_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match="no file"):
        read_state_dict(str(tmp_path / "gone.pth"))


def without_bias(state_dict):
    del state_dict["decode_head.conv_seg.bias"]


def with_extra(state_dict):
    state_dict["backbone.cls_token"] = torch.ones(1)


def misshaped(state_dict):
    state_dict["backbone.pos_embed"] = torch.ones(1, 3, 64)


def with_much_missing(state_dict):
    for name in [name for name in state_dict if name.startswith("backbone.layers.1")]:
        del state_dict[name]


@pytest.mark.parametrize(
    "spoil, words",
    [
        (without_bias, r"missing: decode_head\.conv_seg\.bias\)"),
        (with_extra, r"not expected: backbone\.cls_token\)"),
        (misshaped, r"of another shape: backbone\.pos_embed is \(1, 3, 64\) and not \(1, 48, 64\)\)"),
        (with_much_missing, r"missing: backbone\.layers\.1\.ln1\.weight, .* and 8 more\)"),
    ],
)
def test_what_does_not_fit_is_named(spoil, words):
    known = official("depth")
    state_dict = dict(known.state_dict)
    check_state_dict(state_dict, known.config)
    spoil(state_dict)
    with pytest.raises(CheckpointError, match=words):
        check_state_dict(state_dict, known.config)


@pytest.fixture
def world(monkeypatch, tmp_path):
    """Let every size of every task be the small network, and give it a folder, a cache and an empty Hub."""

    def nothing(file, **_):
        raise NotOnHubError(f"{file.name} is not on the Hub.")

    folder = tmp_path / "folder"
    folder.mkdir()
    monkeypatch.setattr(NetworkConfig, "from_name", lambda task, size: official(task).config)
    monkeypatch.setattr(hub, "fetch", nothing)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "home" / "hub"))
    monkeypatch.setenv("SAPIENS_CHECKPOINTS", str(folder))
    return folder


def write_state_dict(path, task="depth"):
    torch.save({"state_dict": official(task).state_dict, "meta": {}}, path)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("task", TASKS)
def test_weights_are_converted(world, task, dtype):
    write_state_dict(world / "own.pth", task)
    loaded = load_state_dict(task, "1b", dtype, CPU, path=world / "own.pth")
    for name, tensor in official(task).state_dict.items():
        assert loaded[name].dtype == dtype and loaded[name].is_contiguous()
        assert torch.equal(loaded[name], tensor.to(dtype))


def test_loaded_weights_do_not_hang_on_the_file(world):
    write_state_dict(world / "own.pth")
    loaded = load_state_dict("depth", "1b", torch.float32, CPU, path=world / "own.pth")
    os.truncate(world / "own.pth", 10)
    assert all(torch.equal(loaded[name], tensor) for name, tensor in official("depth").state_dict.items())


def test_strided_weights_become_contiguous(world):
    turned = {
        name: tensor.mT.contiguous().mT if tensor.ndim == 2 else tensor
        for name, tensor in official("depth").state_dict.items()
    }
    torch.save(turned, world / "own.pth")
    loaded = load_state_dict("depth", "1b", torch.float32, CPU, path=world / "own.pth")
    assert all(tensor.is_contiguous() for tensor in loaded.values())
    assert all(torch.equal(loaded[name], tensor) for name, tensor in official("depth").state_dict.items())


def test_progress_of_reading_ends_at_the_whole(world):
    write_state_dict(world / "own.pth")
    reports = []
    load_weights(
        "depth", "1b", torch.float32, CPU, path=world / "own.pth", progress=lambda *r: reports.append(r)
    )
    assert reports[-1][0].startswith("Reading own.pth: ") and reports[-1][1] == 1.0


def test_copy_is_kept_and_read_the_next_time(world):
    write_state_dict(world / PTH.name)
    first = load_weights("depth", "0.3b", torch.bfloat16, CPU)
    assert first.path == world / PTH.name
    second = load_weights("depth", "0.3b", torch.bfloat16, CPU)
    assert second.path == copy_path("depth", "0.3b")
    assert second.path.stat().st_size < 0.55 * first.path.stat().st_size
    assert first.state_dict.keys() == second.state_dict.keys()
    assert all(torch.equal(first.state_dict[name], tensor) for name, tensor in second.state_dict.items())


def test_copy_of_replaced_weights_is_made_anew(world):
    write_state_dict(world / PTH.name)
    load_weights("depth", "0.3b", torch.bfloat16, CPU)
    other = {name: tensor + 1 for name, tensor in official("depth").state_dict.items()}
    torch.save(other, world / PTH.name)
    for _ in range(2):
        loaded = load_weights("depth", "0.3b", torch.bfloat16, CPU)
        assert all(torch.equal(loaded.state_dict[name], tensor.bfloat16()) for name, tensor in other.items())
    assert loaded.path == copy_path("depth", "0.3b")


def test_damaged_copy_is_passed_over(world):
    write_state_dict(world / PTH.name)
    load_weights("depth", "0.3b", torch.bfloat16, CPU)
    os.truncate(copy_path("depth", "0.3b"), 1000)
    assert load_weights("depth", "0.3b", torch.bfloat16, CPU).path == world / PTH.name
    assert load_weights("depth", "0.3b", torch.bfloat16, CPU).path == copy_path("depth", "0.3b")


@pytest.mark.parametrize("prepare", ["switched off", "own path", "narrow"])
def test_no_copy_is_kept(world, monkeypatch, prepare):
    if prepare == "switched off":
        monkeypatch.setenv("SAPIENS_KEEP_BF16", "0")
    path = world / PTH.name
    write_state_dict(path)
    if prepare == "narrow":
        path.unlink()
        write_old_export(official("depth"), world / BFLOAT16.name)
    load_weights("depth", "0.3b", torch.bfloat16, CPU, path=path if prepare == "own path" else None)
    assert not copy_path("depth", "0.3b").exists()


def test_load_goes_on_where_no_copy_can_be_kept(world, monkeypatch, tmp_path):
    (tmp_path / "home").write_text("not a folder")
    write_state_dict(world / PTH.name)
    said = []
    loaded = load_weights("depth", "0.3b", torch.bfloat16, CPU, progress=lambda text, _: said.append(text))
    assert loaded.path == world / PTH.name
    assert any(text.startswith("No half-size copy") for text in said)


def test_mini_is_never_copied(world, monkeypatch, tmp_path):
    monkeypatch.setattr(hub, "_ASSETS", tmp_path)
    (tmp_path / "mini").mkdir()
    write_safetensors(official("depth"), tmp_path / "mini" / "sapiens_mini_depth.safetensors")
    load_weights("depth", "mini", torch.bfloat16, CPU)
    assert not copy_path("depth", "mini").exists()


@pytest.mark.parametrize("spoil", ["garbage", "other task"])
def test_file_that_cannot_be_used_is_passed_over_aloud(world, spoil):
    if spoil == "garbage":
        (world / BFLOAT16.name).write_bytes(b"PK\x03\x04garbage")
    else:
        write_state_dict(world / BFLOAT16.name, "pose")
    write_torchscript(official("depth"), world / TORCHSCRIPT.name)
    said = []
    loaded = load_weights("depth", "0.3b", torch.float32, CPU, progress=lambda text, _: said.append(text))
    assert loaded.path == world / TORCHSCRIPT.name
    assert all(
        torch.equal(loaded.state_dict[name], tensor) for name, tensor in official("depth").state_dict.items()
    )
    assert any("Going on to the next file" in text for text in said)


def test_first_failure_is_told_where_no_file_can_be_used(world):
    (world / BFLOAT16.name).write_bytes(b"garbage")
    with pytest.raises(CheckpointError, match=f"^{BFLOAT16.name} cannot be read"):
        load_weights("depth", "0.3b", torch.float32, CPU)


def test_file_from_the_hub_that_cannot_be_read_is_passed_over_aloud(monkeypatch, tmp_path):
    monkeypatch.setattr(NetworkConfig, "from_name", lambda task, size: official(task).config)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "home" / "hub"))
    write_torchscript(official("depth"), tmp_path / "x.pt2")
    files = {
        (BFLOAT16.repository, BFLOAT16.name): b"PK\x03\x04 of a version to come",
        (TORCHSCRIPT.repository, TORCHSCRIPT.name): (tmp_path / "x.pt2").read_bytes(),
    }
    said = []
    with StandInHub(files) as server:
        use_endpoint(monkeypatch, server.url)
        first = load_weights("depth", "0.3b", torch.bfloat16, CPU, progress=lambda text, _: said.append(text))
    assert first.path.name == TORCHSCRIPT.name
    assert any(text.startswith(BFLOAT16.name) and "Going on to the next file" in text for text in said)
    second = load_weights("depth", "0.3b", torch.bfloat16, CPU)  # the server is gone, the copy is there
    assert second.path == copy_path("depth", "0.3b")
    assert all(torch.equal(tensor, first.state_dict[name]) for name, tensor in second.state_dict.items())


def test_users_own_file_is_never_replaced_by_another(world):
    write_state_dict(world / PTH.name)
    (world / "own.pth").write_bytes(b"garbage")
    said = []
    with pytest.raises(CheckpointError, match="^own.pth cannot be read"):
        load_weights(
            "depth", "0.3b", torch.float32, CPU, path=world / "own.pth", progress=lambda *r: said.append(r)
        )
    assert said == []


# A network of 50 million weights, whose tensors are to each other much as those of the real ones.
BACKBONE = (512, 16, 8, 2048, (512, 384))
HEAD = (2, (128, 128), (128, 128), 308)

# Prints how far memory rises, from what it is with torch imported, in multiples of the weights' own bytes.
MEASURE = f"""
import json
from pathlib import Path
import torch
from sapiens_demo import network
from sapiens_demo.weights import load_weights

network._BACKBONES["0.3b"] = {BACKBONE}
network._HEADS["pose"] = {HEAD}

def status(key):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(key + ":"))

torch.ones(1000, 1000).bfloat16()  # what torch takes once for itself
Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
before = status("VmRSS")
loaded = load_weights("pose", "0.3b", torch.bfloat16, torch.device("cpu"))
size = sum(tensor.nbytes for tensor in loaded.state_dict.values())
print(json.dumps([loaded.path.suffix, size, (status("VmHWM") - before) / size]))
"""


@pytest.mark.skipif(
    not Path("/proc/self/clear_refs").exists(), reason="peak memory is read from Linux's /proc"
)
def test_memory_while_loading_stays_under_1_3_times_the_weights(tmp_path, monkeypatch):
    monkeypatch.setitem(network._BACKBONES, "0.3b", BACKBONE)
    monkeypatch.setitem(network._HEADS, "pose", HEAD)
    with torch.device("meta"):
        shapes = SapiensNetwork(NetworkConfig.from_name("pose", "0.3b")).state_dict()
    wide = {name: torch.full(tensor.shape, 0.5) for name, tensor in shapes.items()}
    torch.save(wide, tmp_path / CHECKPOINTS["pose", "0.3b"].files[-1].name)
    environment = {
        **os.environ,
        "HF_HOME": str(tmp_path / "home"),
        "SAPIENS_CHECKPOINTS": str(tmp_path),
        "OMP_NUM_THREADS": "1",
    }
    for expected in (".pth", ".safetensors"):  # the official file, then the copy that was kept of it
        done = subprocess.run(
            [sys.executable, "-c", MEASURE],
            env=environment,
            cwd=Path(__file__).parents[1],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        suffix, size, peak = json.loads(done.stdout)
        assert suffix == expected
        assert size > 100_000_000
        assert peak < 1.3
