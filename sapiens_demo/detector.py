"""D-FINE, which finds people: read, prepared for and decoded. It needs transformers, imported late."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from sapiens_demo.catalog import PEOPLE
from sapiens_demo.errors import CheckpointError
from sapiens_demo.hub import candidates
from sapiens_demo.progress import Progress, silent
from sapiens_demo.weights import first_readable

if TYPE_CHECKING:
    from transformers import DFineForObjectDetection

THRESHOLD = 0.3
_CLASS = "person"
_NAMES_SHOWN = 4
_UNREADABLE = (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError)


class DetectorNetwork(nn.Module):
    """Reduce D-FINE to people.

    Args:
        model: filled, for evaluation.

    Raises:
        CheckpointError: the model knows no class called person.
    """

    def __init__(self, model: DFineForObjectDetection) -> None:
        super().__init__()
        self.model = model
        self._person = _person_class(model.config.id2label)

    def forward(self, images: Tensor) -> Tensor:
        """Run the detector.

        Args:
            images: (B, 3, H, W) from prepare.

        Returns:
            (B, Q, 5) of Q guesses: logit of "this is a person", then the box's centre x, centre y, width and
            height, as shares of the photo's width and height.
        """
        output = self.model(images)
        return torch.cat([output.logits[..., self._person, None], output.pred_boxes], -1)


def load_detector(
    size: str, device: torch.device, progress: Progress = silent
) -> tuple[DetectorNetwork, Path]:
    """Find and read a detector; where a file cannot be read, the next place is tried.

    Args:
        size: one of catalog.DETECTOR_SIZES.
        device: where its weights go, in float32.
        progress: told about downloads and about files that cannot be read.

    Returns:
        The network, for evaluation, and the file of its weights.

    Raises:
        CheckpointError: it cannot be had or read.
    """
    files = candidates(PEOPLE, size, progress=progress)
    path, network = first_readable(files, lambda path: _read(path.parent), progress)
    return network.to(device), path


def prepare(photo: np.ndarray, folder: Path) -> Tensor:
    """Bring a photo into the detector's form.

    Args:
        photo: (H, W, 3) uint8 RGB.
        folder: holds the detector's preprocessor_config.json.

    Returns:
        (1, 3, h, w) float32 on the CPU.

    Raises:
        CheckpointError: the folder's file cannot be read, or transformers is missing.
    """
    processor = _processor(folder)
    return processor(images=photo, input_data_format="channels_last", return_tensors="pt")["pixel_values"]


def decode(output: Tensor, photo_size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Turn the detector's output for one photo into boxes.

    Args:
        output: (1, Q, 5) as DetectorNetwork gives it, on any device.
        photo_size: (H, W) of the photo in pixels.

    Returns:
        (N, 4) float32 x1, y1, x2, y2 in photo pixels, inside the photo, and (N,) float32 scores, THRESHOLD to
        1, in no order.
    """
    guesses = output[0].float().cpu()
    scores = guesses[:, 0].sigmoid()
    sure = scores >= THRESHOLD
    centre, half = guesses[sure, 1:3], guesses[sure, 3:5] / 2
    height, width = photo_size
    shares = torch.cat([centre - half, centre + half], -1).clip(0, 1)
    boxes = shares * torch.tensor([width, height, width, height])
    return boxes.numpy(), scores[sure].numpy()


def _person_class(names: dict[int, str]) -> int:
    for number, name in names.items():
        if name.strip().casefold() == _CLASS:
            return int(number)
    raise CheckpointError("This detector knows no class called person. Fetch the one that this demo lists.")


def _read(folder: Path) -> DetectorNetwork:
    with _readable(folder):
        from transformers import DFineForObjectDetection

        with _without_progress_bar():
            model, report = DFineForObjectDetection.from_pretrained(
                folder,
                local_files_only=True,
                use_safetensors=True,
                dtype=torch.float32,
                output_loading_info=True,
            )
        _check(report, folder)
        return DetectorNetwork(model.eval())


def _check(report: dict[str, Any], folder: Path) -> None:
    """Refuse a file whose weights are not all the model's: the rest of it would be random."""
    names = sorted(str(name) for kind in ("missing_keys", "mismatched_keys") for name in report[kind])
    if names:
        more = f" and {len(names) - _NAMES_SHOWN} more" if len(names) > _NAMES_SHOWN else ""
        raise CheckpointError(
            f"The weights in {folder} are not those of its detector (missing or of another shape: "
            f"{', '.join(names[:_NAMES_SHOWN])}{more}). Fetch them again."
        )


@lru_cache(maxsize=2)
def _processor(folder: Path) -> Any:
    with _readable(folder):
        from transformers import RTDetrImageProcessorPil  # the other one needs torchvision

        return RTDetrImageProcessorPil.from_pretrained(folder, local_files_only=True)


@contextlib.contextmanager
def _readable(folder: Path) -> Iterator[None]:
    from safetensors import SafetensorError

    try:
        yield
    except CheckpointError:
        raise
    except ImportError as error:
        raise CheckpointError(
            f"The people detector needs the package transformers ({error}). "
            "Run: pip install -r requirements.txt"
        ) from error
    except (SafetensorError, *_UNREADABLE) as error:
        reason = " ".join(str(error).split())
        raise CheckpointError(
            f"The detector in {folder} cannot be read: {reason}. Fetch it again."
        ) from error


@contextlib.contextmanager
def _without_progress_bar() -> Iterator[None]:
    """Keep transformers' own bar off the terminal, where this demo tells its progress in sentences."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()
