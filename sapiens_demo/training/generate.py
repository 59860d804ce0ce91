"""Make a set of labelled pictures on disk."""

from __future__ import annotations

import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from sapiens_demo.training.render import render
from sapiens_demo.training.samples import Sample, write_sample
from sapiens_demo.training.scene import sample_scene

# The evaluation set's seed; training must never use it.
EVALUATION_SEED = 20261
EVALUATION_COUNT = 500
FOLDER_SIZE = 500


def make_sample(seed: int, index: int, backgrounds: list[Path]) -> Sample:
    """Make one labelled picture.

    Args:
        seed: names the set.
        index: number of the picture in the set; the same seed and index give the same picture.
        backgrounds: photos without people.

    Returns:
        The sample; it shows at least one person.
    """
    generator = np.random.default_rng([seed, index])
    while True:
        sample = render(sample_scene(generator), backgrounds, generator)
        if len(sample.boxes):
            return sample


def generate(out: Path, count: int, seed: int, backgrounds: Path | None, workers: int = 1) -> None:
    """Write a set of pictures; files that exist are kept.

    Args:
        out: folder to write to, in sub-folders of FOLDER_SIZE files.
        count: number of pictures.
        seed: names the set.
        backgrounds: folder of JPEG photos without people, or None for procedural backgrounds.
        workers: processes.
    """
    photos = sorted(backgrounds.glob("*.jpg")) if backgrounds else []
    started, step = time.time(), 100
    chunks = [range(first, min(first + step, count)) for first in range(0, count, step)]
    with ProcessPoolExecutor(workers) as pool:
        for done, _ in enumerate(pool.map(partial(_write_chunk, out, seed, photos), chunks), start=1):
            rate = done * step / (time.time() - started)
            print(f"{min(done * step, count)} of {count} pictures, {rate:.1f} a second", flush=True)


def _write_chunk(out: Path, seed: int, photos: list[Path], indices: range) -> None:
    cv2.setNumThreads(1)
    for index in indices:
        path = out / f"{index // FOLDER_SIZE:05d}" / f"{index:06d}.npz"
        if path.exists():
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        sample = make_sample(seed, index, photos)
        quality = int(np.random.default_rng([seed, index, 1]).integers(55, 96))
        unfinished = path.with_suffix(".part.npz")
        write_sample(unfinished, sample, quality)
        unfinished.rename(path)
