"""A training state becomes the files that ship: one network a task, in half precision, with a header."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from sapiens_demo.catalog import MINI_LICENSE
from sapiens_demo.network import NetworkConfig, resize_position_table

_TRAINING_DATA = "rendered people (parametric body, procedural clothes), photo and procedural backgrounds"


def publish(state: Path, out: Path) -> list[Path]:
    """Write a state's averaged weights as shipped files, their position table made for Mini's input.

    Mini looks at larger pictures than it is trained on: people are smaller in whole photos than in most views
    of training (Touvron et al. 2019, "Fixing the train-test resolution discrepancy").

    Args:
        state: state.pt of a run.
        out: folder to write sapiens_mini_<task>.safetensors to.

    Returns:
        The files written.
    """
    kept = torch.load(state, map_location="cpu", weights_only=True)
    out.mkdir(parents=True, exist_ok=True)
    return [_publish_task(kept, task, out) for task in _tasks(kept["average"])]


def _tasks(weights: dict[str, Tensor]) -> list[str]:
    return sorted({name.split(".")[1] for name in weights})


def _publish_task(kept: dict, task: str, out: Path) -> Path:
    config = NetworkConfig.from_name(task, "mini")
    prefix = f"networks.{task}."
    tensors = {
        name.removeprefix(prefix): value.half().contiguous()
        for name, value in kept["average"].items()
        if name.startswith(prefix)
    }
    table, trained_at = tensors["backbone.pos_embed"], replace(config, image_size=tuple(kept["image_size"]))
    table = resize_position_table(table.float(), trained_at.grid_size, config.grid_size)
    tensors["backbone.pos_embed"] = table.half().contiguous()
    header = {
        "format": "pt",
        "task": task,
        "config": json.dumps(asdict(config)),
        "training_data": _TRAINING_DATA,
        "trained_at": json.dumps(kept["image_size"]),
        "seed": str(kept["seed"]),
        "step": str(kept["step"]),
        "license": MINI_LICENSE,
    }
    path = out / f"sapiens_mini_{task}.safetensors"
    save_file(tensors, path, metadata=header)
    return path
