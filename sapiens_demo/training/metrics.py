"""The measures of the model card, each over one picture."""

from __future__ import annotations

import numpy as np

from sapiens_demo.vocabulary import COCO_BODY_IDS, KEYPOINTS, PARTS

PCK_SHARE = 0.05
_SIGMAS = np.array([KEYPOINTS[index].sigma for index in COCO_BODY_IDS])


def correct_keypoints(found: np.ndarray, true: np.ndarray, box: np.ndarray) -> np.ndarray:
    """Tell which keypoints lie within PCK_SHARE of the box's height of the truth.

    Args:
        found: (K, 2) pixels.
        true: (K, 2) pixels.
        box: (4,) x1, y1, x2, y2 in pixels.

    Returns:
        (K,) bool.
    """
    return np.linalg.norm(found - true, axis=1) <= PCK_SHARE * (box[3] - box[1])


def keypoint_similarity(found: np.ndarray, true: np.ndarray, labelled: np.ndarray, area: float) -> float:
    """Measure COCO's object keypoint similarity of one person.

    Args:
        found: (17, 2) pixels, in COCO's order.
        true: (17, 2) pixels.
        labelled: (17,) bool, points that count; at least one.
        area: the person's area in square pixels.

    Returns:
        Similarity, 0 to 1.
    """
    squared = ((found - true) ** 2).sum(1)
    similar = np.exp(-squared / (2 * area * (2 * _SIGMAS) ** 2 + np.spacing(1)))
    return float(similar[labelled].mean())


class Overlap:
    """Add up intersections and unions of label maps over many pictures."""

    def __init__(self) -> None:
        self.both = np.zeros(len(PARTS))
        self.either = np.zeros(len(PARTS))

    def add(self, found: np.ndarray, true: np.ndarray) -> None:
        """Count one picture.

        Args:
            found: (H, W) uint8 classes.
            true: (H, W) uint8 classes.
        """
        joint = np.bincount(true.ravel() * np.int64(len(PARTS)) + found.ravel(), minlength=len(PARTS) ** 2)
        table = joint.reshape(len(PARTS), len(PARTS))
        self.both += table.diagonal()
        self.either += table.sum(0) + table.sum(1) - table.diagonal()

    def mean(self) -> float:
        """Return the mean intersection over union of the classes that are present anywhere."""
        present = self.either > 0
        return float((self.both[present] / self.either[present]).mean())


def mask_overlap(found: np.ndarray, true: np.ndarray) -> float:
    """Measure intersection over union of two masks.

    Args:
        found: (H, W) bool.
        true: (H, W) bool.

    Returns:
        Share, 0 to 1; 1 where both are empty.
    """
    either = (found | true).sum()
    return float((found & true).sum() / either) if either else 1.0


def rank_correlation(found: np.ndarray, true: np.ndarray) -> float:
    """Measure Spearman's rank correlation.

    Args:
        found: (N,) values, N >= 2.
        true: (N,) values.

    Returns:
        Correlation, -1 to 1; ties are broken by order, which depth maps hardly have.
    """
    first, second = (np.argsort(np.argsort(values)).astype(np.float64) for values in (found, true))
    return float(np.corrcoef(first, second)[0, 1])


def angles(found: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Measure the angles between unit vectors.

    Args:
        found: (N, 3).
        true: (N, 3).

    Returns:
        (N,) degrees.
    """
    return np.degrees(np.arccos(np.clip((found * true).sum(1), -1, 1)))
