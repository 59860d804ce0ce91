"""Small networks as the official code was run with: their weights, inputs and recorded outputs."""

from __future__ import annotations

import functools
import gzip
import json
import math
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from sapiens_demo.network import NetworkConfig

_FOLDER = Path(__file__).parent / "fixtures"


@dataclass(frozen=True)
class Recording:
    """Hold an input of the official code with every `step`-th value of its output."""

    image: Tensor
    shape: tuple[int, ...]
    step: int
    values: Tensor


@dataclass(frozen=True)
class Official:
    """Hold a small network of a task: its weights and what the official code made of two inputs."""

    config: NetworkConfig
    state_dict: dict[str, Tensor]
    native: Recording
    other_size: Recording


@functools.cache
def official(task: str) -> Official:
    """Rebuild the small network of a task."""
    recorded = np.load(_FOLDER / "official_outputs.npz")
    row = json.loads(recorded["configs"].tobytes())[task]
    inputs = torch.Generator().manual_seed(row["input_seed"])
    native = torch.randn(2, 3, 128, 96, generator=inputs)
    other_size = torch.randn(1, 3, 160, 128, generator=inputs)
    return Official(
        NetworkConfig(
            task=task,
            embed_dim=row["embed_dim"],
            depth=row["depth"],
            num_heads=row["num_heads"],
            mlp_dim=row["mlp_dim"],
            image_size=tuple(row["image_size"]),
            patch_padding=row["patch_padding"],
            deconv_channels=tuple(row["deconv_channels"]),
            conv_channels=tuple(row["conv_channels"]),
            out_channels=row["out_channels"],
        ),
        _weights(row["shapes"], row["weights_seed"]),
        _recording(native, row["output"], recorded[f"{task}_output"]),
        _recording(other_size, row["output_other_size"], recorded[f"{task}_output_other_size"]),
    )


def official_keys() -> dict[str, dict[str, list[int]]]:
    """Read name and shape of every official tensor, by "<task> <size>"."""
    return json.loads(gzip.decompress((_FOLDER / "official_keys.json.gz").read_bytes()))


def write_pth(name: str, task: str, folder: Path) -> Path:
    """Write a .pth as the official tools do: their own pickle, and the tensors of the small network."""
    path = folder / f"{name}.pth"
    tensors = official(task).state_dict.values()
    with (
        zipfile.ZipFile(_FOLDER / f"{name}_without_tensors.zip") as recorded,
        zipfile.ZipFile(path, "w") as file,
    ):
        for entry in recorded.namelist():
            file.writestr(f"{name}/{entry}", recorded.read(entry))
        for number, tensor in enumerate(tensors):
            file.writestr(f"{name}/data/{number}", tensor.numpy().tobytes())
    return path


def _weights(shapes: dict[str, list[int]], seed: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {name: _weight(name, torch.randn(shape, generator=generator)) for name, shape in shapes.items()}


def _weight(name: str, noise: Tensor) -> Tensor:
    if name == "backbone.pos_embed":
        return 0.2 * noise
    if noise.ndim > 1:
        return noise * (1.6 / math.sqrt(noise[0].numel()))
    if ".ln" in name and name.endswith("weight"):
        return 1 + 0.2 * noise.abs()
    return 0.1 * noise


def _recording(image: Tensor, about: dict, values: np.ndarray) -> Recording:
    return Recording(image, tuple(about["shape"]), about["step"], torch.from_numpy(values))
