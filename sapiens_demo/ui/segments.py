"""A strip of segments of which one is chosen: a radio that obeys the arrow keys as one does."""

from __future__ import annotations

from typing import Any

import gradio as gr

from sapiens_demo.ui.component import read_parts


class Segments(gr.HTML):
    """Let people choose one of a few by mouse, touch or arrow keys.

    The value is the key of the choice. Only people's own choices fire `input`.

    Args:
        value: the choice to start with.
        choices: what each choice is called, by its key.
        title: what is chosen, for those who do not see it.
        kwargs: for gr.HTML.
    """

    def __init__(
        self, value: str = "", choices: dict[str, str] | None = None, title: str = "", **kwargs: Any
    ) -> None:
        self._choices = dict(choices or {})
        parts = read_parts("segments", choices=list(self._choices.items()), title=title)
        super().__init__(value=value, **{**parts, **kwargs})

    def preprocess(self, payload: Any) -> str:
        """Check the choice, for what arrives here need not come from the page."""
        if payload not in list(self._choices):
            raise gr.Error(f"There is no choice {str(payload)[:40]!r}.", print_exception=False)
        return payload

    def api_info(self) -> dict[str, Any]:
        """Describe the value: one of the keys."""
        return {"type": "string", "enum": list(self._choices)}
