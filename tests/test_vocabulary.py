"""The tables of keypoints and parts agree with themselves and with what is known of the models."""

from collections import Counter

import pytest

from sapiens_demo.vocabulary import COCO_BODY_IDS, KEYPOINTS, PARTS, SKELETON

COCO_NAMES = [
    "nose",
    *("left_eye", "right_eye", "left_ear", "right_ear"),
    *("left_shoulder", "right_shoulder", "left_elbow", "right_elbow", "left_wrist", "right_wrist"),
    *("left_hip", "right_hip", "left_knee", "right_knee", "left_ankle", "right_ankle"),
]


@pytest.mark.parametrize("table, count", [(KEYPOINTS, 308), (PARTS, 28)])
def test_ids_count_up_and_names_are_unique(table, count):
    assert [row.id for row in table] == list(range(count))
    assert len({row.name for row in table}) == count


@pytest.mark.parametrize("table", [KEYPOINTS, PARTS])
def test_mirroring_twice_changes_nothing(table):
    assert all(table[row.swap_id].swap_id == row.id for row in table)


@pytest.mark.parametrize("table", [KEYPOINTS, SKELETON, PARTS])
def test_colors_are_bytes(table):
    assert all(len(row.color) == 3 and all(0 <= channel <= 255 for channel in row.color) for row in table)


def test_groups_of_keypoints():
    groups = Counter(keypoint.group for keypoint in KEYPOINTS)
    assert groups == {"body": 24, "foot": 6, "left_hand": 20, "right_hand": 20, "face": 238}


def test_coco_body_points_by_name():
    assert [KEYPOINTS[number].name for number in COCO_BODY_IDS] == COCO_NAMES


@pytest.mark.parametrize("left, right", [(62, 41), (5, 6), (13, 14)])
def test_left_and_right_take_each_others_place(left, right):
    assert KEYPOINTS[left].swap_id == right
    assert KEYPOINTS[left].name.replace("left", "right") == KEYPOINTS[right].name


def test_skeleton_joins_different_keypoints_off_the_face():
    assert len(SKELETON) == 65
    for link in SKELETON:
        assert link.start != link.end
        assert "face" not in (KEYPOINTS[link.start].group, KEYPOINTS[link.end].group)


def test_flip_pairs_of_parts():
    pairs = {(part.id, part.swap_id) for part in PARTS if part.id < part.swap_id}
    assert pairs == {(4, 13), (5, 14), (6, 15), (7, 16), (8, 17), (9, 18), (10, 19), (11, 20)}


def test_sigmas_are_positive():
    assert all(keypoint.sigma > 0 for keypoint in KEYPOINTS)


def test_part_title():
    assert PARTS[0].title == "Background"
    assert all("_" not in part.title for part in PARTS)
