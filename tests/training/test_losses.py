"""Each loss is least where the output says what the picture shows, and ignores what nobody can know."""

import pytest
import torch
import torch.nn.functional as F

from sapiens_demo.training.losses import LOSSES, choose_keypoints, target_heatmaps
from sapiens_demo.vocabulary import KEYPOINTS, PARTS

HEIGHT, WIDTH = 32, 24  # of the half-size maps; the input is twice as large


@pytest.fixture
def batch():
    """Return the targets of two views, a person filling the middle of each."""
    generator = torch.Generator().manual_seed(0)
    mask = torch.zeros(2, HEIGHT, WIDTH, dtype=torch.bool)
    mask[:, 4:28, 6:18] = True
    parts = torch.randint(1, len(PARTS), (2, HEIGHT // 4, WIDTH // 4), generator=generator)
    parts = parts.repeat_interleave(4, 1).repeat_interleave(4, 2) * mask
    size = torch.tensor([2 * WIDTH - 1, 2 * HEIGHT - 1])
    return {
        "image": torch.zeros(2, 3, 2 * HEIGHT, 2 * WIDTH),
        "parts": parts,
        "mask": mask,
        "depth": torch.linspace(0, 1, HEIGHT)[None, :, None].expand(2, HEIGHT, WIDTH) * mask,
        "normals": F.normalize(torch.randn(2, 3, HEIGHT, WIDTH, generator=generator), dim=1) * mask[:, None],
        "keypoints": torch.rand(2, len(KEYPOINTS), 2, generator=generator) * size,
        "weights": torch.ones(2, len(KEYPOINTS)),
        "chosen": torch.arange(len(KEYPOINTS)),
        "importance": torch.ones(len(KEYPOINTS)),
        "progress": torch.zeros(2),
    }


def cost(task, output, batch):
    """Return a loss as a number."""
    return LOSSES[task](output, batch).item()


def right_output(task, batch):
    """Return the output that says what the targets say."""
    if task == "pose":
        return target_heatmaps(batch["keypoints"], (16, 12), (2 * HEIGHT, 2 * WIDTH))
    if task == "segmentation":
        return 20 * F.one_hot(batch["parts"], len(PARTS)).movedim(3, 1).float()
    if task == "depth":
        depth = F.interpolate(batch["depth"][:, None], scale_factor=2, mode="bilinear")
        inside = depth[F.interpolate(batch["mask"][:, None].float(), scale_factor=2) > 0]
        return (depth - inside.mean()) / inside.std()
    return batch["normals"]


@pytest.mark.parametrize("task", LOSSES)
@pytest.mark.parametrize("wrong", ["noise", "shift", "nothing"])
def test_what_is_right_costs_least(task, wrong, batch):
    right = right_output(task, batch)
    noise = torch.randn(right.shape, generator=torch.Generator().manual_seed(1))
    other = {"noise": right + noise, "shift": right.roll(3, dims=2), "nothing": torch.zeros_like(right)}
    assert cost(task, right, batch) < cost(task, other[wrong], batch)


@pytest.mark.parametrize(("task", "limit"), [("segmentation", 0.01), ("depth", 0.2), ("normal", 0.01)])
def test_what_is_right_costs_next_to_nothing(task, limit, batch):
    assert 0 <= cost(task, right_output(task, batch), batch) < limit


@pytest.mark.parametrize("task", ["depth", "normal"])
def test_what_lies_outside_of_people_does_not_count(task, batch):
    output = right_output(task, batch)
    mask = F.interpolate(batch["mask"][:, None].float(), size=output.shape[2:])
    assert cost(task, output, batch) == pytest.approx(cost(task, output + (1 - mask), batch), abs=1e-6)


def test_the_scale_of_a_pictures_depth_does_not_matter(batch):
    output = right_output("depth", batch)
    scaled = {**batch, "depth": 3 * batch["depth"] + 5}
    assert cost("depth", output, batch) == pytest.approx(cost("depth", output, scaled), abs=1e-3)


def test_neighbouring_pixels_of_depth_must_agree(batch):
    """A pattern finer than the targets' half resolution costs, too."""
    output = right_output("depth", batch)
    checks = 0.3 * (-1.0) ** (torch.arange(2 * HEIGHT)[:, None] + torch.arange(2 * WIDTH))
    assert cost("depth", output + checks, batch) > cost("depth", output, batch) + 0.5


def test_at_the_end_of_a_run_unsure_heatmaps_are_low(batch):
    """A point that is at one of two places equally often: what height costs least?"""
    here = right_output("pose", batch)
    there = {**batch, "keypoints": batch["keypoints"].flip(0)}
    heights = torch.linspace(0.1, 1, 10)

    def best(progress):
        for half in (batch, there):
            half["progress"] = torch.full((2,), progress)
        both = (here + here.flip(0)).clamp(max=1)
        costs = [
            cost("pose", height * both, batch) + cost("pose", height * both, there) for height in heights
        ]
        return heights[min(range(len(costs)), key=costs.__getitem__)].item()

    assert best(0.9) < best(0.5) - 0.05


def test_keypoints_without_weight_do_not_count(batch):
    heatmaps = right_output("pose", batch)
    batch["weights"][:, 5] = 0
    wrong = heatmaps.clone()
    wrong[:, 5] = torch.rand_like(wrong[:, 5])
    assert cost("pose", heatmaps, batch) == pytest.approx(cost("pose", wrong, batch), abs=1e-5)


def test_a_step_learns_the_body_and_a_changing_part_of_the_face():
    (first, _), (second, _) = choose_keypoints(torch.device("cpu")), choose_keypoints(torch.device("cpu"))
    assert len(first) == len(second) == len(set(first.tolist()))
    bodies = {index for index, keypoint in enumerate(KEYPOINTS) if keypoint.group != "face"}
    assert bodies < set(first.tolist()) and bodies < set(second.tolist())
    assert set(first.tolist()) != set(second.tolist())


def test_some_of_the_face_stand_for_all_of_it():
    sums = dict.fromkeys(("face", "body"), 0.0)
    for index, weight in zip(*choose_keypoints(torch.device("cpu")), strict=True):
        group = KEYPOINTS[index].group
        sums[group] = sums.get(group, 0) + weight.item()
    faces, bodies = (sum(keypoint.group == group for keypoint in KEYPOINTS) for group in ("face", "body"))
    assert sums["face"] / sums["body"] == pytest.approx(0.1 * faces / bodies, rel=1e-5)


@pytest.mark.parametrize("task", LOSSES)
def test_a_view_without_people_is_no_number_away(task, batch):
    batch["mask"].zero_(), batch["parts"].zero_(), batch["depth"].zero_(), batch["weights"].zero_()
    output = torch.randn(right_output(task, batch).shape, requires_grad=True)
    loss = LOSSES[task](output, batch)
    loss.backward()
    assert loss.isfinite() and output.grad.isfinite().all()
