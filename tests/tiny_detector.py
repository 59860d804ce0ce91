"""A D-FINE of random numbers, saved in its own format, in place of those that are downloaded."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

_CLASSES = ("cat", "Person", "kite")
_INPUT_SIZE = (96, 128)


@pytest.fixture(scope="session")
def tiny_detector_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the three files of a tiny detector; class 1 is the person."""
    return _save(tmp_path_factory.mktemp("detector") / "dfine-small-obj2coco")


@pytest.fixture
def save_detector() -> Callable[..., Path]:
    """Return what writes a tiny detector into a folder, with classes of the caller's."""
    return _save


def _save(folder: Path, classes: tuple[str, ...] = _CLASSES) -> Path:
    from transformers import DFineConfig, DFineForObjectDetection, RTDetrImageProcessorPil

    backbone = {
        "model_type": "hgnet_v2",
        "stem_channels": [3, 8, 8],
        "embedding_size": 8,
        "depths": [1, 1, 1, 1],
        "hidden_sizes": [8, 32, 32, 32],
        "stage_in_channels": [8, 8, 32, 32],
        "stage_mid_channels": [8, 8, 8, 8],
        "stage_out_channels": [8, 32, 32, 32],
        "stage_num_blocks": [1, 1, 1, 1],
        "stage_numb_of_layers": [1, 1, 1, 1],
        "use_learnable_affine_block": True,
        "out_features": ["stage2", "stage3", "stage4"],
        "out_indices": [2, 3, 4],
    }
    config = DFineConfig(
        backbone_config=backbone,
        d_model=32,
        encoder_hidden_dim=32,
        encoder_ffn_dim=32,
        encoder_attention_heads=4,
        encoder_in_channels=[32, 32, 32],
        decoder_in_channels=[32, 32, 32],
        decoder_ffn_dim=32,
        decoder_attention_heads=4,
        decoder_layers=2,
        decoder_n_points=2,
        max_num_bins=8,
        lqe_hidden_dim=8,
        top_prob_values=2,
        num_queries=12,
        num_denoising=0,
        id2label=dict(enumerate(classes)),
        label2id={name: number for number, name in enumerate(classes)},
    )
    with torch.random.fork_rng():
        torch.manual_seed(4)  # it sees people and cats
        model = DFineForObjectDetection(config).eval()
        with torch.no_grad():
            for weights in model.parameters():
                weights.add_(0.2 * torch.randn_like(weights))
    model.save_pretrained(folder)
    height, width = _INPUT_SIZE
    RTDetrImageProcessorPil(size={"height": height, "width": width}).save_pretrained(folder)
    return folder
