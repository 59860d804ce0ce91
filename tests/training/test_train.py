import csv
from dataclasses import replace

import pytest
import torch
from safetensors import safe_open

from sapiens_demo.catalog import TASKS
from sapiens_demo.network import NetworkConfig
from sapiens_demo.training import publish as publishing
from sapiens_demo.training import train as training
from sapiens_demo.training.train import Run, SharedTrunk, train

SIZE = (64, 48)


@pytest.fixture(scope="module")
def finished(picture_folder, tmp_path_factory):
    """Return the folder of a joint run of 50 steps."""
    out = tmp_path_factory.mktemp("run")
    run = Run(
        ("joint",),
        picture_folder,
        out,
        minutes=60,
        image_size=SIZE,
        batch_size=8,
        workers=0,
        steps=50,
        log_steps=10,
    )
    train(run)
    return run


def test_fifty_steps_lower_every_loss(finished):
    with (finished.out / "joint" / "log.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["step"]) for row in rows] == [10, 20, 30, 40, 50]
    for task in TASKS:
        assert float(rows[-1][task]) < float(rows[0][task]), task


def test_a_run_goes_on_where_it_stopped(finished):
    train(replace(finished, steps=53))
    assert torch.load(finished.out / "joint" / "state.pt", weights_only=True)["step"] == 53


def test_shared_patches_are_aligned_with_a_tasks_own(monkeypatch):
    monkeypatch.setattr(training, "initialise", lambda network: None)
    model = SharedTrunk(TASKS, SIZE)
    parts = torch.arange(32 * 24).view(1, 32, 24)
    batch = dict.fromkeys(("parts", "mask", "depth"), parts) | {"normals": parts[None]}
    moved = training._targets(model, "depth", batch, torch.tensor([0]))["parts"]
    assert torch.equal(moved[0, 1:, 1:], parts[0, :-1, :-1])
    kept = training._targets(model, "normal", batch, torch.tensor([0]))["parts"]
    assert torch.equal(kept, parts)


def test_published_files_hold_a_network_each(finished, tmp_path, monkeypatch):
    own = NetworkConfig.from_name
    small = staticmethod(lambda task, size: replace(own(task, size), image_size=SIZE))
    monkeypatch.setattr(publishing.NetworkConfig, "from_name", small)
    files = publishing.publish(finished.out / "joint" / "state.pt", tmp_path)
    assert len(files) == len(TASKS)
    for path in files:
        with safe_open(path, "pt") as file:
            assert file.metadata()["task"] in path.name
            assert file.metadata()["license"] == "Apache-2.0"
            assert all(file.get_tensor(name).dtype == torch.float16 for name in file.keys())  # noqa: SIM118


def test_a_run_can_begin_with_shipped_files(finished, tmp_path, monkeypatch):
    own = NetworkConfig.from_name
    small = staticmethod(lambda task, size: replace(own(task, size), image_size=SIZE))
    monkeypatch.setattr(publishing.NetworkConfig, "from_name", small)
    publishing.publish(finished.out / "joint" / "state.pt", tmp_path)
    train(replace(finished, trunks=("pose",), out=tmp_path / "next", start=tmp_path, steps=0))
    began = torch.load(tmp_path / "next" / "pose" / "state.pt", weights_only=True)["model"]
    with safe_open(tmp_path / "sapiens_mini_pose.safetensors", "pt") as file:
        for name, tensor in began.items():
            assert torch.equal(tensor, file.get_tensor(name.removeprefix("networks.pose.")).float())


def test_a_run_of_another_input_size_gets_minis_position_table(finished, tmp_path):
    for path in publishing.publish(finished.out / "joint" / "state.pt", tmp_path):
        with safe_open(path, "pt") as file:
            config = NetworkConfig.from_name(file.metadata()["task"], "mini")
            rows, columns = config.grid_size
            assert file.get_tensor("backbone.pos_embed").shape == (1, rows * columns, config.embed_dim)
            assert file.metadata()["trained_at"] == "[64, 48]"


def test_trunks_take_turns_and_the_first_part_has_smaller_views(picture_folder, tmp_path):
    run = Run(
        ("pose", "dense"),
        picture_folder,
        tmp_path,
        minutes=60,
        image_size=SIZE,
        first_size=(32, 16),
        first_share=1.0,
        batch_size=2,
        workers=0,
        steps=2,
        log_steps=1,
    )
    assert run.view_size(0.5) == (32, 16)
    assert run.view_size(1.0) == SIZE
    assert run.view_count((32, 16)) == 12  # as many pixels as 2 of 64 x 48
    train(run)
    for trunk in run.trunks:
        assert torch.load(tmp_path / trunk / "state.pt", weights_only=True)["step"] == 2


def test_a_run_begins_with_the_weights_of_an_earlier_one(finished, tmp_path):
    train(replace(finished, out=tmp_path, start=finished.out, steps=0))
    earlier = torch.load(finished.out / "joint" / "state.pt", weights_only=True)["average"]
    began = torch.load(tmp_path / "joint" / "state.pt", weights_only=True)["model"]
    assert all(torch.equal(began[name], tensor) for name, tensor in earlier.items())
