import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from sapiens_demo.training.pool import PicturePool, metres, sample_files
from sapiens_demo.training.samples import read_sample

CPU = torch.device("cpu")


def _read_all(folder: Path, workers: int) -> PicturePool:
    with PicturePool(folder, CPU, workers) as pool:
        pool.wait(len(sample_files(folder)))
    return pool


def test_a_pool_holds_what_the_files_hold(picture_folder):
    files = sample_files(picture_folder)
    pool = _read_all(picture_folder, workers=0)
    for row, path in enumerate(files):
        sample = read_sample(path)
        pixels, people = sample.parts.size, len(sample.boxes)
        assert tuple(pool.field("size")[row]) == sample.parts.shape
        assert pool.field("people")[row] == people
        assert np.array_equal(pool.field("image")[row, :pixels].numpy(), sample.image.reshape(-1, 3))
        assert np.array_equal(pool.field("parts")[row, :pixels].numpy(), sample.parts.ravel())
        depth = metres(pool.field("depth")[row : row + 1], pool.field("far")[row : row + 1])
        assert np.allclose(depth[0, :pixels], sample.depth.ravel(), rtol=1e-6)
        for name in ("keypoints", "visibility", "boxes"):
            assert np.array_equal(pool.field(name)[row, :people].numpy(), getattr(sample, name))


def test_readers_share_the_pictures_out(picture_folder):
    files = sample_files(picture_folder)
    pool = _read_all(picture_folder, workers=2)
    expected = sorted(read_sample(path).keypoints.sum() for path in files)
    found = sorted(pool.field("keypoints").numpy().sum((1, 2, 3)))
    assert np.allclose(found, expected, rtol=1e-3)


def test_pictures_that_appear_later_join(picture_folder, tmp_path):
    first, second, *_ = sample_files(picture_folder)
    shutil.copy(first, tmp_path / "000000.npz")
    with PicturePool(tmp_path, CPU, workers=1) as pool:
        pool.wait(1)
        (tmp_path / "00001").mkdir()
        shutil.copy(second, tmp_path / "00001" / "000001.part.npz")  # being written
        shutil.copy(second, tmp_path / "00001" / "000001.npz")
        pool.wait(2)
    assert len(pool) == 2


def test_an_empty_folder_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="generate"):
        PicturePool(tmp_path, CPU)


def test_a_broken_file_is_told_to_whoever_waits(tmp_path):
    (tmp_path / "000000.npz").write_bytes(b"no archive")
    with (
        PicturePool(tmp_path, CPU, workers=0) as pool,
        pytest.raises(RuntimeError, match="could not be read"),
    ):
        pool.wait()
