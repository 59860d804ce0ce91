"""How long each stage of an estimate takes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager


class Stages(dict[str, float]):
    """Hold milliseconds by the name of a stage, in the order of their first beginning."""

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Add the time that a block takes to a stage.

        Args:
            name: of the stage.
        """
        self.setdefault(name, 0.0)
        start = time.perf_counter()
        yield
        self.add(**{name: 1000 * (time.perf_counter() - start)})

    def add(self, **milliseconds: float) -> None:
        """Add times to stages.

        Args:
            milliseconds: by the name of the stage.
        """
        for name, value in milliseconds.items():
            self[name] = self.get(name, 0.0) + value
