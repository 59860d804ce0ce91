import json
from pathlib import Path

import numpy as np
import pytest

from sapiens_demo.training.evaluate import Figure, as_table, evaluate_real, evaluate_rendered, load_networks
from sapiens_demo.training.generate import EVALUATION_SEED, make_sample
from sapiens_demo.training.samples import write_sample

MINI = Path(__file__).parents[2] / "assets" / "mini"

# What the shipped files reach on 20 pictures, less a little for other processors' rounding.
SHIPPED = {
    "pose, 17 body points, PCK at 5 %": 0.71,
    "pose, all 308, visible ones, PCK at 5 %": 0.91,
    "segmentation, mean IoU": 0.43,
    "person against background, IoU": 0.88,
    "depth inside people, rank correlation": 0.58,
    "normals, mean angle in degrees": 20.8,
}


@pytest.fixture(scope="module")
def networks():
    """Return the shipped networks."""
    return load_networks(MINI)


@pytest.fixture(scope="module")
def evaluation_folder(tmp_path_factory):
    """Return a folder of 20 fixed pictures, on procedural backgrounds."""
    folder = tmp_path_factory.mktemp("evaluation")
    for index in range(20):
        write_sample(folder / f"{index:06d}.npz", make_sample(EVALUATION_SEED, index, []))
    return folder


def test_shipped_models_stay_at_their_level(networks, evaluation_folder):
    figures = evaluate_rendered(networks, evaluation_folder, 20)
    assert {figure.name for figure in figures} == set(SHIPPED)
    for figure in figures:
        level = SHIPPED[figure.name]
        assert figure.value <= level if figure.most else figure.value >= level, figure


def test_annotated_photos_are_measured(networks, samples, tmp_path):
    import cv2

    sample = samples[0]
    height, width = sample.parts.shape
    cv2.imwrite(str(tmp_path / "photo.png"), sample.image[..., ::-1])
    box = [0, 0, width, height]
    keypoints = np.concatenate([np.full((17, 2), 50.0), np.full((17, 1), 2)], axis=1).ravel().tolist()
    outline = [[0, 0, width, 0, width, height, 0, height]]
    person = {"image_id": 1, "bbox": box, "keypoints": keypoints, "segmentation": outline}
    rows = {"images": [{"id": 1, "file_name": "photo.png"}], "annotations": [person]}
    (tmp_path / "annotations.json").write_text(json.dumps(rows))
    figures = {figure.name: figure.value for figure in evaluate_real(networks, tmp_path)}
    assert len(figures) == 2
    assert all(0 <= value <= 1 for value in figures.values())


def test_the_table_says_what_was_reached():
    table = as_table([Figure("a", "rendered", 0.9, 0.8), Figure("b", "real", 20.0, 18.0, most=True)])
    assert "| a | rendered | 0.900 | >= 0.8 | yes |" in table
    assert "| b | real | 20.000 | <= 18 | no |" in table
