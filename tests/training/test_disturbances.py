import cv2
import numpy as np
import pytest
import torch

from sapiens_demo.training.disturbances import blurred, disturb, jpeg
from sapiens_demo.training.views import Chance


@pytest.fixture(scope="module")
def images(samples):
    """Return pictures as (B, 3, 160, 160) of 0 to 255."""
    return torch.stack(
        [torch.from_numpy(sample.image[:160, :160].transpose(2, 0, 1).copy()).float() for sample in samples]
    )


@pytest.mark.parametrize("quality", [25, 50, 80])
def test_jpeg_is_what_a_file_does(images, quality):
    ours = jpeg(images, torch.full((len(images),), float(quality)))
    for before, after in zip(images, ours, strict=True):
        pixels = before.byte().numpy().transpose(1, 2, 0)[..., ::-1]
        stored = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
        theirs = cv2.imdecode(stored, cv2.IMREAD_COLOR)[..., ::-1].transpose(2, 0, 1)
        lost = np.abs(theirs - before.numpy()).mean()
        assert np.abs(theirs - after.numpy()).mean() < 0.3 + 0.6 * lost
        assert np.abs(after.numpy() - before.numpy()).mean() == pytest.approx(lost, abs=0.5)


@pytest.mark.parametrize("sigma", [0.05, 0.6, 1.2])
def test_blur_is_opencvs(images, sigma):
    ours = blurred(images, torch.full((len(images), 1, 1, 1), sigma))
    for before, after in zip(images, ours, strict=True):
        pixels = before.numpy().transpose(1, 2, 0)
        theirs = cv2.GaussianBlur(pixels, (9, 9), sigma, borderType=cv2.BORDER_REFLECT_101)
        assert np.abs(theirs.transpose(2, 0, 1) - after.numpy()).max() < 0.05


def test_some_pictures_change_and_all_stay_pictures(images):
    changed = disturb(images.repeat(4, 1, 1, 1), Chance(1, torch.device("cpu")))
    assert changed.min() >= 0
    assert changed.max() <= 255
    difference = (changed - images.repeat(4, 1, 1, 1)).abs().mean((1, 2, 3))
    assert 0.02 < (difference < 0.01).float().mean() < 0.5
    assert (difference > 1).float().mean() > 0.3
