"""The slider for the model size: five named stops, each with what it costs and whether it can be had."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

import gradio as gr

from sapiens_demo.catalog import SIZES
from sapiens_demo.ui import texts
from sapiens_demo.ui.component import read_parts


@dataclass(frozen=True)
class Stop:
    """Describe one stop of the slider.

    Args:
        id: one of catalog.SIZES.
        title: what people call it.
        state: "here" (on this machine), "download", "off", or "unknown" (not looked up yet).
        note: two words at most, under the title.
        hint: one line that is shown while the stop is chosen, or the sentence that says why it is off.
    """

    id: str
    title: str
    state: Literal["here", "download", "off", "unknown"]
    note: str
    hint: str


class SizeSlider(gr.HTML):
    """Let people choose a size by mouse, touch or arrow keys.

    The value is one of catalog.SIZES. Only people's own choices fire `input`.

    Args:
        value: the size to start with.
        kwargs: `stops` (as from as_props), `reasons` (why some are off, in words), and what gr.HTML takes.
    """

    def __init__(self, value: str = "mini", **kwargs: Any) -> None:
        parts = read_parts("size_slider", label=texts.SIZE_LABEL, words=texts.SIZE_WORDS)
        super().__init__(value=value, **{"stops": [], "reasons": "", **parts, **kwargs})

    def preprocess(self, payload: Any) -> str:
        """Check the size, for what arrives here need not come from the page."""
        if payload not in SIZES:
            raise gr.Error(f"There is no size {payload!r}.", print_exception=False)
        return payload

    def api_info(self) -> dict[str, Any]:
        """Describe the value: one of the sizes."""
        return {"type": "string", "enum": list(SIZES)}


def as_props(stops: list[Stop]) -> list[dict[str, str]]:
    """Turn stops into what the script reads.

    Args:
        stops: one a size, smallest first.
    """
    return [asdict(stop) for stop in stops]
