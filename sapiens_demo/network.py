"""The Sapiens vision transformer and its four heads.

Parameter names are those of the official checkpoints, so that every one of them loads strictly.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

PATCH_SIZE = 16

# size: (embed_dim, depth, num_heads, mlp_dim, image_size)
_BACKBONES = {
    "mini": (192, 8, 3, 768, (384, 288)),
    "0.3b": (1024, 24, 16, 4096, (1024, 768)),
    "0.6b": (1280, 32, 16, 5120, (1024, 768)),
    "1b": (1536, 40, 24, 6144, (1024, 768)),
    "2b": (1920, 48, 32, 7680, (1024, 768)),
}

# task: (patch_padding, deconv_channels, conv_channels, out_channels)
_HEADS = {
    "pose": (2, (768,) * 2, (768,) * 2, 308),
    "segmentation": (0, (768,) * 3, (768,) * 3, 28),
    "depth": (0, (384,) * 4, (384,) * 2, 1),
    "normal": (2, (768,) * 3, (768,) * 3, 3),
}

# task: (deconv_channels, conv_channels) where the backbone is mini
_MINI_HEADS = {
    "pose": ((96, 64), (64, 64)),
    "segmentation": ((64, 48, 32), (32, 32, 32)),
    "depth": ((64, 32, 16, 8), (8, 8)),
    "normal": ((64, 48, 32), (32, 32, 32)),
}


@dataclass(frozen=True)
class NetworkConfig:
    """Describe one network: a task's head on a backbone of some size.

    Args:
        task: "pose", "segmentation", "depth" or "normal"; names the head's parameters.
        embed_dim: channels of a token.
        depth: number of transformer layers.
        num_heads: attention heads; divides embed_dim.
        mlp_dim: hidden channels of a layer's feed-forward part.
        image_size: native input as (H, W) in pixels.
        patch_padding: zero padding of the patch embedding in pixels. Weight shapes don't show it.
        deconv_channels: output channels of the head's stride-2 transposed convolutions.
        conv_channels: output channels of the head's 1x1 convolutions.
        out_channels: channels of the output map.
    """

    task: str
    embed_dim: int
    depth: int
    num_heads: int
    mlp_dim: int
    image_size: tuple[int, int]
    patch_padding: int
    deconv_channels: tuple[int, ...]
    conv_channels: tuple[int, ...]
    out_channels: int

    @classmethod
    def from_name(cls, task: str, size: str) -> NetworkConfig:
        """Look up the configuration of a task at a size.

        Args:
            task: "pose", "segmentation", "depth" or "normal".
            size: "mini", "0.3b", "0.6b", "1b" or "2b".

        Returns:
            The configuration.

        Raises:
            ValueError: there is no such task or size.
        """
        if task not in _HEADS:
            raise ValueError(f"There is no task {task!r}; choose one of {', '.join(_HEADS)}.")
        if size not in _BACKBONES:
            raise ValueError(f"There is no size {size!r}; choose one of {', '.join(_BACKBONES)}.")
        embed_dim, depth, num_heads, mlp_dim, image_size = _BACKBONES[size]
        patch_padding, deconv_channels, conv_channels, out_channels = _HEADS[task]
        if size == "mini":
            deconv_channels, conv_channels = _MINI_HEADS[task]
        return cls(
            task=task,
            embed_dim=embed_dim,
            depth=depth,
            num_heads=num_heads,
            mlp_dim=mlp_dim,
            image_size=image_size,
            patch_padding=patch_padding,
            deconv_channels=deconv_channels,
            conv_channels=conv_channels,
            out_channels=out_channels,
        )

    @property
    def grid_size(self) -> tuple[int, int]:
        """Return the native token grid as (rows, columns)."""
        height, width = self.image_size
        return height // PATCH_SIZE, width // PATCH_SIZE

    @property
    def output_size(self) -> tuple[int, int]:
        """Return the native output map as (H, W)."""
        rows, columns = self.grid_size
        scale = 2 ** len(self.deconv_channels)
        return rows * scale, columns * scale


class SapiensNetwork(nn.Module):
    """Map normalised pictures to a task's raw output map.

    Args:
        config: what to build. Build under `torch.device("meta")` to be filled from a checkpoint.
    """

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        self.features_format = torch.contiguous_format
        self.backbone = _Backbone(config)
        if config.task == "pose":
            self.head = _PoseHead(config)
        else:
            self.decode_head = _DenseHead(config)

    def forward(self, images: Tensor) -> Tensor:
        """Run the network.

        Args:
            images: (B, 3, H, W), RGB normalised with the Sapiens mean and standard deviation.
                H and W may differ from the native size; the position table is then interpolated.

        Returns:
            (B, out_channels, h, w), raw: heatmaps (h = H / 4), logits or normals (H / 2) or depth (H).
        """
        return self.read_out(self.backbone(images).contiguous(memory_format=self.features_format))

    def keep_channels_last(self) -> None:
        """Keep the head's weights and features with their channels last in memory, from now on."""
        self.own_head.to(memory_format=torch.channels_last)
        self.features_format = torch.channels_last

    def read_out(self, features: Tensor) -> Tensor:
        """Run the head alone.

        Args:
            features: (B, C, H / 16, W / 16) from the backbone.

        Returns:
            As forward.
        """
        return self.own_head(features)

    @property
    def own_head(self) -> nn.Module:
        """Return the head, whatever the official name is for this task."""
        return self.head if self.config.task == "pose" else self.decode_head


def build_network(config: NetworkConfig, state_dict: dict[str, Tensor]) -> SapiensNetwork:
    """Build a network around a state dict's own tensors, without a second copy of them.

    Args:
        config: the network the weights belong to.
        state_dict: parameter name to tensor, complete; all of one dtype, on one device.

    Returns:
        The network in evaluation mode, holding the given tensors; gradients are off.

    Raises:
        RuntimeError: names or shapes differ from the network's.
    """
    with torch.device("meta"):
        network = SapiensNetwork(config)
    network.load_state_dict(state_dict, strict=True, assign=True)
    return network.eval().requires_grad_(False)


class _Backbone(nn.Module):
    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        rows, columns = config.grid_size
        self.grid_size = config.grid_size
        self.patch_embed = _PatchEmbed(config)
        self.pos_embed = nn.Parameter(torch.zeros(1, rows * columns, config.embed_dim))
        self.layers = nn.ModuleList(_Layer(config) for _ in range(config.depth))
        self.ln1 = _layer_norm(config)

    def forward(self, images: Tensor) -> Tensor:
        tokens, grid = self.embed(images)
        for layer in self.layers:
            tokens = layer(tokens)
        return self.arrange(tokens, grid)

    def embed(self, images: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """Turn (B, 3, H, W) images into (B, N, C) tokens; also return their grid, (rows, columns)."""
        patches = self.patch_embed(images)  # [B, C, rows, columns]
        grid = (patches.shape[2], patches.shape[3])
        tokens = patches.flatten(2).transpose(1, 2)
        return tokens + resize_position_table(self.pos_embed, self.grid_size, grid), grid

    def arrange(self, tokens: Tensor, grid: tuple[int, int]) -> Tensor:
        """Turn the last layer's (B, N, C) tokens into (B, C, rows, columns) features, the channels last."""
        return self.ln1(tokens).transpose(1, 2).unflatten(2, grid)


def resize_position_table(table: Tensor, source: tuple[int, int], target: tuple[int, int]) -> Tensor:
    """Interpolate a table of position embeddings to another token grid.

    Bicubic without antialiasing and with unaligned corners, as the official eager code does.

    Args:
        table: (1, rows * columns, C), row-major over the source grid.
        source: (rows, columns) of the table.
        target: (rows, columns) wanted.

    Returns:
        (1, target rows * target columns, C); the table itself where the grids are equal.
    """
    if tuple(source) == tuple(target):
        return table
    grid = table.transpose(1, 2).unflatten(2, source)  # [1, C, rows, columns]
    return (
        F.interpolate(grid, size=tuple(target), mode="bicubic", align_corners=False)
        .flatten(2)
        .transpose(1, 2)
    )


class _PatchEmbed(nn.Module):
    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.projection = nn.Conv2d(
            3, config.embed_dim, kernel_size=PATCH_SIZE, stride=PATCH_SIZE, padding=config.patch_padding
        )
        self.fills_corner = config.patch_padding == 0

    def forward(self, images: Tensor) -> Tensor:
        if self.fills_corner:  # without padding, a rest at the right or bottom edge would be lost
            height, width = images.shape[2:]
            images = F.pad(images, (0, -width % PATCH_SIZE, 0, -height % PATCH_SIZE))
        return self.projection(images)


class _Layer(nn.Module):
    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.ln1 = _layer_norm(config)
        self.attn = _Attention(config)
        self.ln2 = _layer_norm(config)
        self.ffn = _FeedForward(config)

    def forward(self, tokens: Tensor) -> Tensor:
        tokens = tokens + self.attn(self.ln1(tokens))
        return tokens + self.ffn(self.ln2(tokens))


class _Attention(nn.Module):
    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.num_heads = config.num_heads
        self.qkv = nn.Linear(config.embed_dim, 3 * config.embed_dim)
        self.proj = nn.Linear(config.embed_dim, config.embed_dim)

    def forward(self, tokens: Tensor) -> Tensor:
        qkv = self.qkv(tokens).unflatten(2, (3, self.num_heads, -1))  # [B, N, 3, heads, D]
        query, key, value = qkv.permute(2, 0, 3, 1, 4)  # each [B, heads, N, D]
        mixed = F.scaled_dot_product_attention(query, key, value)
        return self.proj(mixed.transpose(1, 2).flatten(2))


class _FeedForward(nn.Module):
    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        # The nesting only serves the official names: layers.0.0 and layers.1.
        expand = nn.Sequential(nn.Linear(config.embed_dim, config.mlp_dim), nn.GELU())
        self.layers = nn.Sequential(expand, nn.Linear(config.mlp_dim, config.embed_dim))

    def forward(self, tokens: Tensor) -> Tensor:
        return self.layers(tokens)


class _InstanceNorm(nn.Module):
    """Normalise each channel of each picture, without weights; CPUs do group norm four times as fast."""

    def forward(self, features: Tensor) -> Tensor:
        return F.group_norm(features, features.shape[1])


class _Head(nn.Module):
    """Upsample the features: transposed convolutions, then 1x1 convolutions."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.deconv_layers = nn.Sequential()
        channels = config.embed_dim
        for width in config.deconv_channels:
            deconv = nn.ConvTranspose2d(channels, width, kernel_size=4, stride=2, padding=1, bias=False)
            self.deconv_layers.extend([deconv, _InstanceNorm(), nn.SiLU()])
            channels = width
        self.conv_layers = nn.Sequential()
        for width in config.conv_channels:
            conv = nn.Conv2d(channels, width, kernel_size=1)
            self.conv_layers.extend([conv, _InstanceNorm(), nn.SiLU()])
            channels = width
        self.last_channels = channels


class _FloatConv2d(nn.Conv2d):
    """Convolve in float32 whatever the weights are: rounded heatmaps' peaks move by over half a pixel."""

    def forward(self, features: Tensor) -> Tensor:
        return self._conv_forward(features.float(), self.weight.float(), self.bias.float())


class _PoseHead(_Head):
    def __init__(self, config: NetworkConfig) -> None:
        super().__init__(config)
        self.final_layer = _FloatConv2d(self.last_channels, config.out_channels, kernel_size=1)

    def forward(self, features: Tensor) -> Tensor:
        return self.final_layer(self.conv_layers(self.deconv_layers(features)))


class _DenseHead(_Head):
    def __init__(self, config: NetworkConfig) -> None:
        super().__init__(config)
        self.conv_seg = nn.Conv2d(self.last_channels, config.out_channels, kernel_size=1)

    def forward(self, features: Tensor) -> Tensor:
        return self.conv_seg(self.conv_layers(self.deconv_layers(features)))


def _layer_norm(config: NetworkConfig) -> nn.LayerNorm:
    return nn.LayerNorm(config.embed_dim, eps=1e-6)
