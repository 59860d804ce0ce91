"""The photo input: Gradio's, but the file reaches our own reader unopened."""

from __future__ import annotations

import gradio as gr
from gradio.data_classes import ImageData


class PhotoInput(gr.Image):
    """Take a photo by upload, paste or webcam, and hand over the path of its temporary file.

    Gradio's own input opens the file itself, fails without a word on what it cannot read, and changes
    16-bit, transparent and animated pictures. Here photo.read_photo has the first and only look, inside a
    handler that can say what is wrong. (Gradio reads a component's settings off the signature of __init__, so
    that is not touched.)
    """

    # Without this the browser looks for a component of this class's name, and the page never appears.
    is_template = True

    def preprocess(self, payload: ImageData | None) -> str | None:
        """Hand over the path.

        Args:
            payload: what the browser or a client sent; Gradio has checked that the file is one it received.

        Returns:
            Path of the temporary file, or None without a photo.
        """
        return payload.path if payload is not None else None
