"""The catalogue lists what is published, under names that hold together."""

import pytest

from sapiens_demo.catalog import (
    CHECKPOINTS,
    DETECTORS,
    KIND_ENDINGS,
    SIZE_TITLES,
    SIZES,
    TASKS,
    find_checkpoint,
    has_checkpoint,
)

OFFICIAL_FILES = [(row, file) for row in CHECKPOINTS.values() for file in row.files]


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("size", SIZES)
def test_two_billion_is_published_for_depth_and_normal_only(task, size):
    assert has_checkpoint(task, size) == (size != "2b" or task in ("depth", "normal"))


def test_unknown_names_have_no_checkpoint():
    assert not has_checkpoint("pose", "5b")
    assert not has_checkpoint("flow", "1b")


def test_detectors_are_no_task_but_are_found_as_checkpoints_are():
    assert TASKS == ("pose", "segmentation", "depth", "normal")
    assert list(DETECTORS) == [("people", "small"), ("people", "medium")]
    for (task, size), row in DETECTORS.items():
        assert find_checkpoint(task, size) is row and not has_checkpoint(task, size)
        (weights,) = row.files
        assert [file.name for file in (weights, *row.companions)] == [
            "model.safetensors",
            "config.json",
            "preprocessor_config.json",
        ]
        assert {file.repository for file in (weights, *row.companions)} == {
            f"ustc-community/dfine-{size}-obj2coco"
        }
        assert row.license == "Apache-2.0"
        assert weights.size == pytest.approx(4 * row.parameters, rel=0.01)


@pytest.mark.parametrize("task, size", [("pose", "small"), ("people", "mini"), ("people", "large"), ("", "")])
def test_what_is_not_listed_is_not_found(task, size):
    assert find_checkpoint(task, size) is None


@pytest.mark.parametrize("task, size", CHECKPOINTS)
def test_checkpoints_are_found(task, size):
    assert find_checkpoint(task, size) is CHECKPOINTS[task, size]


def test_every_size_has_a_title():
    assert tuple(SIZE_TITLES) == SIZES


@pytest.mark.parametrize("row", CHECKPOINTS.values(), ids=lambda row: f"{row.task}-{row.size}")
def test_files_come_smallest_first(row):
    assert [file.kind for file in row.files] == ([] if row.size == "mini" else list(KIND_ENDINGS))
    assert [file.size for file in row.files] == sorted(file.size for file in row.files)


@pytest.mark.parametrize("row, file", OFFICIAL_FILES, ids=[file.name for _, file in OFFICIAL_FILES])
def test_names_tell_size_kind_and_repository(row, file):
    suffix = {"bfloat16": "-bfloat16", "torchscript": "-torchscript", "pth": ""}[file.kind]
    hub_task = "seg" if row.task == "segmentation" else row.task
    assert file.repository == f"facebook/sapiens-{hub_task}-{row.size}{suffix}"
    assert file.name.startswith(f"sapiens_{row.size}_")
    assert file.name.endswith(KIND_ENDINGS[file.kind])


@pytest.mark.parametrize("row, file", OFFICIAL_FILES, ids=[file.name for _, file in OFFICIAL_FILES])
def test_no_file_is_one_to_be_avoided(row, file):
    assert not any(part in file.name for part in row.avoid)


def test_old_pose_files_are_avoided():
    for size in ("0.3b", "0.6b", "1b"):
        assert CHECKPOINTS["pose", size].avoid == ("AP_575", "AP_600", "AP_640")


def test_licenses():
    assert {row.license for row in CHECKPOINTS.values() if row.size == "mini"} == {"Apache-2.0"}
    assert {row.license for row in CHECKPOINTS.values() if row.size != "mini"} == {"CC BY-NC 4.0"}


def test_known_digests():
    digests = {file.name: file.sha256 for _, file in OFFICIAL_FILES if file.sha256}
    assert set(digests) == {
        "sapiens_0.3b_goliath_best_goliath_AP_573.pth",
        "sapiens_0.6b_goliath_best_goliath_AP_609_torchscript.pt2",
    }
    assert all(len(digest) == 64 for digest in digests.values())
