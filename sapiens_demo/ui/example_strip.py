"""A row of small pictures: the examples that work with one click."""

from __future__ import annotations

from typing import Any

import gradio as gr

from sapiens_demo.ui import texts
from sapiens_demo.ui.component import read_parts


class ExampleStrip(gr.HTML):
    """Let people choose an example.

    The value is the name of the chosen example, or "". Only people's own choices fire `input`.

    Args:
        value: the example to start with.
        examples: {"name", "title", "alt", "thumbnail" (an address)} of each.
        kwargs: for gr.HTML.
    """

    def __init__(self, value: str = "", examples: list[dict[str, str]] | None = None, **kwargs: Any) -> None:
        parts = read_parts(
            "example_strip", label=texts.EXAMPLES_LABEL, words=texts.EXAMPLE_WORDS, examples=examples or []
        )
        super().__init__(value=value, **{**parts, **kwargs})

    def api_info(self) -> dict[str, Any]:
        """Describe the value."""
        return {"type": "string"}
