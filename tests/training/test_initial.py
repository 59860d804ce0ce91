import torch

from sapiens_demo.network import NetworkConfig, SapiensNetwork
from sapiens_demo.training.initial import frequency_patches, initialise, sine_table


def test_patch_filters_differ_from_each_other():
    filters = frequency_patches(192).flatten(1)
    filters = filters / filters.norm(dim=1, keepdim=True)
    products = (filters @ filters.T - torch.eye(192)).abs()
    assert products.max() < 1e-5


def test_positions_are_told_apart():
    table = sine_table((16, 12), 192)[0]
    assert table.shape == (192, 192)
    assert torch.pdist(table).min() > 0.1


def test_attention_starts_by_looking_at_itself():
    torch.manual_seed(0)
    network = SapiensNetwork(NetworkConfig.from_name("depth", "mini"))
    initialise(network)
    tokens = torch.nn.functional.layer_norm(torch.randn(1, 50, 192), (192,))
    query, key, _ = network.backbone.layers[0].attn.qkv(tokens).unflatten(2, (3, 3, 64)).unbind(2)
    scores = torch.einsum("bnhd,bmhd->bhnm", query, key)
    assert (scores.argmax(-1) == torch.arange(50)).float().mean() > 0.9
