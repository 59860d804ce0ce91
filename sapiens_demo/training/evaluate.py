"""Measure Mini on rendered pictures that training never saw, and on annotated real photos."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from sapiens_demo.network import NetworkConfig, SapiensNetwork, build_network
from sapiens_demo.photo import read_photo
from sapiens_demo.tasks import depth, normal, pose, segmentation
from sapiens_demo.training.metrics import (
    Overlap,
    angles,
    correct_keypoints,
    keypoint_similarity,
    mask_overlap,
    rank_correlation,
)
from sapiens_demo.training.samples import Sample, read_sample
from sapiens_demo.vocabulary import COCO_BODY_IDS
from sapiens_demo.weights import read_state_dict

_BODY = list(COCO_BODY_IDS)
_FEWEST_LABELLED = 8


@dataclass(frozen=True)
class Figure:
    """Hold one measured figure.

    Args:
        name: what was measured.
        data: "rendered" or "real".
        value: the figure.
        bar: what it should reach.
        most: True where smaller is better.
    """

    name: str
    data: str
    value: float
    bar: float
    most: bool = False

    @property
    def reached(self) -> bool:
        """Tell whether the bar is met."""
        return self.value <= self.bar if self.most else self.value >= self.bar


def load_networks(folder: Path) -> dict[str, SapiensNetwork]:
    """Load the four Mini networks of a folder.

    Args:
        folder: holds sapiens_mini_<task>.safetensors.

    Returns:
        Task to network, float32 on the CPU.
    """
    networks = {}
    for task in ("pose", "segmentation", "depth", "normal"):
        tensors = read_state_dict(folder / f"sapiens_mini_{task}.safetensors")
        config = NetworkConfig.from_name(task, "mini")
        networks[task] = build_network(config, {name: value.float() for name, value in tensors.items()})
    return networks


def evaluate_rendered(networks: dict[str, SapiensNetwork], folder: Path, count: int) -> list[Figure]:
    """Measure all four tasks on rendered pictures.

    Args:
        networks: task to network.
        folder: holds the evaluation set's samples.
        count: how many of them to take.

    Returns:
        The figures.
    """
    body, points, ranks, turns, masks = [], [], [], [], []
    overlap = Overlap()
    for path in sorted(folder.rglob("*.npz"))[:count]:
        sample = read_sample(path)
        person = sample.people > 0
        for index, found in enumerate(_found_people(networks["pose"], sample.image, sample.boxes)):
            seen = sample.visibility[index]
            right = correct_keypoints(found, sample.keypoints[index], sample.boxes[index])
            body.append(right[_BODY][seen[_BODY] > 0])
            points.append(right[seen == 2])
        labels = _labels(networks["segmentation"], sample.image)
        overlap.add(labels, sample.parts)
        masks.append(mask_overlap(labels > 0, person))
        ranks.append(rank_correlation(_depth(networks["depth"], sample)[person], sample.depth[person]))
        turns.append(angles(_normals(networks["normal"], sample)[person], sample.normals[person]).mean())
    return [
        Figure("pose, 17 body points, PCK at 5 %", "rendered", float(np.concatenate(body).mean()), 0.92),
        Figure(
            "pose, all 308, visible ones, PCK at 5 %", "rendered", float(np.concatenate(points).mean()), 0.85
        ),
        Figure("segmentation, mean IoU", "rendered", overlap.mean(), 0.65),
        Figure("person against background, IoU", "rendered", float(np.mean(masks)), 0.95),
        Figure("depth inside people, rank correlation", "rendered", float(np.mean(ranks)), 0.95),
        Figure("normals, mean angle in degrees", "rendered", float(np.mean(turns)), 18.0, most=True),
    ]


def evaluate_real(networks: dict[str, SapiensNetwork], folder: Path) -> list[Figure]:
    """Measure pose and the person's outline on annotated photos, from the annotated boxes.

    Args:
        networks: task to network.
        folder: holds the photos and annotations.json in COCO's format.

    Returns:
        The figures.
    """
    annotations = json.loads((folder / "annotations.json").read_text(encoding="utf-8"))
    similarities, masks = [], []
    for image in annotations["images"]:
        photo = read_photo(folder / image["file_name"])
        people = [row for row in annotations["annotations"] if row["image_id"] == image["id"]]
        outlines = [_outline(row["segmentation"], photo.shape[:2]) for row in people]
        everybody = np.any(outlines, axis=0)
        for row, outline in zip(people, outlines, strict=True):
            x, y, width, height = row["bbox"]
            box = np.array([x, y, x + width, y + height], np.float32)
            masks.append(_outline_overlap(networks["segmentation"], photo, box, everybody))
            truth = np.array(row["keypoints"], float).reshape(17, 3)
            labelled = truth[:, 2] > 0
            if labelled.sum() >= _FEWEST_LABELLED:
                found = _found_people(networks["pose"], photo, box[None])[0][_BODY]
                similarities.append(keypoint_similarity(found, truth[:, :2], labelled, float(outline.sum())))
    return [
        Figure("pose, 17 body points, mean OKS", "real", float(np.mean(similarities)), 0.60),
        Figure("person against background, IoU", "real", float(np.mean(masks)), 0.80),
    ]


def as_table(figures: list[Figure]) -> str:
    """Write figures as a Markdown table.

    Args:
        figures: what was measured.

    Returns:
        The table.
    """
    lines = ["| measure | pictures | figure | aim | reached |", "|---|---|---|---|---|"]
    for figure in figures:
        sign, word = "<=" if figure.most else ">=", "yes" if figure.reached else "no"
        lines.append(
            f"| {figure.name} | {figure.data} | {figure.value:.3f} | {sign} {figure.bar:g} | {word} |"
        )
    return "\n".join(lines)


@torch.inference_mode()
def _run(network: SapiensNetwork, images: Tensor) -> Tensor:
    return network(images)


def _found_people(network: SapiensNetwork, photo: np.ndarray, boxes: np.ndarray) -> list[np.ndarray]:
    prepared = pose.prepare(photo, network.config.image_size, boxes)
    result = pose.decode(_run(network, prepared.images), prepared, photo.shape[:2])
    return [person.keypoints for person in result.people]


def _labels(network: SapiensNetwork, photo: np.ndarray) -> np.ndarray:
    logits = _run(network, segmentation.prepare(photo, network.config.image_size))
    return segmentation.decode(logits, photo.shape[:2]).labels


def _depth(network: SapiensNetwork, sample: Sample) -> np.ndarray:
    output = _run(network, depth.prepare(sample.image, network.config.image_size))
    return depth.decode(output, sample.image.shape[:2]).depth


def _normals(network: SapiensNetwork, sample: Sample) -> np.ndarray:
    output = _run(network, normal.prepare(sample.image, network.config.image_size))
    return normal.decode(output, sample.image.shape[:2]).normals


def _outline(segmentation_rows: list | dict, size: tuple[int, int]) -> np.ndarray:
    from pycocotools import mask

    height, width = size
    rows = segmentation_rows
    if isinstance(rows, list):
        rows = mask.merge(mask.frPyObjects(rows, height, width))
    return mask.decode(rows).astype(bool)


def _outline_overlap(
    network: SapiensNetwork, photo: np.ndarray, box: np.ndarray, everybody: np.ndarray
) -> float:
    """Compare masks in the person's padded 3:4 crop, where a person is as large as the network likes it."""
    x1, y1, x2, y2 = box
    width, height = (x2 - x1) * pose.BOX_PADDING, (y2 - y1) * pose.BOX_PADDING
    width, height = max(width, 0.75 * height), max(height, width / 0.75)
    left, top = max(int((x1 + x2 - width) / 2), 0), max(int((y1 + y2 - height) / 2), 0)
    right, bottom = int((x1 + x2 + width) / 2), int((y1 + y2 + height) / 2)
    labels = _labels(network, np.ascontiguousarray(photo[top:bottom, left:right]))
    return mask_overlap(labels > 0, everybody[top:bottom, left:right])
