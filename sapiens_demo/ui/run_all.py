"""The button that runs every task on the photo, and the marks on the tabs whose results are ready."""

from __future__ import annotations

from typing import Any

import gradio as gr

from sapiens_demo.catalog import TASKS
from sapiens_demo.ui import texts
from sapiens_demo.ui.component import read_parts


class RunAll(gr.HTML):
    """Let people run all tasks at once, and mark the tabs.

    The value is the state of each task's tab: "ready", "running", "open" (could be run) or "off" (cannot be
    run without a download, or at all); "busy": whether all are being run; and "stamp": larger in a later
    value. It is an output only: people's wish arrives as the event `submit`.

    Args:
        value: what to begin with.
        tabs: id of each tab's element, by task.
        kwargs: for gr.HTML.
    """

    def __init__(
        self, value: dict[str, Any] | None = None, tabs: dict[str, str] | None = None, **kwargs: Any
    ) -> None:
        parts = read_parts("run_all", words=texts.RUN_ALL_WORDS, tasks=list(TASKS), tabs=tabs or {})
        super().__init__(value=value, **{**parts, **kwargs})

    def api_info(self) -> dict[str, Any]:
        """Describe the value."""
        return {"type": "object"}
