"""A training state becomes the files that ship: one network a task, in half precision, with a header."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from sapiens_demo.catalog import MINI_LICENSE
from sapiens_demo.network import NetworkConfig

_TRAINING_DATA = "rendered people (parametric body, procedural clothes), photo and procedural backgrounds"


def publish(state: Path, out: Path) -> list[Path]:
    """Write a state's averaged weights as shipped files.

    Args:
        state: state.pt of a run; its input size must be the Mini row's.
        out: folder to write sapiens_mini_<task>.safetensors to.

    Returns:
        The files written.

    Raises:
        ValueError: the run's input size is not Mini's.
    """
    kept = torch.load(state, map_location="cpu", weights_only=True)
    out.mkdir(parents=True, exist_ok=True)
    return [_publish_task(kept, task, out) for task in _tasks(kept["average"])]


def _tasks(weights: dict[str, Tensor]) -> list[str]:
    return sorted({name.split(".")[1] for name in weights})


def _publish_task(kept: dict, task: str, out: Path) -> Path:
    config = NetworkConfig.from_name(task, "mini")
    if tuple(kept["image_size"]) != config.image_size:
        raise ValueError(
            f"The run's input is {tuple(kept['image_size'])}, but Mini's is {config.image_size}."
        )
    prefix = f"networks.{task}."
    tensors = {
        name.removeprefix(prefix): value.half().contiguous()
        for name, value in kept["average"].items()
        if name.startswith(prefix)
    }
    header = {
        "format": "pt",
        "task": task,
        "config": json.dumps(asdict(config)),
        "training_data": _TRAINING_DATA,
        "seed": str(kept["seed"]),
        "step": str(kept["step"]),
        "license": MINI_LICENSE,
    }
    path = out / f"sapiens_mini_{task}.safetensors"
    save_file(tensors, path, metadata=header)
    return path
