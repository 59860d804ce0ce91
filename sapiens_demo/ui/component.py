"""What the page's own components share: each is a template, a style and a script beside its Python file."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

_FOLDER = Path(__file__).parent


def read_parts(name: str, **settings: Any) -> dict[str, Any]:
    """Read the three files of a component.

    The template is static on purpose: Gradio draws it once and never again, and the script alone changes
    what is on the screen. What never changes reaches the script as `settings`, not as Gradio's props: an
    update of one prop drops the others where a component is not on the screen yet.

    Args:
        name: their stem in this folder.
        settings: values for JSON.

    Returns:
        Keyword arguments for gr.HTML.
    """
    return {
        "html_template": _read(f"{name}.html"),
        "css_template": _read(f"{name}.css"),
        "js_on_load": f"const settings = {json.dumps(settings)};\n{_read(f'{name}.js')}",
        "apply_default_css": False,
    }


@lru_cache
def _read(file: str) -> str:
    return (_FOLDER / file).read_text(encoding="utf-8")
