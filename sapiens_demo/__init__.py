"""Pose, body parts, depth and surface normals of people in photos, by Meta's Sapiens models.

In a notebook: `Sapiens("segmentation", size="1b")("photo.jpg").labels`.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

# Read when torch is imported. Else its threads spin while they wait, and on a machine with other work every
# step takes many times as long (two cores, one of them busy: 3.6 s instead of 0.07 s for a photo).
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

if TYPE_CHECKING:
    from sapiens_demo.estimator import Sapiens

__all__ = ["Sapiens"]


def __getattr__(name: str) -> Any:
    if name == "Sapiens":  # late: it brings torch along, which takes seconds
        from sapiens_demo.estimator import Sapiens

        return Sapiens
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), *__all__]
