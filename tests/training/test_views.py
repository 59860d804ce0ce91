import numpy as np
import pytest
import torch

from sapiens_demo.training import views as viewing
from sapiens_demo.training.pool import PicturePool, sample_files
from sapiens_demo.training.samples import read_sample
from sapiens_demo.training.views import (
    Chance,
    Placement,
    Views,
    draw_views,
    place,
)
from sapiens_demo.vocabulary import KEYPOINTS, PARTS

SIZE = (128, 96)
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def pool(picture_folder):
    with PicturePool(picture_folder, CPU, workers=0) as pictures:
        pictures.wait(len(sample_files(picture_folder)))
    return pictures


def _stretched(pool, rows, flip=False):
    """Place views over whole pictures, corner pixel on corner pixel."""
    picture = pool.field("size")[rows].flip(1).float()
    view = torch.tensor([SIZE[1], SIZE[0]])
    turn = torch.tensor([[-1.0 if flip else 1.0, 0], [0, 1]]).expand(len(rows), 2, 2)
    return Placement((picture - 1) / 2, (picture - 1) / (view - 1), turn, torch.full((len(rows),), flip))


def _looked_up(pool, rows, placement):
    first = torch.zeros_like(rows)
    views = Views(pool, rows, placement, SIZE)
    return {"image": views.image(), **views.labels(), **views.keypoints(first, first == 0)}


def test_a_mirrored_view_has_mirrored_labels(pool):
    rows = torch.arange(len(pool))
    plain = _looked_up(pool, rows, _stretched(pool, rows))
    mirrored = _looked_up(pool, rows, _stretched(pool, rows, flip=True))
    part_swap = torch.tensor([part.swap_id for part in PARTS])
    point_swap = [keypoint.swap_id for keypoint in KEYPOINTS]
    assert torch.allclose(mirrored["image"].flip(3), plain["image"], atol=0.01)
    assert (part_swap[mirrored["parts"].flip(2)] == plain["parts"]).float().mean() > 0.97
    both = plain["mask"] & mirrored["mask"].flip(2)
    turned = mirrored["normals"].flip(3) * torch.tensor([-1.0, 1, 1])[:, None, None]
    assert (turned * plain["normals"]).sum(1)[both].median() > 0.98
    assert (mirrored["depth"].flip(2) - plain["depth"])[both].abs().mean() < 0.05
    points = mirrored["keypoints"].clone()
    points[..., 0] = SIZE[1] - 1 - points[..., 0]
    assert torch.allclose(points[:, point_swap], plain["keypoints"], atol=1e-3)
    assert torch.equal(mirrored["weights"][:, point_swap], plain["weights"])


def test_an_unchanged_view_is_the_picture(pool, picture_folder):
    for row, path in enumerate(sample_files(picture_folder)):
        sample = read_sample(path)
        height, width = size = sample.parts.shape
        rows = torch.tensor([row])
        middle = torch.tensor([[(width - 1) / 2, (height - 1) / 2]])
        placement = Placement(middle, torch.ones(1, 2), torch.eye(2)[None], torch.tensor([False]))
        image = Views(pool, rows, placement, size).image()[0].movedim(0, 2)
        assert np.allclose(image, sample.image, atol=0.01)


def test_a_quarter_turn_turns_normals_with_the_picture(pool):
    rows = torch.arange(4)
    angle = torch.full((4,), torch.pi / 2)
    middle = (pool.field("size")[rows].flip(1) - 1) / 2
    turn = viewing._turn(angle, torch.zeros(4, dtype=torch.bool))
    placement = Placement(middle, torch.full((4, 2), 3.0), turn, torch.zeros(4, dtype=torch.bool))
    upright = Placement(middle, torch.full((4, 2), 3.0), torch.eye(2).expand(4, 2, 2), placement.flip)
    size = (96, 96)
    turned = Views(pool, rows, placement, size).labels()["normals"].rot90(1, (2, 3))
    plain = Views(pool, rows, upright, size).labels()["normals"]
    # The picture's content turns clockwise on the screen: what pointed right points down.
    expected = torch.stack([plain[:, 1], -plain[:, 0], plain[:, 2]], dim=1)
    shown = plain.square().sum(1) > 0
    assert (turned * expected).sum(1)[shown].median() > 0.99


def test_points_survive_the_way_to_a_view_and_back(pool):
    chance = Chance(3, CPU)
    rows = torch.arange(len(pool))
    kinds = rows % 4
    placement = place(pool.field("size")[rows], pool.field("boxes")[rows, 0], kinds, SIZE, chance)
    pixels = torch.tensor([[0.0, 0], [95, 0], [40, 100]])
    back = placement.to_view(placement.to_picture(pixels, SIZE), SIZE)
    assert torch.allclose(back, pixels.expand_as(back), atol=1e-3)


def test_windows_stay_inside_their_pictures(pool):
    rows = torch.arange(len(pool)).repeat(20)
    sizes = pool.field("size")[rows]
    for kind in (viewing._STRETCHED, viewing._PART):
        kinds = torch.full_like(rows, kind)
        placement = place(sizes, pool.field("boxes")[rows, 0], kinds, SIZE, Chance(kind, CPU))
        corners = placement.to_picture(torch.tensor([[0.0, 0.0], [95, 127]]), SIZE)
        assert (corners > -0.01).all()
        assert (corners.amax(1) < sizes.flip(1)).all()


def test_views_repeat_with_their_seed(pool):
    first, second = (draw_views(pool, 6, SIZE, 0.5, Chance(5, CPU)) for _ in range(2))
    other = draw_views(pool, 6, SIZE, 0.5, Chance(6, CPU))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not torch.equal(first["image"], other["image"])


def test_relative_depth_runs_from_near_to_far(pool):
    views = draw_views(pool, 20, SIZE, 0.5, Chance(5, CPU))
    for depth, mask in zip(views["depth"], views["mask"], strict=True):
        if mask.sum() > 200:
            assert depth[mask].min() == 0
            assert depth[mask].max() == 1
        assert (depth[~mask] == 0).all()


def test_whole_pictures_of_several_people_ask_for_nobodys_keypoints(pool):
    views = draw_views(pool, 400, (32, 16), 0.0, Chance(7, CPU))
    posed = views["weights"].any(1).float().mean()
    boxes, height = pool.field("boxes"), pool.field("size")[:, 0]
    small = (boxes[..., 3] - boxes[..., 1]).amax(1) / height < 0.25  # their people are looked at one by one
    may_be = ((pool.field("people") == 1) | small).float().mean()
    assert 0 < posed < may_be + 0.08 < 0.95


def test_beyond_the_picture_there_is_nothing(pool):
    rows = torch.tensor([0])
    far_away = torch.tensor([[10_000.0, 0]])
    placement = Placement(far_away, torch.ones(1, 2), torch.eye(2)[None], torch.tensor([False]))
    for name, values in _looked_up(pool, rows, placement).items():
        if name != "keypoints":
            assert not values.any(), name
