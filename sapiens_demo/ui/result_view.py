"""The result of a task on the screen: the photo and what was found in it, with a handle between the two."""

from __future__ import annotations

from typing import Any

import gradio as gr

from sapiens_demo.ui import texts
from sapiens_demo.ui.component import read_parts

DEFAULT_THRESHOLD = 0.3
OPACITIES = {"pose": 1.0, "segmentation": 0.6, "depth": 1.0, "normal": 1.0}


class ResultView(gr.HTML):
    """Show a result with its handle, opacity, legend, figures and downloads.

    The value is what `view.as_props` returns, or None. It is an output only: people's actions arrive as the
    events `submit` (the button in the middle), `threshold` and `download`, whose data say what is wanted.

    Args:
        task: one of catalog.TASKS.
        value: a result to start with.
        kwargs: `status`, what goes on: {"state": "idle" | "empty" | "running" | "ask" | "failed", "sentence",
            "share", "action"}; `saved`, another number whenever a download is ready; and what gr.HTML takes.
    """

    def __init__(self, task: str, value: dict[str, Any] | None = None, **kwargs: Any) -> None:
        parts = read_parts(
            "result_view",
            task=task,
            words=texts.RESULT_WORDS,
            downloads=texts.DOWNLOADS[task],
            opacity=OPACITIES[task],
            threshold=DEFAULT_THRESHOLD if task == "pose" else None,
        )
        status = {"state": "idle"} if value else {"state": "empty", "sentence": texts.EMPTY}
        super().__init__(value=value, **{"status": status, "saved": 0, **parts, **kwargs})

    def api_info(self) -> dict[str, Any]:
        """Describe the value."""
        return {"type": "object"}
