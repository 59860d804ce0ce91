"""The network computes what the official one does, and holds the same tensors."""

import pytest
import torch

from sapiens_demo.catalog import CHECKPOINTS, SIZES, TASKS
from sapiens_demo.network import NetworkConfig, SapiensNetwork, build_network, resize_position_table
from tests.official import official, official_keys

OFFICIAL_SIZES = [size for size in SIZES if size != "mini"]


@pytest.mark.parametrize("recording", ["native", "other_size"])
@pytest.mark.parametrize("task", TASKS)
def test_output_equals_the_official_one(task, recording):
    known = official(task)
    recording = getattr(known, recording)
    output = build_network(known.config, known.state_dict)(recording.image)
    assert tuple(output.shape) == recording.shape
    error = (output.flatten()[:: recording.step] - recording.values).abs().max()
    # float32 sums in another order differ by a few units in the last place of the largest values
    assert error <= 1e-5 * recording.values.abs().max()


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("size", OFFICIAL_SIZES)
def test_names_and_shapes_equal_the_official_ones(task, size):
    with torch.device("meta"):
        network = SapiensNetwork(NetworkConfig.from_name(task, size))
    ours = {name: list(tensor.shape) for name, tensor in network.state_dict().items()}
    assert ours == official_keys()[f"{task} {size}"]


@pytest.mark.parametrize("task, size", CHECKPOINTS)
def test_catalogue_states_the_number_of_parameters(task, size):
    with torch.device("meta"):
        network = SapiensNetwork(NetworkConfig.from_name(task, size))
    assert sum(parameter.numel() for parameter in network.parameters()) == CHECKPOINTS[task, size].parameters


@pytest.mark.parametrize("task, padding", [("pose", 2), ("normal", 2), ("segmentation", 0), ("depth", 0)])
@pytest.mark.parametrize("size", SIZES)
def test_patch_padding_comes_from_the_task(task, padding, size):
    assert NetworkConfig.from_name(task, size).patch_padding == padding


@pytest.mark.parametrize("task, divisor", [("pose", 4), ("segmentation", 2), ("depth", 1), ("normal", 2)])
def test_output_size(task, divisor):
    assert NetworkConfig.from_name(task, "1b").output_size == (1024 // divisor, 768 // divisor)


@pytest.mark.parametrize("task, size, named", [("flow", "1b", "'flow'"), ("pose", "5b", "'5b'")])
def test_unknown_names_are_refused(task, size, named):
    with pytest.raises(ValueError, match=named):
        NetworkConfig.from_name(task, size)


def test_built_network_holds_the_very_tensors_it_was_given():
    known = official("depth")
    network = build_network(known.config, known.state_dict)
    held = network.state_dict()
    assert all(held[name].data_ptr() == tensor.data_ptr() for name, tensor in known.state_dict.items())
    assert not network.training
    assert not any(parameter.requires_grad for parameter in network.parameters())


@pytest.mark.parametrize(
    "spoil", [lambda state: state.popitem(), lambda state: state.update(extra=torch.ones(1))]
)
def test_missing_and_extra_tensors_are_refused(spoil):
    known = official("depth")
    state_dict = dict(known.state_dict)
    spoil(state_dict)
    with pytest.raises(RuntimeError):
        build_network(known.config, state_dict)


def test_results_do_not_depend_on_the_batch():
    known = official("normal")
    network = build_network(known.config, known.state_dict)
    together = network(known.native.image)
    alone = torch.cat([network(image[None]) for image in known.native.image])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-4)


def test_position_table_is_left_alone_at_its_own_size():
    table = torch.randn(1, 12, 5)
    assert resize_position_table(table, (4, 3), (4, 3)) is table
    assert resize_position_table(table, (4, 3), (8, 6)).shape == (1, 48, 5)
