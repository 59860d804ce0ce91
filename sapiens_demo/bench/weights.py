"""Weights to measure with: those on this machine, else random ones that behave like trained ones."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from sapiens_demo import hub
from sapiens_demo.errors import DemoError
from sapiens_demo.network import NetworkConfig, SapiensNetwork, build_network
from sapiens_demo.photo import read_photo
from sapiens_demo.tasks.inputs import resize_whole
from sapiens_demo.weights import load_state_dict

_SHARPNESS = 1.5  # of queries and keys: attention is neither even nor on one token
_LOUD_CHANNELS, _LOUDNESS = 4, 30.0  # trained transformers have a few channels far above the others
_REACH = 3.0  # tokens: over this distance position embeddings change
_RIDGE = 1e-3  # of the features' mean square
_EXAMPLES = Path(__file__).parents[2] / "assets" / "examples"


@dataclass(frozen=True)
class TestWeights:
    """Hold weights to measure with.

    Args:
        state_dict: name to float32 tensor on the device.
        origin: "shipped", "official" or "random".
    """

    __test__ = False  # for pytest: this is no test

    state_dict: dict[str, Tensor]
    origin: str


def find_weights(task: str, size: str, device: torch.device, images: Tensor) -> TestWeights:
    """Take the weights that are on this machine, else make some up.

    Args:
        task: one of catalog.TASKS.
        size: one of catalog.SIZES.
        device: where they go.
        images: (B, 3, H, W) float32 on the device, at the network's size; for random_weights.

    Returns:
        The weights in float32.

    Raises:
        DemoError: a file on this machine cannot be read.
    """
    if hub.find_local(task, size) is not None:
        weights = load_state_dict(task, size, torch.float32, device)
        return TestWeights(weights, "shipped" if size == "mini" else "official")
    config = NetworkConfig.from_name(task, size)
    small = NetworkConfig.from_name(task, "mini")
    mini = build_network(small, load_state_dict(task, "mini", torch.float32, device))
    with torch.inference_mode():
        wanted = mini(F.interpolate(images[:1], small.image_size, mode="bilinear", antialias=True))
    return TestWeights(random_weights(config, images[:1], wanted), "random")


def random_weights(config: NetworkConfig, images: Tensor, wanted: Tensor) -> dict[str, Tensor]:
    """Make up weights whose network has realistic activations and says about what is wanted.

    All layers but the last are random, scaled so that signals keep their size. The last one is fitted by
    least squares, so that maps have peaks, areas and slopes and not only noise.

    Args:
        config: the network.
        images: (B, 3, H, W) float32 on the device, at the network's size.
        wanted: (B, C, h, w) what it should say of them, of any resolution.

    Returns:
        Name to float32 tensor on the images' device; always the same.
    """
    with torch.device("meta"):
        shapes = {name: value.shape for name, value in SapiensNetwork(config).state_dict().items()}
    generator = torch.Generator(images.device).manual_seed(0)
    weights = {name: _random(name, shape, config, generator) for name, shape in shapes.items()}
    _fit_last_layer(config, weights, images, wanted)
    return weights


def _random(name: str, shape: torch.Size, config: NetworkConfig, generator: torch.Generator) -> Tensor:
    if name == "backbone.pos_embed":
        return _positions(config, generator)
    noise = torch.randn(shape, generator=generator, device=generator.device)
    if len(shape) == 1:  # biases, and the factors of the norms
        return 1 + 0.2 * noise if ".ln" in name and name.endswith("weight") else 0.02 * noise
    if "deconv_layers" in name:  # (in, out, 4, 4): a random mixture of channels, smoothly enlarged
        taps = torch.tensor([0.25, 0.75, 0.75, 0.25], device=noise.device)
        return noise[..., :1, :1] * torch.outer(taps, taps) * (1 / math.sqrt(shape[0]))
    scale = 1 / math.sqrt(noise[0].numel())
    if ".qkv." in name:
        return noise * (_SHARPNESS * scale)
    if ".attn.proj." in name or ".ffn.layers.1." in name:  # so that the sum of all layers keeps its size
        return noise * (scale / math.sqrt(2 * config.depth))
    return noise * scale


def _positions(config: NetworkConfig, generator: torch.Generator) -> Tensor:
    """Return (1, N, C) waves over the token grid, of random directions and lengths."""
    rows, columns = config.grid_size
    device = generator.device
    ys, xs = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    places = torch.stack([ys, xs], -1).flatten(0, 1).float().to(device)  # [N, 2]
    waves = torch.randn(2, config.embed_dim, generator=generator, device=device) / _REACH
    phases = 2 * math.pi * torch.rand(config.embed_dim, generator=generator, device=device)
    table = (places @ waves + phases).cos() * math.sqrt(2)
    table[:, :_LOUD_CHANNELS] += _LOUDNESS
    return table[None]


def _fit_last_layer(
    config: NetworkConfig, weights: dict[str, Tensor], images: Tensor, wanted: Tensor
) -> None:
    """Replace the last layer's weight and bias in place."""
    network = build_network(config, weights)
    name = "head.final_layer" if config.task == "pose" else "decode_head.conv_seg"
    seen: list[Tensor] = []
    handle = network.get_submodule(name).register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    with torch.inference_mode():
        output = network(images)
    handle.remove()
    features = seen[0].transpose(0, 1).flatten(1)  # [C, B * h * w]
    features = torch.cat([features, torch.ones_like(features[:1])])
    target = F.interpolate(wanted, output.shape[2:], mode="bilinear").transpose(0, 1).flatten(1)
    squares = (features @ features.T).double().cpu()
    products = (features @ target.T).double().cpu()
    ridge = _RIDGE * squares.diagonal().mean() * torch.eye(len(squares), dtype=torch.float64)
    solution = torch.linalg.solve(squares + ridge, products).float().T.to(images.device)  # [K, C + 1]
    weights[f"{name}.weight"] = solution[:, :-1, None, None].contiguous()
    weights[f"{name}.bias"] = solution[:, -1].contiguous()


def example_photos() -> list[np.ndarray]:
    """Read the example pictures that ship with the code.

    Returns:
        (H, W, 3) uint8 RGB each.

    Raises:
        DemoError: there are none.
    """
    files = sorted(_EXAMPLES.glob("*.jpg"))
    if not files:
        raise DemoError("There are no pictures in assets/examples to measure with: fetch the code again.")
    return [read_photo(file) for file in files]


def example_images(photos: list[np.ndarray], image_size: tuple[int, int], count: int) -> Tensor:
    """Make a batch for a network of the example pictures.

    Args:
        photos: (H, W, 3) uint8 RGB each.
        image_size: (H, W) of the network's input.
        count: images wanted; pictures come again, mirrored, where there are too few.

    Returns:
        (count, 3, H, W) float32 on the CPU, normalised.
    """
    images = [resize_whole(photos[i % len(photos)], image_size) for i in range(count)]
    return torch.cat([image.flip(-1) if i // len(photos) % 2 else image for i, image in enumerate(images)])


def large_photo(photo: np.ndarray, megapixels: float = 12.0) -> np.ndarray:
    """Enlarge a picture to what a phone takes, with a camera's noise.

    Args:
        photo: (H, W, 3) uint8 RGB.
        megapixels: wanted.

    Returns:
        (H', W', 3) uint8 RGB.
    """
    height, width = photo.shape[:2]
    scale = math.sqrt(megapixels * 1e6 / (height * width))
    size = round(width * scale), round(height * scale)
    large = cv2.resize(photo, size, interpolation=cv2.INTER_CUBIC)
    noise = np.zeros(large.shape, np.int16)
    cv2.setRNGSeed(0)
    cv2.randn(noise, 0, 3)
    return cv2.add(large, noise, dtype=cv2.CV_8U)
