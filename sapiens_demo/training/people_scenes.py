"""A fixed set of pictures with several people, small and large, to measure what is done for each of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from sapiens_demo.training.body import load_body
from sapiens_demo.training.render import render
from sapiens_demo.training.samples import Sample
from sapiens_demo.training.scene import Camera, Person, Scene, sample_person

SEED = 20264  # training must never use it
LANDSCAPE, UPRIGHT = (480, 720), (640, 480)  # (H, W), so large that small people still have pixels

_FORMATS = (LANDSCAPE, LANDSCAPE, UPRIGHT)  # in turn
_PEOPLE = (2, 3)
_HEIGHTS = (0.12, 1.2)  # of the first person / of the picture; every doubling of it is as likely
_ASIDE = (0.35, 1.3)  # metres from the first person
_BEHIND = (-0.5, 2.5)
_VIEWS = (25.0, 50.0)  # degrees from the picture's top to its bottom
_LEAST_EXTENT = 0.5  # metres; of people who lie


def people_samples(count: int, backgrounds: list[Path], seed: int = SEED) -> Iterator[Sample]:
    """Draw the set's first pictures: two landscape ones, an upright one, and so on.

    Args:
        count: of pictures.
        backgrounds: photos without people; procedural backgrounds where the list is empty.
        seed: names the set; the finder's constants were chosen on SEED's.

    Yields:
        Samples that show at least two people; the same ones every time.
    """
    for index in range(count):
        yield people_sample(index, _FORMATS[index % len(_FORMATS)], backgrounds, seed)


def people_sample(index: int, size: tuple[int, int], backgrounds: list[Path], seed: int = SEED) -> Sample:
    """Draw a picture of the set.

    Args:
        index: of the picture.
        size: (H, W) of the picture in pixels.
        backgrounds: as for people_samples.
        seed: likewise.

    Returns:
        The sample; it shows at least two people.
    """
    generator = np.random.default_rng([seed, index])
    while True:
        sample = render(people_scene(size, generator), backgrounds, generator)
        if len(sample.boxes) >= _PEOPLE[0]:
            return sample


def people_scene(size: tuple[int, int], generator: np.random.Generator) -> Scene:
    """Draw two or three people, and a camera somewhere from near to far.

    Args:
        size: (H, W) of the picture in pixels.
        generator: source of randomness.

    Returns:
        The scene. The second and the third person stand on different sides of the first.
    """
    body = load_body()
    first, *others = (sample_person(body, generator) for _ in range(generator.choice(_PEOPLE)))
    side = generator.choice([-1, 1])
    placed = [first]
    for person in others:
        placed.append(_moved(person, side * generator.uniform(*_ASIDE), generator.uniform(*_BEHIND)))
        side = -side
    return Scene(tuple(placed), _camera(first, size, generator))


def _moved(person: Person, aside: float, behind: float) -> Person:
    shift = np.array([aside, behind, 0], np.float32)
    return replace(person, vertices=person.vertices + shift, keypoints=person.keypoints + shift)


def _camera(person: Person, size: tuple[int, int], generator: np.random.Generator) -> Camera:
    """Draw a camera in which a person has one of _HEIGHTS."""
    height, width = size
    points = person.vertices[np.unique(person.faces)]
    bottom, top = points.min(0), points.max(0)
    focal = height / 2 / np.tan(np.radians(generator.uniform(*_VIEWS)) / 2)
    share = np.exp(generator.uniform(*np.log(_HEIGHTS)))
    distance = max(top[2] - bottom[2], _LEAST_EXTENT) * focal / (height * share)
    pitch = np.radians(np.clip(generator.normal(4, 5), -10, 20))
    right, forward = np.array([1.0, 0, 0]), np.array([0, np.cos(pitch), -np.sin(pitch)])
    aside = right * generator.normal(0, distance / focal * width * 0.08)
    return Camera(
        ((bottom + top) / 2 - forward * distance + aside).astype(np.float32),
        np.stack([right, np.cross(forward, right), forward]).astype(np.float32),
        focal,
        size,
    )
