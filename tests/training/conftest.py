"""Pictures for the tests of training: made once a session, small."""

import numpy as np
import pytest

pytest.importorskip("numba", reason="sapiens_demo/training/requirements.txt is not installed")

from sapiens_demo.training.generate import make_sample
from sapiens_demo.training.render import render
from sapiens_demo.training.samples import write_sample
from sapiens_demo.training.scene import sample_scene

SEED = 4711


@pytest.fixture(scope="session")
def scenes():
    """Return scenes, each with the sample that was drawn of it."""
    pairs = []
    for index in range(10):
        generator = np.random.default_rng([SEED, index])
        scene = sample_scene(generator)
        pairs.append((scene, render(scene, [], generator)))
    return pairs


@pytest.fixture(scope="session")
def samples():
    """Return labelled pictures, each with at least one person."""
    return [make_sample(SEED, index, []) for index in range(12)]


@pytest.fixture(scope="session")
def picture_folder(samples, tmp_path_factory):
    """Return a folder that holds the samples as files."""
    folder = tmp_path_factory.mktemp("pictures")
    for index, sample in enumerate(samples):
        write_sample(folder / f"{index:06d}.npz", sample)
    return folder
