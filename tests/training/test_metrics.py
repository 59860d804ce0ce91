import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sapiens_demo.training.metrics import (
    Overlap,
    angles,
    correct_keypoints,
    keypoint_similarity,
    mask_overlap,
    rank_correlation,
)


def test_keypoints_are_right_within_a_twentieth_of_the_height():
    true = np.zeros((3, 2))
    found = np.array([[4.9, 0], [5.1, 0], [0, 5]])
    assert correct_keypoints(found, true, np.array([0, 0, 10, 100])).tolist() == [True, False, True]


@pytest.mark.parametrize(("offset", "expected"), [(0.0, 1.0), (1000.0, 0.0)])
def test_similarity_runs_from_one_to_zero(offset, expected):
    true = np.zeros((17, 2))
    assert keypoint_similarity(true + offset, true, np.ones(17, bool), 100.0) == pytest.approx(
        expected, abs=1e-6
    )


def test_similarity_is_cocos():
    true, found = np.zeros((17, 2)), np.zeros((17, 2))
    found[0] = [3, 4]
    labelled = np.arange(17) == 0
    expected = np.exp(-25 / (2 * 400 * (2 * 0.026) ** 2))
    assert keypoint_similarity(found, true, labelled, 400.0) == pytest.approx(expected)


def test_overlap_counts_only_classes_present():
    overlap = Overlap()
    overlap.add(np.array([[0, 1], [1, 1]], np.uint8), np.array([[0, 0], [1, 1]], np.uint8))
    assert overlap.mean() == pytest.approx((1 / 2 + 2 / 3) / 2)


@pytest.mark.parametrize(
    ("found", "true", "expected"),
    [([1, 1, 0], [1, 0, 0], 0.5), ([0, 0, 0], [0, 0, 0], 1.0), ([1, 0, 0], [0, 1, 0], 0.0)],
)
def test_mask_overlap(found, true, expected):
    assert mask_overlap(np.array([found], bool), np.array([true], bool)) == expected


@given(st.lists(st.floats(-5, 5), min_size=3, max_size=30, unique=True))
def test_ranks_do_not_mind_the_scale(values):
    values = np.array(values)
    assert rank_correlation(np.arctan(values * 0.1), values) == pytest.approx(1, abs=0.15)
    assert rank_correlation(-values, values) == pytest.approx(-1)


def test_angles_in_degrees():
    found = np.array([[0, 0, 1.0], [1, 0, 0]])
    assert angles(found, np.array([[0, 0, 1.0], [0, 1, 0]])).tolist() == [0, 90]
