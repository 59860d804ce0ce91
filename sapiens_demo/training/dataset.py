"""Labelled pictures become training examples: a random view of each, with its targets."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import torch
from torch.utils.data import Dataset

from sapiens_demo.training.samples import SampleFile
from sapiens_demo.vocabulary import KEYPOINTS, PARTS

_KEYPOINT_SWAP = np.array([keypoint.swap_id for keypoint in KEYPOINTS])
_PART_SWAP = np.array([part.swap_id for part in PARTS], np.uint8)

# A view of the whole picture or of any part is drawn this often, of one person otherwise.
_WHOLE_SHARE = 0.4
# How much of the largest window of the network's shape a view of a part of a picture shows.
_PART_SHARES = (0.35, 1.0)
# Whole pictures whose people are all smaller, as a share of the height, show too little to learn from.
_SMALLEST_WHOLE = 0.25


class TrainingViews(Dataset):
    """Serve random views of the pictures in a folder.

    Args:
        folder: holds .npz samples, in sub-folders.
        image_size: (H, W) of the network's input.
        length: views in an epoch; any number, views are drawn at random.
        seed: makes the sequence repeatable.
        person_share: share of views that are one person's crop, as pose sees people.

    An item is a dict: `image` (3, H, W) uint8; `parts` (H/2, W/2) int64; `mask` (H/2, W/2) bool, people;
    `depth` (H/2, W/2) float32, 0 near to 1 far over the people; `normals` (3, H/2, W/2) float32; `keypoints`
    (308, 2) float32, pixels of the input; `weights` (308,) float32, 0 where a point doesn't count.
    """

    def __init__(
        self,
        folder: Path,
        image_size: tuple[int, int],
        length: int,
        seed: int,
        person_share: float = 1 - _WHOLE_SHARE,
    ) -> None:
        self.files = sorted(path for path in folder.rglob("*.npz") if ".part" not in path.name)
        if not self.files:
            raise FileNotFoundError(
                f"There are no pictures in {folder}; make some with the generate command."
            )
        self.image_size = image_size
        self.length = length
        self.seed = seed
        self.person_share = person_share

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        generator = np.random.default_rng([self.seed, index])
        sample = SampleFile(self.files[generator.integers(len(self.files))])
        tallest = (sample.boxes[:, 3] - sample.boxes[:, 1]).max() / sample.size[0]
        whole = generator.random() >= self.person_share and tallest >= _SMALLEST_WHOLE
        person = int(generator.integers(len(sample.boxes)))
        matrix = self._matrix(sample, sample.boxes[person], whole, generator)
        flip = generator.random() < 0.5
        if flip:
            matrix = np.array([[-1, 0, self.image_size[1] - 1], [0, 1, 0], [0, 0, 1]]) @ matrix
        posed = person if not whole or len(sample.boxes) == 1 else None
        return _view(sample, matrix, self.image_size, flip, posed, generator)

    def _matrix(
        self, sample: SampleFile, box: np.ndarray, whole: bool, generator: np.random.Generator
    ) -> np.ndarray:
        """Choose a view: a person's crop; the whole picture, stretched or framed; or any part of it."""
        if not whole:
            return _person_view(box, self.image_size, generator)
        height, width = sample.size
        views = (
            lambda: _whole_view(sample, self.image_size, generator),
            lambda: _part_view(sample, self.image_size, generator),
            lambda: _person_view(np.array([0, 0, width, height]), self.image_size, generator),
        )
        return views[generator.integers(len(views))]()


def _person_view(box: np.ndarray, size: tuple[int, int], generator: np.random.Generator) -> np.ndarray:
    height, width = size
    x1, y1, x2, y2 = box
    center = np.array([x1 + x2, y1 + y2]) / 2
    span = max((x2 - x1) / width, (y2 - y1) / height) * 1.25 * generator.uniform(0.8, 1.25)
    center = center + generator.normal(0, 0.05, 2) * [x2 - x1, y2 - y1]
    angle = np.clip(generator.normal(0, 10), -40, 40) if generator.random() < 0.3 else 0.0
    cosine, sine = np.cos(np.radians(angle)) / span, np.sin(np.radians(angle)) / span
    turn = np.array([[cosine, -sine], [sine, cosine]])
    shift = np.array([(width - 1) / 2, (height - 1) / 2]) - turn @ center
    return np.array([[*turn[0], shift[0]], [*turn[1], shift[1]], [0, 0, 1]])


def _whole_view(sample: SampleFile, size: tuple[int, int], generator: np.random.Generator) -> np.ndarray:
    height, width = sample.size
    share = generator.uniform(0.7, 1.0, 2) if generator.random() < 0.6 else np.ones(2)
    extent = np.array([width, height]) * share
    corner = generator.uniform(0, 1, 2) * (np.array([width, height]) - extent)
    scale = np.array([size[1], size[0]]) / extent
    return np.array([[scale[0], 0, -scale[0] * corner[0]], [0, scale[1], -scale[1] * corner[1]], [0, 0, 1]])


def _part_view(sample: SampleFile, size: tuple[int, int], generator: np.random.Generator) -> np.ndarray:
    """Look where the finder of people looks, too: at parts of a picture, which may show nobody."""
    (height, width), (rows, columns) = sample.size, size
    span = min(height / rows, width / columns) * generator.uniform(*_PART_SHARES)
    x, y = generator.uniform(0, 1, 2) * (width - columns * span, height - rows * span)
    return np.array([[1 / span, 0, -x / span], [0, 1 / span, -y / span], [0, 0, 1]])


def _view(
    sample: SampleFile, matrix, size, flip: bool, person: int | None, generator: np.random.Generator
) -> dict[str, torch.Tensor]:
    height, width = size
    image = cv2.warpAffine(sample.image(), matrix[:2], (width, height), flags=cv2.INTER_LINEAR)
    # Labels live on the half-size grid of logits and normals: pixel i covers input pixels 2i and 2i + 1.
    half = np.array([[0.5, 0, -0.25], [0, 0.5, -0.25], [0, 0, 1]]) @ matrix
    labels = sample.labels_at(half, (height // 2, width // 2))
    mask = labels.depth > 0
    parts = _PART_SWAP[labels.parts] if flip else labels.parts
    keypoints, weights = _keypoints(sample, matrix, size, flip, person)
    return {
        "image": torch.from_numpy(_disturb(image, generator).transpose(2, 0, 1).copy()),
        "parts": torch.from_numpy(parts.astype(np.int64)),
        "mask": torch.from_numpy(mask),
        "depth": torch.from_numpy(_relative(labels.depth, mask)),
        "normals": torch.from_numpy(_turned(labels.normals, matrix, mask).transpose(2, 0, 1).copy()),
        "keypoints": torch.from_numpy(keypoints),
        "weights": torch.from_numpy(weights),
    }


def _relative(depth: np.ndarray, mask: np.ndarray) -> np.ndarray:
    if not mask.any():
        return np.zeros_like(depth)
    near, far = depth[mask].min(), depth[mask].max()
    return np.where(mask, (depth - near) / max(far - near, 1e-3), 0).astype(np.float32)


def _turned(normals: np.ndarray, matrix: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Turn normals with the picture's rotation and mirroring; stretching it leaves them alone."""
    left, _, right = np.linalg.svd(matrix[:2, :2])
    turn = left @ right
    flat = normals[..., :2] * [1, -1] @ turn.T * [1, -1]  # picture rows run down, normals' y runs up
    return np.concatenate([flat, normals[..., 2:]], axis=2).astype(np.float32) * mask[..., None]


def _keypoints(
    sample: SampleFile, matrix, size, flip: bool, person: int | None
) -> tuple[np.ndarray, np.ndarray]:
    if person is None:
        return np.zeros((len(KEYPOINTS), 2), np.float32), np.zeros(len(KEYPOINTS), np.float32)
    points = sample.keypoints[person] @ matrix[:2, :2].T + matrix[:2, 2]
    weights = np.array([0, 0.5, 1], np.float32)[sample.visibility[person]]
    inside = ((points >= 0) & (points <= [size[1] - 1, size[0] - 1])).all(1)
    weights = weights * inside
    if flip:
        points, weights = points[_KEYPOINT_SWAP], weights[_KEYPOINT_SWAP]
    return points.astype(np.float32), weights.astype(np.float32)


def _disturb(image: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    chance = generator.random
    if chance() < 0.5:
        table = np.arange(256) / 255.0
        table = np.clip((table - 0.5) * generator.uniform(0.75, 1.25) + 0.5 + generator.normal(0, 0.06), 0, 1)
        image = cv2.LUT(image, (255 * table ** generator.uniform(0.7, 1.4)).astype(np.uint8))
    if chance() < 0.3:
        gray = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None]
        image = cv2.addWeighted(
            image, saturation := generator.uniform(0, 1.6), np.repeat(gray, 3, 2), 1 - saturation, 0
        )
    if chance() < 0.3:
        tint = generator.uniform(0.8, 1.2, 3)
        image = np.clip(image * tint, 0, 255).astype(np.uint8)
    if chance() < 0.25:
        image = cv2.GaussianBlur(image, (0, 0), generator.uniform(0.4, 1.3))
    if chance() < 0.3:
        grain = generator.standard_normal(image.shape, np.float32) * generator.uniform(2, 9)
        image = np.clip(image + grain, 0, 255).astype(np.uint8)
    if chance() < 0.3:
        image = cv2.imdecode(
            cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, int(generator.uniform(25, 80))])[1],
            cv2.IMREAD_COLOR,
        )
    return image
