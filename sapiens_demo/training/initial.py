"""First weights of a Mini model: chosen so that little data and time go far."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from sapiens_demo.network import PATCH_SIZE, SapiensNetwork

# Shares of noise and identity in the attention products (Trockman and Kolter 2023, "Mimetic initialization").
_QUERY_KEY = (0.7, 0.7)
_VALUE_OUT = (0.4, -0.4)
_POSITION_SCALE = 0.5


def initialise(network: SapiensNetwork) -> None:
    """Fill a network with first weights, in place, from torch's global generator.

    Patches start as low frequencies, positions as sines, attention close to looking at itself.

    Args:
        network: what to fill.
    """
    for module in network.modules():
        if isinstance(module, nn.Linear):
            nn.init.trunc_normal_(module.weight, std=0.02)
            nn.init.zeros_(module.bias)
    backbone = network.backbone
    with torch.no_grad():
        backbone.pos_embed.copy_(
            sine_table(network.config.grid_size, network.config.embed_dim) * _POSITION_SCALE
        )
        backbone.patch_embed.projection.weight.copy_(frequency_patches(network.config.embed_dim))
        backbone.patch_embed.projection.bias.zero_()
        for layer in backbone.layers:
            _initialise_attention(layer.attn)


def sine_table(grid: tuple[int, int], channels: int) -> Tensor:
    """Make a position table of sines and cosines (Vaswani et al. 2017, in two dimensions).

    Args:
        grid: (rows, columns).
        channels: C, a multiple of 4.

    Returns:
        (1, rows * columns, C) in [-1, 1]; positions are shares of the grid's height.
    """
    rows, columns = grid
    count = channels // 4
    frequencies = (
        2 * math.pi * 16 ** (torch.arange(count) / count) / 2
    )  # half a wave to 8 waves over the height
    y = torch.arange(rows) / rows
    x = torch.arange(columns) / rows
    down = (y[:, None] * frequencies)[:, None].expand(rows, columns, count)
    across = (x[:, None] * frequencies)[None].expand(rows, columns, count)
    return torch.cat([down.sin(), down.cos(), across.sin(), across.cos()], dim=2).reshape(
        1, rows * columns, channels
    )


def frequency_patches(channels: int) -> Tensor:
    """Make patch filters: low frequencies of the brightness, and half as many of two colour differences.

    Args:
        channels: number of filters.

    Returns:
        (channels, 3, 16, 16); each filter's gain rises with its frequency, as natural pictures' power falls.
    """
    place = torch.arange(PATCH_SIZE) + 0.5
    order = sorted(
        ((u, v) for u in range(12) for v in range(12)), key=lambda pair: (pair[0] ** 2 + pair[1] ** 2, pair)
    )
    colors = torch.tensor([[1.0, 1.0, 1.0], [1.0, 0.0, -1.0], [-0.5, 1.0, -0.5]])
    colors = colors / colors.norm(dim=1, keepdim=True)
    counts = (channels - 2 * (channels // 6), channels // 6, channels // 6)
    filters = []
    for color, count in zip(colors, counts, strict=True):
        for u, v in order[:count]:
            wave = (math.pi * u / PATCH_SIZE * place).cos()[:, None] * (
                math.pi * v / PATCH_SIZE * place
            ).cos()
            gain = math.sqrt(1 + u**2 + v**2) / PATCH_SIZE
            filters.append(color[:, None, None] * wave / wave.norm() * gain)
    return torch.stack(filters)


def _initialise_attention(attention: nn.Module) -> None:
    channels = attention.proj.weight.shape[0]
    width = channels // attention.num_heads
    for head in range(attention.num_heads):
        query, key = _factors(channels, *_QUERY_KEY)
        rows = slice(head * width, (head + 1) * width)
        attention.qkv.weight[:channels][rows] = query[:width]
        attention.qkv.weight[channels : 2 * channels][rows] = key[:width]
    value, out = _factors(channels, *_VALUE_OUT)
    attention.qkv.weight[2 * channels :] = value
    attention.proj.weight.copy_(out.T)


def _factors(channels: int, noise: float, identity: float) -> tuple[Tensor, Tensor]:
    """Split noise + identity into two factors A and B, (C, C) each, with A^T B equal to it."""
    product = noise * torch.randn(channels, channels) / math.sqrt(channels) + identity * torch.eye(channels)
    left, values, right = torch.linalg.svd(product)
    root = values.sqrt()[:, None]
    return root * left.T, root * right
