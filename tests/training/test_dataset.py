import numpy as np
import pytest
import torch

from sapiens_demo.training.dataset import TrainingViews, _view
from sapiens_demo.training.samples import SampleFile, read_sample, write_sample
from sapiens_demo.vocabulary import KEYPOINTS, PARTS

SIZE = (128, 96)


def _views_of(sample, flip):
    height, width = sample.size
    matrix = np.diag([SIZE[1] / width, SIZE[0] / height, 1.0])
    if flip:
        matrix = np.array([[-1, 0, SIZE[1] - 1], [0, 1, 0], [0, 0, 1]]) @ matrix
    return _view(sample, matrix, SIZE, flip, 0, np.random.default_rng(0))


def test_a_mirrored_view_has_mirrored_labels(picture_folder):
    part_swap = torch.tensor([part.swap_id for part in PARTS])
    point_swap = [keypoint.swap_id for keypoint in KEYPOINTS]
    for path in sorted(picture_folder.rglob("*.npz"))[:6]:
        sample = SampleFile(path)
        plain, mirrored = _views_of(sample, False), _views_of(sample, True)
        same = part_swap[mirrored["parts"].flip(1)] == plain["parts"]
        assert same.float().mean() > 0.97
        both = (plain["mask"] & mirrored["mask"].flip(1)).numpy()
        cosine = (
            mirrored["normals"].flip(2) * torch.tensor([-1.0, 1, 1])[:, None, None] * plain["normals"]
        ).sum(0)
        assert np.median(cosine.numpy()[both]) > 0.98
        assert np.abs(mirrored["depth"].flip(1).numpy() - plain["depth"].numpy())[both].mean() < 0.05
        points = mirrored["keypoints"].clone()
        points[:, 0] = SIZE[1] - 1 - points[:, 0]
        assert torch.allclose(points[point_swap], plain["keypoints"], atol=1e-3)


def test_views_repeat_with_their_seed(picture_folder):
    first, second = (TrainingViews(picture_folder, SIZE, 10, seed=5)[3] for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_relative_depth_runs_from_near_to_far(picture_folder):
    views = TrainingViews(picture_folder, SIZE, 10, seed=5)
    view = next(view for view in (views[index] for index in range(10)) if view["mask"].sum() > 200)
    inside = view["depth"][view["mask"]]
    assert inside.min() == 0
    assert inside.max() == 1
    assert (view["depth"][~view["mask"]] == 0).all()


def test_an_empty_folder_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="generate"):
        TrainingViews(tmp_path, SIZE, 10, seed=1)


def test_a_sample_survives_its_file(samples, tmp_path):
    write_sample(tmp_path / "one.npz", samples[0], quality=100)
    kept = read_sample(tmp_path / "one.npz")
    person = samples[0].people > 0
    assert (kept.parts == samples[0].parts).all()
    assert (kept.people == samples[0].people).all()
    assert np.abs(kept.depth - samples[0].depth).max() < 1e-3 * samples[0].depth.max()
    assert (kept.normals * samples[0].normals).sum(2)[person].min() > 0.99
    assert np.abs(kept.image.astype(int) - samples[0].image).mean() < 4


@pytest.mark.parametrize("flip", [False, True])
def test_labels_of_a_view_are_those_of_the_nearest_pixels(picture_folder, flip):
    path = sorted(picture_folder.rglob("*.npz"))[0]
    whole = read_sample(path)
    height, width = whole.parts.shape
    matrix = np.array([[-1.0, 0, width - 1], [0, 1, 0], [0, 0, 1]]) if flip else np.eye(3)
    labels = SampleFile(path).labels_at(matrix, (height, width))
    way = slice(None, None, -1 if flip else 1)
    assert np.array_equal(labels.parts, whole.parts[:, way])
    assert np.allclose(labels.depth, whole.depth[:, way])
    assert np.allclose(labels.normals, whole.normals[:, way], atol=1e-6)


def test_a_view_beyond_the_picture_is_empty(picture_folder):
    path = sorted(picture_folder.rglob("*.npz"))[0]
    matrix = np.array([[1.0, 0, 10_000], [0, 1, 0], [0, 0, 1]])
    labels = SampleFile(path).labels_at(matrix, (20, 30))
    assert not labels.parts.any()
    assert not labels.depth.any()
    assert not labels.normals.any()
